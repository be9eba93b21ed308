//! Subscriptions, as Stripe tells them, and changes of them that Stripe is asked for.

mod changes;

use poem_openapi::{Enum, Object, OpenApi};

use super::{
    answers::Found,
    auth::{Authorised, Read},
    error::{Failure, Reading},
    params::{Parameter, Path, Query},
    tags::Tag,
    wire::{Cursor, Limit, Nullable, SubscriptionId, same_variants},
};
use crate::{
    domain::{
        ids::{AccountId, InvalidName, OrderId, Position, PriceId, StripeId},
        subscription::{self, SubscribedPrice},
        time::Timestamp,
    },
    service::{PositionToken, SubscriptionRow},
};

/// How a subscription is at Stripe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Its first invoice is not paid yet.
    Incomplete,
    /// Nothing is to be paid before the trial ends.
    Trialing,
    /// Paid.
    Active,
    /// A renewal is not paid; Stripe tries again.
    PastDue,
    /// A renewal is not paid; Stripe has stopped trying.
    Unpaid,
    /// Its trial ended without a way to pay.
    Paused,
    /// Its first invoice was not paid in time.
    IncompleteExpired,
    /// It is over.
    Canceled,
}

same_variants!(
    SubscriptionStatus,
    subscription::SubscriptionStatus {
        Incomplete,
        Trialing,
        Active,
        PastDue,
        Unpaid,
        Paused,
        IncompleteExpired,
        Canceled
    }
);

impl Parameter for SubscriptionStatus {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = "must be the status of a subscription, such as active or past_due";
        subscription::SubscriptionStatus::parse(text).map(Into::into).ok_or(InvalidName { expected })
    }
}

/// How many of a price are subscribed to.
#[derive(Clone, Debug, Object)]
pub struct SubscriptionItem {
    /// The price.
    pub price_id: PriceId,
    /// How many of it.
    pub quantity: i64,
}

impl From<SubscribedPrice> for SubscriptionItem {
    fn from(item: SubscribedPrice) -> Self {
        Self { price_id: item.price, quantity: item.quantity }
    }
}

/// A subscription.
#[derive(Clone, Debug, Object)]
pub struct Subscription {
    /// Stripe's id of it.
    pub subscription_id: StripeId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The order that it began with; `null` if it was made elsewhere.
    pub order_id: Nullable<OrderId>,
    /// How it is.
    pub status: SubscriptionStatus,
    /// What is subscribed to.
    pub items: Vec<SubscriptionItem>,
    /// Until when it is paid, or its trial goes; `null` until Stripe has told.
    pub current_period_end: Nullable<Timestamp>,
    /// Whether it ends with the period.
    pub cancel_at_period_end: bool,
    /// Whether the collection of money for it is paused at Stripe.
    pub collection_paused: bool,
    /// The latest changes that were asked for here, newest first, at most eight.
    pub changes: Vec<SubscriptionChange>,
    /// When the ledger heard of it first.
    pub created_at: Timestamp,
}

impl From<SubscriptionRow> for Subscription {
    fn from(row: SubscriptionRow) -> Self {
        let subscription::Subscription { id, order, terms, requests, started_at, .. } = row.subscription;
        let changes = requests.into_iter().rev();
        Self {
            changes: changes.map(|requested| SubscriptionChange::of(&id, requested)).collect(),
            subscription_id: id,
            account_id: row.account,
            order_id: Nullable(order),
            status: terms.status.into(),
            items: terms.items.into_iter().map(Into::into).collect(),
            current_period_end: Nullable(terms.period_end),
            cancel_at_period_end: terms.cancel_at_period_end,
            collection_paused: terms.collection_paused,
            created_at: started_at,
        }
    }
}

/// A page of subscriptions.
#[derive(Clone, Debug, Object)]
pub struct SubscriptionList {
    /// The subscriptions, newest first.
    pub items: Vec<Subscription>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

use changes::SubscriptionChange;
pub use changes::SubscriptionChanges;

/// The resource.
pub struct Subscriptions;

#[OpenApi(tag = "Tag::Subscriptions")]
impl Subscriptions {
    /// List an account's subscriptions
    ///
    /// Newest first, those that have ended as well, as far as the ledger knows them. Of a status a page may be short, or empty,
    /// and not be the last: `next_cursor` says.
    #[oai(path = "/v1/accounts/:account/subscriptions", method = "get", operation_id = "list_subscriptions")]
    async fn list(
        &self,
        caller: Authorised<Read>,
        /// Whose.
        account: Path<AccountId>,
        /// Only those of this status.
        status: Query<SubscriptionStatus>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<SubscriptionList>, Failure<Reading>> {
        let before: Option<Position> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let (status, limit) = (status.0.map(Into::into), limit.0.unwrap_or_default().into());
        let service = &caller.service;
        let page = service.subscriptions(&caller.caller, &account.0, status, before, limit).await?;
        Ok(Found(SubscriptionList {
            items: page.subscriptions.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(page.next.map(|place| Cursor::of(&place))),
        }))
    }

    /// Read a subscription
    #[oai(path = "/v1/subscriptions/:subscription", method = "get", operation_id = "read_subscription")]
    async fn read(
        &self,
        caller: Authorised<Read>,
        /// Stripe's id of it.
        subscription: Path<SubscriptionId>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
    ) -> Result<Found<Subscription>, Failure<Reading>> {
        let id = &subscription.0.0;
        Ok(Found(caller.service.subscription(&caller.caller, id, min_position.0).await?.into()))
    }
}
