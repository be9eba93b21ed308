//! Stripe's events are taken in: those that no webhook has brought are put into the inbox.
//!
//! Stripe lists events newest first and keeps them for 30 days; those of one second are in no certain order, and one may
//! show up a little late. So they are read by windows of time, the oldest first, each to its end before the cursor moves,
//! and what was read last is read again.
//!
//! Invariants:
//! - the cursor moves over nothing that was not put into the inbox before;
//! - no more than a page is held at a time;
//! - what Stripe no longer has is told, and the cursor goes on.

use metrics::counter;

use super::{
    Stopped,
    trouble::{Trouble, patiently},
    turn::Turn,
};
use crate::{
    domain::time::{Span, Timestamp},
    store::{
        inbox::{self, NewEvent},
        reconciliation::{
            findings::{Details, Difference, FindingKind},
            runs::{Run, RunCounts, RunKind},
            turn::{self, Moved},
        },
    },
    stripe::{
        self, StripeObject,
        client::{EventQuery, StripeClient},
    },
    telemetry::metrics::RECONCILIATION_EVENTS,
};

/// How long Stripe keeps events.
const KEPT: Span = Span::days(30);
/// How much time is read at once.
const WINDOW: Span = Span::seconds(6 * 3600);
/// By how much Stripe's clock may be behind ours, and an event late in Stripe's list: what is read again each time.
const OVERLAP: Span = Span::seconds(600);

impl Turn<'_> {
    /// Reads Stripe's events to their end.
    pub(super) async fn take_in_events(&self, run: &Run, counts: &mut RunCounts) -> Result<(), Trouble> {
        let client = self.reconciler.clients.of(self.id()).await?.client;
        let standing = self.standing().await?;
        let kept_since = before(standing.now, KEPT);
        if standing.events_until < kept_since && standing.events_read_at.is_some() {
            self.tell_missed(standing.events_until, kept_since, counts).await?;
        }
        let mut since = before(standing.events_until, OVERLAP).max(kept_since);
        let first = since;
        loop {
            let until = since.plus(WINDOW);
            let is_last = until >= standing.now;
            let window = EventQuery {
                since: Some(since),
                until: (!is_last).then_some(until),
                ..EventQuery::default()
            };
            let newest = self.take_in_window(&client, window, run, counts).await?;
            let moved = if is_last {
                let read = newest.unwrap_or(since).max(before(standing.now, OVERLAP));
                Moved::EventsToTheEnd(read, self.reconciler.every)
            } else {
                Moved::Events(until)
            };
            let connection = self.connection().await?;
            if !turn::advance(&connection, self.id(), self.fence, moved).await? {
                return Err(Stopped::LeaseLost.into());
            }
            drop(connection);
            if is_last {
                break;
            }
            if run.kind == RunKind::Events {
                counts.permille = part(first, until, standing.now);
            }
            since = until;
        }
        Ok(self.tell_no_trouble().await?)
    }

    /// Reads a window to its end; answers the moment of the newest event in it.
    async fn take_in_window(
        &self,
        client: &StripeClient,
        window: EventQuery<'_>,
        run: &Run,
        counts: &mut RunCounts,
    ) -> Result<Option<Timestamp>, Trouble> {
        let (mut newest, mut after) = (None, None);
        loop {
            let query = EventQuery { older_than: after.as_ref(), ..window };
            let page = patiently(|| client.list_events(&query)).await?;
            newest = newest.max(page.objects.iter().filter_map(created).max());
            let taken_in = self.put_into_inbox(&page.objects).await?;
            counts.events += i64::try_from(page.objects.len()).unwrap_or(i64::MAX);
            counts.events_taken_in += taken_in;
            self.tell_progress(run, counts).await?;
            after = page.next();
            if after.is_none() {
                return Ok(newest);
            }
        }
    }

    async fn put_into_inbox(&self, events: &[StripeObject]) -> Result<i64, Stopped> {
        let events: Vec<NewEvent> = events.iter().filter_map(new_event).collect();
        let inserted = inbox::insert_missing(&*self.connection().await?, self.id(), &events).await?;
        if inserted > 0 {
            counter!(RECONCILIATION_EVENTS).increment(inserted);
            let (ledger, events) = (self.id(), inserted);
            tracing::info!(%ledger, events, "events of Stripe's that no webhook has brought were taken in");
            // If nobody listens, the inbox finds them by itself.
            let _ = self.reconciler.bell.try_send(self.id());
        }
        Ok(i64::try_from(inserted).unwrap_or(i64::MAX))
    }

    async fn tell_missed(
        &self,
        since: Timestamp,
        until: Timestamp,
        counts: &mut RunCounts,
    ) -> Result<(), Stopped> {
        let difference = Difference {
            kind: FindingKind::EventsMissed,
            object: since.to_string(),
            details: Details { since: Some(since), until: Some(until), ..Details::default() },
            reason: None,
        };
        self.record(&difference, counts).await?;
        Ok(())
    }
}

/// An event as the inbox keeps it, if the ledger may learn something from it.
fn new_event(event: &StripeObject) -> Option<NewEvent> {
    let kind = event.json().get("type")?.as_str().filter(|kind| stripe::is_used(kind))?;
    let (event_id, kind) = (event.id().to_string(), kind.to_owned());
    Some(NewEvent { event_id, kind, body: event.json().to_string().into_bytes() })
}

fn created(event: &StripeObject) -> Option<Timestamp> {
    event.json().get("created")?.as_i64().and_then(Timestamp::from_unix_seconds)
}

pub(super) fn before(moment: Timestamp, span: Span) -> Timestamp {
    moment.plus(Span::of_microseconds(-span.microseconds()))
}

/// Which part of the way from `first` to `last` is done, in thousandths.
fn part(first: Timestamp, done: Timestamp, last: Timestamp) -> i64 {
    let all = last.since(first).whole_seconds().max(1);
    (done.since(first).whole_seconds().saturating_mul(1_000) / all).min(1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_events_that_may_tell_something_are_put_into_the_inbox() {
        let event = |kind: &str| {
            let json = json!({"id": "evt_1", "object": "event", "type": kind, "created": 7});
            StripeObject::read("event", json).expect("an event")
        };
        let taken = new_event(&event("refund.created")).expect("an event of ours");
        assert_eq!((taken.event_id.as_str(), taken.kind.as_str()), ("evt_1", "refund.created"));
        assert_eq!(stripe::Identity::of(&taken.body).expect("an event").id.as_str(), "evt_1");
        assert_eq!(new_event(&event("payment_intent.created")), None);
        assert_eq!(created(&event("refund.created")), Timestamp::from_unix_seconds(7));
    }

    #[test]
    fn a_way_is_done_in_parts() {
        let at = |seconds| Timestamp::from_unix_seconds(seconds).expect("a moment");
        assert_eq!(part(at(100), at(150), at(200)), 500);
        assert_eq!(part(at(100), at(100), at(100)), 0);
        assert_eq!(part(at(100), at(500), at(200)), 1_000);
        assert_eq!(before(at(100), Span::seconds(600)), Timestamp::default());
    }
}
