//! Seals the events of every ledger that has a log: adds them to its Merkle tree, signs the tree's head, publishes it.
//!
//! Off the write path: it follows the events by position, as the projector does. Woken when a thousand events wait, and
//! looking around once a second, it signs a checkpoint for whatever there is by then.
//!
//! | file | holds |
//! | --- | --- |
//! | `log` | one log: what it goes on from, and one step of it |
//! | `outside` | where checkpoints stand outside of the database |
//!
//! Invariants:
//! - one process seals a log: it holds the log's lease, and whatever it writes names the lease's fence;
//! - what is published was committed before; of heads that are made in a row the newest is, once a second;
//! - before each signature the log is held against the last checkpoint that stands outside: a log that is behind it or
//!   differs from it halts for good, and so does one whose ledger lost history. `counterfoil recover` opens another;
//! - a log is halted only under its lease, by what was read since the lease was taken;
//! - nothing else is ever halted: whatever may pass is tried again, by whoever comes first, since the lease is given back.

mod log;
pub mod outside;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use metrics::{counter, gauge};
use tokio::{sync::watch, time::Instant};

use crate::{
    credentials::{NoSigner, Vault},
    domain::ids::{LedgerId, Position},
    store::{
        errors::describe_causes,
        ledgers::list_ledgers,
        logs::seal::{Distance, find_distance},
        rows::RowError,
    },
    telemetry::metrics::{
        SEALER_EVENTS, SEALER_HALTED, SEALER_LAG_EVENTS, SEALER_LAG_SECONDS, SEALER_UNPUBLISHED,
    },
};
use log::{Held, Step};
use outside::{Outside, OutsideError};

/// A checkpoint is signed when so many events wait, whatever the time, and takes in no more than these.
const AT_ONCE: i64 = 1_000;
/// How often whatever there is gets a checkpoint.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looking around takes at most one part in so many of the time, however many ledgers there are.
const LOOK_SHARE: u32 = 20;
/// How many logs are worked on at a time.
const WORKERS: usize = 4;
/// Pauses after failures begin with this and double up to [`LONGEST_PAUSE`], for each log on its own.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a step failed. All of it may pass.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No connection could be had.
    #[error("no connection: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    /// The database refused, or a row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// There is nothing to sign with.
    #[error("nothing can be signed: {0}")]
    Keys(#[from] NoSigner),
    /// The outside.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// An event has no canonical bytes.
    #[error("the event at {0} cannot be sealed")]
    Event(Position),
}

/// Seals all ledgers of a database.
pub struct Sealer {
    vault: Vault,
    outside: Outside,
    held: BTreeMap<LedgerId, Held>,
    /// How far each log was sealed when it was looked at last, of those that go on and were not found to be sealed
    /// elsewhere since.
    sealed: BTreeMap<LedgerId, Position>,
    /// The logs that could not be sealed when that was tried last.
    troubles: BTreeMap<LedgerId, Trouble>,
}

/// Something that failed and is tried again, each time after a longer pause.
struct Trouble {
    pause: Duration,
    until: Instant,
}

impl Trouble {
    fn after(before: Option<Self>) -> Self {
        let pause = before.map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
        Self { pause, until: Instant::now() + pause }
    }
}

impl Sealer {
    /// A sealer with the keys of `vault`, publishing to `outside`.
    pub fn new(vault: Vault, outside: Outside) -> Self {
        let (held, sealed, troubles) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { vault, outside, held, sealed, troubles }
    }

