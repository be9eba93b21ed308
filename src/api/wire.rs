//! Values as they stand in JSON, paths and queries: names and amounts of the domain with their schemas, and texts that
//! only the interface knows.
//!
//! A schema says what parsing accepts, so that a client that keeps to the specification is never refused for its form.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    error::ApiError,
    params::{Parameter, PathParameter},
};
use crate::{
    domain::{
        amount::Currency,
        day::Day,
        ids::{
            AccountId, CheckoutLinkId, EffectId, FeatureKey, FindingId, InvalidName, KeyId, LotId, OrderId,
            PriceId, PurchaseId, ReconciliationId, RefundRequestId, SpendId, StripeId, SubscriptionChangeId,
            TransferId, Unit,
        },
        settings::Scope,
        time::Timestamp,
    },
    service::PositionToken,
};

/// Conversions both ways between an enumeration of the interface and one from inside, with the same variants: whoever adds
/// one to either is told to decide on the other.
macro_rules! same_variants {
    ($ours:ident, $theirs:path { $($variant:ident),+ $(,)? }) => {
        impl From<$ours> for $theirs {
            fn from(value: $ours) -> Self {
                match value { $($ours::$variant => Self::$variant,)+ }
            }
        }

        impl From<$theirs> for $ours {
            fn from(value: $theirs) -> Self {
                match value { $(<$theirs>::$variant => Self::$variant,)+ }
            }
        }
    };
}
pub(in crate::api) use same_variants;

/// Makes a type that serde writes usable in the schemas of answers.
macro_rules! written {
    ($name:ident, $schema:expr) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;

            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                serde_json::to_value(self).ok()
            }
        }
    };
}
pub(in crate::api) use written;

/// Makes a type that serde reads and writes usable in schemas.
macro_rules! scalar {
    ($name:ident, $schema:expr) => {
        written!($name, $schema);

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
            }
        }
    };
}

mod numbers;
mod texts;

pub use numbers::{Days, GraceDays, Limit, Priority, Share, SignedAmount, TrialDays, Whole};
pub use texts::{Address, CauseCode, DisplayName, Email, Locale, Metadata, Reason, Reference};

fn text(pattern: &str, longest: usize, example: &str) -> MetaSchema {
    MetaSchema {
        pattern: Some(pattern.to_owned()),
        min_length: Some(1),
        max_length: Some(longest),
        example: Some(example.into()),
        ..MetaSchema::new("string")
    }
}

fn public_id(prefix: &str, random: &str) -> MetaSchema {
    MetaSchema {
        pattern: Some(format!("^{prefix}_[0-9a-f]{{32}}$")),
        example: Some(format!("{prefix}_000000000000000c00{random}").into()),
        ..MetaSchema::new("string")
    }
}

scalar!(AccountId, text("^[A-Za-z0-9._:@-]+$", 128, "user-1"));
scalar!(Unit, text("^[a-z][a-z0-9_]*$", 32, "credits"));
scalar!(FeatureKey, text("^[a-z][a-z0-9_.-]*$", 64, "resume_analysis"));
scalar!(PriceId, text("^[A-Za-z0-9._-]+$", 128, "price_demo_pro"));
scalar!(StripeId, text("^[A-Za-z0-9_-]+$", 255, "evt_1"));
scalar!(SubscriptionId, text("^[A-Za-z0-9_-]+$", 255, "sub_1"));
scalar!(Currency, text("^[A-Za-z]{3}$", 3, "eur"));
scalar!(Timestamp, MetaSchema::new_with_format("string", "date-time"));
scalar!(Day, MetaSchema::new_with_format("string", "date"));
scalar!(LotId, public_id("lot", "a1b2c3d4e5f607"));
scalar!(SpendId, public_id("spd", "a1b2c3d4e5f607"));
scalar!(TransferId, public_id("trf", "a1b2c3d4e5f607"));
scalar!(PurchaseId, public_id("pur", "a1b2c3d4e5f607"));
scalar!(OrderId, public_id("ord", "a1b2c3d4e5f607"));
scalar!(RefundRequestId, public_id("rfd", "a1b2c3d4e5f607"));
scalar!(SubscriptionChangeId, public_id("sch", "a1b2c3d4e5f607"));
scalar!(KeyId, public_id("key", "a1b2c3d4e5f607"));
scalar!(CheckoutLinkId, public_id("lnk", "a1b2c3d4e5f607"));
scalar!(EffectId, public_id("eff", "a1b2c3d4e5f607"));
scalar!(ReconciliationId, public_id("rcn", "a1b2c3d4e5f607"));
scalar!(FindingId, public_id("fnd", "a1b2c3d4e5f607"));
scalar!(
    Scope,
    MetaSchema {
        enum_items: Scope::ALL.iter().map(|scope| scope.as_str().into()).collect(),
        ..MetaSchema::new("string")
    }
);

/// Stripe's id of a subscription.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubscriptionId(pub StripeId);

