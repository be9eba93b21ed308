//! The event stream: pages of JSON, or all of it as NDJSON, in order and complete up to the head.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use poem::{Body, FromRequest, IntoResponse, Request, RequestBody, Response, http::header};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{Any, ToJSON, Type},
};
use serde_json::{Map, Value};

use super::{
    answers::Found,
    auth::{Audit, Authorised},
    error::{ApiError, Failure, Reading},
    params::Query,
    payload::Json,
    tags::Tag,
    wire::{Limit, Whole},
};
use crate::{
    domain::{
        canonical::hex,
        ids::{AccountId, Position, Unit},
        time::Timestamp,
    },
    service::{Caller, Service, ServiceError, StoredEvent, leaf_bytes},
};

/// The media type of one event per line.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// How many events are read at once for a stream.
const STREAM_PAGE: i64 = 500;

/// One immutable fact. Amounts are in the smallest part of the unit.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Event {
    /// Its place in the ledger: 1, 2, 3 … without gaps.
    pub position: i64,
    /// The position of the first event of the command that it belongs to.
    pub command: i64,
    /// What happened, e.g. `credits.spent`.
    #[oai(rename = "type")]
    pub event_type: String,
    /// The version of the shape of `body`.
    pub version: i32,
    /// Whom it concerns, by the account's present name.
    pub account_id: Option<AccountId>,
    /// Whom it concerns, by the account's number: the position of its `account.opened`.
    pub account_number: Option<i64>,
    /// The unit that it concerns.
    pub unit: Option<Unit>,
    /// The change of available minus debt.
    pub amount: i64,
    /// Available minus debt, after it.
    pub balance_after: Option<i64>,
    /// What is set aside in holds, after it.
    pub held_after: Option<i64>,
    /// What is set aside for disputes, after it.
    pub disputed_after: Option<i64>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When it took effect, if that was earlier.
    pub effective_at: Option<Timestamp>,
    /// Who caused it.
    pub actor: String,
    /// The request that it came with.
    pub request_id: Option<String>,
    /// The first 16 bytes of SHA-256 over the namespace, a colon and the idempotency key, in hexadecimal digits; on a
    /// command's first event.
    pub key_hash: Option<String>,
    /// Salted SHA-256 of the erasable text beside it, in hexadecimal digits.
    pub note_hash: Option<String>,
    /// What happened, in the shape of its type and version.
    pub body: Any<Map<String, Value>>,
}

impl TryFrom<StoredEvent> for Event {
    type Error = ApiError;

    fn try_from(stored: StoredEvent) -> Result<Self, ApiError> {
        let event = stored.event;
        let body = event.body.to_json().and_then(|body| serde_json::from_str(&body));
        Ok(Self {
            position: event.position.0,
            command: event.command.0,
            event_type: event.body.type_name().to_owned(),
            version: event.body.version().into(),
            account_id: stored.account,
            account_number: event.account.map(|number| number.0),
            unit: event.unit,
            amount: event.amount,
            balance_after: event.balance.map(|balance| balance.net),
            held_after: event.balance.map(|balance| balance.held),
            disputed_after: event.balance.map(|balance| balance.disputed),
            recorded_at: event.recorded_at,
            effective_at: event.effective_at,
            actor: event.actor.to_string(),
            request_id: stored.request_id.map(|request_id| request_id.to_string()),
            key_hash: event.key.map(|key| hex(&key.hash())),
            note_hash: event.note_hash.map(|hash| hex(&hash)),
            body: Any(body.map_err(|_| ApiError::internal())?),
        })
    }
}

/// A page of events.
#[derive(Clone, Debug, Object)]
pub struct EventList {
    /// The events, in order. The next page begins after the last one's position.
    pub events: Vec<Event>,
    /// The position of the ledger's last event.
    pub head: i64,
}

/// The event stream in the form that was asked for.
pub enum Events {
    /// A page.
    Page(Found<EventList>),
    /// One event per line.
    Lines(Body),
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        match self {
            Self::Page(page) => page.into_response(),
            Self::Lines(body) => Response::builder().content_type(NDJSON).body(body),
        }
    }
}

impl ApiResponse for Events {
    fn meta() -> MetaResponses {
        let page =
            MetaMediaType { content_type: Json::<EventList>::CONTENT_TYPE, schema: EventList::schema_ref() };
        let lines = MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some("One event per line, as in `events` of the page."),
            ..MetaSchema::new("string")
        }));
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The events.",
                status: Some(200),
                status_range: None,
                content: vec![page, MetaMediaType { content_type: NDJSON, schema: lines }],
                headers: Vec::new(),
            }],
        }
    }

    fn register(registry: &mut Registry) {
        EventList::register(registry);
    }
}

