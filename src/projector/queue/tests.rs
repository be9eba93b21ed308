//! Whose turn it is: of those that are brief and long, that fail, that meet others, and however many there are.

use std::{collections::VecDeque, sync::Arc};

use super::*;
use crate::store::projections::{Build, LedgerId};

const LEVEL: Outcome = Outcome::Folded { has_more: false, took: Duration::from_millis(1), is_slow: false };
const LEVEL_AT_LAST: Outcome =
    Outcome::Folded { has_more: false, took: Duration::from_millis(500), is_slow: false };
const MUCH_MORE: Outcome = Outcome::Folded { has_more: true, took: Duration::from_millis(1), is_slow: false };
const SLOW: Outcome = Outcome::Folded { has_more: true, took: Duration::from_secs(2), is_slow: true };
const LONGEST_PAUSE: Duration = *AFTER_FAILURES.end();

fn task(ledger: i64, projection: &str) -> Task {
    let build = Build {
        projection: projection.to_owned(),
        build: 1,
        version: "0123456789ab".to_owned(),
        schema: format!("projection_{projection}_1"),
        apply: Vec::new(),
        for_all: true,
        parks: false,
    };
    (LedgerId(ledger), Arc::new(build))
}

fn tasks_of(turn: &Turn) -> Vec<Task> {
    turn.iter().map(|(task, _)| task.clone()).collect()
}

fn finish(queue: &mut Queue, turn: Turn, outcome: Outcome, now: Instant) {
    queue.finish(turn.into_iter().map(|(task, size)| (task, size, outcome)).collect(), now);
}

#[test]
fn builds_of_a_ledger_with_little_to_do_share_a_turn_and_others_have_their_own() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add([task(1, "history"), task(1, "balances"), task(2, "balances")]);
    let first = queue.next(now).expect("a turn");
    assert_eq!(tasks_of(&first), [task(1, "balances"), task(1, "history")]);
    let second = queue.next(now).expect("a turn");
    assert_eq!(tasks_of(&second), [task(2, "balances")]);
    assert_eq!(queue.next(now), None);
    finish(&mut queue, first, MUCH_MORE, now);
    finish(&mut queue, second, LEVEL, now);
    let apart = [queue.next(now), queue.next(now)].map(|turn| tasks_of(&turn.expect("a turn")));
    assert_eq!(apart, [[task(1, "balances")], [task(1, "history")]]);
    assert_eq!(queue.next(now), None);
}

/// The turns that may be taken at this moment.
fn turns(queue: &mut Queue, now: Instant) -> Vec<Turn> {
    std::iter::from_fn(|| queue.next(now)).collect()
}

#[test]
fn a_projection_of_unknown_pace_or_with_long_pages_shares_no_turn() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let ours = [task(1, "balances"), task(1, "history")];
    let all = || [task(1, "asleep"), task(1, "balances"), task(1, "history")];
    for outcome in [LEVEL_AT_LAST, Outcome::Untried { has_more: false }, Outcome::Met, LEVEL] {
        queue.add(all());
        let (first, second) = (queue.next(now).expect("a turn"), queue.next(now).expect("a turn"));
        assert_eq!(tasks_of(&first), ours, "before {outcome:?}");
        assert_eq!(tasks_of(&second), [task(1, "asleep")], "before {outcome:?}");
        finish(&mut queue, first, LEVEL, now);
        finish(&mut queue, second, outcome, now);
        if outcome == Outcome::Met {
            let again = queue.next(now + LONGEST_PAUSE).expect("a turn");
            finish(&mut queue, again, Outcome::Untried { has_more: false }, now);
        }
    }
    queue.add(all());
    let first = tasks_of(&queue.next(now).expect("a turn"));
    assert_eq!(first, [&ours[..], &[task(1, "asleep")]].concat(), "it is known to be brief, and comes last");
}

fn brief(milliseconds: u64) -> Outcome {
    Outcome::Folded { has_more: false, took: Duration::from_millis(milliseconds), is_slow: false }
}

