//! Links by which a price can be bought for an account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    amount::Amount,
    ids::{CheckoutLinkId, PriceId},
    time::Timestamp,
};

/// See [`super::EventBody::CheckoutLinkCreated`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutLinkCreated {
    /// The link.
    pub link: CheckoutLinkId,
    /// What can be bought by it.
    pub price: PriceId,
    /// How many of it at once.
    pub quantity: Amount,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// See [`super::EventBody::CheckoutLinkRevoked`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutLinkRevoked {
    /// The link.
    pub link: CheckoutLinkId,
}
