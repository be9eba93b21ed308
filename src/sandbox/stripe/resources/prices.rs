//! Prices.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, Kind as Type, LIMIT, METADATA, Parameter, STARTING_AFTER, boolean,
            choice, decimal, integer, list, merge_metadata, object, short_text, text,
        },
        search,
        store::Kind,
        world::Transaction,
    },
    Call, Given, Route, products,
};

const TAX_BEHAVIORS: &[&str] = &["exclusive", "inclusive", "unspecified"];
const INTERVALS: &[&str] = &["day", "month", "week", "year"];

pub(super) const RECURRING: &[Parameter] = &[
    choice("interval", INTERVALS).required(),
    integer("interval_count"),
    integer("trial_period_days"),
    choice("usage_type", &["licensed"]),
];

/// A price that is given inside something else.
pub(super) const DATA: &[Parameter] = &[
    short_text("currency", 3).required(),
    METADATA,
    text("product"),
    object("product_data", PRODUCT_DATA),
    object("recurring", RECURRING),
    choice("tax_behavior", TAX_BEHAVIORS),
    integer("unit_amount"),
    decimal("unit_amount_decimal"),
];

const PRODUCT_DATA: &[Parameter] = &[
    boolean("active"),
    text("description"),
    text("id"),
    list("images", &Type::Text(2000)),
    METADATA,
    short_text("name", 1500).required(),
    short_text("statement_descriptor", 22),
    text("tax_code"),
    short_text("unit_label", 12),
];

const CREATE: &[Parameter] = &[
    boolean("active"),
    choice("billing_scheme", &["per_unit"]),
    short_text("currency", 3).required(),
    short_text("lookup_key", 200),
    METADATA,
    text("nickname"),
    text("product"),
    object("product_data", PRODUCT_DATA),
    object("recurring", RECURRING),
    choice("tax_behavior", TAX_BEHAVIORS),
    boolean("transfer_lookup_key"),
    integer("unit_amount"),
    decimal("unit_amount_decimal"),
];

const UPDATE: &[Parameter] = &[
    boolean("active"),
    short_text("lookup_key", 200),
    METADATA,
    text("nickname"),
    choice("tax_behavior", TAX_BEHAVIORS),
    boolean("transfer_lookup_key"),
];

const LIST: &[Parameter] = &[
    boolean("active"),
    CREATED,
    text("currency"),
    ENDING_BEFORE,
    LIMIT,
    list("lookup_keys", &Type::Text(200)),
    text("product"),
    object(
        "recurring",
        &[choice("interval", INTERVALS), choice("usage_type", &["licensed", "metered"]), text("meter")],
    ),
    STARTING_AFTER,
    choice("type", &["one_time", "recurring"]),
];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/prices", CREATE, |call| {
        let mut given = call.given.clone();
        given.take_product(call.transaction)?;
        make(call.transaction, &given, None)
    }),
    Route::get("/v1/prices", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::Price, given, "/v1/prices", |price| {
            let keys = given.get("lookup_keys").and_then(Value::as_array);
            let recurring = given.get("recurring").and_then(Value::as_object);
            keys.is_none_or(|keys| keys.contains(&price["lookup_key"]))
                && recurring.is_none_or(|wanted| {
                    wanted.iter().all(|(name, value)| price["recurring"].get(name) == Some(value))
                })
                && ["active", "currency", "product", "type"].iter().all(|field| given.filters(price, field))
        })
    }),
    Route::get("/v1/prices/search", search::PARAMETERS, |call| {
        search::run(call.transaction, Kind::Price, &call.given, "/v1/prices/search")
    }),
    Route::get("/v1/prices/{id}", &[], |call| call.transaction.find(Kind::Price, call.id)),
    Route::post("/v1/prices/{id}", UPDATE, update),
];

impl Given {
    /// Makes the product that `product_data` describes, and names it in `product`.
    ///
    /// # Errors
    /// If there is neither or both, or no such product.
    pub(in super::super) fn take_product(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), Failure> {
        match (self.text("product"), self.get("product_data")) {
            (Some(product), None) => {
                let product = product.to_owned();
                transaction.find_in("product", Kind::Product, &product).map(drop)
            }
            (None, Some(Value::Object(data))) => {
                let product = products::make(transaction, &data.clone().into())?;
                self.set("product", product["id"].clone());
                Ok(())
            }
            (Some(_), _) => {
                let message = "You may only specify one of these parameters: product, product_data.";
                Err(Failure::parameters(message))
            }
            (None, _) => Err(Failure::parameters(
                "You must specify either `product` or `product_data` when creating a price.",
            )
            .code("parameter_missing")
            .of("product")),
        }
    }
}