    /// Runs until `stop` ends, woken by the heads that this process moves.
    pub async fn run(
        mut self,
        mut heads: watch::Receiver<HashMap<LedgerId, Position>>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut look_at = Instant::now();
        let mut unseen = None;
        let mut due = BTreeSet::new();
        loop {
            let retry_at = self.troubles.values().map(|trouble| trouble.until).min();
            let idle_until = retry_at.map_or(look_at, |retry_at| retry_at.min(look_at));
            let until = if due.is_empty() { idle_until } else { Instant::now() };
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep_until(until) => {}
                Ok(()) = heads.changed(), if due.is_empty() => {
                    due.extend(full(&self.sealed, &heads.borrow_and_update()));
                }
            }
            if Instant::now() >= look_at {
                let behind;
                (behind, look_at) = self.look_again(&mut unseen).await;
                due.extend(behind);
            }
            self.choose(&mut due);
            due = self.one_step_each(due).await;
        }
        self.let_go().await;
    }

    /// Looks around; returns who has something to do, and when to look again.
    async fn look_again(&mut self, unseen: &mut Option<Trouble>) -> (Vec<LedgerId>, Instant) {
        let started = Instant::now();
        match self.look_around().await {
            Ok(behind) => {
                *unseen = None;
                (behind, Instant::now() + LOOK_INTERVAL.max(started.elapsed() * LOOK_SHARE))
            }
            Err(error) => {
                let error = describe_causes(&error);
                if unseen.is_none() {
                    tracing::warn!(error, "logs cannot be looked at; will be tried again");
                } else {
                    tracing::debug!(error, "logs still cannot be looked at");
                }
                let trouble = Trouble::after(unseen.take());
                let look_at = trouble.until;
                *unseen = Some(trouble);
                (Vec::new(), look_at)
            }
        }
    }

    /// Leaves out those that failed and are not to be tried yet, and adds those that are.
    fn choose(&self, due: &mut BTreeSet<LedgerId>) {
        let now = Instant::now();
        for (ledger, trouble) in &self.troubles {
            if trouble.until <= now {
                due.insert(*ledger);
            } else {
                due.remove(ledger);
            }
        }
    }

    /// Finds out how far every log is, and returns those with something to do.
    async fn look_around(&mut self) -> Result<Vec<LedgerId>, SealError> {
        let client = self.vault.database().pool().get().await?;
        let (mut behind, mut sealed, mut lag) = (Vec::new(), BTreeMap::new(), Lag::default());
        for ledger in list_ledgers(&client).await? {
            let Some(distance) = find_distance(&client, ledger.ledger).await? else { continue };
            lag.take_in(&distance, self.outside.is_anywhere());
            if distance.log.halted.is_some() {
                self.held.remove(&ledger.ledger);
                continue;
            }
            sealed.insert(ledger.ledger, distance.log.sealed);
            let is_unpublished = self.outside.is_anywhere() && distance.log.published < distance.log.sealed;
            let is_level =
                distance.head == distance.log.sealed && distance.incarnation == distance.log.incarnation;
            let is_elsewhere = distance.is_leased && !self.held.contains_key(&ledger.ledger);
            if (!is_level || is_unpublished) && !is_elsewhere {
                behind.push(ledger.ledger);
            }
        }
        self.sealed = sealed;
        lag.publish();
        Ok(behind)
    }

    /// Returns who has more to seal than one step takes.
    async fn one_step_each(&mut self, due: BTreeSet<LedgerId>) -> BTreeSet<LedgerId> {
        let attempts: Vec<_> =
            due.into_iter().map(|ledger| (ledger, self.held.remove(&ledger).unwrap_or_default())).collect();
        let (vault, outside) = (&self.vault, &self.outside);
        let steps = attempts.into_iter().map(|(ledger, mut held)| async move {
            let outcome = log::step(vault, outside, ledger, &mut held).await;
            if !matches!(outcome, Ok(Step::Sealed { .. })) {
                // Somebody else may be able to go on.
                give_back(&mut held, vault, ledger).await;
            }
            (ledger, held, outcome)
        });
        let outcomes: Vec<_> = stream::iter(steps).buffer_unordered(WORKERS).collect().await;
        let mut unfinished = BTreeSet::new();
        for (ledger, held, outcome) in outcomes {
            if held.has_lease() {
                self.held.insert(ledger, held);
            }
            let before = self.troubles.remove(&ledger);
            match outcome {
                Ok(Step::Sealed { sealed, events, is_level }) => {
                    counter!(SEALER_EVENTS).increment(events.unsigned_abs());
                    self.sealed.insert(ledger, sealed);
                    if !is_level {
                        unfinished.insert(ledger);
                    }
                }
                // How far it is sealed elsewhere is not known until the next look; until then nobody is woken for it.
                Ok(Step::Passed) => {
                    self.sealed.remove(&ledger);
                }
                Ok(Step::Halted(halt)) => {
                    tracing::error!(
                        ledger = ledger.0,
                        code = halt.code,
                        because = halt.because,
                        "a log is halted; see `counterfoil recover`"
                    );
                    self.sealed.remove(&ledger);
                }
                Err(error) => self.note_failure(ledger, before, &error),
            }
        }
        unfinished
    }

    /// The first failure of a row is worth a warning; the lag metric tells the rest.
    fn note_failure(&mut self, ledger: LedgerId, before: Option<Trouble>, error: &SealError) {
        let error = describe_causes(error);
        if before.is_none() {
            tracing::warn!(ledger = ledger.0, error, "a log cannot be sealed; will be tried again");
        } else {
            tracing::debug!(ledger = ledger.0, error, "a log still cannot be sealed");
        }
        self.troubles.insert(ledger, Trouble::after(before));
    }

    /// Lets another process go on at once.
    async fn let_go(self) {
        for (ledger, mut held) in self.held {
            give_back(&mut held, &self.vault, ledger).await;
        }
    }
}

/// The ledgers of which so many events wait that no more are waited for.
fn full(sealed: &BTreeMap<LedgerId, Position>, heads: &HashMap<LedgerId, Position>) -> Vec<LedgerId> {
    let is_full = |(ledger, head): &(&LedgerId, &Position)| {
        sealed.get(*ledger).is_some_and(|sealed| head.0 - sealed.0 >= AT_ONCE)
    };
    heads.iter().filter(is_full).map(|(ledger, _)| *ledger).collect()
}

async fn give_back(held: &mut Held, vault: &Vault, ledger: LedgerId) {
    if let Err(error) = held.release(vault, ledger).await {
        tracing::debug!(ledger = ledger.0, error = describe_causes(&error), "a lease is not given back");
    }
}

/// How far logs are behind, over all ledgers.
#[derive(Default)]
struct Lag {
    events: i64,
    oldest: Duration,
    halted: u32,
    unpublished: i64,
}

impl Lag {
    fn take_in(&mut self, distance: &Distance, is_published: bool) {
        let log = &distance.log;
        if log.halted.is_some() {
            self.halted += 1;
            return;
        }
        self.events = self.events.max(distance.head.0 - log.sealed.0);
        self.oldest = self.oldest.max(distance.oldest);
        if is_published {
            self.unpublished = self.unpublished.max(log.sealed.0 - log.published.0);
        }
    }

    fn publish(&self) {
        gauge!(SEALER_LAG_EVENTS).set(self.events as f64);
        gauge!(SEALER_LAG_SECONDS).set(self.oldest.as_secs_f64());
        gauge!(SEALER_HALTED).set(f64::from(self.halted));
        gauge!(SEALER_UNPUBLISHED).set(self.unpublished as f64);
    }
}
