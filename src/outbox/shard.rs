//! What a worker knows of a shard whose lease it holds: how far it has read, which effects it has in hand, and whose turn
//! it is.
//!
//! Invariant: of each key at most one effect is being carried out, and no other before one that was ordered earlier and
//! is in hand.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::attempt::Claimed;
use crate::{
    domain::ids::Position,
    store::outbox::{
        Place,
        claim::{Origin, Reading},
        finish::{End, Finished},
        lease::Lease,
    },
};

/// How long a lease is good for, by the clock of this process. Whoever is about to begin something asks it first.
pub(super) struct Tenure {
    until: Mutex<Instant>,
    ended: watch::Sender<bool>,
}

impl Tenure {
    pub(super) fn until(moment: Instant) -> Arc<Self> {
        Arc::new(Self { until: Mutex::new(moment), ended: watch::Sender::new(false) })
    }

    pub(super) fn prolong(&self, moment: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }

    /// Has nothing more begun.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    pub(super) fn is_over(&self) -> bool {
        *self.ended.borrow() || Instant::now() >= *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing more is to be begun.
    pub(super) async fn over(&self) {
        // The sender is part of this.
        drop(self.ended.subscribe().wait_for(|is_over| *is_over).await);
    }
}

/// Where an effect stands among those of its shard.
type Turn = (Position, i16);

/// The effects in hand of one key.
#[derive(Default)]
struct Line {
    is_busy: bool,
    waiting: BTreeMap<Turn, Claimed>,
}

/// See the module.
pub(super) struct Shard {
    pub(super) lease: Lease,
    pub(super) tenure: Arc<Tenure>,
    /// The last fresh effect that was read.
    read: Turn,
    /// Fresh effects that were read and have not left.
    fresh: BTreeMap<Turn, ()>,
    /// Effects from the retry table that are in hand.
    due: HashSet<Turn>,
    lines: HashMap<String, Line>,
}

/// Effects of one key, to be carried out one after the other.
pub(super) struct Run {
    pub(super) key: String,
    pub(super) effects: Vec<Claimed>,
}

impl Shard {
    pub(super) fn new(lease: Lease, tenure: Arc<Tenure>) -> Self {
        Self {
            lease,
            tenure,
            read: (lease.done, i16::MAX),
            fresh: BTreeMap::new(),
            due: HashSet::new(),
            lines: HashMap::new(),
        }
    }

    /// How many effects are in hand.
    pub(super) fn in_hand(&self) -> usize {
        self.fresh.len() + self.due.len()
    }

    /// How many of them are from the retry table.
    pub(super) fn due_in_hand(&self) -> usize {
        self.due.len()
    }

    /// Where reading goes on.
    pub(super) fn reading(&self) -> Reading {
        Reading { shard: self.lease.shard, after: self.read }
    }

    /// The lease with the watermark as it is now: everything up to before the first effect that has not left. Of the last
    /// event that was read there may be more to come.
    pub(super) fn watermark(&self) -> Lease {
        let first_left = self.fresh.keys().next().map_or(self.read.0, |turn| turn.0);
        Lease { done: Position(self.lease.done.0.max(first_left.0 - 1)), ..self.lease }
    }

    /// Takes an effect in hand. One that has to wait for others, which it does not find in hand, is finished at once: it
    /// is put behind them.
    pub(super) fn take(&mut self, claimed: Claimed) -> Option<Finished> {
        let (place, origin) = (claimed.effect.place, claimed.effect.origin);
        let turn = (place.position, place.ordinal);
        match origin {
            Origin::Fresh => {
                self.read = self.read.max(turn);
                self.fresh.insert(turn, ());
            }
            Origin::Retry if !self.due.insert(turn) => return None,
            Origin::Retry => {}
        }
        if claimed.effect.is_held {
            return Some(self.finished(&claimed, End::Behind));
        }
        self.lines.entry(claimed.effect.key.clone()).or_default().waiting.insert(turn, claimed);
        None
    }

    /// Every run that can begin now.
    pub(super) fn runs(&mut self) -> Vec<Run> {
        let ready = self.lines.iter().filter(|(_, line)| !line.is_busy && !line.waiting.is_empty());
        let keys: Vec<String> = ready.map(|(key, _)| key.clone()).collect();
        keys.iter().filter_map(|key| self.run_of(key)).collect()
    }

    /// The run of a key, if it can begin now.
    pub(super) fn run_of(&mut self, key: &str) -> Option<Run> {
        let line = self.lines.get_mut(key).filter(|line| !line.is_busy && !line.waiting.is_empty())?;
        line.is_busy = true;
        let effects = std::mem::take(&mut line.waiting).into_values().collect();
        Some(Run { key: key.to_owned(), effects })
    }

    /// A run has ended; these effects of it were not begun, and those behind `stopped_by` must not be: they are put behind
    /// it.
    pub(super) fn end_run(&mut self, key: &str, not_begun: Vec<Claimed>, is_blocked: bool) -> Vec<Finished> {
        let Some(mut line) = self.lines.remove(key) else { return Vec::new() };
        for claimed in not_begun {
            line.waiting.insert((claimed.effect.place.position, claimed.effect.place.ordinal), claimed);
        }
        if !is_blocked {
            line.is_busy = false;
            if !line.waiting.is_empty() {
                self.lines.insert(key.to_owned(), line);
            }
            return Vec::new();
        }
        let (mut behind, waiting) = (Vec::new(), line.waiting);
        for (turn, claimed) in waiting {
            match claimed.effect.origin {
                Origin::Fresh => behind.push(self.finished(&claimed, End::Behind)),
                // It stands where it has to wait already.
                Origin::Retry => drop(self.due.remove(&turn)),
            }
        }
        behind
    }

    /// What is to be written of an effect.
    pub(super) fn finished(&self, claimed: &Claimed, end: End) -> Finished {
        let (place, key) = (claimed.effect.place, claimed.effect.key.clone());
        Finished {
            id: claimed.effect.id,
            place,
            fence: self.lease.fence,
            origin: claimed.effect.origin,
            key,
            end,
        }
    }

    /// An effect has left, as far as this table is concerned.
    pub(super) fn leave(&mut self, place: Place, origin: Origin) {
        let turn = (place.position, place.ordinal);
        match origin {
            Origin::Fresh => drop(self.fresh.remove(&turn)),
            Origin::Retry => drop(self.due.remove(&turn)),
        }
    }
}

/// The moment until which a lease that was asked for at `asked` is relied on: a fifth of it is left for clocks that differ
/// and for what takes its time between asking and doing.
pub(super) fn relied_on(asked: Instant, lasting: Duration) -> Instant {
    asked + lasting.mul_f64(0.8)
}
