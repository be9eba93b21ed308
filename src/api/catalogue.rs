//! What features cost and what prices grant: set, read, list.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Changed, Found},
    auth::{Admin, Authorised, Read},
    error::{Failure, Reading, Writing},
    idempotency::{OptionalIdempotencyKey, fingerprint},
    params::{Path, Query},
    payload::Json,
    tags::Tag,
    wire::{Cursor, Days, DisplayName, Limit, Nullable, Priority, Share, Whole},
};
use crate::domain::{
    Command,
    amount::{Amount, Currency},
    catalogue,
    ids::{FeatureKey, PriceId, Unit},
};

/// What a feature costs.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewFeature {
    /// The unit that it is paid in.
    pub unit: Unit,
    /// Credits for one of it.
    pub cost: Amount,
    /// Whether it can be spent on; true if absent.
    pub active: Option<bool>,
}

/// A named thing that costs credits.
#[derive(Clone, Debug, Object)]
pub struct Feature {
    /// Its name in spends.
    pub feature: FeatureKey,
    /// The unit that it is paid in.
    pub unit: Unit,
    /// Credits for one of it.
    pub cost: i64,
    /// Whether it can be spent on.
    pub active: bool,
}

impl From<catalogue::Feature> for Feature {
    fn from(feature: catalogue::Feature) -> Self {
        let catalogue::Feature { feature, unit, cost, active } = feature;
        Self { feature, unit, cost: cost.get(), active }
    }
}

/// A page of features.
#[derive(Clone, Debug, Object)]
pub struct FeatureList {
    /// The features, by name.
    pub items: Vec<Feature>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// What buying one of a price grants in one unit.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewPriceGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
    /// After how many days they expire; never if absent.
    pub expires_days: Option<Days>,
    /// Spending priority, 0 (first) to 100; 50 if absent.
    pub priority: Option<Priority>,
    /// This grant's share of the money, as a weight among the price's grants; 1 if absent.
    pub share: Option<Share>,
}

/// What a price costs, in the smallest part of the currency.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewMoneyOfPrice {
    /// How much; tax as Stripe has it.
    pub amount: Whole,
    /// The currency.
    pub currency: Currency,
}

/// What a Stripe price costs and grants.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewPrice {
    /// What a shop shows.
    pub display_name: DisplayName,
    /// Place in a shop's list, lower first; 0 if absent.
    pub display_order: Option<i32>,
    /// Whether it can be bought; true if absent. Payments for an inactive price are still credited.
    pub active: Option<bool>,
    /// What it costs.
    pub money: NewMoneyOfPrice,
    /// What buying one of it grants, each unit at most once.
    pub grants: Vec<NewPriceGrant>,
}

/// What buying one of a price grants in one unit.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PriceGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: i64,
    /// After how many days they expire; absent if they do not.
    pub expires_days: Option<u32>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
    /// This grant's share of the money, as a weight among the price's grants.
    pub share: u32,
}

/// What a Stripe price costs and grants.
#[derive(Clone, Debug, Object)]
pub struct Price {
    /// Stripe's id of it.
    pub price_id: PriceId,
    /// What a shop shows.
    pub display_name: String,
    /// Place in a shop's list, lower first.
    pub display_order: i32,
    /// Whether it can be bought.
    pub active: bool,
    /// What it costs.
    pub money: MoneyOfPrice,
    /// What buying one of it grants.
    pub grants: Vec<PriceGrant>,
}

