//! Who works on which shard of a ledger.
//!
//! A lease holds for a limited time and is renewed by its holder. Whoever takes over a lease that ran out moves its fence:
//! what the holder before has not completed by then, it never will.

use std::time::Duration;

use tokio_postgres::{Client, types::Type};

use super::{Step, claim::Witness, read, write};
use crate::{
    domain::ids::{LedgerId, Position},
    store::{rows::RowError, scope::Parameter},
};

/// The right to work on a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Which shard.
    pub shard: i16,
    /// What every completion has to name.
    pub fence: i64,
    /// Nothing of the shard waits in `outbox` up to here.
    pub done: Position,
}

/// Shards of which nobody has the lease and something is to be done: a fresh effect, or one whose next attempt is due.
///
/// # Errors
/// Those of the database.
pub async fn find_work(client: &Client, ledger: LedgerId) -> Result<Vec<i16>, RowError> {
    let sql = "SELECT s.shard::int2 AS shard
                 FROM ledger_heads h
                CROSS JOIN generate_series(0, 63) AS s (shard)
                 LEFT JOIN outbox_leases l ON l.ledger_id = h.ledger_id AND l.ledger_id = $1 AND l.shard = s.shard
                WHERE h.ledger_id = $1
                  AND (l.leased_until IS NULL OR l.leased_until <= now())
                  AND (EXISTS (SELECT FROM outbox o
                                WHERE o.ledger_id = $1 AND o.shard = s.shard
                                  AND o.position > COALESCE(l.done_position, 0))
                    OR EXISTS (SELECT FROM outbox_retry r
                                WHERE r.ledger_id = $1 AND r.shard = s.shard AND r.next_attempt_at <= now()))";
    let rows = read(client, ledger, &[Step { sql, parameters: vec![(&ledger.0, Type::INT8)] }]).await?;
    rows.iter().flatten().map(|row| Ok(row.try_get("shard")?)).collect()
}

/// Takes the leases of those of `shards` that nobody holds.
///
/// # Errors
/// Those of the database.
pub async fn acquire(
    client: &Client,
    ledger: LedgerId,
    shards: &[i16],
    lasting: Duration,
) -> Result<Vec<Lease>, RowError> {
    let lasting = lasting.as_secs_f64();
    let make = "INSERT INTO outbox_leases (ledger_id, shard)
                SELECT h.ledger_id, s.shard
                  FROM ledger_heads h, unnest($2::int2[]) AS s (shard)
                 WHERE h.ledger_id = $1
                    ON CONFLICT (ledger_id, shard) DO NOTHING";
    let take = "UPDATE outbox_leases
                   SET fence = fence + 1, leased_until = now() + make_interval(secs => $3)
                 WHERE ledger_id = $1
                   AND shard = ANY (ARRAY(
                       SELECT free.shard
                         FROM outbox_leases free
                        WHERE free.ledger_id = $1
                          AND free.shard = ANY ($2)
                          AND (free.leased_until IS NULL OR free.leased_until <= now())
                          FOR UPDATE SKIP LOCKED))
             RETURNING shard, fence, done_position";
    let steps = [
        Step { sql: make, parameters: vec![(&ledger.0, Type::INT8), (&shards, Type::INT2_ARRAY)] },
        Step {
            sql: take,
            parameters: vec![(&ledger.0, Type::INT8), (&shards, Type::INT2_ARRAY), (&lasting, Type::FLOAT8)],
        },
    ];
    let rows = write(client, ledger, &steps).await?;
    let lease = |row: &tokio_postgres::Row| {
        Ok(Lease {
            shard: row.try_get("shard")?,
            fence: row.try_get("fence")?,
            done: Position(row.try_get("done_position")?),
        })
    };
    rows.iter().flatten().map(lease).collect()
}

/// Holds on to leases for another while, or gives them back if `lasting` is absent, and notes how far each shard is done.
/// Answers which shards are still held: none if the ledger does not go on from `witness`, because what is done is not
/// known then.
///
/// # Errors
/// Those of the database.
pub async fn renew(
    client: &Client,
    ledger: LedgerId,
    leases: &[Lease],
    lasting: Option<Duration>,
    witness: Option<&Witness>,
) -> Result<Vec<i16>, RowError> {
    let sql = "UPDATE outbox_leases l
                  SET leased_until = now() + make_interval(secs => $5),
                      done_position = GREATEST(l.done_position, held.done)
                 FROM ledger_heads h, unnest($2::int2[], $3::int8[], $4::int8[]) AS held (shard, fence, done)
                WHERE l.ledger_id = $1 AND l.shard = held.shard AND l.fence = held.fence
                  AND h.ledger_id = $1
                  AND ($6::int8 IS NULL OR h.position >= $6 AND h.incarnation = $7)
            RETURNING l.shard";
    let lasting = lasting.map(|lasting| lasting.as_secs_f64());
    let shards: Vec<i16> = leases.iter().map(|lease| lease.shard).collect();
    let fences: Vec<i64> = leases.iter().map(|lease| lease.fence).collect();
    let done: Vec<i64> = leases.iter().map(|lease| lease.done.0).collect();
    let head = witness.map(|witness| witness.head.0);
    let incarnation = witness.map(|witness| witness.incarnation.0);
    let parameters: Vec<Parameter<'_>> = vec![
        (&ledger.0, Type::INT8),
        (&shards, Type::INT2_ARRAY),
        (&fences, Type::INT8_ARRAY),
        (&done, Type::INT8_ARRAY),
        (&lasting, Type::FLOAT8),
        (&head, Type::INT8),
        (&incarnation, Type::UUID),
    ];
    let rows = write(client, ledger, &[Step { sql, parameters }]).await?;
    rows.iter().flatten().map(|row| Ok(row.try_get("shard")?)).collect()
}
