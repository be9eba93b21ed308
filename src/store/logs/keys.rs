//! What checkpoints are signed with: kept sealed, replaced with an overlap in which the old key and the new one sign.

use std::time::Duration;

use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::StoredPredecessor;
use crate::{
    domain::{ids::LedgerId, time::Timestamp},
    store::{
        rows::{RowError, timestamp},
        scope::{self, Parameter},
        sealing::{Sealed, SealingKeyId},
    },
};

/// A key of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogKey {
    /// Which of the ledger's keys.
    pub number: i32,
    /// The public half.
    pub public: [u8; 32],
    /// The private half.
    pub seed: Sealed,
    /// Since when it signs.
    pub created_at: Timestamp,
    /// From when on it signs no more.
    pub retires_at: Option<Timestamp>,
    /// Whether it signs now.
    pub signs: bool,
}

impl LogKey {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let retires_at: Option<time::OffsetDateTime> = row.try_get("retires_at")?;
        Ok(Self {
            number: row.try_get("number")?,
            public: super::hash(row, "public_key")?,
            seed: Sealed {
                key: SealingKeyId::stored(row.try_get("sealed_under")?),
                bytes: row.try_get("seed")?,
            },
            created_at: timestamp(row.try_get("created_at")?, "created_at")?,
            retires_at: retires_at.map(|moment| timestamp(moment, "retires_at")).transpose()?,
            signs: row.try_get("signs")?,
        })
    }
}

/// The keys of a ledger's logs, the oldest first.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn list_log_keys(client: &Client, ledger: LedgerId) -> Result<Vec<LogKey>, RowError> {
    let sql = "SELECT number, public_key, seed, sealed_under, created_at, retires_at,
                      retires_at IS NULL OR retires_at > now() AS signs
                 FROM log_keys WHERE ledger_id = $1 ORDER BY number";
    let values: &[Parameter<'_>] = &[(&ledger.0, Type::INT8)];
    let work = client.query_typed(sql, values);
    let rows = scope::within(client, &scope::begin_reading(ledger), work).await?;
    rows.iter().map(LogKey::from_row).collect()
}

/// Adds a key; those before it sign for another while. Returns whether it was added: not if `number` is taken.
///
/// # Errors
/// Those of the database.
pub async fn add_log_key(
    client: &Client,
    ledger: LedgerId,
    number: i32,
    (public, seed): (&[u8; 32], &Sealed),
    overlap: Duration,
) -> Result<bool, RowError> {
    let add = "INSERT INTO log_keys (ledger_id, number, public_key, seed, sealed_under, created_at)
               VALUES ($1, $2, $3, $4, $5, now())
                   ON CONFLICT (ledger_id, number) DO NOTHING
            RETURNING number";
    // Of those that nothing had taken the place of, and only if this key was added: it does so now.
    let retire = "UPDATE log_keys SET retires_at = now() + make_interval(secs => $3)
                   WHERE ledger_id = $1 AND number < $2 AND retires_at IS NULL
                     AND EXISTS (SELECT FROM log_keys k
                                  WHERE k.ledger_id = $1 AND k.number = $2 AND k.public_key = $4)";
    let (public, seconds) = (public.as_slice(), overlap.as_secs_f64());
    let key = seed.key.as_str();
    let added: &[Parameter<'_>] = &[
        (&ledger.0, Type::INT8),
        (&number, Type::INT4),
        (&public, Type::BYTEA),
        (&seed.bytes, Type::BYTEA),
        (&key, Type::TEXT),
    ];
    let retired: &[Parameter<'_>] =
        &[(&ledger.0, Type::INT8), (&number, Type::INT4), (&seconds, Type::FLOAT8), (&public, Type::BYTEA)];
    let work =
        futures_util::future::try_join(client.query_typed(add, added), client.execute_typed(retire, retired));
    let (added, _) = scope::within(client, &scope::begin_writing_durably(ledger), work).await?;
    Ok(!added.is_empty())
}

/// Keeps the same key sealed under another one.
///
/// # Errors
/// Those of the database.
pub async fn reseal_log_key(
    client: &Client,
    ledger: LedgerId,
    number: i32,
    seed: &Sealed,
) -> Result<(), RowError> {
    let sql = "UPDATE log_keys SET seed = $3, sealed_under = $4 WHERE ledger_id = $1 AND number = $2";
    let key = seed.key.as_str();
    let values: &[Parameter<'_>] =
        &[(&ledger.0, Type::INT8), (&number, Type::INT4), (&seed.bytes, Type::BYTEA), (&key, Type::TEXT)];
    let work = client.execute_typed(sql, values);
    scope::within(client, &scope::begin_writing(ledger), work).await?;
    Ok(())
}

/// Opens a log of the ledger's present history, in place of the one before it, which is halted for good. Returns whether
/// it was opened: not if there is one of that number.
///
/// # Errors
/// Those of the database.
pub async fn open_log(
    client: &Client,
    ledger: LedgerId,
    number: i32,
    origin: &str,
    predecessor: Option<&StoredPredecessor>,
) -> Result<bool, RowError> {
    let open = "INSERT INTO logs (ledger_id, number, origin, incarnation, opened_at, predecessor_origin,
                                  predecessor_size, predecessor_root)
                SELECT h.ledger_id, $2, $3, h.incarnation, now(), $4, $5, $6
                  FROM ledger_heads h WHERE h.ledger_id = $1
                    ON CONFLICT (ledger_id, number) DO NOTHING
             RETURNING number";
    let halt =
        "UPDATE logs SET halted = 'succeeded', halted_because = $3, halted_at = now(), fence = fence + 1
                 WHERE ledger_id = $1 AND number < $2 AND halted IS DISTINCT FROM 'succeeded'";
    let (origin_before, size, root) = match predecessor {
        Some(before) => (Some(&before.origin), Some(before.size), Some(before.root.as_slice())),
        None => (None, None, None),
    };
    let because = format!("the log {origin} took its place");
    let opened: &[Parameter<'_>] = &[
        (&ledger.0, Type::INT8),
        (&number, Type::INT4),
        (&origin, Type::TEXT),
        (&origin_before, Type::TEXT),
        (&size, Type::INT8),
        (&root, Type::BYTEA),
    ];
    let halted: &[Parameter<'_>] = &[(&ledger.0, Type::INT8), (&number, Type::INT4), (&because, Type::TEXT)];
    let work =
        futures_util::future::try_join(client.query_typed(open, opened), client.execute_typed(halt, halted));
    let (opened, _) = scope::within(client, &scope::begin_writing_durably(ledger), work).await?;
    Ok(!opened.is_empty())
}

/// What a new log is told from every other by.
pub fn new_log_name() -> String {
    Uuid::new_v4().simple().to_string()
}
