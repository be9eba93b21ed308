//! Subscriptions over time: they start at checkout, renew, fail to be paid, change and end.

mod change;
mod shape;

use serde_json::{Value, json};

use super::{
    billing, calendar,
    invoices::{self, Draft, Line, Part},
    payments::Payer,
    pricing,
    store::{Kind, Store},
    world::Transaction,
};
pub(super) use change::{Prorations, Wanted, change_item, preview};

/// Starts what a checkout session sold, unpaid as yet. Returns the subscription and its first invoice, which is open.
pub(super) fn start(
    transaction: &mut Transaction<'_>,
    session: &Value,
    lines: &Value,
    payer: &Payer,
    method: &Value,
) -> (Value, Value) {
    let data = transaction.hidden(text(&session["id"]))["subscription_data"].clone();
    let trial_end = trial_end(&data, transaction.now());
    let subscription = shape::new(transaction, session, lines, &data, payer, method, trial_end);
    transaction.put(Kind::Subscription, &subscription);
    let id = text(&subscription["id"]).to_owned();
    transaction.set_hidden(&id, "coupon", session["discounts"][0]["coupon"].clone());
    let now = transaction.now();
    let items = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
    let mut invoiced = Vec::new();
    let mut recurring = items.iter();
    for line in lines.as_array().into_iter().flatten() {
        if line["price"]["type"] != "recurring" {
            invoiced.push(Line::once(line.clone(), now));
        } else if let Some(item) = recurring.next() {
            let mut line = recurring_line(&subscription, item, line.clone());
            if trial_end.is_some() {
                line.description = format!("Trial period for {}", text(&line.item["description"])).into();
            }
            invoiced.push(line);
        }
    }
    let draft = Draft {
        payer,
        billing_reason: "subscription_create",
        currency: subscription["currency"].clone(),
        lines: invoiced,
        subscription: &subscription,
        period: (now, now),
        automatic_tax: session["automatic_tax"].clone(),
        data: &Value::Null,
    };
    let invoice = invoices::issue(transaction, &draft);
    let mut subscription = subscription.clone();
    subscription["latest_invoice"] = invoice["id"].clone();
    transaction.put(Kind::Subscription, &subscription);
    transaction.emit("customer.subscription.created", &subscription);
    (subscription, invoice)
}

/// When a trial ends, if the session sells one.
pub(super) fn trial_end(data: &Value, now: i64) -> Option<i64> {
    let days = data["trial_period_days"].as_i64().filter(|days| *days > 0);
    data["trial_end"].as_i64().or_else(|| days.map(|days| now + days * 86_400))
}

/// The earliest moment at which a subscription has to be looked at.
pub(super) fn next_due(store: &Store) -> impl Iterator<Item = i64> {
    let periods = store.waiting(Kind::Subscription).flat_map(|(_, subscription)| {
        [period_end(subscription), subscription["cancel_at"].as_i64()].into_iter().flatten()
    });
    let retries =
        store.waiting(Kind::Invoice).filter_map(|(_, invoice)| invoice["next_payment_attempt"].as_i64());
    periods.chain(retries)
}

/// Ends, renews and collects what is due.
pub(super) fn apply_due(transaction: &mut Transaction<'_>) {
    let now = transaction.now();
    let due: Vec<Value> = transaction
        .store
        .waiting(Kind::Subscription)
        .map(|(_, subscription)| subscription)
        .filter(|subscription| {
            let ends = [period_end(subscription), subscription["cancel_at"].as_i64()];
            ends.into_iter().flatten().any(|moment| moment <= now)
        })
        .cloned()
        .collect();
    for subscription in due {
        let is_over = subscription["cancel_at_period_end"] == true
            || subscription["cancel_at"].as_i64().is_some_and(|moment| moment <= now);
        if is_over {
            end(transaction, &subscription, "cancellation_requested");
        } else {
            renew(transaction, &subscription);
        }
    }
    let open: Vec<Value> = transaction
        .store
        .waiting(Kind::Invoice)
        .map(|(_, invoice)| invoice)
        .filter(|invoice| invoice["next_payment_attempt"].as_i64().is_some_and(|moment| moment <= now))
        .cloned()
        .collect();
    for invoice in open {
        billing::collect(transaction, &invoice);
    }
}

/// The next period begins, and is invoiced and collected.
pub(super) fn renew(transaction: &mut Transaction<'_>, before: &Value) -> Value {
    let mut subscription = before.clone();
    let start = period_end(before).unwrap_or_else(|| transaction.now());
    let end = next_end(before, start);
    set_period(&mut subscription, start, end);
    if subscription["status"] == "trialing" {
        subscription["status"] = "active".into();
    }
    let (invoice, subscription) =
        bill(transaction, before, subscription, "subscription_cycle", Vec::new(), true);
    match subscription["pause_collection"]["behavior"].as_str() {
        None => {
            billing::collect(transaction, &invoice);
        }
        Some(behavior) => invoices::give_up(transaction, &invoice, behavior),
    }
    transaction.peek(Kind::Subscription, &subscription["id"])
}

/// Invoices the subscription's items, or only what is pending, and tells of the change.
fn bill(
    transaction: &mut Transaction<'_>,
    before: &Value,
    mut subscription: Value,
    billing_reason: &'static str,
    mut lines: Vec<Line>,
    with_items: bool,
) -> (Value, Value) {
    let id = text(&subscription["id"]).to_owned();
    lines.extend(change::take_pending(transaction, &subscription));
    if with_items {
        lines.extend(item_lines(transaction, &subscription));
    }
    let payer = billing::payer_of(transaction, &subscription);
    let now = transaction.now();
    let draft = Draft {
        payer: &payer,
        billing_reason,
        currency: subscription["currency"].clone(),
        lines,
        subscription: &subscription,
        period: (period_start(before).unwrap_or(now), period_end(before).unwrap_or(now).min(now)),
        automatic_tax: subscription["automatic_tax"].clone(),
        data: &Value::Null,
    };
    let invoice = invoices::issue(transaction, &draft);
    subscription["latest_invoice"] = invoice["id"].clone();
    transaction.store.put(Kind::Subscription, &id, subscription.clone());
    transaction.emit_change("customer.subscription.updated", before, &subscription);
    (invoice, subscription)
}

