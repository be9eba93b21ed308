//! Stripe's webhooks as the operator sees them: list, show, replay.

use super::{Caller, InboxCursor, InboxEntry, InboxFilter, InboxPage, NotFound, Service, ServiceError};
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
    /// Only these.
    pub filter: InboxFilter,
    /// Only those after this place.
    pub after: Option<InboxCursor>,
    /// How many at most.
    pub limit: i64,
}

impl Service {
    /// A page of the inbox, newest first. Of certain types it may be short, or empty, and not be the last.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn inbox(&self, caller: &Caller, query: InboxQuery) -> Result<InboxPage, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let InboxQuery { filter, after, limit } = query;
        let page = inbox::list_inbox(&client, caller.ledger, &filter, after.as_ref(), limit).await;
        Ok(page.map_err(ReadError::from)?)
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
