//! Whether effects may be carried out: only while the ledger is known to have all that Stripe knows.
//!
//! A ledger that an older state was put in the place of does not know what was done since. It has another place, or another
//! incarnation, than reconciliation has last seen, or somebody said so: then the gate is closed, until Stripe was asked.
//!
//! A place is the server's identity, its timeline, and the identity of a table: a dump that is restored elsewhere, or in the
//! same database, has other tables; a base backup that is brought forward has another timeline. A copy of the files of a
//! server that was shut down has the same place: whoever puts one back has to say so.
//!
//! Invariants:
//! - closing is a matter of what is stored, not of who noticed: a process that dies leaves the gate closed;
//! - it is opened for the history and place that were there before Stripe was asked, and for no other one.

use tokio_postgres::{Client, Error, types::Type};
use uuid::Uuid;

use super::{read, write};
use crate::{
    domain::ids::LedgerId,
    store::{heads::Incarnation, rows::RowError, scope::Parameter},
};

/// The place that a statement runs in.
macro_rules! place {
    () => {
        "concat_ws('/', (SELECT c.system_identifier FROM pg_control_system() c),
                   substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 'reconciliation'::regclass::oid::int8)"
    };
}

/// Whether effects have to wait, where `h` is the head's row and `r` that of the reconciliation, if there is one.
macro_rules! is_closed {
    () => {
        concat!(
            "(r.ledger_id IS NULL OR r.restored_at IS NOT NULL OR r.incarnation IS DISTINCT FROM h.incarnation
              OR r.place IS DISTINCT FROM ",
            $crate::store::reconciliation::gate::place!(),
            ")"
        )
    };
}
pub(in crate::store) use is_closed;
pub(in crate::store) use place;

/// What the gate is opened for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    incarnation: Incarnation,
    place: String,
    restored_at: Option<time::OffsetDateTime>,
}

/// What there is now, to be opened for when Stripe has been asked.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn look(client: &Client, ledger: LedgerId) -> Result<Seen, RowError> {
    let statement = concat!(
        "SELECT h.incarnation, ",
        place!(),
        " AS place, r.restored_at
           FROM ledger_heads h
           LEFT JOIN reconciliation r ON r.ledger_id = h.ledger_id AND r.ledger_id = $1
          WHERE h.ledger_id = $1"
    );
    let rows = read(client, ledger, statement, &[(&ledger.0, Type::INT8)]).await?;
    let row = rows.first().ok_or(RowError::Value { column: "incarnation" })?;
    Ok(Seen {
        incarnation: Incarnation(row.try_get("incarnation")?),
        place: row.try_get("place")?,
        restored_at: row.try_get("restored_at")?,
    })
}

/// Opens the gate for what was seen, under the lease with that fence. False if something else is there by now, or somebody
/// else has the lease.
///
/// # Errors
/// Those of the database.
pub async fn open(client: &Client, ledger: LedgerId, fence: i64, seen: &Seen) -> Result<bool, Error> {
    let statement = concat!(
        "UPDATE reconciliation r
            SET incarnation = $3, place = $4, restored_at = NULL
           FROM ledger_heads h
          WHERE r.ledger_id = $1 AND h.ledger_id = $1 AND r.fence = $2
            AND h.incarnation = $3 AND $4 = ",
        place!(),
        " AND r.restored_at IS NOT DISTINCT FROM $5"
    );
    let incarnation: Uuid = seen.incarnation.0;
    let parameters: [Parameter<'_>; 5] = [
        (&ledger.0, Type::INT8),
        (&fence, Type::INT8),
        (&incarnation, Type::UUID),
        (&seen.place, Type::TEXT),
        (&seen.restored_at, Type::TIMESTAMPTZ),
    ];
    Ok(write(client, ledger, statement, &parameters).await? == 1)
}

/// Closes the gate: somebody knows that the ledger is not what it was.
///
/// # Errors
/// Those of the database.
pub async fn close(client: &Client, ledger: LedgerId) -> Result<(), Error> {
    let statement = "UPDATE reconciliation SET restored_at = clock_timestamp(), next_recovery_at = now()
                      WHERE ledger_id = $1";
    write(client, ledger, statement, &[(&ledger.0, Type::INT8)]).await?;
    Ok(())
}
