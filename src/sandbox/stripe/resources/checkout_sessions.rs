//! Checkout sessions: how they are asked for, and what may not be asked for together.
//!
//! What happens when someone pays one stands in [`super::super::checkout`].

mod parameters;
mod shape;

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure, checkout, ids, lists, older, parameters::merge_metadata, store::Kind,
        world::Transaction,
    },
    Call, Given, Route, customers, prices, promotion_codes,
};

/// How long a session is open unless its maker says otherwise, and at least and at most, in seconds.
const USUAL_LIFE: i64 = 24 * 3600;
const SHORTEST_LIFE: i64 = 30 * 60;

/// Stripe refuses to charge less.
const LEAST_AMOUNT: i64 = 50;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/checkout/sessions", parameters::CREATE, create),
    Route::get("/v1/checkout/sessions", parameters::LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::CheckoutSession, given, "/v1/checkout/sessions", |session| {
            let details = given.get("customer_details").and_then(|details| details["email"].as_str());
            details.is_none_or(|email| session["customer_details"]["email"] == email)
                && ["customer", "payment_intent", "status", "subscription"]
                    .iter()
                    .all(|field| given.filters(session, field))
        })
    }),
    Route::get("/v1/checkout/sessions/{id}", &[], |call| {
        call.transaction.find(Kind::CheckoutSession, call.id)
    }),
    Route::post("/v1/checkout/sessions/{id}", parameters::UPDATE, |call| {
        let mut session = call.transaction.find(Kind::CheckoutSession, call.id)?;
        merge_metadata(&mut session, call.given.get("metadata"))?;
        call.transaction.put(Kind::CheckoutSession, &session);
        Ok(session)
    }),
    Route::post("/v1/checkout/sessions/{id}/expire", &[], |call| {
        let session = call.transaction.find(Kind::CheckoutSession, call.id)?;
        if session["status"] != "open" {
            let message = format!(
                "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of {}.",
                session["status"].as_str().unwrap_or_default()
            );
            return Err(Failure::state(message));
        }
        Ok(expire(call.transaction, call.id))
    }),
    Route::get("/v1/checkout/sessions/{id}/line_items", parameters::LIST_LINES, |call| {
        call.transaction.find(Kind::CheckoutSession, call.id)?;
        let whole = line_items(call.transaction, call.id);
        let lines = whole["data"].as_array().map(|lines| lines.iter().collect()).unwrap_or_default();
        lists::page_of(lines, &call.given, &format!("/v1/checkout/sessions/{}/line_items", call.id), |_| {
            false
        })
    }),
];

/// The list of what a session sells.
pub(in super::super) fn line_items(transaction: &Transaction<'_>, id: &str) -> Value {
    let lines = transaction.hidden(id)["lines"].as_array().cloned().unwrap_or_default();
    let mut list = older::whole_list(lines, &format!("/v1/checkout/sessions/{id}/line_items"));
    if let Some(list) = list.as_object_mut() {
        list.shift_remove("total_count");
    }
    list
}

/// Nobody can pay it any more.
pub(in super::super) fn expire(transaction: &mut Transaction<'_>, id: &str) -> Value {
    let mut session = transaction.peek(Kind::CheckoutSession, &id.into());
    session["status"] = "expired".into();
    session["url"] = Value::Null;
    transaction.put(Kind::CheckoutSession, &session);
    transaction.emit("checkout.session.expired", &session);
    session
}

fn create(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let given = call.given.clone();
    let mode = given.text("mode").unwrap_or_default().to_owned();
    check_combinations(&given, &mode)?;
    let customer = match given.text("customer") {
        Some(id) => Some(customers::living(call.transaction, "customer", id)?),
        None => None,
    };
    if let Some(customer) = &customer {
        check_customer(&given, customer)?;
    }
    let expires_at = expires_at(&given, call.transaction.now())?;
    let discount = promotion_codes::discount(call.transaction, &given)?;
    let lines = lines(call.transaction, &given, &mode)?;
    let mut session = shape::session(call.transaction, &given, customer.as_ref(), expires_at);
    merge_metadata(&mut session, given.get("metadata"))?;
    session["currency"] = lines.first().map_or(Value::Null, |line| line["currency"].clone());
    if !discount.is_null() {
        session["discounts"] = json!([discount]);
    }
    let id = session["id"].as_str().unwrap_or_default().to_owned();
    call.transaction.put(Kind::CheckoutSession, &session);
    call.transaction.set_hidden(&id, "lines", lines.into());
    for data in ["payment_intent_data", "subscription_data", "customer_update"] {
        call.transaction.set_hidden(&id, data, given.value(data));
    }
    let session = checkout::price_anew(call.transaction, &id);
    let total = session["amount_total"].as_i64().unwrap_or_default();
    if mode == "payment" && (1..LEAST_AMOUNT).contains(&total) {
        let message = "The Checkout Session's total amount must convert to at least 50 cents.";
        return Err(Failure::state(message).code("amount_too_small"));
    }
    Ok(session)
}