/// Whether the client asked for one event per line.
pub struct WantsLines(bool);

impl<'a> FromRequest<'a> for WantsLines {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let accept = request.header(header::ACCEPT).unwrap_or_default();
        Ok(Self(accept.split(',').any(|part| part.split(';').next().unwrap_or_default().trim() == NDJSON)))
    }
}

/// The resource.
pub struct EventStream;

#[OpenApi(tag = "Tag::Events")]
impl EventStream {
    /// Read events
    ///
    /// In order, after a position. With `Accept: application/x-ndjson` one event per line, without `limit` up to the head
    /// at the time of the request; a stream that ends early was cut off and can be taken up after the last whole line.
    #[oai(path = "/v1/events", method = "get", operation_id = "list_events")]
    async fn list(
        &self,
        caller: Authorised<Audit>,
        /// Only events after this position; all if absent.
        after: Query<Whole>,
        /// How many at most; in a page 50 if absent.
        limit: Query<Limit>,
        wants_lines: WantsLines,
    ) -> Result<Events, Failure<Reading>> {
        let after = Position(after.0.map_or(0, Whole::get));
        if wants_lines.0 {
            let lines = lines(caller.service, caller.caller, after, limit.0.map(Into::into), line).await?;
            return Ok(Events::Lines(lines));
        }
        let page = caller.service.events(&caller.caller, after, limit.0.unwrap_or_default().into()).await?;
        let events = page.events.into_iter().map(Event::try_from).collect::<Result<_, _>>()?;
        Ok(Events::Page(Found(EventList { events, head: page.head.0 })))
    }
}

/// How far a stream has come.
struct Progress {
    service: Arc<Service>,
    caller: Arc<Caller>,
    after: Position,
    until: Position,
    left: Option<i64>,
}

/// The events after a position, read page by page, each as one line. The first page is read before the answer begins, so
/// that whatever keeps it from being read is told by a status.
async fn lines(
    service: Arc<Service>,
    caller: Arc<Caller>,
    after: Position,
    left: Option<i64>,
    line: Line,
) -> Result<Body, ServiceError> {
    let who = Arc::clone(&caller);
    let mut progress = Progress { service, caller, after, until: Position(i64::MAX), left };
    let first = progress.read().await?;
    let rest = stream::try_unfold(progress, |mut progress| async move {
        let events = progress.read().await?;
        Ok((!events.is_empty()).then_some((events, progress)))
    });
    let pages = stream::once(async { Ok(first) }).chain(rest);
    let pages = pages.map_err(|error: ServiceError| std::io::Error::other(error.to_string())).and_then(
        move |events| {
            let lines: Result<Vec<Vec<u8>>, ApiError> =
                events.into_iter().map(|event| line(&who, event)).collect();
            std::future::ready(
                lines.map(|lines| lines.concat()).map_err(|error| std::io::Error::other(error.to_string())),
            )
        },
    );
    Ok(Body::from_bytes_stream(pages.boxed()))
}

/// How an event is written as a line.
type Line = fn(&Caller, StoredEvent) -> Result<Vec<u8>, ApiError>;

fn line(_: &Caller, event: StoredEvent) -> Result<Vec<u8>, ApiError> {
    Ok((Event::try_from(event)?.to_json_string() + "\n").into_bytes())
}

/// The sealed bytes of the events after a position, each as one line: they hold no line breaks.
///
/// # Errors
/// Whatever keeps the first of them from being read.
pub(super) async fn canonical_lines(
    service: Arc<Service>,
    caller: Arc<Caller>,
    after: Position,
    left: Option<i64>,
) -> Result<Body, ServiceError> {
    let line: Line = |caller, event| {
        let mut bytes = leaf_bytes(caller, &event)?;
        bytes.push(b'\n');
        Ok(bytes)
    };
    lines(service, caller, after, left, line).await
}

impl Progress {
    /// The next events; none at the end. The end is where the ledger ended when the first were read.
    async fn read(&mut self) -> Result<Vec<StoredEvent>, ServiceError> {
        let limit = self.left.map_or(STREAM_PAGE, |left| left.min(STREAM_PAGE));
        if limit == 0 || self.after >= self.until {
            return Ok(Vec::new());
        }
        let page = self.service.events(&self.caller, self.after, limit).await?;
        self.until = self.until.min(page.head);
        let events: Vec<StoredEvent> =
            page.events.into_iter().filter(|stored| stored.event.position <= self.until).collect();
        self.after = events.last().map_or(self.until, |stored| stored.event.position);
        self.left = self.left.map(|left| left - events.len() as i64);
        Ok(events)
    }
}
