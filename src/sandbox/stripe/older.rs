//! Objects as older versions of the API show them. What is kept is always the pinned version.
//!
//! Only differences that matter to someone who reads payments are made: names of `ui_mode`, what invoices belong to, lists
//! of refunds and charges inside their owners, how a credit note names its refunds, and which events there were.

use serde_json::{Value, json};

use super::store::{Kind, Store};

/// Refunds of all payment methods have events of their own from here on.
const ACACIA: &str = "2024-10-28";
/// Invoices say what they are for in `parent`, payments are listed apart, and credit notes list their refunds, from here on.
const BASIL: &str = "2025-03-31";
/// The pages of Checkout got longer names.
const DAHLIA: &str = "2026-03-25";
/// Refunds and charges are no longer listed inside their owners.
const WITHOUT_LISTS: &str = "2022-11-15";

/// Whether an endpoint of this version hears of such events.
pub(super) fn knows_event(version: &str, event_type: &str) -> bool {
    !(is_before(version, ACACIA)
        && matches!(event_type, "refund.created" | "refund.updated" | "refund.failed"))
}

/// Turns an answer or an event, with everything inside, into the shape of `version`.
pub(super) fn reshape(value: &mut Value, version: &str, store: &Store) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| reshape(item, version, store)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| reshape(field, version, store));
            reshape_object(value, version, store);
        }
        _ => {}
    }
}

fn reshape_object(object: &mut Value, version: &str, store: &Store) {
    let kind = object["object"].as_str().and_then(Kind::named);
    let is_whole = object.get("deleted").is_none() && object.get("id").is_some();
    let (Some(kind), true) = (kind, is_whole) else { return };
    match kind {
        Kind::CheckoutSession if is_before(version, DAHLIA) => {
            let former = match object["ui_mode"].as_str() {
                Some("hosted_page") => Some("hosted"),
                Some("embedded_page") => Some("embedded"),
                Some("elements") => Some("custom"),
                _ => None,
            };
            if let Some(former) = former {
                object["ui_mode"] = former.into();
            }
        }
        Kind::Charge if is_before(version, WITHOUT_LISTS) && object.get("refunds").is_none() => {
            object["refunds"] = refunds_of(object, store);
        }
        Kind::PaymentIntent if is_before(version, WITHOUT_LISTS) => {
            let intent = object["id"].clone();
            let mut charges: Vec<Value> = store
                .all(Kind::Charge)
                .rev()
                .filter(|charge| charge["payment_intent"] == intent)
                .cloned()
                .collect();
            charges.iter_mut().for_each(|charge| reshape_object(charge, version, store));
            let url = format!("/v1/charges?payment_intent={}", intent.as_str().unwrap_or_default());
            object["charges"] = whole_list(charges, &url);
        }
        Kind::Invoice if is_before(version, BASIL) => reshape_invoice(object, store),
        Kind::CreditNote if is_before(version, BASIL) => reshape_credit_note(object),
        Kind::Subscription if is_before(version, BASIL) => {
            for field in ["current_period_start", "current_period_end"] {
                object[field] = object["items"]["data"][0][field].clone();
            }
        }
        Kind::Event => object["api_version"] = version.into(),
        _ => {}
    }
}

fn reshape_invoice(invoice: &mut Value, store: &Store) {
    let payment = store.all(Kind::InvoicePayment).find(|payment| payment["invoice"] == invoice["id"]);
    let intent = payment.map_or(Value::Null, |payment| payment["payment"]["payment_intent"].clone());
    let charge = intent.as_str().and_then(|id| store.get(Kind::PaymentIntent, id));
    invoice["charge"] = charge.map_or(Value::Null, |intent| intent["latest_charge"].clone());
    invoice["payment_intent"] = intent;
    invoice["paid"] = (invoice["status"] == "paid").into();
    invoice["subscription"] = invoice["parent"]["subscription_details"]["subscription"].clone();
    if let Some(fields) = invoice.as_object_mut() {
        fields.shift_remove("parent");
    }
    for line in invoice["lines"]["data"].as_array_mut().into_iter().flatten() {
        let part = line["parent"]["subscription_item_details"].clone();
        let price =
            line["pricing"]["price_details"]["price"].as_str().and_then(|id| store.get(Kind::Price, id));
        line["price"] = price.cloned().unwrap_or(Value::Null);
        line["proration"] = (part["proration"] == true).into();
        line["subscription"] = part["subscription"].clone();
        line["subscription_item"] = part["subscription_item"].clone();
        line["type"] = if part.is_null() { "invoiceitem".into() } else { "subscription".into() };
        if let Some(fields) = line.as_object_mut() {
            fields.shift_remove("parent");
            fields.shift_remove("pricing");
        }
    }
}

