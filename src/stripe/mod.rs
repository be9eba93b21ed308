//! Stripe: signatures, what a webhook says, and in [`client`] the calls that we make ourselves.
//!
//! A body goes through [`signature::verify`], then [`Event::parse`], then [`extract`], which answers with a
//! [`Fact`] or says why there is none ([`NoFact`]). What the body leaves open is fetched, and read the same way
//! ([`Event::with_object`]).
//!
//! Invariants:
//! - everything outside of [`client`] is pure: no clock, no network, no database; nothing here knows inbox or store;
//! - one small reader for each family of events, which takes only the fields that it needs, tries the newer
//!   path and then the older, and treats enumerations as texts: every API version since 2020 is understood;
//! - nothing is guessed: what the body leaves open is [`NeedsStripe`], what contradicts itself [`Nonsense`].

mod charge;
mod checkout_session;
pub mod client;
mod envelope;
mod fact;
mod fields;
mod json;
mod metadata;
mod no_fact;
mod object;
mod refund;
pub mod signature;

pub use envelope::{Event, Identity, Payload};
pub use fact::{
    AccountMarker, ClosedSession, Fact, PaidSession, PaymentReport, SessionEnding, SoldPrice, StatedCredits,
};
pub use no_fact::{Ignored, NeedsStripe, NoFact, Nonsense, Problem};
pub use object::{CheckoutSession, CheckoutStatus, Customer, Page, Refund, StripeObject};

use fields::Fields;

/// What an event tells the ledger.
///
/// # Errors
/// [`NoFact`] if it tells nothing, or not enough.
pub fn extract(event: &Event) -> Result<Fact, NoFact> {
    match &event.payload {
        Payload::Snapshot(object) => {
            let (_, read) = reader(&event.kind).ok_or(Ignored::TypeNotUsed)?;
            read(&Fields::of("data.object", object)?)
        }
        Payload::Thin(id) => {
            let known = event.kind.strip_prefix(envelope::THIN_PREFIX).and_then(reader);
            let (kind, _) = known.ok_or(Ignored::TypeNotUsed)?;
            Err(NeedsStripe { kind, id: id.clone(), missing: "object" }.into())
        }
    }
}

/// What a refund that was made or fetched tells the ledger: the same as the event about it.
///
/// # Errors
/// [`NoFact`] if it tells nothing, or not enough.
pub fn extract_refund(refund: &Refund) -> Result<PaymentReport, NoFact> {
    refund::report(&refund.object.fields()?)
}

type Reader = fn(&Fields<'_>) -> Result<Fact, NoFact>;

/// The kind of object that snapshot events of type `event` carry and the reader for it, if we use them.
fn reader(event: &str) -> Option<(&'static str, Reader)> {
    Some(match event {
        "checkout.session.completed" => (checkout_session::KIND, checkout_session::completed),
        "checkout.session.async_payment_succeeded" => {
            (checkout_session::KIND, checkout_session::payment_succeeded)
        }
        "checkout.session.async_payment_failed" => (checkout_session::KIND, |session| {
            checkout_session::closed(session, SessionEnding::PaymentFailed)
        }),
        "checkout.session.expired" => {
            (checkout_session::KIND, |session| checkout_session::closed(session, SessionEnding::Expired))
        }
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            (refund::KIND, |refund| refund::report(refund).map(Fact::PaymentReport))
        }
        "charge.refunded" => (charge::KIND, |charge| charge::report(charge).map(Fact::PaymentReport)),
        _ => return None,
    })
}
