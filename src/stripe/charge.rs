//! `charge.refunded`: a charge of which something has been paid back.
//!
//! Invariant: `amount_refunded` is the sum over all refunds of the charge. The refunds themselves are listed
//! only in API versions before 2022-11-15, and then perhaps not all of them, so the sum stands beside them.

use super::{
    fact::PaymentReport,
    fields::Fields,
    no_fact::{Ignored, NeedsStripe, NoFact},
    refund,
};
use crate::domain::{ids::StripeId, payment::PaymentFact};

/// What Stripe calls the object.
pub(super) const KIND: &str = "charge";

/// Reads a refunded charge.
pub(super) fn report(charge: &Fields<'_>) -> Result<PaymentReport, NoFact> {
    charge.expect_kind(KIND)?;
    let id = charge.own_id()?;
    let needs = |missing| NeedsStripe { kind: KIND, id: id.clone(), missing };
    let payment_intent = charge.id("payment_intent")?.ok_or(Ignored::NoPaymentIntent)?;
    let amount_refunded = charge.count("amount_refunded")?.ok_or_else(|| needs("amount_refunded"))?;
    if amount_refunded == 0 {
        return Err(Ignored::NothingRefunded.into());
    }
    let currency = charge.currency()?.ok_or_else(|| needs("currency"))?;
    let mut facts = listed_refunds(charge, &payment_intent)?;
    facts.push(PaymentFact::ChargeRefunded { charge: id, amount_refunded, currency });
    Ok(PaymentReport { payment_intent, facts })
}

fn listed_refunds(charge: &Fields<'_>, payment_intent: &StripeId) -> Result<Vec<PaymentFact>, NoFact> {
    let Some(list) = charge.object("refunds")? else { return Ok(Vec::new()) };
    let refunds = list.objects("data")?.unwrap_or_default();
    refunds.iter().map(|listed| refund::listed(listed, payment_intent)).collect()
}
