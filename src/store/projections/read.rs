//! Reading projections: which build serves a ledger, how far each is, and the pages of an account's history.
//!
//! Which build serves is resolved in the transaction that reads, so a build that takes over at this moment is either
//! read from the beginning or not at all.

use futures_util::future::{join, try_join_all};
use tokio_postgres::{Client, Error, Row, types::Type};

use super::LedgerId;
use crate::{
    domain::{
        ids::{AccountNumber, Position, Unit},
        time::Timestamp,
    },
    store::{
        rows::{RowError, timestamp},
        scope::{self, Parameter},
    },
};

/// How many ledgers are asked about in one round trip.
const LEDGERS_AT_ONCE: usize = 100;

/// Where a ledger's reads of a projection go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Serving {
    /// The build's schema: a plain name.
    pub schema: String,
    /// The version of its SQL.
    pub version: String,
    /// How far it is.
    pub position: Position,
}

/// How far one build is in one ledger.
#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    /// The ledger.
    pub ledger: LedgerId,
    /// The projection.
    pub projection: String,
    /// Which build of it.
    pub build: i32,
    /// The last position that is folded.
    pub position: i64,
    /// The ledger's last position.
    pub head: i64,
    /// Whether reads go to it.
    pub is_serving: bool,
    /// Why it goes no further, if it is halted.
    pub halt: Option<Halt>,
    /// How many events it has passed over, because it cannot fold them.
    pub parked: i64,
    /// How many seconds ago the first event was recorded that is not folded; 0 if there is none.
    pub lag_seconds: f64,
}

/// What stopped a build.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Halt {
    /// The event.
    pub position: Position,
    /// The SQLSTATE that it raised.
    pub category: String,
    /// What the database said.
    pub reason: String,
}

/// One entry of an account's history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    /// The event.
    pub position: Position,
    /// Its type, e.g. `credits.spent`.
    pub type_name: String,
    /// Of what, where credits are concerned.
    pub unit: Option<Unit>,
    /// The change of available minus debt.
    pub amount: i64,
    /// Available minus debt of the unit afterwards.
    pub balance_after: Option<i64>,
    /// What happened, in English.
    pub description: String,
    /// The same in German.
    pub description_de: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When it took effect, where that was earlier.
    pub effective_at: Option<Timestamp>,
    /// Who caused it.
    pub actor: String,
    /// The spend, hold, purchase or lot that it is about.
    pub reference: Option<String>,
}

/// A page of an account's history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryPage {
    /// Newest first.
    pub entries: Vec<HistoryEntry>,
    /// How far the history is: everything up to there is in it.
    pub position: Position,
}

/// Which build of a projection serves the ledger; none before anything was folded. To be asked within a transaction
/// that sees the ledger.
///
/// # Errors
/// Those of the database.
pub async fn serving(client: &Client, ledger: LedgerId, projection: &str) -> Result<Option<Serving>, Error> {
    let statement = "
        SELECT v.schema_name, v.version, c.position
          FROM projection_cursors c
          JOIN projection_versions v ON v.projection = c.projection AND v.build = c.build
         WHERE c.ledger_id = $1 AND c.projection = $2 AND c.is_serving";
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&projection, Type::TEXT)];
    let row = client.query_typed_opt(statement, &parameters).await?;
    row.map(|row| {
        let position = Position(row.try_get("position")?);
        Ok(Serving { schema: row.try_get("schema_name")?, version: row.try_get("version")?, position })
    })
    .transpose()
}

/// How far a projection is in a ledger: 0 before anything was folded.
///
/// # Errors
/// Those of the database.
pub async fn serving_position(
    client: &Client,
    ledger: LedgerId,
    projection: &str,
) -> Result<Position, Error> {
    let begin = scope::begin_reading(ledger);
    let serving = scope::within(client, &begin, serving(client, ledger, projection)).await?;
    Ok(serving.map_or(Position(0), |serving| serving.position))
}

/// The entries of an account's history before a position (all, if none is given), newest first.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn history(
    client: &mut Client,
    ledger: LedgerId,
    account: AccountNumber,
    before: Option<Position>,
    limit: u16,
) -> Result<HistoryPage, RowError> {
    // A caller may go away between the two queries: a transaction that is dropped rolls itself back.
    let transaction = client.build_transaction().read_only(true).start().await?;
    let settings = scope::settings(ledger);
    let (begun, serving) =
        join(transaction.batch_execute(&settings), serving(transaction.client(), ledger, "history")).await;
    begun?;
    match serving? {
        None => Ok(HistoryPage { entries: Vec::new(), position: Position(0) }),
        Some(serving) => history_in(transaction.client(), ledger, account, before, limit, &serving).await,
    }
}

