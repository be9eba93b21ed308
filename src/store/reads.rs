//! What the interface reads: each answer is one transaction, one snapshot, one round trip.
//!
//! Nothing here waits for the writer or takes a lock. Statements are prepared once per connection; behind a pooler in
//! transaction mode they travel unnamed with their types.

pub mod accounts;
pub mod catalogue;
pub mod checkout_links;
pub mod events;
pub mod keys;
pub mod orders;
pub mod recorded;
pub mod subscriptions;

use deadpool_postgres::{Object, PoolError};
use futures_util::future::{join_all, try_join_all};
use tokio_postgres::{Error, Row, error::SqlState, types::Type};

use super::{
    errors::{ErrorClass, class_of},
    heads::Incarnation,
    logs,
    pool::Database,
    rows::{RowError, timestamp},
    scope,
    session::{Statement, Value},
    stripe_credentials,
};
use crate::domain::{
    ids::{LedgerId, Position},
    time::{Span, Timestamp},
};

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be reached or has no room: the same again may succeed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// There is no such ledger.
    #[error("there is no such ledger")]
    UnknownLedger,
    /// A row cannot be read.
    #[error(transparent)]
    Row(RowError),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        match class_of(&error) {
            ErrorClass::Connection | ErrorClass::Retry | ErrorClass::Resources => {
                Self::Unavailable(error.to_string())
            }
            ErrorClass::Conflict | ErrorClass::Data => Self::Row(RowError::Column(error)),
        }
    }
}

impl From<RowError> for ReadError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Column(error) => error.into(),
            other => Self::Row(other),
        }
    }
}

impl From<PoolError> for ReadError {
    fn from(error: PoolError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Where a ledger ends, as of the snapshot that was read, and what time it is then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The position of the last event.
    pub position: Position,
    /// Which history it is of.
    pub incarnation: Incarnation,
    /// The later of the ledger's clock and the last event's time: what is due then has happened.
    pub now: Timestamp,
    /// How far the ledger's clock is ahead of the database's.
    pub clock_ahead: Span,
}

static READ_MOMENT: Statement = Statement {
    name: "read_moment",
    sql: "SELECT position, incarnation, GREATEST(recorded_at,
                 clock_timestamp() + COALESCE(clock_ahead, 0) * interval '1 second') AS now,
                 COALESCE(clock_ahead, 0) AS clock_ahead
            FROM ledger_heads WHERE ledger_id = $1",
    parameters: &[Type::INT8],
};

impl Moment {
    fn from_rows(rows: &[Row]) -> Result<Self, ReadError> {
        let row = rows.first().ok_or(ReadError::UnknownLedger)?;
        Ok(Self {
            position: Position(row.try_get("position").map_err(RowError::from)?),
            incarnation: Incarnation(row.try_get("incarnation").map_err(RowError::from)?),
            now: timestamp(row.try_get("now").map_err(RowError::from)?, "now")?,
            clock_ahead: Span::seconds(row.try_get("clock_ahead").map_err(RowError::from)?),
        })
    }
}

/// Where the ledger ends.
///
/// # Errors
/// [`ReadError`].
pub async fn read_moment(database: &Database, ledger: LedgerId) -> Result<Moment, ReadError> {
    let answers = read(database, ledger, &[(&READ_MOMENT, &[&ledger.0])]).await?;
    Moment::from_rows(&answers[0])
}

/// Whether the database answers.
///
/// # Errors
/// [`ReadError::Unavailable`] if it does not.
pub async fn ping(database: &Database) -> Result<(), ReadError> {
    Ok(database.pool().get().await?.batch_execute("").await?)
}

/// One statement of a transaction, with its values.
pub(in crate::store) type Query<'a> = (&'static Statement, &'a [Value<'a>]);

/// Runs the statements on one snapshot of the ledger and gives the rows of each.
pub(in crate::store) async fn read(
    database: &Database,
    ledger: LedgerId,
    queries: &[Query<'_>],
) -> Result<Vec<Vec<Row>>, ReadError> {
    transact(database, &scope::begin_reading(ledger), queries).await
}

/// Runs one statement that changes rows.
pub(in crate::store) async fn change(
    database: &Database,
    ledger: LedgerId,
    query: Query<'_>,
) -> Result<(), ReadError> {
    transact(database, &scope::begin_writing(ledger), &[query]).await.map(|_| ())
}

async fn transact(
    database: &Database,
    begin: &str,
    queries: &[Query<'_>],
) -> Result<Vec<Vec<Row>>, ReadError> {
    let client = database.pool().get().await?;
    let prepared = prepare(database, &client, queries).await?;
    // Polled together and in order: all of it travels at once.
    let begun = client.batch_execute(begin);
    let answers = queries.iter().enumerate().map(|(index, (statement, values))| {
        let (client, prepared) = (&client, prepared.get(index));
        async move {
            match prepared {
                Some(prepared) => client.query(prepared, values).await,
                None => {
                    let types = statement.parameters.iter().cloned();
                    let typed: Vec<_> = values.iter().copied().zip(types).collect();
                    client.query_typed(statement.sql, &typed).await
                }
            }
        }
    });
    let ended = client.batch_execute("COMMIT");
    let (begun, answers, ended) = futures_util::future::join3(begun, join_all(answers), ended).await;
    begun?;
    let mut rows = Vec::with_capacity(queries.len());
    let mut consequence = None;
    for answer in answers {
        match answer {
            Ok(answer) => rows.push(answer),
            // Says only that another statement failed.
            Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                consequence = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(error) = consequence {
        return Err(error.into());
    }
    ended?;
    Ok(rows)
}

async fn prepare(
    database: &Database,
    client: &Object,
    queries: &[Query<'_>],
) -> Result<Vec<tokio_postgres::Statement>, Error> {
    if database.pgbouncer() {
        return Ok(Vec::new());
    }
    let statements =
        queries.iter().map(|(statement, _)| client.prepare_typed_cached(statement.sql, statement.parameters));
    try_join_all(statements).await
}

/// Every statement that reads for the interface, so that a test can hold each against the schema.
pub fn statements() -> Vec<&'static Statement> {
    let mut all = vec![&READ_MOMENT];
    all.extend(stripe_credentials::STATEMENTS);
    all.extend(accounts::STATEMENTS);
    all.extend(catalogue::STATEMENTS);
    all.extend(checkout_links::STATEMENTS);
    all.extend(events::STATEMENTS);
    all.extend(keys::STATEMENTS);
    all.extend(logs::read::STATEMENTS);
    all.extend(orders::STATEMENTS);
    all.extend(recorded::STATEMENTS);
    all.extend(subscriptions::STATEMENTS);
    all
}
