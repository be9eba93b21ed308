//! Ledgers: the directory of them, and how one comes to be.

use tokio_postgres::{Client, Error, Row, types::Type};
use uuid::Uuid;

use super::{
    reconciliation::gate::place,
    rows::{RowError, timestamp},
    scope::{self, Parameter},
};
use crate::domain::{
    ids::{LedgerId, LedgerSlug},
    settings::LedgerMode,
    time::Timestamp,
};

/// A ledger as the directory has it. Its settings are state: see `working_set`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ledger {
    /// Which ledger.
    pub ledger: LedgerId,
    /// Its name in addresses and keys.
    pub slug: LedgerSlug,
    /// Whether its money is real.
    pub mode: LedgerMode,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Ledger {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let slug = LedgerSlug::parse(row.try_get("slug")?).map_err(|_| RowError::Value { column: "slug" })?;
        let mode = LedgerMode::parse(row.try_get("mode")?).ok_or(RowError::Value { column: "mode" })?;
        let created_at = timestamp(row.try_get("created_at")?, "created_at")?;
        Ok(Self { ledger: LedgerId(row.try_get("ledger_id")?), slug, mode, created_at })
    }
}

/// All ledgers, by number.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn list_ledgers(client: &Client) -> Result<Vec<Ledger>, RowError> {
    let statement = "SELECT ledger_id, slug, mode, created_at FROM ledgers ORDER BY ledger_id";
    client.query_typed(statement, &[]).await?.iter().map(Ledger::from_row).collect()
}

/// The ledger of this name, if there is one.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn find_ledger(client: &Client, slug: &LedgerSlug) -> Result<Option<Ledger>, RowError> {
    let statement = "SELECT ledger_id, slug, mode, created_at FROM ledgers WHERE slug = $1";
    let rows = client.query_typed(statement, &[(&slug.as_str(), Type::TEXT)]).await?;
    rows.first().map(Ledger::from_row).transpose()
}

/// Why a ledger was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateLedgerError {
    /// The name is taken.
    #[error("there is a ledger `{0}` already")]
    SlugTaken(LedgerSlug),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] RowError),
}

impl From<Error> for CreateLedgerError {
    fn from(error: Error) -> Self {
        Self::Database(error.into())
    }
}

/// Makes a ledger without any events. Its settings come with the first `ledger.configured`.
///
/// # Errors
/// [`CreateLedgerError`]; nothing was made then.
pub async fn create_ledger(
    client: &Client,
    slug: &LedgerSlug,
    mode: LedgerMode,
) -> Result<Ledger, CreateLedgerError> {
    // In the directory first: the head's row belongs to a ledger whose number is not known before. A process that dies
    // between the two leaves an entry without a head, which the next attempt completes.
    let statement = "INSERT INTO ledgers (slug, mode) SELECT $1, $2
                      WHERE NOT EXISTS (SELECT FROM ledgers WHERE slug = $1)";
    let parameters: [Parameter<'_>; 2] = [(&slug.as_str(), Type::TEXT), (&mode.as_str(), Type::TEXT)];
    client.execute_typed(statement, &parameters).await?;
    let ledger = find_ledger(client, slug).await?.ok_or(RowError::Value { column: "slug" })?;
    let made = insert_head(client, &ledger).await?;
    if made && ledger.mode == mode { Ok(ledger) } else { Err(CreateLedgerError::SlugTaken(slug.clone())) }
}

/// The clock of a test ledger can be moved, and begins with the database's; that of a live one cannot.
async fn insert_head(client: &Client, Ledger { ledger, mode, .. }: &Ledger) -> Result<bool, Error> {
    let statement =
        "INSERT INTO ledger_heads (ledger_id, position, batch_id, recorded_at, fence, incarnation, clock_ahead)
                     VALUES ($1, 0, $2, now(), $3, $4, $5) ON CONFLICT (ledger_id) DO NOTHING";
    // Effects may be carried out from the start: there is nothing yet that Stripe could know and the ledger does not.
    let reconciliation = concat!(
        "INSERT INTO reconciliation (ledger_id, events_until, next_events_at, next_comparison_at, next_recovery_at,
                                     incarnation, place)
         SELECT h.ledger_id, now(), now() + interval '1 minute', now() + interval '1 day', now(), h.incarnation, ",
        place!(),
        "  FROM ledger_heads h WHERE h.ledger_id = $1
             ON CONFLICT (ledger_id) DO NOTHING"
    );
    client.batch_execute(&scope::begin_writing(*ledger)).await?;
    let clock_ahead = (*mode == LedgerMode::Test).then_some(0_i64);
    let parameters: [Parameter<'_>; 5] = [
        (&ledger.0, Type::INT8),
        (&Uuid::new_v4(), Type::UUID),
        (&Uuid::new_v4(), Type::UUID),
        (&Uuid::new_v4(), Type::UUID),
        (&clock_ahead, Type::INT8),
    ];
    let mut inserted = client.execute_typed(statement, &parameters).await;
    if matches!(inserted, Ok(1)) {
        let made = client.execute_typed(reconciliation, &[(&ledger.0, Type::INT8)]).await;
        inserted = made.and(inserted);
    }
    let end = if inserted.is_ok() { "COMMIT" } else { "ROLLBACK" };
    client.batch_execute(end).await?;
    Ok(inserted? == 1)
}
