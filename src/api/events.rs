//! The event stream: pages of JSON, all of it as NDJSON, or live, in order and without a gap.

mod body;
mod live;
mod schemas;

use std::{future::ready, io, ops, sync::Arc};

use futures_util::{StreamExt, stream};
use poem::{Body, FromRequest, IntoResponse, Request, RequestBody, Response, http::header, web::Accept};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use body::BodyOfEvent;
pub use schemas::schemas;

use super::{
    answers::Found,
    auth::{Audit, Authorised},
    error::{ApiError, Failure, Reading},
    export,
    filters::{self, EventType, Several},
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
    service::{Caller, EventQuery, PositionToken, Service, StoredEvent, leaf_bytes},
};

/// The media type of one event per line.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// How many events are read at once for a stream.
const STREAM_PAGE: i64 = 1_000;
/// How many pages of a stream are read and written while the client takes the one before them. Whoever is slow keeps so many
/// in memory, and no connection to the database.
const PAGES_AHEAD: usize = 2;

/// One immutable fact. Amounts are in the smallest part of the unit.
#[derive(Clone, Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Event {
    /// Its place in the ledger: 1, 2, 3 … without gaps.
    pub position: i64,
    /// The position of the first event of the command that it belongs to.
    pub command: i64,
    /// What happened, e.g. `credits.spent`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of the shape of `body`.
    pub version: i32,
    /// Whom it concerns, by the account's present name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// Whom it concerns, by the account's number: the position of its `account.opened`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_number: Option<i64>,
    /// The unit that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// The change of available minus debt.
    pub amount: i64,
    /// Available minus debt, after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance_after: Option<i64>,
    /// What is set aside in holds, after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_after: Option<i64>,
    /// What is set aside for disputes, after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disputed_after: Option<i64>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When it took effect, if that was earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<Timestamp>,
    /// Who caused it.
    pub actor: String,
    /// The request that it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The first 16 bytes of SHA-256 over the namespace, a colon and the idempotency key, in hexadecimal digits; on a
    /// command's first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<String>,
    /// Salted SHA-256 of the erasable text beside it, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note_hash: Option<String>,
    /// What happened, in the shape of its type and version.
    pub body: BodyOfEvent,
}

impl From<StoredEvent> for Event {
    fn from(stored: StoredEvent) -> Self {
        let event = stored.event;
        Self {
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
            body: BodyOfEvent(event.body),
        }
    }
}

impl Event {
    /// Writes it as it stands in a page, in one line. By serde: a page's tree of values would take most of an export's time.
    fn write(&self, text: &mut Vec<u8>) -> Result<(), ApiError> {
        serde_json::to_writer(text, self).map_err(|_| ApiError::internal())
    }
}

/// A page of events.
#[derive(Clone, Debug, Object)]
pub struct EventList {
    /// The events, in order.
    pub events: Vec<Event>,
    /// Where the next page begins: pass it on as `after`. Up to there nothing that was asked for is missing.
    pub next_after: i64,
    /// Whether there is more of what was asked for to look through already. A page of certain types may be empty and not be the
    /// last.
    pub has_more: bool,
    /// The position of the ledger's last event.
    pub head: i64,
}

/// The event stream in the form that was asked for.
pub enum Events {
    /// A page.
    Page(Found<EventList>),
    /// One event per line.
    Lines(Body),
    /// One after the other, as they happen.
    Live(Body),
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        match self {
            Self::Page(page) => page.into_response(),
            Self::Lines(body) => Response::builder().content_type(NDJSON).body(body),
            Self::Live(body) => Response::builder()
                .content_type(live::MEDIA_TYPE)
                .header(header::CACHE_CONTROL, "no-store")
                // nginx would collect them otherwise.
                .header("X-Accel-Buffering", "no")
                .body(body),
        }
    }
}

impl ApiResponse for Events {
    fn meta() -> MetaResponses {
        let page =
            MetaMediaType { content_type: Json::<EventList>::CONTENT_TYPE, schema: EventList::schema_ref() };
        let text = |content_type, description: &'static str| MetaMediaType {
            content_type,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
                description: Some(description),
                ..MetaSchema::new("string")
            })),
        };
        let lines = text(NDJSON, "One event per line, as in `events` of the page.");
        let live = text(
            live::MEDIA_TYPE,
            "Each event as `data`, as in `events` of the page, with an `id` to resume after it.",
        );
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The events.",
                status: Some(200),
                status_range: None,
                content: vec![page, lines, live],
                headers: Vec::new(),
            }],
        }
    }

    fn register(registry: &mut Registry) {
        EventList::register(registry);
    }
}

/// The form that the client asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Lines,
    Live,
}

