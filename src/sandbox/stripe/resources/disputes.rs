//! Disputes: inquiries that move no money, and chargebacks that do.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, LIMIT, METADATA, Parameter, STARTING_AFTER, boolean, free,
            merge_metadata, text,
        },
        payments::balance_transaction,
        store::Kind,
        world::Transaction,
    },
    Call, Route,
};

/// What the bank takes for a chargeback, in the smallest part of the currency.
const FEE: i64 = 1500;

const LIST: &[Parameter] =
    &[text("charge"), CREATED, ENDING_BEFORE, LIMIT, text("payment_intent"), STARTING_AFTER];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/disputes", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::Dispute, given, "/v1/disputes", |dispute| {
            ["charge", "payment_intent"].iter().all(|field| given.filters(dispute, field))
        })
    }),
    Route::get("/v1/disputes/{id}", &[], |call| call.transaction.find(Kind::Dispute, call.id)),
    Route::post("/v1/disputes/{id}", &[free("evidence"), METADATA, boolean("submit")], update),
    Route::post("/v1/disputes/{id}/close", &[], |call| {
        let dispute = call.transaction.find(Kind::Dispute, call.id)?;
        if is_closed(&dispute) {
            let message = format!("Dispute {} is already closed.", call.id);
            return Err(Failure::state(message));
        }
        Ok(decide(call.transaction, &dispute, false))
    }),
];

/// The evidence that a dispute can have.
const EVIDENCE: &[&str] = &[
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
];

/// What a buyer disputes.
#[derive(Clone, Debug)]
pub(in super::super) struct New {
    /// All that was not refunded, if not given.
    pub amount: Option<i64>,
    pub reason: String,
    /// The bank asks first, and takes no money yet.
    pub is_inquiry: bool,
}

