//! Whose page is folded next: everyone's in turn, and one at a time of those that give trouble.
//!
//! What is written is to be read 200 ms later. So the tasks whose pages are brief keep places that no other task takes,
//! and only they share turns: those that come with the program, and as many of an operator's own as take no longer together
//! than one of them may.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

use super::{
    Task,
    look::Following,
    page::{Pace, PageSize},
    ring::Ring,
};
use crate::store::projections::definition::is_compiled_in;

/// How many turns are taken at a time, and how many of them by tasks whose pages are not known to be brief.
const WORKERS: usize = 4;
const LONGER: usize = WORKERS / 2;
/// So short a page may keep others waiting: all projections of the program together stay within the 200 ms after which
/// what was written is to be read. What else shares their turn takes so long at most, all of it together.
const BRIEF: Duration = Duration::from_millis(40);
/// Events in the first page of a ledger, and in the largest.
const FIRST_SIZE: PageSize = PageSize::new(1_000, 10_000, Pace::FOLLOWING);
/// Pauses after failures: the first and the longest. They double.
const AFTER_FAILURES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10);
/// Pauses after another worker was met, who may have begun before the last commit.
const AFTER_MEETINGS: RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_millis(80);

/// What is remembered of a task from one page to the next.
#[derive(Clone, Copy)]
struct Pages {
    /// How large the next one may be.
    size: PageSize,
    /// How long the last one took, if it was brief, and nothing was left behind it. Brief ones of a ledger are folded one
    /// after another: on one connection, which has planned their statements already. To plan them takes longer than to fold a
    /// few events.
    brief: Option<Duration>,
    /// How long the task had to wait because of another worker, if it met one.
    met: Option<Pause>,
}

impl Pages {
    /// Before the first one. We answer for the pace of what comes with the program.
    fn unknown((_, build): &Task) -> Self {
        let brief = is_compiled_in(&build.projection).then_some(Duration::ZERO);
        Self { size: FIRST_SIZE, brief, met: None }
    }
}

/// How long to wait before another attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    length: Duration,
    /// Its end.
    pub until: Instant,
}

impl Pause {
    /// None yet.
    fn none(now: Instant) -> Self {
        Self { length: Duration::ZERO, until: now }
    }

    /// Twice as long as the one after the failure before.
    pub fn after(previous: Option<Self>, now: Instant) -> Self {
        Self::longer(previous, &AFTER_FAILURES, now)
    }

    fn longer(previous: Option<Self>, lengths: &RangeInclusive<Duration>, now: Instant) -> Self {
        let twice = previous.map_or(Duration::ZERO, |previous| previous.length * 2);
        let length = twice.clamp(*lengths.start(), *lengths.end());
        Self { length, until: now + length }
    }
}

/// A task whose last page failed or took too long.
struct Ailing {
    pause: Pause,
    is_due: bool,
}

/// Tasks of one ledger, to be folded one after another: a page each, of the size that stands beside it.
pub type Turn = Vec<(Task, PageSize)>;

/// What a page of a task came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Events were folded.
    Folded {
        /// Whether more are known to follow.
        has_more: bool,
        /// How long that took.
        took: Duration,
        /// Whether that was too long.
        is_slow: bool,
    },
    /// It was tried with too many events, or with one that was passed over: there are more.
    Tried {
        /// Whether that took too long.
        is_slow: bool,
    },
    /// Nothing was tried.
    Untried {
        /// Whether there is something to fold.
        has_more: bool,
    },
    /// Another worker was at it.
    Met,
    /// A failure that is to be tried again after a pause.
    Failed,
}

