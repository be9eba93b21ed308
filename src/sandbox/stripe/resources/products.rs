//! Products.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, Kind as Type, LIMIT, METADATA, Parameter, STARTING_AFTER, address,
            boolean, free, list, merge_metadata, object, short_text, text,
        },
        store::Kind,
        world::Transaction,
    },
    Call, Given, Route, prices,
};

const CREATE: &[Parameter] = &[
    boolean("active"),
    object("default_price_data", prices::DATA),
    text("description"),
    text("id"),
    list("images", &Type::Text(2000)),
    list("marketing_features", &Type::Object(&[text("name").required()])),
    METADATA,
    short_text("name", 1500).required(),
    free("package_dimensions"),
    boolean("shippable"),
    short_text("statement_descriptor", 22),
    text("tax_code"),
    short_text("unit_label", 12),
    address("url"),
];

const UPDATE: &[Parameter] = &[
    boolean("active"),
    text("default_price"),
    text("description"),
    list("images", &Type::Text(2000)),
    list("marketing_features", &Type::Object(&[text("name").required()])),
    METADATA,
    short_text("name", 1500),
    free("package_dimensions"),
    boolean("shippable"),
    short_text("statement_descriptor", 22),
    text("tax_code"),
    short_text("unit_label", 12),
    address("url"),
];

const LIST: &[Parameter] = &[
    boolean("active"),
    CREATED,
    ENDING_BEFORE,
    list("ids", &Type::Text(5000)),
    LIMIT,
    boolean("shippable"),
    STARTING_AFTER,
    address("url"),
];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/products", CREATE, create),
    Route::get("/v1/products", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::Product, given, "/v1/products", |product| {
            let is_named =
                given.get("ids").and_then(Value::as_array).is_none_or(|ids| ids.contains(&product["id"]));
            is_named && ["active", "shippable", "url"].iter().all(|field| given.filters(product, field))
        })
    }),
    Route::get("/v1/products/{id}", &[], |call| call.transaction.find(Kind::Product, call.id)),
    Route::post("/v1/products/{id}", UPDATE, update),
    Route::delete("/v1/products/{id}", delete),
];

const FIELDS: &[&str] = &[
    "active",
    "description",
    "images",
    "marketing_features",
    "name",
    "package_dimensions",
    "shippable",
    "statement_descriptor",
    "tax_code",
    "unit_label",
    "url",
];

fn create(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let product = make(call.transaction, &call.given)?;
    let Some(Value::Object(data)) = call.given.get("default_price_data") else { return Ok(product) };
    let mut data = data.clone();
    data.insert("product".to_owned(), product["id"].clone());
    let price = prices::make(call.transaction, &data.into(), None)?;
    let mut changed = product.clone();
    changed["default_price"] = price["id"].clone();
    call.transaction.put(Kind::Product, &changed);
    call.transaction.emit_change("product.updated", &product, &changed);
    Ok(changed)
}

/// Makes a product and tells of it.
pub(in super::super) fn make(transaction: &mut Transaction<'_>, given: &Given) -> Result<Value, Failure> {
    let id = given.text("id").map_or_else(|| ids::new(Kind::Product), str::to_owned);
    if transaction.store.get(Kind::Product, &id).is_some() {
        return Err(Failure::state(format!("Product already exists: {id}"))
            .code("resource_already_exists")
            .of("id"));
    }
    let mut product = json!({
        "id": id,
        "object": "product",
        "active": true,
        "created": transaction.now(),
        "default_price": null,
        "description": null,
        "images": [],
        "livemode": false,
        "marketing_features": [],
        "metadata": {},
        "name": null,
        "package_dimensions": null,
        "shippable": null,
        "statement_descriptor": null,
        "tax_code": null,
        "type": "service",
        "unit_label": null,
        "updated": transaction.now(),
        "url": null,
    });
    change(&mut product, given)?;
    transaction.put(Kind::Product, &product);
    transaction.emit("product.created", &product);
    Ok(product)
}

fn change(product: &mut Value, given: &Given) -> Result<(), Failure> {
    for field in FIELDS {
        if let Some(value) = given.get(field) {
            product[*field] = value.clone();
        }
    }
    merge_metadata(product, given.get("metadata"))
}

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::Product, call.id)?;
    let mut product = before.clone();
    change(&mut product, &call.given)?;
    if let Some(price) = call.given.get("default_price") {
        if let Some(id) = price.as_str() {
            let found = call.transaction.find_in("default_price", Kind::Price, id)?;
            if found["product"] != call.id {
                let message = "The default price must belong to the product.";
                return Err(Failure::state(message).of("default_price"));
            }
        }
        product["default_price"] = price.clone();
    }
    if product != before {
        product["updated"] = call.transaction.now().into();
        call.transaction.put(Kind::Product, &product);
        call.transaction.emit_change("product.updated", &before, &product);
    }
    Ok(product)
}

fn delete(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let product = call.transaction.find(Kind::Product, call.id)?;
    if call.transaction.store.all(Kind::Price).any(|price| price["product"] == call.id) {
        let message = "This product cannot be deleted because it has one or more user-created prices.";
        return Err(Failure::state(message));
    }
    call.transaction.store.remove(Kind::Product, call.id);
    call.transaction.emit("product.deleted", &product);
    Ok(json!({ "id": call.id, "object": "product", "deleted": true }))
}
