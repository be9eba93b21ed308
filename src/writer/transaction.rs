//! The parts of a transaction that come before anything is decided: taking the head's lock, loading behind it, and finding
//! out what happened since this process last held it.

use std::{future::Future, time::Duration};

use tokio::time::timeout;
use tokio_postgres::Error;

use super::{
    cache::Cache,
    clock::{Clocks, ProcessClock},
};
use crate::{
    domain::{
        EventBody,
        ids::{LedgerId, Position},
        time::{Span, Timestamp},
    },
    store::{
        changes::Unwritable,
        errors::{ErrorClass, class_of, describe},
        heads::{CHANGED_SINCE_LIMIT, Change, Head, LIST_SINCE, LOCK_HEAD, READ_SERVER},
        rows::{RowError, timestamp},
        session::{Pipeline, Session},
        working_set::{Load, LoadError, Loaded, Wanted},
    },
};

/// Why a batch, or a step of it, came to nothing. Nothing of it is written, and nothing ever will be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The connection ended or did not answer in time.
    #[error("the database cannot be reached: {0}")]
    Disconnected(String),
    /// The database refused.
    #[error("the database refused: {1}")]
    Refused(ErrorClass, String),
    /// There is no such ledger.
    #[error("there is no such ledger")]
    UnknownLedger,
    /// The clocks are too far apart.
    #[error("the clocks are too far apart: {0:?}")]
    ClockSkew(Clocks),
    /// Something was written by a newer version of the service.
    #[error("written by a newer version: {0}")]
    NewerVersion(String),
    /// The decision of the command at this index took the whole working set with it.
    #[error("a decision could not be applied")]
    Poisoned(usize),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match class_of(&error) {
            ErrorClass::Connection => Self::Disconnected(describe(&error)),
            class => Self::Refused(class, describe(&error)),
        }
    }
}

impl From<RowError> for Failure {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Column(error) => error.into(),
            error if error.is_newer() => Self::NewerVersion(error.to_string()),
            error => Self::Refused(ErrorClass::Data, error.to_string()),
        }
    }
}

impl From<Unwritable> for Failure {
    fn from(error: Unwritable) -> Self {
        Self::Refused(ErrorClass::Data, error.to_string())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Database(error) => error.into(),
            LoadError::Row(error) => error.into(),
        }
    }
}

/// Gives up on a step that the database does not answer in time: the connection may hang, and nobody may wait for ever.
pub(super) async fn within<T, E: Into<Failure>>(
    limit: Duration,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match timeout(limit, step).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Failure::Disconnected(format!("no answer within {limit:?}"))),
    }
}

/// The head under its lock.
pub(super) struct Locked {
    pub(super) head: Head,
    /// The transaction, by the server's number.
    pub(super) transaction: String,
    pub(super) clocks: Clocks,
    /// What was wanted, as of the head.
    pub(super) loaded: Loaded,
}

/// Begins a transaction with `begin`, takes the head's lock and loads what is wanted: one round trip. Each statement sees
/// what was committed before it began, so that those behind the lock see whatever its last holder wrote.
pub(super) async fn lock_head(
    session: &Session,
    ledger: LedgerId,
    begin: &str,
    clock: ProcessClock,
    wanted: &Wanted,
) -> Result<Locked, Failure> {
    let asked = clock();
    let load = Load::new(ledger, wanted);
    let mut pipeline = Pipeline::default();
    pipeline.execute(session, begin);
    pipeline.rows(session, &LOCK_HEAD, vec![&ledger.0]);
    pipeline.rows(session, &READ_SERVER, vec![]);
    load.push(session, &mut pipeline);
    let answers = pipeline.run().await?;
    let answered = clock();
    let [_, head, server, of_load @ ..] = &answers[..] else { return Err(Failure::UnknownLedger) };
    let (Some(head), Some(server)) = (head.first(), server.first()) else {
        return Err(Failure::UnknownLedger);
    };
    let head = Head::from_row(head)?;
    let database: Timestamp = timestamp(server.try_get("now").map_err(RowError::from)?, "now")?;
    let mut loaded = Loaded::default();
    load.read(of_load, &mut loaded)?;
    Ok(Locked {
        head,
        transaction: server.try_get("transaction").map_err(RowError::from)?,
        clocks: Clocks {
            database,
            process: (asked, answered),
            ahead: head.clock_ahead.unwrap_or(Span::seconds(0)),
            head: head.recorded_at,
        },
        loaded,
    })
}

/// What happened to a ledger while this process did not hold its lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Past {
    /// It went on from where this process knew it.
    Continued,
    /// What this process knew is no longer part of it.
    Lost,
}

/// Finds out what was written since `known`, from that position inclusive: if its event is gone or is of another batch,
/// history was lost. Forgets what has changed.
pub(super) async fn catch_up(
    session: &Session,
    ledger: LedgerId,
    known: &Head,
    head: &Head,
    cache: &mut Cache,
) -> Result<Past, Failure> {
    if known.is_same_place(head) {
        return Ok(Past::Continued);
    }
    let rows = session.rows(&LIST_SINCE, &[&ledger.0, &known.position.0, &CHANGED_SINCE_LIMIT]).await?;
    let changes: Vec<Change> = rows.iter().map(Change::from_row).collect::<Result<_, _>>()?;
    let is_known = known.position == Position::default()
        || changes
            .first()
            .is_some_and(|first| first.position == known.position && first.batch_id == Some(known.batch_id));
    if !is_known || head.position < known.position {
        return Ok(Past::Lost);
    }
    if changes.len() as i64 >= CHANGED_SINCE_LIMIT {
        cache.clear();
    }
    for change in changes.iter().filter(|change| change.position > known.position) {
        forget_changed(cache, change)?;
    }
    Ok(Past::Continued)
}

/// Accounts that others changed are read again when they are needed: bringing them up to date would need the events'
/// bodies, and is no cheaper.
fn forget_changed(cache: &mut Cache, change: &Change) -> Result<(), Failure> {
    let known = EventBody::TYPES.iter().find(|(name, _)| *name == change.type_name);
    if known.is_none_or(|(_, version)| change.version > *version) {
        return Err(Failure::NewerVersion(format!("event {} version {}", change.type_name, change.version)));
    }
    match change.account {
        Some(account) => drop(cache.take(account)),
        None => drop(cache.take_configuration()),
    }
    Ok(())
}
