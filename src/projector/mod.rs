//! Keeps projections up to date: live, and when they are rebuilt.
//!
//! The runner knows ledgers, builds and pages, and no event: what a projection does is in its SQL. It is woken by the
//! commits of this process and looks around once a second for those of others. Any number of processes may run it; a
//! cursor's lock decides who folds a ledger into a build, and the others pass by.
//!
//! Invariants: a ledger that is behind, or whose projection has stopped, keeps nobody else waiting (one page each, in
//! turn); an error of the database is retried for ever with growing pauses; only an event that cannot be folded stops a
//! build, and only for its ledger, or is passed over by one of statistics.

mod commits;
mod look;
mod page;
mod rebuild;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use metrics::counter;
use tokio::{sync::watch, time::Instant};

pub use page::StepError;
pub use rebuild::{RebuildError, rebuild};

use crate::{
    store::{
        errors::describe_causes,
        pool::Database,
        projections::{Build, LedgerId, Position},
    },
    telemetry::metrics::PROJECTOR_EVENTS,
};
use commits::Commits;
use look::{Following, look_around};
use page::{Pace, PageSize, Step, step};

/// How often commits of other processes are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looking around takes at most one part in so many of the time, however many ledgers there are.
const LOOK_SHARE: u32 = 20;
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

/// One ledger's following of one build.
type Task = (LedgerId, Arc<Build>);

/// What is remembered of a task from one page to the next.
#[derive(Clone, Copy)]
struct Pages {
    /// How large the next one may be.
    size: PageSize,
    /// Whether the last one had few events, and nothing was left behind it.
    are_small: bool,
}

/// Keeps every build up to date for every ledger.
pub struct Projector {
    database: Database,
    following: Following,
    pages: BTreeMap<Task, Pages>,
    pause: Duration,
}

impl Projector {
    /// A projector that works through this database's pool.
    pub fn new(database: Database) -> Self {
        Self { database, following: Following::default(), pages: BTreeMap::new(), pause: Duration::ZERO }
    }

    /// Runs until `stop` ends, woken by the heads that this process moves.
    pub async fn run(
        mut self,
        heads: watch::Receiver<HashMap<LedgerId, Position>>,
        stop: impl Future<Output = ()>,
    ) {
        let mut commits = Commits::new(heads);
        let mut stop = std::pin::pin!(stop);
        let mut look_at = Instant::now();
        let mut due: BTreeSet<Task> = BTreeSet::new();
        loop {
            let until = if due.is_empty() { look_at } else { Instant::now() + self.pause };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep_until(until) => {}
                ledgers = commits.next() => due.extend(self.following.tasks_of(&ledgers)),
            }
            let mut failure = None;
            if Instant::now() >= look_at {
                let started = Instant::now();
                match look_around(&self.database).await {
                    Ok(following) => due.extend(self.follow(following)),
                    Err(error) => failure = Some(describe_causes(&error)),
                }
                look_at = Instant::now() + LOOK_INTERVAL.max(started.elapsed() * LOOK_SHARE).max(self.pause);
            }
            due = self.fold_one_page_each(due, &mut failure).await;
            self.pause_after(failure);
        }
    }

    /// Returns who is behind.
    fn follow(&mut self, following: Following) -> Vec<Task> {
        self.following = following;
        self.pages.retain(|(ledger, build), _| self.following.contains(*ledger, build));
        self.following.behind()
    }

    /// Returns the tasks that have more to fold.
    async fn fold_one_page_each(
        &mut self,
        due: BTreeSet<Task>,
        failure: &mut Option<String>,
    ) -> BTreeSet<Task> {
        let attempts = self.turns(due).into_iter().map(|turn| {
            let database = &self.database;
            async move {
                let mut outcomes = Vec::with_capacity(turn.len());
                for (task, mut size) in turn {
                    let outcome = step(database, task.0, &task.1, &mut size).await;
                    outcomes.push((task, size, outcome));
                }
                outcomes
            }
        });
        let outcomes: Vec<_> = stream::iter(attempts).buffer_unordered(WORKERS).collect().await;
        let mut unfinished = BTreeSet::new();
        for (task, size, outcome) in outcomes.into_iter().flatten() {
            let (has_more, events) = match outcome {
                Ok(Step::Folded { events, is_level }) => {
                    count(&task.1, events);
                    (!is_level, events)
                }
                Ok(Step::Smaller | Step::Parked) => (true, 0),
                Ok(Step::Level | Step::Passed | Step::Halted) => (false, 0),
                Err(error) => {
                    *failure = Some(describe_causes(&error));
                    (true, 0)
                }
            };
            let are_small = !has_more && events <= FEW_EVENTS;
            self.pages.insert(task.clone(), Pages { size, are_small });
            if has_more {
                unfinished.insert(task);
            }
        }
        unfinished
    }

    /// Who is folded after whom: those of small pages ledger by ledger, and whoever has much to do alone.
    fn turns(&self, due: BTreeSet<Task>) -> Vec<Vec<(Task, PageSize)>> {
        let mut turns = Vec::new();
        let mut small: BTreeMap<LedgerId, Vec<(Task, PageSize)>> = BTreeMap::new();
        for task in due {
            let Pages { size, are_small } = self.pages.get(&task).copied().unwrap_or(FIRST_PAGES);
            if are_small {
                small.entry(task.0).or_default().push((task, size));
            } else {
                turns.push(vec![(task, size)]);
            }
        }
        turns.extend(small.into_values());
        turns
    }

    /// The first failure of a row is worth a warning; the lag metric tells the rest.
    fn pause_after(&mut self, failure: Option<String>) {
        match failure {
            None => self.pause = Duration::ZERO,
            Some(error) if self.pause.is_zero() => {
                tracing::warn!(error, "projections cannot be updated; will be tried again");
                self.pause = FIRST_PAUSE;
            }
            Some(error) => {
                tracing::debug!(error, "projections still cannot be updated");
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn count(build: &Build, events: i64) {
    counter!(PROJECTOR_EVENTS, "projection" => build.projection.clone()).increment(events.unsigned_abs());
}
