//! The use cases: authorise, submit a command, read, wait. What answers requests stands on these and on nothing else, so
//! that every way in asks the same questions.
//!
//! Invariants:
//! - whoever has a [`Caller`] has been authorised for its ledger, and every function here takes one, or a [`Shopper`], who
//!   has been let in by a link: there is no way to name another ledger;
//! - a cause of failure that is the service's own is logged here, once, and goes no further.

mod authorise;
mod checkout;
mod checkout_links;
mod error;
mod follow;
mod history;
mod inbox;
mod key_text;
mod outbox;
mod portal;
mod position;
mod price_sync;
mod proof;
mod reconciliation;
mod reports;
mod subscription_changes;
mod subscriptions;
mod views;
pub mod webhooks;

use std::sync::Arc;

pub use authorise::Caller;
pub use checkout::{CheckedOut, OrderQuery};
pub use checkout_links::{LinkPage, Offer, Shopper};
pub use error::{NotFound, ServiceError, StripeFailure};
pub use follow::Follower;
pub use history::HistoryQuery;
pub use inbox::InboxQuery;
pub use key_text::{KeySecret, KeyText};
pub use outbox::{DeadQuery, DecidedGroup, EffectQuery};
pub use position::PositionToken;
pub use price_sync::{PriceSync, SyncOutcome, SyncedPrice};
pub use proof::{LogKeyView, LogView, leaf_bytes};
pub use reconciliation::{FindingPage, FindingQuery, RunPage};
pub use reports::{Report, UsageFilter};
pub use subscription_changes::{ChangePreview, InvoicePreview, PreviewedGrant};
pub use subscriptions::SubscriptionPage;
pub use views::{
    AccountPage, AccountQuery, AccountView, BalanceView, BookView, EventPage, EventQuery, KeyPage, LotPage,
    LotView, NextExpiry, OrderPage, OrderView, SpendingPlace,
};

pub use crate::{
    audit::tile::TileId,
    store::{
        inbox::{InboxCursor, InboxEntry, InboxFilter, InboxPage, InboxStatus},
        outbox::{
            StoredCause,
            entries::{
                DeadGroup, Decided, Decision, EffectState, Found as FoundEffect, OutboxEntry, OutboxFilter,
                OutboxPage, OutboxPlace,
            },
        },
        projections::{
            read::{HistoryEntry, HistoryFilter, HistoryPage},
            reports::{
                Days, Granularity, JournalEnd, JournalPlace, JournalRow, OutstandingRow, RevenueFilter,
                RevenueRow, UsageRow,
            },
        },
        reads::{
            accounts::{AccountRow, Profile},
            catalogue::{PriceFilter, PricePlace},
            checkout_links::LinkRow,
            events::StoredEvent,
            keys::KeyRow,
            orders::{DisputeRow, OrderRow, RefundRow},
            subscriptions::SubscriptionRow,
        },
        reconciliation::{
            findings::{Details, Finding, FindingFilter, FindingKind, FindingState, Side},
            runs::{Run, RunCounts, RunKind, RunState},
        },
    },
    writer::{Accepted, SubmitError},
};

use authorise::KeyCache;
use follow::Tails;
use tokio::sync::watch;

use crate::{
    config::PublicUrl,
    credentials::StripeClients,
    domain::{
        Command, Rejection,
        ids::{Actor, Key, RequestId},
    },
    store::{pool::Database, reads},
    writer::{Outcome, Submission, Writers},
};

/// A command as a client asked for it.
pub struct Request {
    /// What is to happen.
    pub command: Command,
    /// What makes it happen once.
    pub key: Option<Key>,
    /// SHA-256 of the request that the key came with.
    pub fingerprint: [u8; 32],
    /// The id of the request.
    pub request_id: RequestId,
}

/// The use cases, on one database.
pub struct Service {
    database: Database,
    writers: Arc<Writers>,
    stripe: Arc<StripeClients>,
    keys: KeyCache,
    public_url: Option<PublicUrl>,
    tails: Tails,
    is_going_down: watch::Sender<bool>,
}

impl Service {
    /// The use cases on a database, the writers of its ledgers, and their ways to Stripe; `public_url` is where our pages
    /// are found.
    pub fn new(
        database: Database,
        writers: Arc<Writers>,
        stripe: Arc<StripeClients>,
        public_url: Option<PublicUrl>,
    ) -> Arc<Self> {
        let (keys, tails) = (KeyCache::default(), Tails::default());
        let is_going_down = watch::Sender::new(false);
        Arc::new(Self { database, writers, stripe, keys, public_url, tails, is_going_down })
    }

    /// Has a command carried out.
    ///
    /// # Errors
    /// [`ServiceError::Rejected`] if it breaks a rule, [`ServiceError::Failed`] if it has no outcome.
    pub async fn submit(&self, caller: &Caller, request: Request) -> Result<Accepted, ServiceError> {
        let revoked = match &request.command {
            Command::RevokeKey(command) => Some(command.key),
            _ => None,
        };
        let fingerprint = request.key.as_ref().map(|_| request.fingerprint);
        let submission = Submission {
            command: request.command,
            key: request.key,
            fingerprint,
            actor: Actor::ApiKey(caller.key),
            request_id: Some(request.request_id),
        };
        match self.writers.submit(caller.ledger, submission).await? {
            Outcome::Accepted(accepted) => {
                revoked.into_iter().for_each(|key| self.keys.forget(key));
                Ok(accepted)
            }
            Outcome::Rejected(rejection) => Err(rejected(caller, rejection)),
        }
    }

    /// Whether requests can be served: the database answers, the process is not going down, and no ledger has been
    /// written to by a newer version.
    ///
    /// # Errors
    /// [`ServiceError::Failed`] if they cannot.
    pub async fn check_readiness(&self) -> Result<(), ServiceError> {
        if self.is_going_down() {
            return Err(SubmitError::ShuttingDown.into());
        }
        if self.writers.met_newer_version() {
            return Err(SubmitError::NewerVersion.into());
        }
        Ok(reads::ping(&self.database).await?)
    }

    /// Says from now on that requests cannot be served, so that none are sent here any more. Those that come are served.
    pub fn begin_to_go_down(&self) {
        self.is_going_down.send_replace(true);
    }

    fn is_going_down(&self) -> bool {
        *self.is_going_down.borrow()
    }
}

/// A client that is short of credits is told where to buy some.
fn rejected(caller: &Caller, rejection: Rejection) -> ServiceError {
    let buy_url = match rejection {
        Rejection::InsufficientCredits { .. } => caller.buy_url.clone(),
        _ => None,
    };
    ServiceError::Rejected { rejection, buy_url }
}
