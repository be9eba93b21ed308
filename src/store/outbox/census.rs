//! How much there is in the outbox, for metrics.

use std::time::Duration;

use tokio_postgres::{Client, Row, types::Type};

use super::{Step, entries::EffectState, read};
use crate::{domain::ids::LedgerId, store::rows::RowError};

/// Effects of one kind in one state.
#[derive(Clone, PartialEq, Debug)]
pub struct Count {
    /// Which state.
    pub state: EffectState,
    /// Which kind.
    pub kind: String,
    /// How many.
    pub effects: i64,
    /// How long ago the oldest of them was ordered.
    pub oldest: Duration,
}

/// How many rows of each shard and table are counted: a backlog beyond is as alarming, and counting it would be work.
pub const COUNTED_OF_SHARD: i64 = 2_000;

/// Counts the effects of a ledger, each shard up to [`COUNTED_OF_SHARD`].
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn count(client: &Client, ledger: LedgerId) -> Result<Vec<Count>, RowError> {
    macro_rules! counted {
        ($table:literal, $state:literal, $from:literal) => {
            concat!(
                "SELECT e.state, e.kind, count(*) AS effects,
                        EXTRACT(epoch FROM now() - min(e.created_at))::float8 AS oldest
                   FROM ledger_heads h
                  CROSS JOIN generate_series(0, 63) AS s (shard)
                   LEFT JOIN outbox_leases l
                     ON l.ledger_id = h.ledger_id AND l.ledger_id = $1 AND l.shard = s.shard
                  CROSS JOIN LATERAL (
                        SELECT ",
                $state,
                " AS state, w.kind, w.created_at
                          FROM ",
                $table,
                " w
                         WHERE w.ledger_id = $1 AND w.shard = s.shard AND w.position > ",
                $from,
                "
                         ORDER BY w.ledger_id, w.shard, w.position, w.ordinal
                         LIMIT $2) e
                  WHERE h.ledger_id = $1
                  GROUP BY e.state, e.kind"
            )
        };
    }
    const WAITING: &str = counted!("outbox", "'waiting'", "COALESCE(l.done_position, 0)");
    const RETRIED: &str = counted!(
        "outbox_retry",
        "CASE WHEN w.next_attempt_at IS NULL THEN 'held' ELSE 'backing_off' END",
        "0"
    );
    const DEAD: &str = counted!("outbox_dead", "'dead'", "0");
    let steps = [WAITING, RETRIED, DEAD]
        .map(|sql| Step { sql, parameters: vec![(&ledger.0, Type::INT8), (&COUNTED_OF_SHARD, Type::INT8)] });
    let rows = read(client, ledger, &steps).await?;
    let count = |row: &Row| {
        let state = EffectState::parse(row.try_get("state")?);
        let oldest: Option<f64> = row.try_get("oldest")?;
        Ok(Count {
            state: state.ok_or(RowError::Value { column: "state" })?,
            kind: row.try_get("kind")?,
            effects: row.try_get("effects")?,
            oldest: Duration::try_from_secs_f64(oldest.unwrap_or_default().max(0.0)).unwrap_or_default(),
        })
    };
    rows.iter().flatten().map(count).collect()
}