fn item_lines(transaction: &Transaction<'_>, subscription: &Value) -> Vec<Line> {
    let items = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
    let mut priced: Vec<Value> = items
        .iter()
        .map(|item| {
            let product = transaction.peek(Kind::Product, &item["price"]["product"]);
            json!({ "price": item["price"], "quantity": item["quantity"], "description": product["name"] })
        })
        .collect();
    let hidden = transaction.hidden(text(&subscription["id"]));
    let coupon = transaction.peek(Kind::Coupon, &hidden["coupon"]);
    // A coupon for once was used up by the first invoice.
    let coupon = if coupon["duration"] == "once" { Value::Null } else { coupon };
    let is_taxed = subscription["automatic_tax"]["enabled"] == true;
    pricing::price(&mut priced, &coupon, if is_taxed { transaction.tax_percent } else { 0 }, false);
    items.iter().zip(priced).map(|(item, priced)| recurring_line(subscription, item, priced)).collect()
}

fn recurring_line(subscription: &Value, item: &Value, priced: Value) -> Line {
    let description = format!("{} × {}", priced["quantity"], text(&priced["description"]));
    Line {
        description: description.into(),
        item: priced,
        period: (
            period_start(subscription).unwrap_or_default(),
            period_end(subscription).unwrap_or_default(),
        ),
        of: Some(Part {
            subscription: subscription["id"].clone(),
            item: item["id"].clone(),
            is_proration: false,
        }),
    }
}

/// An invoice of a subscription was paid.
pub(super) fn paid(transaction: &mut Transaction<'_>, invoice: &Value) {
    let before = of_invoice(transaction, invoice);
    let has_debts = transaction.store.all(Kind::Invoice).any(|other| {
        other["status"] == "open" && other["parent"]["subscription_details"]["subscription"] == before["id"]
    });
    if before["status"] == "past_due" && !has_debts {
        let mut subscription = before.clone();
        subscription["status"] = "active".into();
        transaction.put(Kind::Subscription, &subscription);
        transaction.emit_change("customer.subscription.updated", &before, &subscription);
    }
}

/// An invoice of a subscription could not be collected, perhaps for the last time.
pub(super) fn unpaid(transaction: &mut Transaction<'_>, invoice: &Value, is_last: bool) {
    let before = of_invoice(transaction, invoice);
    if !is_alive(&before) {
        return;
    }
    if is_last {
        end(transaction, &before, "payment_failed");
        return;
    }
    let mut subscription = before.clone();
    subscription["status"] = "past_due".into();
    if subscription != before {
        transaction.put(Kind::Subscription, &subscription);
        transaction.emit_change("customer.subscription.updated", &before, &subscription);
    }
}

fn of_invoice(transaction: &Transaction<'_>, invoice: &Value) -> Value {
    transaction.peek(Kind::Subscription, &invoice["parent"]["subscription_details"]["subscription"])
}

/// It is over.
pub(super) fn end(transaction: &mut Transaction<'_>, before: &Value, reason: &str) -> Value {
    let mut subscription = before.clone();
    let now = transaction.now();
    subscription["status"] = "canceled".into();
    subscription["ended_at"] = now.into();
    if subscription["canceled_at"].is_null() {
        subscription["canceled_at"] = now.into();
    }
    subscription["cancellation_details"]["reason"] = reason.into();
    transaction.put(Kind::Subscription, &subscription);
    transaction.emit("customer.subscription.deleted", &subscription);
    subscription
}

/// The subscription as it is when it is to end with its period, or no longer.
pub(super) fn let_end(transaction: &Transaction<'_>, before: &Value, ends: bool) -> Value {
    let mut subscription = before.clone();
    let or_null = |value: Value| if ends { value } else { Value::Null };
    subscription["cancel_at_period_end"] = ends.into();
    subscription["cancel_at"] = or_null(period_end(before).into());
    subscription["canceled_at"] = or_null(transaction.now().into());
    subscription["cancellation_details"]["reason"] = or_null("cancellation_requested".into());
    subscription
}

/// Whether time still changes it.
pub(super) fn is_alive(subscription: &Value) -> bool {
    matches!(subscription["status"].as_str(), Some("active" | "trialing" | "past_due"))
}

fn period_start(subscription: &Value) -> Option<i64> {
    subscription["items"]["data"][0]["current_period_start"].as_i64()
}

fn period_end(subscription: &Value) -> Option<i64> {
    subscription["items"]["data"][0]["current_period_end"].as_i64()
}

fn set_period(subscription: &mut Value, start: i64, end: i64) {
    for item in subscription["items"]["data"].as_array_mut().into_iter().flatten() {
        item["current_period_start"] = start.into();
        item["current_period_end"] = end.into();
    }
}

/// When the period that begins at `start` ends.
fn next_end(subscription: &Value, start: i64) -> i64 {
    let recurring = &subscription["items"]["data"][0]["price"]["recurring"];
    let anchor = subscription["billing_cycle_anchor"].as_i64().unwrap_or(start);
    let interval = recurring["interval"].as_str().unwrap_or("month");
    calendar::next(anchor, interval, recurring["interval_count"].as_i64().unwrap_or(1), start)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
