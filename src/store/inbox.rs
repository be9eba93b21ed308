//! Stripe's webhooks as they arrived, and how far the work on each has come.
//!
//! Invariants:
//! - an event is stored once per ledger, however often Stripe sends it;
//! - whoever works on entries claims them with a fence of his own for a limited time; one whose claim ran out and was taken
//!   over can finish nothing;
//! - a body stays as long as it may be needed: until the entry is done and old.

mod list;

use std::time::Duration;

pub use list::{InboxCursor, InboxFilter, InboxPage, PAGES, list_inbox};

use time::OffsetDateTime;
use tokio_postgres::{Client, Error, Row, types::Type};
use uuid::Uuid;

use super::{
    rows::{RowError, timestamp},
    scope::{self, Parameter},
};
use crate::domain::{
    ids::{LedgerId, StripeId},
    time::Timestamp,
};

/// The columns of an [`InboxEntry`].
macro_rules! columns {
    () => {
        "event_id, type, received_at, status, reason, attempts, next_attempt_at, finished_at"
    };
}
use columns;

/// How far the work on a webhook has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InboxStatus {
    /// Stored; waits for the worker.
    Received,
    /// The ledger has its facts.
    Processed,
    /// None of the ledger's business.
    Ignored,
    /// Could not be handed to the ledger; is tried again.
    Failed,
    /// Somebody has to look at it.
    Quarantined,
}

impl InboxStatus {
    /// Every status there is.
    pub const ALL: [Self; 5] =
        [Self::Received, Self::Processed, Self::Ignored, Self::Failed, Self::Quarantined];

    /// Those of what is not done: something or somebody has yet to act on it.
    pub const OPEN: [Self; 3] = [Self::Received, Self::Failed, Self::Quarantined];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Processed => "processed",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A webhook, without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboxEntry {
    /// Stripe's id of the event, or one made from the body if it has none.
    pub event_id: StripeId,
    /// The event's type.
    pub kind: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// How far the work on it has come.
    pub status: InboxStatus,
    /// Why it is ignored, quarantined or failed: a code, a colon and words.
    pub reason: Option<String>,
    /// How often it was taken up since it arrived or was last replayed.
    pub attempts: i32,
    /// When it is tried again, if it is.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
}

impl InboxEntry {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let moment = |column: &'static str| -> Result<Option<Timestamp>, RowError> {
            let moment: Option<OffsetDateTime> = row.try_get(column)?;
            moment.map(|moment| timestamp(moment, column)).transpose()
        };
        let status = InboxStatus::parse(row.try_get("status")?);
        let event_id = StripeId::parse(row.try_get("event_id")?);
        Ok(Self {
            event_id: event_id.map_err(|_| RowError::Value { column: "event_id" })?,
            kind: row.try_get("type")?,
            received_at: timestamp(row.try_get("received_at")?, "received_at")?,
            status: status.ok_or(RowError::Value { column: "status" })?,
            reason: row.try_get("reason")?,
            attempts: row.try_get("attempts")?,
            next_attempt_at: moment("next_attempt_at")?,
            finished_at: moment("finished_at")?,
        })
    }
}

/// Stores a webhook, to be taken up at once. False if it is there already.
///
/// # Errors
/// Those of the database.
pub async fn insert_webhook(
    client: &Client,
    ledger: LedgerId,
    event_id: &str,
    kind: &str,
    body: &[u8],
) -> Result<bool, Error> {
    let statement = "INSERT INTO stripe_inbox
                            (ledger_id, event_id, type, received_at, body, status, next_attempt_at)
                     VALUES ($1, $2, $3, now(), $4, 'received', now())
                     ON CONFLICT (ledger_id, event_id) DO NOTHING";
    let parameters: [Parameter<'_>; 4] =
        [(&ledger.0, Type::INT8), (&event_id, Type::TEXT), (&kind, Type::TEXT), (&body, Type::BYTEA)];
    Ok(write(client, ledger, statement, &parameters).await? == 1)
}

/// An event that no webhook has brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEvent {
    /// See [`InboxEntry::event_id`].
    pub event_id: String,
    /// See [`InboxEntry::kind`].
    pub kind: String,
    /// What a webhook of it would hold.
    pub body: Vec<u8>,
}

