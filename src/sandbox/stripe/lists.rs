//! Lists: newest first, by cursors, filtered; and what `expand` puts in place of ids.

use serde_json::{Value, json};

use super::{
    answer::Failure,
    older,
    resources::{self, Given},
    store::Kind,
    world::Transaction,
};

/// How many dots and fields a path of `expand` may have.
const DEEPEST_EXPANSION: usize = 4;

/// One page of what `is_meant` lets through.
///
/// # Errors
/// If the limit is none, or a cursor names nothing.
pub(super) fn page(
    transaction: &Transaction<'_>,
    kind: Kind,
    given: &Given,
    url: &str,
    is_meant: impl Fn(&Value) -> bool,
) -> Result<Value, Failure> {
    let created = given.value("created");
    let objects = transaction
        .store
        .all(kind)
        .rev()
        .filter(|object| object.get("deleted").is_none() && is_within(&created, &object["created"]))
        .filter(|object| is_meant(object))
        .collect();
    page_of(objects, given, url, |id| transaction.find(kind, id).is_ok())
}

/// One page of objects that are already in order.
///
/// # Errors
/// As [`page`].
pub(super) fn page_of(
    objects: Vec<&Value>,
    given: &Given,
    url: &str,
    exists: impl Fn(&str) -> bool,
) -> Result<Value, Failure> {
    let limit = given.integer("limit").unwrap_or(10);
    if !(1..=100).contains(&limit) {
        let message = format!("Invalid limit: {limit}. The limit must be between 1 and 100.");
        return Err(Failure::parameters(message).code("parameter_invalid_integer").of("limit"));
    }
    let limit = usize::try_from(limit).unwrap_or(10);
    let position = |param: &str| -> Result<Option<usize>, Failure> {
        let Some(cursor) = given.text(param) else { return Ok(None) };
        match objects.iter().position(|object| object["id"] == cursor) {
            Some(position) => Ok(Some(position)),
            None if exists(cursor) => Ok(Some(objects.len())),
            None => Err(Failure::no_such_in(param, "object", cursor)),
        }
    };
    let (after, before) = (position("starting_after")?, position("ending_before")?);
    let (page, has_more) = match (after, before) {
        (Some(_), Some(_)) => {
            return Err(Failure::parameters(
                "You cannot parameterize `starting_after` and `ending_before` simultaneously.",
            ));
        }
        (None, Some(before)) => {
            let first = before.saturating_sub(limit);
            (&objects[first..before.min(objects.len())], first > 0)
        }
        (after, None) => {
            let first = after.map_or(0, |after| (after + 1).min(objects.len()));
            let last = (first + limit).min(objects.len());
            (&objects[first..last], last < objects.len())
        }
    };
    Ok(json!({ "object": "list", "data": page, "has_more": has_more, "url": url }))
}

fn is_within(range: &Value, created: &Value) -> bool {
    let Some(created) = created.as_i64() else { return true };
    match range {
        Value::Number(_) => range.as_i64() == Some(created),
        Value::Object(bounds) => bounds.iter().all(|(bound, moment)| {
            let moment = moment.as_i64().unwrap_or_default();
            match bound.as_str() {
                "gt" => created > moment,
                "gte" => created >= moment,
                "lt" => created < moment,
                _ => created <= moment,
            }
        }),
        _ => true,
    }
}

/// Puts objects in place of the ids that `paths` lead to, and adds what is only shown on demand.
///
/// # Errors
/// If a path leads nowhere.
pub(super) fn expand(
    transaction: &Transaction<'_>,
    object: &mut Value,
    paths: &[String],
) -> Result<(), Failure> {
    for path in paths {
        let fields: Vec<&str> = path.split('.').collect();
        if fields.len() > DEEPEST_EXPANSION {
            let message = format!(
                "You cannot expand more than {DEEPEST_EXPANSION} levels of a property. Property: {path}"
            );
            return Err(Failure::parameters(message).of("expand"));
        }
        expand_path(transaction, object, &fields, path)?;
    }
    Ok(())
}