/// How long pages take of an operator's own projections, by their names.
type Own = [(&'static str, u64)];

/// Of `ledgers` ledgers with these projections, how many turns of its ledger each own one waited at most, when there is news
/// of everything whenever a turn ends, and `at_once` turns are taken at a time.
fn longest_waits(own: &Own, ledgers: i64, at_once: usize) -> BTreeMap<Task, usize> {
    const TURNS: usize = 400;
    let (mut queue, now) = (Queue::default(), Instant::now());
    let takes =
        |task: &Task| own.iter().find(|(name, _)| task.1.projection == *name).map(|(_, takes)| *takes);
    let finish = |queue: &mut Queue, turn: Turn| {
        let done = turn.into_iter().map(|(task, size)| {
            let took = brief(takes(&task).unwrap_or(1));
            (task, size, took)
        });
        queue.finish(done.collect(), now);
    };
    let own_tasks = || (1..=ledgers).flat_map(|ledger| own.iter().map(move |(name, _)| task(ledger, name)));
    let ours = |ledger| ["balances", "history", "usage"].map(|name| task(ledger, name));
    let all: Vec<Task> = own_tasks().chain((1..=ledgers).flat_map(ours)).collect();
    queue.add(own_tasks());
    while let Some(turn) = queue.next(now) {
        finish(&mut queue, turn);
    }
    queue.add(all.clone());
    let mut waits: BTreeMap<Task, usize> = own_tasks().map(|task| (task, 0)).collect();
    let mut longest = waits.clone();
    let (mut under_way, mut turns) = (VecDeque::new(), BTreeMap::new());
    for _ in 0..TURNS {
        while under_way.len() < at_once
            && let Some(turn) = queue.next(now)
        {
            under_way.push_back(turn);
        }
        let turn: Turn = under_way.pop_front().expect("a turn");
        let tasks = tasks_of(&turn);
        let ledger = tasks[0].0;
        *turns.entry(ledger).or_insert(0) += 1;
        assert!(tasks.starts_with(&ours(ledger.0)), "the program's go in every turn, and first: {tasks:?}");
        assert!(tasks.iter().filter_map(takes).sum::<u64>() <= 40, "{tasks:?}");
        for (task, wait) in waits.iter_mut().filter(|(task, _)| task.0 == ledger) {
            *wait = if tasks.contains(task) { 0 } else { *wait + 1 };
            longest.entry(task.clone()).and_modify(|longest| *longest = (*longest).max(*wait));
        }
        finish(&mut queue, turn);
        queue.add(all.clone());
    }
    let (fewest, most) = (turns.values().min(), turns.values().max());
    assert_eq!(turns.len(), usize::try_from(ledgers).expect("few"));
    assert!(most.zip(fewest).is_some_and(|(most, fewest)| most - fewest <= 1), "{turns:?}");
    longest
}

#[test]
fn everyones_turn_comes_under_load_that_never_ends_though_not_all_fit_into_one() {
    const CASES: [&Own; 5] = [
        // By name before and behind those of the program.
        &[("a1", 15), ("a2", 15), ("a3", 15)],
        &[("a1", 15), ("c2", 15), ("z3", 15), ("z4", 15)],
        // One that takes most of a turn, in front of one that takes less, and behind it.
        &[("a1", 30), ("a2", 15)],
        &[("a1", 15), ("a2", 30), ("z3", 15)],
        &[("a1", 40), ("a2", 40), ("a3", 1), ("z4", 40)],
    ];
    for own in CASES {
        for (ledgers, at_once) in [(1, 1), (2, 1), (7, 1), (7, 2), (7, 4)] {
            for (task, waited) in longest_waits(own, ledgers, at_once) {
                let others = own.len() - 1;
                let name = &task.1.projection;
                assert!(
                    waited <= others,
                    "{name} of {own:?} waited for {waited} turns of its ledger, {ledgers}"
                );
            }
        }
    }
}

#[test]
fn however_many_brief_ones_an_operator_adds_those_of_the_program_wait_for_few_of_them() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let added: Vec<Task> = (10..40).map(|number| task(1, &format!("b{number}"))).collect();
    let ours = [task(1, "balances"), task(1, "history")];
    // To be known as brief, each has a turn of its own first.
    queue.add(added.clone());
    while let Some(turn) = queue.next(now) {
        assert_eq!(turn.len(), 1);
        finish(&mut queue, turn, brief(15), now);
    }
    queue.add(added.clone());
    let mut folded = Vec::new();
    while folded.len() < added.len() {
        // There is always news of them.
        queue.add(ours.clone());
        let turn = tasks_of(&queue.next(now).expect("a turn"));
        let (with_us, others): (Vec<_>, Vec<_>) = turn.iter().cloned().partition(|one| ours.contains(one));
        assert_eq!(with_us, ours, "in each turn, wherever the turns are");
        assert!((1..=2).contains(&others.len()), "15 ms each, 40 ms together: {}", others.len());
        folded.extend(others);
        let sized = turn.into_iter().map(|task| (task, FIRST_SIZE, brief(15))).collect();
        queue.finish(sized, now);
    }
    folded.sort();
    assert_eq!(folded, added, "each once, before any comes again");
}

#[test]
fn those_with_long_pages_leave_places_to_the_others_and_the_others_to_them() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add((1..=9).map(|ledger| task(ledger, "asleep")));
    let long = turns(&mut queue, now);
    assert_eq!(long.len(), LONGER);
    queue.add((1..=9).map(|ledger| task(ledger, "balances")));
    let mut brief = turns(&mut queue, now);
    assert_eq!(brief.len(), WORKERS - LONGER);
    assert!(brief.iter().flatten().all(|((_, build), _)| build.projection == "balances"));
    for turn in long {
        finish(&mut queue, turn, LEVEL_AT_LAST, now);
        let next = queue.next(now).expect("a turn");
        assert_eq!(next[0].0.1.projection, "asleep", "brief ones take no more than their places");
        finish(&mut queue, next, LEVEL_AT_LAST, now);
    }
    finish(&mut queue, brief.remove(0), LEVEL, now);
    assert_eq!(queue.next(now).expect("a turn")[0].0.1.projection, "balances");
}

