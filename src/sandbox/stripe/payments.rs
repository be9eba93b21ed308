//! How money moves: payment methods, charges, and what they do to payment intents.
//!
//! A payment intent is kept by [`super::resources::payment_intents`]; here is what happens when someone tries to pay it.

use serde_json::{Value, json};

use super::{
    cards::{Decline, Method},
    ids,
    resources::customers::whole_address,
    store::Kind,
    world::Transaction,
};

/// Who pays, as far as the buyer said.
#[derive(Clone, Debug, Default)]
pub(super) struct Payer {
    pub customer: Value,
    pub email: Value,
    pub name: Value,
    pub address: Value,
}

impl Payer {
    fn billing_details(&self) -> Value {
        json!({ "address": whole_address(&self.address), "email": self.email, "name": self.name, "phone": null, "tax_id": null })
    }
}

/// Makes a payment method; it belongs to the payer's customer if `is_kept`.
pub(super) fn make_method(
    transaction: &mut Transaction<'_>,
    method: Method,
    payer: &Payer,
    is_kept: bool,
) -> Value {
    let mut made = json!({
        "id": ids::new(Kind::PaymentMethod),
        "object": "payment_method",
        "allow_redisplay": "limited",
        "billing_details": payer.billing_details(),
        "created": transaction.now(),
        "customer": if is_kept { payer.customer.clone() } else { Value::Null },
        "customer_account": null,
        "livemode": false,
        "metadata": {},
        "type": method.name(),
    });
    match method {
        Method::Card(card) => {
            made["card"] = json!({
                "brand": card.brand,
                "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
                "country": card.country,
                "display_brand": card.brand,
                "exp_month": 12,
                "exp_year": 2034,
                "fingerprint": "Xt5EWLLDS7FJjR1c",
                "funding": "credit",
                "generated_from": null,
                "last4": card.last4(),
                "networks": { "available": [card.brand], "preferred": null },
                "regulated_status": "unregulated",
                "three_d_secure_usage": { "supported": true },
                "wallet": null,
            });
        }
        Method::SepaDebit => {
            made["sepa_debit"] = json!({
                "bank_code": "37040044", "branch_code": "", "country": "DE", "fingerprint": "vifs0Ho7vwRn1Miu",
                "generated_from": { "charge": null, "setup_attempt": null }, "last4": "3000",
            });
        }
    }
    transaction.put(Kind::PaymentMethod, &made);
    let id = made["id"].as_str().unwrap_or_default().to_owned();
    transaction.set_hidden(&id, "number", method.number().into());
    if is_kept && !payer.customer.is_null() {
        transaction.emit("payment_method.attached", &made);
    }
    made
}

/// The money has come.
pub(super) fn succeed(
    transaction: &mut Transaction<'_>,
    intent: &Value,
    method: &Value,
    payer: &Payer,
) -> Value {
    let before = pending_charge(transaction, intent);
    let mut charge = before.unwrap_or_else(|| charge(transaction, intent, method, payer));
    let (amount, fee) = (amount(intent), fee(amount(intent)));
    let entry = balance_transaction(transaction, &charge, "charge", amount, fee);
    charge["amount_captured"] = amount.into();
    charge["balance_transaction"] = entry["id"].clone();
    charge["captured"] = true.into();
    charge["paid"] = true.into();
    charge["status"] = "succeeded".into();
    charge["receipt_url"] = format!("{}/receipts/{}", transaction.base_url, text(&charge["id"])).into();
    transaction.put(Kind::Charge, &charge);
    let mut intent = intent.clone();
    intent["amount_received"] = amount.into();
    intent["last_payment_error"] = Value::Null;
    intent["latest_charge"] = charge["id"].clone();
    intent["next_action"] = Value::Null;
    intent["payment_method"] = method["id"].clone();
    intent["status"] = "succeeded".into();
    transaction.put(Kind::PaymentIntent, &intent);
    transaction.emit("charge.succeeded", &charge);
    transaction.emit("payment_intent.succeeded", &intent);
    intent
}

