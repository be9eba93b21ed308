//! Who works on a ledger's reconciliation, what is due of it, and how far Stripe's events were taken in.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_postgres::{Client, Error, types::Type};

use super::{change, gate::is_closed, read, write};
use crate::{
    domain::{ids::LedgerId, time::Timestamp},
    store::{
        ledgers::Ledger,
        rows::{RowError, timestamp},
        scope::Parameter,
    },
};

/// What is to be done of a ledger, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What time it is by the database's clock: Stripe's knows nothing of a ledger whose clock was moved on.
    pub now: Timestamp,
    /// Events were taken in up to here, by Stripe's clock.
    pub events_until: Timestamp,
    /// When events were last read to their end.
    pub events_read_at: Option<Timestamp>,
    /// Stripe and the ledger were compared up to here.
    pub compared_until: Option<Timestamp>,
    /// Whether effects wait because the ledger may lack what Stripe knows.
    pub effects_wait: bool,
    /// Whether they do, and the time has come to see to it.
    pub recovery_is_due: bool,
    /// Whether the time has come to read events.
    pub events_are_due: bool,
    /// Whether the time has come to compare.
    pub comparison_is_due: bool,
}

/// Whether there is something to do that nobody works on.
///
/// # Errors
/// Those of the database.
pub async fn is_due(client: &Client, ledger: LedgerId) -> Result<bool, Error> {
    let statement = concat!(
        "SELECT r.ledger_id IS NULL
                OR (r.leased_until IS NULL OR r.leased_until <= now())
                   AND (r.next_events_at <= now() OR r.next_comparison_at <= now()
                        OR r.next_recovery_at <= now() AND ",
        is_closed!(),
        "               OR EXISTS (SELECT FROM reconciliation_runs n
                                    WHERE n.ledger_id = $1 AND n.finished_at IS NULL)
                        OR EXISTS (SELECT FROM reconciliation_findings f
                                    WHERE f.ledger_id = $1 AND f.state = 'repairing')) AS is_due
           FROM ledger_heads h
           LEFT JOIN reconciliation r ON r.ledger_id = h.ledger_id AND r.ledger_id = $1
          WHERE h.ledger_id = $1"
    );
    let rows = read(client, ledger, statement, &[(&ledger.0, Type::INT8)]).await?;
    rows.first().map_or(Ok(false), |row| row.try_get("is_due"))
}

/// Takes the lease, if nobody has it; answers its fence. What was running under an earlier one is to be done again.
///
/// # Errors
/// Those of the database.
pub async fn acquire(client: &Client, ledger: &Ledger, lasting: Duration) -> Result<Option<i64>, Error> {
    let make = "INSERT INTO reconciliation (ledger_id, events_until, next_events_at, next_comparison_at, next_recovery_at)
                SELECT h.ledger_id, $2, now(), now(), now() FROM ledger_heads h WHERE h.ledger_id = $1
                    ON CONFLICT (ledger_id) DO NOTHING";
    let take = "UPDATE reconciliation
                   SET fence = fence + 1, leased_until = now() + make_interval(secs => $2)
                 WHERE ledger_id = $1 AND (leased_until IS NULL OR leased_until <= now())
             RETURNING fence";
    let again =
        "UPDATE reconciliation_runs SET state = 'requested' WHERE ledger_id = $1 AND state = 'running'";
    let (number, created_at) = (ledger.ledger, ledger.created_at.to_datetime());
    write(client, number, make, &[(&number.0, Type::INT8), (&created_at, Type::TIMESTAMPTZ)]).await?;
    let lasting = lasting.as_secs_f64();
    let taken = change(client, number, take, &[(&number.0, Type::INT8), (&lasting, Type::FLOAT8)]).await?;
    let Some(row) = taken.first() else { return Ok(None) };
    write(client, number, again, &[(&number.0, Type::INT8)]).await?;
    row.try_get("fence").map(Some)
}