/// The tasks that have something to fold.
///
/// A slow projection must not keep the others waiting: of the tasks that gave trouble the last time, at most one is folded
/// at a time, and of all whose pages are not known to be brief, [`LONGER`].
#[derive(Default)]
pub struct Queue {
    brief: Ring,
    longer: Ring,
    ailing: BTreeMap<Task, Ailing>,
    /// Those that have met another worker, and when they are due again.
    met: BTreeMap<Task, Instant>,
    folding: BTreeMap<Task, Folding>,
    turns: usize,
    /// The one of the ailing tasks that is being folded.
    treated: Option<Task>,
    pages: BTreeMap<Task, Pages>,
}

/// A task that is being folded.
#[derive(Default)]
struct Folding {
    is_brief: bool,
    /// Whether there has been news of it meanwhile.
    has_news: bool,
}

impl Queue {
    /// These have something to fold.
    pub fn add(&mut self, tasks: impl IntoIterator<Item = Task>) {
        for task in tasks {
            if let Some(folding) = self.folding.get_mut(&task) {
                folding.has_news = true;
            } else if let Some(ailing) = self.ailing.get_mut(&task) {
                ailing.is_due = true;
            } else if !self.met.contains_key(&task) {
                self.insert(task);
            }
        }
    }

    fn insert(&mut self, task: Task) {
        let ring = if self.pages(&task).brief.is_some() { &mut self.brief } else { &mut self.longer };
        ring.due.insert(task);
    }

    /// Forgets tasks that nobody follows any more.
    pub fn retain(&mut self, following: &Following) {
        let is_followed = |(ledger, build): &Task| following.contains(*ledger, build);
        self.brief.due.retain(is_followed);
        self.longer.due.retain(is_followed);
        self.ailing.retain(|task, _| is_followed(task));
        self.met.retain(|task, _| is_followed(task));
        self.pages.retain(|task, _| is_followed(task));
    }

    /// Who is to be folded now, if anybody may. What became of the turn is told to [`Queue::finish`].
    pub fn next(&mut self, now: Instant) -> Option<Turn> {
        if self.turns == WORKERS {
            return None;
        }
        let due_again = self.met.extract_if(.., |_, until| *until <= now);
        for (task, _) in due_again.collect::<Vec<_>>() {
            self.insert(task);
        }
        let brief_turns = self.turns - self.longer_turns();
        let (tasks, is_brief) = if brief_turns < WORKERS - LONGER {
            // As long as these leave room for the others.
            self.next_brief().or_else(|| self.next_longer(now))
        } else {
            self.next_longer(now).or_else(|| self.next_brief())
        }?;
        self.turns += 1;
        let folding = |task: &Task| (task.clone(), Folding { is_brief, has_news: false });
        self.folding.extend(tasks.iter().map(folding));
        let sized = tasks.into_iter().map(|task| {
            let size = self.pages(&task).size;
            (task, size)
        });
        Some(sized.collect())
    }

    fn next_brief(&mut self) -> Option<(Vec<Task>, bool)> {
        let Self { brief, pages, .. } = self;
        let mut left = BRIEF;
        let goes_along = |task: &Task| {
            if is_compiled_in(&task.1.projection) {
                return true;
            }
            let takes = pages.get(task).and_then(|pages| pages.brief).unwrap_or(BRIEF);
            let fits = takes <= left;
            left = left.saturating_sub(if fits { takes } else { Duration::ZERO });
            fits
        };
        Some((brief.shared(goes_along)?, true))
    }

    fn next_longer(&mut self, now: Instant) -> Option<(Vec<Task>, bool)> {
        if self.longer_turns() == LONGER {
            return None;
        }
        let tasks = self.next_ailing(now).or_else(|| Some(vec![self.longer.first()?]))?;
        Some((tasks, false))
    }

    /// How many of those that are being folded are not brief: each has a turn of its own.
    fn longer_turns(&self) -> usize {
        self.folding.values().filter(|folding| !folding.is_brief).count()
    }

    fn next_ailing(&mut self, now: Instant) -> Option<Vec<Task>> {
        let (until, task) = self.first_ailing()?;
        if until > now {
            return None;
        }
        let task = task.clone();
        self.ailing.entry(task.clone()).and_modify(|ailing| ailing.is_due = false);
        self.treated = Some(task.clone());
        Some(vec![task])
    }

