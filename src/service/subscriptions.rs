//! Subscriptions, as they are read.

use super::{Caller, NotFound, PositionToken, Service, ServiceError, position::check_seen};
use crate::{
    domain::{
        ids::{AccountId, Position, StripeId},
        subscription::SubscriptionStatus,
    },
    store::reads::{
        self,
        subscriptions::{SubscriptionRow, find_subscription, list_subscriptions},
    },
};

/// A page of subscriptions.
pub struct SubscriptionPage {
    /// The subscriptions, newest first.
    pub subscriptions: Vec<SubscriptionRow>,
    /// The place after which the next page begins, if there may be one.
    pub next: Option<Position>,
}

impl Service {
    /// A subscription.
    ///
    /// # Errors
    /// [`NotFound::Subscription`] if the ledger does not know it.
    pub async fn subscription(
        &self,
        caller: &Caller,
        subscription: &StripeId,
        seen: Option<PositionToken>,
    ) -> Result<SubscriptionRow, ServiceError> {
        let (moment, row) = find_subscription(&self.database, caller.ledger, subscription).await?;
        check_seen(&moment, seen)?;
        row.ok_or(ServiceError::NotFound(NotFound::Subscription))
    }

    /// A page of an account's subscriptions, newest first, of those that became known before the position `before`.
    ///
    /// # Errors
    /// [`NotFound::Account`] if there is none.
    pub async fn subscriptions(
        &self,
        caller: &Caller,
        account: &AccountId,
        status: Option<SubscriptionStatus>,
        before: Option<Position>,
        limit: i64,
    ) -> Result<SubscriptionPage, ServiceError> {
        let (_, number) = reads::accounts::find_number(&self.database, caller.ledger, account).await?;
        let number = number.ok_or(ServiceError::NotFound(NotFound::Account))?;
        let (database, ledger) = (&self.database, caller.ledger);
        let (subscriptions, next) =
            list_subscriptions(database, ledger, number, status, before, limit).await?;
        Ok(SubscriptionPage { subscriptions, next })
    }
}
