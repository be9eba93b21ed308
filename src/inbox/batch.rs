//! One batch of stored webhooks: claimed, worked on, finished.
//!
//! The claim is committed before the work begins and no transaction is open while the ledger is waited for. If the process
//! dies in between, the claim runs out and the batch is done again, which changes nothing: the ledger knows the facts by
//! their keys.
//!
//! Invariant: the webhooks of a batch do not wait for each other's success. What cannot be done is put off or put aside,
//! alone, even if it is met by a defect of ours.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use deadpool_postgres::{Object, PoolError};
use futures_util::{FutureExt, future::join_all};
use uuid::Uuid;

use crate::{
    domain::{
        Rejection,
        ids::{Actor, LedgerId},
        settings::LedgerMode,
    },
    store::{
        configuration::{Configuration, load_configuration},
        inbox::{self, ClaimedWebhook, Finish, InboxStatus},
        ledgers::{self, Ledger},
        pool::Database,
        rows::RowError,
    },
    stripe::{self, Event, NoFact},
    writer::{Accepted, Outcome, Submission, SubmitError, Writers},
};

use super::{
    agreement::same_money,
    mapping::{self, KeyedCommand},
    outcome::{Ignored, NotDone, Quarantined},
};

/// How long a claim holds: longer than any batch takes.
const LEASE: Duration = Duration::from_secs(60);
/// How many webhooks are claimed at once.
const BATCH: i64 = 32;
/// How long the ledger is waited for before a webhook is put off. Several commands of one webhook stay within the lease.
const SUBMIT_LIMIT: Duration = Duration::from_secs(10);
/// How long the first retry is put off; each further one twice as long, up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How long a retry is put off at most: an outage that ends is noticed within this time.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Works batches off, for any ledger.
pub struct Batches {
    database: Database,
    writers: Arc<Writers>,
}

/// How much there was to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Worked {
    /// Less than a batch: everything that is due is done.
    Everything,
    /// A whole batch: there may be more.
    WholeBatch,
}

/// Why stored webhooks could not be worked on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// No connection.
    #[error("no connection: {0}")]
    Connection(#[from] PoolError),
    /// The database refused, or a row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Row(error.into())
    }
}

impl Batches {
    /// Takes webhooks from `database` and hands commands to `writers`.
    pub fn new(database: Database, writers: Arc<Writers>) -> Self {
        Self { database, writers }
    }

    /// The ledgers that there are.
    pub(super) async fn list_ledgers(&self) -> Result<Vec<Ledger>, StoreError> {
        Ok(ledgers::list_ledgers(&*self.connection().await?).await?)
    }

    /// Forgets old bodies, and counts the entries by status.
    pub(super) async fn tidy(
        &self,
        ledger: LedgerId,
        retention: Duration,
        batch: i64,
    ) -> Result<Vec<(InboxStatus, i64)>, StoreError> {
        let client = self.connection().await?;
        inbox::prune_bodies(&client, ledger, retention, batch).await?;
        Ok(inbox::count_inbox(&client, ledger).await?)
    }

    /// Works off what is due in a ledger, at most a batch.
    pub(super) async fn work_off_one(&self, ledger: &Ledger) -> Result<Worked, StoreError> {
        let fence = Uuid::new_v4();
        let client = self.connection().await?;
        let claimed = inbox::claim_webhooks(&client, ledger.ledger, fence, LEASE, BATCH).await?;
        if claimed.is_empty() {
            return Ok(Worked::Everything);
        }
        let configuration = load_configuration(&client, ledger.ledger).await?;
        // The ledger may be slow; others can use the connection meanwhile.
        drop(client);
        let work = claimed.iter().map(|webhook| self.work_off(ledger, &configuration, webhook));
        let finished = join_all(work).await;
        let client = self.connection().await?;
        inbox::finish_webhooks(&client, ledger.ledger, fence, &finished).await?;
        for (event_id, finish) in &finished {
            tell(ledger, event_id, finish);
        }
        let is_whole = i64::try_from(claimed.len()).is_ok_and(|count| count == BATCH);
        Ok(if is_whole { Worked::WholeBatch } else { Worked::Everything })
    }

    async fn connection(&self) -> Result<Object, PoolError> {
        self.database.pool().get().await
    }

