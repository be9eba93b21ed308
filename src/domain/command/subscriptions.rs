//! What Stripe tells of subscriptions and of their invoices, and what is asked of us.

use super::Note;
use crate::domain::{
    amount::{Amount, PaidMoney},
    ids::{AccountId, AccountNumber, OrderId, PriceId, StripeId, SubscriptionChangeId},
    subscription::{Period, SubscriptionTerms},
    subscription_change::{AskedChange, ChangeOutcome},
    time::Timestamp,
};

/// Whose a subscription is. Whoever hands over looks it up: the account of one that is known has to be named.
#[derive(Clone, PartialEq, Debug)]
pub enum Subscriber {
    /// The account that its metadata names.
    Named(AccountId),
    /// The account that it is known to be of, or that has its customer.
    Owner(AccountNumber),
}

/// See [`super::Command::StartSubscription`].
#[derive(Clone, PartialEq, Debug)]
pub struct StartSubscription {
    /// The subscription.
    pub subscription: StripeId,
    /// Whose it is, unless there is an order, whose account's it is then.
    pub subscriber: Option<Subscriber>,
    /// The order of ours that was completed.
    pub order: Option<OrderId>,
    /// The checkout session that it began with.
    pub session: StripeId,
}

/// See [`super::Command::RecordSubscription`].
#[derive(Clone, PartialEq, Debug)]
pub struct RecordSubscription {
    /// The subscription.
    pub subscription: StripeId,
    /// Whose it is.
    pub subscriber: Subscriber,
    /// The order of ours that it began with, if it says so.
    pub order: Option<OrderId>,
    /// How it is.
    pub terms: SubscriptionTerms,
}

/// See [`super::Command::RequestSubscriptionChange`].
#[derive(Clone, PartialEq, Debug)]
pub struct RequestSubscriptionChange {
    /// The subscription.
    pub subscription: StripeId,
    /// Whose it is.
    pub subscriber: Subscriber,
    /// What is to change.
    pub change: AskedChange,
    /// Reason and metadata.
    pub note: Note,
}

/// See [`super::Command::SettleSubscriptionChange`].
#[derive(Clone, PartialEq, Debug)]
pub struct SettleSubscriptionChange {
    /// The subscription.
    pub subscription: StripeId,
    /// Whose it is.
    pub subscriber: Subscriber,
    /// Which change.
    pub request: SubscriptionChangeId,
    /// What became of it.
    pub outcome: ChangeOutcome,
}

/// What a paid line, or several that are set off against each other, are for.
#[derive(Clone, PartialEq, Debug)]
pub enum SoldLine {
    /// A whole period.
    Period {
        /// The price.
        price: PriceId,
        /// How many of it.
        quantity: Amount,
        /// Whether its price is zero: trials, mostly.
        is_free: bool,
    },
    /// Changes within a period.
    Changes {
        /// All lines of the invoice that are about it.
        lines: Vec<ProratedLine>,
        /// The end of the period whose place it took, if the change began a new one.
        replaced: Option<Timestamp>,
    },
}

/// A line for a part of a period.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProratedLine {
    /// The price.
    pub price: PriceId,
    /// What it costs before discounts, signed, in the currency's smallest part.
    pub amount: i64,
}

/// See [`super::Command::RecordInvoiceLine`].
#[derive(Clone, PartialEq, Debug)]
pub struct RecordInvoiceLine {
    /// The subscription.
    pub subscription: StripeId,
    /// Whose it is.
    pub subscriber: Subscriber,
    /// The invoice.
    pub invoice: StripeId,
    /// The line; the first of several that are set off against each other.
    pub line: StripeId,
    /// The payment that paid the invoice, if one did.
    pub payment_intent: Option<StripeId>,
    /// What was paid for the line.
    pub money: PaidMoney,
    /// What the whole invoice came to, of which the customer's balance may have paid a part: what goes back is held against
    /// it.
    pub paid_with: PaidMoney,
    /// What it is paid for.
    pub period: Period,
    /// What it is for.
    pub sold: SoldLine,
}
