//! Invoices and what was paid on them.

use serde_json::{Value, json};

use super::{ids, older, payments::Payer, store::Kind, world::Transaction};

/// The invoice of a checkout that was paid once and for all. Returns its id.
pub(super) fn of_checkout(
    transaction: &mut Transaction<'_>,
    session: &Value,
    items: &Value,
    payer: &Payer,
) -> Value {
    let id = ids::new(Kind::Invoice);
    let lines: Vec<Value> =
        items.as_array().into_iter().flatten().map(|item| line(transaction, &id, item)).collect();
    let data = &session["invoice_creation"]["invoice_data"];
    let mut invoice = blank(transaction, &id, payer, lines);
    invoice["account_tax_ids"] = data["account_tax_ids"].clone();
    invoice["automatic_tax"] = json!({
        "disabled_reason": null,
        "enabled": session["automatic_tax"]["enabled"],
        "liability": session["automatic_tax"]["liability"],
        "provider": session["automatic_tax"]["provider"],
        "status": session["automatic_tax"]["status"],
    });
    invoice["billing_reason"] = "manual".into();
    invoice["currency"] = session["currency"].clone();
    invoice["custom_fields"] = data["custom_fields"].clone();
    invoice["description"] = data["description"].clone();
    invoice["footer"] = data["footer"].clone();
    invoice["metadata"] = data["metadata"].clone();
    let tax = session["total_details"]["amount_tax"].as_i64().unwrap_or_default();
    let total = session["amount_total"].as_i64().unwrap_or_default();
    invoice["subtotal"] = session["amount_subtotal"].clone();
    invoice["subtotal_excluding_tax"] = session["amount_subtotal"].clone();
    invoice["total"] = total.into();
    invoice["total_excluding_tax"] = (total - tax).into();
    invoice["amount_due"] = total.into();
    invoice["amount_remaining"] = total.into();
    transaction.put(Kind::Invoice, &invoice);
    transaction.emit("invoice.created", &invoice);
    let invoice = finalize(transaction, &invoice);
    pay(transaction, &invoice, &session["payment_intent"])["id"].clone()
}

fn line(transaction: &Transaction<'_>, invoice: &str, item: &Value) -> Value {
    let now = transaction.now();
    json!({
        "id": ids::with_prefix("il_1", 23),
        "object": "line_item",
        "amount": item["amount_subtotal"],
        "currency": item["currency"],
        "description": item["description"],
        "discount_amounts": [],
        "discountable": true,
        "discounts": [],
        "invoice": invoice,
        "livemode": false,
        "metadata": {},
        "parent": {
            "invoice_item_details": {
                "invoice_item": ids::with_prefix("ii_1", 23), "proration": false,
                "proration_details": { "credited_items": null }, "subscription": null,
            },
            "subscription_item_details": null,
            "type": "invoice_item_details",
        },
        "period": { "end": now, "start": now },
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": { "price": item["price"]["id"], "product": item["price"]["product"] },
            "type": "price_details",
            "unit_amount_decimal": item["price"]["unit_amount_decimal"],
        },
        "quantity": item["quantity"],
        "quantity_decimal": item["quantity"].to_string(),
        "subtotal": item["amount_subtotal"],
        "taxes": [],
    })
}

/// A draft without amounts.
fn blank(transaction: &Transaction<'_>, id: &str, payer: &Payer, lines: Vec<Value>) -> Value {
    let now = transaction.now();
    json!({
        "id": id,
        "object": "invoice",
        "account_country": "DE",
        "account_name": "Counterfoil simulator",
        "account_tax_ids": null,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": null,
        "attempt_count": 0,
        "attempted": false,
        "auto_advance": false,
        "automatically_finalizes_at": null,
        "billing_reason": null,
        "collection_method": "charge_automatically",
        "created": now,
        "currency": null,
        "custom_fields": null,
        "customer": payer.customer,
        "customer_account": null,
        "customer_address": payer.address,
        "customer_email": payer.email,
        "customer_name": payer.name,
        "customer_phone": null,
        "customer_shipping": null,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": null,
        "default_source": null,
        "default_tax_rates": [],
        "description": null,
        "discounts": [],
        "due_date": null,
        "effective_at": null,
        "ending_balance": null,
        "footer": null,
        "from_invoice": null,
        "hosted_invoice_url": null,
        "invoice_pdf": null,
        "issuer": { "type": "self" },
        "last_finalization_error": null,
        "latest_revision": null,
        "lines": older::whole_list(lines, &format!("/v1/invoices/{id}/lines")),
        "livemode": false,
        "metadata": {},
        "next_payment_attempt": null,
        "number": null,
        "on_behalf_of": null,
        "parent": null,
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "period_end": now,
        "period_start": now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": null,
        "rendering": { "amount_tax_display": null, "pdf": { "page_size": "letter" }, "template": null, "template_version": null },
        "shipping_cost": null,
        "shipping_details": null,
        "starting_balance": 0,
        "statement_descriptor": null,
        "status": "draft",
        "status_transitions": {
            "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": null,
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": now,
    })
}

fn finalize(transaction: &mut Transaction<'_>, draft: &Value) -> Value {
    let mut invoice = draft.clone();
    let count = transaction.store.count(Kind::Invoice);
    let id = invoice["id"].as_str().unwrap_or_default().to_owned();
    invoice["effective_at"] = transaction.now().into();
    invoice["ending_balance"] = 0.into();
    invoice["hosted_invoice_url"] = format!("{}/invoices/{id}", transaction.base_url).into();
    invoice["invoice_pdf"] = format!("{}/invoices/{id}/pdf", transaction.base_url).into();
    invoice["number"] = format!("CFSIM-{count:04}").into();
    invoice["status"] = "open".into();
    invoice["status_transitions"]["finalized_at"] = transaction.now().into();
    transaction.put(Kind::Invoice, &invoice);
    transaction.emit("invoice.finalized", &invoice);
    invoice
}

/// The invoice is paid, by a payment intent unless nothing was due.
fn pay(transaction: &mut Transaction<'_>, open: &Value, intent: &Value) -> Value {
    let mut invoice = open.clone();
    let due = invoice["amount_due"].clone();
    invoice["amount_paid"] = due.clone();
    invoice["amount_remaining"] = 0.into();
    invoice["attempted"] = true.into();
    invoice["attempt_count"] = i64::from(!intent.is_null()).into();
    invoice["status"] = "paid".into();
    invoice["status_transitions"]["paid_at"] = transaction.now().into();
    transaction.put(Kind::Invoice, &invoice);
    if !intent.is_null() {
        let payment = json!({
            "id": ids::new(Kind::InvoicePayment),
            "object": "invoice_payment",
            "amount_paid": due,
            "amount_requested": due,
            "created": transaction.now(),
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": true,
            "livemode": false,
            "payment": { "payment_intent": intent, "type": "payment_intent" },
            "status": "paid",
            "status_transitions": { "canceled_at": null, "paid_at": transaction.now() },
        });
        transaction.put(Kind::InvoicePayment, &payment);
        transaction.emit("invoice_payment.paid", &payment);
    }
    transaction.emit("invoice.paid", &invoice);
    transaction.emit("invoice.payment_succeeded", &invoice);
    invoice
}
