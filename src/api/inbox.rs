//! Stripe's webhooks as they arrived: list, show, replay.

use poem_openapi::{Enum, Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::{
    answers::Found,
    auth::{Authorised, Operate},
    error::{Failure, Reading, Writing},
    filters::{self, Several, StripeEventType},
    params::{Parameter, Path, Query},
    tags::Tag,
    wire::{Cursor, Limit, Nullable, same_variants},
};
use crate::{
    domain::{
        ids::{InvalidName, StripeId},
        time::Timestamp,
    },
    service::{InboxCursor, InboxEntry, InboxFilter, InboxQuery, InboxStatus as Status},
};

/// How far the work on a webhook has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum InboxStatus {
    /// Stored; waits for the worker.
    Received,
    /// The ledger has its facts.
    Processed,
    /// None of the ledger's business.
    Ignored,
    /// Could not be handed to the ledger; is tried again.
    Failed,
    /// Somebody has to look at it.
    Quarantined,
}

same_variants!(InboxStatus, Status { Received, Processed, Ignored, Failed, Quarantined });

impl Parameter for InboxStatus {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = "must be received, processed, ignored, failed or quarantined";
        Status::parse(text).map(Into::into).ok_or(InvalidName { expected })
    }
}

/// A webhook.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct InboxEvent {
    /// Stripe's id of the event.
    pub event_id: StripeId,
    /// Its type.
    #[oai(rename = "type")]
    pub event_type: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// How far the work on it has come.
    pub status: InboxStatus,
    /// Why it is ignored, quarantined or failed: a code, a colon and words.
    pub reason: Option<String>,
    /// How often it was taken up since it arrived or was last replayed.
    pub attempts: i32,
    /// When it is tried again, if it is.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
    /// Exactly what was signed; in answers about one event, as long as it is kept.
    pub body: Option<String>,
}

impl InboxEvent {
    fn of(entry: InboxEntry, body: Option<Vec<u8>>) -> Self {
        Self {
            event_id: entry.event_id,
            event_type: entry.kind,
            received_at: entry.received_at,
            status: entry.status.into(),
            reason: entry.reason,
            attempts: entry.attempts,
            next_attempt_at: entry.next_attempt_at,
            finished_at: entry.finished_at,
            body: body.map(|body| String::from_utf8_lossy(&body).into_owned()),
        }
    }
}

/// A page of webhooks.
#[derive(Clone, Debug, Object)]
pub struct InboxList {
    /// The webhooks, newest first, without their bodies.
    pub items: Vec<InboxEvent>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// A place in the list.
#[derive(Serialize, Deserialize)]
struct Place {
    received_at: Timestamp,
    event_id: StripeId,
}

/// The resource.
pub struct Inbox;

#[OpenApi(tag = "Tag::Inbox")]
impl Inbox {
    /// List webhooks
    ///
    /// Newest first. Of certain types a page may be short, or empty, and not be the last: `next_cursor` says.
    #[oai(path = "/v1/inbox", method = "get", operation_id = "list_inbox")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the interface")]
    async fn list(
        &self,
        caller: Authorised<Operate>,
        /// Only webhooks of this status.
        status: Query<InboxStatus>,
        /// Only webhooks of this type of Stripe's, or of several with commas between. Any can be asked for: which ones there
        /// are is Stripe's to say.
        #[oai(name = "type", explode = false)]
        types: Several<StripeEventType>,
        /// Only webhooks that arrived then or later.
        received_from: Query<Timestamp>,
        /// Only webhooks that arrived before.
        received_until: Query<Timestamp>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<InboxList>, Failure<Reading>> {
        let after: Option<Place> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let query = InboxQuery {
            filter: InboxFilter {
                status: status.0.map(Into::into),
                types: types.0.into_iter().map(|stripe_type| stripe_type.0).collect(),
                received: filters::time_range("received", received_from, received_until)?,
            },
            after: after.map(|Place { received_at, event_id }| InboxCursor { received_at, event_id }),
            limit: limit.0.unwrap_or_default().into(),
        };
        let page = caller.service.inbox(&caller.caller, query).await?;
        let next = page.next.map(|InboxCursor { received_at, event_id }| Place { received_at, event_id });
        Ok(Found(InboxList {
            items: page.entries.into_iter().map(|entry| InboxEvent::of(entry, None)).collect(),
            next_cursor: Nullable(next.map(|place| Cursor::of(&place))),
        }))
    }

    /// Read a webhook
    #[oai(path = "/v1/inbox/:event", method = "get", operation_id = "read_inbox_event")]
    async fn read(
        &self,
        caller: Authorised<Operate>,
        /// Stripe's id of the event.
        event: Path<StripeId>,
    ) -> Result<Found<InboxEvent>, Failure<Reading>> {
        let (entry, body) = caller.service.inbox_event(&caller.caller, &event.0).await?;
        Ok(Found(InboxEvent::of(entry, body)))
    }

    /// Replay a webhook
    ///
    /// Has it taken up again from the start, whatever became of it. Facts that the ledger has already change nothing. Nothing is
    /// written to the ledger before the answer, so it tells no `position`: `status` says when the facts are in.
    #[oai(path = "/v1/inbox/:event/replay", method = "post", operation_id = "replay_inbox_event")]
    async fn replay(
        &self,
        caller: Authorised<Operate>,
        /// Stripe's id of the event.
        event: Path<StripeId>,
    ) -> Result<Found<InboxEvent>, Failure<Writing>> {
        caller.service.replay_inbox_event(&caller.caller, &event.0).await?;
        let (entry, _) = caller.service.inbox_event(&caller.caller, &event.0).await?;
        Ok(Found(InboxEvent::of(entry, None)))
    }
}
