//! What things cost and what prices grant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    amount::{Amount, Currency},
    ids::{FeatureKey, PriceId, Unit},
};

/// A named thing that costs credits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its name in requests.
    pub feature: FeatureKey,
    /// The unit it is paid in.
    pub unit: Unit,
    /// Credits for one of it.
    pub cost: Amount,
    /// Whether it can be spent on.
    pub active: bool,
}

/// What buying one of a price grants in one unit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
    /// After how many days they expire; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_days: Option<u32>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
    /// This grant's share of the money, as a weight among the price's grants.
    pub share: u32,
}

/// A Stripe price and what buying one of it grants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Stripe's id of it.
    pub price: PriceId,
    /// What a shop shows.
    pub display_name: String,
    /// Place in a shop's list; lower first.
    pub display_order: i32,
    /// Whether it can be bought. Payments for an inactive price are still credited.
    pub active: bool,
    /// What it costs, in the currency's smallest part: 0 to 2^53 − 1.
    pub money: i64,
    /// The currency of `money`.
    pub currency: Currency,
    /// What buying one of it grants: at least one, each unit at most once.
    pub grants: Vec<PriceGrant>,
}

/// Everything that can be bought or spent on in a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Catalogue {
    /// Features by name.
    pub features: BTreeMap<FeatureKey, Feature>,
    /// Prices by id.
    pub prices: BTreeMap<PriceId, Price>,
}
