//! What happened to an account itself: its standing, its profile, its customer at Stripe, its limits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{OrderId, StripeId};

/// See [`super::EventBody::AccountOpened`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountOpened {}

/// See [`super::EventBody::AccountChanged`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountChanged {
    /// Which fields of the profile changed; never their values.
    pub fields: Vec<ProfileField>,
}

/// A part of what is known of an account's holder, all of it erasable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProfileField {
    /// The e-mail address.
    Email,
    /// The display name.
    Name,
    /// The language, e.g. `de`.
    Locale,
    /// The client's own key-value pairs.
    Metadata,
    /// Everything above, all notes, and the client's name of the account: erased.
    Erased,
}

/// Why an account was frozen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FreezeCause {
    /// Somebody asked for it.
    Requested,
    /// A dispute was opened and the ledger freezes on disputes.
    Dispute,
    /// The card's network warned of fraud and the ledger freezes on disputes.
    FraudWarning,
}

/// See [`super::EventBody::AccountFrozen`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountFrozen {
    /// Why.
    pub cause: FreezeCause,
}

impl AccountFrozen {
    /// 1 knew no warnings of fraud; 2 has one.
    pub fn version(&self) -> i16 {
        match self.cause {
            FreezeCause::Requested | FreezeCause::Dispute => 1,
            FreezeCause::FraudWarning => 2,
        }
    }
}

/// See [`super::EventBody::AccountUnfrozen`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountUnfrozen {}

/// See [`super::EventBody::AccountClosed`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountClosed {}

/// Why an account's customer is what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkCause {
    /// We made it.
    Created,
    /// It was there, and the client said that it is the account's.
    Adopted,
    /// Stripe has it no longer.
    Deleted,
}

/// See [`super::EventBody::CustomerLinked`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerLinked {
    /// The account's customer from here on; none after it was deleted.
    pub customer: Option<StripeId>,
    /// Why.
    pub cause: LinkCause,
    /// The order whose checkout came to a halt over a deleted customer: it is made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
}

/// See [`super::EventBody::LimitChanged`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitChanged {
    /// How many credits the account may owe by spending; 0 allows none.
    pub overdraft: i64,
}