/// A note was of before or after payment, and had one refund at most.
fn reshape_credit_note(note: &mut Value) {
    note["refund"] = note["refunds"][0]["refund"].clone();
    note["type"] =
        if note["post_payment_amount"] == 0 { "pre_payment".into() } else { "post_payment".into() };
    if let Some(fields) = note.as_object_mut() {
        for field in ["refunds", "pre_payment_amount", "post_payment_amount"] {
            fields.shift_remove(field);
        }
    }
}

/// The list of a charge's refunds, newest first.
pub(super) fn refunds_of(charge: &Value, store: &Store) -> Value {
    let refunds =
        store.all(Kind::Refund).rev().filter(|refund| refund["charge"] == charge["id"]).cloned().collect();
    whole_list(refunds, &format!("/v1/charges/{}/refunds", charge["id"].as_str().unwrap_or_default()))
}

/// A list that is shown whole.
pub(super) fn whole_list(data: Vec<Value>, url: &str) -> Value {
    json!({ "object": "list", "total_count": data.len(), "data": data, "has_more": false, "url": url })
}

fn is_before(version: &str, date: &str) -> bool {
    // Versions begin with their date.
    version < date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_charge_lists_its_refunds_and_a_new_one_does_not() {
        let mut store = Store::default();
        store.put(Kind::Refund, "re_1", json!({ "id": "re_1", "object": "refund", "charge": "ch_1" }));
        store.put(Kind::Refund, "re_2", json!({ "id": "re_2", "object": "refund", "charge": "ch_2" }));
        let charge = json!({ "id": "ch_1", "object": "charge" });
        let event =
            json!({ "id": "evt_1", "object": "event", "api_version": "x", "data": { "object": charge } });
        let mut old = event.clone();
        reshape(&mut old, "2020-08-27", &store);
        assert_eq!(old["api_version"], "2020-08-27");
        assert_eq!(old["data"]["object"]["refunds"]["data"][0]["id"], "re_1");
        assert_eq!(old["data"]["object"]["refunds"]["total_count"], 1);
        let mut new = event;
        reshape(&mut new, "2025-08-27.basil", &store);
        assert!(new["data"]["object"].get("refunds").is_none());
    }

    #[test]
    fn an_old_credit_note_names_one_refund_and_does_not_say_its_parts() {
        let part = json!({ "amount_refunded": 5, "refund": "re_1" });
        let note = json!({
            "id": "cn_1", "object": "credit_note", "amount": 9, "pre_payment_amount": 2, "post_payment_amount": 7,
            "refunds": [part], "type": "mixed",
        });
        let (mut old, mut new) = (note.clone(), note.clone());
        reshape(&mut old, "2024-06-20", &Store::default());
        let expected = json!({
            "id": "cn_1", "object": "credit_note", "amount": 9, "refund": "re_1", "type": "post_payment",
        });
        assert_eq!(old, expected);
        reshape(&mut new, "2025-08-27.basil", &Store::default());
        assert_eq!(new, note);
        let mut alone =
            json!({ "id": "cn_2", "object": "credit_note", "refunds": [], "post_payment_amount": 0 });
        reshape(&mut alone, "2024-06-20", &Store::default());
        assert_eq!((&alone["refund"], &alone["type"]), (&Value::Null, &json!("pre_payment")));
    }

    #[test]
    fn endpoints_of_before_acacia_hear_of_refunds_by_their_charge_alone() {
        assert!(!knows_event("2024-06-20", "refund.created"));
        assert!(knows_event("2024-06-20", "charge.refunded"));
        assert!(knows_event("2024-10-28.acacia", "refund.created"));
    }
}
