//! The logs of ledgers: what is sealed of them, and with which keys.
//!
//! | file | holds |
//! | --- | --- |
//! | `keys` | what checkpoints are signed with |
//! | `seal` | what the sealer reads and writes |
//! | `read` | what is served of a log |
//!
//! A ledger has a log as soon as it has a key, and another one each time that one was opened in its place: the last is
//! the one that counts. Invariants:
//! - whoever seals names the fence of its lease, and the size that it goes on from; nobody else writes tiles or
//!   checkpoints;
//! - a log that is halted stays so: what goes on is another log.

pub mod keys;
pub mod read;
pub mod seal;

use tokio_postgres::Row;

use super::{
    heads::Incarnation,
    rows::{RowError, timestamp},
};
use crate::domain::{ids::Position, time::Timestamp};

/// A log, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Which of the ledger's logs.
    pub number: i32,
    /// What it is called.
    pub origin: String,
    /// The history that it is of.
    pub incarnation: Incarnation,
    /// Since when.
    pub opened_at: Timestamp,
    /// The log that it took the place of.
    pub predecessor: Option<StoredPredecessor>,
    /// The last event that the last checkpoint covers.
    pub sealed: Position,
    /// The last event that is covered by a checkpoint that stands outside.
    pub published: Position,
    /// Why nothing more is signed.
    pub halted: Option<Halt>,
}

/// A log that another one took the place of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPredecessor {
    /// What it was called.
    pub origin: String,
    /// How many events it covered.
    pub size: i64,
    /// The hash over them.
    pub root: [u8; 32],
}

/// Why a log goes on no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Halt {
    /// A stable name.
    pub code: String,
    /// For people.
    pub because: String,
}

/// The columns that [`Log::from_row`] reads, for a table or alias `l`.
macro_rules! log_columns {
    () => {
        "l.number, l.origin, l.incarnation, l.opened_at, l.predecessor_origin, l.predecessor_size, l.predecessor_root,
         l.size, l.published_size, l.halted, l.halted_because"
    };
}
use log_columns;

impl Log {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let origin: Option<String> = row.try_get("predecessor_origin")?;
        let predecessor = match origin {
            Some(origin) => Some(StoredPredecessor {
                origin,
                size: row.try_get("predecessor_size")?,
                root: hash(row, "predecessor_root")?,
            }),
            None => None,
        };
        let code: Option<String> = row.try_get("halted")?;
        let halted = match code {
            Some(code) => Some(Halt { code, because: row.try_get("halted_because")? }),
            None => None,
        };
        Ok(Self {
            number: row.try_get("number")?,
            origin: row.try_get("origin")?,
            incarnation: Incarnation(row.try_get("incarnation")?),
            opened_at: timestamp(row.try_get("opened_at")?, "opened_at")?,
            predecessor,
            sealed: Position(row.try_get("size")?),
            published: Position(row.try_get("published_size")?),
            halted,
        })
    }
}

fn hash(row: &Row, column: &'static str) -> Result<[u8; 32], RowError> {
    row.try_get::<_, &[u8]>(column)?.try_into().map_err(|_| RowError::Value { column })
}

/// The last checkpoint of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredCheckpoint {
    /// The last event that it covers.
    pub sealed: Position,
    /// The hash over them.
    pub root: [u8; 32],
    /// The signed note.
    pub note: String,
}

impl StoredCheckpoint {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        Ok(Self {
            sealed: Position(row.try_get("size")?),
            root: hash(row, "root")?,
            note: row.try_get("note")?,
        })
    }
}

/// A tile, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredTile {
    /// Its level.
    pub level: u8,
    /// Its place within the level.
    pub index: i64,
    /// Its nodes, one after the other.
    pub nodes: Vec<u8>,
}

impl StoredTile {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let level: i16 = row.try_get("level")?;
        let level = u8::try_from(level).map_err(|_| RowError::Value { column: "level" })?;
        Ok(Self { level, index: row.try_get("index")?, nodes: row.try_get("nodes")? })
    }
}
