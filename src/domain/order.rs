//! One checkout of ours: what was sold, for how much, and what became of it.
//!
//! Invariants: what was sold is settled when the order is placed, so that a price which changes meanwhile changes nothing
//! for the buyer; an order that is paid stays paid.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amount::{Amount, Currency},
    ids::{AccountNumber, OrderId, Position, PriceId, PurchaseId, StripeId, Unit},
    time::Timestamp,
};

/// The version of the shape of a stored [`Order`].
pub const ORDER_STATE_VERSION: i16 = 1;

/// How many of a price one order may be for.
pub const MAX_QUANTITY: i64 = 10_000;

/// The longest trial that a subscription may begin with: as long as Stripe allows.
pub const LONGEST_TRIAL_DAYS: u32 = 730;

/// That an order is of a subscription, and how that begins. Its credits come with its invoices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderedSubscription {
    /// For how many days nothing has to be paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_days: Option<u32>,
}

/// How far an order has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Not paid yet; whether it can be depends on its session.
    Placed,
    /// Paid, or free and completed.
    Paid,
    /// Nobody completed the checkout in time.
    Expired,
    /// It came to nothing.
    Failed,
}

impl OrderStatus {
    /// The name in answers and as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Placed, Self::Paid, Self::Expired, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// Why an order came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderFailure {
    /// The checkout was completed, but its money never came.
    PaymentFailed,
    /// Stripe refused to make the checkout session.
    Refused,
    /// Somebody gave up on making the checkout session.
    GivenUp,
}

impl OrderFailure {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PaymentFailed => "payment_failed",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
        }
    }
}

/// How an order ends that nobody pays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OrderEnding {
    /// Nobody completed the checkout in time.
    Expired,
    /// It came to nothing.
    Failed(OrderFailure),
}

/// Credits of one unit as they were sold, for the whole order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SoldCredits {
    /// The unit.
    pub unit: Unit,
    /// How many, in all.
    pub amount: Amount,
    /// After how many days from payment they expire; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_days: Option<u32>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
    /// Their share of the money, as a weight among what was sold.
    pub share: u32,
}

/// What the checkout needs to know and no event may hold: addresses may name a person.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrderDetails {
    /// The language of the checkout, e.g. `de`.
    pub locale: Option<String>,
    /// Where the buyer goes after payment.
    pub success_url: Option<String>,
    /// Where the buyer goes who turns back.
    pub cancel_url: Option<String>,
}

/// One checkout of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Which order.
    pub id: OrderId,
    /// Who ordered.
    pub account: AccountNumber,
    /// What was ordered.
    pub price: PriceId,
    /// How many of it.
    pub quantity: i64,
    /// What that costs before discounts, tax and shipping, in the currency's smallest part.
    pub subtotal: i64,
    /// The currency of it.
    pub currency: Currency,
    /// What was sold.
    pub sold: Vec<SoldCredits>,
    /// That it is of a subscription, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<OrderedSubscription>,
    /// How far it has come.
    pub status: OrderStatus,
    /// Its checkout session, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<StripeId>,
    /// Until when the session can be paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expires_at: Option<Timestamp>,
    /// Why it came to nothing, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<OrderFailure>,
    /// What was bought with it, oldest first: one for each paid session that was not free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purchases: Vec<PurchaseId>,
    /// The sessions that were paid, oldest first. More than one is one too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paid_sessions: Vec<StripeId>,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// The position of the last event that it has seen.
    pub version: Position,
}

impl Order {
    /// Whether what is told of a session is told of the order's own one, or may be.
    pub fn may_have(&self, session: Option<&StripeId>) -> bool {
        match (&self.session, session) {
            (None, _) => true,
            (Some(own), Some(session)) => own == session,
            (Some(_), None) => false,
        }
    }
}
