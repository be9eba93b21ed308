//! What a webhook leaves open is asked of Stripe, with the client of its ledger.
//!
//! Invariants:
//! - no connection and no transaction is held while Stripe is waited for, only the claim of that one webhook, which is
//!   longer than the wait;
//! - a ledger has few questions open at the same time, so that a silent Stripe fills neither memory nor Stripe's limits; what
//!   finds no place is put off;
//! - Stripe is asked once for each attempt; what it answers is read as the event itself would be.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    credentials::{NoStripe, StripeClients},
    domain::ids::{LedgerId, PriceId},
    stripe::{
        Event, NeedsStripe, StripeObject,
        client::{CallClass, CallError, StripeClient},
    },
};

use super::outcome::{Later, Quarantined, Undone};

/// How many questions of one ledger are open at the same time.
const AT_ONCE: usize = 16;
/// How long Stripe is waited for, waiting for our turn included. Together with handing over to the ledger, less than a claim.
const LIMIT: Duration = Duration::from_secs(15);

/// Asks Stripe.
pub(super) struct Questions {
    clients: Arc<StripeClients>,
    places: Mutex<HashMap<LedgerId, Arc<Semaphore>>>,
}

/// What is to be asked.
pub(super) struct Question {
    /// The event whose body leaves something open.
    pub(super) event: Event,
    /// What that is.
    pub(super) needs: NeedsStripe,
}

/// The right to have a question open; over when it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Questions {
    /// Asks with clients of `clients`.
    pub(super) fn new(clients: Arc<StripeClients>) -> Self {
        Self { clients, places: Mutex::default() }
    }

    /// A place for one more question of a ledger, if there is one.
    pub(super) fn take_place(&self, ledger: LedgerId) -> Option<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ledger = places.entry(ledger).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)));
        Arc::clone(of_ledger).try_acquire_owned().ok()
    }

    /// The event with its object as Stripe has it now.
    pub(super) async fn ask(&self, ledger: LedgerId, question: Question) -> Result<Event, Undone> {
        let Question { event, needs } = question;
        let answer = async {
            let access = self.clients.of(ledger).await.map_err(|error| no_way(&needs, error))?;
            fetch(&access.client, &needs).await
        };
        let object = tokio::time::timeout(LIMIT, answer).await.unwrap_or(Err(Later::Silent.into()))?;
        Ok(event.with_object(object))
    }
}

async fn fetch(client: &StripeClient, needs: &NeedsStripe) -> Result<StripeObject, Undone> {
    let id = &needs.id;
    let fetched = match needs.kind {
        "checkout.session" => client.fetch_checkout_session(id).await.map(|session| session.object),
        "refund" => client.fetch_refund(id).await.map(|refund| refund.object),
        "charge" => client.fetch_charge(id).await,
        "dispute" => client.fetch_dispute(id).await,
        "invoice" => client.fetch_invoice(id).await,
        "credit_note" => client.fetch_credit_note(id).await,
        "invoice_payment" => client.fetch_invoice_payment(id).await,
        "subscription" => client.fetch_subscription(id).await,
        "product" => client.fetch_product(id).await,
        "price" => match PriceId::parse(id.as_str()) {
            Ok(price) => client.fetch_price(&price).await,
            Err(_) => return Err(Quarantined::NeedsStripe(needs.clone()).into()),
        },
        _ => return Err(Quarantined::NeedsStripe(needs.clone()).into()),
    };
    fetched.map_err(|error| no_answer(needs, error))
}

/// Why nothing can be asked. What somebody has to put right first waits for that; the rest passes by itself.
fn no_way(needs: &NeedsStripe, error: NoStripe) -> Undone {
    match error {
        NoStripe::NoCredentials(_) | NoStripe::Closed(_) | NoStripe::Unusable(_) => {
            let trouble = format!("{}: {error}", error.code());
            Quarantined::CannotAsk { needs: needs.clone(), trouble }.into()
        }
        NoStripe::Database(_) | NoStripe::NoConnections(_) => Later::NoStripe(error).into(),
    }
}

fn no_answer(needs: &NeedsStripe, error: CallError) -> Undone {
    match error.class {
        CallClass::Retry { .. } | CallClass::Unknown { .. } => Later::Unavailable(error).into(),
        CallClass::Permanent if error.is_unauthorised() => Quarantined::KeyRefused(error).into(),
        CallClass::Permanent if error.is_missing_object() => Quarantined::NotAtStripe(needs.clone()).into(),
        CallClass::Permanent => Quarantined::Refused(error).into(),
    }
}