/// A buyer disputes a charge.
///
/// # Errors
/// If the charge did not succeed or is disputed already.
pub(in super::super) fn open(
    transaction: &mut Transaction<'_>,
    charge: &str,
    new: &New,
) -> Result<Value, Failure> {
    let before = transaction.find(Kind::Charge, charge)?;
    if before["status"] != "succeeded" || before["disputed"] == true {
        let message = format!("Charge {charge} did not succeed, or is disputed already.");
        return Err(Failure::state(message));
    }
    let left = before["amount"].as_i64().unwrap_or_default()
        - before["amount_refunded"].as_i64().unwrap_or_default();
    let amount = new.amount.unwrap_or(left);
    if !(1..=before["amount"].as_i64().unwrap_or_default()).contains(&amount) {
        return Err(Failure::parameters("The amount is more than was paid, or nothing.").of("amount"));
    }
    let mut evidence: serde_json::Map<String, Value> =
        EVIDENCE.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    evidence.insert("enhanced_evidence".to_owned(), json!({}));
    let card = &before["payment_method_details"]["card"];
    let brand = card.get("brand").cloned().unwrap_or_else(|| "visa".into());
    let dispute = json!({
        "id": ids::new(Kind::Dispute),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge,
        "created": transaction.now(),
        "currency": before["currency"],
        "enhanced_eligibility_types": [],
        "evidence": evidence,
        "evidence_details": {
            "due_by": transaction.now() + 9 * 24 * 3600, "enhanced_eligibility": {}, "has_evidence": false,
            "past_due": false, "submission_count": 0,
        },
        "is_charge_refundable": new.is_inquiry,
        "livemode": false,
        "metadata": {},
        "payment_intent": before["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": brand, "case_type": if new.is_inquiry { "inquiry" } else { "chargeback" },
                "network": brand, "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": new.reason,
        "status": if new.is_inquiry { "warning_needs_response" } else { "needs_response" },
    });
    let mut charge = before.clone();
    charge["disputed"] = true.into();
    charge["dispute"] = dispute["id"].clone();
    transaction.put(Kind::Charge, &charge);
    transaction.put(Kind::Dispute, &dispute);
    transaction.emit("charge.dispute.created", &dispute);
    transaction.emit_change("charge.updated", &before, &charge);
    Ok(if new.is_inquiry { dispute } else { withdraw(transaction, &dispute) })
}

/// The bank takes the money.
fn withdraw(transaction: &mut Transaction<'_>, before: &Value) -> Value {
    let mut dispute = before.clone();
    let amount = dispute["amount"].as_i64().unwrap_or_default();
    let entry = balance_transaction(transaction, &dispute, "adjustment", -amount, FEE);
    add_entry(&mut dispute, entry);
    transaction.put(Kind::Dispute, &dispute);
    transaction.emit_change("charge.dispute.funds_withdrawn", before, &dispute);
    dispute
}

fn add_entry(dispute: &mut Value, entry: Value) {
    if let Some(entries) = dispute["balance_transactions"].as_array_mut() {
        entries.push(entry);
    }
}

/// An inquiry becomes a chargeback.
///
/// # Errors
/// If it is none.
pub(in super::super) fn escalate(transaction: &mut Transaction<'_>, id: &str) -> Result<Value, Failure> {
    let before = transaction.find(Kind::Dispute, id)?;
    if !matches!(before["status"].as_str(), Some("warning_needs_response" | "warning_under_review")) {
        return Err(Failure::state(format!("Dispute {id} is no open inquiry.")));
    }
    let mut dispute = before.clone();
    dispute["status"] = "needs_response".into();
    dispute["is_charge_refundable"] = false.into();
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback".into();
    transaction.put(Kind::Dispute, &dispute);
    transaction.emit_change("charge.dispute.updated", &before, &dispute);
    Ok(withdraw(transaction, &dispute))
}

/// The bank decides.
///
/// # Errors
/// If it has already.
pub(in super::super) fn close(
    transaction: &mut Transaction<'_>,
    id: &str,
    is_won: bool,
) -> Result<Value, Failure> {
    let dispute = transaction.find(Kind::Dispute, id)?;
    if is_closed(&dispute) {
        return Err(Failure::state(format!("Dispute {id} is closed already.")));
    }
    Ok(decide(transaction, &dispute, is_won))
}

fn is_closed(dispute: &Value) -> bool {
    matches!(dispute["status"].as_str(), Some("won" | "lost" | "warning_closed"))
}

fn decide(transaction: &mut Transaction<'_>, before: &Value, is_won: bool) -> Value {
    let is_inquiry = before["status"].as_str().is_some_and(|status| status.starts_with("warning_"));
    let mut dispute = before.clone();
    dispute["status"] = if is_inquiry {
        "warning_closed".into()
    } else if is_won {
        "won".into()
    } else {
        "lost".into()
    };
    if is_won && !is_inquiry {
        let amount = dispute["amount"].as_i64().unwrap_or_default();
        let entry = balance_transaction(transaction, &dispute, "adjustment", amount, -FEE);
        add_entry(&mut dispute, entry);
        transaction.put(Kind::Dispute, &dispute);
        transaction.emit_change("charge.dispute.funds_reinstated", before, &dispute);
    }
    transaction.put(Kind::Dispute, &dispute);
    transaction.emit_change("charge.dispute.closed", before, &dispute);
    dispute
}

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::Dispute, call.id)?;
    let mut dispute = before.clone();
    if let Some(Value::Object(evidence)) = call.given.get("evidence") {
        for (name, value) in evidence {
            if !EVIDENCE.contains(&name.as_str()) {
                let param = format!("evidence[{name}]");
                let message = format!("Received unknown parameter: {param}");
                return Err(Failure::parameters(message).code("parameter_unknown").of(param));
            }
            dispute["evidence"][name] = value.clone();
        }
        dispute["evidence_details"]["has_evidence"] = true.into();
    }
    merge_metadata(&mut dispute, call.given.get("metadata"))?;
    if call.given.boolean("submit") == Some(true) {
        let count = dispute["evidence_details"]["submission_count"].as_i64().unwrap_or_default();
        dispute["evidence_details"]["submission_count"] = (count + 1).into();
        match dispute["status"].as_str() {
            Some("needs_response") => dispute["status"] = "under_review".into(),
            Some("warning_needs_response") => dispute["status"] = "warning_under_review".into(),
            _ => {}
        }
    }
    if dispute != before {
        call.transaction.put(Kind::Dispute, &dispute);
        call.transaction.emit_change("charge.dispute.updated", &before, &dispute);
    }
    Ok(dispute)
}
