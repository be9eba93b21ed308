//! API keys: who may call, and when a key was last used.

use std::{collections::BTreeSet, time::Duration};

use time::OffsetDateTime;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{ReadError, change, read};
use crate::{
    domain::{
        ids::{KeyId, LedgerId, LedgerSlug},
        settings::Scope,
        time::Timestamp,
    },
    store::{
        ledgers::{self, Ledger},
        pool::Database,
        rows::{RowError, timestamp},
        session::Statement,
    },
};

/// The ledger that a key names, if there is one.
///
/// # Errors
/// [`ReadError`].
pub async fn find_ledger(database: &Database, slug: &LedgerSlug) -> Result<Option<Ledger>, ReadError> {
    let client = database.pool().get().await?;
    Ok(ledgers::find_ledger(&client, slug).await?)
}

/// A key that works, as whoever checks it needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkingKey {
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// How long it works from now on.
    pub expires_in: Option<Duration>,
    /// Where a client that is short of credits can send its user.
    pub buy_url: Option<String>,
}

static READ_WORKING_KEY: Statement = Statement {
    name: "read_working_key",
    sql: "SELECT k.secret_hash, k.scopes, extract(epoch FROM k.expires_at - clock.now)::float8 AS expires_in,
                 s.settings ->> 'buy_url' AS buy_url
            FROM api_keys k
            CROSS JOIN LATERAL (SELECT now() + COALESCE(h.clock_ahead, 0) * interval '1 second' AS now
                                  FROM ledger_heads h WHERE h.ledger_id = $1) clock
            LEFT JOIN ledger_settings s ON s.ledger_id = k.ledger_id
           WHERE k.ledger_id = $1 AND k.key_id = $2 AND k.revoked_at IS NULL
             AND (k.expires_at IS NULL OR k.expires_at > clock.now)",
    parameters: &[Type::INT8, Type::UUID],
};

/// The key, if it works now.
///
/// # Errors
/// [`ReadError`].
pub async fn find_working_key(
    database: &Database,
    ledger: LedgerId,
    key: KeyId,
) -> Result<Option<WorkingKey>, ReadError> {
    let id = Uuid::from_u128(key.to_bits());
    let answers = read(database, ledger, &[(&READ_WORKING_KEY, &[&ledger.0, &id])]).await?;
    Ok(answers[0].first().map(working_key).transpose()?)
}

fn working_key(row: &Row) -> Result<WorkingKey, RowError> {
    let secret_hash: &[u8] = row.try_get("secret_hash")?;
    let expires_in: Option<f64> = row.try_get("expires_in")?;
    Ok(WorkingKey {
        secret_hash: secret_hash.try_into().map_err(|_| RowError::Value { column: "secret_hash" })?,
        scopes: scopes(row)?,
        expires_in: expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        buy_url: row.try_get("buy_url")?,
    })
}

fn scopes(row: &Row) -> Result<BTreeSet<Scope>, RowError> {
    let names: Vec<&str> = row.try_get("scopes")?;
    let scope = |name: &str| Scope::parse(name).ok_or(RowError::Value { column: "scopes" });
    names.into_iter().map(scope).collect()
}

/// A key as lists show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRow {
    /// Which key.
    pub key: KeyId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<Timestamp>,
}

static LIST_KEYS: Statement = Statement {
    name: "list_keys",
    sql: "SELECT key_id, name, scopes, created_at, expires_at, revoked_at, last_used_at
            FROM api_keys WHERE ledger_id = $1 AND key_id < $2 ORDER BY key_id DESC LIMIT $3",
    parameters: &[Type::INT8, Type::UUID, Type::INT8],
};

/// Up to `limit` keys, newest first, of those made before the key `before`.
///
/// # Errors
/// [`ReadError`].
pub async fn list_keys(
    database: &Database,
    ledger: LedgerId,
    before: Option<KeyId>,
    limit: i64,
) -> Result<Vec<KeyRow>, ReadError> {
    let before = before.map_or(Uuid::max(), |key| Uuid::from_u128(key.to_bits()));
    let answers = read(database, ledger, &[(&LIST_KEYS, &[&ledger.0, &before, &limit])]).await?;
    Ok(answers[0].iter().map(key_row).collect::<Result<_, _>>()?)
}

fn key_row(row: &Row) -> Result<KeyRow, RowError> {
    let moment = |column: &'static str| -> Result<Option<Timestamp>, RowError> {
        let moment: Option<OffsetDateTime> = row.try_get(column)?;
        moment.map(|moment| timestamp(moment, column)).transpose()
    };
    Ok(KeyRow {
        key: KeyId::from_bits(row.try_get::<_, Uuid>("key_id")?.as_u128()),
        name: row.try_get("name")?,
        scopes: scopes(row)?,
        created_at: timestamp(row.try_get("created_at")?, "created_at")?,
        expires_at: moment("expires_at")?,
        revoked_at: moment("revoked_at")?,
        last_used_at: moment("last_used_at")?,
    })
}

static RECORD_USES: Statement = Statement {
    name: "record_uses_of_keys",
    sql: "UPDATE api_keys SET last_used_at = now()
           WHERE ledger_id = $1 AND key_id = ANY($2)
             AND (last_used_at IS NULL OR last_used_at < now() - interval '55 seconds')",
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};

/// Records that keys were used just now, unless that was recorded within the last minute.
///
/// # Errors
/// [`ReadError`].
pub async fn record_uses(database: &Database, ledger: LedgerId, keys: &[KeyId]) -> Result<(), ReadError> {
    let keys: Vec<Uuid> = keys.iter().map(|key| Uuid::from_u128(key.to_bits())).collect();
    change(database, ledger, (&RECORD_USES, &[&ledger.0, &keys])).await
}

pub(super) static STATEMENTS: &[&Statement] = &[&READ_WORKING_KEY, &LIST_KEYS, &RECORD_USES];
