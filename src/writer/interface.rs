//! What callers hand to the writer and what they get back.

use std::sync::Arc;

pub use crate::store::heads::Incarnation;

use crate::domain::{
    Command, Event, Rejection,
    ids::{Actor, Key, Position, RequestId},
};

/// A command and whose it is.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What is to happen.
    pub command: Command,
    /// What makes it happen once. Without one, a repeat is a second command.
    pub key: Option<Key>,
    /// SHA-256 of the request that the key came with: a client that uses the key for another request is told.
    pub fingerprint: Option<[u8; 32]>,
    /// Who asks.
    pub actor: Actor,
    /// The request that it came with, for the event's record.
    pub request_id: Option<RequestId>,
}

/// What became of a command; true as of the head under its lock, at a moment after the command was submitted.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It holds: its events are committed.
    Accepted(Accepted),
    /// It broke a rule and wrote nothing.
    Rejected(Rejection),
}

/// What an accepted command wrote.
#[derive(Clone, PartialEq, Debug)]
pub struct Accepted {
    /// Its events; none if everything was already as it asks.
    pub events: Arc<[Event]>,
    /// Whether it was carried out before, under the same key.
    pub replayed: bool,
    /// The ledger's last position: a read that has seen it has seen the command.
    pub head: Position,
    /// Which history `head` is of.
    pub incarnation: Incarnation,
}

/// Why there is no outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is no such ledger.
    #[error("there is no such ledger")]
    UnknownLedger,
    /// Too many commands wait already. Certainly not written.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The database cannot be reached or refuses work. Certainly not written.
    #[error("the database is not available")]
    Unavailable,
    /// The connection broke at the wrong moment and the database has not come back to tell. The same key finds out.
    #[error("it is not known whether the command was written")]
    OutcomeUnknown,
    /// The clocks of database, process and last event are too far apart. Certainly not written.
    #[error("the clocks are too far apart")]
    ClockSkew,
    /// A newer version of the service has written to this ledger. Certainly not written.
    #[error("a newer version of the service writes to this ledger")]
    NewerVersion,
    /// This process is going down. Certainly not written.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// A defect; the log has the cause. Certainly not written.
    #[error("the command could not be carried out")]
    Internal,
}
