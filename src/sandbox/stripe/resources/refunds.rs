//! Refunds: made whole or in part, pending or done, and failing when everyone thought they were done.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        cards::{Method, Refunds},
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, LIMIT, METADATA, Parameter, STARTING_AFTER, choice, integer,
            merge_metadata, text,
        },
        payments::balance_transaction,
        store::Kind,
        world::Transaction,
    },
    Call, Given, Route,
};

const CREATE: &[Parameter] = &[
    integer("amount"),
    text("charge"),
    text("instructions_email"),
    METADATA,
    text("payment_intent"),
    choice("reason", &["duplicate", "fraudulent", "requested_by_customer"]),
];

const LIST: &[Parameter] =
    &[text("charge"), CREATED, ENDING_BEFORE, LIMIT, text("payment_intent"), STARTING_AFTER];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/refunds", CREATE, create),
    Route::get("/v1/refunds", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::Refund, given, "/v1/refunds", |refund| {
            ["charge", "payment_intent"].iter().all(|field| given.filters(refund, field))
        })
    }),
    Route::get("/v1/refunds/{id}", &[], |call| call.transaction.find(Kind::Refund, call.id)),
    Route::post("/v1/refunds/{id}", &[METADATA], update),
    Route::post("/v1/refunds/{id}/cancel", &[], |call| {
        let refund = call.transaction.find(Kind::Refund, call.id)?;
        if refund["status"] != "requires_action" {
            let message = format!(
                "Refund {} cannot be canceled because its status is {}; only refunds with a status of requires_action can be.",
                call.id,
                text_of(&refund["status"])
            );
            return Err(Failure::state(message));
        }
        Ok(give_back(call.transaction, &refund, "canceled", None))
    }),
];

fn create(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let charge = charge_of(call)?;
    let given = call.given.clone();
    make(call.transaction, &charge, &given)
}

/// Gives back what is left of a charge, or the `amount` that is given, with `reason` and `metadata`.
///
/// # Errors
/// If the charge has not so much left, or is disputed.
pub(in super::super) fn make(
    transaction: &mut Transaction<'_>,
    charge: &Value,
    given: &Given,
) -> Result<Value, Failure> {
    let id = text_of(&charge["id"]).to_owned();
    let unrefunded = amount_of(&charge["amount"]) - amount_of(&charge["amount_refunded"]);
    if charge["disputed"] == true && !is_refundable_dispute(transaction, charge) {
        let message = format!("Charge {id} has been charged back; cannot issue a refund.");
        return Err(Failure::state(message).code("charge_disputed"));
    }
    if unrefunded == 0 {
        let message = format!("Charge {id} has already been refunded.");
        return Err(Failure::state(message).code("charge_already_refunded"));
    }
    let amount = given.integer("amount").unwrap_or(unrefunded);
    if amount < 1 {
        let message = "Invalid positive integer";
        return Err(Failure::parameters(message).code("parameter_invalid_integer").of("amount"));
    }
    if amount > unrefunded {
        let message = format!(
            "Refund amount ({amount}) is greater than unrefunded amount on charge ({unrefunded}), in the smallest part of {}",
            text_of(&charge["currency"])
        );
        return Err(Failure::state(message).of("amount"));
    }
    let status = match method_of(transaction, charge) {
        Some(Method::Card(card)) if card.refunds == Refunds::Succeed => "succeeded",
        _ => "pending",
    };
    let mut refund = json!({
        "id": ids::new(Kind::Refund),
        "object": "refund",
        "amount": amount,
        "balance_transaction": null,
        "charge": charge["id"],
        "created": transaction.now(),
        "currency": charge["currency"],
        "destination_details": destination(charge, status),
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": given.value("reason"),
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": status,
        "transfer_reversal": null,
    });
    merge_metadata(&mut refund, given.get("metadata"))?;
    if status == "pending" {
        refund["pending_reason"] = "processing".into();
    }
    let entry_type =
        if charge["payment_method_details"]["type"] == "card" { "refund" } else { "payment_refund" };
    let entry = balance_transaction(transaction, &refund, entry_type, -amount, 0);
    refund["balance_transaction"] = entry["id"].clone();
    transaction.put(Kind::Refund, &refund);
    let after = add_refunded(transaction, charge, amount);
    transaction.emit("refund.created", &refund);
    transaction.emit_change("charge.refunded", charge, &after);
    if status == "succeeded" {
        tell_reference(transaction, &refund);
    }
    Ok(refund)
}

