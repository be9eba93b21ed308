//! Answers to requests that succeeded.
//!
//! What a write answers is made of the command's own events and of the request: nothing else may go in, because a repeat
//! with the same key must be answered byte for byte the same, however much has happened since.

use poem::{IntoResponse, Response, http::HeaderValue};
use poem_openapi::{
    ApiResponse, Object,
    payload::Payload,
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};

use super::{error, error::ApiError, payload::Json};
use crate::{
    domain::{
        Event, EventBody,
        event::{BalanceAfter, Draw},
        ids::{AccountNumber, LotId, Unit},
        time::Timestamp,
    },
    service::{Accepted, PositionToken},
};

/// The header that marks the answer to a repeat.
const REPLAYED: &str = "Idempotent-Replayed";
/// The header with the position that a read may wait for.
const POSITION_TOKEN: &str = "X-Position-Token";

/// What an account has of one unit.
#[derive(Clone, PartialEq, Eq, Debug, Object)]
pub struct UnitBalance {
    /// The unit.
    pub unit: Unit,
    /// What usable lots have left; never negative.
    pub available: i64,
    /// Set aside in open holds.
    pub held: i64,
    /// Set aside for open disputes.
    pub disputed: i64,
    /// What is owed; above 0 only if nothing is available.
    pub debt: i64,
}

impl UnitBalance {
    /// The balance that an event left.
    pub fn of(unit: &Unit, after: &BalanceAfter) -> Self {
        Self {
            unit: unit.clone(),
            available: after.available(),
            held: after.held,
            disputed: after.disputed,
            debt: after.debt(),
        }
    }
}

/// An amount taken from one lot.
#[derive(Clone, PartialEq, Eq, Debug, Object)]
pub struct LotDraw {
    /// The lot.
    pub lot_id: LotId,
    /// How many credits: positive.
    pub amount: i64,
}

impl From<&Draw> for LotDraw {
    fn from(draw: &Draw) -> Self {
        Self { lot_id: draw.lot, amount: draw.amount }
    }
}

/// The events of one command.
pub struct Written<'a> {
    events: &'a [Event],
}

impl<'a> Written<'a> {
    /// The events that a write answered with.
    pub fn of(accepted: &'a Accepted) -> Self {
        Self { events: &accepted.events }
    }

    /// The first event of the kind that `pick` looks for.
    ///
    /// # Errors
    /// An internal one if there is none: the answer cannot be made of these events.
    pub fn find<T>(&self, pick: impl Fn(&'a EventBody) -> Option<T>) -> Result<(&'a Event, T), ApiError> {
        let found = self.events.iter().find_map(|event| Some((event, pick(&event.body)?)));
        found.ok_or_else(|| {
            let types: Vec<&str> = self.events.iter().map(|event| event.body.type_name()).collect();
            tracing::error!(?types, "the events of a command are not those that its answer is made of");
            ApiError::internal()
        })
    }

    /// The balance of the unit after the whole command.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn balance(&self, unit: &Unit) -> Result<UnitBalance, ApiError> {
        self.last_balance(unit, |_| true)
    }

    /// What one of the accounts that the command concerns had of the unit after all of it.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn balance_of(&self, account: AccountNumber, unit: &Unit) -> Result<UnitBalance, ApiError> {
        self.last_balance(unit, |event| event.account == Some(account))
    }

    fn last_balance(&self, unit: &Unit, of: impl Fn(&Event) -> bool) -> Result<UnitBalance, ApiError> {
        let mut events =
            self.events.iter().rev().filter(|event| event.unit.as_ref() == Some(unit) && of(event));
        let after = events.find_map(|event| event.balance.as_ref());
        after.map(|after| UnitBalance::of(unit, after)).ok_or_else(ApiError::internal)
    }

    /// The position of the last event; nothing if nothing had to be changed.
    pub fn position(&self) -> Option<i64> {
        self.events.last().map(|event| event.position.0)
    }

    /// The position of the last event, and when it was recorded; nothing if nothing had to be changed.
    pub fn end(&self) -> Option<(i64, Timestamp)> {
        self.events.last().map(|event| (event.position.0, event.recorded_at))
    }
}

/// The unit that an event concerns.
///
/// # Errors
/// An internal one if it concerns none.
pub fn unit_of(event: &Event) -> Result<&Unit, ApiError> {
    event.unit.as_ref().ok_or_else(|| {
        tracing::error!(position = %event.position, "an event that moves credits names no unit");
        ApiError::internal()
    })
}

/// What stands around the body of a write's answer.
struct Envelope {
    replayed: bool,
    token: PositionToken,
}

impl Envelope {
    fn of(accepted: &Accepted) -> Self {
        Self { replayed: accepted.replayed, token: PositionToken::of(accepted) }
    }

    fn respond(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Ok(token) = self.token.to_string().parse() {
            headers.insert(POSITION_TOKEN, token);
        }
        response
    }
}

/// Made by a request: 201.
pub struct Created<T> {
    body: T,
    envelope: Envelope,
}

/// Made by a request and not finished yet: 202.
pub struct Begun<T> {
    body: T,
    envelope: Envelope,
}

/// One of two answers.
pub enum Either<A, B> {
    /// The one.
    One(A),
    /// The other.
    Other(B),
}

