//! Webhook bodies as Stripe writes them in the API version of [`API_VERSION`], with made-up persons.

use serde_json::{Map, Value, json};

use crate::domain::amount::{Amount, Currency};

/// The API version whose shapes are written.
const API_VERSION: &str = "2026-09-30.endive";
/// How long a checkout may take, in seconds.
const SESSION_LIFE: i64 = 24 * 60 * 60;

/// Money in the smallest part of its currency.
pub(super) struct Money {
    pub(super) amount: i64,
    pub(super) currency: Currency,
}

/// What a session sells, as its metadata says it.
pub(super) enum Sold<'a> {
    /// So many credits.
    Credits { credits: Amount, unit: &'a str },
    /// So many of a price.
    Price { price: &'a str, quantity: Amount },
}

/// A checkout session.
pub(super) struct Session<'a> {
    pub(super) session: &'a str,
    pub(super) payment_intent: &'a str,
    pub(super) account: &'a str,
    pub(super) sold: Sold<'a>,
    pub(super) money: Money,
    pub(super) tax: i64,
    pub(super) payment_status: &'static str,
    pub(super) status: &'static str,
    pub(super) now: i64,
}

/// A refund.
pub(super) struct Refund<'a> {
    pub(super) refund: &'a str,
    pub(super) payment_intent: &'a str,
    pub(super) money: Money,
    pub(super) status: &'a str,
    pub(super) now: i64,
}

/// A credit note that gives all of its money to the customer's balance.
pub(super) struct CreditNote<'a> {
    pub(super) note: &'a str,
    pub(super) payment_intent: &'a str,
    pub(super) money: Money,
    pub(super) status: &'static str,
    pub(super) now: i64,
}

/// A charge of which something was refunded.
pub(super) struct Charge<'a> {
    pub(super) payment_intent: &'a str,
    pub(super) refunded: Money,
    pub(super) now: i64,
}

/// A price that is paid once.
pub(super) struct Price<'a> {
    pub(super) price: &'a str,
    pub(super) product: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) money: Money,
    /// Credits and their unit.
    pub(super) terms: Option<(Amount, &'a str)>,
    pub(super) is_active: bool,
    pub(super) now: i64,
}

/// A product.
pub(super) struct Product<'a> {
    pub(super) product: &'a str,
    pub(super) name: Option<&'a str>,
    /// Credits and their unit, for its prices that do not say themselves.
    pub(super) terms: Option<(Amount, &'a str)>,
    pub(super) is_active: bool,
    pub(super) now: i64,
}

/// The envelope around `object`.
pub(super) fn event(event_id: &str, kind: &str, object: &Value, now: i64) -> Value {
    json!({
        "id": event_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": now,
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": kind,
    })
}

/// A session in mode `payment`. One that costs nothing has no payment, and one that nobody completed has none yet.
pub(super) fn session(session: &Session<'_>) -> Value {
    let is_free = session.money.amount == 0 && session.payment_status == "paid";
    let has_payment = !is_free && session.status == "complete";
    json!({
        "id": session.session,
        "object": "checkout.session",
        "adaptive_pricing": { "enabled": false },
        "allow_promotion_codes": null,
        "amount_subtotal": session.money.amount - session.tax,
        "amount_total": session.money.amount,
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "cancel_url": null,
        "client_reference_id": session.account,
        "created": session.now,
        "currency": session.money.currency.as_str(),
        "customer": null,
        "customer_details": { "address": null, "email": "buyer@example.com", "name": "A. Buyer", "phone": null },
        "expires_at": session.now + SESSION_LIFE,
        "invoice": null,
        "livemode": false,
        "locale": "auto",
        "metadata": metadata(session),
        "mode": "payment",
        "payment_intent": has_payment.then_some(session.payment_intent),
        "payment_link": null,
        "payment_status": if is_free { "no_payment_required" } else { session.payment_status },
        "setup_intent": null,
        "status": session.status,
        "subscription": null,
        "success_url": "https://shop.example.com/thanks",
        "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": session.tax },
        "ui_mode": "hosted_page",
        "url": null,
    })
}

