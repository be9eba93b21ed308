//! Reading projections: which build serves a ledger, how far each is, and the pages of an account's history.
//!
//! Which build serves is resolved in the transaction that reads, so a build that takes over at this moment is either
//! read from the beginning or not at all.

use std::ops::Range;

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

/// Which entries of an account's history a page holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryFilter {
    /// Only those at these positions.
    pub positions: Range<Position>,
    /// Only those of these types; all if there are none.
    pub types: Vec<&'static str>,
    /// How many at most.
    pub limit: u16,
}

/// How many entries are looked at for a page of certain types, so that one who asks for what is rare cannot have the whole
/// history of a busy account read at once.
pub const HISTORY_LOOKED_AT: i64 = 2_000;

/// A page of an account's history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryPage {
    /// Newest first.
    pub entries: Vec<HistoryEntry>,
    /// The position before which the next page begins, if there may be more.
    pub next: Option<Position>,
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

/// A page of an account's history, newest first. It may be short, or empty, and not be the last.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn history(
    client: &mut Client,
    ledger: LedgerId,
    account: AccountNumber,
    filter: &HistoryFilter,
) -> Result<HistoryPage, RowError> {
    // A caller may go away between the two queries: a transaction that is dropped rolls itself back.
    let transaction = client.build_transaction().read_only(true).start().await?;
    let settings = scope::settings(ledger);
    let (begun, serving) =
        join(transaction.batch_execute(&settings), serving(transaction.client(), ledger, "history")).await;
    begun?;
    match serving? {
        None => Ok(HistoryPage { entries: Vec::new(), next: None, position: Position(0) }),
        Some(serving) => history_in(transaction.client(), ledger, account, filter, &serving).await,
    }
}

/// The statement that reads a page of history of certain types in the tables of that build. Parameters: ledger, account, the
/// first position and the one behind the last, how many entries are told at most, types, and how many are looked at.
///
/// Every row has the number of entries looked at and the position of the last of them; there is one also if none is told. What
/// is looked for is found by its type alone, and only what is told is put into words.
pub fn history_of_types_statement(schema: &str) -> String {
    format!(
        "WITH looked_at AS MATERIALIZED (
             SELECT position, type FROM {schema}.history
              WHERE ledger_id = $1 AND account_number = $2 AND position >= $3 AND position < $4
              ORDER BY position DESC LIMIT $7)
         SELECT l.entries, l.last, h.*
           FROM (SELECT count(*) AS entries, min(position) AS last FROM looked_at) l
           LEFT JOIN LATERAL (
                SELECT {ENTRY_COLUMNS}
                  FROM (SELECT position FROM looked_at WHERE type = ANY ($6) ORDER BY position DESC LIMIT $5) t,
                       LATERAL (SELECT * FROM {schema}.history h
                                 WHERE h.ledger_id = $1 AND h.account_number = $2 AND h.position = t.position
                                OFFSET 0) h) h ON true
          ORDER BY h.position DESC"
    )
}

/// The columns of a [`HistoryEntry`].
const ENTRY_COLUMNS: &str =
    "h.position, h.type, h.unit, h.amount, h.balance_after, h.description, h.description_de,
                             h.recorded_at, h.effective_at, h.actor, h.reference";

async fn history_in(
    client: &Client,
    ledger: LedgerId,
    account: AccountNumber,
    filter: &HistoryFilter,
    serving: &Serving,
) -> Result<HistoryPage, RowError> {
    let HistoryFilter { positions, types, limit } = filter;
    // One more than is told says whether there is another page.
    let told = i64::from(*limit) + 1;
    let looked_at = told.max(HISTORY_LOOKED_AT);
    let mut parameters: Vec<Parameter<'_>> = vec![
        (&ledger.0, Type::INT8),
        (&account.0, Type::INT8),
        (&positions.start.0, Type::INT8),
        (&positions.end.0, Type::INT8),
        (&told, Type::INT8),
    ];
    let rows = if types.is_empty() {
        let statement = format!(
            "SELECT {ENTRY_COLUMNS}
               FROM {}.history h
              WHERE h.ledger_id = $1 AND h.account_number = $2 AND h.position >= $3 AND h.position < $4
              ORDER BY h.position DESC LIMIT $5",
            serving.schema
        );
        client.query_typed(&statement, &parameters).await?
    } else {
        parameters.extend([(types as _, Type::TEXT_ARRAY), (&looked_at as _, Type::INT8)]);
        client.query_typed(&history_of_types_statement(&serving.schema), &parameters).await?
    };
    let entries = rows.iter().filter_map(|row| HistoryEntry::from_row(row).transpose());
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    let next = if entries.len() > usize::from(*limit) {
        entries.truncate((*limit).into());
        entries.last().map(|entry| entry.position)
    } else {
        let given_up = rows.first().filter(|_| !types.is_empty());
        given_up.map(|row| given_up_at(row, looked_at)).transpose()?.flatten()
    };
    Ok(HistoryPage { entries, next, position: serving.position })
}

/// The last entry that was looked at, if there may be others behind it.
fn given_up_at(row: &Row, looked_at: i64) -> Result<Option<Position>, RowError> {
    let entries: i64 = row.try_get("entries")?;
    let last: Option<i64> = row.try_get("last")?;
    Ok(last.filter(|_| entries >= looked_at).map(Position))
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
    /// Nothing of a row without an entry.
    fn from_row(row: &Row) -> Result<Option<Self>, RowError> {
        let Some(position) = row.try_get("position")? else { return Ok(None) };
        let unit: Option<&str> = row.try_get("unit")?;
        let effective_at: Option<time::OffsetDateTime> = row.try_get("effective_at")?;
        Ok(Some(Self {
            position: Position(position),
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
        }))
    }
}
