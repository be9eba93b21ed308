//! Carries out what events order outside of the ledger: at least once, and exactly once in effect.
//!
//! The writer puts effects into the outbox in the commit of the events that order them. Here they are carried out by a
//! [`Perform`], which alone knows how; this module knows nothing of any destination.
//!
//! | file | holds |
//! | --- | --- |
//! | `perform` | what carries effects out, as seen from here |
//! | `ledger` | the worker of one ledger: leases, claims, batches |
//! | `shard` | what is in hand of a shard, and whose turn it is |
//! | `attempt` | one attempt at one effect |
//! | `backoff`, `breaker` | when to wait for how long |
//! | `faults` | moments at which a test has the process die |
//!
//! Invariants:
//! - effects of one key go one after the other, as they were ordered; one that failed holds the later ones back, and so
//!   does a dead one if its kind says so;
//! - none is begun while the ledger may lack what Stripe knows, after a restore: see `store::reconciliation::gate`;
//! - no transaction is open while an effect is carried out;
//! - its result is a command, and the ledger has it before the effect leaves;
//! - whoever lost the lease of a shard completes nothing of it: every completion names the fence;
//! - an effect that may have happened is looked for before it is repeated, and one that is too old is not repeated at all:
//!   it is found, or waits for a person.

mod attempt;
mod backoff;
mod breaker;
pub mod faults;
mod ledger;
mod perform;
mod shard;
pub mod stripe;

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use metrics::gauge;
use tokio::{
    sync::watch,
    task::{Id, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};

pub use backoff::Backoff;
pub use breaker::BreakerSettings;
pub use perform::{Cause, Class, Looked, Ordered, Perform, Performed, Report};

use faults::Faults;
use ledger::LedgerOutbox;

use crate::{
    domain::ids::LedgerId,
    store::{
        ledgers::list_ledgers,
        outbox::{
            census::{Count, count},
            entries::EffectState,
            lease::find_work,
        },
        pool::Database,
        rows::RowError,
    },
    telemetry::metrics::{OUTBOX_EFFECTS, OUTBOX_OLDEST_SECONDS},
    writer::Writers,
};

/// How long one look at one ledger may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How often effects are counted.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// How the outbox behaves. The defaults suit production.
#[derive(Clone, Debug)]
pub struct OutboxSettings {
    /// How long a process that died keeps its shards.
    pub lease: Duration,
    /// How often ledgers are looked at without being told to: for what other processes ordered or left.
    pub look_every: Duration,
    /// After how long without work leases are given back.
    pub idle: Duration,
    /// How many effects of one ledger are in hand at most.
    pub window: usize,
    /// How many effects are finished in one transaction at most.
    pub finish_batch: usize,
    /// How many effects of one ledger are carried out at the same time.
    pub concurrency: usize,
    /// How long one attempt may take before its outcome counts as unknown.
    pub attempt_limit: Duration,
    /// For how long after it was ordered an effect is repeated: less than destinations remember its id.
    pub repeat_limit: Duration,
    /// How long to wait before the next attempt.
    pub backoff: Backoff,
    /// When a destination is left alone.
    pub breaker: BreakerSettings,
    /// Where a test has the process die.
    pub faults: Faults,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            look_every: Duration::from_secs(1),
            idle: Duration::from_secs(5),
            window: 4_000,
            finish_batch: 1_000,
            concurrency: 32,
            attempt_limit: Duration::from_secs(60),
            repeat_limit: Duration::from_secs(23 * 60 * 60),
            backoff: Backoff::default(),
            breaker: BreakerSettings::default(),
            faults: Faults::default(),
        }
    }
}

/// What all workers of this process share.
struct Shared<P> {
    database: Database,
    writers: Arc<Writers>,
    performer: P,
    settings: OutboxSettings,
}

/// Why the outbox's tables could not be worked on.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    /// No connection could be had.
    #[error("no connection: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    /// The database refused, or a row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
}

impl From<tokio_postgres::Error> for OutboxError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Row(error.into())
    }
}

/// The outbox of one process: finds ledgers that have something to do, and has each worked on by a task of its own.
pub struct Outbox<P> {
    shared: Arc<Shared<P>>,
    ledgers: BTreeSet<LedgerId>,
    tasks: JoinSet<()>,
    busy: HashMap<Id, LedgerId>,
    stop: watch::Sender<bool>,
    /// What effects were counted of so far, by state and kind.
    counted: BTreeSet<(&'static str, String)>,
    /// Whether the last look met an error, which has been told.
    is_blind: bool,
}

impl<P: Perform> Outbox<P> {
    /// Prepares it: `performer` carries out what is found in `database`, `writers` take its results.
    pub fn new(database: Database, writers: Arc<Writers>, performer: P, settings: OutboxSettings) -> Self {
        Self {
            shared: Arc::new(Shared { database, writers, performer, settings }),
            ledgers: BTreeSet::new(),
            tasks: JoinSet::new(),
            busy: HashMap::new(),
            stop: watch::Sender::new(false),
            counted: BTreeSet::new(),
            is_blind: false,
        }
    }

