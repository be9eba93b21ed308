//! Credit notes: `credit_note.created`, `.updated` and `.voided`.
//!
//! A note on an invoice that is not paid yet lowers what is due, and moves nothing back (the part before payment). The part
//! after payment goes back by refunds, which tell of themselves, to the customer's balance, or outside of Stripe.
//!
//! Notes have two shapes. Newer ones say both parts, and list their refunds with what each gave back; older ones are all of
//! one part, by their type, and name at most one refund without its amount.
//!
//! Invariants:
//! - what went back by refunds is taken off, so that no money counts twice;
//! - only its invoice knows which payment a note is of: events never carry it, so that Stripe is asked;
//! - a note gives back a part of what the invoice came to, which is what its payment is recorded with.

use super::{
    fact::{CreditedElsewhere, Fact, PaidElsewhere, PaymentReport},
    fields::Fields,
    invoice,
    no_fact::{Ignored, NeedsStripe, NoFact, Nonsense, Problem},
};
use crate::domain::payment::{PaymentFact, RefundStatus};

/// What Stripe calls the object.
pub(super) const KIND: &str = "credit_note";

/// Reads a credit note.
pub(super) fn report(note: &Fields<'_>) -> Result<Fact, NoFact> {
    note.expect_kind(KIND)?;
    let id = note.own_id()?;
    let needs = |missing| NoFact::from(NeedsStripe { kind: KIND, id: id.clone(), missing });
    let status = match note.text("status")?.ok_or_else(|| needs("status"))? {
        "issued" => RefundStatus::Succeeded,
        "void" => RefundStatus::Cancelled,
        _ => return Err(note.nonsense("status", Problem::Unknown).into()),
    };
    let after_payment = after_payment(note)?.ok_or_else(|| needs("post_payment_amount"))?;
    if after_payment == 0 {
        return Err(Ignored::NothingCredited.into());
    }
    let refunded = refunded(note, after_payment)?.ok_or_else(|| needs("refunds"))?;
    let amount = match after_payment - refunded {
        0 => return Err(Ignored::NothingCredited.into()),
        amount @ 1.. => amount,
        _ => return Err(note.nonsense("refunds", Problem::Contradicts("post_payment_amount")).into()),
    };
    let currency = note.currency()?.ok_or_else(|| needs("currency"))?;
    if !note.value("invoice").is_some_and(serde_json::Value::is_object) {
        return Err(needs("invoice"));
    }
    let invoice = note.object("invoice")?.ok_or_else(|| needs("invoice"))?;
    let paid = invoice.count("amount_paid")?.ok_or_else(|| needs("invoice.amount_paid"))?;
    let paid_by = match paid {
        0 if !invoice.has("total") => return Err(needs("invoice.total")),
        0 if invoice::came_to(&invoice, paid)? == 0 => return Err(Ignored::NothingPaid.into()),
        0 => PaidElsewhere::Balance,
        _ => match invoice::payment_intent(&invoice, paid)?.ok_or_else(|| needs("invoice.payments"))? {
            None => PaidElsewhere::OutsideOfStripe,
            Some(payment_intent) => {
                let facts = vec![PaymentFact::CreditNote { note: id, status, amount, currency }];
                return Ok(Fact::PaymentReport(PaymentReport { payment_intent, facts }));
            }
        },
    };
    Ok(Fact::CreditedElsewhere(CreditedElsewhere {
        note: id,
        paid_by,
        subscription: invoice::subscription(&invoice)?,
        customer: invoice.id("customer")?,
    }))
}

/// The part of it that was given after the invoice was paid; none if the body does not tell.
fn after_payment(note: &Fields<'_>) -> Result<Option<i64>, Nonsense> {
    if let Some(amount) = note.count("post_payment_amount")? {
        return Ok(Some(amount));
    }
    match note.text("type")? {
        Some("pre_payment") => Ok(Some(0)),
        Some("post_payment") => note.count("amount"),
        _ => Ok(None),
    }
}

/// How much of what was given went back by refunds, which have events of their own; none if the body does not tell.
fn refunded(note: &Fields<'_>, given: i64) -> Result<Option<i64>, Nonsense> {
    if let Some(refunds) = note.objects("refunds")? {
        let mut sum: i64 = 0;
        for refund in &refunds {
            // What went back outside of Stripe is listed as well, and is told by nothing else.
            if refund.id("refund")?.is_none() {
                continue;
            }
            let Some(amount) = refund.count("amount_refunded")? else { return Ok(None) };
            sum = sum.saturating_add(amount);
        }
        return Ok(Some(sum));
    }
    if !note.has("refund") {
        return Ok(None);
    }
    if note.id("refund")?.is_none() {
        return Ok(Some(0));
    }
    // How much the refund gave back follows only where no part of the rest is unknown.
    if note.value("customer_balance_transaction").is_some() || !note.has("out_of_band_amount") {
        return Ok(None);
    }
    Ok(Some(given.saturating_sub(note.count("out_of_band_amount")?.unwrap_or(0))))
}