/// A moment later the bank's reference number is known, which moves no money.
fn tell_reference(transaction: &mut Transaction<'_>, refund: &Value) {
    let mut later = refund.clone();
    later["destination_details"]["card"]["reference"] = ids::digits(16).into();
    later["destination_details"]["card"]["reference_status"] = "available".into();
    transaction.put(Kind::Refund, &later);
    transaction.emit_change("refund.updated", refund, &later);
    transaction.emit_change("charge.refund.updated", refund, &later);
}

fn destination(charge: &Value, status: &str) -> Value {
    let method = text_of(&charge["payment_method_details"]["type"]);
    if method != "card" {
        return json!({ method: {}, "type": method });
    }
    json!({
        "card": {
            "reference_status": if status == "succeeded" { "pending" } else { "unavailable" },
            "reference_type": "acquirer_reference_number",
            "type": if status == "succeeded" { "refund" } else { "pending" },
        },
        "type": "card",
    })
}

fn charge_of(call: &Call<'_, '_>) -> Result<Value, Failure> {
    let transaction = &call.transaction;
    match (call.given.text("charge"), call.given.text("payment_intent")) {
        (Some(charge), None) => {
            let charge = transaction.find_in("charge", Kind::Charge, charge)?;
            if charge["status"] == "succeeded" {
                return Ok(charge);
            }
            let message = format!("Charge {} is not refundable: it did not succeed.", text_of(&charge["id"]));
            Err(Failure::state(message).of("charge"))
        }
        (None, Some(intent)) => {
            let intent = transaction.find_in("payment_intent", Kind::PaymentIntent, intent)?;
            let charge = transaction.peek(Kind::Charge, &intent["latest_charge"]);
            if charge["status"] == "succeeded" {
                return Ok(charge);
            }
            let message = format!(
                "This PaymentIntent ({}) does not have a successful charge to refund.",
                text_of(&intent["id"])
            );
            Err(Failure::state(message).of("payment_intent"))
        }
        (Some(_), Some(_)) => {
            Err(Failure::parameters("You may only specify one of these parameters: charge, payment_intent."))
        }
        (None, None) => {
            let message =
                "One of the following params should be provided for this request: payment_intent or charge.";
            Err(Failure::parameters(message))
        }
    }
}

fn is_refundable_dispute(transaction: &Transaction<'_>, charge: &Value) -> bool {
    transaction
        .store
        .all(Kind::Dispute)
        .filter(|dispute| dispute["charge"] == charge["id"])
        .all(|dispute| dispute["is_charge_refundable"] == true || dispute["status"] == "won")
}

fn method_of(transaction: &Transaction<'_>, charge: &Value) -> Option<Method> {
    let hidden = transaction.hidden(text_of(&charge["payment_method"]));
    Method::numbered(hidden["number"].as_str()?)
}

fn add_refunded(transaction: &mut Transaction<'_>, charge: &Value, amount: i64) -> Value {
    let mut charge = charge.clone();
    let refunded = amount_of(&charge["amount_refunded"]) + amount;
    charge["amount_refunded"] = refunded.into();
    charge["refunded"] = (refunded == amount_of(&charge["amount"])).into();
    transaction.put(Kind::Charge, &charge);
    charge
}

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::Refund, call.id)?;
    let mut refund = before.clone();
    merge_metadata(&mut refund, call.given.get("metadata"))?;
    if refund != before {
        call.transaction.put(Kind::Refund, &refund);
        call.transaction.emit_change("refund.updated", &before, &refund);
        call.transaction.emit_change("charge.refund.updated", &before, &refund);
    }
    Ok(refund)
}

