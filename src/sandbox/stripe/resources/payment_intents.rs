//! Payment intents: made by checkout, and by shops that charge a stored card while the buyer is away.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        billing,
        cards::{self, Bank, Decline, Method},
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, LIMIT, METADATA, Parameter, STARTING_AFTER, address, boolean, choice,
            gone, integer, merge_metadata, object, short_text, text,
        },
        payments::{self, Payer},
        store::Kind,
        world::Transaction,
    },
    Call, Route, customers, payment_methods, prices,
};

const LIST: &[Parameter] = &[CREATED, text("customer"), ENDING_BEFORE, LIMIT, STARTING_AFTER];

const CREATE: &[Parameter] = &[
    integer("amount").required(),
    object(
        "automatic_payment_methods",
        &[choice("allow_redirects", &["always", "never"]), boolean("enabled").required()],
    ),
    choice("capture_method", &["automatic", "automatic_async"]),
    boolean("confirm"),
    short_text("currency", 3).required(),
    text("customer"),
    short_text("description", 1000),
    boolean("error_on_requires_action"),
    METADATA,
    boolean("off_session"),
    text("payment_method"),
    gone("payment_method_types", "payment_method_types_no_longer_supported"),
    text("receipt_email"),
    address("return_url"),
    choice("setup_future_usage", &["off_session", "on_session"]),
    short_text("statement_descriptor", 22),
    short_text("statement_descriptor_suffix", 22),
    text("transfer_group"),
];

const CONFIRM: &[Parameter] = &[
    boolean("error_on_requires_action"),
    boolean("off_session"),
    text("payment_method"),
    address("return_url"),
];

const REASONS: &[&str] = &["abandoned", "duplicate", "fraudulent", "requested_by_customer"];

const UPDATE: &[Parameter] = &[text("description"), METADATA, text("receipt_email")];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/payment_intents", CREATE, create),
    Route::post("/v1/payment_intents/{id}/confirm", CONFIRM, |call| {
        let intent = call.transaction.find(Kind::PaymentIntent, call.id)?;
        confirm(call, intent)
    }),
    Route::post("/v1/payment_intents/{id}/cancel", &[choice("cancellation_reason", REASONS)], cancel),
    Route::get("/v1/payment_intents", LIST, |call| {
        lists::page(call.transaction, Kind::PaymentIntent, &call.given, "/v1/payment_intents", |intent| {
            call.given.filters(intent, "customer")
        })
    }),
    Route::get("/v1/payment_intents/{id}", &[text("client_secret")], |call| {
        call.transaction.find(Kind::PaymentIntent, call.id)
    }),
    Route::post("/v1/payment_intents/{id}", UPDATE, update),
];

/// What a new payment intent is about.
#[derive(Default)]
pub(in super::super) struct New {
    pub amount: i64,
    pub currency: Value,
    pub customer: Value,
    pub description: Value,
    pub metadata: Value,
    pub receipt_email: Value,
    pub setup_future_usage: Value,
    pub statement_descriptor: Value,
    pub statement_descriptor_suffix: Value,
    pub transfer_group: Value,
    pub method_types: Value,
    /// The invoice that it pays.
    pub invoice: Value,
}

/// Makes a payment intent that nobody has tried to pay yet.
pub(in super::super) fn make(transaction: &mut Transaction<'_>, new: New) -> Value {
    let id = ids::new(Kind::PaymentIntent);
    let mut intent = json!({
        "id": id,
        "object": "payment_intent",
        "allowed_payment_method_types": null,
        "amount": new.amount,
        "amount_capturable": 0,
        "amount_details": { "tip": {} },
        "amount_received": 0,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": null,
        "canceled_at": null,
        "cancellation_reason": null,
        "capture_method": "automatic_async",
        "client_secret": format!("{id}_secret_{}", ids::with_prefix("", 25)),
        "confirmation_method": "automatic",
        "created": transaction.now(),
        "currency": new.currency,
        "customer": new.customer,
        "customer_account": null,
        "description": new.description,
        "excluded_payment_method_types": null,
        "last_payment_error": null,
        "latest_charge": null,
        "livemode": false,
        "metadata": if new.metadata.is_null() { json!({}) } else { new.metadata },
        "next_action": null,
        "on_behalf_of": null,
        "payment_method": null,
        "payment_method_configuration_details": null,
        "payment_method_options": {
            "card": { "installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic" },
        },
        "payment_method_types": new.method_types,
        "processing": null,
        "receipt_email": new.receipt_email,
        "review": null,
        "setup_future_usage": new.setup_future_usage,
        "shipping": null,
        "source": null,
        "statement_descriptor": new.statement_descriptor,
        "statement_descriptor_suffix": new.statement_descriptor_suffix,
        "status": "requires_payment_method",
        "transfer_data": null,
        "transfer_group": new.transfer_group,
    });
    if !new.invoice.is_null() {
        intent["payment_details"] = json!({ "customer_reference": null, "order_reference": new.invoice });
    }
    transaction.put(Kind::PaymentIntent, &intent);
    transaction.emit("payment_intent.created", &intent);
    intent
}

