//! An event's body in answers: an object whose shape is that of its type and version.

use std::borrow::Cow;

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::Serialize;
use serde_json::Value;

use crate::{api::wire::written, domain::EventBody};

/// What happened, written straight from the event.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct BodyOfEvent(pub EventBody);

written!(BodyOfEvent, MetaSchema::ANY);

impl ParseFromJSON for BodyOfEvent {
    fn parse_from_json(_: Option<Value>) -> ParseResult<Self> {
        Err(ParseError::custom("nobody sends events"))
    }
}
