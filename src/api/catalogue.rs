//! What features cost: set, read, list.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Changed, Found, Written},
    auth::{Admin, Authorised, Read},
    error::{Failure, Reading, Writing},
    idempotency::{OptionalIdempotencyKey, fingerprint},
    params::{Path, Query},
    payload::Json,
    tags::Tag,
    wire::{Cursor, Limit, Nullable},
};
use crate::domain::{
    Command,
    amount::Amount,
    catalogue,
    ids::{FeatureKey, Unit},
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
#[oai(skip_serializing_if_is_none)]
pub struct Feature {
    /// Its name in spends.
    pub feature: FeatureKey,
    /// The unit that it is paid in.
    pub unit: Unit,
    /// Credits for one of it.
    pub cost: i64,
    /// Whether it can be spent on.
    pub active: bool,
    /// In the answer to a write: the position of the command's last event; absent if nothing had to be changed, and elsewhere.
    pub position: Option<i64>,
}

impl From<catalogue::Feature> for Feature {
    fn from(feature: catalogue::Feature) -> Self {
        let catalogue::Feature { feature, unit, cost, active } = feature;
        Self { feature, unit, cost: cost.get(), active, position: None }
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

impl NewFeature {
    fn of(self, feature: FeatureKey) -> catalogue::Feature {
        let Self { unit, cost, active } = self;
        catalogue::Feature { feature, unit, cost, active: active.unwrap_or(true) }
    }
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
        let position = Written::of(&accepted).position();
        Ok(Changed::new(&accepted, Feature { position, ..feature.into() }))
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
}
