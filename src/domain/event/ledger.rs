//! What concerns a ledger as a whole: its catalogue, settings, API keys, clock and history.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    catalogue::{Feature, Price},
    ids::{KeyId, Position},
    settings::{LedgerSettings, Scope, SubscriptionRules},
    time::Timestamp,
};

/// See [`super::EventBody::FeatureSet`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FeatureSet(pub Feature);

/// See [`super::EventBody::PriceSet`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PriceSet(pub Box<Price>);

impl PriceSet {
    /// 1 was written before a price had two sides, 2 before one of them could say what rolls over.
    pub fn version(&self) -> i16 {
        let price = &self.0;
        match (price.rollover, &price.operator, &price.stripe) {
            (Some(_), ..) => 3,
            (None, None, None) => 1,
            (None, ..) => 2,
        }
    }
}

/// See [`super::EventBody::LedgerConfigured`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LedgerConfigured(pub LedgerSettings);

impl LedgerConfigured {
    /// 1 was written before there were rules for subscriptions and sign-ups; 2 has at least one of them.
    pub fn version(&self) -> i16 {
        let settings = &self.0;
        let is_first =
            settings.subscriptions == SubscriptionRules::default() && settings.signup_grants.is_empty();
        if is_first { 1 } else { 2 }
    }
}

/// See [`super::EventBody::KeyCreated`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyCreated {
    /// The key.
    pub key: KeyId,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// See [`super::EventBody::KeyRevoked`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRevoked {
    /// The key.
    pub key: KeyId,
}

/// See [`super::EventBody::HistoryLost`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryLost {
    /// The last position that the process had seen committed.
    pub last_seen: Position,
}

/// See [`super::EventBody::ClockAdvanced`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockAdvanced {
    /// By how many seconds: positive. Everything after this event is judged at the later time.
    pub seconds: i64,
    /// How many seconds it is ahead of the database's clock now.
    pub ahead: i64,
}