    async fn work_off(
        &self,
        ledger: &Ledger,
        configuration: &Configuration,
        webhook: &ClaimedWebhook,
    ) -> (String, Finish) {
        let work = AssertUnwindSafe(self.carry_out(ledger, configuration, &webhook.body)).catch_unwind();
        let finish = match work.await {
            Ok(Ok(())) => Finish::Processed,
            Ok(Err(Undone::Not(NotDone::Ignored(reason)))) => Finish::Ignored(reason.to_string()),
            Ok(Err(Undone::Not(NotDone::Quarantined(reason)))) => Finish::Quarantined(reason.to_string()),
            Ok(Err(Undone::Later(error))) => {
                Finish::Failed { reason: error.to_string(), retry_after: backoff(webhook.attempts) }
            }
            Err(_) => Finish::Quarantined(Quarantined::Defect.to_string()),
        };
        (webhook.event_id.clone(), finish)
    }

    async fn carry_out(
        &self,
        ledger: &Ledger,
        configuration: &Configuration,
        body: &[u8],
    ) -> Result<(), Undone> {
        for command in commands(ledger, configuration, body)? {
            self.hand_over(ledger.ledger, command).await?;
        }
        Ok(())
    }

    async fn hand_over(&self, ledger: LedgerId, keyed: KeyedCommand) -> Result<(), Undone> {
        let submission = Submission {
            command: keyed.command.clone(),
            key: keyed.key,
            fingerprint: None,
            actor: Actor::Stripe,
            request_id: None,
        };
        let outcome = tokio::time::timeout(SUBMIT_LIMIT, self.writers.submit(ledger, submission));
        match outcome.await.unwrap_or(Err(SubmitError::OutcomeUnknown))? {
            Outcome::Accepted(Accepted { events, replayed: true, .. })
                if !same_money(&keyed.command, &events) =>
            {
                Err(Quarantined::MoneyDiffers.into())
            }
            Outcome::Accepted(_) => Ok(()),
            // What made it ours has changed since the configuration was read.
            Outcome::Rejected(Rejection::PriceGrantsNothing { .. }) => {
                Err(Undone::Not(Ignored::NoFact(stripe::Ignored::NoCredits).into()))
            }
            Outcome::Rejected(rejection) => Err(Quarantined::Rejected(rejection).into()),
        }
    }
}

/// The commands that a body asks for.
fn commands(
    ledger: &Ledger,
    configuration: &Configuration,
    body: &[u8],
) -> Result<Vec<KeyedCommand>, NotDone> {
    let event = Event::parse(body).map_err(NoFact::from)?;
    if event.livemode != (ledger.mode == LedgerMode::Live) {
        return Err(Ignored::WrongMode.into());
    }
    if event.account.is_some() {
        return Err(Ignored::ForeignAccount.into());
    }
    mapping::commands(stripe::extract(&event)?, configuration)
}

/// Why a webhook is not processed.
#[derive(Debug, thiserror::Error)]
enum Undone {
    /// And will not be by itself.
    #[error(transparent)]
    Not(#[from] NotDone),
    /// But may be later.
    #[error(transparent)]
    Later(#[from] SubmitError),
}

impl From<Quarantined> for Undone {
    fn from(reason: Quarantined) -> Self {
        Self::Not(reason.into())
    }
}

/// How long to wait after the `attempts`th attempt. Spread, so that what failed together does not come back together.
fn backoff(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(16);
    let longest = FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

fn tell(ledger: &Ledger, event_id: &str, finish: &Finish) {
    let (ledger, status, reason) = (ledger.ledger, finish.status().as_str(), finish.reason());
    match finish {
        Finish::Processed | Finish::Ignored(_) => {
            tracing::debug!(%ledger, event_id, status, reason, "a webhook is done");
        }
        Finish::Failed { .. } => tracing::warn!(%ledger, event_id, status, reason, "a webhook is put off"),
        Finish::Quarantined(_) => {
            tracing::warn!(%ledger, event_id, status, reason, "a webhook needs somebody to look at it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_come_ever_later_but_never_stop() {
        for (attempts, longest) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1_000, 60), (i32::MAX, 60)] {
            let longest = Duration::from_secs(longest);
            for _ in 0..100 {
                let wait = backoff(attempts);
                assert!((longest / 2..=longest).contains(&wait), "{attempts}: {wait:?}");
            }
        }
    }
}
