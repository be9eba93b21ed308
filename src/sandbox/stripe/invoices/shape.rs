//! What an invoice looks like.

use serde_json::{Value, json};

use super::{
    super::{ids, older, resources::customers::whole_address, store::Kind, world::Transaction},
    Draft,
};

/// One line: a priced item, what it is for, and for how long.
#[derive(Clone, Debug)]
pub(in super::super) struct Line {
    /// With `price`, `quantity` and amounts.
    pub item: Value,
    pub description: Value,
    pub period: (i64, i64),
    /// What of a subscription it is for; `None` for one-time purchases.
    pub of: Option<Part>,
}

/// The part of a subscription that a line is for.
#[derive(Clone, Debug)]
pub(in super::super) struct Part {
    pub subscription: Value,
    pub item: Value,
    pub is_proration: bool,
}

impl Line {
    /// Something bought once.
    pub(in super::super) fn once(item: Value, now: i64) -> Self {
        Self { description: item["description"].clone(), item, period: (now, now), of: None }
    }

    fn shown(&self, invoice: &str, discount: &str) -> Value {
        let Self { item, description, period, of } = self;
        let amount = |name: &str| item[name].as_i64().unwrap_or_default();
        let parent = match of {
            None => json!({
                "invoice_item_details": {
                    "invoice_item": ids::with_prefix("ii_1", 23), "proration": false,
                    "proration_details": { "credited_items": null }, "subscription": null,
                },
                "subscription_item_details": null,
                "type": "invoice_item_details",
            }),
            Some(Part { subscription, item, is_proration }) => json!({
                "invoice_item_details": null,
                "subscription_item_details": {
                    "invoice_item": is_proration.then(|| ids::with_prefix("ii_1", 23)),
                    "proration": is_proration,
                    "proration_details": { "credited_items": null },
                    "subscription": subscription,
                    "subscription_item": item,
                },
                "type": "subscription_item_details",
            }),
        };
        let discounts = if amount("amount_discount") == 0 {
            json!([])
        } else {
            json!([{ "amount": amount("amount_discount"), "discount": discount }])
        };
        json!({
            "id": ids::with_prefix("il_1", 23),
            "object": "line_item",
            "amount": amount("amount_subtotal"),
            "currency": item["price"]["currency"],
            "description": description,
            "discount_amounts": discounts,
            "discountable": of.as_ref().is_none_or(|part| !part.is_proration),
            "discounts": [],
            "invoice": invoice,
            "livemode": false,
            "metadata": {},
            "parent": parent,
            "period": { "end": period.1, "start": period.0 },
            "pretax_credit_amounts": [],
            "pricing": {
                "price_details": { "price": item["price"]["id"], "product": item["price"]["product"] },
                "type": "price_details",
                "unit_amount_decimal": item["price"]["unit_amount_decimal"],
            },
            "quantity": item["quantity"],
            "quantity_decimal": item["quantity"].to_string(),
            "subtotal": amount("amount_subtotal"),
            "taxes": taxes(amount("amount_tax"), amount("amount_total") - amount("amount_tax"), &item["price"]),
        })
    }
}

fn taxes(amount: i64, taxable: i64, price: &Value) -> Value {
    if amount == 0 {
        return json!([]);
    }
    let behavior = if price["tax_behavior"] == "inclusive" { "inclusive" } else { "exclusive" };
    json!([{
        "amount": amount,
        "tax_behavior": behavior,
        "tax_rate_details": { "tax_rate": "txr_1CounterfoilSimulator" },
        "taxability_reason": "standard_rated",
        "taxable_amount": taxable,
        "type": "tax_rate_details",
    }])
}

/// A draft with all amounts.
pub(super) fn draft(transaction: &Transaction<'_>, draft: &Draft<'_>) -> Value {
    let now = transaction.now();
    let id = ids::new(Kind::Invoice);
    let Draft { payer, lines, subscription, data, automatic_tax, .. } = draft;
    let sum = |name: &str| lines.iter().map(|line| line.item[name].as_i64().unwrap_or_default()).sum::<i64>();
    let (subtotal, discount, tax) = (sum("amount_subtotal"), sum("amount_discount"), sum("amount_tax"));
    let total = sum("amount_total");
    // What a change gives back beyond what it costs is taken off later invoices.
    let balance = match subscription.is_null() {
        true => 0,
        false => transaction.peek(Kind::Customer, &payer.customer)["balance"].as_i64().unwrap_or(0),
    };
    let due = (total + balance).max(0);
    let discount_id = ids::with_prefix("di_1", 23);
    let shown: Vec<Value> = lines.iter().map(|line| line.shown(&id, &discount_id)).collect();
    let discounts =
        if discount == 0 { json!([]) } else { json!([{ "amount": discount, "discount": discount_id }]) };
    let first_price = lines.first().map_or(&Value::Null, |line| &line.item["price"]);
    let parent = if subscription.is_null() {
        Value::Null
    } else {
        json!({
            "quote_details": null,
            "subscription_details": { "metadata": subscription["metadata"], "subscription": subscription["id"] },
            "type": "subscription_details",
        })
    };
    let part = |name: &str| data.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "id": id,
        "object": "invoice",
        "account_country": "DE",
        "account_name": "Counterfoil simulator",
        "account_tax_ids": part("account_tax_ids"),
        "amount_due": due,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_remaining": due,
        "amount_shipping": 0,
        "application": null,
        "attempt_count": 0,
        "attempted": false,
        "auto_advance": !subscription.is_null(),
        "automatic_tax": {
            "disabled_reason": null,
            "enabled": automatic_tax["enabled"] == true,
            "liability": automatic_tax.get("liability"),
            "provider": if automatic_tax["enabled"] == true { json!("stripe") } else { Value::Null },
            "status": if automatic_tax["enabled"] == true { json!("complete") } else { Value::Null },
        },
        "automatically_finalizes_at": null,
        "billing_reason": draft.billing_reason,
        "collection_method": "charge_automatically",
        "created": now,
        "currency": draft.currency,
        "custom_fields": part("custom_fields"),
        "customer": payer.customer,
        "customer_account": null,
        "customer_address": if payer.address.is_null() { Value::Null } else { whole_address(&payer.address) },
        "customer_email": payer.email,
        "customer_name": payer.name,
        "customer_phone": null,
        "customer_shipping": null,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": null,
        "default_source": null,
        "default_tax_rates": [],
        "description": part("description"),
        "discounts": [],
        "due_date": null,
        "effective_at": null,
        "ending_balance": null,
        "footer": part("footer"),
        "from_invoice": null,
        "hosted_invoice_url": null,
        "invoice_pdf": null,
        "issuer": { "type": "self" },
        "last_finalization_error": null,
        "latest_revision": null,
        "lines": older::whole_list(shown, &format!("/v1/invoices/{id}/lines")),
        "livemode": false,
        "metadata": data.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "next_payment_attempt": null,
        "number": null,
        "on_behalf_of": null,
        "parent": parent,
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "period_end": draft.period.1,
        "period_start": draft.period.0,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": null,
        "rendering": { "amount_tax_display": null, "pdf": { "page_size": "letter" }, "template": null, "template_version": null },
        "shipping_cost": null,
        "shipping_details": null,
        "starting_balance": balance,
        "statement_descriptor": null,
        "status": "draft",
        "status_transitions": {
            "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null,
        },
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "test_clock": null,
        "total": total,
        "total_discount_amounts": discounts,
        "total_excluding_tax": total - tax,
        "total_pretax_credit_amounts": [],
        "total_taxes": taxes(tax, total - tax, first_price),
        "webhooks_delivered_at": now,
    })
}
