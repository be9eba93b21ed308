//! Whose page is folded next: everyone's in turn, and one at a time of those that give trouble.
//!
//! What is written is to be read 200 ms later. So the tasks whose pages are brief keep places that no other task takes,
//! and only they share turns: those that come with the program first, and then as many of an operator's own as take no
//! longer together than one of them may. The own ones that do not fit begin the ledger's next turn.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

use super::{
    Task,
    look::Following,
    page::{Pace, PageSize},
    ring::{Ring, SharedRing},
};
use crate::store::projections::definition::is_compiled_in;

/// How many turns are taken at a time, and how many of them by tasks whose pages are not known to be brief.
const WORKERS: usize = 4;
const LONGER: usize = WORKERS / 2;
/// So short a page may keep others waiting: the five projections of the program stay within 200 ms of the beginning of
/// their turn, if each takes no longer than is just called brief. What else shares the turn comes after them and takes so
/// long at most, all of it together; so a place is free again after 240 ms, and the ledgers that wait for it wait so much
/// longer. As a rule it is a tenth of that: few events are folded within some milliseconds.
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
    brief: SharedRing,
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
        if self.pages(&task).brief.is_some() {
            self.brief.insert(task);
        } else {
            self.longer.insert(task);
        }
    }

    /// Forgets tasks that nobody follows any more.
    pub fn retain(&mut self, following: &Following) {
        let is_followed = |(ledger, build): &Task| following.contains(*ledger, build);
        self.brief.retain(is_followed);
        self.longer.retain(is_followed);
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
        let fits = |task: &Task| {
            let takes = pages.get(task).and_then(|pages| pages.brief).unwrap_or(BRIEF);
            let fits = takes <= left;
            left = left.saturating_sub(if fits { takes } else { Duration::ZERO });
            fits
        };
        let comes_with_the_program = |task: &Task| is_compiled_in(&task.1.projection);
        Some((brief.next(comes_with_the_program, fits)?, true))
    }

    fn next_longer(&mut self, now: Instant) -> Option<(Vec<Task>, bool)> {
        if self.longer_turns() == LONGER {
            return None;
        }
        let tasks = self.next_ailing(now).or_else(|| Some(vec![self.longer.next()?]))?;
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
mod tests;