/// How long a build waits in milliseconds that ends like this again and again, although there is news meanwhile.
fn pauses(queue: &mut Queue, now: &mut Instant, times: u32, outcome: impl Fn() -> Outcome) -> Vec<u128> {
    queue.add([task(1, "balances")]);
    let pauses = (0..times).map(|_| {
        let turn = queue.next(*now).expect("a turn");
        finish(queue, turn, outcome(), *now);
        queue.add([task(1, "balances")]);
        assert_eq!(queue.next(*now), None);
        let wakes_at = queue.wakes_at().expect("a time");
        let pause = (wakes_at - *now).as_millis();
        *now = wakes_at;
        pause
    });
    pauses.collect()
}

#[test]
fn whoever_meets_another_worker_looks_again_after_milliseconds_until_there_is_nothing_left() {
    let (mut queue, mut now) = (Queue::default(), Instant::now());
    let pauses = pauses(&mut queue, &mut now, 6, || Outcome::Met);
    assert_eq!(pauses, [5, 10, 20, 40, 80, 80]);
    let turn = queue.next(now).expect("a turn");
    finish(&mut queue, turn, Outcome::Untried { has_more: false }, now);
    assert_eq!((queue.wakes_at(), queue.next(now)), (None, None));
}

#[test]
fn whoever_gave_trouble_is_not_healed_by_meeting_another_worker() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add([task(1, "asleep")]);
    for outcome in [SLOW, Outcome::Met] {
        let turn = queue.next(now).expect("a turn");
        finish(&mut queue, turn, outcome, now);
        assert!(queue.is_ailing(&task(1, "asleep")));
    }
    let wakes_at = queue.wakes_at().expect("a time");
    assert_eq!((wakes_at - now, queue.next(now)), (*AFTER_MEETINGS.start(), None));
    assert!(queue.next(wakes_at).is_some());
}