impl<'a> FromRequest<'a> for Form {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        // What the client likes best comes first.
        let Accept(types) = Accept::from_request(request, body).await?;
        let is_refused = |quality: &str| quality.parse().is_ok_and(|quality: f32| quality <= 0.0);
        let wanted = types.iter().filter(|media_type| {
            !media_type.get_param("q").is_some_and(|quality| is_refused(quality.as_str()))
        });
        let form =
            wanted.map(|media_type| media_type.essence_str()).find_map(|media_type| match media_type {
                NDJSON => Some(Self::Lines),
                live::MEDIA_TYPE => Some(Self::Live),
                "application/json" | "application/*" | "*/*" => Some(Self::Page),
                _ => None,
            });
        Ok(form.unwrap_or(Self::Page))
    }
}

/// The last event that a client saw of a live stream before it was cut off, as the `Last-Event-ID` that browsers send.
struct LastSeen(Option<PositionToken>);

impl<'a> FromRequest<'a> for LastSeen {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let Some(id) = request.header("Last-Event-ID") else { return Ok(Self(None)) };
        let problem = "must be the `id` of an event of a live stream";
        let seen = PositionToken::parse(id).ok_or_else(|| ApiError::invalid("Last-Event-ID", problem))?;
        Ok(Self(Some(seen)))
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
    ///
    /// With `type` a page looks through 10,000 events at most, so it may hold few, or none, and not be the last: go on after
    /// `next_after` as long as `has_more` is true. One event per line all of them are looked through, and `limit` counts those
    /// that are told.
    ///
    /// Fields of an event that have no value are left out, `unit` and `balance_after` too: an event of no unit has none, here and
    /// in what is sealed of it.
    ///
    /// With `Accept: text/event-stream` as server-sent events: all after the position, then each as it happens. Each has an
    /// `id`; who sends the last one as `Last-Event-ID` goes on after it and misses nothing. If that history was lost, the
    /// answer is 409. The stream ends when the key is revoked or the process stops. It tells every event: what narrows a page
    /// down is refused.
    #[oai(path = "/v1/events", method = "get", operation_id = "list_events")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the interface")]
    async fn list(
        &self,
        caller: Authorised<Audit>,
        /// Only events after this position; all if absent.
        after: Query<Whole>,
        /// Only events up to this position, which the ledger must have reached; not of a live stream.
        until: Query<Whole>,
        /// Only events of this type, or of several with commas between; not of a live stream.
        #[oai(name = "type", explode = false)]
        types: Several<EventType>,
        /// Only events recorded then or later; not of a live stream.
        recorded_from: Query<Timestamp>,
        /// Only events recorded before; not of a live stream.
        recorded_until: Query<Timestamp>,
        /// How many at most; in a page 50 if absent; not of a live stream.
        limit: Query<Limit>,
        form: Form,
        last_seen: LastSeen,
    ) -> Result<Events, Failure<Reading>> {
        let after = Position(after.0.map_or(0, Whole::get));
        let until = until.0.map(|until| Position(until.get()));
        if until.is_some_and(|until| until < after) {
            return Err(ApiError::invalid("until", "is before `after`").into());
        }
        if form == Form::Live {
            for (name, is_given) in [
                ("until", until.is_some()),
                ("type", !types.0.is_empty()),
                ("recorded_from", recorded_from.0.is_some()),
                ("recorded_until", recorded_until.0.is_some()),
                ("limit", limit.0.is_some()),
            ] {
                if is_given {
                    return Err(
                        ApiError::invalid(name, "a live stream tells everything and has no end").into()
                    );
                }
            }
            return Ok(Events::Live(live::live(&caller.service, &caller.caller, after, last_seen.0).await?));
        }
        let recorded = filters::time_range("recorded", recorded_from, recorded_until)?;
        let (service, types) = (&caller.service, filters::names(types));
        let range = Range::new(after, until, limit.0.map(Into::into), types);
        let range = range.recorded(service.positions_recorded(&caller.caller, recorded).await?);
        if form == Form::Lines {
            return Ok(Events::Lines(lines(caller.service, caller.caller, range, line).await?));
        }
        let limit = limit.0.unwrap_or_default().into();
        let query = range.page(range.after, Position(i64::MAX), limit);
        let page = service.events(&caller.caller, &query).await?;
        range.check(page.head)?;
        let events = page.events.into_iter().map(Event::from).collect();
        let end = range.until.map_or(page.head, |until| until.min(page.head));
        let has_more = page.reached < end;
        Ok(Events::Page(Found(EventList { events, next_after: page.reached.0, has_more, head: page.head.0 })))
    }
}

/// Refuses a range whose beginning or end is not there yet: what is behind it must not pass for all that there is.
fn check_range(after: Position, until: Option<Position>, head: Position) -> Result<(), ApiError> {
    let beyond =
        |field| Err(ApiError::invalid(field, format!("is beyond the ledger's last position, {head}")));
    match until {
        _ if after > head => beyond("after"),
        Some(until) if until > head => beyond("until"),
        _ => Ok(()),
    }
}

