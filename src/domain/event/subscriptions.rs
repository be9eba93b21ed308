//! What became of a subscription, and of credits that live by its periods.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SuccessorLot;
use crate::domain::{
    ids::{LotId, OrderId, StripeId, SubscriptionChangeId, Unit},
    subscription::SubscriptionTerms,
    subscription_change::{ChangeRefusal, WantedChange},
    time::Timestamp,
};

/// See [`super::EventBody::SubscriptionStarted`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionStarted {
    /// The subscription.
    pub subscription: StripeId,
    /// The order of ours that it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// How it is.
    pub terms: SubscriptionTerms,
}

/// What changed about a subscription.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionChange {
    /// How it is.
    Terms(SubscriptionTerms),
    /// The order of ours that it began with became known.
    Order(OrderId),
    /// An invoice was paid for changes within a period.
    Prorated(Prorated),
}

/// Changes within a period.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prorated {
    /// The invoice.
    pub invoice: StripeId,
    /// When the period ends.
    pub period_end: Timestamp,
    /// The end of the period whose place it took, if the change began a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Timestamp>,
    /// What the changes are worth, signed.
    pub credits: BTreeMap<Unit, i64>,
}

/// See [`super::EventBody::SubscriptionChanged`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionChanged {
    /// The subscription.
    pub subscription: StripeId,
    /// What changed.
    pub change: SubscriptionChange,
}

/// See [`super::EventBody::SubscriptionChangeRequested`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionChangeRequested {
    /// The subscription.
    pub subscription: StripeId,
    /// Which change.
    pub request: SubscriptionChangeId,
    /// What is to change.
    pub change: WantedChange,
}

/// See [`super::EventBody::SubscriptionChangeSettled`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionChangeSettled {
    /// The subscription.
    pub subscription: StripeId,
    /// Which change.
    pub request: SubscriptionChangeId,
    /// Why it will not be made; absent if Stripe has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<ChangeRefusal>,
}

/// A lot that expires sooner, since there is no renewal to be waited for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShortenedLot {
    /// Of which unit.
    pub unit: Unit,
    /// The lot.
    pub lot: LotId,
    /// When it expires now.
    pub expires_at: Timestamp,
}

/// See [`super::EventBody::SubscriptionEnded`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionEnded {
    /// The subscription.
    pub subscription: StripeId,
    /// How it was at its end.
    pub terms: SubscriptionTerms,
    /// Its lots that lose the grace.
    pub shortened: Vec<ShortenedLot>,
}

/// Credits of one lot that live on in another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolledOver {
    /// The lot of the period before.
    pub lot: LotId,
    /// How many credits.
    pub amount: i64,
    /// The lot that they live on in.
    pub into: SuccessorLot,
}

/// See [`super::EventBody::CreditsRolledOver`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditsRolledOver {
    /// The subscription.
    pub subscription: StripeId,
    /// When the period ends that they live on in.
    pub ends_at: Timestamp,
    /// What lives on where.
    pub lots: Vec<RolledOver>,
}