/// Stores those of the events that are not there yet, to be taken up at once; says how many.
///
/// # Errors
/// Those of the database.
pub async fn insert_missing(client: &Client, ledger: LedgerId, events: &[NewEvent]) -> Result<u64, Error> {
    let find = "SELECT event_id FROM stripe_inbox WHERE ledger_id = $1 AND event_id = ANY ($2)";
    let insert = "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, next_attempt_at)
                  SELECT h.ledger_id, missing.event_id, missing.type, now(), missing.body, 'received', now()
                    FROM ledger_heads h, unnest($2::text[], $3::text[], $4::bytea[]) AS missing (event_id, type, body)
                   WHERE h.ledger_id = $1
                      ON CONFLICT (ledger_id, event_id) DO NOTHING";
    let ids: Vec<&str> = events.iter().map(|event| event.event_id.as_str()).collect();
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&ids, Type::TEXT_ARRAY)];
    let rows = query(client, &scope::begin_reading(ledger), find, &parameters).await?;
    let known: Vec<&str> = rows.iter().map(|row| row.try_get("event_id")).collect::<Result<_, _>>()?;
    let missing: Vec<&NewEvent> =
        events.iter().filter(|event| !known.contains(&event.event_id.as_str())).collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let ids: Vec<&str> = missing.iter().map(|event| event.event_id.as_str()).collect();
    let kinds: Vec<&str> = missing.iter().map(|event| event.kind.as_str()).collect();
    let bodies: Vec<&[u8]> = missing.iter().map(|event| event.body.as_slice()).collect();
    let parameters: [Parameter<'_>; 4] = [
        (&ledger.0, Type::INT8),
        (&ids, Type::TEXT_ARRAY),
        (&kinds, Type::TEXT_ARRAY),
        (&bodies, Type::BYTEA_ARRAY),
    ];
    write(client, ledger, insert, &parameters).await
}

/// Stores an event, or puts it in the place of one of the same id, to be taken up at once. A worker that has the former one
/// in hand can finish nothing any more.
///
/// # Errors
/// Those of the database.
pub async fn put_event(client: &Client, ledger: LedgerId, event: &NewEvent) -> Result<(), Error> {
    let statement = "INSERT INTO stripe_inbox
                            (ledger_id, event_id, type, received_at, body, status, next_attempt_at)
                     VALUES ($1, $2, $3, now(), $4, 'received', now())
                         ON CONFLICT (ledger_id, event_id) DO UPDATE
                        SET type = excluded.type, received_at = now(), body = excluded.body, status = 'received',
                            reason = NULL, attempts = 0, next_attempt_at = now(), finished_at = NULL,
                            claim_fence = NULL, claimed_until = NULL";
    let parameters: [Parameter<'_>; 4] = [
        (&ledger.0, Type::INT8),
        (&event.event_id, Type::TEXT),
        (&event.kind, Type::TEXT),
        (&event.body, Type::BYTEA),
    ];
    write(client, ledger, statement, &parameters).await?;
    Ok(())
}

/// A webhook that was claimed to be worked on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedWebhook {
    /// See [`InboxEntry::event_id`].
    pub event_id: String,
    /// Exactly what was signed.
    pub body: Vec<u8>,
    /// How often it was taken up, this time included.
    pub attempts: i32,
}

/// Claims up to `limit` entries whose time has come, longest due first; passes over those that others hold.
///
/// # Errors
/// Those of the database.
pub async fn claim_webhooks(
    client: &Client,
    ledger: LedgerId,
    fence: Uuid,
    lease: Duration,
    limit: i64,
) -> Result<Vec<ClaimedWebhook>, Error> {
    let statement = "UPDATE stripe_inbox
                        SET claim_fence = $2,
                            claimed_until = now() + make_interval(secs => $3),
                            attempts = attempts + 1
                      WHERE ledger_id = $1
                        AND event_id = ANY (ARRAY(
                            SELECT due.event_id
                              FROM stripe_inbox due
                             WHERE due.ledger_id = $1
                               AND due.next_attempt_at <= now()
                               AND (due.claimed_until IS NULL OR due.claimed_until <= now())
                             ORDER BY due.next_attempt_at
                             LIMIT $4
                               FOR UPDATE SKIP LOCKED))
                  RETURNING event_id, body, attempts";
    let parameters: [Parameter<'_>; 4] = [
        (&ledger.0, Type::INT8),
        (&fence, Type::UUID),
        (&lease.as_secs_f64(), Type::FLOAT8),
        (&limit, Type::INT8),
    ];
    let rows = query(client, &scope::begin_writing(ledger), statement, &parameters).await?;
    let claimed = |row: &Row| {
        Ok(ClaimedWebhook {
            event_id: row.try_get("event_id")?,
            body: row.try_get("body")?,
            attempts: row.try_get("attempts")?,
        })
    };
    rows.iter().map(claimed).collect()
}

