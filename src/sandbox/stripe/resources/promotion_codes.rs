//! Coupons and the promotion codes that buyers type.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, LIMIT, METADATA, Parameter, STARTING_AFTER, boolean, choice, decimal,
            integer, merge_metadata, object, short_text, text,
        },
        store::Kind,
        world::Transaction,
    },
    Call, Given, Route, customers, prices,
};

const COUPON: &[Parameter] = &[
    integer("amount_off"),
    short_text("currency", 3),
    choice("duration", &["forever", "once", "repeating"]),
    integer("duration_in_months"),
    text("id"),
    integer("max_redemptions"),
    METADATA,
    short_text("name", 40),
    decimal("percent_off"),
    integer("redeem_by"),
];

const CODE: &[Parameter] = &[
    boolean("active"),
    short_text("code", 500),
    text("customer"),
    integer("expires_at"),
    integer("max_redemptions"),
    METADATA,
    object("promotion", &[text("coupon"), choice("type", &["coupon"]).required()]).required(),
    object(
        "restrictions",
        &[boolean("first_time_transaction"), integer("minimum_amount"), text("minimum_amount_currency")],
    ),
];

const LIST_CODES: &[Parameter] = &[
    boolean("active"),
    text("code"),
    text("coupon"),
    CREATED,
    text("customer"),
    ENDING_BEFORE,
    LIMIT,
    STARTING_AFTER,
];

const LIST_COUPONS: &[Parameter] = &[CREATED, ENDING_BEFORE, LIMIT, STARTING_AFTER];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/coupons", COUPON, create_coupon),
    Route::get("/v1/coupons", LIST_COUPONS, |call| {
        lists::page(call.transaction, Kind::Coupon, &call.given, "/v1/coupons", |_| true)
    }),
    Route::get("/v1/coupons/{id}", &[], |call| call.transaction.find(Kind::Coupon, call.id)),
    Route::post("/v1/promotion_codes", CODE, create_code),
    Route::get("/v1/promotion_codes", LIST_CODES, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::PromotionCode, given, "/v1/promotion_codes", |code| {
            given.text("coupon").is_none_or(|coupon| code["promotion"]["coupon"] == coupon)
                && ["active", "code", "customer"].iter().all(|field| given.filters(code, field))
        })
    }),
    Route::get("/v1/promotion_codes/{id}", &[], |call| call.transaction.find(Kind::PromotionCode, call.id)),
    Route::post("/v1/promotion_codes/{id}", &[boolean("active"), METADATA], update_code),
];

fn create_coupon(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let given = &call.given;
    let percent = given.text("percent_off").and_then(|percent| percent.parse::<f64>().ok());
    let amount = given.integer("amount_off");
    match (percent, amount) {
        (Some(percent), None) if percent > 0.0 && percent <= 100.0 => {}
        (None, Some(amount)) if amount > 0 => {
            if given.text("currency").is_none() {
                let message = "You must pass `currency` when passing `amount_off`.";
                return Err(Failure::parameters(message).code("parameter_missing").of("currency"));
            }
        }
        (Some(_), None) => {
            let message = "Invalid percent_off: must be greater than 0 and at most 100.";
            return Err(Failure::parameters(message).of("percent_off"));
        }
        _ => {
            let message = "You must pass exactly one of `percent_off` and `amount_off`, greater than 0.";
            return Err(Failure::parameters(message));
        }
    }
    let currency = given.text("currency").map(prices::currency).transpose()?;
    let id = given.text("id").map_or_else(|| ids::new(Kind::Coupon), str::to_owned);
    if call.transaction.store.get(Kind::Coupon, &id).is_some() {
        let message = format!("Coupon already exists: {id}");
        return Err(Failure::state(message).code("resource_already_exists").of("id"));
    }
    let mut coupon = json!({
        "id": id,
        "object": "coupon",
        "amount_off": amount,
        "created": call.transaction.now(),
        "currency": currency,
        "duration": given.value_or("duration", "once"),
        "duration_in_months": given.value("duration_in_months"),
        "livemode": false,
        "max_redemptions": given.value("max_redemptions"),
        "metadata": {},
        "name": given.value("name"),
        "percent_off": percent,
        "redeem_by": given.value("redeem_by"),
        "times_redeemed": 0,
        "valid": true,
    });
    merge_metadata(&mut coupon, given.get("metadata"))?;
    call.transaction.put(Kind::Coupon, &coupon);
    call.transaction.emit("coupon.created", &coupon);
    Ok(coupon)
}