fn check_combinations(given: &Given, mode: &str) -> Result<(), Failure> {
    for (one, other) in [("customer", "customer_email"), ("allow_promotion_codes", "discounts")] {
        let both_given =
            [one, other].iter().all(|name| given.get(name).is_some_and(|value| !value.is_null()));
        if both_given {
            let message = format!("You may only specify one of these parameters: {one}, {other}.");
            return Err(Failure::parameters(message));
        }
    }
    if given.text("success_url").is_none() {
        let message = "You must provide a `success_url` for a hosted page.";
        return Err(Failure::parameters(message).code("parameter_missing").of("success_url"));
    }
    if given.text("customer").is_none() && given.get("customer_update").is_some() {
        let message = "`customer_update` can only be used with `customer`.";
        return Err(Failure::parameters(message).of("customer_update"));
    }
    if given.get("customer_creation").is_some() && (mode != "payment" || given.text("customer").is_some()) {
        let message = "`customer_creation` can only be used in `payment` mode and without `customer`.";
        return Err(Failure::parameters(message).of("customer_creation"));
    }
    for (param, only) in [
        ("payment_intent_data", "payment"),
        ("invoice_creation", "payment"),
        ("submit_type", "payment"),
        ("subscription_data", "subscription"),
    ] {
        if given.get(param).is_some() && mode != only {
            let message = format!("You can not pass `{param}` in `{mode}` mode.");
            return Err(Failure::parameters(message).of(param));
        }
    }
    Ok(())
}

/// Taxes need to know where the customer is, and may need to write that down.
fn check_customer(given: &Given, customer: &Value) -> Result<(), Failure> {
    let is_on = |name: &str| given.value(name)["enabled"] == true;
    let updates = |part: &str| given.value("customer_update")[part] == "auto";
    if is_on("automatic_tax") && customer["address"]["country"].is_null() && !updates("address") {
        let message = "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' to save the address entered in Checkout to the Customer.";
        return Err(Failure::state(message).code("customer_tax_location_invalid").of("automatic_tax"));
    }
    if is_on("tax_id_collection") && !updates("name") {
        let message = "Tax ID collection requires updating business name on the customer. To enable tax ID collection for an existing customer, please set `customer_update[name]` to `auto`.";
        return Err(Failure::state(message).of("customer_update[name]"));
    }
    Ok(())
}

fn expires_at(given: &Given, now: i64) -> Result<i64, Failure> {
    let Some(moment) = given.integer("expires_at") else { return Ok(now + USUAL_LIFE) };
    // A minute of grace for a clock that is a little behind or ahead.
    if moment < now + SHORTEST_LIFE - 60 {
        let message =
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.";
        return Err(Failure::state(message).of("expires_at"));
    }
    if moment > now + USUAL_LIFE + 60 {
        let message = "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.";
        return Err(Failure::state(message).of("expires_at"));
    }
    Ok(moment)
}

fn lines(transaction: &mut Transaction<'_>, given: &Given, mode: &str) -> Result<Vec<Value>, Failure> {
    let asked = given.get("line_items").and_then(Value::as_array).cloned().unwrap_or_default();
    if asked.is_empty() {
        let message = format!("You must provide `line_items` in `{mode}` mode.");
        return Err(Failure::parameters(message).code("parameter_missing").of("line_items"));
    }
    let mut lines = Vec::new();
    for (place, asked) in asked.iter().enumerate() {
        lines.push(line(transaction, asked, &format!("line_items[{place}]"))?);
    }
    let is_recurring = |line: &Value| line["price"]["type"] == "recurring";
    if mode == "payment" && lines.iter().any(is_recurring) {
        let message = "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.";
        return Err(Failure::state(message).of("line_items"));
    }
    if mode == "subscription" && !lines.iter().any(is_recurring) {
        let message =
            "You must provide at least one recurring price in `subscription` mode when using prices.";
        return Err(Failure::state(message).of("line_items"));
    }
    if lines.iter().any(|line| line["currency"] != lines[0]["currency"]) {
        let message = "All prices on a Checkout Session must have the same currency.";
        return Err(Failure::state(message).of("line_items"));
    }
    Ok(lines)
}

fn line(transaction: &mut Transaction<'_>, asked: &Value, path: &str) -> Result<Value, Failure> {
    let price = match (asked["price"].as_str(), asked["price_data"].as_object()) {
        (Some(id), None) => transaction.find_in(&format!("{path}[price]"), Kind::Price, id)?,
        (None, Some(data)) => {
            let mut data: Given = data.clone().into();
            data.take_product(transaction)?;
            let mut price = prices::build(transaction, &data, None)?;
            price["active"] = false.into();
            transaction.put(Kind::Price, &price);
            price["active"] = true.into();
            price
        }
        _ => {
            let message = format!("You must pass exactly one of `{path}[price]` and `{path}[price_data]`.");
            return Err(Failure::parameters(message).code("parameter_missing").of(format!("{path}[price]")));
        }
    };
    if price["active"] != true {
        let message = format!(
            "The price specified is inactive. This field only accepts active prices. ({})",
            price["id"].as_str().unwrap_or_default()
        );
        return Err(Failure::state(message).of(format!("{path}[price]")));
    }
    let product = transaction.peek(Kind::Product, &price["product"]);
    if product["active"] == false {
        let message = "The product of the price specified is inactive.";
        return Err(Failure::state(message).code("product_inactive").of(format!("{path}[price]")));
    }
    let quantity = asked["quantity"].as_i64().or_else(|| asked["adjustable_quantity"]["minimum"].as_i64());
    let Some(quantity) = quantity else {
        let message = format!("Quantity is required. Add `quantity` to `{path}`.");
        return Err(Failure::parameters(message).code("parameter_missing").of(format!("{path}[quantity]")));
    };
    if !(1..=999_999).contains(&quantity) {
        let message = "Invalid quantity: must be from 1 to 999999.";
        return Err(Failure::parameters(message).of(format!("{path}[quantity]")));
    }
    Ok(json!({
        "id": ids::with_prefix("li_1", 23),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": 0,
        "amount_tax": 0,
        "amount_total": 0,
        "currency": price["currency"],
        "description": product["name"],
        "metadata": {},
        "price": price,
        "quantity": quantity,
    }))
}
