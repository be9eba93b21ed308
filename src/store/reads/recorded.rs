//! From when to when is from which position to which: no event is recorded earlier than the one before it. A moment is
//! therefore looked for by halving, and no index by time is needed.

use std::ops::Range;

use tokio_postgres::types::Type;

use super::{Query, ReadError, read};
use crate::{
    domain::{
        ids::{LedgerId, Position},
        time::{TimeRange, Timestamp},
    },
    store::{
        pool::Database,
        rows::RowError,
        session::{Statement, Value},
    },
};

/// The first position that was recorded at `$2` or later; the one behind the last, if none was. What is at `low` is earlier,
/// what is at `high` is not; one row of `events` is read for each step, of which there are as many as the head has binary
/// digits.
static FIRST_RECORDED: Statement = Statement {
    name: "first_recorded",
    sql: "WITH RECURSIVE narrowed (low, high) AS (
              SELECT 0::bigint, h.position + 1 FROM ledger_heads h WHERE h.ledger_id = $1
               UNION ALL
              SELECT CASE WHEN m.is_earlier THEN m.position ELSE n.low END,
                     CASE WHEN m.is_earlier THEN n.high ELSE m.position END
                FROM narrowed n, LATERAL (
                     SELECT e.position, e.recorded_at < $2 AS is_earlier FROM events e
                      WHERE e.ledger_id = $1 AND e.position = (n.low + n.high) / 2 OFFSET 0) m
               WHERE n.high - n.low > 1)
          SELECT n.high AS position FROM narrowed n WHERE n.high - n.low = 1",
    parameters: &[Type::INT8, Type::TIMESTAMPTZ],
};

/// The positions of the events that were recorded in that time, as far as the ledger has come. Empty if there are none; what
/// is open on one side is so in the answer.
///
/// # Errors
/// [`ReadError`].
pub async fn positions_recorded(
    database: &Database,
    ledger: LedgerId,
    range: TimeRange,
) -> Result<Range<Position>, ReadError> {
    let moments = [range.from, range.until].map(|moment| moment.map(Timestamp::to_datetime));
    let values: Vec<[Value<'_>; 2]> =
        moments.iter().flatten().map(|moment| [&ledger.0 as Value<'_>, moment]).collect();
    if values.is_empty() {
        return Ok(Position(0)..Position(i64::MAX));
    }
    let queries: Vec<Query<'_>> = values.iter().map(|values| (&FIRST_RECORDED, values.as_slice())).collect();
    let mut found = read(database, ledger, &queries).await?.into_iter().map(|rows| {
        let row = rows.first().ok_or(ReadError::UnknownLedger)?;
        Ok::<_, ReadError>(Position(row.try_get("position").map_err(RowError::from)?))
    });
    // One answer for each moment that was given, in their order.
    let mut position = |moment: Option<_>, open| moment.and_then(|_| found.next()).unwrap_or(Ok(open));
    let from = position(range.from, Position(0))?;
    let until = position(range.until, Position(i64::MAX))?;
    Ok(from..until)
}

pub(super) static STATEMENTS: &[&Statement] = &[&FIRST_RECORDED];
