//! Another price or quantity in the middle of a period: what is unused is credited, what is left is charged.

use serde_json::{Value, json};

use super::{
    super::{
        billing,
        invoices::{Line, Part},
        store::Kind,
        world::Transaction,
    },
    bill, next_end, period_end, period_start, set_period, shape, text,
};

/// When a change in the middle of a period is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Prorations {
    /// With the next invoice.
    Later,
    /// At once, with an invoice of their own.
    Now,
    Never,
}

/// Gives an item another price or quantity.
pub(in super::super) fn change_item(
    transaction: &mut Transaction<'_>,
    before: &Value,
    place: usize,
    price: &Value,
    quantity: i64,
    prorations: Prorations,
) -> Value {
    let mut subscription = before.clone();
    let former = before["items"]["data"][place].clone();
    let item = &mut subscription["items"]["data"][place];
    item["price"] = price.clone();
    item["plan"] = shape::plan(price);
    item["quantity"] = quantity.into();
    let changed = item.clone();
    let is_other_interval = former["price"]["recurring"] != price["recurring"];
    let now = transaction.now();
    let mut lines = Vec::new();
    if prorations != Prorations::Never && before["status"] != "trialing" {
        lines.push(part_of(transaction, before, &former, -1, "Unused time on"));
        if !is_other_interval {
            lines.push(part_of(transaction, before, &changed, 1, "Remaining time on"));
        }
    }
    if is_other_interval {
        subscription["billing_cycle_anchor"] = now.into();
        let end = next_end(&subscription, now);
        set_period(&mut subscription, now, end);
    }
    if is_other_interval || (prorations == Prorations::Now && !lines.is_empty()) {
        let (invoice, subscription) =
            bill(transaction, before, subscription, "subscription_update", lines, is_other_interval);
        billing::collect(transaction, &invoice);
        return transaction.peek(Kind::Subscription, &subscription["id"]);
    }
    keep_pending(transaction, &subscription, &lines);
    transaction.put(Kind::Subscription, &subscription);
    transaction.emit_change("customer.subscription.updated", before, &subscription);
    subscription
}

/// What the rest of the period is worth at an item's price.
fn part_of(transaction: &Transaction<'_>, subscription: &Value, item: &Value, sign: i64, what: &str) -> Line {
    let now = transaction.now();
    let (start, end) = (period_start(subscription).unwrap_or(now), period_end(subscription).unwrap_or(now));
    let whole =
        item["price"]["unit_amount"].as_i64().unwrap_or_default() * item["quantity"].as_i64().unwrap_or(1);
    let length = (end - start).max(1);
    let amount = sign * ((whole * (end - now).max(0) * 2 + length) / (length * 2));
    let product = transaction.peek(Kind::Product, &item["price"]["product"]);
    Line {
        item: json!({
            "price": item["price"], "quantity": item["quantity"], "amount_subtotal": amount, "amount_discount": 0,
            "amount_tax": 0, "amount_total": amount,
        }),
        description: format!("{what} {}", text(&product["name"])).into(),
        period: (now, end),
        of: Some(Part {
            subscription: subscription["id"].clone(),
            item: item["id"].clone(),
            is_proration: true,
        }),
    }
}

fn keep_pending(transaction: &mut Transaction<'_>, subscription: &Value, lines: &[Line]) {
    let id = text(&subscription["id"]);
    let mut pending = transaction.hidden(id)["pending"].as_array().cloned().unwrap_or_default();
    for line in lines {
        let item = line.of.as_ref().map_or(Value::Null, |part| part.item.clone());
        pending.push(json!([line.item, line.description, line.period.0, line.period.1, item]));
    }
    transaction.set_hidden(id, "pending", pending.into());
}

/// What waits for the next invoice.
pub(super) fn take_pending(transaction: &mut Transaction<'_>, subscription: &Value) -> Vec<Line> {
    let id = text(&subscription["id"]);
    let pending = transaction.hidden(id)["pending"].as_array().cloned().unwrap_or_default();
    if !pending.is_empty() {
        transaction.set_hidden(id, "pending", json!([]));
    }
    let lines = pending.into_iter().map(|line| Line {
        item: line[0].clone(),
        description: line[1].clone(),
        period: (line[2].as_i64().unwrap_or_default(), line[3].as_i64().unwrap_or_default()),
        of: Some(Part {
            subscription: subscription["id"].clone(),
            item: line[4].clone(),
            is_proration: true,
        }),
    });
    lines.collect()
}
