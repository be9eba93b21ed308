//! What the sealer reads, and what it writes in one commit: tiles, a checkpoint, how far the log has come.

use std::time::Duration;

use futures_util::future::{join, try_join, try_join3};
use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::{Halt, Log, StoredCheckpoint, StoredTile, log_columns};
use crate::{
    domain::{
        Event,
        ids::{LedgerId, Position},
    },
    store::{
        events::{event_columns, event_from_row},
        heads::Incarnation,
        rows::RowError,
        scope::{self, Parameter},
    },
};

/// How far a ledger and its log are apart.
#[derive(Clone, PartialEq, Debug)]
pub struct Distance {
    /// The log.
    pub log: Log,
    /// The ledger's last position.
    pub head: Position,
    /// The history that it is of.
    pub incarnation: Incarnation,
    /// Whether somebody may be sealing.
    pub is_leased: bool,
    /// For how long the oldest event that is not sealed has been waiting; nothing if there is none.
    pub oldest: Duration,
}

/// How far the ledger and its log are apart; none if it has no log.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn find_distance(client: &Client, ledger: LedgerId) -> Result<Option<Distance>, RowError> {
    let sql = concat!(
        "SELECT ",
        log_columns!(),
        ", h.position, h.incarnation AS present, l.leased_until > now() AS is_leased,
           (SELECT EXTRACT(epoch FROM clock_timestamp() + COALESCE(h.clock_ahead, 0) * interval '1 second'
                                      - e.recorded_at)::float8
              FROM events e WHERE e.ledger_id = $1 AND e.position = l.size + 1) AS oldest
           FROM logs l JOIN ledger_heads h ON h.ledger_id = l.ledger_id
          WHERE l.ledger_id = $1 AND h.ledger_id = $1
          ORDER BY l.number DESC LIMIT 1"
    );
    let values: &[Parameter<'_>] = &[(&ledger.0, Type::INT8)];
    let work = client.query_typed(sql, values);
    let rows = scope::within(client, &scope::begin_reading(ledger), work).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let oldest: Option<f64> = row.try_get("oldest")?;
    Ok(Some(Distance {
        log: Log::from_row(row)?,
        head: Position(row.try_get("position")?),
        incarnation: Incarnation(row.try_get("present")?),
        is_leased: row.try_get::<_, Option<bool>>("is_leased")?.unwrap_or_default(),
        oldest: Duration::try_from_secs_f64(oldest.unwrap_or_default().max(0.0)).unwrap_or_default(),
    }))
}

/// The right to seal a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealingLease {
    /// Which log.
    pub log: i32,
    /// What everything that is written names.
    pub fence: i64,
}