/// What a price costs, in the smallest part of the currency.
#[derive(Clone, Debug, Object)]
pub struct MoneyOfPrice {
    /// How much.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

impl NewFeature {
    fn of(self, feature: FeatureKey) -> catalogue::Feature {
        let Self { unit, cost, active } = self;
        catalogue::Feature { feature, unit, cost, active: active.unwrap_or(true) }
    }
}

impl NewPrice {
    fn of(self, price: PriceId) -> catalogue::Price {
        let grant = |grant: NewPriceGrant| catalogue::PriceGrant {
            unit: grant.unit,
            amount: grant.amount,
            expires_days: grant.expires_days.map(Days::get),
            priority: grant.priority.unwrap_or_default().get(),
            share: grant.share.unwrap_or_default().get(),
        };
        catalogue::Price {
            price,
            display_name: self.display_name.0,
            display_order: self.display_order.unwrap_or_default(),
            active: self.active.unwrap_or(true),
            money: self.money.amount.get(),
            currency: self.money.currency,
            grants: self.grants.into_iter().map(grant).collect(),
        }
    }
}

impl From<catalogue::Price> for Price {
    fn from(price: catalogue::Price) -> Self {
        let grant = |grant: catalogue::PriceGrant| PriceGrant {
            unit: grant.unit,
            amount: grant.amount.get(),
            expires_days: grant.expires_days,
            priority: grant.priority,
            share: grant.share,
        };
        Self {
            price_id: price.price,
            display_name: price.display_name,
            display_order: price.display_order,
            active: price.active,
            money: MoneyOfPrice { amount: price.money, currency: price.currency },
            grants: price.grants.into_iter().map(grant).collect(),
        }
    }
}

/// A page of prices.
#[derive(Clone, Debug, Object)]
pub struct PriceList {
    /// The prices, by id.
    pub items: Vec<Price>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// The resource.
pub struct Catalogue;

#[OpenApi(tag = "Tag::Catalogue")]
impl Catalogue {
    /// Set a feature
    ///
    /// Makes it or replaces all of it. What was spent on it before stays as it is.
    #[oai(path = "/v1/features/:feature", method = "put", operation_id = "set_feature")]
    async fn set_feature(
        &self,
        caller: Authorised<Admin>,
        /// Marks repeats of this request, so that a late one undoes nothing.
        #[oai(name = "Idempotency-Key")]
        key: OptionalIdempotencyKey,
        /// The feature.
        feature: Path<FeatureKey>,
        body: Json<NewFeature>,
    ) -> Result<Changed<Feature>, Failure<Writing>> {
        let print = fingerprint("PUT /v1/features/{feature}", &[feature.0.as_str()], &body.sent);
        let feature = body.content.of(feature.0);
        let accepted = caller.submit(Command::SetFeature(feature.clone()), key.0, print).await?;
        Ok(Changed::new(&accepted, feature.into()))
    }

    /// Read a feature
    #[oai(path = "/v1/features/:feature", method = "get", operation_id = "read_feature")]
    async fn feature(
        &self,
        caller: Authorised<Read>,
        /// The feature.
        feature: Path<FeatureKey>,
    ) -> Result<Found<Feature>, Failure<Reading>> {
        Ok(Found(caller.service.feature(&caller.caller, &feature.0).await?.into()))
    }

    /// List features
    #[oai(path = "/v1/features", method = "get", operation_id = "list_features")]
    async fn features(
        &self,
        caller: Authorised<Read>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<FeatureList>, Failure<Reading>> {
        let after: Option<FeatureKey> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let limit = limit.0.unwrap_or_default().into();
        let (features, next) = caller.service.features(&caller.caller, after.as_ref(), limit).await?;
        Ok(Found(FeatureList {
            items: features.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(next.map(|feature| Cursor::of(&feature))),
        }))
    }

    /// Set a price
    ///
    /// What buying one of a Stripe price grants: makes it or replaces all of it. What was bought before stays as it is.
    #[oai(path = "/v1/prices/:price", method = "put", operation_id = "set_price")]
    async fn set_price(
        &self,
        caller: Authorised<Admin>,
        /// Marks repeats of this request, so that a late one undoes nothing.
        #[oai(name = "Idempotency-Key")]
        key: OptionalIdempotencyKey,
        /// The price.
        price: Path<PriceId>,
        body: Json<NewPrice>,
    ) -> Result<Changed<Price>, Failure<Writing>> {
        let print = fingerprint("PUT /v1/prices/{price}", &[price.0.as_str()], &body.sent);
        let price = body.content.of(price.0);
        let accepted = caller.submit(Command::SetPrice(price.clone()), key.0, print).await?;
        Ok(Changed::new(&accepted, price.into()))
    }

    /// Read a price
    #[oai(path = "/v1/prices/:price", method = "get", operation_id = "read_price")]
    async fn price(
        &self,
        caller: Authorised<Read>,
        /// The price.
        price: Path<PriceId>,
    ) -> Result<Found<Price>, Failure<Reading>> {
        Ok(Found(caller.service.price(&caller.caller, &price.0).await?.into()))
    }

    /// List prices
    #[oai(path = "/v1/prices", method = "get", operation_id = "list_prices")]
    async fn prices(
        &self,
        caller: Authorised<Read>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<PriceList>, Failure<Reading>> {
        let after: Option<PriceId> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let limit = limit.0.unwrap_or_default().into();
        let (prices, next) = caller.service.prices(&caller.caller, after.as_ref(), limit).await?;
        Ok(Found(PriceList {
            items: prices.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(next.map(|price| Cursor::of(&price))),
        }))
    }
}
