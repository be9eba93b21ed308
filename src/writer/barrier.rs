//! What a new connection does first: makes sure that nothing which was sent before can still be written, and finds out
//! what became of a batch whose connection ended before the server told.
//!
//! It takes the head's lock, so that whoever holds it on an old connection has committed or ended; it looks for the
//! batch; it changes the head's fence, which whatever was sent before expects to be the old one; and it commits
//! durably. A mere look could be overtaken by a statement that is still on its way.
//!
//! A batch is one transaction, so its last event, found with the batch's own id, vouches for every command in it,
//! whether it has a key or not.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::{
    clock::ProcessClock,
    transaction::{Failure, Locked, lock_head, within},
};
use crate::{
    domain::ids::LedgerId,
    store::{
        changes::{Saved, commit},
        heads::{CHANGE_FENCE, FIND_BATCH, Head, READ_TIMELINE},
        rows::RowError,
        scope,
        session::{Pipeline, Session},
        working_set::Wanted,
    },
};

/// What became of the batch in question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// It is written.
    Committed,
    /// It is not, and never will be.
    Absent,
}

/// Crosses the barrier; `doubtful` is the head that the batch in question would have led to.
pub(super) async fn cross(
    session: &Session,
    ledger: LedgerId,
    doubtful: Option<&Head>,
    clock: ProcessClock,
    limit: Duration,
) -> Result<Found, Failure> {
    let begin = scope::begin_writing_durably(ledger);
    let nothing = Wanted::default();
    let locked = within(limit, lock_head(session, ledger, &begin, clock, &nothing)).await?;
    let Locked { head, transaction, .. } = locked;
    let found = match doubtful {
        Some(doubtful) => within(limit, find(session, ledger, doubtful)).await?,
        None => Found::Absent,
    };
    let fence = Uuid::new_v4();
    let mut pipeline = Pipeline::default();
    pipeline.rows(session, &CHANGE_FENCE, vec![&ledger.0, &head.fence, &fence]);
    let saved = async { Ok::<_, Failure>(commit(session, pipeline, &transaction).await) };
    match within(limit, saved).await? {
        Saved::Committed => Ok(found),
        Saved::RolledBack(error) => Err(error.into()),
        Saved::Unknown(_) => Err(Failure::Disconnected("the barrier may not have been committed".to_owned())),
    }
}

async fn find(session: &Session, ledger: LedgerId, doubtful: &Head) -> Result<Found, Failure> {
    let rows = session.rows(&FIND_BATCH, &[&ledger.0, &doubtful.position.0]).await?;
    let batch_id: Option<Uuid> = match rows.first() {
        Some(row) => row.try_get("batch_id").map_err(RowError::from)?,
        None => None,
    };
    Ok(if batch_id == Some(doubtful.batch_id) { Found::Committed } else { Found::Absent })
}

/// Refuses a server whose history is older than one that this process has written to: a former primary that does not
/// know yet that it was replaced. Servers that do not tell their timeline are believed.
pub(super) async fn check_timeline(
    session: &Session,
    newest: &AtomicU32,
    limit: Duration,
) -> Result<(), Failure> {
    let answer = async {
        match session.rows(&READ_TIMELINE, &[]).await {
            Ok(rows) => Ok(rows.first().and_then(|row| row.try_get::<_, String>("timeline").ok())),
            Err(error) if error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
                Err(Failure::Disconnected("the server is in recovery".to_owned()))
            }
            Err(error) if error.as_db_error().is_some() => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    let timeline = within(limit, answer).await?;
    match timeline.and_then(|digits| u32::from_str_radix(&digits, 16).ok()) {
        Some(timeline) if timeline < newest.fetch_max(timeline, Ordering::SeqCst) => {
            Err(Failure::Disconnected("the server is on an older timeline than one seen before".to_owned()))
        }
        _ => Ok(()),
    }
}