#[test]
fn nobody_is_woken_for_a_place_that_is_taken() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add([task(1, "asleep")]);
    let turn = queue.next(now).expect("a turn");
    let slow_at_last = Outcome::Folded { has_more: false, took: Duration::from_secs(2), is_slow: true };
    finish(&mut queue, turn, slow_at_last, now);
    queue.add([task(2, "asleep"), task(3, "asleep")]);
    let mut others = turns(&mut queue, now);
    assert_eq!(others.len(), LONGER);
    queue.add([task(1, "asleep")]);
    assert_eq!((queue.next(now), queue.wakes_at()), (None, None));
    finish(&mut queue, others.remove(0), LEVEL_AT_LAST, now);
    assert_eq!(queue.wakes_at(), Some(now));
    assert_eq!(tasks_of(&queue.next(now).expect("a turn")), [task(1, "asleep")]);
}

#[test]
fn whoever_has_much_to_do_gets_one_page_in_turn() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add((1..=9).map(|ledger| task(ledger, "balances")));
    let mut order = Vec::new();
    for _ in 0..18 {
        let turn = queue.next(now).expect("a turn");
        order.push(turn[0].0.0.0);
        finish(&mut queue, turn, MUCH_MORE, now);
    }
    let round: Vec<i64> = (1..=9).collect();
    assert_eq!(order, [round.clone(), round].concat());
}

#[test]
fn so_many_are_folded_at_a_time_and_no_more() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add((0..10).map(|ledger| task(ledger, "balances")));
    let turns = turns(&mut queue, now);
    assert_eq!(turns.len(), WORKERS);
    for turn in turns {
        finish(&mut queue, turn, LEVEL, now);
        assert!(queue.next(now).is_some());
    }
}

#[test]
fn news_of_a_task_that_is_being_folded_are_not_forgotten() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add([task(1, "balances")]);
    for outcome in [LEVEL, SLOW, Outcome::Failed] {
        let turn = queue.next(now + LONGEST_PAUSE).expect("a turn");
        queue.add([task(1, "balances")]);
        assert_eq!(queue.next(now + LONGEST_PAUSE), None, "not twice at a time");
        finish(&mut queue, turn, outcome, now);
    }
    let turn = queue.next(now + LONGEST_PAUSE).expect("a turn");
    finish(&mut queue, turn, LEVEL, now);
    assert_eq!(queue.next(now + LONGEST_PAUSE), None);
}

#[test]
fn of_those_that_give_trouble_one_is_folded_at_a_time() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add((1..=4).map(|ledger| task(ledger, "history")));
    for turn in turns(&mut queue, now) {
        finish(&mut queue, turn, SLOW, now);
    }
    let slow = queue.next(now).expect("one of the slow ones");
    assert_eq!(queue.next(now), None, "no second one");
    queue.add((1..=9).map(|ledger| task(ledger, "balances")));
    let others = turns(&mut queue, now);
    assert_eq!(others.len(), WORKERS - 1);
    assert!(others.iter().flatten().all(|((_, build), _)| build.projection == "balances"));
    // Once it has kept to the time, it is like everyone.
    let (healed, _) = slow[0].clone();
    finish(&mut queue, slow, MUCH_MORE, now);
    assert!(!queue.is_ailing(&healed));
    let next = queue.next(now).expect("the next slow one");
    assert!(queue.is_ailing(&next[0].0));
}

#[test]
fn pauses_after_failures_grow_and_news_do_not_shorten_them() {
    let (mut queue, mut now) = (Queue::default(), Instant::now());
    let pauses = pauses(&mut queue, &mut now, 9, || Outcome::Failed);
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    let turn = queue.next(now).expect("a turn");
    finish(&mut queue, turn, LEVEL, now);
    assert_eq!((queue.wakes_at(), queue.next(now)), (None, None));
}