/// Changed by a request, or found to be so already: 200.
pub struct Changed<T> {
    body: T,
    envelope: Envelope,
}

/// Made by a request, and kept nowhere: 201.
pub struct Made<T>(pub T);

/// Read: 200.
pub struct Found<T>(pub T);

/// Done by several commands, or by none if there was nothing to do: 200.
pub struct Done<T> {
    body: T,
    token: Option<PositionToken>,
}

impl<T> Created<T> {
    /// The answer to a command that made something.
    pub fn new(accepted: &Accepted, body: T) -> Self {
        Self { body, envelope: Envelope::of(accepted) }
    }
}

impl<T> Begun<T> {
    /// The answer to a command whose work goes on.
    pub fn new(accepted: &Accepted, body: T) -> Self {
        Self { body, envelope: Envelope::of(accepted) }
    }
}

impl<T> Changed<T> {
    /// The answer to a command that changed something.
    pub fn new(accepted: &Accepted, body: T) -> Self {
        Self { body, envelope: Envelope::of(accepted) }
    }
}

impl<T> Done<T> {
    /// The answer to a request whose last command, if there was one, left the ledger at `token`.
    pub fn new(token: Option<PositionToken>, body: T) -> Self {
        Self { body, token }
    }
}

impl<T: ToJSON> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let response = Response::builder().status(error::CREATED).content_type(Json::<T>::CONTENT_TYPE);
        self.envelope.respond(response.body(self.body.to_json_string()))
    }
}

impl<T: ToJSON> IntoResponse for Begun<T> {
    fn into_response(self) -> Response {
        let response = Response::builder().status(error::BEGUN).content_type(Json::<T>::CONTENT_TYPE);
        self.envelope.respond(response.body(self.body.to_json_string()))
    }
}

impl<A: IntoResponse, B: IntoResponse> IntoResponse for Either<A, B> {
    fn into_response(self) -> Response {
        match self {
            Self::One(answer) => answer.into_response(),
            Self::Other(answer) => answer.into_response(),
        }
    }
}

impl<T: ToJSON> IntoResponse for Changed<T> {
    fn into_response(self) -> Response {
        self.envelope.respond(Found(self.body).into_response())
    }
}

impl<T: ToJSON> IntoResponse for Done<T> {
    fn into_response(self) -> Response {
        let response = Found(self.body).into_response();
        match self.token {
            Some(token) => Envelope { replayed: false, token }.respond(response),
            None => response,
        }
    }
}

impl<T: ToJSON> IntoResponse for Made<T> {
    fn into_response(self) -> Response {
        let response = Response::builder().status(error::CREATED).content_type(Json::<T>::CONTENT_TYPE);
        response.body(self.0.to_json_string())
    }
}

impl<T: ToJSON> IntoResponse for Found<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type(Json::<T>::CONTENT_TYPE).body(self.0.to_json_string())
    }
}

fn described<T: Type>(status: u16, description: &'static str, headers: Vec<MetaHeader>) -> MetaResponses {
    let content = MetaMediaType { content_type: <Json<T> as Payload>::CONTENT_TYPE, schema: T::schema_ref() };
    let response = MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![content],
        headers,
    };
    MetaResponses { responses: vec![response] }
}

fn header(name: &str, description: &str, required: bool, schema: MetaSchema) -> MetaHeader {
    MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(schema)),
    }
}

fn position_header(required: bool) -> MetaHeader {
    let description = match required {
        true => "Pass it as `min_position` to a read that must see what was written.",
        false => {
            "Pass it as `min_position` to a read that must see what was written; absent if nothing had to be."
        }
    };
    header(POSITION_TOKEN, description, required, MetaSchema::new("string"))
}

fn headers_of_writes() -> Vec<MetaHeader> {
    vec![
        position_header(true),
        header(
            REPLAYED,
            "`true` if this is the answer to an earlier request with the same Idempotency-Key.",
            false,
            MetaSchema { enum_items: vec!["true".into()], ..MetaSchema::new("string") },
        ),
    ]
}

impl<T: Type + ToJSON> ApiResponse for Created<T> {
    fn meta() -> MetaResponses {
        described::<T>(201, "Done.", headers_of_writes())
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + ToJSON> ApiResponse for Begun<T> {
    fn meta() -> MetaResponses {
        described::<T>(202, "Taken on; not finished yet.", headers_of_writes())
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<A: ApiResponse, B: ApiResponse> ApiResponse for Either<A, B> {
    fn meta() -> MetaResponses {
        let responses = A::meta().responses.into_iter().chain(B::meta().responses).collect();
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        A::register(registry);
        B::register(registry);
    }
}

impl<T: Type + ToJSON> ApiResponse for Changed<T> {
    fn meta() -> MetaResponses {
        described::<T>(200, "Done, or found to be so already.", headers_of_writes())
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + ToJSON> ApiResponse for Done<T> {
    fn meta() -> MetaResponses {
        described::<T>(200, "Done, or found to be so already.", vec![position_header(false)])
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + ToJSON> ApiResponse for Made<T> {
    fn meta() -> MetaResponses {
        described::<T>(201, "Done.", Vec::new())
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + ToJSON> ApiResponse for Found<T> {
    fn meta() -> MetaResponses {
        described::<T>(200, "Found.", Vec::new())
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
