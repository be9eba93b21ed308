//! Disputes: `charge.dispute.created`, `.updated`, `.closed`, `.funds_withdrawn`, `.funds_reinstated`.
//!
//! Invariant: the status alone says how far a dispute has come. Events that tell of moved money carry it as well, and come
//! before or after the verdict as it happens.

use super::{
    fact::PaymentReport,
    fields::Fields,
    no_fact::{Ignored, NeedsStripe, NoFact, Problem},
};
use crate::domain::payment::{DisputeStatus, PaymentFact};

/// What Stripe calls the object.
pub(super) const KIND: &str = "dispute";

/// Reads a dispute that an event is about.
pub(super) fn report(dispute: &Fields<'_>) -> Result<PaymentReport, NoFact> {
    dispute.expect_kind(KIND)?;
    let id = dispute.own_id()?;
    let needs = |missing| NeedsStripe { kind: KIND, id: id.clone(), missing };
    let payment_intent = match dispute.payment_intent_or_that_of_the_charge()? {
        Some(payment_intent) => payment_intent,
        // The oldest versions do not know the field; those that do say `null` if there is none.
        None if !dispute.has("payment_intent") => return Err(needs("payment_intent").into()),
        None => return Err(Ignored::NoPaymentIntent.into()),
    };
    let status = dispute.text("status")?.ok_or_else(|| needs("status"))?;
    let fact = PaymentFact::Dispute {
        status: read_status(status).ok_or_else(|| dispute.nonsense("status", Problem::Unknown))?,
        amount: dispute.amount("amount")?.ok_or_else(|| needs("amount"))?.get(),
        currency: dispute.currency()?.ok_or_else(|| needs("currency"))?,
        dispute: id,
    };
    Ok(PaymentReport { payment_intent, facts: vec![fact] })
}

fn read_status(status: &str) -> Option<DisputeStatus> {
    Some(match status {
        "warning_needs_response" | "warning_under_review" | "warning_closed" => DisputeStatus::Inquiry,
        "needs_response" | "under_review" => DisputeStatus::Open,
        // Prevented: settled before it became one. Charge refunded, in versions until 2022: over because of a refund,
        // which is a fact of its own.
        "won" | "prevented" | "charge_refunded" => DisputeStatus::Won,
        "lost" => DisputeStatus::Lost,
        _ => return None,
    })
}
