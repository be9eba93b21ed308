//! What happens at the hosted page, whoever clicks there: a buyer, or the control API in a buyer's place.
//!
//! A session is open until it is complete or expired. Paying with a card completes it paid; a delayed method completes it
//! unpaid, and the money's fate follows days later; a declined card leaves it open for another try.

use serde_json::{Value, json};

use super::{
    answer::Failure,
    billing,
    cards::{self, Bank, Decline, Method},
    invoices,
    payments::{self, Payer},
    pricing,
    resources::{
        Given, checkout_sessions, customers, disputes,
        payment_intents::{self, New},
        promotion_codes,
    },
    store::Kind,
    subscriptions,
    world::Transaction,
};

/// What a buyer enters.
#[derive(Clone, Debug, Default)]
pub(super) struct Entered {
    pub email: Option<String>,
    pub name: Option<String>,
    pub country: Option<String>,
    pub tax_id: Option<String>,
}

/// How a try to pay ended.
#[derive(Debug)]
pub(super) enum Ended {
    Complete,
    Declined(&'static Decline),
    /// The bank wants to see the buyer first.
    Challenge,
}

/// Works the amounts out again, after lines, discount or address have changed.
pub(super) fn price_anew(transaction: &mut Transaction<'_>, id: &str) -> Value {
    let mut session = transaction.peek(Kind::CheckoutSession, &id.into());
    let mut lines = transaction.hidden(id)["lines"].as_array().cloned().unwrap_or_default();
    let coupon = transaction.peek(Kind::Coupon, &session["discounts"][0]["coupon"]);
    let has_location = !session["customer_details"]["address"]["country"].is_null();
    let is_taxed = session["automatic_tax"]["enabled"] == true;
    let tax_percent = if is_taxed && has_location { transaction.tax_percent } else { 0 };
    if is_taxed {
        session["automatic_tax"]["status"] =
            if has_location { "complete".into() } else { "requires_location_inputs".into() };
    }
    let data = transaction.hidden(id)["subscription_data"].clone();
    let is_trial = subscriptions::trial_end(&data, transaction.now()).is_some();
    let totals = pricing::price(&mut lines, &coupon, tax_percent, is_trial);
    session["amount_subtotal"] = totals.subtotal.into();
    session["amount_total"] = totals.total.into();
    session["total_details"] = pricing::total_details(totals);
    transaction.set_hidden(id, "lines", lines.into());
    transaction.put(Kind::CheckoutSession, &session);
    session
}

/// The session, if it can still be paid.
///
/// # Errors
/// If there is none, or it is over.
pub(super) fn open(transaction: &Transaction<'_>, id: &str) -> Result<Value, Failure> {
    let session = transaction.find(Kind::CheckoutSession, id)?;
    if session["status"] != "open" {
        let status = session["status"].as_str().unwrap_or_default();
        return Err(Failure::state(format!("Checkout session {id} is {status}.")));
    }
    Ok(session)
}

/// Uses a promotion code, or none if the text is empty.
///
/// # Errors
/// Says why the code cannot be used.
pub(super) fn use_code(transaction: &mut Transaction<'_>, id: &str, typed: &str) -> Result<(), &'static str> {
    let mut session = transaction.peek(Kind::CheckoutSession, &id.into());
    if typed.trim().is_empty() {
        session["discounts"] = json!([]);
    } else {
        let subtotal = session["amount_subtotal"].as_i64().unwrap_or_default();
        let currency = session["currency"].as_str().unwrap_or_default();
        let code = promotion_codes::usable(transaction, typed, subtotal, currency, &session["customer"])?;
        session["discounts"] =
            json!([{ "coupon": code["promotion"]["coupon"], "promotion_code": code["id"] }]);
    }
    transaction.put(Kind::CheckoutSession, &session);
    price_anew(transaction, id);
    Ok(())
}

/// Writes down who the buyer is, which may change the tax.
pub(super) fn enter(transaction: &mut Transaction<'_>, id: &str, entered: &Entered) -> Value {
    let mut session = transaction.peek(Kind::CheckoutSession, &id.into());
    let known = session["customer_details"].clone();
    let or_known = |entered: &Option<String>, name: &str| match entered {
        Some(text) => Value::from(text.as_str()),
        None => known.get(name).cloned().unwrap_or(Value::Null),
    };
    let address = match &entered.country {
        Some(country) => customers::whole_address(&json!({ "country": country })),
        None => known.get("address").cloned().unwrap_or(Value::Null),
    };
    let tax_ids = match &entered.tax_id {
        Some(value) => json!([{ "type": "eu_vat", "value": value }]),
        None => json!([]),
    };
    let exempt = known.get("tax_exempt").cloned().unwrap_or_else(|| "none".into());
    session["customer_details"] = json!({
        "address": address,
        "business_name": null,
        "email": or_known(&entered.email, "email"),
        "individual_name": null,
        "name": or_known(&entered.name, "name"),
        "phone": known.get("phone").cloned().unwrap_or(Value::Null),
        "tax_exempt": exempt,
        "tax_ids": tax_ids,
    });
    transaction.put(Kind::CheckoutSession, &session);
    price_anew(transaction, id)
}

/// Tries to pay. `is_proven` if the buyer has passed the bank's challenge already.
///
/// # Errors
/// If the session is not open.
pub(super) fn pay(
    transaction: &mut Transaction<'_>,
    id: &str,
    method: Method,
    is_proven: bool,
) -> Result<Ended, Failure> {
    let session = open(transaction, id)?;
    let payer = payer(transaction, &session);
    if session["mode"] == "subscription" {
        return Ok(subscribe(transaction, &session, &payer, method, is_proven));
    }
    if session["amount_total"] == 0 {
        return Ok(complete(transaction, &session, &payer, Value::Null, "no_payment_required"));
    }
    let intent = intent(transaction, &session, &payer);
    let is_kept = !intent["setup_future_usage"].is_null();
    let made = payments::make_method(transaction, method, &payer, is_kept);
    match method {
        Method::SepaDebit => {
            let intent = payments::process(transaction, &intent, &made, &payer);
            Ok(complete(transaction, &session, &payer, intent["id"].clone(), "unpaid"))
        }
        Method::Card(card) => match card.bank {
            Bank::Declines(why) => Ok(declined(transaction, &session, &intent, &made, &payer, why)),
            Bank::Asks if !is_proven => {
                let mut intent = intent;
                intent["payment_method"] = made["id"].clone();
                intent["status"] = "requires_action".into();
                intent["next_action"] = json!({
                    "redirect_to_url": {
                        "return_url": session["url"],
                        "url": format!("{}/pay/{id}/challenge", transaction.base_url),
                    },
                    "type": "redirect_to_url",
                });
                transaction.put(Kind::PaymentIntent, &intent);
                transaction.emit("payment_intent.requires_action", &intent);
                remember_intent(transaction, &session, &intent);
                transaction.set_hidden(id, "challenge", method.number().into());
                Ok(Ended::Challenge)
            }
            Bank::Pays | Bank::Asks | Bank::Disputes { .. } => {
                let intent = payments::succeed(transaction, &intent, &made, &payer);
                let ended = complete(transaction, &session, &payer, intent["id"].clone(), "paid");
                if let Bank::Disputes { is_inquiry } = card.bank {
                    let charge = intent["latest_charge"].as_str().unwrap_or_default();
                    let new = disputes::New { amount: None, reason: "fraudulent".to_owned(), is_inquiry };
                    disputes::open(transaction, charge, &new)?;
                }
                Ok(ended)
            }
        },
    }
}

/// Sells a subscription: only cards are taken, and kept for the periods to come.
fn subscribe(
    transaction: &mut Transaction<'_>,
    session: &Value,
    payer: &Payer,
    method: Method,
    is_proven: bool,
) -> Ended {
    let id = session["id"].as_str().unwrap_or_default();
    if let Method::Card(card) = method {
        match card.bank {
            Bank::Declines(why) => return Ended::Declined(why),
            Bank::Asks if !is_proven => {
                transaction.set_hidden(id, "challenge", method.number().into());
                return Ended::Challenge;
            }
            Bank::Pays | Bank::Asks | Bank::Disputes { .. } => {}
        }
    }
    let made = payments::make_method(transaction, method, payer, true);
    let lines = checkout_sessions::line_items(transaction, id)["data"].clone();
    let (subscription, invoice) = subscriptions::start(transaction, session, &lines, payer, &made);
    let mut session = session.clone();
    session["subscription"] = subscription["id"].clone();
    session["invoice"] = invoice["id"].clone();
    if invoice["amount_due"] == 0 {
        billing::settled(transaction, &invoice, &Value::Null);
        return complete(transaction, &session, payer, Value::Null, "no_payment_required");
    }
    billing::pay_from_checkout(transaction, &invoice, &made, payer);
    complete(transaction, &session, payer, Value::Null, "paid")
}

/// The buyer proves to be the card's owner to the bank, or does not.
///
/// # Errors
/// If the bank has not asked.
pub(super) fn answer_challenge(
    transaction: &mut Transaction<'_>,
    id: &str,
    has_passed: bool,
) -> Result<Ended, Failure> {
    let session = open(transaction, id)?;
    let number = transaction.hidden(id)["challenge"].clone();
    let Some(method) = number.as_str().and_then(Method::numbered) else {
        return Err(Failure::state(format!("No bank has asked for the buyer of checkout session {id}.")));
    };
    transaction.set_hidden(id, "challenge", Value::Null);
    if has_passed {
        return pay(transaction, id, method, true);
    }
    let intent = transaction.peek(Kind::PaymentIntent, &session["payment_intent"]);
    if !intent.is_null() {
        let made = transaction.peek(Kind::PaymentMethod, &intent["payment_method"]);
        payments::fail_authentication(transaction, &intent, &made, &cards::NOT_AUTHENTICATED);
    }
    Ok(Ended::Declined(&cards::NOT_AUTHENTICATED))
}

/// Whether the bank waits for the buyer.
pub(super) fn is_challenged(transaction: &Transaction<'_>, id: &str) -> bool {
    transaction.hidden(id)["challenge"].is_string()
}

/// Declines whatever card it is.
///
/// # Errors
/// If the session is not open.
pub(super) fn decline(
    transaction: &mut Transaction<'_>,
    id: &str,
    method: Method,
    why: &'static Decline,
) -> Result<Ended, Failure> {
    let session = open(transaction, id)?;
    if session["mode"] == "subscription" {
        return Ok(Ended::Declined(why));
    }
    let payer = payer(transaction, &session);
    let intent = intent(transaction, &session, &payer);
    let made = payments::make_method(transaction, method, &payer, false);
    Ok(declined(transaction, &session, &intent, &made, &payer, why))
}

/// The money of an unpaid, complete session arrives, or does not.
///
/// # Errors
/// If the session does not wait for money.
pub(super) fn settle(
    transaction: &mut Transaction<'_>,
    id: &str,
    has_arrived: bool,
) -> Result<Value, Failure> {
    let mut session = transaction.find(Kind::CheckoutSession, id)?;
    let intent = transaction.peek(Kind::PaymentIntent, &session["payment_intent"]);
    if session["status"] != "complete" || intent["status"] != "processing" {
        return Err(Failure::state(format!("Checkout session {id} does not wait for a payment.")));
    }
    let method = transaction.peek(Kind::PaymentMethod, &intent["payment_method"]);
    let payer = Payer { customer: session["customer"].clone(), ..Payer::default() };
    let event = if has_arrived {
        payments::succeed(transaction, &intent, &method, &payer);
        session["payment_status"] = "paid".into();
        "checkout.session.async_payment_succeeded"
    } else {
        const FAILED: Decline = Decline {
            code: "payment_intent_payment_attempt_failed",
            decline_code: Some("generic_decline"),
            message: "The payment failed.",
        };
        payments::decline(transaction, &intent, &method, &payer, &FAILED);
        "checkout.session.async_payment_failed"
    };
    if has_arrived {
        invoice(transaction, &mut session, &payer);
    }
    transaction.put(Kind::CheckoutSession, &session);
    transaction.emit(event, &session);
    Ok(session)
}

fn declined(
    transaction: &mut Transaction<'_>,
    session: &Value,
    intent: &Value,
    method: &Value,
    payer: &Payer,
    why: &'static Decline,
) -> Ended {
    let intent = payments::decline(transaction, intent, method, payer, why);
    remember_intent(transaction, session, &intent);
    Ended::Declined(why)
}

fn remember_intent(transaction: &mut Transaction<'_>, session: &Value, intent: &Value) {
    let mut session = session.clone();
    session["payment_intent"] = intent["id"].clone();
    transaction.put(Kind::CheckoutSession, &session);
}

/// The intent of an earlier try, or a new one.
fn intent(transaction: &mut Transaction<'_>, session: &Value, payer: &Payer) -> Value {
    let mut earlier = transaction.peek(Kind::PaymentIntent, &session["payment_intent"]);
    if !earlier.is_null() {
        earlier["amount"] = session["amount_total"].clone();
        earlier["customer"] = payer.customer.clone();
        return earlier;
    }
    let id = session["id"].as_str().unwrap_or_default();
    let data = transaction.hidden(id)["payment_intent_data"].clone();
    let part = |name: &str| data.get(name).cloned().unwrap_or(Value::Null);
    payment_intents::make(
        transaction,
        New {
            amount: session["amount_total"].as_i64().unwrap_or_default(),
            currency: session["currency"].clone(),
            customer: payer.customer.clone(),
            description: part("description"),
            metadata: data.get("metadata").cloned().unwrap_or_else(|| json!({})),
            receipt_email: part("receipt_email"),
            setup_future_usage: part("setup_future_usage"),
            statement_descriptor: part("statement_descriptor"),
            statement_descriptor_suffix: part("statement_descriptor_suffix"),
            transfer_group: part("transfer_group"),
            method_types: session["payment_method_types"].clone(),
            invoice: Value::Null,
        },
    )
}

/// Who pays: the session's customer, a new one if one is wanted, or a guest.
fn payer(transaction: &mut Transaction<'_>, session: &Value) -> Payer {
    let details = &session["customer_details"];
    let part = |name: &str| details.get(name).cloned().unwrap_or(Value::Null);
    let customer = match (&session["customer"], session["customer_creation"].as_str()) {
        (Value::String(id), _) => update_customer(transaction, session, id),
        (_, Some("always")) => new_customer(transaction, session),
        _ => Value::Null,
    };
    Payer { customer, email: part("email"), name: part("name"), address: part("address") }
}

fn new_customer(transaction: &mut Transaction<'_>, session: &Value) -> Value {
    let earlier = transaction.peek(Kind::PaymentIntent, &session["payment_intent"])["customer"].clone();
    if !earlier.is_null() {
        return earlier;
    }
    let mut given = Given::default();
    for field in ["email", "name", "address"] {
        given.set(field, session["customer_details"].get(field).cloned().unwrap_or(Value::Null));
    }
    match customers::create(transaction, &given) {
        Ok(customer) => {
            transaction.emit("customer.created", &customer);
            customer["id"].clone()
        }
        // An e-mail address that is none: the buyer stays a guest.
        Err(_) => Value::Null,
    }
}

/// Writes down at the customer what the session was told to.
fn update_customer(transaction: &mut Transaction<'_>, session: &Value, id: &str) -> Value {
    let wanted = transaction.hidden(session["id"].as_str().unwrap_or_default())["customer_update"].clone();
    let before = transaction.peek(Kind::Customer, &id.into());
    if before.get("deleted").is_some() {
        return session["customer"].clone();
    }
    let mut customer = before.clone();
    for field in ["address", "name"] {
        let entered = session["customer_details"].get(field).cloned().unwrap_or(Value::Null);
        if wanted[field] == "auto" && !entered.is_null() {
            customer[field] = entered;
        }
    }
    if customer != before {
        transaction.put(Kind::Customer, &customer);
        transaction.emit_change("customer.updated", &before, &customer);
    }
    customer["id"].clone()
}

fn complete(
    transaction: &mut Transaction<'_>,
    session: &Value,
    payer: &Payer,
    intent: Value,
    payment_status: &str,
) -> Ended {
    let mut session = session.clone();
    session["customer"] = payer.customer.clone();
    session["payment_intent"] = intent;
    session["payment_status"] = payment_status.into();
    session["status"] = "complete".into();
    session["url"] = Value::Null;
    for discount in session["discounts"].as_array().cloned().unwrap_or_default() {
        promotion_codes::count_use(transaction, &discount);
    }
    if payment_status != "unpaid" && session["mode"] == "payment" {
        invoice(transaction, &mut session, payer);
    }
    transaction.put(Kind::CheckoutSession, &session);
    transaction.emit("checkout.session.completed", &session);
    Ended::Complete
}

/// Makes the invoice of a one-time purchase, if the session wants one.
fn invoice(transaction: &mut Transaction<'_>, session: &mut Value, payer: &Payer) {
    if session["invoice_creation"]["enabled"] != true {
        return;
    }
    let lines = checkout_sessions::line_items(transaction, session["id"].as_str().unwrap_or_default());
    session["invoice"] = invoices::of_checkout(transaction, session, &lines["data"], payer);
}