/// Takes the lease of a log if nobody has it, or only whoever holds `held`; a halted log has none.
///
/// # Errors
/// Those of the database.
pub async fn acquire_log(
    client: &Client,
    ledger: LedgerId,
    number: i32,
    lasting: Duration,
    held: Option<SealingLease>,
) -> Result<Option<SealingLease>, RowError> {
    let sql = "UPDATE logs SET fence = fence + 1, leased_until = now() + make_interval(secs => $3)
                WHERE ledger_id = $1 AND number = $2 AND halted IS NULL
                  AND (leased_until IS NULL OR leased_until <= now() OR fence = $4)
            RETURNING fence";
    let (seconds, held) = (lasting.as_secs_f64(), held.map(|held| held.fence));
    let values: &[Parameter<'_>] =
        &[(&ledger.0, Type::INT8), (&number, Type::INT4), (&seconds, Type::FLOAT8), (&held, Type::INT8)];
    let work = client.query_typed(sql, values);
    let rows = scope::within(client, &scope::begin_writing(ledger), work).await?;
    let lease = |row: &Row| Ok(SealingLease { log: number, fence: row.try_get("fence")? });
    rows.first().map(lease).transpose()
}

/// Gives a lease back, so that another process need not wait for it to run out.
///
/// # Errors
/// Those of the database.
pub async fn release_log(client: &Client, ledger: LedgerId, lease: SealingLease) -> Result<(), RowError> {
    let sql = "UPDATE logs SET leased_until = NULL WHERE ledger_id = $1 AND number = $2 AND fence = $3";
    let values: &[Parameter<'_>] =
        &[(&ledger.0, Type::INT8), (&lease.log, Type::INT4), (&lease.fence, Type::INT8)];
    let work = client.execute_typed(sql, values);
    scope::within(client, &scope::begin_writing(ledger), work).await?;
    Ok(())
}

/// What sealing goes on from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedState {
    /// The log.
    pub log: Log,
    /// Its last checkpoint; none if nothing is sealed.
    pub checkpoint: Option<StoredCheckpoint>,
}

/// What sealing goes on from.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn load_sealed(client: &Client, ledger: LedgerId, number: i32) -> Result<SealedState, RowError> {
    let log = concat!("SELECT ", log_columns!(), " FROM logs l WHERE l.ledger_id = $1 AND l.number = $2");
    let checkpoint = "SELECT size, root, note FROM checkpoints
                       WHERE ledger_id = $1 AND log = $2 ORDER BY size DESC LIMIT 1";
    let values: &[Parameter<'_>] = &[(&ledger.0, Type::INT8), (&number, Type::INT4)];
    let work = try_join(client.query_typed(log, values), client.query_typed(checkpoint, values));
    let (log, checkpoint) = scope::within(client, &scope::begin_reading(ledger), work).await?;
    let log = log.first().ok_or(RowError::Value { column: "number" })?;
    Ok(SealedState {
        log: Log::from_row(log)?,
        checkpoint: checkpoint.first().map(StoredCheckpoint::from_row).transpose()?,
    })
}

/// The tiles at those places that there are.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn load_tiles(
    client: &Client,
    ledger: LedgerId,
    number: i32,
    places: &[(u8, u64)],
) -> Result<Vec<StoredTile>, RowError> {
    let sql = "SELECT t.level, t.index, t.nodes
                 FROM tiles t JOIN unnest($3::int2[], $4::int8[]) AS p (level, index)
                   ON t.level = p.level AND t.index = p.index
                WHERE t.ledger_id = $1 AND t.log = $2";
    let levels: Vec<i16> = places.iter().map(|(level, _)| i16::from(*level)).collect();
    // A place beyond what a position can be is none.
    let indexes: Vec<i64> = places.iter().map(|(_, index)| i64::try_from(*index).unwrap_or(-1)).collect();
    let values: &[Parameter<'_>] = &[
        (&ledger.0, Type::INT8),
        (&number, Type::INT4),
        (&levels, Type::INT2_ARRAY),
        (&indexes, Type::INT8_ARRAY),
    ];
    let work = client.query_typed(sql, values);
    let rows = scope::within(client, &scope::begin_reading(ledger), work).await?;
    rows.iter().map(StoredTile::from_row).collect()
}

/// The rows of events, to be read by [`event_of`] where there is time for it.
///
/// # Errors
/// Those of the database.
pub async fn read_events(
    client: &Client,
    ledger: LedgerId,
    after: Position,
    limit: i64,
) -> Result<Vec<Row>, RowError> {
    let sql = concat!(
        "SELECT ",
        event_columns!(),
        " FROM events e WHERE e.ledger_id = $1 AND e.position > $2 ORDER BY e.position LIMIT $3"
    );
    let values: &[Parameter<'_>] = &[(&ledger.0, Type::INT8), (&after.0, Type::INT8), (&limit, Type::INT8)];
    let work = client.query_typed(sql, values);
    Ok(scope::within(client, &scope::begin_reading(ledger), work).await?)
}

/// The position of a row of [`read_events`].
///
/// # Errors
/// A row that cannot be read.
pub fn position_of(row: &Row) -> Result<Position, RowError> {
    Ok(Position(row.try_get("position")?))
}

/// The event of a row of [`read_events`].
///
/// # Errors
/// A row that cannot be read.
pub fn event_of(row: &Row) -> Result<Event, RowError> {
    event_from_row(row)
}

/// What one commit adds to a log.
pub struct Seal<'a> {
    /// Who seals.
    pub lease: SealingLease,
    /// For how long it goes on to.
    pub lasting: Duration,
    /// The last event that was sealed before.
    pub before: Position,
    /// The history that was sealed.
    pub incarnation: Incarnation,
    /// The signed head.
    pub checkpoint: &'a StoredCheckpoint,
    /// The tiles that have grown, each whole.
    pub tiles: &'a [StoredTile],
}