/// A pending refund arrives.
///
/// # Errors
/// If it is not pending.
pub(in super::super) fn succeed(transaction: &mut Transaction<'_>, id: &str) -> Result<Value, Failure> {
    let before = transaction.find(Kind::Refund, id)?;
    if !matches!(text_of(&before["status"]), "pending" | "requires_action") {
        return Err(Failure::state(format!("Refund {id} is {}.", text_of(&before["status"]))));
    }
    let mut refund = before.clone();
    refund["status"] = "succeeded".into();
    if let Some(fields) = refund.as_object_mut() {
        fields.shift_remove("pending_reason");
        fields.shift_remove("next_action");
    }
    if refund["destination_details"]["type"] == "card" {
        refund["destination_details"]["card"]["type"] = "refund".into();
    }
    transaction.put(Kind::Refund, &refund);
    transaction.emit_change("refund.updated", &before, &refund);
    transaction.emit_change("charge.refund.updated", &before, &refund);
    Ok(refund)
}

/// A pending refund waits for the buyer, who has to say where the money should go.
///
/// # Errors
/// If it is not pending.
pub(in super::super) fn require_action(
    transaction: &mut Transaction<'_>,
    id: &str,
) -> Result<Value, Failure> {
    let before = transaction.find(Kind::Refund, id)?;
    if before["status"] != "pending" {
        return Err(Failure::state(format!("Refund {id} is {}.", text_of(&before["status"]))));
    }
    let mut refund = before.clone();
    refund["status"] = "requires_action".into();
    refund["next_action"] = json!({
        "display_details": {
            "email_sent": { "email_sent_at": transaction.now(), "email_sent_to": "buyer@example.com" },
            "expires_at": transaction.now() + 45 * 24 * 3600,
        },
        "type": "display_details",
    });
    transaction.put(Kind::Refund, &refund);
    transaction.emit_change("refund.updated", &before, &refund);
    transaction.emit_change("charge.refund.updated", &before, &refund);
    Ok(refund)
}

/// The money of a refund came back, possibly days after it had gone.
///
/// # Errors
/// If it has failed or been canceled already.
pub(in super::super) fn fail(
    transaction: &mut Transaction<'_>,
    id: &str,
    reason: &str,
) -> Result<Value, Failure> {
    let refund = transaction.find(Kind::Refund, id)?;
    if matches!(text_of(&refund["status"]), "failed" | "canceled") {
        return Err(Failure::state(format!("Refund {id} is {}.", text_of(&refund["status"]))));
    }
    Ok(give_back(transaction, &refund, "failed", Some(reason)))
}

fn give_back(transaction: &mut Transaction<'_>, before: &Value, status: &str, reason: Option<&str>) -> Value {
    let amount = amount_of(&before["amount"]);
    let mut refund = before.clone();
    refund["status"] = status.into();
    if let Some(fields) = refund.as_object_mut() {
        fields.shift_remove("pending_reason");
        fields.shift_remove("next_action");
    }
    if let Some(reason) = reason {
        refund["failure_reason"] = reason.into();
        let entry = balance_transaction(transaction, &refund, "refund_failure", amount, 0);
        refund["failure_balance_transaction"] = entry["id"].clone();
    }
    transaction.put(Kind::Refund, &refund);
    let charge_before = transaction.peek(Kind::Charge, &refund["charge"]);
    let charge = add_refunded(transaction, &charge_before, -amount);
    transaction.emit_change("refund.updated", before, &refund);
    if status == "failed" {
        transaction.emit("refund.failed", &refund);
    }
    transaction.emit_change("charge.refund.updated", before, &refund);
    transaction.emit_change("charge.updated", &charge_before, &charge);
    refund
}

fn amount_of(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
