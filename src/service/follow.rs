//! Following a ledger's events live. One task for each ledger reads what is new and hands it to everyone who follows; whoever
//! is behind, at the beginning or because he is slow, reads pages until he is level.
//!
//! Invariants:
//! - a follower gets every event after his position once and in order: what is handed to him begins where he is, or he reads
//!   the difference from the database;
//! - a task keeps at most [`KEPT_RUNS`] runs, however slow anyone is, and ends when nobody follows any more;
//! - nothing is handed out of another history: when one was lost, everyone's stream ends, and resuming it is refused;
//! - who may not read any more gets nothing more: streams end with the key that they were opened with.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};

use super::{Caller, PositionToken, Service, ServiceError, position::check_seen};
use crate::{
    domain::{
        EventBody,
        ids::{LedgerId, Position},
    },
    store::reads::{self, ReadError, events::StoredEvent},
    writer::{Incarnation, SubmitError},
};

/// How many events are read at once.
const PAGE: i64 = 500;
/// How many runs a task keeps for those who have not taken them yet.
const KEPT_RUNS: usize = 32;
/// How often is looked for what other processes wrote.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// The longest pause while events cannot be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Events that follow one another; never none.
pub struct Run {
    events: Vec<StoredEvent>,
    incarnation: Incarnation,
    written: OnceLock<Bytes>,
}

impl Run {
    fn new(events: Vec<StoredEvent>, incarnation: Incarnation) -> Option<Self> {
        (!events.is_empty()).then_some(Self { events, incarnation, written: OnceLock::new() })
    }

    fn first(&self) -> Position {
        self.events.first().map_or(Position(0), |stored| stored.event.position)
    }

    /// The position of the last event.
    pub fn last(&self) -> Position {
        self.events.last().map_or(Position(0), |stored| stored.event.position)
    }

    /// The events after a position as `write` writes them, each with the place to resume after it. All of them are written
    /// once, for everyone.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn written<E>(
        &self,
        after: Position,
        write: impl Fn(&StoredEvent, PositionToken) -> Result<Vec<u8>, E>,
    ) -> Result<Bytes, E> {
        let is_whole = after < self.first();
        if let Some(written) = self.written.get().filter(|_| is_whole) {
            return Ok(written.clone());
        }
        let mut text = Vec::new();
        for stored in self.events.iter().filter(|stored| stored.event.position > after) {
            let place = PositionToken::at(self.incarnation, stored.event.position);
            text.extend(write(stored, place)?);
        }
        let text = Bytes::from(text);
        Ok(if is_whole { self.written.get_or_init(|| text).clone() } else { text })
    }
}

/// The tasks, by ledger.
#[derive(Default)]
pub(super) struct Tails(Mutex<HashMap<LedgerId, broadcast::Sender<Arc<Run>>>>);

