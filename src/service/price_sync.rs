//! Prices as they are at Stripe, taken in: all of them, page by page.
//!
//! Invariants:
//! - no more is held than one page, what is known of the ledger's own prices, and a report of bounded length;
//! - each price is a command of its own: what was taken in before a failure stays, and doing it all again changes nothing
//!   more;
//! - a price that cannot be taken in is reported with the reason and keeps no other from being taken in.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::Value;

use super::{Caller, PositionToken, Service, ServiceError};
use crate::{
    domain::{
        Command, Rejection,
        catalogue::{Catalogue, Price},
        command::{Heard, SyncPrice},
        ids::{Actor, Position, PriceId, RequestId},
        listing::Listing,
        time::{Span, Timestamp},
    },
    store::{
        configuration::{Configuration, load_configuration},
        reads::ReadError,
    },
    stripe::{NoFact, PriceReport, client::StripeClient, extract_price},
    writer::{Outcome, Submission, system_clock},
};

/// How many prices a report names; the others are only counted.
const MOST_NAMED: usize = 1_000;

/// By how many seconds Stripe's clock may differ from ours, as when signatures are checked.
const CLOCKS_DIFFER_BY: i64 = 300;

/// What a sync did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PriceSync {
    /// How many prices the ledger did not know before.
    pub created: u64,
    /// How many are not what they were.
    pub changed: u64,
    /// How many are as they were known.
    pub unchanged: u64,
    /// How many are another product's.
    pub ignored: u64,
    /// How many cannot be taken in.
    pub refused: u64,
    /// Those that were created, changed or refused, up to a thousand.
    pub named: Vec<SyncedPrice>,
    /// The position of the last event that it led to; none if nothing had to be changed.
    pub position: Option<Position>,
    /// What a read may wait for that must see all of it; none if nothing had to be changed.
    pub token: Option<PositionToken>,
}

/// What became of one price.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncedPrice {
    /// The price's id, as Stripe has it.
    pub price: String,
    /// What became of it.
    pub outcome: SyncOutcome,
}

/// What became of a price.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SyncOutcome {
    /// The ledger did not know it.
    Created,
    /// It is not what it was.
    Changed,
    /// It is as it was known.
    Unchanged,
    /// It is another product's.
    Ignored,
    /// It cannot be taken in, and why.
    Refused(String),
}

/// What became of one price; and the position of the last event that it led to, with where the ledger ended then.
type Synced = (SyncOutcome, Option<(Position, PositionToken)>);

impl PriceSync {
    fn count(&mut self, price: String, (outcome, written): Synced) {
        if let Some((position, token)) = written.filter(|(position, _)| self.position < Some(*position)) {
            (self.position, self.token) = (Some(position), Some(token));
        }
        let (count, is_named) = match &outcome {
            SyncOutcome::Created => (&mut self.created, true),
            SyncOutcome::Changed => (&mut self.changed, true),
            SyncOutcome::Unchanged => (&mut self.unchanged, false),
            SyncOutcome::Ignored => (&mut self.ignored, false),
            SyncOutcome::Refused(_) => (&mut self.refused, true),
        };
        *count += 1;
        if is_named && self.named.len() < MOST_NAMED {
            self.named.push(SyncedPrice { price, outcome });
        }
    }
}

/// Somebody who has all prices taken in.
struct Sync<'a> {
    service: &'a Service,
    caller: &'a Caller,
    request_id: &'a RequestId,
    /// As it was before.
    catalogue: Catalogue,
}