fn expand_path(
    transaction: &Transaction<'_>,
    object: &mut Value,
    fields: &[&str],
    path: &str,
) -> Result<(), Failure> {
    let Some((field, rest)) = fields.split_first() else { return Ok(()) };
    if let Value::Array(items) = object {
        return items.iter_mut().try_for_each(|item| expand_path(transaction, item, fields, path));
    }
    if object.is_null() || object.get("deleted").is_some() {
        return Ok(());
    }
    let is_list = object["object"] == "list";
    if object.get(*field).is_none_or(Value::is_null)
        && let Some(value) = on_demand(transaction, object, field)
    {
        object[*field] = value;
    }
    match object.get_mut(*field) {
        Some(Value::Array(items)) if !is_list => {
            for item in items.iter_mut() {
                put_object(transaction, item);
            }
        }
        Some(Value::String(_)) => {
            if !put_object(transaction, &mut object[*field]) {
                return Err(not_expandable(path));
            }
        }
        Some(_) => {}
        None => return Err(not_expandable(path)),
    }
    expand_path(transaction, &mut object[*field], rest, path)
}

/// Puts the object in place of its id, if it is one.
fn put_object(transaction: &Transaction<'_>, place: &mut Value) -> bool {
    const EXPANDABLE: &[Kind] = &[
        Kind::BalanceTransaction,
        Kind::Charge,
        Kind::CreditNote,
        Kind::Customer,
        Kind::CustomerBalanceTransaction,
        Kind::Dispute,
        Kind::Invoice,
        Kind::PaymentIntent,
        Kind::PaymentMethod,
        Kind::Price,
        Kind::Product,
        Kind::PromotionCode,
        Kind::Coupon,
        Kind::Refund,
        Kind::SetupIntent,
        Kind::Subscription,
    ];
    if place.is_object() {
        return true;
    }
    let found =
        place.as_str().and_then(|id| EXPANDABLE.iter().find_map(|kind| transaction.store.get(*kind, id)));
    match found.cloned() {
        Some(object) => {
            *place = object;
            true
        }
        None => false,
    }
}

/// What an object only has if it is asked for.
fn on_demand(transaction: &Transaction<'_>, object: &Value, field: &str) -> Option<Value> {
    let kind = Kind::named(object["object"].as_str()?)?;
    match (kind, field) {
        (Kind::Charge, "refunds") => Some(older::refunds_of(object, transaction.store)),
        (Kind::CheckoutSession, "line_items") => {
            Some(resources::checkout_sessions::line_items(transaction, object["id"].as_str()?))
        }
        (Kind::Invoice, "payments") => {
            let payments = transaction
                .store
                .all(Kind::InvoicePayment)
                .rev()
                .filter(|payment| payment["invoice"] == object["id"]);
            Some(older::whole_list(payments.cloned().collect(), "/v1/invoice_payments"))
        }
        (Kind::Invoice, "confirmation_secret") => {
            let payment = transaction
                .store
                .all(Kind::InvoicePayment)
                .find(|payment| payment["invoice"] == object["id"])?;
            let intent = transaction.peek(Kind::PaymentIntent, &payment["payment"]["payment_intent"]);
            Some(json!({ "client_secret": intent["client_secret"], "type": "payment_intent" }))
        }
        (Kind::Customer, "subscriptions") => {
            let all = transaction.store.all(Kind::Subscription).rev().filter(|subscription| {
                subscription["customer"] == object["id"] && subscription["status"] != "canceled"
            });
            let url = format!("/v1/customers/{}/subscriptions", object["id"].as_str()?);
            Some(older::whole_list(all.cloned().collect(), &url))
        }
        (Kind::Customer, "tax") => Some(json!({
            "automatic_tax": "unrecognized_location", "ip_address": null, "location": null, "provider": "stripe",
        })),
        (Kind::Customer, "invoice_credit_balance") => Some(json!({})),
        _ => None,
    }
}

fn not_expandable(path: &str) -> Failure {
    Failure::parameters(format!("This property cannot be expanded ({path}).")).of("expand")
}