    /// The one that may be tried again first, and when, if there is a place for it.
    fn first_ailing(&self) -> Option<(Instant, &Task)> {
        if self.treated.is_some() || self.longer_turns() == LONGER {
            return None;
        }
        let due = self.ailing.iter().filter(|(_, ailing)| ailing.is_due);
        due.map(|(task, ailing)| (ailing.pause.until, task)).min()
    }

    /// Whether the task gave trouble the last time.
    pub fn is_ailing(&self, task: &Task) -> bool {
        self.ailing.contains_key(task)
    }

    /// When somebody has waited long enough, unless another turn has to end before.
    pub fn wakes_at(&self) -> Option<Instant> {
        if self.turns == WORKERS {
            return None;
        }
        let ailing = self.first_ailing().map(|(until, _)| until);
        self.met.values().copied().chain(ailing).min()
    }

    /// What a turn came to: how large the next page of each task may be, and what became of this one.
    pub fn finish(&mut self, turn: Vec<(Task, PageSize, Outcome)>, now: Instant) {
        self.turns -= 1;
        for (task, size, outcome) in turn {
            let has_news = self.folding.remove(&task).unwrap_or_default().has_news;
            if self.treated.as_ref() == Some(&task) {
                self.treated = None;
            }
            let before = self.ailing.remove(&task).map(|ailing| ailing.pause);
            let known = self.pages(&task);
            let mut pages = Pages { size, met: None, ..known };
            let (is_due, pause) = match outcome {
                Outcome::Folded { has_more, took, is_slow } => {
                    pages.brief = Some(took).filter(|took| *took <= BRIEF && !has_more);
                    (has_more || has_news, is_slow.then(|| Pause::none(now)))
                }
                Outcome::Tried { is_slow } => {
                    pages.brief = None;
                    (true, is_slow.then(|| Pause::none(now)))
                }
                Outcome::Untried { has_more } => (has_more || has_news, None),
                Outcome::Met => {
                    let pause = Pause::longer(known.met, &AFTER_MEETINGS, now);
                    pages.met = Some(pause);
                    if before.is_none() {
                        self.met.insert(task.clone(), pause.until);
                    }
                    // Whoever gave trouble still does, until it is seen to have kept to the time.
                    (before.is_some(), before.map(|before| Pause { until: pause.until, ..before }))
                }
                Outcome::Failed => {
                    pages.brief = None;
                    (true, Some(Pause::after(before, now)))
                }
            };
            self.pages.insert(task.clone(), pages);
            if let Some(pause) = pause {
                self.ailing.insert(task, Ailing { pause, is_due });
            } else if is_due {
                self.insert(task);
            }
        }
    }

    fn pages(&self, task: &Task) -> Pages {
        self.pages.get(task).copied().unwrap_or_else(|| Pages::unknown(task))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::projections::{Build, LedgerId};

    const LEVEL: Outcome =
        Outcome::Folded { has_more: false, took: Duration::from_millis(1), is_slow: false };
    const LEVEL_AT_LAST: Outcome =
        Outcome::Folded { has_more: false, took: Duration::from_millis(500), is_slow: false };
    const MUCH_MORE: Outcome =
        Outcome::Folded { has_more: true, took: Duration::from_millis(1), is_slow: false };
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
        assert_eq!(tasks_of(&queue.next(now).expect("a turn")), all(), "it is known to be brief");
    }

    #[test]
    fn however_many_brief_ones_an_operator_adds_those_of_the_program_wait_for_few_of_them() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let brief = |milliseconds| Outcome::Folded {
            has_more: false,
            took: Duration::from_millis(milliseconds),
            is_slow: false,
        };
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
            let (with_us, others): (Vec<_>, Vec<_>) =
                turn.iter().cloned().partition(|one| ours.contains(one));
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
}
