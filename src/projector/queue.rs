//! Whose page is folded next: everyone's in turn, and one at a time of those that give trouble.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Task,
    look::Following,
    page::{Pace, PageSize},
};

/// How many pages are folded at a time.
const WORKERS: usize = 4;
/// Builds of a ledger whose last pages had at most so many events are folded one after another: on one connection, which has
/// planned their statements already. To plan them takes longer than to fold so few.
const FEW_EVENTS: i64 = 100;
/// Events in the first page of a ledger, and in the largest.
const FIRST_PAGES: Pages = Pages { size: PageSize::new(1_000, 10_000, Pace::FOLLOWING), are_small: true };
/// Pauses after failures begin with this and double up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is remembered of a task from one page to the next.
#[derive(Clone, Copy)]
struct Pages {
    /// How large the next one may be.
    size: PageSize,
    /// Whether the last one had few events, and nothing was left behind it.
    are_small: bool,
}

/// How long to wait after a failure.
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
        let length =
            previous.map_or(Duration::ZERO, |previous| previous.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
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
    /// So many events were folded.
    Folded {
        /// How many.
        events: i64,
        /// Whether more are known to follow.
        has_more: bool,
        /// Whether that took too long.
        is_slow: bool,
    },
    /// A failure that is to be tried again after a pause.
    Failed,
}

/// The tasks that have something to fold.
///
/// A slow projection must not keep the others waiting: of the tasks that gave trouble the last time, at most one is folded
/// at a time.
#[derive(Default)]
pub struct Queue {
    due: BTreeSet<Task>,
    ailing: BTreeMap<Task, Ailing>,
    /// Those that are being folded, and whether there has been news of them meanwhile.
    folding: BTreeMap<Task, bool>,
    turns: usize,
    /// The one of the ailing tasks that is being folded.
    treated: Option<Task>,
    pages: BTreeMap<Task, Pages>,
    /// Where the last turn ended.
    last: Option<Task>,
}

impl Queue {
    /// These have something to fold.
    pub fn add(&mut self, tasks: impl IntoIterator<Item = Task>) {
        for task in tasks {
            if let Some(has_news) = self.folding.get_mut(&task) {
                *has_news = true;
            } else if let Some(ailing) = self.ailing.get_mut(&task) {
                ailing.is_due = true;
            } else {
                self.due.insert(task);
            }
        }
    }

    /// Forgets tasks that nobody follows any more.
    pub fn retain(&mut self, following: &Following) {
        let is_followed = |(ledger, build): &Task| following.contains(*ledger, build);
        self.due.retain(is_followed);
        self.ailing.retain(|task, _| is_followed(task));
        self.pages.retain(|task, _| is_followed(task));
    }

    /// Who is to be folded now, if anybody may. What became of the turn is told to [`Queue::finish`].
    pub fn next(&mut self, now: Instant) -> Option<Turn> {
        if self.turns == WORKERS {
            return None;
        }
        let tasks = self.next_ailing(now).or_else(|| self.next_healthy())?;
        self.turns += 1;
        self.folding.extend(tasks.iter().map(|task| (task.clone(), false)));
        let sized = tasks.into_iter().map(|task| {
            let size = self.pages(&task).size;
            (task, size)
        });
        Some(sized.collect())
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

    /// The one that may be tried again first, and when.
    fn first_ailing(&self) -> Option<(Instant, &Task)> {
        if self.treated.is_some() {
            return None;
        }
        let due = self.ailing.iter().filter(|(_, ailing)| ailing.is_due);
        due.map(|(task, ailing)| (ailing.pause.until, task)).min()
    }

    /// The one after the last, with those of its ledger that have little to do.
    fn next_healthy(&mut self) -> Option<Vec<Task>> {
        let after = self.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let first = self.due.range((after, Bound::Unbounded)).next().or_else(|| self.due.first())?;
        let mut tasks = vec![first.clone()];
        if self.pages(first).are_small {
            let rest = self.due.range((Bound::Excluded(first), Bound::Unbounded));
            let same = rest.take_while(|task| task.0 == first.0).filter(|task| self.pages(task).are_small);
            tasks.extend(same.cloned());
        }
        for task in &tasks {
            self.due.remove(task);
        }
        self.last = tasks.last().cloned();
        Some(tasks)
    }

    /// Whether the task gave trouble the last time.
    pub fn is_ailing(&self, task: &Task) -> bool {
        self.ailing.contains_key(task)
    }

    /// When somebody has waited long enough, unless another turn has to end before.
    pub fn wakes_at(&self) -> Option<Instant> {
        if self.turns == WORKERS { None } else { self.first_ailing().map(|(until, _)| until) }
    }

    /// What a turn came to: how large the next page of each task may be, and what became of this one.
    pub fn finish(&mut self, turn: Vec<(Task, PageSize, Outcome)>, now: Instant) {
        self.turns -= 1;
        for (task, size, outcome) in turn {
            let has_news = self.folding.remove(&task).unwrap_or_default();
            if self.treated.as_ref() == Some(&task) {
                self.treated = None;
            }
            let before = self.ailing.remove(&task).map(|ailing| ailing.pause);
            let (is_due, pause) = match outcome {
                Outcome::Folded { has_more, is_slow, .. } => {
                    (has_more || has_news, is_slow.then(|| Pause::none(now)))
                }
                Outcome::Failed => (true, Some(Pause::after(before, now))),
            };
            let are_small = matches!(outcome, Outcome::Folded { events: ..=FEW_EVENTS, has_more: false, .. });
            self.pages.insert(task.clone(), Pages { size, are_small });
            if let Some(pause) = pause {
                self.ailing.insert(task, Ailing { pause, is_due });
            } else if is_due {
                self.due.insert(task);
            }
        }
    }

    fn pages(&self, task: &Task) -> Pages {
        self.pages.get(task).copied().unwrap_or(FIRST_PAGES)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::projections::{Build, LedgerId};

    const LEVEL: Outcome = Outcome::Folded { events: 1, has_more: false, is_slow: false };
    const MUCH_MORE: Outcome = Outcome::Folded { events: 1_000, has_more: true, is_slow: false };
    const SLOW: Outcome = Outcome::Folded { events: 1, has_more: true, is_slow: true };

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
        let turns: Vec<Turn> = std::iter::from_fn(|| queue.next(now)).collect();
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
        queue.add((1..=4).map(|ledger| task(ledger, "slow")));
        for turn in std::iter::from_fn(|| queue.next(now)).collect::<Vec<_>>() {
            finish(&mut queue, turn, SLOW, now);
        }
        let slow = queue.next(now).expect("one of the slow ones");
        assert_eq!(queue.next(now), None, "no second one");
        queue.add((1..=9).map(|ledger| task(ledger, "balances")));
        let others: Vec<Turn> = std::iter::from_fn(|| queue.next(now)).collect();
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
        queue.add([task(1, "balances")]);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let turn = queue.next(now).expect("a turn");
            finish(&mut queue, turn, Outcome::Failed, now);
            queue.add([task(1, "balances")]);
            assert_eq!(queue.next(now), None);
            let wakes_at = queue.wakes_at().expect("a time");
            pauses.push((wakes_at - now).as_millis());
            now = wakes_at;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        let turn = queue.next(now).expect("a turn");
        finish(&mut queue, turn, LEVEL, now);
        assert_eq!((queue.wakes_at(), queue.next(now)), (None, None));
    }
}
