//! Notes that are gone. An erasure of an account takes every note of it that stood before, and nothing else takes one.

use tokio_postgres::{Client, Error, types::Type};

use crate::domain::ids::Position;

/// The first note that is gone of each account without an erasure since, and how many are; 0 stands for no account.
pub(super) const TABLES: &str = "
    CREATE TEMPORARY TABLE missing_notes
        (ledger_id bigint, account_number bigint, position bigint, notes bigint,
         PRIMARY KEY (ledger_id, account_number))";

macro_rules! erasures {
    () => {
        "SELECT e.account_number, max(e.position) AS position FROM events e
          WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'account.changed'
            AND e.body -> 'fields' ? 'erased'
          GROUP BY e.account_number"
    };
}

/// Counts the events in `($2, $3]` of the ledger `$1`.
pub(super) const COUNT: [&str; 2] = [
    concat!(
        "DELETE FROM pg_temp.missing_notes m USING (",
        erasures!(),
        ") e WHERE m.ledger_id = $1 AND m.account_number = e.account_number"
    ),
    concat!(
        "WITH erasures AS MATERIALIZED (",
        erasures!(),
        ")
         INSERT INTO pg_temp.missing_notes AS m
         SELECT e.ledger_id, COALESCE(e.account_number, 0), min(e.position), count(*)
           FROM events e LEFT JOIN erasures x ON x.account_number = e.account_number AND x.position > e.position
          WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.note_hash IS NOT NULL
            AND x.position IS NULL
            AND NOT EXISTS (SELECT FROM event_notes n WHERE n.ledger_id = $1 AND n.position = e.position)
          GROUP BY 1, 2
             ON CONFLICT (ledger_id, account_number) DO UPDATE
                SET position = LEAST(m.position, excluded.position), notes = m.notes + excluded.notes"
    ),
];

/// The first note of each account that is gone, and how many are.
pub(super) async fn missing(client: &Client, ledger: i64) -> Result<Vec<(Position, i64)>, Error> {
    let statement =
        "SELECT position, notes FROM pg_temp.missing_notes WHERE ledger_id = $1 ORDER BY position";
    let rows = client.query_typed(statement, &[(&ledger, Type::INT8)]).await?;
    rows.iter().map(|row| Ok((Position(row.try_get(0)?), row.try_get(1)?))).collect()
}