/// How the work on a claimed webhook ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finish {
    /// The ledger has its facts.
    Processed,
    /// None of the ledger's business; says why.
    Ignored(String),
    /// Somebody has to look at it; says why.
    Quarantined(String),
    /// To be tried again.
    Failed {
        /// Why it did not work this time.
        reason: String,
        /// How long to wait first.
        retry_after: Duration,
    },
}

impl Finish {
    /// The status that it leaves the webhook in.
    pub fn status(&self) -> InboxStatus {
        match self {
            Self::Processed => InboxStatus::Processed,
            Self::Ignored(_) => InboxStatus::Ignored,
            Self::Quarantined(_) => InboxStatus::Quarantined,
            Self::Failed { .. } => InboxStatus::Failed,
        }
    }

    /// Why, if there is something to say.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Processed => None,
            Self::Ignored(reason) | Self::Quarantined(reason) | Self::Failed { reason, .. } => Some(reason),
        }
    }
}

/// Ends the work on webhooks that were claimed with `fence`. Those that somebody else has claimed since are left alone;
/// says how many were not.
///
/// # Errors
/// Those of the database.
pub async fn finish_webhooks(
    client: &Client,
    ledger: LedgerId,
    fence: Uuid,
    finished: &[(String, Finish)],
) -> Result<u64, Error> {
    let statement = "UPDATE stripe_inbox
                        SET status = done.status,
                            reason = left(done.reason, 500),
                            next_attempt_at = now() + make_interval(secs => done.retry_after),
                            finished_at = CASE WHEN done.status IN ('processed', 'ignored') THEN now() END,
                            claim_fence = NULL,
                            claimed_until = NULL
                       FROM unnest($3::text[], $4::text[], $5::text[], $6::float8[])
                            AS done (event_id, status, reason, retry_after)
                      WHERE stripe_inbox.ledger_id = $1
                        AND stripe_inbox.event_id = done.event_id
                        AND stripe_inbox.claim_fence = $2";
    let event_ids: Vec<&str> = finished.iter().map(|(event_id, _)| event_id.as_str()).collect();
    let statuses: Vec<&str> = finished.iter().map(|(_, finish)| finish.status().as_str()).collect();
    let reasons: Vec<Option<&str>> = finished.iter().map(|(_, finish)| finish.reason()).collect();
    let delays: Vec<Option<f64>> = finished.iter().map(|(_, finish)| retry_after(finish)).collect();
    let parameters: [Parameter<'_>; 6] = [
        (&ledger.0, Type::INT8),
        (&fence, Type::UUID),
        (&event_ids, Type::TEXT_ARRAY),
        (&statuses, Type::TEXT_ARRAY),
        (&reasons, Type::TEXT_ARRAY),
        (&delays, Type::FLOAT8_ARRAY),
    ];
    write(client, ledger, statement, &parameters).await
}

fn retry_after(finish: &Finish) -> Option<f64> {
    match finish {
        Finish::Failed { retry_after, .. } => Some(retry_after.as_secs_f64()),
        Finish::Processed | Finish::Ignored(_) | Finish::Quarantined(_) => None,
    }
}

/// One entry with its body, as far as that is still kept.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn find_webhook(
    client: &Client,
    ledger: LedgerId,
    event_id: &str,
) -> Result<Option<(InboxEntry, Option<Vec<u8>>)>, RowError> {
    let statement =
        concat!("SELECT ", columns!(), ", body FROM stripe_inbox WHERE ledger_id = $1 AND event_id = $2");
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&event_id, Type::TEXT)];
    let rows = query(client, &scope::begin_reading(ledger), statement, &parameters).await?;
    rows.first().map(|row| Ok((InboxEntry::from_row(row)?, row.try_get("body")?))).transpose()
}

/// What became of a wish to replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// It is taken up again.
    Accepted,
    /// There is no such entry.
    NotFound,
    /// Its body is no longer kept.
    BodyGone,
}

