//! Customers.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, Kind as Type, LIMIT, METADATA, POSTAL_ADDRESS, Parameter, STARTING_AFTER,
            choice, free, integer, list, merge_metadata, object, short_text, text,
        },
        search,
        store::Kind,
        subscriptions,
        world::Transaction,
    },
    Call, Given, Route,
};

const EXEMPTIONS: &[&str] = &["exempt", "none", "reverse"];

const CREATE: &[Parameter] = &[
    object("address", POSTAL_ADDRESS),
    integer("balance"),
    short_text("business_name", 150),
    text("description"),
    short_text("email", 512),
    short_text("individual_name", 150),
    text("invoice_prefix"),
    object("invoice_settings", INVOICE_SETTINGS),
    METADATA,
    short_text("name", 256),
    integer("next_invoice_sequence"),
    text("payment_method"),
    short_text("phone", 20),
    list("preferred_locales", &Type::Text(10)),
    object("shipping", SHIPPING),
    object("tax", &[text("ip_address"), choice("validate_location", &["deferred", "immediately"])]),
    choice("tax_exempt", EXEMPTIONS),
];

const UPDATE: &[Parameter] = &[
    object("address", POSTAL_ADDRESS),
    integer("balance"),
    short_text("business_name", 150),
    text("description"),
    short_text("email", 512),
    short_text("individual_name", 150),
    text("invoice_prefix"),
    object("invoice_settings", INVOICE_SETTINGS),
    METADATA,
    short_text("name", 256),
    integer("next_invoice_sequence"),
    short_text("phone", 20),
    list("preferred_locales", &Type::Text(10)),
    object("shipping", SHIPPING),
    object("tax", &[text("ip_address"), choice("validate_location", &["auto", "deferred", "immediately"])]),
    choice("tax_exempt", EXEMPTIONS),
];

const INVOICE_SETTINGS: &[Parameter] =
    &[free("custom_fields"), text("default_payment_method"), text("footer"), free("rendering_options")];

const SHIPPING: &[Parameter] =
    &[object("address", POSTAL_ADDRESS).required(), text("name").required(), text("phone")];

const LIST: &[Parameter] = &[CREATED, text("email"), ENDING_BEFORE, LIMIT, STARTING_AFTER];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/customers", CREATE, |call| {
        let customer = create(call.transaction, &call.given)?;
        call.transaction.emit("customer.created", &customer);
        Ok(customer)
    }),
    Route::get("/v1/customers", LIST, |call| {
        lists::page(call.transaction, Kind::Customer, &call.given, "/v1/customers", |customer| {
            call.given.filters(customer, "email")
        })
    }),
    Route::get("/v1/customers/search", search::PARAMETERS, |call| {
        search::run(call.transaction, Kind::Customer, &call.given, "/v1/customers/search")
    }),
    Route::get("/v1/customers/{id}", &[], |call| call.transaction.find(Kind::Customer, call.id)),
    Route::post("/v1/customers/{id}", UPDATE, update),
    Route::delete("/v1/customers/{id}", delete),
];

/// Makes a customer; its event is the caller's.
pub(in super::super) fn create(transaction: &mut Transaction<'_>, given: &Given) -> Result<Value, Failure> {
    let mut customer = json!({
        "id": ids::new(Kind::Customer),
        "object": "customer",
        "address": null,
        "balance": given.value_or("balance", 0),
        "created": transaction.now(),
        "currency": null,
        "customer_account": null,
        "default_source": null,
        "delinquent": false,
        "description": null,
        "discount": null,
        "email": null,
        "invoice_prefix": ids::with_prefix("", 8).to_uppercase(),
        "invoice_settings": {
            "custom_fields": null,
            "default_payment_method": null,
            "footer": null,
            "rendering_options": null,
        },
        "livemode": false,
        "metadata": {},
        "name": null,
        "next_invoice_sequence": 1,
        "phone": null,
        "preferred_locales": [],
        "shipping": null,
        "tax_exempt": "none",
        "test_clock": null,
    });
    change(transaction, &mut customer, given)?;
    transaction.put(Kind::Customer, &customer);
    Ok(customer)
}

fn change(transaction: &Transaction<'_>, customer: &mut Value, given: &Given) -> Result<(), Failure> {
    if let Some(email) = given.text("email")
        && !email.contains('@')
    {
        return Err(Failure::parameters(format!("Invalid email address: {email}"))
            .code("email_invalid")
            .of("email"));
    }
    const FIELDS: &[&str] = &[
        "balance",
        "business_name",
        "description",
        "email",
        "individual_name",
        "invoice_prefix",
        "name",
        "next_invoice_sequence",
        "phone",
        "preferred_locales",
        "shipping",
        "tax_exempt",
    ];
    for field in FIELDS {
        if let Some(value) = given.get(field) {
            customer[*field] = value.clone();
        }
    }
    if let Some(address) = given.get("address") {
        customer["address"] = if address.is_null() { Value::Null } else { whole_address(address) };
    }
    if let Some(Value::Object(settings)) = given.get("invoice_settings") {
        if let Some(method) = settings.get("default_payment_method").and_then(Value::as_str) {
            transaction.find_in("invoice_settings[default_payment_method]", Kind::PaymentMethod, method)?;
        }
        for (name, value) in settings {
            customer["invoice_settings"][name] = value.clone();
        }
    }
    if let Some(method) = given.text("payment_method") {
        transaction.find_in("payment_method", Kind::PaymentMethod, method)?;
    }
    merge_metadata(customer, given.get("metadata"))
}

/// An address with all its keys, from what is known of it.
pub(in super::super) fn whole_address(given: &Value) -> Value {
    let part = |name: &str| given.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "city": part("city"), "country": part("country"), "line1": part("line1"), "line2": part("line2"),
        "postal_code": part("postal_code"), "state": part("state"),
    })
}

/// The customer that a parameter names, which must not have been deleted.
pub(in super::super) fn living(
    transaction: &Transaction<'_>,
    param: &str,
    id: &str,
) -> Result<Value, Failure> {
    let customer = transaction.find_in(param, Kind::Customer, id)?;
    if customer.get("deleted").is_some() {
        return Err(Failure::no_such_in(param, "customer", id));
    }
    Ok(customer)
}

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::Customer, call.id)?;
    if before.get("deleted").is_some() {
        return Err(Failure::no_such("customer", call.id));
    }
    let mut customer = before.clone();
    change(call.transaction, &mut customer, &call.given)?;
    call.transaction.put(Kind::Customer, &customer);
    if customer != before {
        call.transaction.emit_change("customer.updated", &before, &customer);
    }
    Ok(customer)
}

fn delete(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::Customer, call.id)?;
    if before.get("deleted").is_some() {
        return Err(Failure::no_such("customer", call.id));
    }
    let deleted = json!({ "id": call.id, "object": "customer", "deleted": true });
    let alive: Vec<Value> = call
        .transaction
        .store
        .all(Kind::Subscription)
        .filter(|subscription| subscription["customer"] == call.id && subscriptions::is_alive(subscription))
        .cloned()
        .collect();
    for subscription in alive {
        subscriptions::end(call.transaction, &subscription, "cancellation_requested");
    }
    call.transaction.put(Kind::Customer, &deleted);
    call.transaction.emit("customer.deleted", &before);
    Ok(deleted)
}
