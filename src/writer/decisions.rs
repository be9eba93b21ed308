//! Decides a batch's commands in order, in memory. Each sees the outcome of those before it.
//!
//! Nothing here is true before the commit: the working set is this batch's own, and comes into the cache afterwards.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::interface::{Accepted, Outcome, Submission, SubmitError};
use crate::{
    domain::{
        Command, Context, Decision, Event, Private, Rejection, WorkingSet,
        ids::{Key, Namespace, Position, RequestId, Seed},
        time::Timestamp,
    },
    store::{changes::IdleKey, events::CommandEvents, heads::Head, working_set::StoredCommand},
};

/// How a command is decided: [`crate::domain::decide`], except in tests of what happens when that fails.
pub type Decide = fn(&WorkingSet, &Command, &Context) -> Result<Decision, Rejection>;

/// A command whose decision, once applied, left the working set in pieces: the batch has to begin again without it.
pub(super) struct Poisoned;

/// What is to be written for one command.
pub(super) struct Written {
    request_id: Option<RequestId>,
    fingerprint: Option<[u8; 32]>,
    pub(super) events: Arc<[Event]>,
    pub(super) private: Vec<Private>,
}

impl Written {
    /// The command's events as they are stored.
    pub(super) fn command_events(&self) -> CommandEvents<'_> {
        CommandEvents {
            events: &self.events,
            request_id: self.request_id.as_ref(),
            fingerprint: self.fingerprint.as_ref(),
        }
    }
}

/// What became of one command, as far as the batch commits.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Accepted {
        events: Arc<[Event]>,
        replayed: bool,
    },
    Rejected(Rejection),
    /// Its decision panicked.
    Failed,
}

impl Verdict {
    /// The answer, once the head is known to be `head`.
    pub(super) fn answer(self, head: &Head) -> Result<Outcome, SubmitError> {
        match self {
            Self::Accepted { events, replayed } => Ok(Outcome::Accepted(Accepted {
                events,
                replayed,
                head: head.position,
                incarnation: head.incarnation,
            })),
            Self::Rejected(rejection) => Ok(Outcome::Rejected(rejection)),
            Self::Failed => Err(SubmitError::Internal),
        }
    }
}

/// A batch being decided.
pub(super) struct Decisions {
    /// The state, which moves on with every accepted command.
    pub(super) set: WorkingSet,
    /// What is to be written, in order.
    pub(super) written: Vec<Written>,
    /// Keys of accepted commands that led to nothing to be written.
    pub(super) idle_keys: Vec<IdleKey>,
    decide: Decide,
    now: Timestamp,
    position: Position,
    /// Commands by the hash of their key: those carried out before, and those of this batch.
    known: HashMap<[u8; 16], Known>,
}

struct Known {
    key: Key,
    fingerprint: Option<[u8; 32]>,
    events: Arc<[Event]>,
}

impl Decisions {
    /// Begins behind `position`, at the ledger's time `now`.
    pub(super) fn new(
        set: WorkingSet,
        stored: Vec<StoredCommand>,
        decide: Decide,
        now: Timestamp,
        position: Position,
    ) -> Self {
        let known = stored.into_iter().map(|StoredCommand { key, fingerprint, events }| {
            (key.hash(), Known { key, fingerprint, events: events.into() })
        });
        Self {
            set,
            written: Vec::new(),
            idle_keys: Vec::new(),
            decide,
            now,
            position,
            known: known.collect(),
        }
    }

    /// The position of the last event so far.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Decides one command.
    ///
    /// # Errors
    /// [`Poisoned`]: nothing of this batch can be used any more.
    pub(super) fn decide(&mut self, submission: &Submission) -> Result<Verdict, Poisoned> {
        if let Some(verdict) = self.look_up(submission) {
            return Ok(verdict);
        }
        let context = Context {
            now: self.now,
            next_position: self.position.next(),
            actor: submission.actor.clone(),
            key: submission.key.clone(),
            seed: Seed(rand::random()),
        };
        // The working set is only read here, so that a panic cannot have changed it.
        let decided =
            catch_unwind(AssertUnwindSafe(|| (self.decide)(&self.set, &submission.command, &context)));
        match decided {
            Ok(Ok(decision)) => self.accept(submission, decision),
            Ok(Err(rejection)) => Ok(Verdict::Rejected(rejection)),
            Err(_) => Ok(Verdict::Failed),
        }
    }

    fn accept(&mut self, submission: &Submission, decision: Decision) -> Result<Verdict, Poisoned> {
        catch_unwind(AssertUnwindSafe(|| self.set.absorb(&decision))).map_err(|_| Poisoned)?;
        let events: Arc<[Event]> = decision.events.into();
        if events.is_empty() {
            self.keep(submission, &events);
        } else {
            self.position = Position(self.position.0 + events.len() as i64);
            self.remember(submission, &events);
            self.written.push(Written {
                request_id: submission.request_id.clone(),
                fingerprint: submission.fingerprint,
                events: Arc::clone(&events),
                private: decision.private,
            });
        }
        Ok(Verdict::Accepted { events, replayed: false })
    }

    /// Keeps a client's key beside the events if none has it: repeated later, the command might find something to change.
    /// Keys of Stripe and of the system name facts, which may be told again.
    fn keep(&mut self, submission: &Submission, none: &Arc<[Event]>) {
        let key = submission.key.as_ref().filter(|key| key.namespace == Namespace::Client);
        if let Some(key) = key.cloned() {
            self.remember(submission, none);
            self.idle_keys.push(IdleKey { key, fingerprint: submission.fingerprint });
        }
    }

    fn remember(&mut self, submission: &Submission, events: &Arc<[Event]>) {
        if let Some(key) = &submission.key {
            let known =
                Known { key: key.clone(), fingerprint: submission.fingerprint, events: Arc::clone(events) };
            self.known.insert(key.hash(), known);
        }
    }

    /// What is to be said if the command's key was used before.
    fn look_up(&self, submission: &Submission) -> Option<Verdict> {
        let key = submission.key.as_ref()?;
        let known = self.known.get(&key.hash())?;
        if known.key != *key {
            tracing::error!("two keys have the same hash");
            return Some(Verdict::Failed);
        }
        // A key of Stripe or of the system names a fact, however it is told.
        let is_same = key.namespace != Namespace::Client || known.fingerprint == submission.fingerprint;
        Some(if is_same {
            Verdict::Accepted { events: Arc::clone(&known.events), replayed: true }
        } else {
            Verdict::Rejected(Rejection::IdempotencyKeyReused)
        })
    }
}
