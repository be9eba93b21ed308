//! Refunds: `refund.created`, `refund.updated`, `refund.failed` and the older `charge.refund.updated`; also the
//! refunds that a charge lists.
//!
//! Invariant: several events tell the same status, and some tell of nothing that concerns money; what is new
//! about a status is for the ledger to judge.

use super::{
    fact::PaymentReport,
    fields::Fields,
    metadata,
    no_fact::{Ignored, NeedsStripe, NoFact, Problem},
};
use crate::domain::{
    ids::StripeId,
    payment::{PaymentFact, RefundStatus},
};

/// What Stripe calls the object.
pub(super) const KIND: &str = "refund";

/// Reads a refund that an event is about.
pub(super) fn report(refund: &Fields<'_>) -> Result<PaymentReport, NoFact> {
    refund.expect_kind(KIND)?;
    let payment_intent = refund.payment_intent_or_that_of_the_charge()?.ok_or(Ignored::NoPaymentIntent)?;
    Ok(PaymentReport { payment_intent, facts: vec![fact(refund)?] })
}

/// Reads a refund that a charge lists, which is of the charge's payment.
pub(super) fn listed(refund: &Fields<'_>, charged_by: &StripeId) -> Result<PaymentFact, NoFact> {
    refund.expect_kind(KIND)?;
    if refund.payment_intent_or_that_of_the_charge()?.is_some_and(|stated| stated != *charged_by) {
        return Err(refund.nonsense("payment_intent", Problem::Contradicts("charge")).into());
    }
    fact(refund)
}

fn fact(refund: &Fields<'_>) -> Result<PaymentFact, NoFact> {
    let id = refund.own_id()?;
    let needs = |missing| NeedsStripe { kind: KIND, id: id.clone(), missing };
    let status = match refund.text("status")?.ok_or_else(|| needs("status"))? {
        "pending" | "requires_action" => RefundStatus::Pending,
        "succeeded" => RefundStatus::Succeeded,
        "failed" => RefundStatus::Failed,
        "canceled" => RefundStatus::Cancelled,
        _ => return Err(refund.nonsense("status", Problem::Unknown).into()),
    };
    Ok(PaymentFact::Refund {
        status,
        amount: refund.amount("amount")?.ok_or_else(|| needs("amount"))?.get(),
        currency: refund.currency()?.ok_or_else(|| needs("currency"))?,
        request: metadata::refund_request(refund)?,
        refund: id,
    })
}
