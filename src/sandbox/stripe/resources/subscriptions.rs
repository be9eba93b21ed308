//! Subscriptions: read, changed, ended. They are made by checkout.

use serde_json::Value;

use super::{
    super::{
        answer::Failure,
        cards::GENERIC,
        lists,
        parameters::{
            CREATED, ENDING_BEFORE, Kind as Type, LIMIT, METADATA, Parameter, STARTING_AFTER, boolean,
            choice, integer, list, merge_metadata, object, short_text, text,
        },
        store::Kind,
        subscriptions::{self, Prorations, Wanted},
        world::Transaction,
    },
    Call, Given, Route,
};

const LIST: &[Parameter] = &[
    CREATED,
    text("customer"),
    ENDING_BEFORE,
    LIMIT,
    text("price"),
    STARTING_AFTER,
    choice(
        "status",
        &[
            "active",
            "all",
            "canceled",
            "ended",
            "incomplete",
            "incomplete_expired",
            "past_due",
            "paused",
            "trialing",
            "unpaid",
        ],
    ),
];

const UPDATE: &[Parameter] = &[
    integer("cancel_at"),
    boolean("cancel_at_period_end"),
    object("cancellation_details", CANCELLATION),
    text("default_payment_method"),
    short_text("description", 500),
    list("items", &ITEM),
    METADATA,
    object("pause_collection", &[choice("behavior", &["mark_uncollectible", "void"]).required()]),
    choice("payment_behavior", &["allow_incomplete", "error_if_incomplete"]),
    choice("proration_behavior", PRORATION_BEHAVIORS),
    integer("proration_date"),
];

/// An item that changes.
pub(super) const ITEM: Type = Type::Object(&[text("id"), text("price"), integer("quantity")]);

pub(super) const PRORATION_BEHAVIORS: &[&str] = &["always_invoice", "create_prorations", "none"];

const CANCELLATION: &[Parameter] = &[
    text("comment"),
    choice(
        "feedback",
        &[
            "customer_service",
            "low_quality",
            "missing_features",
            "other",
            "switched_service",
            "too_complex",
            "too_expensive",
            "unused",
        ],
    ),
];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/subscriptions", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::Subscription, given, "/v1/subscriptions", |subscription| {
            let is_meant = match given.text("status") {
                None => subscription["status"] != "canceled",
                Some("all") => true,
                Some("ended") => subscription["status"] == "canceled",
                Some(status) => subscription["status"] == status,
            };
            let items = subscription["items"]["data"].as_array();
            let has_price = given.text("price").is_none_or(|price| {
                items.is_some_and(|items| items.iter().any(|item| item["price"]["id"] == price))
            });
            is_meant && has_price && given.filters(subscription, "customer")
        })
    }),
    Route::get("/v1/subscriptions/{id}", &[], |call| call.transaction.find(Kind::Subscription, call.id)),
    Route::post("/v1/subscriptions/{id}", UPDATE, update),
    Route { table: CANCEL, ..Route::delete("/v1/subscriptions/{id}", cancel) },
];

const CANCEL: &[Parameter] =
    &[object("cancellation_details", CANCELLATION), boolean("invoice_now"), boolean("prorate")];

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = alive(call.transaction, call.id)?;
    let mut subscription = before.clone();
    for field in ["cancel_at", "description", "pause_collection"] {
        if let Some(value) = call.given.get(field) {
            subscription[field] = value.clone();
        }
    }
    if let Some(ends) = call.given.boolean("cancel_at_period_end") {
        subscription = subscriptions::let_end(call.transaction, &subscription, ends);
    }
    if let Some(Value::Object(details)) = call.given.get("cancellation_details") {
        for (name, value) in details {
            subscription["cancellation_details"][name] = value.clone();
        }
    }
    if let Some(method) = call.given.text("default_payment_method") {
        let method = call.transaction.find_in("default_payment_method", Kind::PaymentMethod, method)?;
        subscription["default_payment_method"] = method["id"].clone();
    }
    merge_metadata(&mut subscription, call.given.get("metadata"))?;
    let wanted = wanted(call.transaction, &subscription, &call.given, "items")?;
    if subscription != before {
        call.transaction.put(Kind::Subscription, &subscription);
        // Of one request there is one event: that about the items tells of the rest as well.
        if wanted.is_empty() {
            call.transaction.emit_change("customer.subscription.updated", &before, &subscription);
        }
    }
    for wanted in wanted {
        subscription = subscriptions::change_item(call.transaction, &subscription, &wanted);
    }
    let is_unpaid = call.transaction.peek(Kind::Invoice, &subscription["latest_invoice"])["status"] == "open";
    if call.given.text("payment_behavior") == Some("error_if_incomplete") && is_unpaid {
        // Nothing of it has happened, not even the try to collect.
        call.transaction.store.undo();
        return Err(Failure::declined(&GENERIC));
    }
    Ok(subscription)
}

/// Which items get which price and quantity, and how that is charged.
pub(super) fn wanted(
    transaction: &Transaction<'_>,
    subscription: &Value,
    given: &Given,
    path: &str,
) -> Result<Vec<Wanted>, Failure> {
    let prorations = match given.text("proration_behavior") {
        Some("none") => Prorations::Never,
        Some("always_invoice") => Prorations::Now,
        _ => Prorations::Later,
    };
    let at = given.integer("proration_date").unwrap_or_else(|| transaction.now());
    let items = given.value("items");
    let items = items.as_array().map_or(&[][..], Vec::as_slice);
    let known = subscription["items"]["data"].as_array().map_or(&[][..], Vec::as_slice);
    let mut changes = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let id = item["id"].as_str().unwrap_or_default();
        let Some(place) = known.iter().position(|known| known["id"] == id) else {
            let message =
                "The simulator changes the items that a subscription has, by their `id`, and adds none.";
            return Err(Failure::state(message).of(format!("{path}[{number}][id]")));
        };
        let price = match item["price"].as_str() {
            Some(price) => transaction.find_in(&format!("{path}[{number}][price]"), Kind::Price, price)?,
            None => known[place]["price"].clone(),
        };
        if price["type"] != "recurring" || price["currency"] != subscription["currency"] {
            let message = "The price must recur, in the currency of the subscription.";
            return Err(Failure::state(message).of(format!("{path}[{number}][price]")));
        }
        let quantity = item["quantity"].as_i64().or_else(|| known[place]["quantity"].as_i64()).unwrap_or(1);
        changes.push(Wanted { place, price, quantity, prorations, at });
    }
    Ok(changes)
}

fn cancel(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let mut subscription = alive(call.transaction, call.id)?;
    if let Some(Value::Object(details)) = call.given.get("cancellation_details") {
        for (name, value) in details {
            subscription["cancellation_details"][name] = value.clone();
        }
    }
    Ok(subscriptions::end(call.transaction, &subscription, "cancellation_requested"))
}

fn alive(transaction: &Transaction<'_>, id: &str) -> Result<Value, Failure> {
    let subscription = transaction.find(Kind::Subscription, id)?;
    if subscriptions::is_alive(&subscription) {
        Ok(subscription)
    } else {
        Err(Failure::no_such("subscription", id))
    }
}
