//! The events in order, in pages. A page is a transaction of its own, so that no long export holds a snapshot.

use tokio_postgres::{Row, types::Type};

use super::{Moment, READ_MOMENT, ReadError, read};
use crate::{
    domain::{
        Event,
        ids::{AccountId, LedgerId, Position, RequestId},
    },
    store::{
        events::{event_columns, event_from_row},
        pool::Database,
        rows::RowError,
        session::{Statement, Value},
    },
};

/// An event, with what stands beside it in storage.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// What its account is called now.
    pub account: Option<AccountId>,
    /// The request that it came with.
    pub request_id: Option<RequestId>,
}

impl StoredEvent {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let account: Option<&str> = row.try_get("external_id")?;
        let request_id: Option<&str> = row.try_get("request_id")?;
        let parsed = account.map(AccountId::parse).transpose();
        Ok(Self {
            event: event_from_row(row)?,
            account: parsed.map_err(|_| RowError::Value { column: "external_id" })?,
            request_id: request_id.and_then(|text| RequestId::parse(text).ok()),
        })
    }
}

/// Events after `$2` in their order, with the accounts that they are of: up to a limit, and under a further condition.
macro_rules! events_after {
    ($limit:literal $(, $condition:literal)?) => {
        concat!(
            "SELECT ",
            event_columns!(),
            ", e.request_id,
               (SELECT a.external_id FROM accounts a
                 WHERE a.ledger_id = $1 AND a.account_number = e.account_number) AS external_id
               FROM events e
              WHERE e.ledger_id = $1 AND e.position > $2",
            $($condition,)?
            " ORDER BY e.position ",
            $limit
        )
    };
}

static LIST_EVENTS: Statement = Statement {
    name: "list_events",
    sql: events_after!("LIMIT $3"),
    parameters: &[Type::INT8, Type::INT8, Type::INT8],
};

/// Up to `limit` events after a position, and where the ledger ends.
///
/// # Errors
/// [`ReadError`].
pub async fn list_events(
    database: &Database,
    ledger: LedgerId,
    after: Position,
    limit: i64,
) -> Result<(Moment, Vec<StoredEvent>), ReadError> {
    let answers = read(
        database,
        ledger,
        &[(&READ_MOMENT, &[&ledger.0]), (&LIST_EVENTS, &[&ledger.0, &after.0, &limit])],
    )
    .await?;
    let events = answers[1].iter().map(StoredEvent::from_row).collect::<Result<_, _>>()?;
    Ok((Moment::from_rows(&answers[0])?, events))
}

static LIST_EVENTS_OF_TYPES: Statement = Statement {
    name: "list_events_of_types",
    sql: events_after!("LIMIT $5", " AND e.position <= $3 AND e.type = ANY ($4)"),
    parameters: &[Type::INT8, Type::INT8, Type::INT8, Type::TEXT_ARRAY, Type::INT8],
};

/// Up to `limit` events of these types after a position and up to `until`, and where the ledger ends. All events in between
/// are looked at: how many that may be is for the caller to say.
///
/// # Errors
/// [`ReadError`].
pub async fn list_events_of_types(
    database: &Database,
    ledger: LedgerId,
    (after, until): (Position, Position),
    types: &[&str],
    limit: i64,
) -> Result<(Moment, Vec<StoredEvent>), ReadError> {
    let values: [Value<'_>; 5] = [&ledger.0, &after.0, &until.0, &types, &limit];
    let queries = [(&READ_MOMENT, &[&ledger.0 as Value<'_>] as &[_]), (&LIST_EVENTS_OF_TYPES, &values)];
    let answers = read(database, ledger, &queries).await?;
    let events = answers[1].iter().map(StoredEvent::from_row).collect::<Result<_, _>>()?;
    Ok((Moment::from_rows(&answers[0])?, events))
}

pub(super) static STATEMENTS: &[&Statement] = &[&LIST_EVENTS, &LIST_EVENTS_OF_TYPES];
