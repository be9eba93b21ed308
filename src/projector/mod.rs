//! Keeps projections up to date: live, and when they are rebuilt.
//!
//! The runner knows ledgers, builds and pages, and no event: what a projection does is in its SQL. It is woken by the
//! commits of this process and looks around once a second for those of others. Any number of processes may run it; a
//! cursor's lock decides who folds a ledger into a build, and the others pass by and look again some milliseconds later.
//!
//! Invariants: a ledger that is behind, or a projection that is slow or has stopped, keeps nobody else waiting (one page
//! each, in turn, with places for brief pages alone, and slow ones one at a time); whatever fails is retried for ever with
//! growing pauses; only an event that cannot be folded stops a build, and only for its ledger and if no newer build is to
//! replace it, or is passed over by one of statistics.

mod commits;
mod look;
mod page;
mod queue;
mod rebuild;
mod ring;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use metrics::counter;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

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
use look::{Following, LookError, look_around};
use page::{PageSize, Step, step};
use queue::{Outcome, Pause, Queue, Turn};

/// How often commits of other processes are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looking around takes at most one part in so many of the time, however many ledgers there are.
const LOOK_SHARE: u32 = 20;

/// One ledger's following of one build.
type Task = (LedgerId, Arc<Build>);

/// Keeps every build up to date for every ledger.
pub struct Projector {
    database: Database,
    following: Following,
    queue: Queue,
    /// When to look around again, unless that is being done.
    look_at: Option<Instant>,
    /// While the database is away.
    outage: Option<Pause>,
}

/// What is done side by side.
enum Job {
    Look,
    Fold(Turn),
}

/// What a job came to.
enum Done {
    Look { result: Result<Following, LookError>, took: Duration },
    Fold(Vec<(Task, PageSize, Result<Step, StepError>)>),
}

impl Job {
    async fn run(self, database: Database) -> Done {
        match self {
            Self::Look => {
                let started = Instant::now();
                let result = look_around(&database).await;
                Done::Look { result, took: started.elapsed() }
            }
            Self::Fold(turn) => {
                let mut steps = Vec::with_capacity(turn.len());
                for (task, mut size) in turn {
                    let step = step(&database, task.0, &task.1, &mut size).await;
                    steps.push((task, size, step));
                }
                Done::Fold(steps)
            }
        }
    }
}

impl Projector {
    /// A projector that works through this database's pool.
    pub fn new(database: Database) -> Self {
        let look_at = Some(Instant::now());
        Self { database, following: Following::default(), queue: Queue::default(), look_at, outage: None }
    }

    /// Runs until `stop` ends, woken by the heads that this process moves.
    pub async fn run(
        mut self,
        heads: watch::Receiver<HashMap<LedgerId, Position>>,
        stop: impl Future<Output = ()>,
    ) {
        let mut commits = Commits::new(heads);
        let mut stop = std::pin::pin!(stop);
        let mut jobs = FuturesUnordered::new();
        loop {
            while let Some(job) = self.next_job(Instant::now()) {
                jobs.push(job.run(self.database.clone()));
            }
            let wakes_at = self.wakes_at(Instant::now());
            tokio::select! {
                () = &mut stop => return,
                Some(done) = jobs.next() => self.finish(done, Instant::now()),
                ledgers = commits.next() => self.queue.add(self.following.tasks_of(&ledgers)),
                () = sleep_until(wakes_at.unwrap_or_else(Instant::now)), if wakes_at.is_some() => {}
            }
        }
    }

    fn next_job(&mut self, now: Instant) -> Option<Job> {
        if self.look_at.take_if(|at| *at <= now).is_some() {
            return Some(Job::Look);
        }
        if self.outage.is_some_and(|outage| outage.until > now) {
            return None;
        }
        self.queue.next(now).map(Job::Fold)
    }

    /// When there may be a job that there is not now, if nothing else happens.
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let outage = self.outage.map(|outage| outage.until).filter(|until| *until > now);
        let task = outage.or_else(|| self.queue.wakes_at());
        [self.look_at, task].into_iter().flatten().min()
    }

    fn finish(&mut self, done: Done, now: Instant) {
        match done {
            Done::Look { result, took } => {
                match result {
                    Ok(following) => {
                        self.outage = None;
                        self.queue.retain(&following);
                        following.forget_the_gone(&self.following);
                        self.queue.add(following.behind());
                        self.following = following;
                    }
                    Err(error) => self.rest(&error, now),
                }
                let pause = self.outage.map_or(now, |outage| outage.until);
                self.look_at = Some((now + LOOK_INTERVAL.max(took * LOOK_SHARE)).max(pause));
            }
            Done::Fold(steps) => {
                let outcomes = steps.into_iter().map(|(task, size, step)| {
                    let outcome = self.outcome_of(&task, step, now);
                    (task, size, outcome)
                });
                let outcomes = outcomes.collect();
                self.queue.finish(outcomes, now);
            }
        }
    }

    fn outcome_of(&mut self, task: &Task, step: Result<Step, StepError>, now: Instant) -> Outcome {
        match step {
            Ok(step) => {
                self.outage = None;
                match step {
                    Step::Folded { events, is_level, took, is_slow } => {
                        count(&task.1, events);
                        Outcome::Folded { has_more: !is_level, took, is_slow }
                    }
                    Step::Smaller { is_slow } => Outcome::Tried { is_slow },
                    Step::Parked => Outcome::Tried { is_slow: false },
                    Step::Passed => Outcome::Met,
                    Step::Level | Step::Halted => Outcome::Untried { has_more: false },
                    Step::Awaiting { position } => {
                        self.say_once(
                            task,
                            &format!("it is to be replaced, and does not know the event at {position}"),
                        );
                        Outcome::Failed
                    }
                }
            }
            Err(error @ StepError::Connection(_)) => {
                self.rest(&error, now);
                Outcome::Untried { has_more: true }
            }
            Err(error) => {
                self.say_once(task, &describe_causes(&error));
                Outcome::Failed
            }
        }
    }

    /// The first failure of a task in a row is worth a warning.
    fn say_once(&self, task: &Task, error: &str) {
        let (ledger, build) = task;
        let (projection, number) = (&build.projection, build.build);
        if self.queue.is_ailing(task) {
            tracing::debug!(projection, build = number, %ledger, error, "a page still cannot be folded");
        } else {
            tracing::warn!(
                projection, build = number, %ledger, error,
                "a page of events cannot be folded; will be tried again"
            );
        }
    }

    /// The first failure of a row is worth a warning; the lag metric tells the rest.
    fn rest(&mut self, error: &(dyn std::error::Error + 'static), now: Instant) {
        let error = describe_causes(error);
        match self.outage {
            // Of several that failed at the same time one counts.
            Some(outage) if outage.until > now => return,
            Some(_) => tracing::debug!(error, "projections still cannot be updated"),
            None => tracing::warn!(error, "projections cannot be updated; will be tried again"),
        }
        self.outage = Some(Pause::after(self.outage, now));
    }
}

fn count(build: &Build, events: i64) {
    counter!(PROJECTOR_EVENTS, "projection" => build.projection.clone()).increment(events.unsigned_abs());
}