/// Adds to a log, on disk before it returns. Nothing is added if the lease is lost, if the log does not end where it did,
/// or if the ledger is of another history now or ends before what is sealed: `false`.
///
/// # Errors
/// Those of the database; whether it was committed is not known if the connection broke.
pub async fn seal(client: &Client, ledger: LedgerId, seal: &Seal<'_>) -> Result<bool, RowError> {
    let begin = scope::begin_writing_durably(ledger);
    let moved = "UPDATE logs l SET size = $5, leased_until = now() + make_interval(secs => $6)
                   FROM ledger_heads h
                  WHERE l.ledger_id = $1 AND l.number = $2 AND l.fence = $3 AND l.size = $4 AND l.halted IS NULL
                    AND h.ledger_id = $1 AND h.incarnation = $7 AND h.position >= $5
              RETURNING l.number";
    let (SealingLease { log, fence }, StoredCheckpoint { sealed, root, note }) =
        (seal.lease, seal.checkpoint);
    let seconds = seal.lasting.as_secs_f64();
    let incarnation: Uuid = seal.incarnation.0;
    let values: &[Parameter<'_>] = &[
        (&ledger.0, Type::INT8),
        (&log, Type::INT4),
        (&fence, Type::INT8),
        (&seal.before.0, Type::INT8),
        (&sealed.0, Type::INT8),
        (&seconds, Type::FLOAT8),
        (&incarnation, Type::UUID),
    ];
    let (begun, moved) = join(client.batch_execute(&begin), client.query_typed(moved, values)).await;
    begun?;
    if moved.as_ref().map_or(true, Vec::is_empty) {
        client.batch_execute("ROLLBACK").await?;
        return Ok(!moved?.is_empty());
    }
    let add = "INSERT INTO checkpoints (ledger_id, log, size, root, note, signed_at)
               VALUES ($1, $2, $3, $4, $5, now())";
    let tiles = "INSERT INTO tiles (ledger_id, log, level, index, nodes)
                 SELECT l.ledger_id, l.number, u.level, u.index, u.nodes
                   FROM logs l, unnest($3::int2[], $4::int8[], $5::bytea[]) AS u (level, index, nodes)
                  WHERE l.ledger_id = $1 AND l.number = $2
                     ON CONFLICT (ledger_id, log, level, index) DO UPDATE SET nodes = excluded.nodes";
    let root = root.as_slice();
    let levels: Vec<i16> = seal.tiles.iter().map(|tile| i16::from(tile.level)).collect();
    let indexes: Vec<i64> = seal.tiles.iter().map(|tile| tile.index).collect();
    let nodes: Vec<&[u8]> = seal.tiles.iter().map(|tile| tile.nodes.as_slice()).collect();
    let checkpoint: &[Parameter<'_>] = &[
        (&ledger.0, Type::INT8),
        (&log, Type::INT4),
        (&sealed.0, Type::INT8),
        (&root, Type::BYTEA),
        (note, Type::TEXT),
    ];
    let tile_values: &[Parameter<'_>] = &[
        (&ledger.0, Type::INT8),
        (&log, Type::INT4),
        (&levels, Type::INT2_ARRAY),
        (&indexes, Type::INT8_ARRAY),
        (&nodes, Type::BYTEA_ARRAY),
    ];
    let commit = client.batch_execute("COMMIT");
    try_join3(client.execute_typed(add, checkpoint), client.execute_typed(tiles, tile_values), commit)
        .await?;
    Ok(true)
}

/// Notes that a checkpoint stands everywhere that it is sent to.
///
/// # Errors
/// Those of the database.
pub async fn note_published(
    client: &Client,
    ledger: LedgerId,
    lease: SealingLease,
    published: Position,
) -> Result<(), RowError> {
    let sql = "UPDATE logs SET published_size = GREATEST(published_size, $4)
                WHERE ledger_id = $1 AND number = $2 AND fence = $3 AND size >= $4";
    let values: &[Parameter<'_>] = &[
        (&ledger.0, Type::INT8),
        (&lease.log, Type::INT4),
        (&lease.fence, Type::INT8),
        (&published.0, Type::INT8),
    ];
    let work = client.execute_typed(sql, values);
    scope::within(client, &scope::begin_writing(ledger), work).await?;
    Ok(())
}

/// Halts a log for good: nothing is signed in its name again. Returns whether it was halted: not if the lease is lost or
/// has run out, because then what it would be halted for may be what another process did since.
///
/// # Errors
/// Those of the database.
pub async fn halt_log(
    client: &Client,
    ledger: LedgerId,
    lease: SealingLease,
    halt: &Halt,
) -> Result<bool, RowError> {
    let sql = "UPDATE logs SET halted = $4, halted_because = $5, halted_at = now(), fence = fence + 1
                WHERE ledger_id = $1 AND number = $2 AND fence = $3 AND leased_until > now() AND halted IS NULL";
    let values: &[Parameter<'_>] = &[
        (&ledger.0, Type::INT8),
        (&lease.log, Type::INT4),
        (&lease.fence, Type::INT8),
        (&halt.code, Type::TEXT),
        (&halt.because, Type::TEXT),
    ];
    let work = client.execute_typed(sql, values);
    let halted = scope::within(client, &scope::begin_writing_durably(ledger), work).await?;
    Ok(halted > 0)
}