/// Makes a price of a known product and tells of it.
///
/// # Errors
/// If the amount or the currency makes no sense.
pub(in super::super) fn make(
    transaction: &mut Transaction<'_>,
    given: &Given,
    id: Option<String>,
) -> Result<Value, Failure> {
    let price = build(transaction, given, id)?;
    transaction.put(Kind::Price, &price);
    transaction.emit("price.created", &price);
    Ok(price)
}

/// What a price of a known product looks like.
///
/// # Errors
/// As [`make`].
pub(in super::super) fn build(
    transaction: &Transaction<'_>,
    given: &Given,
    id: Option<String>,
) -> Result<Value, Failure> {
    let currency = currency(given.text("currency").unwrap_or_default())?;
    let (unit_amount, decimal) = amount(given)?;
    let recurring = match given.get("recurring") {
        Some(Value::Object(recurring)) => json!({
            "interval": recurring.get("interval"),
            "interval_count": recurring.get("interval_count").and_then(Value::as_i64).unwrap_or(1),
            "meter": null,
            "trial_period_days": recurring.get("trial_period_days"),
            "usage_type": "licensed",
        }),
        _ => Value::Null,
    };
    let mut price = json!({
        "id": id.unwrap_or_else(|| ids::new(Kind::Price)),
        "object": "price",
        "active": given.boolean("active").unwrap_or(true),
        "billing_scheme": "per_unit",
        "created": transaction.now(),
        "currency": currency,
        "custom_unit_amount": null,
        "livemode": false,
        "lookup_key": given.value("lookup_key"),
        "metadata": {},
        "nickname": given.value("nickname"),
        "product": given.value("product"),
        "recurring": recurring,
        "tax_behavior": given.value_or("tax_behavior", "unspecified"),
        "tiers_mode": null,
        "transform_quantity": null,
        "type": if recurring.is_null() { "one_time" } else { "recurring" },
        "unit_amount": unit_amount,
        "unit_amount_decimal": decimal,
    });
    merge_metadata(&mut price, given.get("metadata"))?;
    Ok(price)
}

fn amount(given: &Given) -> Result<(Value, String), Failure> {
    match (given.integer("unit_amount"), given.text("unit_amount_decimal")) {
        (Some(amount), None) if amount < 0 => {
            let message = "Invalid non-negative integer";
            Err(Failure::parameters(message).code("parameter_invalid_integer").of("unit_amount"))
        }
        (Some(amount), None) => Ok((amount.into(), amount.to_string())),
        (None, Some(decimal)) => {
            let whole = decimal.parse::<i64>().ok();
            Ok((whole.into(), decimal.to_owned()))
        }
        (Some(_), Some(_)) => Err(Failure::parameters(
            "You may only specify one of these parameters: unit_amount, unit_amount_decimal.",
        )),
        (None, None) => {
            let message = "Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.";
            Err(Failure::parameters(message).code("parameter_missing").of("unit_amount"))
        }
    }
}

/// A currency as Stripe writes it.
///
/// # Errors
/// If it is none.
pub(in super::super) fn currency(text: &str) -> Result<String, Failure> {
    let lower = text.to_ascii_lowercase();
    if lower.len() == 3 && lower.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Ok(lower);
    }
    let message = format!("Invalid currency: {text}. Stripe supports three-letter ISO codes in lowercase.");
    Err(Failure::parameters(message).of("currency"))
}

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::Price, call.id)?;
    let mut price = before.clone();
    for field in ["active", "lookup_key", "nickname", "tax_behavior"] {
        if let Some(value) = call.given.get(field) {
            price[field] = value.clone();
        }
    }
    merge_metadata(&mut price, call.given.get("metadata"))?;
    if price != before {
        call.transaction.put(Kind::Price, &price);
        call.transaction.emit_change("price.updated", &before, &price);
    }
    Ok(price)
}