/// Stripe's metadata holds texts only.
fn metadata(session: &Session<'_>) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("account_id".to_owned(), json!(session.account));
    match session.sold {
        Sold::Credits { credits, unit } => {
            metadata.insert("credits".to_owned(), json!(credits.to_string()));
            metadata.insert("unit".to_owned(), json!(unit));
        }
        Sold::Price { price, quantity } => {
            metadata.insert("price_id".to_owned(), json!(price));
            metadata.insert("quantity".to_owned(), json!(quantity.to_string()));
        }
    }
    metadata
}

/// A refund of a part of a payment, or of all of it.
pub(super) fn refund(refund: &Refund<'_>) -> Value {
    json!({
        "id": refund.refund,
        "object": "refund",
        "amount": refund.money.amount,
        "balance_transaction": null,
        "charge": charge_of(refund.payment_intent),
        "created": refund.now,
        "currency": refund.money.currency.as_str(),
        "destination_details": { "card": { "reference_status": "pending", "type": "refund" }, "type": "card" },
        "metadata": {},
        "payment_intent": refund.payment_intent,
        "reason": "requested_by_customer",
        "receipt_number": null,
        "status": refund.status,
    })
}

/// A credit note on an invoice that was paid. Stripe names the invoice alone; here it stands there whole, so that nobody has to
/// be asked which payment it was paid by.
pub(super) fn credit_note(note: &CreditNote<'_>) -> Value {
    let amount = note.money.amount;
    let of_payment = note.payment_intent.strip_prefix("pi_").unwrap_or(note.payment_intent);
    let paid_by = json!({ "payment_intent": note.payment_intent, "type": "payment_intent" });
    json!({
        "id": note.note,
        "object": "credit_note",
        "amount": amount,
        "created": note.now,
        "currency": note.money.currency.as_str(),
        "customer": null,
        "customer_balance_transaction": format!("cbtxn_{of_payment}"),
        "invoice": {
            "id": format!("in_{of_payment}"),
            "object": "invoice",
            // What was paid in all is not known here: at least what is given back.
            "amount_paid": amount.max(1),
            "payments": { "object": "list", "data": [{ "payment": paid_by, "status": "paid" }], "has_more": false },
            "status": "paid",
        },
        "livemode": false,
        "memo": null,
        "metadata": {},
        "out_of_band_amount": null,
        "post_payment_amount": amount,
        "pre_payment_amount": 0,
        "reason": "order_change",
        "refunds": [],
        "status": note.status,
        "total": amount,
        "type": "post_payment",
        "voided_at": if note.status == "void" { json!(note.now) } else { Value::Null },
    })
}

/// A charge. What was paid in all is not known here and not read from a refunded charge: at least what went back.
pub(super) fn charge(charge: &Charge<'_>) -> Value {
    json!({
        "id": charge_of(charge.payment_intent),
        "object": "charge",
        "amount": charge.refunded.amount,
        "amount_captured": charge.refunded.amount,
        "amount_refunded": charge.refunded.amount,
        "billing_details": { "address": null, "email": "buyer@example.com", "name": "A. Buyer", "phone": null },
        "captured": true,
        "created": charge.now,
        "currency": charge.refunded.currency.as_str(),
        "customer": null,
        "disputed": false,
        "livemode": false,
        "metadata": {},
        "paid": true,
        "payment_intent": charge.payment_intent,
        "refunded": true,
        "status": "succeeded",
    })
}

/// A price.
pub(super) fn price(price: &Price<'_>) -> Value {
    json!({
        "id": price.price,
        "object": "price",
        "active": price.is_active,
        "billing_scheme": "per_unit",
        "created": price.now,
        "currency": price.money.currency.as_str(),
        "custom_unit_amount": null,
        "livemode": false,
        "lookup_key": null,
        "metadata": metadata_of_terms(price.terms),
        "nickname": price.name,
        "product": price.product,
        "recurring": null,
        "tax_behavior": "unspecified",
        "tiers_mode": null,
        "transform_quantity": null,
        "type": "one_time",
        "unit_amount": price.money.amount,
        "unit_amount_decimal": price.money.amount.to_string(),
    })
}