/// The money is on its way, for days.
pub(super) fn process(
    transaction: &mut Transaction<'_>,
    intent: &Value,
    method: &Value,
    payer: &Payer,
) -> Value {
    let mut charge = charge(transaction, intent, method, payer);
    charge["amount_captured"] = amount(intent).into();
    charge["captured"] = true.into();
    charge["status"] = "pending".into();
    transaction.put(Kind::Charge, &charge);
    let mut intent = intent.clone();
    intent["latest_charge"] = charge["id"].clone();
    intent["payment_method"] = method["id"].clone();
    intent["status"] = "processing".into();
    transaction.put(Kind::PaymentIntent, &intent);
    transaction.emit("charge.pending", &charge);
    transaction.emit("payment_intent.processing", &intent);
    intent
}

/// The bank says no.
pub(super) fn decline(
    transaction: &mut Transaction<'_>,
    intent: &Value,
    method: &Value,
    payer: &Payer,
    why: &Decline,
) -> Value {
    let before = pending_charge(transaction, intent);
    let mut charge = before.unwrap_or_else(|| charge(transaction, intent, method, payer));
    charge["failure_code"] = why.code.into();
    charge["failure_message"] = why.message.into();
    charge["outcome"] = json!({
        "advice_code": "try_again_later", "network_advice_code": null, "network_decline_code": null,
        "network_status": "declined_by_network", "reason": why.decline_code.unwrap_or(why.code),
        "risk_level": "normal", "risk_score": 20,
        "seller_message": "The bank did not return any further details with this decline.", "type": "issuer_declined",
    });
    charge["amount_captured"] = 0.into();
    charge["captured"] = false.into();
    charge["paid"] = false.into();
    charge["status"] = "failed".into();
    transaction.put(Kind::Charge, &charge);
    let mut intent = intent.clone();
    intent["last_payment_error"] = payment_error(why, &charge["id"], method);
    intent["latest_charge"] = charge["id"].clone();
    intent["next_action"] = Value::Null;
    intent["payment_method"] = Value::Null;
    intent["status"] = "requires_payment_method".into();
    transaction.put(Kind::PaymentIntent, &intent);
    transaction.emit("charge.failed", &charge);
    transaction.emit("payment_intent.payment_failed", &intent);
    intent
}

/// The buyer did not prove to be the card's owner: there is no charge.
pub(super) fn fail_authentication(
    transaction: &mut Transaction<'_>,
    intent: &Value,
    method: &Value,
    why: &Decline,
) -> Value {
    let mut intent = intent.clone();
    intent["last_payment_error"] = payment_error(why, &Value::Null, method);
    intent["next_action"] = Value::Null;
    intent["payment_method"] = Value::Null;
    intent["status"] = "requires_payment_method".into();
    transaction.put(Kind::PaymentIntent, &intent);
    transaction.emit("payment_intent.payment_failed", &intent);
    intent
}

/// An error as payment intents remember it.
fn payment_error(why: &Decline, charge: &Value, method: &Value) -> Value {
    let mut error = json!({
        "code": why.code,
        "doc_url": format!("https://stripe.com/docs/error-codes/{}", why.code.replace('_', "-")),
        "message": why.message,
        "payment_method": method,
        "type": "card_error",
    });
    if !charge.is_null() {
        error["charge"] = charge.clone();
    }
    if let Some(decline_code) = why.decline_code {
        error["decline_code"] = decline_code.into();
    }
    error
}

fn pending_charge(transaction: &Transaction<'_>, intent: &Value) -> Option<Value> {
    let charge = transaction.peek(Kind::Charge, &intent["latest_charge"]);
    (charge["status"] == "pending").then_some(charge)
}

