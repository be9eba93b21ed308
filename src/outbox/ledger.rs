//! The worker of one ledger in this process: holds leases of shards, reads what they have, has it carried out, and writes
//! down what became of it.
//!
//! One task does all the talking to the outbox's tables, in this order: finish, then claim. So whatever was put behind an
//! effect that failed is there when the next effects of its key are read. Runs, one for each key, work meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_postgres::Object;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use tokio_postgres::Client;

use super::{
    OutboxError, Shared,
    attempt::{Attempted, Claimed},
    breaker::Breakers,
    faults::Fault,
    perform::Perform,
    shard::{Run, Shard, Tenure, relied_on},
};
use crate::{
    domain::ids::{LedgerId, Position},
    store::outbox::{
        claim::{Claim, Origin, Room, Witness, claim},
        finish::{Batch, End, Finished, finish},
        lease::{self, Lease, find_work},
    },
    store::reconciliation::gate,
};

/// How many leases are taken at once: processes that start together share the shards of a backlog.
const LEASES_AT_ONCE: usize = 16;
/// How many effects that are due again are read of a shard, beyond those in hand.
const DUE_AT_ONCE: usize = 64;
/// How long one talk with the database may take.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait after one that failed.
const TROUBLE_PAUSE: Duration = Duration::from_millis(200);

/// What became of one effect.
struct Ended {
    fence: i64,
    claimed: Claimed,
    end: End,
}

/// What a run says.
enum Told {
    /// What became of one effect.
    Ended(Box<Ended>),
    /// The run is over. If it is blocked, what was not begun has to wait in the tables.
    Over { shard: i16, fence: i64, key: String, not_begun: Vec<Claimed>, is_blocked: bool },
}

/// See the module.
pub(super) struct LedgerOutbox<P> {
    ledger: LedgerId,
    shared: Arc<Shared<P>>,
    breakers: Arc<Breakers>,
    permits: Arc<Semaphore>,
    shards: BTreeMap<i16, Shard>,
    /// What is to be written.
    finished: Vec<Finished>,
    tell: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
    runs: usize,
    renewed: Instant,
    /// Whether there may be something to read.
    is_hungry: bool,
    /// Whether others' shards are to be looked at.
    is_curious: bool,
    is_troubled: bool,
    /// Whether effects wait until Stripe was asked, which has been told.
    is_paused: bool,
    last_work: Instant,
    /// Where the ledger ended when it was last read.
    witness: Option<Witness>,
}

