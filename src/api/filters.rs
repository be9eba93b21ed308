//! What lists are narrowed down by: types and ranges of time.

use std::borrow::Cow;

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    error::ApiError,
    params::{Parameter, Query},
    wire::written,
};
use crate::domain::{
    EventBody,
    effects::Effect,
    ids::InvalidName,
    time::{TimeRange, Timestamp},
};

/// How many values one parameter may have.
const MOST_VALUES: usize = 20;
/// How much of a value is told back to whoever sent it.
const MOST_TOLD: usize = 100;

/// A parameter in the query that has one value or several, with commas between; it may always be absent.
pub struct Several<T>(pub Vec<T>);

impl<T: Parameter + PartialEq> Several<T> {
    fn parse(name: &str, text: &str) -> Result<Self, ApiError> {
        let mut values = Vec::new();
        for part in text.split(',') {
            let value = T::parse(part).map_err(|invalid| {
                let told: String = part.chars().take(MOST_TOLD).collect();
                ApiError::invalid(name, format!("{invalid}, or several with commas between; `{told}` is not"))
            })?;
            if !values.contains(&value) {
                values.push(value);
            }
        }
        if values.len() > MOST_VALUES {
            return Err(ApiError::invalid(name, format!("must be {MOST_VALUES} values at most")));
        }
        Ok(Self(values))
    }
}

impl<'a, T: Parameter + PartialEq> ApiExtractor<'a> for Several<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = T;
    type ParamRawType = T::RawValueType;

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(T::schema_ref())),
            min_items: Some(1),
            max_items: Some(MOST_VALUES),
            ..MetaSchema::new("array")
        })))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let name = options.name;
        let options = ExtractParamOptions { name, ..ExtractParamOptions::default() };
        let Query(text) = Query::<Listed>::from_request(request, body, options).await?;
        Ok(text.map_or(Ok(Self(Vec::new())), |text| Self::parse(name, &text.0))?)
    }
}

/// The text of several values.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Listed(String);

written!(Listed, MetaSchema::new("string"));

impl Parameter for Listed {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        Ok(Self(text.to_owned()))
    }
}

/// The range between two parameters, `<moment>_from` and `<moment>_until`.
///
/// # Errors
/// One that names the second, if it is before the first.
pub fn time_range(
    moment: &str,
    from: Query<Timestamp>,
    until: Query<Timestamp>,
) -> Result<TimeRange, ApiError> {
    let range = TimeRange { from: from.0, until: until.0 };
    match range {
        TimeRange { from: Some(from), until: Some(until) } if until < from => {
            Err(ApiError::invalid(format!("{moment}_until"), format!("is before `{moment}_from`")))
        }
        range => Ok(range),
    }
}

fn one_of(names: impl Iterator<Item = &'static str>) -> MetaSchema {
    MetaSchema { enum_items: names.map(Value::from).collect(), ..MetaSchema::new("string") }
}

/// A type of event that this version knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct EventType(pub &'static str);

written!(EventType, one_of(EventBody::TYPES.iter().map(|(name, _)| *name)));

impl Parameter for EventType {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let found = EventBody::TYPES.iter().find(|(name, _)| *name == text);
        found
            .map(|(name, _)| Self(name))
            .ok_or(InvalidName { expected: "must be a type of event, e.g. credits.spent" })
    }
}

/// The names of types, as the service takes them.
pub fn names(types: Several<EventType>) -> Vec<&'static str> {
    types.0.into_iter().map(|event_type| event_type.0).collect()
}

/// A kind of what is done outside of the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct EffectKind(pub &'static str);

written!(EffectKind, one_of(Effect::KINDS.into_iter()));

impl Parameter for EffectKind {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let found = Effect::KINDS.into_iter().find(|kind| *kind == text);
        found.map(Self).ok_or(InvalidName { expected: "must be a kind of effect, e.g. create_refund" })
    }
}

/// A type of Stripe's events. Stripe has new ones all the time, and the inbox takes any: what is none of them cannot be told
/// from one that has not come yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct StripeEventType(pub String);

impl StripeEventType {
    const LONGEST: usize = 128;
}

written!(
    StripeEventType,
    MetaSchema {
        pattern: Some("^[A-Za-z0-9_.]+$".to_owned()),
        min_length: Some(1),
        max_length: Some(Self::LONGEST),
        example: Some("charge.refunded".into()),
        ..MetaSchema::new("string")
    }
);

impl Parameter for StripeEventType {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        let is_plausible = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(is_plain);
        let expected = "must be a type of Stripe's events, e.g. charge.refunded";
        is_plausible.then(|| Self(text.to_owned())).ok_or(InvalidName { expected })
    }
}
