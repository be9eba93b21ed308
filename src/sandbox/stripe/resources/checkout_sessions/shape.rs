//! What a new session looks like.

use serde_json::{Value, json};

use super::super::{
    super::{ids, store::Kind, world::Transaction},
    Given,
};

/// A session that is open, before its amounts are known.
pub(super) fn session(
    transaction: &Transaction<'_>,
    given: &Given,
    customer: Option<&Value>,
    expires_at: i64,
) -> Value {
    let id = ids::new(Kind::CheckoutSession);
    let mode = given.text("mode").unwrap_or_default();
    let is_on = |name: &str| given.value(name)["enabled"] == true;
    let is_payment = mode == "payment";
    let invoice_creation = if is_payment {
        let data = given.value("invoice_creation")["invoice_data"].clone();
        let part = |name: &str| data.get(name).cloned().unwrap_or(Value::Null);
        json!({
            "enabled": is_on("invoice_creation"),
            "invoice_data": {
                "account_tax_ids": part("account_tax_ids"), "custom_fields": part("custom_fields"),
                "description": part("description"), "footer": part("footer"), "issuer": part("issuer"),
                "metadata": data.get("metadata").cloned().unwrap_or_else(|| json!({})),
                "rendering_options": part("rendering_options"),
            },
        })
    } else {
        Value::Null
    };
    let creation = match (customer, mode) {
        (None, "payment") => given.value_or("customer_creation", "if_required"),
        (None, _) => "always".into(),
        (Some(_), _) => Value::Null,
    };
    let text = given.value("custom_text");
    let text_part = |name: &str| text.get(name).cloned().unwrap_or(Value::Null);
    let mut session = json!({
        "id": id,
        "object": "checkout.session",
        "adaptive_pricing": { "enabled": given.value("adaptive_pricing")["enabled"].as_bool().unwrap_or(true) },
        "after_expiration": null,
        "allow_promotion_codes": given.value("allow_promotion_codes"),
        "allowed_payment_method_types": given.value("allowed_payment_method_types"),
        "amount_subtotal": null,
        "amount_total": null,
        "automatic_tax": automatic_tax(is_on("automatic_tax")),
        "billing_address_collection": given.value("billing_address_collection"),
        "branding_settings": {
            "background_color": "#ffffff", "border_style": "rounded", "button_color": "#1f5f4a",
            "display_name": "Counterfoil simulator", "font_family": "default", "icon": null, "logo": null,
        },
        "cancel_url": given.value("cancel_url"),
        "client_reference_id": given.value("client_reference_id"),
        "client_secret": null,
        "collected_information": { "business_name": null, "individual_name": null, "shipping_details": null },
        "consent": null,
        "consent_collection": given.value("consent_collection"),
        "created": transaction.now(),
        "currency": null,
        "currency_conversion": null,
        "custom_fields": [],
        "custom_text": {
            "after_submit": text_part("after_submit"),
            "shipping_address": text_part("shipping_address"),
            "submit": text_part("submit"),
            "terms_of_service_acceptance": text_part("terms_of_service_acceptance"),
        },
        "customer": customer.map(|customer| &customer["id"]),
        "customer_account": null,
        "customer_creation": creation,
        "customer_details": customer_details(given, customer),
        "customer_email": given.value("customer_email"),
        "discounts": [],
        "expires_at": expires_at,
        "integration_identifier": null,
        "invoice": null,
        "invoice_creation": invoice_creation,
        "livemode": false,
        "locale": given.value("locale"),
        "metadata": {},
        "mode": mode,
        "origin_context": given.value("origin_context"),
        "payment_intent": null,
        "payment_link": null,
        "payment_method_collection": given.value_or("payment_method_collection", if is_payment { "if_required" } else { "always" }),
        "payment_method_configuration_details": { "id": "pmc_1CounterfoilSimulator", "parent": null },
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": method_types(given),
        "payment_status": "unpaid",
        "permissions": null,
        "phone_number_collection": { "enabled": is_on("phone_number_collection") },
        "recovered_from": null,
        "saved_payment_method_options": saved_method_options(given, customer),
        "setup_intent": null,
        "shipping_address_collection": null,
        "shipping_cost": null,
        "shipping_options": [],
        "status": "open",
        "submit_type": given.value("submit_type"),
        "subscription": null,
        "success_url": given.value("success_url"),
        "total_details": null,
        "ui_mode": "hosted_page",
        "url": format!("{}/pay/{id}", transaction.base_url),
        "wallet_options": null,
    });
    if let Some(excluded) = given.get("excluded_payment_method_types").filter(|excluded| excluded.is_array())
    {
        session["excluded_payment_method_types"] = excluded.clone();
    }
    if is_on("tax_id_collection") {
        let required = given.value("tax_id_collection")["required"].as_str().unwrap_or("never").to_owned();
        session["tax_id_collection"] = json!({ "enabled": true, "required": required });
    }
    session
}

fn automatic_tax(is_on: bool) -> Value {
    if is_on {
        json!({
            "enabled": true, "liability": { "type": "self" }, "provider": "stripe", "status": "requires_location_inputs",
        })
    } else {
        json!({ "enabled": false, "liability": null, "provider": null, "status": null })
    }
}

fn customer_details(given: &Given, customer: Option<&Value>) -> Value {
    let email = customer.map_or_else(|| given.value("customer_email"), |customer| customer["email"].clone());
    if email.is_null() && customer.is_none() {
        return Value::Null;
    }
    json!({
        "address": customer.map(|customer| &customer["address"]),
        "business_name": null,
        "email": email,
        "individual_name": null,
        "name": customer.map(|customer| &customer["name"]),
        "phone": customer.map(|customer| &customer["phone"]),
        "tax_exempt": "none",
        "tax_ids": null,
    })
}

fn saved_method_options(given: &Given, customer: Option<&Value>) -> Value {
    if customer.is_none() && given.get("saved_payment_method_options").is_none() {
        return Value::Null;
    }
    let options = given.value("saved_payment_method_options");
    json!({
        "allow_redisplay_filters": options.get("allow_redisplay_filters").cloned().unwrap_or_else(|| json!(["always"])),
        "payment_method_remove": options.get("payment_method_remove").cloned().unwrap_or_else(|| "disabled".into()),
        "payment_method_save": options.get("payment_method_save").cloned().unwrap_or(Value::Null),
    })
}

/// What the page offers.
///
/// Subscriptions are sold for cards alone.
fn method_types(given: &Given) -> Vec<&'static str> {
    let names = |param: &str| -> Option<Vec<String>> {
        let list = given.get(param)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let (allowed, excluded) = (names("allowed_payment_method_types"), names("excluded_payment_method_types"));
    let all: &[&str] =
        if given.text("mode") == Some("payment") { &["card", "sepa_debit"] } else { &["card"] };
    all.iter()
        .copied()
        .filter(|name| allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|allowed| allowed == name)))
        .filter(|name| !excluded.iter().flatten().any(|excluded| excluded == name))
        .collect()
}