impl<P: Perform> LedgerOutbox<P> {
    pub(super) fn new(ledger: LedgerId, shared: Arc<Shared<P>>) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            ledger,
            breakers: Arc::new(Breakers::new(shared.settings.breaker)),
            permits: Arc::new(Semaphore::new(shared.settings.concurrency)),
            shared,
            shards: BTreeMap::new(),
            finished: Vec::new(),
            tell,
            told,
            runs: 0,
            renewed: Instant::now(),
            is_hungry: false,
            is_curious: true,
            is_troubled: false,
            is_paused: false,
            last_work: Instant::now(),
            witness: None,
        }
    }

    /// Works until there has been nothing to do for a while, or until `stop` says so; then until what was begun is
    /// finished, and gives the leases back.
    pub(super) async fn run(
        mut self,
        mut orders: watch::Receiver<HashMap<LedgerId, Position>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut looks = interval(self.shared.settings.look_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        while !*stop.borrow() && !self.is_idle() {
            match self.work().await {
                Ok(()) => self.is_troubled = false,
                Err(error) => {
                    self.complain(&error);
                    sleep(TROUBLE_PAUSE).await;
                }
            }
            if self.can_go_on() {
                // What runs told meanwhile goes into the next batch.
                self.listen();
                continue;
            }
            tokio::select! {
                _ = stop.wait_for(|is_over| *is_over) => break,
                Some(told) = self.told.recv() => self.hear(told),
                _ = looks.tick() => (self.is_hungry, self.is_curious) = (true, true),
                Ok(()) = orders.changed() => {
                    let position = orders.borrow_and_update().get(&self.ledger).copied();
                    if position != seen {
                        seen = position;
                        (self.is_hungry, self.is_curious) = (true, true);
                    }
                }
            }
            self.listen();
        }
        self.leave().await;
    }

    fn is_idle(&self) -> bool {
        self.in_hand() == 0 && self.last_work.elapsed() >= self.shared.settings.idle
    }

    fn in_hand(&self) -> usize {
        self.shards.values().map(Shard::in_hand).sum()
    }

    fn has_room(&self) -> bool {
        self.in_hand() <= self.shared.settings.window / 2
    }

    /// Whether there is something to do without waiting.
    fn can_go_on(&self) -> bool {
        let can_read = self.is_hungry && self.has_room() && !self.shards.is_empty();
        !self.is_troubled && (!self.finished.is_empty() || self.is_curious || can_read)
    }

    /// One round: write what became of effects, hold on to the leases, look for more.
    async fn work(&mut self) -> Result<(), OutboxError> {
        self.renew_in_time().await?;
        self.write_finished().await?;
        if std::mem::take(&mut self.is_curious) {
            self.acquire().await?;
        }
        if self.is_hungry && self.has_room() && !self.shards.is_empty() {
            self.claim().await?;
        }
        Ok(())
    }

    /// Hears everything that runs have told.
    fn listen(&mut self) {
        while let Ok(told) = self.told.try_recv() {
            self.hear(told);
        }
    }

    fn hear(&mut self, told: Told) {
        self.last_work = Instant::now();
        match told {
            Told::Ended(ended) => {
                let Ended { fence, claimed, end } = *ended;
                let shard = self.shards.get(&claimed.effect.place.shard);
                let held = shard.filter(|shard| shard.lease.fence == fence);
                self.finished.extend(held.map(|shard| shard.finished(&claimed, end)));
            }
            Told::Over { shard, fence, key, not_begun, is_blocked } => {
                self.runs -= 1;
                let Some(shard) = self.shards.get_mut(&shard).filter(|shard| shard.lease.fence == fence)
                else {
                    return;
                };
                self.finished.extend(shard.end_run(&key, not_begun, is_blocked));
                if !shard.tenure.is_over()
                    && let Some(run) = shard.run_of(&key)
                {
                    let (lease, tenure) = (shard.lease, Arc::clone(&shard.tenure));
                    self.start_run(lease, tenure, run);
                }
            }
        }
    }

    /// Takes leases of shards that nobody works on and that have something to do.
    async fn acquire(&mut self) -> Result<(), OutboxError> {
        let asked = Instant::now();
        let (ledger, lasting) = (self.ledger, self.shared.settings.lease);
        let taken = self
            .talk(async |client| {
                let mut shards = find_work(client, ledger).await?;
                // Whoever comes at the same time begins elsewhere.
                let start = usize::from(rand::random::<u8>()) % shards.len().max(1);
                shards.rotate_left(start);
                shards.truncate(LEASES_AT_ONCE);
                match &shards[..] {
                    [] => Ok(Vec::new()),
                    shards => lease::acquire(client, ledger, shards, lasting).await,
                }
            })
            .await?;
        if taken.is_empty() {
            return Ok(());
        }
        self.shared.settings.faults.reach(Fault::AfterAcquire);
        if self.shards.is_empty() {
            self.renewed = asked;
        }
        self.is_curious = taken.len() >= LEASES_AT_ONCE;
        self.is_hungry = true;
        for lease in taken {
            let tenure = Tenure::until(relied_on(asked, lasting));
            // One of the same shard that ran out by itself.
            if let Some(lost) = self.shards.insert(lease.shard, Shard::new(lease, tenure)) {
                lost.tenure.end();
            }
        }
        Ok(())
    }

    /// Reads what is next and has it begun.
    async fn claim(&mut self) -> Result<(), OutboxError> {
        let at = Instant::now();
        let room = self.shared.settings.window.saturating_sub(self.in_hand()) / self.shards.len().max(1);
        let due_in_hand = self.shards.values().map(Shard::due_in_hand).max().unwrap_or_default();
        let room = Room { fresh: count(room.max(1)), due: count(due_in_hand + DUE_AT_ONCE) };
        let readings: Vec<_> = self.shards.values().map(Shard::reading).collect();
        let ledger = self.ledger;
        let Claim { effects, is_paused, witness } =
            self.talk(async |client| claim(client, ledger, &readings, room).await).await?;
        if self.witness.is_some_and(|before| !before.is_continued_by(&witness)) {
            // Written down first: if this process dies, nobody else may know.
            self.talk(async |client| gate::close(client, ledger).await).await?;
            self.forget(witness);
            return Ok(());
        }
        self.witness = Some(witness);
        if is_paused != std::mem::replace(&mut self.is_paused, is_paused) {
            tracing::warn!(%ledger, is_paused, "effects wait while the ledger may lack what Stripe knows");
        }
        let mut read: HashMap<i16, i64> = HashMap::new();
        for effect in effects {
            let Some(shard) = self.shards.get_mut(&effect.place.shard) else { continue };
            if effect.origin == Origin::Fresh {
                *read.entry(effect.place.shard).or_default() += 1;
            }
            let before = shard.in_hand();
            self.finished.extend(shard.take(Claimed { effect, at }));
            if shard.in_hand() > before {
                self.last_work = at;
            }
        }
        self.is_hungry = read.values().any(|count| *count >= room.fresh);
        if !read.is_empty() {
            self.shared.settings.faults.reach(Fault::AfterClaim);
        }
        self.start_runs();
        Ok(())
    }

    /// History was lost: what was read and what was done may not be what this database knows. The leases run out, and
    /// whoever takes them next begins where the database says.
    fn forget(&mut self, witness: Witness) {
        tracing::error!(ledger = %self.ledger, head = %witness.head, "history was lost: leases of the outbox are given up");
        for (_, shard) in std::mem::take(&mut self.shards) {
            shard.tenure.end();
        }
        self.finished.clear();
        self.witness = Some(witness);
    }

    /// Begins whatever can begin.
    fn start_runs(&mut self) {
        let shards = self.shards.values_mut().filter(|shard| !shard.tenure.is_over());
        let ready: Vec<_> = shards
            .flat_map(|shard| {
                let (lease, tenure) = (shard.lease, Arc::clone(&shard.tenure));
                shard.runs().into_iter().map(move |run| (lease, Arc::clone(&tenure), run))
            })
            .collect();
        ready.into_iter().for_each(|(lease, tenure, run)| self.start_run(lease, tenure, run));
    }

    fn start_run(&mut self, lease: Lease, tenure: Arc<Tenure>, run: Run) {
        self.runs += 1;
        let runner = Runner {
            ledger: self.ledger,
            shared: Arc::clone(&self.shared),
            breakers: Arc::clone(&self.breakers),
            permits: Arc::clone(&self.permits),
            tenure,
            tell: self.tell.clone(),
        };
        tokio::spawn(runner.run(lease, run));
    }

    /// Writes what became of effects, a batch at a time.
    async fn write_finished(&mut self) -> Result<(), OutboxError> {
        while !self.finished.is_empty() {
            let size = self.finished.len().min(self.shared.settings.finish_batch);
            let batch = &self.finished[..size];
            let client = self.connection().await?;
            let faults = &self.shared.settings.faults;
            let sent = async {
                let unfinished = finish(&client, self.ledger, batch).await?;
                let has = |pick: fn(&End) -> bool| batch.iter().any(|finished| pick(&finished.end));
                if has(|end| matches!(end, End::Done)) {
                    faults.reach(Fault::BeforeDone);
                }
                if has(|end| matches!(end, End::Later { .. } | End::Behind)) {
                    faults.reach(Fault::BeforeRetry);
                }
                if has(|end| matches!(end, End::Dead { .. })) {
                    faults.reach(Fault::BeforeDead);
                }
                Ok::<_, OutboxError>(unfinished.commit().await?)
            };
            let committed = timeout(STEP_LIMIT, sent).await.unwrap_or(Err(OutboxError::TimedOut));
            let Batch { held, released } = match committed {
                Ok(batch) => batch,
                Err(error) => {
                    // Whatever it has begun must not reach whoever gets the connection next.
                    drop(Object::take(client));
                    return Err(error);
                }
            };
            drop(client);
            faults.reach(Fault::AfterCommit);
            self.is_hungry |= released;
            for finished in self.finished.drain(..size) {
                if let Some(shard) = self.shards.get_mut(&finished.place.shard)
                    && shard.lease.fence == finished.fence
                {
                    if held.contains(&finished.place.shard) {
                        shard.leave(finished.place, finished.origin);
                    } else {
                        tracing::warn!(ledger = %self.ledger, shard = finished.place.shard, "a lease was lost");
                        shard.tenure.end();
                        self.shards.remove(&finished.place.shard);
                    }
                }
            }
        }
        Ok(())
    }

    /// Holds on to the leases when a third of their time is over.
    async fn renew_in_time(&mut self) -> Result<(), OutboxError> {
        let lasting = self.shared.settings.lease;
        if self.shards.is_empty() || self.renewed.elapsed() < lasting / 3 {
            return Ok(());
        }
        self.shared.settings.faults.reach(Fault::BeforeRenewal);
        let asked = Instant::now();
        let leases: Vec<Lease> = self.shards.values().map(Shard::watermark).collect();
        let (ledger, witness) = (self.ledger, self.witness);
        let renewal = async |client: &Client| {
            lease::renew(client, ledger, &leases, Some(lasting), witness.as_ref()).await
        };
        let held = self.talk(renewal).await?;
        self.shared.settings.faults.reach(Fault::AfterRenewal);
        self.renewed = asked;
        self.shards.retain(|number, shard| {
            let is_held = held.contains(number);
            if is_held {
                shard.tenure.prolong(relied_on(asked, lasting));
            } else {
                tracing::warn!(%ledger, shard = number, "a lease was lost");
                shard.tenure.end();
            }
            is_held
        });
        for lease in leases {
            if let Some(shard) = self.shards.get_mut(&lease.shard) {
                shard.lease.done = lease.done;
            }
        }
        // Those that had to wait for the renewal.
        self.start_runs();
        Ok(())
    }

    /// Has nothing more begun, writes what becomes of what was, and gives the leases back.
    async fn leave(mut self) {
        for shard in self.shards.values() {
            shard.tenure.end();
        }
        let mut renewals = interval(self.shared.settings.lease / 4);
        while self.runs > 0 {
            tokio::select! {
                Some(told) = self.told.recv() => self.hear(told),
                _ = renewals.tick() => {}
            }
            self.listen();
            let written = async {
                self.renew_in_time().await?;
                self.write_finished().await
            };
            if let Err(error) = written.await {
                self.complain(&error);
                sleep(TROUBLE_PAUSE).await;
            }
        }
        self.shared.settings.faults.reach(Fault::BeforeRelease);
        let leases: Vec<Lease> = self.shards.values().map(Shard::watermark).collect();
        let (ledger, witness) = (self.ledger, self.witness);
        let released = async {
            self.write_finished().await?;
            let release =
                async |client: &Client| lease::renew(client, ledger, &leases, None, witness.as_ref()).await;
            self.talk(release).await
        };
        if !leases.is_empty()
            && let Err(error) = released.await
        {
            // They run out.
            self.complain(&error);
        }
    }

    async fn talk<T, E: Into<OutboxError>>(
        &self,
        words: impl AsyncFnOnce(&Client) -> Result<T, E>,
    ) -> Result<T, OutboxError> {
        let talk = async {
            let client = self.connection().await?;
            words(&client).await.map_err(Into::into)
        };
        timeout(STEP_LIMIT, talk).await.unwrap_or(Err(OutboxError::TimedOut))
    }

    async fn connection(&self) -> Result<Object, OutboxError> {
        Ok(self.shared.database.pool().get().await?)
    }

    fn complain(&mut self, error: &OutboxError) {
        // Tried again; told once.
        if !std::mem::replace(&mut self.is_troubled, true) {
            tracing::warn!(%error, ledger = %self.ledger, "effects have to wait");
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Carries out effects of one key, one after the other.
struct Runner<P> {
    ledger: LedgerId,
    shared: Arc<Shared<P>>,
    breakers: Arc<Breakers>,
    permits: Arc<Semaphore>,
    tenure: Arc<Tenure>,
    tell: mpsc::UnboundedSender<Told>,
}

impl<P: Perform> Runner<P> {
    async fn run(self, lease: Lease, run: Run) {
        let (mut effects, mut is_blocked) = (run.effects.into_iter(), false);
        let mut not_begun = Vec::new();
        for claimed in effects.by_ref() {
            let Some(end) = self.carry_out(&claimed).await else {
                not_begun.push(claimed);
                break;
            };
            is_blocked = matches!(end, End::Later { .. } | End::Dead { blocks: true, .. });
            self.say(Told::Ended(Box::new(Ended { fence: lease.fence, claimed, end })));
            if is_blocked {
                break;
            }
        }
        not_begun.extend(effects);
        let Lease { shard, fence, .. } = lease;
        self.say(Told::Over { shard, fence, key: run.key, not_begun, is_blocked });
    }

    /// Nothing if the lease is not to be relied on any more.
    async fn carry_out(&self, claimed: &Claimed) -> Option<End> {
        let Some(ordered) = claimed.ordered(self.ledger) else {
            return Some(self.shared.unreadable(claimed));
        };
        let destination = self.shared.performer.destination(&ordered);
        let (permit, admission) = tokio::select! {
            leave = self.breakers.admit(destination, &self.permits) => leave,
            () = self.tenure.over() => return None,
        };
        if self.tenure.is_over() {
            return None;
        }
        let Attempted { end, health } = self.shared.attempt(claimed, &ordered).await;
        admission.tell(health);
        drop(permit);
        Some(end)
    }

    fn say(&self, told: Told) {
        // Nobody listens any more once the worker has gone, and then nobody needs to.
        drop(self.tell.send(told));
    }
}