/// Which events are asked for.
pub(super) struct Range {
    /// Those after this position.
    pub after: Position,
    /// Up to this one; to where the ledger ends, if absent.
    pub until: Option<Position>,
    /// So many at most.
    pub limit: Option<i64>,
    /// Of these types; of all if there are none.
    pub types: Vec<&'static str>,
    /// The positions as they were asked for, before moments narrowed them down.
    asked: (Position, Option<Position>),
}

impl Range {
    /// The events after a position and up to another.
    fn new(after: Position, until: Option<Position>, limit: Option<i64>, types: Vec<&'static str>) -> Self {
        Self { after, until, limit, types, asked: (after, until) }
    }

    /// As [`check_range`], of the positions as they were asked for.
    fn check(&self, head: Position) -> Result<(), ApiError> {
        let (after, until) = self.asked;
        check_range(after, until, head)
    }

    /// The part of it that is at these positions.
    fn recorded(self, positions: ops::Range<Position>) -> Self {
        let after = self.after.max(Position(positions.start.0 - 1));
        let last = Position(positions.end.0 - 1);
        let until = self.until.map_or(last, |until| until.min(last)).max(after);
        Self { after, until: Some(until).filter(|until| until.0 < i64::MAX - 1), ..self }
    }

    /// A page of what of it is after a position and up to `end`.
    fn page(&self, after: Position, end: Position, limit: i64) -> EventQuery {
        let until = Some(self.until.map_or(end, |until| until.min(end)));
        EventQuery { after, until, types: self.types.clone(), limit }
    }
}

/// Events written as lines.
struct Lines {
    text: Vec<u8>,
    /// How many there are.
    count: i64,
}

impl Lines {
    /// The lines of as many events as are `left` to be told, which become fewer by that.
    fn cut(mut self, left: &mut i64) -> Vec<u8> {
        if self.count > *left {
            let breaks = self.text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let end =
                usize::try_from(*left - 1).ok().and_then(|last| breaks.map(|(place, _)| place + 1).nth(last));
            self.text.truncate(end.unwrap_or_default());
        }
        *left -= self.count.min(*left);
        self.text
    }
}

/// The events of a range, page by page, each as one line. The first page is read before the answer begins, so that
/// whatever keeps it from being read is told by a status.
async fn lines(
    service: Arc<Service>,
    caller: Arc<Caller>,
    range: Range,
    line: Line,
) -> Result<Body, ApiError> {
    let left = range.limit.unwrap_or(i64::MAX);
    // Without types each position is a line.
    let most = if range.types.is_empty() { left } else { i64::MAX };
    let begin = range.after.0.saturating_add(STREAM_PAGE.min(most));
    let query = range.page(range.after, Position(begin), STREAM_PAGE);
    let (first, head) = page(&service, &caller, &query, line).await?;
    range.check(head)?;
    let end = range.until.unwrap_or(head).0.min(range.after.0.saturating_add(most));
    // Positions have no gaps: where each page begins is known before the one in front of it is read.
    let rest = (begin..end).step_by(STREAM_PAGE as usize).map(move |start| {
        let (service, caller) = (Arc::clone(&service), Arc::clone(&caller));
        let end = Position(end.min(start + STREAM_PAGE));
        let query = range.page(Position(start), end, STREAM_PAGE);
        tokio::spawn(async move {
            let read = page(&service, &caller, &query, line).await;
            let (lines, head) = read.map_err(|error| io::Error::other(error.to_string()))?;
            // Whoever got a part of a history that is gone must not take it for the whole of another one.
            if head < end { Err(io::Error::other("the ledger is shorter than it was")) } else { Ok(lines) }
        })
    });
    let rest = stream::iter(rest).buffered(PAGES_AHEAD);
    let rest = rest.map(|page| page.unwrap_or_else(|panic| Err(io::Error::other(panic))));
    let pages = stream::once(ready(Ok(first))).chain(rest);
    let told = |left: &mut i64, page: Result<Lines, _>| {
        ready((*left > 0).then(|| page.map(|lines| lines.cut(left))))
    };
    Ok(export::body(pages.scan(left, told)))
}

/// A page of events, written as lines; and where the ledger ends.
async fn page(
    service: &Service,
    caller: &Caller,
    query: &EventQuery,
    line: Line,
) -> Result<(Lines, Position), ApiError> {
    let page = service.events(caller, query).await?;
    let mut lines = Lines { text: Vec::new(), count: 0 };
    for event in page.events {
        line(caller, event, &mut lines.text)?;
        lines.text.push(b'\n');
        lines.count += 1;
    }
    Ok((lines, page.head))
}

/// How an event is written as a line, without the break behind it.
type Line = fn(&Caller, StoredEvent, &mut Vec<u8>) -> Result<(), ApiError>;

fn line(_: &Caller, event: StoredEvent, text: &mut Vec<u8>) -> Result<(), ApiError> {
    Event::from(event).write(text)
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
) -> Result<Body, ApiError> {
    let line: Line = |caller, event, text| {
        text.extend(leaf_bytes(caller, &event)?);
        Ok(())
    };
    let range = Range::new(after, None, left, Vec::new());
    lines(service, caller, range, line).await
}
