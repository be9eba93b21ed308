//! What Stripe says of a price and of its product, and how it says in metadata what buying one grants.
//!
//! States arrive in any order and more than once, so each knows the moment that it is of: the newest one counts, whenever
//! it arrives. Where two are of the same moment, their content decides, so that every order of arrival ends alike.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amount::Amount,
    catalogue::{MoneyOfPrice, PriceGrant},
    ids::{StripeId, Unit},
    settings::Rollover,
    time::{Span, Timestamp},
};

/// The priority of credits whose metadata states none.
const DEFAULT_PRIORITY: u8 = 50;

/// A price as Stripe has it. Ordered by the moment, then by content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The moment that it is the state of, by Stripe's clock.
    pub as_of: Timestamp,
    /// The product that it is a price of.
    pub product: StripeId,
    /// What the operator calls it at Stripe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// What one costs; absent if Stripe has no one amount for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<MoneyOfPrice>,
    /// Whether Stripe sells it.
    pub active: bool,
    /// Whether it is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// How it is paid.
    pub mode: PriceMode,
    /// What its own metadata says.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub terms: Terms,
    /// Its product, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_listing: Option<ProductListing>,
}

/// A product as Stripe has it. Ordered by the moment, then by content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductListing {
    /// The moment that it is the state of, by Stripe's clock.
    pub as_of: Timestamp,
    /// What customers see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether Stripe sells it.
    pub active: bool,
    /// Whether it is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// What its metadata says for those of its prices that do not say it themselves.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub terms: Terms,
}

/// The moments that a price and its product are known of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moments {
    /// Of the price.
    pub price: Timestamp,
    /// Of its product.
    pub product: Option<Timestamp>,
}

/// How a price is paid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceMode {
    /// Once.
    OneTime,
    /// Again and again.
    Recurring(Period),
}

/// How often a recurring price is paid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// Each so many …
    pub count: u32,
    /// … of these.
    pub interval: Interval,
}

/// What a period is measured in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// Days.
    Day,
    /// Weeks.
    Week,
    /// Months.
    Month,
    /// Years.
    Year,
}

/// What the metadata of one object says of credits; each part is absent if it does not say it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// How many credits, of the one unit that is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<Amount>,
    /// Of which unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// After how many days they expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_days: Option<u32>,
    /// Spending priority, 0 (first) to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Everything that is granted, in one or more units. Never together with `credits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<PriceGrant>>,
    /// What a period takes over of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover: Option<Rollover>,
}

/// Credits are stated, but not of which unit, and the ledger has not just one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnitUnstated;

impl Listing {
    /// The newer of two states of one price, with the newest state of its product that either knows.
    pub fn merged(self, other: Self) -> Self {
        // Where all but the product is the same, it does not matter which of them is taken for the newer.
        let (newer, older) = if self >= other { (self, other) } else { (other, self) };
        let is_same_product = newer.product == older.product;
        let of_older = older.product_listing.filter(|_| is_same_product);
        // `None` is below every state.
        Self { product_listing: newer.product_listing.max(of_older), ..newer }
    }

    /// The moments that it is of.
    pub fn moments(&self) -> Moments {
        let product = self.product_listing.as_ref().map(|product| product.as_of);
        Moments { price: self.as_of, product }
    }

    /// Moves it to just after `moments`, unless it is of later ones.
    pub fn overtake(&mut self, moments: Moments) {
        let after = |moment: Timestamp| moment.plus(Span::of_microseconds(1));
        self.as_of = self.as_of.max(after(moments.price));
        if let (Some(product), Some(moment)) = (&mut self.product_listing, moments.product) {
            product.as_of = product.as_of.max(after(moment));
        }
    }

    /// Whether it says what buying one grants.
    pub fn states_credits(&self) -> bool {
        let terms = [Some(&self.terms), self.product_terms()];
        terms.into_iter().flatten().any(Terms::states_credits)
    }

    /// What buying one grants, if it says so; `only_unit` is the ledger's unit if it has just one.
    ///
    /// The price's own statement counts, else its product's. Unit, expiry and priority are completed from the product.
    ///
    /// # Errors
    /// [`UnitUnstated`].
    pub fn grants(&self, only_unit: Option<&Unit>) -> Result<Option<Vec<PriceGrant>>, UnitUnstated> {
        let nothing = Terms::default();
        let (own, of_product) = (&self.terms, self.product_terms().unwrap_or(&nothing));
        let speaking = if own.states_credits() { own } else { of_product };
        let amount = match speaking {
            Terms { grants: Some(grants), .. } => return Ok(Some(grants.clone())),
            Terms { credits: Some(amount), .. } => *amount,
            _ => return Ok(None),
        };
        let unit = own.unit.as_ref().or(of_product.unit.as_ref()).or(only_unit).ok_or(UnitUnstated)?;
        Ok(Some(vec![PriceGrant {
            unit: unit.clone(),
            amount,
            expires_days: own.expires_days.or(of_product.expires_days),
            priority: own.priority.or(of_product.priority).unwrap_or(DEFAULT_PRIORITY),
            share: 1,
        }]))
    }

    /// What a period of it takes over of the one before, if it or else its product says so.
    pub fn rollover(&self) -> Option<Rollover> {
        self.terms.rollover.or_else(|| self.product_terms()?.rollover)
    }

    /// What a shop may call it, if Stripe says anything: customers see the name of a product, not the nickname.
    pub fn name(&self) -> Option<&str> {
        let of_product = self.product_listing.as_ref().and_then(|product| product.name.as_deref());
        of_product.or(self.nickname.as_deref())
    }

    /// Whether Stripe sells it. A product that nothing is known of is taken for one that is sold.
    pub fn is_sold(&self) -> bool {
        self.active && self.product_listing.as_ref().is_none_or(|product| product.active)
    }

    /// Whether it or its product is gone.
    pub fn is_deleted(&self) -> bool {
        self.deleted || self.product_listing.as_ref().is_some_and(|product| product.deleted)
    }

    /// Whether both say the same, of whichever moments.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let timeless = |listing: &Self| {
            let mut listing = Self { as_of: Timestamp::default(), ..listing.clone() };
            if let Some(product) = &mut listing.product_listing {
                product.as_of = Timestamp::default();
            }
            listing
        };
        timeless(self) == timeless(other)
    }

    fn product_terms(&self) -> Option<&Terms> {
        self.product_listing.as_ref().map(|product| &product.terms)
    }
}

impl Terms {
    /// Whether they say how many credits there are.
    pub fn states_credits(&self) -> bool {
        self.credits.is_some() || self.grants.is_some()
    }

    /// Whether they say nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
