//! What a new subscription looks like.

use serde_json::{Value, json};

use super::super::{calendar, ids, older, payments::Payer, store::Kind, world::Transaction};

/// A subscription to the recurring lines of a session.
pub(super) fn new(
    transaction: &Transaction<'_>,
    session: &Value,
    lines: &Value,
    data: &Value,
    payer: &Payer,
    method: &Value,
    trial_end: Option<i64>,
) -> Value {
    let now = transaction.now();
    let id = ids::new(Kind::Subscription);
    let recurring: Vec<&Value> =
        lines.as_array().into_iter().flatten().filter(|line| line["price"]["type"] == "recurring").collect();
    let rule = recurring.first().map_or(&Value::Null, |line| &line["price"]["recurring"]);
    let anchor = trial_end.unwrap_or(now);
    let interval = rule["interval"].as_str().unwrap_or("month");
    let period_end = trial_end
        .unwrap_or_else(|| calendar::next(now, interval, rule["interval_count"].as_i64().unwrap_or(1), now));
    let items: Vec<Value> =
        recurring.iter().map(|line| item(&id, &line["price"], &line["quantity"], now, period_end)).collect();
    json!({
        "id": id,
        "object": "subscription",
        "application": null,
        "application_fee_percent": null,
        "automatic_tax": {
            "disabled_reason": null,
            "enabled": session["automatic_tax"]["enabled"],
            "liability": session["automatic_tax"]["liability"],
        },
        "billing_cycle_anchor": anchor,
        "billing_cycle_anchor_config": null,
        "billing_mode": { "flexible": { "proration_discounts": "included" }, "type": "flexible", "updated_at": now },
        "billing_schedules": [],
        "billing_thresholds": null,
        "cancel_at": null,
        "cancel_at_period_end": false,
        "canceled_at": null,
        "cancellation_details": { "comment": null, "feedback": null, "reason": null },
        "collection_method": "charge_automatically",
        "created": now,
        "currency": session["currency"],
        "customer": payer.customer,
        "customer_account": null,
        "days_until_due": null,
        "default_payment_method": method["id"],
        "default_source": null,
        "default_tax_rates": [],
        "description": data.get("description"),
        "discounts": [],
        "ended_at": null,
        "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
        "items": older::whole_list(items, &format!("/v1/subscription_items?subscription={id}")),
        "latest_invoice": null,
        "livemode": false,
        "metadata": data.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null,
        "pause_collection": null,
        "payment_settings": {
            "payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": null,
        "pending_setup_intent": null,
        "pending_update": null,
        "schedule": null,
        "start_date": now,
        "status": if trial_end.is_some() { "trialing" } else { "active" },
        "test_clock": null,
        "transfer_data": null,
        "trial_end": trial_end,
        "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } },
        "trial_start": trial_end.map(|_| now),
    })
}

fn item(subscription: &str, price: &Value, quantity: &Value, start: i64, end: i64) -> Value {
    json!({
        "id": ids::new(Kind::SubscriptionItem),
        "object": "subscription_item",
        "billing_thresholds": null,
        "created": start,
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "plan": plan(price),
        "price": price,
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
    })
}

/// The older form of a price, which items still show.
pub(super) fn plan(price: &Value) -> Value {
    json!({
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
        "livemode": false,
        "metadata": price["metadata"],
        "meter": null,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": null,
        "transform_usage": null,
        "trial_period_days": null,
        "usage_type": "licensed",
    })
}
