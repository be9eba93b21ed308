//! The worker: finds ledgers whose stored webhooks wait, and has them worked off.
//!
//! Invariants:
//! - ledgers do not wait for each other: each is worked on by a task of its own, a batch at a time;
//! - where more ledgers wait than can be worked on at once, each has a batch in turn, however much others have to do;
//! - one ledger is worked on by at most one task of a process; processes share by claims;
//! - webhooks of which Stripe has to tell something keep nothing else waiting: each is a task of its own;
//! - nothing depends on being woken: every ledger is looked at again and again.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{self, JoinError, JoinSet},
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use crate::{domain::ids::LedgerId, rounds::Round, store::ledgers::Ledger};

use super::{
    batch::{Asking, Batches, StoreError, Worked},
    tidy::tidy_up,
};

/// How many ledgers are worked on at the same time.
const LEDGERS_AT_ONCE: usize = 8;
/// How often ledgers are looked at without being told to: for what other processes received or left.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long what waits for Stripe may go on when the process is to end. What is left is claimed, and taken over then.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The worker of one process.
pub struct InboxWorker {
    batches: Arc<Batches>,
    bell: mpsc::Receiver<LedgerId>,
    ledgers: HashMap<LedgerId, Arc<Ledger>>,
    waiting: Round,
    tasks: JoinSet<Result<Worked, StoreError>>,
    busy: HashMap<task::Id, LedgerId>,
    asking: JoinSet<(LedgerId, Result<(), StoreError>)>,
    /// Ledgers whose last batch met an error, which has been told.
    troubled: BTreeSet<LedgerId>,
    /// Whether the last look met an error, which has been told.
    is_blind: bool,
}

impl InboxWorker {
    /// Prepares the worker. Whoever stores a webhook sends the ledger's number to the other end of `bell`.
    pub fn new(batches: Batches, bell: mpsc::Receiver<LedgerId>) -> Self {
        Self {
            batches: Arc::new(batches),
            bell,
            ledgers: HashMap::new(),
            waiting: Round::default(),
            tasks: JoinSet::new(),
            busy: HashMap::new(),
            asking: JoinSet::new(),
            troubled: BTreeSet::new(),
            is_blind: false,
        }
    }

    /// Works until `stop` is done, and then until the batches under way are.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let batches = Arc::clone(&self.batches);
        // Beside the work, because to tidy up may take long.
        tokio::select! {
            () = self.work(stop) => {}
            () = tidy_up(&batches) => {}
        }
    }

    async fn work(mut self, stop: impl Future<Output = ()>) {
        let (mut stop, mut look) = (pin!(stop), every(LOOK_EVERY));
        loop {
            self.start_tasks();
            let moment = tokio::select! {
                () = &mut stop => break,
                Some(ledger) = self.bell.recv() => Moment::Woken(ledger),
                Some(ended) = self.tasks.join_next_with_id() => Moment::Ended(ended),
                Some(answered) = self.asking.join_next() => Moment::Answered(answered),
                _ = look.tick() => Moment::Look,
            };
            // A database that does not answer must not keep the process from ending.
            tokio::select! {
                () = &mut stop => break,
                () = self.act(moment) => {}
            }
        }
        while self.tasks.join_next().await.is_some() {}
        let answers = async { while self.asking.join_next().await.is_some() {} };
        let _ = timeout(LAST_ANSWERS, answers).await;
    }

    async fn act(&mut self, moment: Moment) {
        match moment {
            Moment::Woken(ledger) => self.wake(ledger).await,
            Moment::Ended(ended) => self.end_task(ended),
            Moment::Answered(answered) => self.end_question(answered),
            Moment::Look => self.look().await,
        }
    }

    /// Begins work on ledgers that wait, as many as may be worked on at once.
    fn start_tasks(&mut self) {
        while self.busy.len() < LEDGERS_AT_ONCE {
            let is_free = |ledger: LedgerId| self.busy.values().all(|busy| *busy != ledger);
            let Some(number) = self.waiting.take_next(is_free) else { return };
            let Some(ledger) = self.ledgers.get(&number).cloned() else { continue };
            let batches = Arc::clone(&self.batches);
            let handle = self.tasks.spawn(async move { batches.work_off_one(&ledger).await });
            self.busy.insert(handle.id(), number);
        }
    }

    fn end_task(&mut self, ended: Ended) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(ledger) = self.busy.remove(&id) else { return };
        match ended {
            Ok((_, Ok(worked))) => {
                self.troubled.remove(&ledger);
                if worked.is_whole {
                    self.waiting.add([ledger]);
                }
                self.begin_to_ask(ledger, worked.asking);
            }
            Ok((_, Err(error))) => self.tell_trouble(ledger, &error),
            Err(error) => self.tell_trouble(ledger, &error),
        }
    }

    fn begin_to_ask(&mut self, ledger: LedgerId, asking: Vec<Asking>) {
        for asking in asking {
            let batches = Arc::clone(&self.batches);
            self.asking.spawn(async move { (ledger, batches.ask(asking).await) });
        }
    }

    fn end_question(&mut self, answered: Answered) {
        match answered {
            Ok((_, Ok(()))) => {}
            Ok((ledger, Err(error))) => self.tell_trouble(ledger, &error),
            Err(error) => tracing::warn!(%error, "a stored webhook has to wait"),
        }
    }

    /// What could not be done is tried again with the next look, or when its claim runs out; told once.
    fn tell_trouble(&mut self, ledger: LedgerId, error: &dyn fmt::Display) {
        if self.troubled.insert(ledger) {
            tracing::warn!(%error, %ledger, "stored webhooks have to wait");
        }
    }

    async fn wake(&mut self, ledger: LedgerId) {
        if !self.ledgers.contains_key(&ledger) {
            self.look().await;
        }
        self.waiting.add([ledger]);
    }

    /// Finds out which ledgers there are, and looks at all of them.
    async fn look(&mut self) {
        match self.batches.list_ledgers().await {
            Ok(ledgers) => {
                self.is_blind = false;
                self.waiting.add(ledgers.iter().map(|ledger| ledger.ledger));
                self.ledgers = ledgers.into_iter().map(|ledger| (ledger.ledger, Arc::new(ledger))).collect();
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_blind, true) {
                    tracing::warn!(%error, "it cannot be found out where webhooks are stored");
                }
            }
        }
    }
}

/// How the task of a batch ended.
type Ended = Result<(task::Id, Result<Worked, StoreError>), JoinError>;

/// How a webhook ended of which Stripe had to tell something.
type Answered = Result<(LedgerId, Result<(), StoreError>), JoinError>;

/// What the worker is woken by.
enum Moment {
    Woken(LedgerId),
    Ended(Ended),
    Answered(Answered),
    Look,
}

/// Moments so far apart, counted anew from whoever is late.
pub(super) fn every(period: Duration) -> Interval {
    let mut moments = interval(period);
    moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    moments
}