/// Has an entry taken up again from the start, whatever became of it. One that is being worked on stays claimed, and its
/// worker can finish nothing any more.
///
/// # Errors
/// Those of the database.
pub async fn replay_webhook(client: &Client, ledger: LedgerId, event_id: &str) -> Result<Replay, RowError> {
    let statement = "UPDATE stripe_inbox
                        SET status = 'received', reason = NULL, attempts = 0, next_attempt_at = now(),
                            finished_at = NULL, claim_fence = NULL, claimed_until = NULL
                      WHERE ledger_id = $1 AND event_id = $2 AND body IS NOT NULL";
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&event_id, Type::TEXT)];
    if write(client, ledger, statement, &parameters).await? == 1 {
        return Ok(Replay::Accepted);
    }
    let known = find_webhook(client, ledger, event_id).await?;
    Ok(if known.is_some() { Replay::BodyGone } else { Replay::NotFound })
}

/// Whether the work on everything that arrived up to that moment is done, one way or the other.
///
/// # Errors
/// Those of the database.
pub async fn is_at_rest(client: &Client, ledger: LedgerId, up_to: Timestamp) -> Result<bool, Error> {
    let statement = "SELECT NOT EXISTS (SELECT FROM stripe_inbox
                                         WHERE ledger_id = $1 AND next_attempt_at IS NOT NULL AND received_at <= $2)
                            AS is_at_rest";
    let up_to = up_to.to_datetime();
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&up_to, Type::TIMESTAMPTZ)];
    let rows = query(client, &scope::begin_reading(ledger), statement, &parameters).await?;
    rows.first().map_or(Ok(true), |row| row.try_get("is_at_rest"))
}

/// How many entries of each status are counted: more would be as alarming, and to count them would be work.
pub const COUNTED_OF_STATUS: i64 = 10_000;

/// How many entries there are of each status of [`InboxStatus::OPEN`] that any has, each up to [`COUNTED_OF_STATUS`]. What
/// is done is not counted: it is never deleted, so that would take ever longer.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn count_open(client: &Client, ledger: LedgerId) -> Result<Vec<(InboxStatus, i64)>, RowError> {
    let statement = "SELECT s.status, count(*) AS entries
                       FROM unnest($2::text[]) AS s (status)
                      CROSS JOIN LATERAL (
                            SELECT FROM stripe_inbox i
                             WHERE i.ledger_id = $1 AND i.status = s.status
                             ORDER BY i.ledger_id, i.status, i.received_at, i.event_id
                             LIMIT $3) e
                      GROUP BY s.status";
    let statuses = InboxStatus::OPEN.map(InboxStatus::as_str);
    let parameters: [Parameter<'_>; 3] =
        [(&ledger.0, Type::INT8), (&statuses.as_slice(), Type::TEXT_ARRAY), (&COUNTED_OF_STATUS, Type::INT8)];
    let rows = query(client, &scope::begin_reading(ledger), statement, &parameters).await?;
    let count = |row: &Row| {
        let status =
            InboxStatus::parse(row.try_get("status")?).ok_or(RowError::Value { column: "status" })?;
        Ok((status, row.try_get("entries")?))
    };
    rows.iter().map(count).collect()
}

/// Forgets the bodies of up to `limit` entries that were done longer than `retention` ago; says of how many.
///
/// # Errors
/// Those of the database.
pub async fn prune_bodies(
    client: &Client,
    ledger: LedgerId,
    retention: Duration,
    limit: i64,
) -> Result<u64, Error> {
    let statement = "UPDATE stripe_inbox
                        SET body = NULL
                      WHERE ledger_id = $1
                        AND event_id = ANY (ARRAY(
                            SELECT old.event_id
                              FROM stripe_inbox old
                             WHERE old.ledger_id = $1
                               AND old.finished_at < now() - make_interval(secs => $2)
                               AND old.body IS NOT NULL
                             ORDER BY old.finished_at
                             LIMIT $3
                               FOR UPDATE SKIP LOCKED))";
    let parameters: [Parameter<'_>; 3] =
        [(&ledger.0, Type::INT8), (&retention.as_secs_f64(), Type::FLOAT8), (&limit, Type::INT8)];
    write(client, ledger, statement, &parameters).await
}

async fn write(
    client: &Client,
    ledger: LedgerId,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<u64, Error> {
    let begin = scope::begin_writing(ledger);
    scope::within(client, &begin, client.execute_typed(statement, parameters)).await
}

async fn query(
    client: &Client,
    begin: &str,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Error> {
    scope::within(client, begin, client.query_typed(statement, parameters)).await
}
