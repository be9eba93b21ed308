//! Heads: where a ledger ends, and which history that is the end of.

use std::fmt;

use tokio_postgres::Row;
use uuid::Uuid;

use super::rows::{RowError, timestamp};
use crate::domain::{ids::Position, time::Timestamp};

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
}

impl Head {
    /// Whether both are the end of the same history: a number alone would not tell a forked one.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (self.position, self.batch_id, self.recorded_at)
            == (other.position, other.batch_id, other.recorded_at)
    }

    /// Reads the columns `position, batch_id, recorded_at, fence, incarnation`.
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
        })
    }
}