/// Holds on to the lease for another while; gives it back if `lasting` is absent. False if it is somebody else's.
///
/// # Errors
/// Those of the database.
pub async fn renew(
    client: &Client,
    ledger: LedgerId,
    fence: i64,
    lasting: Option<Duration>,
) -> Result<bool, Error> {
    let statement = "UPDATE reconciliation SET leased_until = now() + make_interval(secs => $3)
                      WHERE ledger_id = $1 AND fence = $2";
    let lasting = lasting.map(|lasting| lasting.as_secs_f64());
    let parameters: [Parameter<'_>; 3] =
        [(&ledger.0, Type::INT8), (&fence, Type::INT8), (&lasting, Type::FLOAT8)];
    Ok(write(client, ledger, statement, &parameters).await? == 1)
}

/// Where a ledger stands.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn find_standing(client: &Client, ledger: LedgerId) -> Result<Option<Standing>, RowError> {
    let statement = concat!(
        "SELECT now() AS now, r.events_until, r.events_read_at, r.compared_until,
                r.next_events_at <= now() AS events_are_due, r.next_comparison_at <= now() AS comparison_is_due,
                r.next_recovery_at <= now() AS recovery_is_due, ",
        is_closed!(),
        " AS effects_wait
           FROM ledger_heads h, reconciliation r
          WHERE h.ledger_id = $1 AND r.ledger_id = $1"
    );
    let rows = read(client, ledger, statement, &[(&ledger.0, Type::INT8)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let moment = |column: &'static str| -> Result<Option<Timestamp>, RowError> {
        let moment: Option<OffsetDateTime> = row.try_get(column)?;
        moment.map(|moment| timestamp(moment, column)).transpose()
    };
    let effects_wait = row.try_get("effects_wait")?;
    Ok(Some(Standing {
        now: timestamp(row.try_get("now")?, "now")?,
        events_until: timestamp(row.try_get("events_until")?, "events_until")?,
        events_read_at: moment("events_read_at")?,
        compared_until: moment("compared_until")?,
        effects_wait,
        recovery_is_due: effects_wait && row.try_get("recovery_is_due")?,
        events_are_due: row.try_get("events_are_due")?,
        comparison_is_due: row.try_get("comparison_is_due")?,
    }))
}

/// What has moved on under the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// Events were taken in up to here, and there are more.
    Events(Timestamp),
    /// Events were read to their end, which is here; they are read again after that time.
    EventsToTheEnd(Timestamp, Duration),
    /// Stripe and the ledger were compared up to here; they are compared again after that time.
    Compared(Timestamp, Duration),
}

/// Writes down how far reconciliation has come. False if somebody else has the lease. Neither cursor ever goes back.
///
/// # Errors
/// Those of the database.
pub async fn advance(client: &Client, ledger: LedgerId, fence: i64, moved: Moved) -> Result<bool, Error> {
    let (statement, until, again) = match moved {
        Moved::Events(until) => (
            "UPDATE reconciliation SET events_until = GREATEST(events_until, $3)
              WHERE ledger_id = $1 AND fence = $2",
            until,
            None,
        ),
        Moved::EventsToTheEnd(until, again) => (
            "UPDATE reconciliation SET events_until = GREATEST(events_until, $3), events_read_at = now(),
                    next_events_at = now() + make_interval(secs => $4)
              WHERE ledger_id = $1 AND fence = $2",
            until,
            Some(again),
        ),
        Moved::Compared(until, again) => (
            "UPDATE reconciliation SET compared_until = GREATEST(compared_until, $3),
                    next_comparison_at = now() + make_interval(secs => $4)
              WHERE ledger_id = $1 AND fence = $2",
            until,
            Some(again),
        ),
    };
    let (until, again) = (until.to_datetime(), again.map(|again| again.as_secs_f64()));
    let parameters: [Parameter<'_>; 4] =
        [(&ledger.0, Type::INT8), (&fence, Type::INT8), (&until, Type::TIMESTAMPTZ), (&again, Type::FLOAT8)];
    Ok(write(client, ledger, statement, &parameters).await? == 1)
}

/// What is put off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutOff {
    /// Reading events.
    Events,
    /// Comparing.
    Comparison,
    /// Seeing to it that effects need not wait.
    Recovery,
}

/// Puts something off that did not succeed.
///
/// # Errors
/// Those of the database.
pub async fn put_off(
    client: &Client,
    ledger: LedgerId,
    fence: i64,
    what: PutOff,
    by: Duration,
) -> Result<(), Error> {
    let statement = match what {
        PutOff::Events => {
            "UPDATE reconciliation SET next_events_at = now() + make_interval(secs => $3)
              WHERE ledger_id = $1 AND fence = $2"
        }
        PutOff::Comparison => {
            "UPDATE reconciliation SET next_comparison_at = now() + make_interval(secs => $3)
              WHERE ledger_id = $1 AND fence = $2"
        }
        PutOff::Recovery => {
            "UPDATE reconciliation SET next_recovery_at = now() + make_interval(secs => $3)
              WHERE ledger_id = $1 AND fence = $2"
        }
    };
    let by = by.as_secs_f64();
    let parameters: [Parameter<'_>; 3] = [(&ledger.0, Type::INT8), (&fence, Type::INT8), (&by, Type::FLOAT8)];
    write(client, ledger, statement, &parameters).await?;
    Ok(())
}
