//! What each ledger calls Stripe with. The API key lies here sealed, never in clear.

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    pool::Database,
    reads::{ReadError, change, read},
    rows::{RowError, timestamp},
    sealing::{Sealed, SealingKeyId},
    session::Statement,
};
use crate::domain::{
    ids::{LedgerId, LedgerSlug, StripeId},
    settings::LedgerMode,
    time::Timestamp,
};

/// What a ledger calls Stripe with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StripeCredentials {
    /// Another one each time that they are replaced.
    pub version: Uuid,
    /// The API key.
    pub api_key: Sealed,
    /// What people recognise the key by.
    pub hint: String,
    /// Where calls go; to Stripe if absent.
    pub base_url: Option<String>,
    /// The Stripe account that the key belongs to, if that was asked.
    pub account: Option<StripeId>,
    /// Since when.
    pub set_at: Timestamp,
}

/// A ledger as its calls to Stripe see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StripeLedger {
    /// Its name.
    pub slug: LedgerSlug,
    /// Whether its money is real.
    pub mode: LedgerMode,
    /// What it calls Stripe with.
    pub credentials: Option<StripeCredentials>,
}

static READ_CREDENTIALS: Statement = Statement {
    name: "read_stripe_credentials",
    sql: "SELECT ledgers.slug, ledgers.mode, credentials.version, credentials.api_key, credentials.sealed_under,
                 credentials.hint, credentials.base_url, credentials.stripe_account, credentials.set_at
            FROM ledgers LEFT JOIN stripe_credentials AS credentials
              ON credentials.ledger_id = $1 AND ledgers.ledger_id = $1
           WHERE ledgers.ledger_id = $1",
    parameters: &[Type::INT8],
};

/// What the ledger calls Stripe with.
///
/// # Errors
/// [`ReadError`].
pub async fn read_credentials(database: &Database, ledger: LedgerId) -> Result<StripeLedger, ReadError> {
    let answers = read(database, ledger, &[(&READ_CREDENTIALS, &[&ledger.0])]).await?;
    let row = answers[0].first().ok_or(ReadError::UnknownLedger)?;
    Ok(of_row(row)?)
}

fn of_row(row: &Row) -> Result<StripeLedger, RowError> {
    let slug = LedgerSlug::parse(row.try_get("slug")?).map_err(|_| RowError::Value { column: "slug" })?;
    let mode = LedgerMode::parse(row.try_get("mode")?).ok_or(RowError::Value { column: "mode" })?;
    let Some(version) = row.try_get("version")? else {
        return Ok(StripeLedger { slug, mode, credentials: None });
    };
    let account: Option<&str> = row.try_get("stripe_account")?;
    let account = account.map(StripeId::parse).transpose();
    let credentials = StripeCredentials {
        version,
        api_key: Sealed {
            key: SealingKeyId::stored(row.try_get("sealed_under")?),
            bytes: row.try_get("api_key")?,
        },
        hint: row.try_get("hint")?,
        base_url: row.try_get("base_url")?,
        account: account.map_err(|_| RowError::Value { column: "stripe_account" })?,
        set_at: timestamp(row.try_get("set_at")?, "set_at")?,
    };
    Ok(StripeLedger { slug, mode, credentials: Some(credentials) })
}

/// Credentials to be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewCredentials<'a> {
    /// The API key.
    pub api_key: &'a Sealed,
    /// What people recognise the key by.
    pub hint: &'a str,
    /// Where calls go; to Stripe if absent.
    pub base_url: Option<&'a str>,
    /// The Stripe account that the key belongs to, if that was asked.
    pub account: Option<&'a StripeId>,
}

static SET_CREDENTIALS: Statement = Statement {
    name: "set_stripe_credentials",
    sql: "INSERT INTO stripe_credentials
                 (ledger_id, version, api_key, sealed_under, hint, base_url, stripe_account, set_at)
          VALUES ($1, $2, $3, $4, $5, $6, $7, now())
              ON CONFLICT (ledger_id) DO UPDATE
             SET version = excluded.version, api_key = excluded.api_key, sealed_under = excluded.sealed_under,
                 hint = excluded.hint, base_url = excluded.base_url, stripe_account = excluded.stripe_account,
                 set_at = excluded.set_at",
    parameters: &[Type::INT8, Type::UUID, Type::BYTEA, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT],
};

/// Sets what the ledger calls Stripe with, in place of what it had.
///
/// # Errors
/// [`ReadError`].
pub async fn set_credentials(
    database: &Database,
    ledger: LedgerId,
    new: &NewCredentials<'_>,
) -> Result<(), ReadError> {
    let (version, account) = (Uuid::new_v4(), new.account.map(StripeId::as_str));
    let (bytes, key) = (&new.api_key.bytes, new.api_key.key.as_str());
    change(
        database,
        ledger,
        (&SET_CREDENTIALS, &[&ledger.0, &version, bytes, &key, &new.hint, &new.base_url, &account]),
    )
    .await
}

static RESEAL_CREDENTIALS: Statement = Statement {
    name: "reseal_stripe_credentials",
    sql: "UPDATE stripe_credentials SET api_key = $3, sealed_under = $4 WHERE ledger_id = $1 AND version = $2",
    parameters: &[Type::INT8, Type::UUID, Type::BYTEA, Type::TEXT],
};

/// Keeps the same API key sealed under another key, unless it was replaced meanwhile.
///
/// # Errors
/// [`ReadError`].
pub async fn reseal_credentials(
    database: &Database,
    ledger: LedgerId,
    version: Uuid,
    sealed: &Sealed,
) -> Result<(), ReadError> {
    let values: &[super::session::Value<'_>] = &[&ledger.0, &version, &sealed.bytes, &sealed.key.as_str()];
    change(database, ledger, (&RESEAL_CREDENTIALS, values)).await
}

pub(super) static STATEMENTS: &[&Statement] = &[&READ_CREDENTIALS, &SET_CREDENTIALS, &RESEAL_CREDENTIALS];
