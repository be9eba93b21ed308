//! What things cost and what prices grant.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amount::{Amount, Currency},
    ids::{FeatureKey, PriceId, StripeId, Unit},
    listing::{Listing, PriceMode},
    settings::Rollover,
};

/// A named thing that costs credits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
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

/// A Stripe price and what buying one of it grants: what counts, and the two sides that it was put together from.
///
/// What the operator says wins over what Stripe says, field by field; only what it costs is Stripe's to say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// What a period of it takes over of the one before; as the ledger's rules say if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover: Option<Rollover>,
    /// What the operator says. Absent in prices from before there were two sides: there, all of the above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<PriceSettings>,
    /// What Stripe says, once it has said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe: Option<Listing>,
}

/// What an operator says of a price; what is absent is left to Stripe.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceSettings {
    /// What a shop shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Place in a shop's list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_order: Option<i32>,
    /// Whether it can be bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// What it costs, for as long as Stripe has not said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<MoneyOfPrice>,
    /// What buying one of it grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<PriceGrant>>,
    /// What a period of it takes over of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover: Option<Rollover>,
}

/// What a price costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoneyOfPrice {
    /// In the currency's smallest part: 0 to 2^53 − 1.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

impl Catalogue {
    /// Whether a price at Stripe is this ledger's: it is known, or it or its product says how many credits it is for.
    pub fn concerns(&self, price: &PriceId, listing: &Listing) -> bool {
        self.prices.contains_key(price)
            || listing.states_credits()
            || self.listings_of(&listing.product).any(Listing::states_credits)
    }

    /// Whether a price of a product is known.
    pub fn knows_product(&self, product: &StripeId) -> bool {
        self.listings_of(product).next().is_some()
    }

    fn listings_of<'a>(&'a self, product: &'a StripeId) -> impl Iterator<Item = &'a Listing> {
        let listings = self.prices.values().filter_map(|price| price.stripe.as_ref());
        listings.filter(move |listing| listing.product == *product)
    }
}

/// Something about a price that an operator should know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PriceFinding {
    /// Stripe no longer says what it grants: it keeps what it granted last and cannot be bought.
    CreditsUnstated,
    /// It, or its product, was deleted at Stripe: it cannot be bought.
    DeletedAtStripe,
    /// Stripe has told of the price but not yet of its product, whose name and metadata are missing.
    ProductUnknown,
}

impl PriceFinding {
    /// Whether a price cannot be bought because of it, whatever anyone says.
    pub fn forbids_sale(self) -> bool {
        match self {
            Self::CreditsUnstated | Self::DeletedAtStripe => true,
            Self::ProductUnknown => false,
        }
    }
}

impl Price {
    /// How it is paid. A price that Stripe has told nothing of is paid once.
    pub fn mode(&self) -> PriceMode {
        self.stripe.as_ref().map_or(PriceMode::OneTime, |listing| listing.mode)
    }

    /// The product that it is a price of, once Stripe has told it.
    pub fn product(&self) -> Option<&StripeId> {
        self.stripe.as_ref().map(|listing| &listing.product)
    }

    /// What the operator says of it.
    pub fn operator_side(&self) -> PriceSettings {
        match (&self.operator, &self.stripe) {
            (Some(operator), _) => operator.clone(),
            (None, Some(_)) => PriceSettings::default(),
            (None, None) => self.as_settings(),
        }
    }

    /// What an operator would have to say for the price to be as it is.
    pub fn as_settings(&self) -> PriceSettings {
        PriceSettings {
            display_name: Some(self.display_name.clone()),
            display_order: Some(self.display_order),
            active: Some(self.active),
            money: Some(MoneyOfPrice { amount: self.money, currency: self.currency }),
            grants: Some(self.grants.clone()),
            rollover: self.rollover,
        }
    }

    /// What an operator should know of it.
    pub fn findings(&self) -> Vec<PriceFinding> {
        let Some(listing) = &self.stripe else { return Vec::new() };
        let is_unstated = self.operator_side().grants.is_none() && !listing.states_credits();
        let findings = [
            is_unstated.then_some(PriceFinding::CreditsUnstated),
            listing.is_deleted().then_some(PriceFinding::DeletedAtStripe),
            listing.product_listing.is_none().then_some(PriceFinding::ProductUnknown),
        ];
        findings.into_iter().flatten().collect()
    }
}

/// Everything that can be bought or spent on in a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Catalogue {
    /// Features by name.
    pub features: BTreeMap<FeatureKey, Feature>,
    /// Prices by id.
    pub prices: BTreeMap<PriceId, Price>,
}
