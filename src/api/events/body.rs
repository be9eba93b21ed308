//! An event's body in answers: an object whose shape is that of its type and version.

use std::{borrow::Cow, iter};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::Serialize;
use serde_json::Value;

use crate::domain::EventBody;

/// What happened. Written as its type asks, and never read: nobody sends events.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Body(pub EventBody);

impl Type for Body {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "any".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::ANY))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(iter::once(self))
    }
}

impl ParseFromJSON for Body {
    fn parse_from_json(_: Option<Value>) -> ParseResult<Self> {
        Err(ParseError::custom("events are not read"))
    }
}

impl ToJSON for Body {
    fn to_json(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }
}
