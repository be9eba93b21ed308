//! What became of a checkout, and of the refunds that were asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    amount::Currency,
    ids::{OrderId, PaymentReference, PriceId, PurchaseId, RefundRequestId, StripeId},
    order::{OrderFailure, OrderedSubscription, SoldCredits},
    payment::RefundRefusal,
    time::Timestamp,
};

/// See [`super::EventBody::OrderPlaced`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderPlaced {
    /// The order.
    pub order: OrderId,
    /// What was ordered.
    pub price: PriceId,
    /// How many of it.
    pub quantity: i64,
    /// What that costs before discounts, tax and shipping, in the currency's smallest part.
    pub subtotal: i64,
    /// The currency of it.
    pub currency: Currency,
    /// What was sold, whatever becomes of the price.
    pub sold: Vec<SoldCredits>,
    /// That it is of a subscription, if it is: what was sold comes with its first invoice then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<OrderedSubscription>,
    /// The account's customer at that time.
    pub customer: Option<StripeId>,
}

impl OrderPlaced {
    /// 1 knew no subscriptions.
    pub fn version(&self) -> i16 {
        if self.subscription.is_none() { 1 } else { 2 }
    }
}

/// See [`super::EventBody::OrderSessionCreated`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderSessionCreated {
    /// The order.
    pub order: OrderId,
    /// The checkout session.
    pub session: StripeId,
    /// Until when it can be paid.
    pub expires_at: Timestamp,
}

/// See [`super::EventBody::OrderPaid`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderPaid {
    /// The order.
    pub order: OrderId,
    /// The session that was paid.
    pub session: StripeId,
    /// What was bought; none if nothing had to be paid.
    pub purchase: Option<PurchaseId>,
    /// Whether it had been paid before: somebody paid twice.
    pub again: bool,
}

/// See [`super::EventBody::OrderExpired`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderExpired {
    /// The order.
    pub order: OrderId,
    /// The session that expired.
    pub session: Option<StripeId>,
}

/// See [`super::EventBody::OrderFailed`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderFailed {
    /// The order.
    pub order: OrderId,
    /// The session that failed, if there was one.
    pub session: Option<StripeId>,
    /// Why.
    pub reason: OrderFailure,
}

/// See [`super::EventBody::RefundRequested`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundRequested {
    /// The refund.
    pub refund: RefundRequestId,
    /// The order that it is of.
    pub order: Option<OrderId>,
    /// The purchase that it takes back.
    pub purchase: PurchaseId,
    /// The payment that the money goes back of.
    pub payment: PaymentReference,
    /// How much, in the currency's smallest part.
    pub amount: i64,
    /// The currency of it: the payment's.
    pub currency: Currency,
}

/// See [`super::EventBody::RefundRefused`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundRefused {
    /// The refund.
    pub refund: RefundRequestId,
    /// The payment that it was asked of.
    pub payment: PaymentReference,
    /// Why.
    pub reason: RefundRefusal,
}