/// A product.
pub(super) fn product(product: &Product<'_>) -> Value {
    json!({
        "id": product.product,
        "object": "product",
        "active": product.is_active,
        "attributes": [],
        "created": product.now,
        "default_price": null,
        "description": null,
        "images": [],
        "livemode": false,
        "metadata": metadata_of_terms(product.terms),
        "name": product.name.unwrap_or("Credits"),
        "package_dimensions": null,
        "shippable": null,
        "statement_descriptor": null,
        "tax_code": null,
        "type": "service",
        "unit_label": null,
        "updated": product.now,
        "url": null,
    })
}

fn metadata_of_terms(terms: Option<(Amount, &str)>) -> Value {
    match terms {
        Some((credits, unit)) => json!({ "credits": credits.to_string(), "credit_unit": unit }),
        None => json!({}),
    }
}

/// Each payment has one charge here, always called alike, so that sums of refunds are sums of one charge.
fn charge_of(payment_intent: &str) -> String {
    format!("ch_{}", payment_intent.strip_prefix("pi_").unwrap_or(payment_intent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::{Event, Fact, extract};

    fn fact(kind: &str, object: &Value) -> Fact {
        let body = event("evt_1", kind, object, 1_790_000_000).to_string();
        extract(&Event::parse(body.as_bytes()).expect("an event")).expect("a fact")
    }

    fn money(amount: i64) -> Money {
        Money { amount, currency: Currency::parse("eur").expect("a currency") }
    }

    fn paid(amount: i64) -> Fact {
        let sold = Sold::Price { price: "price_1", quantity: Amount::ONE };
        fact(
            "checkout.session.completed",
            &session(&Session {
                session: "cs_1",
                payment_intent: "pi_1",
                account: "alice",
                sold,
                money: money(amount),
                tax: 0,
                payment_status: "paid",
                status: "complete",
                now: 1_790_000_000,
            }),
        )
    }

    #[test]
    fn what_is_triggered_is_understood() {
        let Fact::SessionPaid(session) = paid(500) else { panic!("not paid") };
        assert_eq!(session.payment_intent.map(|id| id.to_string()).as_deref(), Some("pi_1"));
        let Fact::SessionPaid(session) = paid(0) else { panic!("not free") };
        assert_eq!((session.payment_intent, session.money.gross), (None, 0));
        let refunded =
            Refund { refund: "re_1", payment_intent: "pi_1", money: money(5), status: "pending", now: 0 };
        assert!(matches!(fact("refund.created", &refund(&refunded)), Fact::PaymentReport(_)));
        let refunded = Charge { payment_intent: "pi_1", refunded: money(5), now: 0 };
        assert!(matches!(fact("charge.refunded", &charge(&refunded)), Fact::PaymentReport(_)));
        let (note, payment_intent, now) = ("cn_1", "pi_1", 0);
        let noted = CreditNote { note, payment_intent, money: money(5), status: "issued", now };
        let Fact::PaymentReport(told) = fact("credit_note.created", &credit_note(&noted)) else {
            panic!("no note")
        };
        assert_eq!(told.payment_intent.as_str(), "pi_1");
        assert_eq!(told.facts[0].key_text(), "refund:cn_1:succeeded");
        let terms = Some((Amount::ONE, "credits"));
        let (name, is_active, now) = (Some("XL"), true, 1_790_000_000);
        let new = Price { price: "price_1", product: "prod_1", name, money: money(5), terms, is_active, now };
        let Fact::PriceTold(told) = fact("price.created", &price(&new)) else { panic!("no price") };
        assert_eq!(
            (told.price.as_str(), told.listing.active, told.listing.deleted),
            ("price_1", true, false)
        );
        let Fact::PriceTold(told) = fact("price.deleted", &price(&new)) else { panic!("no price") };
        assert!(told.listing.deleted);
        let new = Product { product: "prod_1", name, terms, is_active, now };
        let Fact::ProductTold(told) = fact("product.updated", &product(&new)) else { panic!("no product") };
        assert_eq!(told.product.as_str(), "prod_1");
    }
}