fn create(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let given = &call.given;
    let amount = given.integer("amount").unwrap_or_default();
    if amount < 50 {
        let message = "The amount must be greater than or equal to the minimum charge amount allowed for your account and the currency set (https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).";
        return Err(Failure::parameters(message).code("parameter_invalid_integer").of("amount"));
    }
    let currency = prices::currency(given.text("currency").unwrap_or_default())?;
    if let Some(customer) = given.text("customer") {
        customers::living(call.transaction, "customer", customer)?;
    }
    let intent = make(
        call.transaction,
        New {
            amount,
            currency: currency.into(),
            customer: given.value("customer"),
            description: given.value("description"),
            metadata: given.value_or("metadata", json!({})),
            receipt_email: given.value("receipt_email"),
            setup_future_usage: given.value("setup_future_usage"),
            statement_descriptor: given.value("statement_descriptor"),
            statement_descriptor_suffix: given.value("statement_descriptor_suffix"),
            transfer_group: given.value("transfer_group"),
            method_types: json!(["card"]),
            invoice: Value::Null,
        },
    );
    if call.given.boolean("confirm") == Some(true) { confirm(call, intent) } else { Ok(intent) }
}

/// Charges the payment method. A refusal leaves the intent behind, to be tried again with another.
fn confirm(call: &mut Call<'_, '_>, mut intent: Value) -> Result<Value, Failure> {
    if !matches!(intent["status"].as_str(), Some("requires_payment_method" | "requires_confirmation")) {
        let message = format!(
            "This PaymentIntent's status is {}, so it cannot be confirmed.",
            intent["status"].as_str().unwrap_or_default()
        );
        return Err(Failure::state(message).code("payment_intent_unexpected_state"));
    }
    let named =
        call.given.text("payment_method").or_else(|| intent["payment_method"].as_str()).map(str::to_owned);
    let Some(named) = named else {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method.";
        return Err(Failure::state(message).code("payment_intent_unexpected_state"));
    };
    let made = payment_methods::named(call.transaction, "payment_method", &named)?;
    if !made["customer"].is_null() && made["customer"] != intent["customer"] {
        let message = "The provided PaymentMethod belongs to another Customer.";
        return Err(Failure::state(message).of("payment_method"));
    }
    let payer = billing::payer_of(call.transaction, &intent);
    match payment_methods::method_of(call.transaction, &made) {
        Some(Method::SepaDebit) => Ok(payments::process(call.transaction, &intent, &made, &payer)),
        Some(Method::Card(card)) => match card.bank {
            Bank::Declines(why) => Err(refused(call, &intent, &made, &payer, why)),
            Bank::Asks if call.given.boolean("off_session") == Some(true) => {
                Err(refused(call, &intent, &made, &payer, &cards::ASKS_FOR_THE_BUYER))
            }
            Bank::Asks => {
                intent["payment_method"] = made["id"].clone();
                intent["status"] = "requires_action".into();
                let url = format!(
                    "{}/authenticate/{}",
                    call.transaction.base_url,
                    intent["id"].as_str().unwrap_or_default()
                );
                intent["next_action"] = json!({
                    "redirect_to_url": { "return_url": call.given.value("return_url"), "url": url },
                    "type": "redirect_to_url",
                });
                call.transaction.put(Kind::PaymentIntent, &intent);
                call.transaction.emit("payment_intent.requires_action", &intent);
                Ok(intent)
            }
            Bank::Pays | Bank::Disputes { .. } => {
                Ok(payments::succeed(call.transaction, &intent, &made, &payer))
            }
        },
        None => Err(Failure::state("The payment method can no longer be charged.").of("payment_method")),
    }
}

fn refused(call: &mut Call<'_, '_>, intent: &Value, made: &Value, payer: &Payer, why: &Decline) -> Failure {
    let intent = payments::decline(call.transaction, intent, made, payer, why);
    let mut failure = Failure::declined(why);
    failure.more.insert("charge".to_owned(), intent["latest_charge"].clone());
    failure.more.insert("payment_method".to_owned(), made.clone());
    failure.more.insert("payment_intent".to_owned(), intent);
    failure
}

fn cancel(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let mut intent = call.transaction.find(Kind::PaymentIntent, call.id)?;
    if matches!(intent["status"].as_str(), Some("succeeded" | "canceled" | "processing")) {
        let message = format!(
            "You cannot cancel this PaymentIntent because it has a status of {}.",
            intent["status"].as_str().unwrap_or_default()
        );
        return Err(Failure::state(message).code("payment_intent_unexpected_state"));
    }
    intent["canceled_at"] = call.transaction.now().into();
    intent["cancellation_reason"] = call.given.value("cancellation_reason");
    intent["next_action"] = Value::Null;
    intent["status"] = "canceled".into();
    call.transaction.put(Kind::PaymentIntent, &intent);
    call.transaction.emit("payment_intent.canceled", &intent);
    Ok(intent)
}

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let mut intent = call.transaction.find(Kind::PaymentIntent, call.id)?;
    for field in ["description", "receipt_email"] {
        if let Some(value) = call.given.get(field) {
            intent[field] = value.clone();
        }
    }
    merge_metadata(&mut intent, call.given.get("metadata"))?;
    call.transaction.put(Kind::PaymentIntent, &intent);
    Ok(intent)
}
