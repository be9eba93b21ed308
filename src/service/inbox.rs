//! Stripe's webhooks as the operator sees them: list, show, replay.

use super::{Caller, InboxCursor, InboxEntry, InboxStatus, NotFound, Service, ServiceError};
use crate::{
    domain::ids::StripeId,
    store::{
        inbox::{self, Replay},
        reads::ReadError,
    },
};

/// Which entries a page holds.
#[derive(Clone, Debug, Default)]
pub struct InboxQuery {
    /// Only those of this status.
    pub status: Option<InboxStatus>,
    /// Only those after this place.
    pub after: Option<InboxCursor>,
    /// How many at most.
    pub limit: i64,
}

/// A page of entries.
pub struct InboxPage {
    /// The entries, newest first.
    pub entries: Vec<InboxEntry>,
    /// The place after which the next page begins, if there is one.
    pub next: Option<InboxCursor>,
}

impl Service {
    /// A page of the inbox, newest first.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn inbox(&self, caller: &Caller, query: InboxQuery) -> Result<InboxPage, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let InboxQuery { status, after, limit } = query;
        let entries = inbox::list_inbox(&client, caller.ledger, status, after.as_ref(), limit + 1).await;
        let mut entries = entries.map_err(ReadError::from)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        let place = |entry: &InboxEntry| InboxCursor {
            received_at: entry.received_at,
            event_id: entry.event_id.clone(),
        };
        let next = entries.last().filter(|_| has_more).map(place);
        Ok(InboxPage { entries, next })
    }

    /// One entry, with its body as far as that is still kept.
    ///
    /// # Errors
    /// [`NotFound::InboxEvent`], and whatever keeps a read from succeeding.
    pub async fn inbox_event(
        &self,
        caller: &Caller,
        event: &StripeId,
    ) -> Result<(InboxEntry, Option<Vec<u8>>), ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let found = inbox::find_webhook(&client, caller.ledger, event.as_str()).await;
        found.map_err(ReadError::from)?.ok_or(ServiceError::NotFound(NotFound::InboxEvent))
    }

    /// Has an entry taken up again from the start.
    ///
    /// # Errors
    /// [`NotFound::InboxEvent`]; [`ServiceError::BodyGone`] if its body is no longer kept.
    pub async fn replay_inbox_event(&self, caller: &Caller, event: &StripeId) -> Result<(), ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let replayed = inbox::replay_webhook(&client, caller.ledger, event.as_str()).await;
        match replayed.map_err(ReadError::from)? {
            Replay::Accepted => Ok(()),
            Replay::NotFound => Err(ServiceError::NotFound(NotFound::InboxEvent)),
            Replay::BodyGone => Err(ServiceError::BodyGone),
        }
    }
}
