//! Early warnings of fraud, `radar.early_fraud_warning.created`: a card's network believes that a payment is fraud.
//!
//! Invariant: no money has moved, so the warning alone is told; whether a refund is the better answer is for people to say.

use super::{
    fact::PaymentReport,
    fields::Fields,
    no_fact::{Ignored, NeedsStripe, NoFact},
};
use crate::domain::payment::PaymentFact;

/// What Stripe calls the object.
pub(super) const KIND: &str = "radar.early_fraud_warning";

/// Reads a warning that an event is about.
pub(super) fn report(warning: &Fields<'_>) -> Result<PaymentReport, NoFact> {
    warning.expect_kind(KIND)?;
    let id = warning.own_id()?;
    let payment_intent = match warning.payment_intent_or_that_of_the_charge()? {
        Some(payment_intent) => payment_intent,
        None if !warning.has("payment_intent") => {
            return Err(NeedsStripe { kind: KIND, id, missing: "payment_intent" }.into());
        }
        None => return Err(Ignored::NoPaymentIntent.into()),
    };
    Ok(PaymentReport { payment_intent, facts: vec![PaymentFact::FraudWarning { warning: id }] })
}
