//! The worker: finds ledgers of which something is due, and takes the turn.
//!
//! Invariants:
//! - ledgers do not wait for each other: each turn is a task of its own, a few at a time;
//! - where more ledgers are due than can be worked on at once, each has its turn before any has a second one;
//! - nothing depends on being told: every ledger is looked at again and again, and processes share by leases.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use metrics::gauge;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{Reconciler, Stopped};
use crate::{
    domain::{ids::LedgerId, time::Span},
    rounds::Round,
    store::{
        ledgers::{Ledger, list_ledgers},
        reconciliation::{
            findings::{FindingKind, count_findings},
            turn::{find_standing, is_due},
        },
    },
    telemetry::metrics::{RECONCILIATION_FINDINGS, RECONCILIATION_LAG_SECONDS, RECONCILIATION_PAUSED},
};

/// How many ledgers are worked on at the same time.
const LEDGERS_AT_ONCE: usize = 4;
/// How often ledgers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often findings are counted.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// The worker of one process.
pub struct ReconcileWorker {
    reconciler: Arc<Reconciler>,
    ledgers: BTreeMap<LedgerId, Arc<Ledger>>,
    /// Those that have yet to be looked at.
    waiting: Round,
    /// The only ledger that it works on, if it is not for all.
    only: Option<LedgerId>,
    tasks: JoinSet<Result<bool, Stopped>>,
    busy: HashMap<Id, LedgerId>,
    stop: watch::Sender<bool>,
    /// Ledgers whose last turn met an error, which has been told.
    troubled: BTreeSet<LedgerId>,
    /// Whether the last look met an error, which has been told.
    is_blind: bool,
}

impl ReconcileWorker {
    /// Prepares the worker of all ledgers.
    pub fn new(reconciler: Arc<Reconciler>) -> Self {
        Self::of(reconciler, None)
    }

    /// Prepares the worker of one ledger.
    pub fn of_one(reconciler: Arc<Reconciler>, ledger: LedgerId) -> Self {
        Self::of(reconciler, Some(ledger))
    }

    fn of(reconciler: Arc<Reconciler>, only: Option<LedgerId>) -> Self {
        Self {
            reconciler,
            ledgers: BTreeMap::new(),
            waiting: Round::default(),
            only,
            tasks: JoinSet::new(),
            busy: HashMap::new(),
            stop: watch::Sender::new(false),
            troubled: BTreeSet::new(),
            is_blind: false,
        }
    }

    /// Works until `stop` is done. What is under way then is begun again by whoever has the next turn.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let (mut looks, mut counts) = (every(LOOK_EVERY), every(COUNT_EVERY));
        loop {
            let work = async {
                tokio::select! {
                    Some(ended) = self.tasks.join_next_with_id() => {
                        self.end_turn(ended);
                        self.start_turns().await;
                    }
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

    async fn look(&mut self) {
        match self.find_ledgers().await {
            Ok(()) => self.start_turns().await,
            Err(error) => self.complain(&error),
        }
    }

    async fn find_ledgers(&mut self) -> Result<(), Stopped> {
        let ledgers = list_ledgers(&*self.reconciler.connection().await?).await?;
        let wanted = ledgers.into_iter().filter(|ledger| self.only.is_none_or(|only| only == ledger.ledger));
        self.ledgers = wanted.map(|ledger| (ledger.ledger, Arc::new(ledger))).collect();
        self.waiting.add(self.ledgers.keys().copied());
        Ok(())
    }

    /// Begins turns of ledgers of which something is due, as many as may be worked on at once.
    async fn start_turns(&mut self) {
        match self.start_due().await {
            Ok(()) => self.is_blind = false,
            Err(error) => self.complain(&error),
        }
    }

    async fn start_due(&mut self) -> Result<(), Stopped> {
        let client = self.reconciler.connection().await?;
        while self.busy.len() < LEDGERS_AT_ONCE {
            let is_free = |ledger: LedgerId| self.busy.values().all(|busy| *busy != ledger);
            let Some(number) = self.waiting.take_next(is_free) else { break };
            let Some(ledger) = self.ledgers.get(&number).cloned() else { continue };
            if is_due(&client, number).await? {
                self.start(ledger);
            }
        }
        Ok(())
    }

    fn start(&mut self, ledger: Arc<Ledger>) {
        let (reconciler, mut stop) = (Arc::clone(&self.reconciler), self.stop.subscribe());
        let number = ledger.ledger;
        let task = self.tasks.spawn(async move {
            let stopped = async {
                // The other end is there for as long as the worker waits for its tasks.
                let _ = stop.wait_for(|is_over| *is_over).await;
            };
            reconciler.take_turn(&ledger, stopped).await
        });
        self.busy.insert(task.id(), number);
    }

    fn end_turn(&mut self, ended: Result<(Id, Result<bool, Stopped>), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(ledger) = self.busy.remove(&id) else { return };
        let error: &dyn std::fmt::Display = match &ended {
            Ok((_, Ok(_))) => {
                self.troubled.remove(&ledger);
                return;
            }
            Ok((_, Err(error))) => error,
            Err(error) => error,
        };
        // Tried again with the next look; told once.
        if self.troubled.insert(ledger) {
            tracing::warn!(%error, %ledger, "reconciliation has to wait");
        }
    }

    /// Counts findings, and tells how long ago events were read.
    async fn count(&mut self) {
        if let Err(error) = self.publish().await {
            self.complain(&error);
        }
    }

    async fn publish(&self) -> Result<(), Stopped> {
        let client = self.reconciler.connection().await?;
        let mut counts: HashMap<FindingKind, i64> = FindingKind::ALL.map(|kind| (kind, 0)).into();
        let (mut lag, mut paused) = (0, 0);
        for ledger in self.ledgers.keys() {
            for (kind, findings) in count_findings(&client, *ledger).await? {
                *counts.entry(kind).or_default() += findings;
            }
            let Some(standing) = find_standing(&client, *ledger).await? else { continue };
            paused += u32::from(standing.effects_wait);
            // A ledger that was never reconciled has no way to Stripe.
            let since_read = standing.events_read_at.map(|read_at| standing.now.since(read_at));
            lag = lag.max(since_read.map_or(0, Span::whole_seconds));
        }
        for (kind, count) in counts {
            gauge!(RECONCILIATION_FINDINGS, "kind" => kind.as_str()).set(count as f64);
        }
        gauge!(RECONCILIATION_LAG_SECONDS).set(lag as f64);
        gauge!(RECONCILIATION_PAUSED).set(f64::from(paused));
        Ok(())
    }

    fn complain(&mut self, error: &Stopped) {
        if !std::mem::replace(&mut self.is_blind, true) {
            tracing::warn!(%error, "it cannot be found out which ledgers are to be reconciled");
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut moments = interval(period);
    moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    moments
}
