//! Why something could not be done: whether the run is over with it, or whoever goes on begins it again.

use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio::time::sleep;

use crate::{
    credentials::NoStripe,
    store::{reads::ReadError, rows::RowError},
    stripe::client::{CallClass, CallError},
};

/// How often Stripe is asked the same at most.
const ATTEMPTS: u32 = 5;
/// How long to wait before asking again; each further time twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, whatever Stripe asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Why a run came to an end before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The ledger has no way to Stripe.
    #[error("{}: {_0}", _0.code())]
    NoStripe(#[from] NoStripe),
    /// Stripe did not tell.
    #[error("{}: {_0}", code_of(_0))]
    Call(#[from] CallError),
    /// Stripe does not let the ledger's key read all that is to be compared. The rest was, and it is on record.
    #[error("{}: may not read {what}: {error}", code_of(error))]
    Forbidden {
        /// What it may not read.
        what: &'static str,
        /// What Stripe says.
        error: CallError,
    },
    /// What was put into the inbox waits there.
    #[error("inbox_busy: what Stripe has told waits in the inbox")]
    InboxBusy,
    /// The ledger's history changed meanwhile.
    #[error("history_moved: another history, or another database, is there than when this run began")]
    HistoryMoved,
    /// Nothing is known of how it ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why nobody knows how a run ends: it is begun again by whoever has the next turn.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// No connection could be had.
    #[error("no connection: {0}")]
    Connection(#[from] PoolError),
    /// The database refused, or a row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Somebody else works on the ledger by now.
    #[error("the lease was lost")]
    LeaseLost,
}

impl From<tokio_postgres::Error> for Stopped {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Row(error.into())
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Stopped(error.into())
    }
}

impl From<RowError> for Trouble {
    fn from(error: RowError) -> Self {
        Self::Stopped(error.into())
    }
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self::Stopped(error.into())
    }
}

impl From<PoolError> for Trouble {
    fn from(error: PoolError) -> Self {
        Self::Stopped(error.into())
    }
}

impl Trouble {
    /// Whether it does not pass by itself.
    pub(super) fn needs_a_person(&self) -> bool {
        match self {
            Self::NoStripe(error) => error.is_permanent(),
            Self::Call(error) => error.class == CallClass::Permanent,
            Self::Forbidden { .. } => true,
            Self::InboxBusy | Self::HistoryMoved | Self::Stopped(_) => false,
        }
    }
}

fn code_of(error: &CallError) -> &'static str {
    match error.class {
        CallClass::Permanent if error.is_unauthorised() => "stripe_key_refused",
        CallClass::Permanent => "stripe_refuses",
        CallClass::Retry { .. } | CallClass::Unknown { .. } => "stripe_unavailable",
    }
}

/// Asks Stripe, and again for as long as that may help. Nothing is changed by asking.
pub(super) async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(CallError { class: CallClass::Retry { after } | CallClass::Unknown { after }, .. }) => {
                sleep(after.unwrap_or(pause).min(LONGEST_PAUSE)).await;
                pause *= 2;
            }
            told => return told,
        }
    }
    ask().await
}
