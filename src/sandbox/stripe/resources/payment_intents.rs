//! Payment intents. They are made by checkout; later ones off-session.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, LIMIT, METADATA, Parameter, STARTING_AFTER, merge_metadata, text,
        },
        store::Kind,
        world::Transaction,
    },
    Call, Route,
};

const LIST: &[Parameter] = &[CREATED, text("customer"), ENDING_BEFORE, LIMIT, STARTING_AFTER];

const UPDATE: &[Parameter] = &[text("description"), METADATA, text("receipt_email")];

pub(super) const ROUTES: &[Route] = &[
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
        "metadata": new.metadata,
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
