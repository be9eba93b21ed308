//! Another price or quantity in the middle of a period: what is unused is credited, what is left is charged.

use serde_json::{Value, json};

use super::{
    super::{
        billing,
        invoices::{self, Draft, Line, Part},
        store::Kind,
        world::Transaction,
    },
    bill, item_lines, next_end, period_end, period_start, set_period, shape, text,
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

/// What an item is to become.
#[derive(Clone, Debug)]
pub(in super::super) struct Wanted {
    /// Which item.
    pub place: usize,
    pub price: Value,
    pub quantity: i64,
    pub prorations: Prorations,
    /// The moment from which on the change is charged.
    pub at: i64,
}

/// What a change comes to.
struct Change {
    subscription: Value,
    /// What is credited and charged for it.
    lines: Vec<Line>,
    begins_period: bool,
    /// Whether it has an invoice of its own.
    is_invoiced: bool,
}

impl Change {
    fn new(transaction: &Transaction<'_>, before: &Value, wanted: &Wanted) -> Self {
        let Wanted { place, price, quantity, prorations, at } = wanted;
        let mut subscription = before.clone();
        let former = before["items"]["data"][*place].clone();
        let item = &mut subscription["items"]["data"][*place];
        item["price"] = price.clone();
        item["plan"] = shape::plan(price);
        item["quantity"] = (*quantity).into();
        let changed = item.clone();
        let is_trial = before["status"] == "trialing";
        // A trial goes on as long as it was to; what it is of then begins after it.
        let begins_period = !is_trial && former["price"]["recurring"] != price["recurring"];
        let is_same =
            (&former["price"]["id"], &former["quantity"]) == (&changed["price"]["id"], &changed["quantity"]);
        let mut lines = Vec::new();
        if !is_same && *prorations != Prorations::Never && !is_trial {
            lines.push(part_of(transaction, before, &former, *at, -1, "Unused time on"));
            if !begins_period {
                lines.push(part_of(transaction, before, &changed, *at, 1, "Remaining time on"));
            }
        }
        if begins_period {
            let now = transaction.now();
            subscription["billing_cycle_anchor"] = now.into();
            let end = next_end(&subscription, now);
            set_period(&mut subscription, now, end);
        }
        let is_invoiced = begins_period || (*prorations == Prorations::Now && !lines.is_empty());
        Self { subscription, lines, begins_period, is_invoiced }
    }
}

/// Gives an item another price or quantity.
pub(in super::super) fn change_item(
    transaction: &mut Transaction<'_>,
    before: &Value,
    wanted: &Wanted,
) -> Value {
    let Change { subscription, lines, begins_period, is_invoiced } = Change::new(transaction, before, wanted);
    if is_invoiced {
        let (invoice, subscription) =
            bill(transaction, before, subscription, "subscription_update", lines, begins_period);
        billing::collect(transaction, &invoice);
        return transaction.peek(Kind::Subscription, &subscription["id"]);
    }
    keep_pending(transaction, &subscription, &lines);
    transaction.put(Kind::Subscription, &subscription);
    transaction.emit_change("customer.subscription.updated", before, &subscription);
    subscription
}

/// The next invoice, after a change if one is wanted.
pub(in super::super) fn preview(
    transaction: &Transaction<'_>,
    before: &Value,
    wanted: Option<&Wanted>,
) -> Value {
    let change = wanted.map(|wanted| Change::new(transaction, before, wanted));
    let is_invoiced = change.as_ref().is_some_and(|change| change.is_invoiced);
    let (mut subscription, mut lines, with_items) = match change {
        Some(change) => (change.subscription, change.lines, change.begins_period || !is_invoiced),
        None => (before.clone(), Vec::new(), true),
    };
    let now = transaction.now();
    let mut period = (period_start(before).unwrap_or(now), now);
    if !is_invoiced {
        let start = period_end(before).unwrap_or(now);
        let end = next_end(&subscription, start);
        set_period(&mut subscription, start, end);
        period.1 = start;
    }
    lines.extend(pending(transaction, &subscription));
    if with_items {
        lines.extend(item_lines(transaction, &subscription));
    }
    let payer = billing::payer_of(transaction, &subscription);
    let draft = Draft {
        payer: &payer,
        billing_reason: "upcoming",
        currency: subscription["currency"].clone(),
        lines,
        subscription: &subscription,
        period,
        automatic_tax: subscription["automatic_tax"].clone(),
        data: &Value::Null,
    };
    invoices::preview(transaction, &draft)
}

/// What the rest of the period from `at` on is worth at an item's price.
fn part_of(
    transaction: &Transaction<'_>,
    subscription: &Value,
    item: &Value,
    at: i64,
    sign: i64,
    what: &str,
) -> Line {
    let (start, end) = (period_start(subscription).unwrap_or(at), period_end(subscription).unwrap_or(at));
    let whole =
        item["price"]["unit_amount"].as_i64().unwrap_or_default() * item["quantity"].as_i64().unwrap_or(1);
    let length = (end - start).max(1);
    let amount = sign * ((whole * (end - at).max(0) * 2 + length) / (length * 2));
    let product = transaction.peek(Kind::Product, &item["price"]["product"]);
    Line {
        item: json!({
            "price": item["price"], "quantity": item["quantity"], "amount_subtotal": amount, "amount_discount": 0,
            "amount_tax": 0, "amount_total": amount,
        }),
        description: format!("{what} {}", text(&product["name"])).into(),
        period: (at, end),
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
    let lines = pending(transaction, subscription);
    if !lines.is_empty() {
        transaction.set_hidden(text(&subscription["id"]), "pending", json!([]));
    }
    lines
}

fn pending(transaction: &Transaction<'_>, subscription: &Value) -> Vec<Line> {
    let hidden = transaction.hidden(text(&subscription["id"]));
    let pending = hidden["pending"].as_array().cloned().unwrap_or_default();
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
