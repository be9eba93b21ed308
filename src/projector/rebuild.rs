//! Rebuilding: filling a new build for one ledger until it serves.
//!
//! The live projectors of running processes help or pass by: it is the same work under the same lock, with larger pages.

use std::time::Duration;

use super::page::{Pace, PageSize, Step, StepError, step};
use crate::store::{
    pool::Database,
    projections::{
        Build, LedgerId, fold,
        read::{Progress, progress},
    },
    scope,
};

/// Larger than live: nobody waits for the page's end.
const FIRST_PAGE: i64 = 20_000;
const LARGEST_PAGE: i64 = 1_000_000;
/// How long to wait before looking again what another worker has done.
const PASSED_PAUSE: Duration = Duration::from_millis(50);

/// Why a rebuild stopped. What was filled stays, and running processes go on filling it.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// How far it is cannot be read.
    #[error("how far the projection is cannot be read")]
    Progress(#[from] tokio_postgres::Error),
    /// No connection.
    #[error("no connection to the database")]
    Connection(#[from] deadpool_postgres::PoolError),
    /// The ledger does not follow the build: a newer one has taken over.
    #[error("a newer build of {projection} has taken over")]
    Superseded {
        /// The projection.
        projection: String,
    },
    /// An event cannot be folded.
    #[error("{projection} cannot fold the event at position {position}: {category} {reason}")]
    Halted {
        /// The projection.
        projection: String,
        /// The event.
        position: i64,
        /// The SQLSTATE that it raised.
        category: String,
        /// What the database said.
        reason: String,
    },
}

/// Fills a build for a ledger until it serves, telling `report` before the first page and after each how far it is.
///
/// # Errors
/// See [`RebuildError`].
pub async fn rebuild(
    database: &Database,
    ledger: LedgerId,
    build: &Build,
    mut report: impl FnMut(&Progress),
) -> Result<(), RebuildError> {
    let mut size = PageSize::new(FIRST_PAGE, LARGEST_PAGE, Pace::FILLING);
    join(database, ledger, build).await?;
    report(&progress_in(database, ledger, build).await?);
    loop {
        let outcome = step(database, ledger, build, &mut size).await?;
        let progress = progress_in(database, ledger, build).await?;
        report(&progress);
        if let Some(halt) = progress.halt {
            return Err(RebuildError::Halted {
                projection: build.projection.clone(),
                position: halt.position.0,
                category: halt.category,
                reason: halt.reason,
            });
        }
        let is_level = matches!(outcome, Step::Level | Step::Folded { is_level: true, .. });
        if progress.is_serving && (is_level || progress.position >= progress.head) {
            return Ok(());
        }
        if matches!(outcome, Step::Passed | Step::Awaiting { .. }) {
            tokio::time::sleep(PASSED_PAUSE).await;
        }
    }
}

async fn join(database: &Database, ledger: LedgerId, build: &Build) -> Result<(), RebuildError> {
    let mut client = database.pool().get().await?;
    let transaction = client.transaction().await?;
    transaction.batch_execute(&scope::settings(ledger)).await?;
    fold::follow(&transaction, ledger, build).await?;
    Ok(transaction.commit().await?)
}

async fn progress_in(database: &Database, ledger: LedgerId, build: &Build) -> Result<Progress, RebuildError> {
    let client = database.pool().get().await?;
    let all = progress(&client, &[ledger]).await?;
    all.into_iter()
        .find(|progress| progress.projection == build.projection && progress.build == build.build)
        .ok_or_else(|| RebuildError::Superseded { projection: build.projection.clone() })
}