    /// Works until `stop` is done, and then until the attempts under way are.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut orders = self.shared.writers.orders();
        let mut seen = HashMap::new();
        let (mut looks, mut counts) = (every(self.shared.settings.look_every), every(COUNT_EVERY));
        loop {
            let work = async {
                tokio::select! {
                    Ok(()) = orders.changed() => {
                        let now = orders.borrow_and_update().clone();
                        let ordered = now.iter().filter(|(ledger, position)| seen.get(*ledger) != Some(*position));
                        let ordered: Vec<LedgerId> = ordered.map(|(ledger, _)| *ledger).collect();
                        ordered.into_iter().for_each(|ledger| self.start(ledger));
                        seen = now;
                    }
                    Some(ended) = self.tasks.join_next_with_id() => self.end(ended),
                    _ = looks.tick() => self.look().await,
                    _ = counts.tick() => self.count().await,
                }
            };
            // A database that does not answer must not keep the process from ending.
            tokio::select! {
                () = &mut stop => break,
                () = work => {}
            }
        }
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    fn start(&mut self, ledger: LedgerId) {
        if self.busy.values().any(|busy| *busy == ledger) {
            return;
        }
        let worker = LedgerOutbox::new(ledger, Arc::clone(&self.shared));
        let task = self.tasks.spawn(worker.run(self.shared.writers.orders(), self.stop.subscribe()));
        self.busy.insert(task.id(), ledger);
    }

    fn end(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => {
                tracing::error!(%error, "a worker of the outbox ended before its time");
                error.id()
            }
        };
        self.busy.remove(&id);
    }

    /// Finds out which ledgers there are, and has those worked on that have something to do.
    async fn look(&mut self) {
        match self.find().await {
            Ok(found) => {
                self.is_blind = false;
                found.into_iter().for_each(|ledger| self.start(ledger));
            }
            Err(error) => self.complain(&error),
        }
    }

    async fn find(&mut self) -> Result<Vec<LedgerId>, OutboxError> {
        let client = self.shared.database.pool().get().await?;
        let ledgers = list_ledgers(&client).await?;
        self.ledgers = ledgers.iter().map(|ledger| ledger.ledger).collect();
        let mut found = Vec::new();
        for ledger in self.ledgers.iter().filter(|ledger| !self.busy.values().any(|busy| busy == *ledger)) {
            let work = timeout(LOOK_LIMIT, find_work(&client, *ledger)).await;
            if !work.map_err(|_| OutboxError::TimedOut)??.is_empty() {
                found.push(*ledger);
            }
        }
        Ok(found)
    }

    /// Counts the effects of all ledgers.
    async fn count(&mut self) {
        match self.count_all().await {
            Ok(counts) => self.publish(&counts),
            Err(error) => self.complain(&error),
        }
    }

    async fn count_all(&self) -> Result<Vec<Count>, OutboxError> {
        let client = self.shared.database.pool().get().await?;
        let mut counts = Vec::new();
        for ledger in &self.ledgers {
            let counted = timeout(LOOK_LIMIT, count(&client, *ledger)).await;
            counts.extend(counted.map_err(|_| OutboxError::TimedOut)??);
        }
        Ok(counts)
    }

    /// Sets the gauges; what there is none of any more goes to nothing.
    fn publish(&mut self, counts: &[Count]) {
        self.counted.extend(counts.iter().map(|count| (count.state.as_str(), count.kind.clone())));
        for (state, kind) in &self.counted {
            let of_both = counts.iter().filter(|count| count.state.as_str() == *state && count.kind == *kind);
            let effects: i64 = of_both.map(|count| count.effects).sum();
            gauge!(OUTBOX_EFFECTS, "state" => *state, "kind" => kind.clone()).set(effects as f64);
        }
        for state in EffectState::ALL {
            let of_state = counts.iter().filter(|count| count.state == state);
            let oldest = of_state.map(|count| count.oldest).max().unwrap_or_default();
            gauge!(OUTBOX_OLDEST_SECONDS, "state" => state.as_str()).set(oldest.as_secs_f64());
        }
    }

    fn complain(&mut self, error: &OutboxError) {
        if !std::mem::replace(&mut self.is_blind, true) {
            tracing::warn!(%error, "it cannot be found out where effects wait");
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut moments = interval(period);
    moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    moments
}