impl Tails {
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, broadcast::Sender<Arc<Run>>>> {
        // Nothing that is done under the lock can leave the map half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Someone who follows a ledger's events.
pub struct Follower {
    service: Arc<Service>,
    caller: Arc<Caller>,
    incarnation: Incarnation,
    after: Position,
    runs: broadcast::Receiver<Arc<Run>>,
    /// Whether everything was read that was not handed out.
    is_level: bool,
}

impl Follower {
    /// The next events, and the position after which they are new. None when there will be no more: the process ends, the
    /// key does not work any more, or the history was lost. May be dropped while it waits.
    ///
    /// # Errors
    /// Whatever keeps a page from being read.
    pub async fn next(&mut self) -> Result<Option<(Arc<Run>, Position)>, ServiceError> {
        loop {
            if self.is_over() {
                return Ok(None);
            }
            let run = if self.is_level {
                let run = match self.runs.recv().await {
                    Ok(run) => run,
                    // He was so slow that some were dropped: he reads them.
                    Err(RecvError::Lagged(_)) => {
                        self.is_level = false;
                        continue;
                    }
                    Err(RecvError::Closed) => return Ok(None),
                };
                if run.last() <= self.after {
                    continue;
                }
                if run.first().0 > self.after.0 + 1 {
                    self.is_level = false;
                    continue;
                }
                run
            } else {
                let list =
                    reads::events::list_events(&self.service.database, self.caller.ledger, self.after, PAGE);
                let (moment, events) = list.await?;
                if moment.incarnation != self.incarnation || moment.position < self.after {
                    return Ok(None);
                }
                let Some(run) = Run::new(events, self.incarnation) else {
                    self.is_level = true;
                    continue;
                };
                Arc::new(run)
            };
            if self.is_over() || run.events.iter().any(|stored| revokes(stored, &self.caller)) {
                return Ok(None);
            }
            let after = std::mem::replace(&mut self.after, run.last());
            return Ok(Some((run, after)));
        }
    }

    fn is_over(&self) -> bool {
        let key_has_ended = self.caller.works_until.is_some_and(|end| end <= Instant::now());
        self.service.is_going_down() || key_has_ended
    }
}

fn revokes(stored: &StoredEvent, caller: &Caller) -> bool {
    matches!(&stored.event.body, EventBody::KeyRevoked(body) if body.key == caller.key)
}

impl Service {
    /// Follows the events after a position: after that which was `seen`, if one is given. Gives the ledger's last position
    /// too.
    ///
    /// # Errors
    /// [`ServiceError::HistoryLost`] if what was seen is gone.
    pub async fn follow(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        after: Position,
        seen: Option<PositionToken>,
    ) -> Result<(Follower, Position), ServiceError> {
        if self.is_going_down() {
            return Err(SubmitError::ShuttingDown.into());
        }
        let moment = reads::read_moment(&self.database, caller.ledger).await?;
        check_seen(&moment, seen)?;
        let after = seen.map_or(after, PositionToken::position);
        let runs = self.subscribe(caller.ledger, moment.incarnation, moment.position);
        let (service, caller) = (Arc::clone(self), Arc::clone(caller));
        let follower =
            Follower { service, caller, incarnation: moment.incarnation, after, runs, is_level: false };
        Ok((follower, moment.position))
    }

    /// What is handed out from now on: everything after `head`, and maybe something before. Begins a task, if none is there.
    fn subscribe(
        self: &Arc<Self>,
        ledger: LedgerId,
        incarnation: Incarnation,
        head: Position,
    ) -> broadcast::Receiver<Arc<Run>> {
        let mut tails = self.tails.lock();
        match tails.entry(ledger) {
            Entry::Occupied(tail) => tail.get().subscribe(),
            Entry::Vacant(place) => {
                let (sender, receiver) = broadcast::channel(KEPT_RUNS);
                place.insert(sender.clone());
                tokio::spawn(Arc::clone(self).tail(ledger, incarnation, head, sender));
                receiver
            }
        }
    }

    /// Hands out what is new until nobody follows, the process ends or the history is lost.
    async fn tail(
        self: Arc<Self>,
        ledger: LedgerId,
        incarnation: Incarnation,
        mut at: Position,
        sender: broadcast::Sender<Arc<Run>>,
    ) {
        let mut heads = self.writers.commits();
        let mut going_down = self.is_going_down.subscribe();
        let mut pause = LOOK_AROUND;
        loop {
            if self.forget_unused(ledger, &sender) {
                return;
            }
            match self.read_run(ledger, incarnation, at).await {
                Ok(Some(run)) => {
                    pause = LOOK_AROUND;
                    let is_full = run.events.len() as i64 == PAGE;
                    at = run.last();
                    // That nobody is there any more is seen above.
                    let _ = sender.send(Arc::new(run));
                    if is_full {
                        continue;
                    }
                }
                Ok(None) => pause = LOOK_AROUND,
                Err(Untold::HistoryLost) => break,
                // The database may come back; requests say that it is away. Commits are no reason to look sooner: one that
                // was announced and could not be read would be one at once.
                Err(Untold::Unreadable(error)) => {
                    tracing::debug!(%error, %ledger, "events could not be followed");
                    tokio::select! {
                        _ = going_down.wait_for(|is_going_down| *is_going_down) => break,
                        () = sleep(pause) => {}
                    }
                    pause = LONGEST_PAUSE.min(pause * 2);
                    continue;
                }
            }
            tokio::select! {
                _ = going_down.wait_for(|is_going_down| *is_going_down) => break,
                // The writers outlive the service, or the process ends.
                _ = heads.wait_for(|heads| heads.get(&ledger).is_some_and(|head| *head > at)) => {}
                () = sleep(LOOK_AROUND) => {}
            }
        }
        self.tails.lock().remove(&ledger);
    }

    async fn read_run(
        &self,
        ledger: LedgerId,
        incarnation: Incarnation,
        after: Position,
    ) -> Result<Option<Run>, Untold> {
        let (moment, events) = reads::events::list_events(&self.database, ledger, after, PAGE).await?;
        if moment.incarnation != incarnation || moment.position < after {
            return Err(Untold::HistoryLost);
        }
        Ok(Run::new(events, incarnation))
    }

    /// Whether nobody follows the ledger any more; nobody can begin to while that is decided.
    fn forget_unused(&self, ledger: LedgerId, sender: &broadcast::Sender<Arc<Run>>) -> bool {
        let mut tails = self.tails.lock();
        let is_unused = sender.receiver_count() == 0;
        if is_unused {
            tails.remove(&ledger);
        }
        is_unused
    }
}

/// Why a task could not hand out what is new.
enum Untold {
    HistoryLost,
    Unreadable(ReadError),
}

impl From<ReadError> for Untold {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}
