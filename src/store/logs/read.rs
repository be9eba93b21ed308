//! What is served of a ledger's log, each answer as of one moment.

use tokio_postgres::types::Type;

use super::{Log, StoredCheckpoint, StoredTile, log_columns};
use crate::{
    domain::ids::LedgerId,
    store::{
        pool::Database,
        reads::{Query, ReadError, read},
        session::Statement,
    },
};

static READ_LOG: Statement = Statement {
    name: "read_log",
    sql: concat!(
        "SELECT ",
        log_columns!(),
        " FROM logs l WHERE l.ledger_id = $1 ORDER BY l.number DESC LIMIT 1"
    ),
    parameters: &[Type::INT8],
};

static READ_LAST_CHECKPOINT: Statement = Statement {
    name: "read_last_checkpoint",
    sql: "SELECT c.size, c.root, c.note FROM checkpoints c
           WHERE c.ledger_id = $1 AND c.log = (SELECT max(l.number) FROM logs l WHERE l.ledger_id = $1)
           ORDER BY c.size DESC LIMIT 1",
    parameters: &[Type::INT8],
};

static READ_TILES: Statement = Statement {
    name: "read_tiles",
    sql: "SELECT t.level, t.index, t.nodes
            FROM tiles t JOIN unnest($2::int2[], $3::int8[]) AS p (level, index)
              ON t.level = p.level AND t.index = p.index
           WHERE t.ledger_id = $1 AND t.log = (SELECT max(l.number) FROM logs l WHERE l.ledger_id = $1)",
    parameters: &[Type::INT8, Type::INT2_ARRAY, Type::INT8_ARRAY],
};

/// The ledger's log and its last checkpoint; none of either if there is none.
///
/// # Errors
/// [`ReadError`].
pub async fn read_log(
    database: &Database,
    ledger: LedgerId,
) -> Result<Option<(Log, Option<StoredCheckpoint>)>, ReadError> {
    let queries: [Query<'_>; 2] = [(&READ_LOG, &[&ledger.0]), (&READ_LAST_CHECKPOINT, &[&ledger.0])];
    let answers = read(database, ledger, &queries).await?;
    let Some(log) = answers[0].first().map(Log::from_row).transpose()? else { return Ok(None) };
    Ok(Some((log, answers[1].first().map(StoredCheckpoint::from_row).transpose()?)))
}

/// The tiles of the ledger's log at those places that there are.
///
/// # Errors
/// [`ReadError`].
pub async fn read_tiles(
    database: &Database,
    ledger: LedgerId,
    places: &[(u8, u64)],
) -> Result<Vec<StoredTile>, ReadError> {
    let levels: Vec<i16> = places.iter().map(|(level, _)| i16::from(*level)).collect();
    // A place beyond what a position can be is none.
    let indexes: Vec<i64> = places.iter().map(|(_, index)| i64::try_from(*index).unwrap_or(-1)).collect();
    let answers = read(database, ledger, &[(&READ_TILES, &[&ledger.0, &levels, &indexes])]).await?;
    Ok(answers[0].iter().map(StoredTile::from_row).collect::<Result<_, _>>()?)
}

pub(in crate::store) static STATEMENTS: &[&Statement] = &[&READ_LOG, &READ_LAST_CHECKPOINT, &READ_TILES];
