//! Collecting what invoices ask for, without the buyer: from a stored card, again after some days if it fails.

use serde_json::Value;

use super::{
    answer::Failure,
    cards::{self, Bank, Decline, Method},
    invoices,
    payments::{self, Payer},
    resources::payment_intents::{self, New},
    store::Kind,
    subscriptions,
    world::Transaction,
};

/// How many days after a failed try the next follows. After the last the subscription is canceled.
const PAUSES: &[i64] = &[3, 5, 7];

/// Tries to collect an open invoice from the stored payment method.
pub(super) fn collect(transaction: &mut Transaction<'_>, invoice: &Value) -> Value {
    if invoice["amount_due"] == 0 {
        return settled(transaction, invoice, &Value::Null);
    }
    let made = stored_method(transaction, invoice);
    let method = transaction.hidden(text(&made["id"]))["number"].as_str().and_then(Method::numbered);
    let payer = payer_of(transaction, invoice);
    let intent = intent(transaction, invoice, &payer);
    let refusal: Option<&'static Decline> = match method {
        None => Some(&NO_METHOD),
        Some(Method::Card(card)) => match card.bank {
            Bank::Declines(why) => Some(why),
            Bank::Asks => Some(&cards::ASKS_FOR_THE_BUYER),
            Bank::Pays | Bank::Disputes { .. } => None,
        },
        Some(Method::SepaDebit) => None,
    };
    match refusal {
        None => {
            let intent = payments::succeed(transaction, &intent, &made, &payer);
            settled(transaction, invoice, &intent["id"])
        }
        Some(why) => {
            if made.is_null() {
                payments::fail_authentication(transaction, &intent, &Value::Null, why);
            } else {
                payments::decline(transaction, &intent, &made, &payer, why);
            }
            failed(transaction, invoice, *why == cards::ASKS_FOR_THE_BUYER)
        }
    }
}

const NO_METHOD: Decline = Decline {
    code: "resource_missing",
    decline_code: None,
    message: "This customer has no attached payment source or default payment method.",
};

/// The first invoice of a subscription, paid by the buyer who is there.
pub(super) fn pay_from_checkout(
    transaction: &mut Transaction<'_>,
    invoice: &Value,
    made: &Value,
    payer: &Payer,
) {
    let intent = intent(transaction, invoice, payer);
    let intent = payments::succeed(transaction, &intent, made, payer);
    settled(transaction, invoice, &intent["id"]);
}

/// Pays an open invoice with this, whatever is stored.
///
/// # Errors
/// If the invoice is not open.
pub(super) fn pay_with(
    transaction: &mut Transaction<'_>,
    id: &str,
    method: Method,
) -> Result<Value, Failure> {
    let invoice = open(transaction, id)?;
    let payer = payer_of(transaction, &invoice);
    if invoice["amount_due"] == 0 {
        return Ok(settled(transaction, &invoice, &Value::Null));
    }
    let intent = intent(transaction, &invoice, &payer);
    let made = payments::make_method(transaction, method, &payer, false);
    let intent = payments::succeed(transaction, &intent, &made, &payer);
    Ok(settled(transaction, &invoice, &intent["id"]))
}

/// The invoice, if it can still be paid.
///
/// # Errors
/// If there is none, or it is not open.
pub(super) fn open(transaction: &Transaction<'_>, id: &str) -> Result<Value, Failure> {
    let invoice = transaction.find(Kind::Invoice, id)?;
    match invoice["status"].as_str() {
        Some("open") => Ok(invoice),
        Some("paid") => Err(Failure::state("Invoice is already paid")),
        status => Err(Failure::state(format!("Invoice {id} is {}.", status.unwrap_or_default()))),
    }
}

/// The invoice is paid, and with it the subscription is in order again.
pub(super) fn settled(transaction: &mut Transaction<'_>, invoice: &Value, intent: &Value) -> Value {
    let invoice = invoices::mark_paid(transaction, invoice, intent);
    subscriptions::paid(transaction, &invoice);
    invoice
}

fn failed(transaction: &mut Transaction<'_>, before: &Value, needs_buyer: bool) -> Value {
    let mut invoice = before.clone();
    let tries = invoice["attempt_count"].as_i64().unwrap_or_default();
    let pause = usize::try_from(tries).ok().and_then(|tries| PAUSES.get(tries));
    invoice["attempt_count"] = (tries + 1).into();
    invoice["attempted"] = true.into();
    invoice["next_payment_attempt"] = pause.map(|days| transaction.now() + days * 86_400).into();
    transaction.put(Kind::Invoice, &invoice);
    if needs_buyer {
        transaction.emit("invoice.payment_action_required", &invoice);
    }
    transaction.emit("invoice.payment_failed", &invoice);
    subscriptions::unpaid(transaction, &invoice, pause.is_none());
    invoice
}

/// The intent of an earlier try, or a new one.
fn intent(transaction: &mut Transaction<'_>, invoice: &Value, payer: &Payer) -> Value {
    let known =
        transaction.store.all(Kind::InvoicePayment).find(|payment| payment["invoice"] == invoice["id"]);
    if let Some(payment) = known {
        return transaction.peek(Kind::PaymentIntent, &payment["payment"]["payment_intent"].clone());
    }
    let description = match text(&invoice["billing_reason"]) {
        "subscription_create" => "Subscription creation",
        _ => "Subscription update",
    };
    let intent = payment_intents::make(
        transaction,
        New {
            amount: invoice["amount_due"].as_i64().unwrap_or_default(),
            currency: invoice["currency"].clone(),
            customer: payer.customer.clone(),
            description: description.into(),
            setup_future_usage: "off_session".into(),
            method_types: serde_json::json!(["card"]),
            invoice: invoice["id"].clone(),
            ..New::default()
        },
    );
    invoices::payment(transaction, invoice, &intent["id"]);
    intent
}

/// The subscription's payment method, or else the customer's.
fn stored_method(transaction: &Transaction<'_>, invoice: &Value) -> Value {
    let subscription =
        transaction.peek(Kind::Subscription, &invoice["parent"]["subscription_details"]["subscription"]);
    let customer = transaction.peek(Kind::Customer, &invoice["customer"]);
    [&subscription["default_payment_method"], &customer["invoice_settings"]["default_payment_method"]]
        .into_iter()
        .map(|id| transaction.peek(Kind::PaymentMethod, id))
        .find(|method| !method.is_null())
        .unwrap_or(Value::Null)
}

/// The customer of an invoice, as payer.
pub(super) fn payer_of(transaction: &Transaction<'_>, object: &Value) -> Payer {
    let customer = transaction.peek(Kind::Customer, &object["customer"]);
    let part = |name: &str| customer.get(name).cloned().unwrap_or(Value::Null);
    Payer {
        customer: object["customer"].clone(),
        email: part("email"),
        name: part("name"),
        address: part("address"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
