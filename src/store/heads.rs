//! Heads: where a ledger ends, and which history that is the end of.

use std::fmt;

use time::OffsetDateTime;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    rows::{RowError, timestamp},
    session::Statement,
};
use crate::domain::{
    ids::{AccountNumber, Position},
    time::{Span, Timestamp},
};

/// Which history a position is of: another one after history was lost. Clients see it in position tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub Uuid);

impl fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(formatter)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The end of a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The position of the last event; 0 before the first.
    pub position: Position,
    /// The batch that wrote the last event.
    pub batch_id: Uuid,
    /// When the last event was recorded.
    pub recorded_at: Timestamp,
    /// Changed by whoever must be sure that nothing sent before can still be written.
    pub fence: Uuid,
    /// Which history it is the end of.
    pub incarnation: Incarnation,
    /// When that history was found to have lost another one; none if nothing was ever lost.
    pub lost_at: Option<Timestamp>,
    /// How far the ledger's clock is ahead of the database's; none for a live ledger.
    pub clock_ahead: Option<Span>,
}

impl Head {
    /// Whether both are the end of the same history: a number alone would not tell a forked one.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (self.position, self.batch_id, self.recorded_at)
            == (other.position, other.batch_id, other.recorded_at)
    }

    /// Whether this one's history is one in which somebody has recorded already that `gone`, which is no part of it, was
    /// lost. A loss that was recorded before `gone` was written is another one, and so is that of a history which was
    /// restored from before it.
    pub fn has_recorded_loss_of(&self, gone: &Self) -> bool {
        self.incarnation != gone.incarnation && self.lost_at.is_some_and(|at| at > gone.recorded_at)
    }

    /// Reads the columns `position, batch_id, recorded_at, fence, incarnation, lost_at, clock_ahead`.
    ///
    /// # Errors
    /// [`RowError`] if they hold something else.
    pub fn from_row(row: &Row) -> Result<Self, RowError> {
        Ok(Self {
            position: Position(row.try_get("position")?),
            batch_id: row.try_get("batch_id")?,
            recorded_at: timestamp(row.try_get("recorded_at")?, "recorded_at")?,
            fence: row.try_get("fence")?,
            incarnation: Incarnation(row.try_get("incarnation")?),
            lost_at: row
                .try_get::<_, Option<OffsetDateTime>>("lost_at")?
                .map(|at| timestamp(at, "lost_at"))
                .transpose()?,
            clock_ahead: row.try_get::<_, Option<i64>>("clock_ahead")?.map(Span::seconds),
        })
    }
}

/// Every statement of this file, to be prepared.
pub(super) static STATEMENTS: &[&Statement] = &[
    &LOCK_HEAD,
    &READ_SERVER,
    &TRANSACTION_STATUS,
    &MOVE_HEAD,
    &CHANGE_FENCE,
    &FIND_BATCH,
    &LIST_SINCE,
    &READ_TIMELINE,
];

/// Locks the head. A statement of its own: one that waited for the lock does not see what its holder committed.
pub static LOCK_HEAD: Statement = Statement {
    name: "lock_head",
    sql: "SELECT position, batch_id, recorded_at, fence, incarnation, lost_at, clock_ahead
            FROM ledger_heads WHERE ledger_id = $1 FOR UPDATE",
    parameters: &[Type::INT8],
};

/// What the server says of itself: its clock, and the number of this transaction. Sent behind [`LOCK_HEAD`], so that the
/// clock is read when the lock is held.
pub static READ_SERVER: Statement = Statement {
    name: "read_server",
    sql: "SELECT clock_timestamp() AS now, pg_current_xact_id()::text AS transaction",
    parameters: &[],
};

/// Whether a transaction was committed: a rolled-back COMMIT is no error on the wire.
pub static TRANSACTION_STATUS: Statement = Statement {
    name: "transaction_status",
    sql: "SELECT pg_xact_status($1::xid8) AS status",
    parameters: &[Type::TEXT],
};

/// Moves the head, and fails if it is not where the batch began.
pub static MOVE_HEAD: Statement = Statement {
    name: "move_head",
    sql: "WITH moved AS (
              UPDATE ledger_heads SET position = $5, batch_id = $6, recorded_at = $7, incarnation = $8, lost_at = $9,
                     clock_ahead = $10
               WHERE ledger_id = $1 AND position = $2 AND batch_id = $3 AND fence = $4 RETURNING 1)
          SELECT 1 / count(*) FROM moved",
    parameters: &[
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::UUID,
        Type::INT8,
        Type::UUID,
        Type::TIMESTAMPTZ,
        Type::UUID,
        Type::TIMESTAMPTZ,
        Type::INT8,
    ],
};

/// Changes the fence, so that nothing can be written any more by those who know the old one.
pub static CHANGE_FENCE: Statement = Statement {
    name: "change_fence",
    sql: "WITH moved AS (UPDATE ledger_heads SET fence = $3 WHERE ledger_id = $1 AND fence = $2 RETURNING 1)
          SELECT 1 / count(*) FROM moved",
    parameters: &[Type::INT8, Type::UUID, Type::UUID],
};

/// The batch that an event was the last of.
pub static FIND_BATCH: Statement = Statement {
    name: "find_batch",
    sql: "SELECT batch_id FROM events WHERE ledger_id = $1 AND position = $2",
    parameters: &[Type::INT8, Type::INT8],
};

/// What happened from a position on, itself included: just enough to know what is stale.
pub static LIST_SINCE: Statement = Statement {
    name: "list_since",
    sql: "SELECT position, batch_id, account_number, type, version
            FROM events WHERE ledger_id = $1 AND position >= $2 ORDER BY position LIMIT $3",
    parameters: &[Type::INT8, Type::INT8, Type::INT8],
};

/// The timeline of the server's history, as eight hexadecimal digits; an error on a server that is in recovery.
pub static READ_TIMELINE: Statement = Statement {
    name: "read_timeline",
    sql: "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline",
    parameters: &[],
};

/// How many rows [`LIST_SINCE`] reads at most: whoever has missed more had better forget everything.
pub const CHANGED_SINCE_LIMIT: i64 = 2_000;

/// An event, as far as it says what is stale.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its place.
    pub position: Position,
    /// Its batch, if it is the last event of it.
    pub batch_id: Option<Uuid>,
    /// The account that it concerns; without one it concerns the ledger as a whole.
    pub account: Option<AccountNumber>,
    /// Its type.
    pub type_name: String,
    /// The version of its shape.
    pub version: i16,
}

impl Change {
    /// Reads a row of [`LIST_SINCE`].
    ///
    /// # Errors
    /// [`RowError`] if it holds something else.
    pub fn from_row(row: &Row) -> Result<Self, RowError> {
        Ok(Self {
            position: Position(row.try_get("position")?),
            batch_id: row.try_get("batch_id")?,
            account: row.try_get::<_, Option<i64>>("account_number")?.map(AccountNumber),
            type_name: row.try_get("type")?,
            version: row.try_get("version")?,
        })
    }
}