fn create_code(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let given = &call.given;
    let promotion = given.value("promotion");
    let coupon = promotion["coupon"].as_str().unwrap_or_default();
    call.transaction.find_in("promotion[coupon]", Kind::Coupon, coupon)?;
    if let Some(customer) = given.text("customer") {
        customers::living(call.transaction, "customer", customer)?;
    }
    let code = given.text("code").map_or_else(|| ids::with_prefix("", 8).to_uppercase(), str::to_owned);
    let is_taken = call
        .transaction
        .store
        .all(Kind::PromotionCode)
        .any(|other| other["active"] == true && has_code(other, &code));
    if is_taken {
        let message = "An active promotion code with `code: ".to_owned() + &code + "` already exists.";
        return Err(Failure::state(message).of("code"));
    }
    let restriction = |name: &str| given.value("restrictions").get(name).cloned().unwrap_or(Value::Null);
    let mut promotion_code = json!({
        "id": ids::new(Kind::PromotionCode),
        "object": "promotion_code",
        "active": given.boolean("active").unwrap_or(true),
        "code": code,
        "created": call.transaction.now(),
        "customer": given.value("customer"),
        "customer_account": null,
        "expires_at": given.value("expires_at"),
        "livemode": false,
        "max_redemptions": given.value("max_redemptions"),
        "metadata": {},
        "promotion": { "coupon": coupon, "type": "coupon" },
        "restrictions": {
            "first_time_transaction": restriction("first_time_transaction") == true,
            "minimum_amount": restriction("minimum_amount"),
            "minimum_amount_currency": restriction("minimum_amount_currency"),
        },
        "times_redeemed": 0,
    });
    merge_metadata(&mut promotion_code, given.get("metadata"))?;
    call.transaction.put(Kind::PromotionCode, &promotion_code);
    call.transaction.emit("promotion_code.created", &promotion_code);
    Ok(promotion_code)
}

fn update_code(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::PromotionCode, call.id)?;
    let mut code = before.clone();
    if let Some(active) = call.given.get("active") {
        code["active"] = active.clone();
    }
    merge_metadata(&mut code, call.given.get("metadata"))?;
    call.transaction.put(Kind::PromotionCode, &code);
    call.transaction.emit_change("promotion_code.updated", &before, &code);
    Ok(code)
}

fn has_code(promotion_code: &Value, code: &str) -> bool {
    promotion_code["code"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(code))
}

/// The promotion code that a buyer typed, if it can be used for this much.
///
/// # Errors
/// Says why it cannot.
pub(in super::super) fn usable(
    transaction: &Transaction<'_>,
    typed: &str,
    subtotal: i64,
    currency: &str,
    customer: &Value,
) -> Result<Value, &'static str> {
    let found = transaction
        .store
        .all(Kind::PromotionCode)
        .find(|code| code["active"] == true && has_code(code, typed.trim()))
        .ok_or("This code is invalid.")?;
    let coupon = transaction.peek(Kind::Coupon, &found["promotion"]["coupon"]);
    let is_over = |moment: &Value| moment.as_i64().is_some_and(|moment| moment <= transaction.now());
    let is_used_up = |object: &Value| {
        object["max_redemptions"].as_i64().is_some_and(|most| object["times_redeemed"].as_i64() >= Some(most))
    };
    if is_over(&found["expires_at"])
        || is_over(&coupon["redeem_by"])
        || is_used_up(found)
        || is_used_up(&coupon)
    {
        return Err("This code has expired.");
    }
    if !found["customer"].is_null() && found["customer"] != *customer {
        return Err("This code is invalid.");
    }
    if !coupon["currency"].is_null() && coupon["currency"] != currency {
        return Err("This code cannot be used with this currency.");
    }
    if found["restrictions"]["minimum_amount"].as_i64().is_some_and(|least| subtotal < least) {
        return Err("The order is too small for this code.");
    }
    Ok(found.clone())
}

/// Counts one use of a coupon, and of the promotion code that led to it.
pub(in super::super) fn count_use(transaction: &mut Transaction<'_>, discount: &Value) {
    for (kind, id) in
        [(Kind::PromotionCode, &discount["promotion_code"]), (Kind::Coupon, &discount["coupon"])]
    {
        let mut object = transaction.peek(kind, id);
        if let Some(times) = object["times_redeemed"].as_i64() {
            object["times_redeemed"] = (times + 1).into();
            transaction.put(kind, &object);
        }
    }
}

/// The coupon behind what `discounts[0]` of a new session names.
///
/// # Errors
/// If there is no such coupon or code.
pub(in super::super) fn discount(transaction: &Transaction<'_>, given: &Given) -> Result<Value, Failure> {
    let first = given.value("discounts")[0].clone();
    match (first["coupon"].as_str(), first["promotion_code"].as_str()) {
        (Some(coupon), None) => {
            transaction.find_in("discounts[0][coupon]", Kind::Coupon, coupon)?;
            Ok(json!({ "coupon": coupon, "promotion_code": null }))
        }
        (None, Some(code)) => {
            let code = transaction.find_in("discounts[0][promotion_code]", Kind::PromotionCode, code)?;
            Ok(json!({ "coupon": code["promotion"]["coupon"], "promotion_code": code["id"] }))
        }
        (None, None) => Ok(Value::Null),
        (Some(_), Some(_)) => {
            Err(Failure::parameters("You may only specify one of these parameters: coupon, promotion_code.")
                .of("discounts[0]"))
        }
    }
}