async fn history_in(
    client: &Client,
    ledger: LedgerId,
    account: AccountNumber,
    before: Option<Position>,
    limit: u16,
    serving: &Serving,
) -> Result<HistoryPage, RowError> {
    let statement = format!(
        "SELECT position, type, unit, amount, balance_after, description, description_de,
                recorded_at, effective_at, actor, reference
           FROM {}.history
          WHERE ledger_id = $1 AND account_number = $2 AND position < $3
          ORDER BY position DESC LIMIT $4",
        serving.schema
    );
    let before = before.map_or(i64::MAX, |position| position.0);
    let parameters: [Parameter<'_>; 4] = [
        (&ledger.0, Type::INT8),
        (&account.0, Type::INT8),
        (&before, Type::INT8),
        (&i64::from(limit), Type::INT8),
    ];
    let rows = client.query_typed(&statement, &parameters).await?;
    let entries = rows.iter().map(HistoryEntry::from_row).collect::<Result<_, _>>()?;
    Ok(HistoryPage { entries, position: serving.position })
}

/// How far every build is in these ledgers.
///
/// # Errors
/// Those of the database.
pub async fn progress(client: &Client, ledgers: &[LedgerId]) -> Result<Vec<Progress>, Error> {
    let mut found = Vec::new();
    for some in ledgers.chunks(LEDGERS_AT_ONCE) {
        found.extend(try_join_all(some.iter().map(|ledger| progress_of(client, *ledger))).await?);
    }
    Ok(found.into_iter().flatten().collect())
}

async fn progress_of(client: &Client, ledger: LedgerId) -> Result<Vec<Progress>, Error> {
    let statement = "
        SELECT c.projection, c.build, c.position, h.position AS head, c.is_serving,
               c.halted_position, c.halted_category, c.halted_reason,
               (SELECT count(*) FROM projection_parked p
                 WHERE p.ledger_id = $1 AND p.projection = c.projection AND p.build = c.build) AS parked,
               COALESCE((SELECT GREATEST(extract(epoch FROM clock_timestamp() - e.recorded_at), 0) FROM events e
                          WHERE e.ledger_id = $1 AND e.position = c.position + 1), 0)::float8 AS lag_seconds
          FROM projection_cursors c JOIN ledger_heads h ON h.ledger_id = c.ledger_id
         WHERE c.ledger_id = $1 AND h.ledger_id = $1
         ORDER BY c.projection, c.build";
    let begin = scope::begin_reading(ledger);
    let parameters: [Parameter<'_>; 1] = [(&ledger.0, Type::INT8)];
    let rows = scope::within(client, &begin, client.query_typed(statement, &parameters)).await?;
    rows.iter().map(|row| Progress::from_row(ledger, row)).collect()
}

impl Progress {
    fn from_row(ledger: LedgerId, row: &Row) -> Result<Self, Error> {
        let halt = match row.try_get::<_, Option<i64>>("halted_position")? {
            Some(position) => Some(Halt {
                position: Position(position),
                category: row.try_get("halted_category")?,
                reason: row.try_get("halted_reason")?,
            }),
            None => None,
        };
        Ok(Self {
            ledger,
            projection: row.try_get("projection")?,
            build: row.try_get("build")?,
            position: row.try_get("position")?,
            head: row.try_get("head")?,
            is_serving: row.try_get("is_serving")?,
            halt,
            parked: row.try_get("parked")?,
            lag_seconds: row.try_get("lag_seconds")?,
        })
    }
}

impl HistoryEntry {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let unit: Option<&str> = row.try_get("unit")?;
        let effective_at: Option<time::OffsetDateTime> = row.try_get("effective_at")?;
        Ok(Self {
            position: Position(row.try_get("position")?),
            type_name: row.try_get("type")?,
            unit: unit.map(Unit::parse).transpose().map_err(|_| RowError::Value { column: "unit" })?,
            amount: row.try_get("amount")?,
            balance_after: row.try_get("balance_after")?,
            description: row.try_get("description")?,
            description_de: row.try_get("description_de")?,
            recorded_at: timestamp(row.try_get("recorded_at")?, "recorded_at")?,
            effective_at: effective_at.map(|moment| timestamp(moment, "effective_at")).transpose()?,
            actor: row.try_get("actor")?,
            reference: row.try_get("reference")?,
        })
    }
}
