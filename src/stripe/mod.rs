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
mod credit_note;
mod customer;
mod dispute;
mod envelope;
mod fact;
mod fields;
mod fraud_warning;
mod invoice;
mod json;
mod metadata;
mod no_fact;
mod object;
mod price;
mod product;
mod refund;
pub mod signature;
mod sold_lines;
mod subscription;
mod terms;

pub use envelope::{Event, Identity, Payload, event_about};
pub use fact::{
    AccountMarker, BegunSubscription, ClosedSession, CreditedElsewhere, Fact, InvoicedLine, PaidElsewhere,
    PaidInvoice, PaidSession, PaymentReport, PriceReport, ProductReport, SessionEnding, SoldPrice,
    StatedCredits, SubscriptionReport,
};
pub use invoice::PreviewedInvoice;
pub use no_fact::{Ignored, NeedsStripe, NoFact, Nonsense, Problem};
pub use object::{CheckoutSession, CheckoutStatus, Customer, Page, PricePage, Refund, StripeObject};
pub use sold_lines::{Entry, entries};

use crate::domain::{
    ids::StripeId,
    time::{Span, Timestamp},
};
use fields::Fields;

/// What an event tells the ledger.
///
/// # Errors
/// [`NoFact`] if it tells nothing, or not enough.
pub fn extract(event: &Event) -> Result<Fact, NoFact> {
    match &event.payload {
        Payload::Snapshot(object) => {
            let (_, read) = reader(&event.kind).ok_or(Ignored::TypeNotUsed)?;
            read(&Fields::of("data.object", object)?, event.created)
        }
        Payload::Thin(id) => {
            let kind = event.kind.strip_prefix(envelope::THIN_PREFIX).ok_or(Ignored::TypeNotUsed)?;
            if kind == customer::DELETED {
                // Its id is all that is left of it.
                return Ok(Fact::CustomerDeleted(id.clone()));
            }
            let (kind, _) = reader(kind).ok_or(Ignored::TypeNotUsed)?;
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

/// What a price that was fetched at `as_of` tells the ledger.
///
/// # Errors
/// [`NoFact`] if it tells nothing, or what cannot be.
pub fn extract_price(price: &serde_json::Value, as_of: Timestamp) -> Result<PriceReport, NoFact> {
    price::report(&Fields::of("price", price)?, as_of)
}

/// What an invoice that is not drawn up would come to.
///
/// # Errors
/// [`NoFact`] if it cannot be read.
pub fn read_preview(
    invoice: &serde_json::Value,
    subscription: &StripeId,
) -> Result<PreviewedInvoice, NoFact> {
    invoice::previewed(&Fields::of("invoice", invoice)?, subscription)
}

/// The subscription that an invoice is of, if it is of one, whichever shape it has.
pub fn subscription_of(invoice: &StripeObject) -> Option<StripeId> {
    invoice::subscription(&invoice.fields().ok()?).ok().flatten()
}

/// What a paid invoice came to, in the smallest part of its currency, whatever of it the customer's balance paid. None if it
/// does not tell.
pub fn came_to(invoice: &StripeObject) -> Option<i64> {
    let invoice = invoice.fields().ok()?;
    invoice::came_to(&invoice, invoice.count("amount_paid").ok()??).ok()
}

/// Whether events of this type may tell the ledger something.
#[must_use]
pub fn is_used(kind: &str) -> bool {
    reader(kind).is_some()
}

/// Reads an object that an event of the given moment carries.
type Reader = fn(&Fields<'_>, Option<Timestamp>) -> Result<Fact, NoFact>;

/// The kind of object that snapshot events of type `event` carry and the reader for it, if we use them.
fn reader(event: &str) -> Option<(&'static str, Reader)> {
    Some(match event {
        "checkout.session.completed" => {
            (checkout_session::KIND, |session, _| checkout_session::completed(session))
        }
        "checkout.session.async_payment_succeeded" => {
            (checkout_session::KIND, |session, _| checkout_session::payment_succeeded(session))
        }
        "checkout.session.async_payment_failed" => (checkout_session::KIND, |session, _| {
            checkout_session::closed(session, SessionEnding::PaymentFailed)
        }),
        "checkout.session.expired" => {
            (checkout_session::KIND, |session, _| checkout_session::closed(session, SessionEnding::Expired))
        }
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            (refund::KIND, |refund, _| refund::report(refund).map(Fact::PaymentReport))
        }
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => {
            (dispute::KIND, |dispute, _| dispute::report(dispute).map(Fact::PaymentReport))
        }
        "radar.early_fraud_warning.created" => {
            (fraud_warning::KIND, |warning, _| fraud_warning::report(warning).map(Fact::PaymentReport))
        }
        "credit_note.created" | "credit_note.updated" | "credit_note.voided" => {
            (credit_note::KIND, |note, _| credit_note::report(note))
        }
        "charge.refunded" => (charge::KIND, |charge, _| charge::report(charge).map(Fact::PaymentReport)),
        "price.created" => (price::KIND, |price, created| told_of_price(price, Change::Made.at(created)?)),
        "price.updated" => (price::KIND, |price, created| told_of_price(price, Change::Changed.at(created)?)),
        "price.deleted" => (price::KIND, |price, created| {
            let mut report = price::report(price, Change::Deleted.at(created)?)?;
            (report.listing.active, report.listing.deleted) = (false, true);
            Ok(Fact::PriceTold(report))
        }),
        "product.created" => {
            (product::KIND, |product, created| told_of_product(product, Change::Made.at(created)?))
        }
        "product.updated" => {
            (product::KIND, |product, created| told_of_product(product, Change::Changed.at(created)?))
        }
        "product.deleted" => (product::KIND, |product, created| {
            let mut report = product::report(product, Change::Deleted.at(created)?)?;
            (report.listing.active, report.listing.deleted) = (false, true);
            Ok(Fact::ProductTold(report))
        }),
        "invoice.paid" | "invoice.payment_succeeded" => (invoice::KIND, |invoice, _| invoice::paid(invoice)),
        // A thin one names the payment, which is fetched as one.
        "invoice_payment.paid" => (invoice::PAYMENT, |payment, _| invoice::payment(payment)),
        "customer.subscription.created" => (subscription::KIND, |subscription, created| {
            subscription::report(subscription, Change::Made.at(created)?)
        }),
        "customer.subscription.updated"
        | "customer.subscription.paused"
        | "customer.subscription.resumed" => (subscription::KIND, |subscription, created| {
            subscription::report(subscription, Change::Changed.at(created)?)
        }),
        "customer.subscription.deleted" => (subscription::KIND, |subscription, created| {
            subscription::report(subscription, Change::Deleted.at(created)?)
        }),
        customer::DELETED => (customer::KIND, |customer, _| customer::deleted(customer)),
        _ => return None,
    })
}

fn told_of_price(price: &Fields<'_>, as_of: Timestamp) -> Result<Fact, NoFact> {
    price::report(price, as_of).map(Fact::PriceTold)
}

fn told_of_product(product: &Fields<'_>, as_of: Timestamp) -> Result<Fact, NoFact> {
    Ok(Fact::ProductTold(product::report(product, as_of)?))
}

/// What happened to an object.
#[derive(Clone, Copy)]
enum Change {
    Made = 0,
    Changed = 1,
    /// Between the two is room for what Stripe says when it is asked how the object is.
    Deleted = 999_999,
}

impl Change {
    /// The moment of a change. Events tell whole seconds; within one, an object is made before it is changed, and changed
    /// before it is deleted.
    fn at(self, created: Option<Timestamp>) -> Result<Timestamp, Nonsense> {
        let second =
            created.ok_or_else(|| Nonsense { field: "created".to_owned(), problem: Problem::Missing })?;
        Ok(second.plus(Span::of_microseconds(self as i64)))
    }
}