impl Service {
    /// Takes in all prices as they are at Stripe.
    ///
    /// # Errors
    /// [`ServiceError::Stripe`] if Stripe cannot be asked or does not answer, and whatever keeps a command from being
    /// carried out. What was taken in before stays.
    pub async fn sync_prices(
        &self,
        caller: &Caller,
        request_id: &RequestId,
    ) -> Result<PriceSync, ServiceError> {
        let client = self.stripe.of(caller.ledger).await?.client;
        let sync = Sync {
            service: self,
            caller,
            request_id,
            catalogue: self.configuration(caller).await?.catalogue,
        };
        let mut unseen: BTreeMap<PriceId, Listing> =
            sync.catalogue.prices.values().filter_map(listed).collect();
        let mut report = PriceSync::default();
        let mut after: Option<String> = None;
        loop {
            let as_of = surely_past();
            let page = client.list_prices(after.as_deref()).await?;
            let taken_in = join_all(page.prices.iter().map(|price| sync.take_in(price, as_of))).await;
            for (price, outcome) in page.prices.iter().zip(taken_in) {
                let id = price.get("id").and_then(Value::as_str).unwrap_or_default();
                report.count(id.to_owned(), outcome?);
                if let Ok(id) = PriceId::parse(id) {
                    unseen.remove(&id);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        for (price, listing) in unseen {
            let outcome = sync.look_for(&client, &price, listing).await?;
            report.count(price.to_string(), outcome);
        }
        Ok(report)
    }

    /// All of the ledger's settings, features and prices.
    pub(super) async fn configuration(&self, caller: &Caller) -> Result<Configuration, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        Ok(load_configuration(&client, caller.ledger).await.map_err(ReadError::from)?)
    }
}

/// A moment that Stripe's clock has passed, for what is about to be asked: what follows must not be taken for older.
fn surely_past() -> Timestamp {
    system_clock().plus(Span::seconds(-CLOCKS_DIFFER_BY))
}

/// A price that Stripe has told of and not deleted.
fn listed(price: &Price) -> Option<(PriceId, Listing)> {
    let listing = price.stripe.clone().filter(|listing| !listing.deleted)?;
    Some((price.price.clone(), listing))
}

impl Sync<'_> {
    /// Takes in one price that Stripe answered with.
    async fn take_in(&self, price: &Value, as_of: Timestamp) -> Result<Synced, ServiceError> {
        match extract_price(price, as_of) {
            Ok(PriceReport { price, listing }) if self.catalogue.concerns(&price, &listing) => {
                self.submit(price, listing).await
            }
            Ok(_) | Err(NoFact::Ignored(_)) => Ok((SyncOutcome::Ignored, None)),
            Err(reason) => Ok((SyncOutcome::Refused(reason.to_string()), None)),
        }
    }

    /// Asks for a price that is known and was not among all prices.
    async fn look_for(
        &self,
        client: &StripeClient,
        price: &PriceId,
        known: Listing,
    ) -> Result<Synced, ServiceError> {
        let as_of = surely_past();
        match client.fetch_price(price).await {
            Ok(found) => self.take_in(found.json(), as_of).await,
            Err(error) if error.is_missing_object() => {
                let gone = Listing { as_of, active: false, deleted: true, ..known };
                self.submit(price.clone(), gone).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn submit(&self, price: PriceId, listing: Listing) -> Result<Synced, ServiceError> {
        let known = self.catalogue.prices.get(&price);
        let before = known.and_then(|price| price.stripe.as_ref()).map(Listing::moments);
        let heard = Heard::Looked { before };
        let submission = Submission {
            command: Command::SyncPrice(SyncPrice { price, listing, heard }),
            key: None,
            fingerprint: None,
            actor: Actor::ApiKey(self.caller.key),
            request_id: Some(self.request_id.clone()),
        };
        let outcome = self.service.writers.submit(self.caller.ledger, submission).await?;
        let written = match &outcome {
            Outcome::Accepted(accepted) => {
                accepted.events.last().map(|event| (event.position, PositionToken::of(accepted)))
            }
            Outcome::Rejected(_) => None,
        };
        let outcome = match outcome {
            Outcome::Accepted(_) if written.is_none() => SyncOutcome::Unchanged,
            Outcome::Accepted(_) if known.is_some() => SyncOutcome::Changed,
            Outcome::Accepted(_) => SyncOutcome::Created,
            Outcome::Rejected(Rejection::PriceGrantsNothing { .. }) => SyncOutcome::Ignored,
            Outcome::Rejected(rejection) => SyncOutcome::Refused(rejection.to_string()),
        };
        Ok((outcome, written))
    }
}
