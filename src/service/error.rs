//! Why a use case did not succeed.

use std::sync::Arc;

use crate::{
    credentials::NoStripe,
    domain::{
        Rejection,
        ids::{EffectId, Position},
        settings::Scope,
    },
    store::reads::ReadError,
    stripe::client::{CallClass, CallError},
    writer::SubmitError,
};

/// Why a use case did not succeed. Whatever is the service's own fault has been logged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServiceError {
    /// No key, or none that works.
    #[error("there is no API key that works")]
    Unauthenticated,
    /// The key lacks a scope.
    #[error("the API key lacks the scope {}", .scope.as_str())]
    Forbidden {
        /// The scope.
        scope: Scope,
    },
    /// A rule would be broken.
    #[error("{rejection}")]
    Rejected {
        /// The rule.
        rejection: Rejection,
        /// Where credits can be bought, if they are what is missing.
        buy_url: Option<Arc<str>>,
    },
    /// It could not be done, or only perhaps.
    #[error(transparent)]
    Failed(#[from] SubmitError),
    /// Stripe could not be asked, or refused.
    #[error(transparent)]
    Stripe(#[from] StripeFailure),
    /// There is no such thing.
    #[error("there is no such thing")]
    NotFound(NotFound),
    /// Stripe will not do it as things are; somebody has to look at the effect.
    #[error("Stripe refuses: {code}")]
    StripeRefused {
        /// Stripe's own code.
        code: String,
        /// The effect that is dead.
        effect: EffectId,
    },
    /// The account has no customer at Stripe.
    #[error("the account has no customer at Stripe")]
    NoCustomer,
    /// Nobody has said where our pages are found.
    #[error("it is not known where our pages are found: set {variable}")]
    NoPublicUrl {
        /// The variable that says so.
        variable: &'static str,
    },
    /// An event is too long for a bundle of entries.
    #[error("the event at {position} is too long for a bundle of entries")]
    EntryTooLong {
        /// The event.
        position: Position,
    },
    /// The body of the webhook is no longer kept.
    #[error("the body is no longer kept")]
    BodyGone,
    /// Only of dead effects there is something to decide.
    #[error("the effect is not dead")]
    EffectNotDead,
    /// Only of open findings there is something to decide.
    #[error("the finding is not open")]
    FindingNotOpen,
    /// The service cannot put it right.
    #[error("the finding has no repair")]
    FindingNotRepairable,
    /// The position is of a history that was lost.
    #[error("the position is of a history that was lost")]
    HistoryLost,
    /// The position was not reached in time.
    #[error("the position was not reached in time")]
    PositionNotReached,
}

/// Why something that Stripe was to be asked for is not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StripeFailure {
    /// The ledger has no key that can be used; the words say what to do.
    #[error("{0}")]
    NoAccess(String),
    /// Stripe refused, in its own words.
    #[error("Stripe refuses: {0}")]
    Refused(String),
    /// Stripe does not answer, or not as it should.
    #[error("Stripe does not answer as it should: {0}")]
    Unavailable(String),
}

/// What there is none of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotFound {
    /// An account.
    Account,
    /// A feature.
    Feature,
    /// A price.
    Price,
    /// An event in the inbox.
    InboxEvent,
    /// An effect in the outbox.
    Effect,
    /// A run of the reconciliation.
    Reconciliation,
    /// A finding of the reconciliation.
    Finding,
    /// An order.
    Order,
    /// A checkout link, or one that works.
    CheckoutLink,
    /// A log, or a signed head of it.
    Log,
    /// A tile.
    Tile,
    /// An event that is sealed.
    SealedEvent,
    /// A subscription.
    Subscription,
}

impl From<Rejection> for ServiceError {
    /// Of what needs no way to buy.
    fn from(rejection: Rejection) -> Self {
        Self::Rejected { rejection, buy_url: None }
    }
}

impl From<NoStripe> for ServiceError {
    fn from(error: NoStripe) -> Self {
        match error {
            NoStripe::Database(error) => error.into(),
            // Its log says so already.
            other => StripeFailure::NoAccess(other.to_string()).into(),
        }
    }
}

impl From<CallError> for ServiceError {
    fn from(error: CallError) -> Self {
        tracing::warn!(%error, "Stripe did not answer a request with what was asked for");
        let words = error.message().map_or_else(|| error.to_string(), str::to_owned);
        Self::Stripe(match error.class {
            CallClass::Permanent => StripeFailure::Refused(words),
            CallClass::Retry { .. } | CallClass::Unknown { .. } => StripeFailure::Unavailable(words),
        })
    }
}

impl From<ReadError> for ServiceError {
    fn from(error: ReadError) -> Self {
        Self::Failed(match &error {
            ReadError::Unavailable(cause) => {
                tracing::warn!(%cause, "the database is not available to a read");
                SubmitError::Unavailable
            }
            ReadError::UnknownLedger => SubmitError::UnknownLedger,
            ReadError::Row(row) if row.is_newer() => SubmitError::NewerVersion,
            ReadError::Row(row) => {
                tracing::error!(error = %row, "a read failed");
                SubmitError::Internal
            }
        })
    }
}