fn charge(transaction: &Transaction<'_>, intent: &Value, method: &Value, payer: &Payer) -> Value {
    let method_type = method["type"].as_str().unwrap_or("card");
    json!({
        "id": ids::new(Kind::Charge),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": null,
        "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": null,
        "billing_details": payer.billing_details(),
        "calculated_statement_descriptor": "COUNTERFOIL SIMULATOR",
        "captured": false,
        "created": transaction.now(),
        "currency": intent["currency"],
        "customer": payer.customer,
        "description": intent["description"],
        "destination": null,
        "dispute": null,
        "disputed": false,
        "failure_balance_transaction": null,
        "failure_code": null,
        "failure_message": null,
        "fraud_details": {},
        "livemode": false,
        "metadata": intent["metadata"],
        "on_behalf_of": null,
        "order": null,
        "outcome": {
            "advice_code": null, "network_advice_code": null, "network_decline_code": null,
            "network_status": "approved_by_network", "reason": null, "risk_level": "normal", "risk_score": 12,
            "seller_message": "Payment complete.", "type": "authorized",
        },
        "paid": false,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": { method_type: method_details(method, amount(intent)), "type": method_type },
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": null,
        "receipt_url": null,
        "refunded": false,
        "review": null,
        "shipping": null,
        "source": null,
        "source_transfer": null,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "pending",
        "transfer_data": null,
        "transfer_group": intent["transfer_group"],
    })
}

fn method_details(method: &Value, amount: i64) -> Value {
    if method["type"] == "sepa_debit" {
        let mut details = method["sepa_debit"].clone();
        if let Some(details) = details.as_object_mut() {
            details.shift_remove("generated_from");
        }
        details["mandate"] = ids::with_prefix("mandate_1", 23).into();
        return details;
    }
    let card = &method["card"];
    json!({
        "amount_authorized": amount,
        "authorization_code": "123456",
        "brand": card["brand"],
        "checks": card["checks"],
        "country": card["country"],
        "exp_month": card["exp_month"],
        "exp_year": card["exp_year"],
        "extended_authorization": { "status": "disabled" },
        "fingerprint": card["fingerprint"],
        "funding": card["funding"],
        "incremental_authorization": { "status": "unavailable" },
        "installments": null,
        "last4": card["last4"],
        "mandate": null,
        "multicapture": { "status": "unavailable" },
        "network": card["brand"],
        "network_token": { "used": false },
        "network_transaction_id": ids::digits(15),
        "overcapture": { "maximum_amount_capturable": amount, "status": "unavailable" },
        "regulated_status": "unregulated",
        "three_d_secure": null,
        "wallet": null,
    })
}

/// Writes down what the account's balance gains or loses.
pub(super) fn balance_transaction(
    transaction: &mut Transaction<'_>,
    source: &Value,
    entry_type: &str,
    amount: i64,
    fee: i64,
) -> Value {
    let fees = if fee == 0 {
        json!([])
    } else {
        json!([{
            "amount": fee, "application": null, "currency": source["currency"],
            "description": "Stripe processing fees", "type": "stripe_fee",
        }])
    };
    let entry = json!({
        "id": ids::new(Kind::BalanceTransaction),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": transaction.now() + 7 * 24 * 3600,
        "balance_type": "payments",
        "created": transaction.now(),
        "currency": source["currency"],
        "description": source.get("description").cloned().unwrap_or(Value::Null),
        "exchange_rate": null,
        "fee": fee,
        "fee_details": fees,
        "net": amount - fee,
        "reporting_category": match entry_type { "adjustment" => "dispute", "payment_refund" => "refund", other => other },
        "source": source["id"],
        "status": "pending",
        "type": entry_type,
    });
    transaction.put(Kind::BalanceTransaction, &entry);
    entry
}

/// What Stripe takes of a payment: 1.5 % and 25 of the smallest part.
const fn fee(amount: i64) -> i64 {
    amount * 15 / 1000 + 25
}

fn amount(object: &Value) -> i64 {
    object["amount"].as_i64().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
