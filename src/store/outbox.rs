//! What events order outside of the ledger, until it is done.
//!
//! | file | holds |
//! | --- | --- |
//! | `lease` | who works on which shard, and where work is found |
//! | `claim` | reads what is to be done next |
//! | `finish` | what became of it, a batch at a time |
//! | `entries` | what an operator sees, and decides of dead effects |
//! | `census` | how much there is |
//!
//! The writer inserts (`changes::outbox`). Invariants:
//! - a row says nothing of who works on it: whoever holds the lease of its shard does, and a claim writes nothing;
//! - positions are commit order without gaps, so a shard is read from a watermark on and never again before it: what is
//!   behind the watermark may stand in the index for as long as somebody's old snapshot needs it, and costs nothing;
//! - whatever changes a key's order of turns (`finish`, and a person's decision) holds the lock of the shard's lease.

pub mod census;
pub mod claim;
pub mod entries;
pub mod finish;
pub mod lease;

use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio_postgres::{Client, Error, Row};

use super::{
    rows::RowError,
    scope::{self, Parameter},
};
use crate::domain::ids::{LedgerId, Position};

/// How many shards the keys of a ledger are spread over. Rows carry their shard, so that this never changes.
pub const SHARDS: i16 = 64;

/// The shard of a key: the last six bits of the first byte of its SHA-256.
pub fn shard_of(key: &str) -> i16 {
    i16::from(Sha256::digest(key.as_bytes())[0]) % SHARDS
}

/// Where an effect stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The shard of its key.
    pub shard: i16,
    /// The event that ordered it.
    pub position: Position,
    /// Which of that event's effects it is.
    pub ordinal: i16,
}

impl Place {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        Ok(Self {
            shard: row.try_get("shard")?,
            position: Position(row.try_get("position")?),
            ordinal: row.try_get("ordinal")?,
        })
    }
}

/// What an effect failed at, in words for programs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StoredCause {
    /// Who was asked.
    pub destination: String,
    /// What kind of failure it was.
    pub class: String,
    /// Which failure.
    pub code: String,
}

impl StoredCause {
    /// Reads the columns `destination, class, code`, which are there together.
    fn from_row(row: &Row) -> Result<Option<Self>, RowError> {
        let text = |column| row.try_get::<_, Option<String>>(column);
        let parts = (text("destination")?, text("class")?, text("code")?);
        let (Some(destination), Some(class), Some(code)) = parts else { return Ok(None) };
        Ok(Some(Self { destination, class, code }))
    }
}

/// A statement with its parameters.
struct Step<'a> {
    sql: &'a str,
    parameters: Vec<Parameter<'a>>,
}

/// Sends statements together; their rows, or the first error.
async fn run(client: &Client, begin: &str, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Error> {
    let queries = steps.iter().map(|step| client.query_typed(step.sql, &step.parameters));
    let (begun, rows) = futures_util::future::join(client.batch_execute(begin), join_all(queries)).await;
    begun?;
    rows.into_iter().collect()
}

/// Reads in a transaction of its own, in one round trip.
async fn read(client: &Client, ledger: LedgerId, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Error> {
    in_one(client, &scope::begin_reading(ledger), steps).await
}

/// Writes in a transaction of its own, in one round trip.
async fn write(client: &Client, ledger: LedgerId, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Error> {
    in_one(client, &scope::begin_writing(ledger), steps).await
}

/// Statements with a COMMIT behind them, which commits nothing if one of them failed.
async fn in_one(client: &Client, begin: &str, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Error> {
    let (rows, ended) =
        futures_util::future::join(run(client, begin, steps), client.batch_execute("COMMIT")).await;
    let rows = rows?;
    ended?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_spread_over_all_shards_as_they_always_were() {
        let shards: BTreeSet<i16> =
            (0..2_000).map(|number| shard_of(&format!("checkout:{number}"))).collect();
        assert_eq!(shards, (0..SHARDS).collect());
        assert_eq!((shard_of("checkout:1"), shard_of("refund:1")), (38, 42));
    }
}