macro_rules! named_in_paths {
    ($($type:ty = $name:literal, $parse:expr;)*) => {$(
        impl Parameter for $type {
            fn parse(text: &str) -> Result<Self, InvalidName> {
                let parse: fn(&str) -> Result<Self, InvalidName> = $parse;
                parse(text)
            }
        }

        impl PathParameter for $type {
            const NAME: &'static str = $name;
        }
    )*};
}

named_in_paths! {
    AccountId = "account", Self::parse;
    FeatureKey = "feature", Self::parse;
    PriceId = "price", Self::parse;
    StripeId = "event", Self::parse;
    SubscriptionId = "subscription", |text| StripeId::parse(text).map(Self);
    PurchaseId = "purchase", |text| Self::parse(text).ok_or(InvalidName { expected: "must be the id of a purchase, `pur_…`" });
    EffectId = "effect", |text| Self::parse(text).ok_or(InvalidName { expected: "must be the id of an effect, `eff_…`" });
    ReconciliationId = "run",
        |text| Self::parse(text).ok_or(InvalidName { expected: "must be the id of a run, `rcn_…`" });
    FindingId = "finding",
        |text| Self::parse(text).ok_or(InvalidName { expected: "must be the id of a finding, `fnd_…`" });
    OrderId = "order", |text| Self::parse(text).ok_or(InvalidName { expected: "must be the id of an order, `ord_…`" });
    CheckoutLinkId = "link",
        |text| Self::parse(text).ok_or(InvalidName { expected: "must be the id of a checkout link, `lnk_…`" });
    KeyId = "key", |text| Self::parse(text).ok_or(InvalidName { expected: "must be the id of an API key, `key_…`" });
}

impl Parameter for Timestamp {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
            .ok_or(InvalidName { expected: "must be an RFC 3339 time, e.g. 2030-01-01T00:00:00Z" })
    }
}

impl Parameter for Day {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text).ok_or(InvalidName { expected: "must be a day, e.g. 2026-01-31" })
    }
}

impl Parameter for bool {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        text.parse().map_err(|_| InvalidName { expected: "must be true or false" })
    }
}

impl Parameter for Currency {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text).ok_or(InvalidName { expected: "must be three letters of ISO 4217, e.g. eur" })
    }
}

impl Parameter for Unit {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl PathParameter for Whole {
    const NAME: &'static str = "position";
}

/// A part of the path of a tile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TilePart(pub String);

impl Parameter for TilePart {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_plausible = (1..=7).contains(&text.len());
        let expected = "must be a part of a tile's path, e.g. 0, entries, x001, 234 or 234.p";
        is_plausible.then(|| Self(text.to_owned())).ok_or(InvalidName { expected })
    }
}

impl PathParameter for TilePart {
    const NAME: &'static str = "tile";
}

scalar!(TilePart, text("^[a-z0-9.]+$", 7, "000"));

/// Where the next page of a list begins; clients pass it on as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

impl Cursor {
    /// Room for any place: the longest names an event of Stripe's by 255 characters, and a moment.
    const LONGEST: usize = 600;

    /// The cursor of the place after which the next page begins.
    pub fn of(place: &impl Serialize) -> Self {
        // What cannot be serialised would be a defect of the place's type; an empty text is refused when it comes back.
        Self(URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default()))
    }

    /// The place that the cursor stands for.
    ///
    /// # Errors
    /// One that names the parameter `cursor`, if it is not one of this list.
    pub fn place<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).ok();
        let place = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        place.ok_or_else(|| ApiError::invalid("cursor", "must be the `next_cursor` of the page before"))
    }
}

impl Parameter for Cursor {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_plausible = (1..=Self::LONGEST).contains(&text.len());
        let expected = "must be the `next_cursor` of the page before";
        is_plausible.then(|| Self(text.to_owned())).ok_or(InvalidName { expected })
    }
}

scalar!(Cursor, MetaSchema { max_length: Some(Cursor::LONGEST), ..MetaSchema::new("string") });

scalar!(PositionToken, MetaSchema { max_length: Some(100), ..MetaSchema::new("string") });

impl Parameter for PositionToken {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
            .ok_or(InvalidName { expected: "must be the `X-Position-Token` of an earlier answer" })
    }
}

/// A value that is always there and may be `null`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nullable<T>(pub Option<T>);

impl<T: Type> Type for Nullable<T> {
    const IS_REQUIRED: bool = true;

    type RawValueType = T::RawValueType;
    type RawElementValueType = T::RawElementValueType;

    fn name() -> Cow<'static, str> {
        format!("nullable_{}", T::name()).into()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref().merge(MetaSchema { nullable: true, ..MetaSchema::ANY })
    }

    fn register(registry: &mut poem_openapi::registry::Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        self.0.as_ref().and_then(Type::as_raw_value)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        match &self.0 {
            Some(value) => value.raw_element_iter(),
            None => Box::new(std::iter::empty()),
        }
    }
}

impl<T: ParseFromJSON> ParseFromJSON for Nullable<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Option::<T>::parse_from_json(value).map(Self).map_err(ParseError::propagate)
    }
}

impl<T: ToJSON> ToJSON for Nullable<T> {
    fn to_json(&self) -> Option<Value> {
        self.0.to_json()
    }
}
