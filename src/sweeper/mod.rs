//! The sweeper: writes down what has become due in accounts that nobody touches.
//!
//! Expiries and lapses are facts of time. Whatever touches an account applies what is due there first, so when the
//! sweeper comes never changes an outcome; it only sees to it that events, balances and reports do not have to wait for
//! the next visit. It hands [`Command::ApplyDue`] to the writer and decides nothing.
//!
//! Any number of processes may sweep: whoever comes second finds nothing to do.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use crate::{
    domain::{
        Command,
        command::ApplyDue,
        ids::{AccountNumber, Actor, LedgerId},
    },
    store::{
        due::{Due, find_due},
        ledgers::{Ledger, list_ledgers},
        pool::Database,
        rows::RowError,
    },
    writer::{Outcome, Submission, Writers},
};

/// How often all ledgers are looked at, if nothing is known to become due sooner.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The shortest pause, so that a clock that is a little off does not make the sweeper spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// How many accounts are handed to the writer at once.
const PAGE: i64 = 200;
/// How long one look at one ledger may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The sweeper of one process.
pub struct Sweeper {
    database: Database,
    writers: Arc<Writers>,
}

/// Why a ledger could not be swept. What is due stays due.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// No connection could be had.
    #[error(transparent)]
    Pool(#[from] deadpool_postgres::PoolError),
    /// The database refused, or a row cannot be read.
    #[error(transparent)]
    Store(#[from] RowError),
    /// The database did not answer in time.
    #[error("the database did not answer within {} s", LOOK_LIMIT.as_secs())]
    TimedOut,
}

impl Sweeper {
    /// Prepares the sweeper.
    pub fn new(database: Database, writers: Arc<Writers>) -> Self {
        Self { database, writers }
    }

    /// Sweeps until `stop` is done. What has been handed to the writer by then is written all the same.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut is_troubled = false;
        loop {
            let sweep = async {
                let pause = match self.sweep().await {
                    Ok(pause) => {
                        is_troubled = false;
                        pause
                    }
                    Err(error) => {
                        // Tried again after the pause; told once.
                        if !std::mem::replace(&mut is_troubled, true) {
                            tracing::warn!(%error, "what is due has to wait");
                        }
                        LOOK_EVERY
                    }
                };
                sleep(pause).await;
            };
            tokio::select! {
                () = &mut stop => return,
                () = sweep => {}
            }
        }
    }

    /// Writes down what is due in all ledgers. Answers how long to wait until the next look.
    ///
    /// # Errors
    /// [`SweepError`]; ledgers before the one that failed are swept.
    pub async fn sweep(&self) -> Result<Duration, SweepError> {
        let mut pause = LOOK_EVERY;
        for Ledger { ledger, .. } in self.ledgers().await? {
            let next_in = self.sweep_ledger(ledger).await?;
            pause = pause.min(next_in.unwrap_or(LOOK_EVERY));
        }
        Ok(pause.max(SHORTEST_PAUSE))
    }

    /// Writes down what is due in one ledger, page by page. Answers how long it is until something else is.
    async fn sweep_ledger(&self, ledger: LedgerId) -> Result<Option<Duration>, SweepError> {
        loop {
            let due = self.look(ledger).await?;
            if due.accounts.is_empty() {
                return Ok(due
                    .next_in
                    .and_then(|span| u64::try_from(span.microseconds()).ok())
                    .map(Duration::from_micros));
            }
            let applied = join_all(due.accounts.iter().map(|account| self.apply(ledger, *account))).await;
            // A writer that is overloaded or cut off is not helped by more of the same.
            if !applied.contains(&Applied::Written) {
                return Ok(None);
            }
        }
    }

    async fn apply(&self, ledger: LedgerId, account: AccountNumber) -> Applied {
        let submission = Submission {
            command: Command::ApplyDue(ApplyDue { account }),
            key: None,
            fingerprint: None,
            actor: Actor::System,
            request_id: None,
        };
        match self.writers.submit(ledger, submission).await {
            Ok(Outcome::Accepted(accepted)) if !accepted.events.is_empty() => Applied::Written,
            _ => Applied::Nothing,
        }
    }

    async fn ledgers(&self) -> Result<Vec<Ledger>, SweepError> {
        let look = async {
            let client = self.database.pool().get().await?;
            Ok(list_ledgers(&client).await?)
        };
        timeout(LOOK_LIMIT, look).await.unwrap_or(Err(SweepError::TimedOut))
    }

    async fn look(&self, ledger: LedgerId) -> Result<Due, SweepError> {
        let look = async {
            let client = self.database.pool().get().await?;
            Ok(find_due(&client, ledger, PAGE).await?)
        };
        timeout(LOOK_LIMIT, look).await.unwrap_or(Err(SweepError::TimedOut))
    }
}

/// What came of one account.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Applied {
    /// Something was due and is written.
    Written,
    /// Somebody else was quicker, or the writer could not.
    Nothing,
}
