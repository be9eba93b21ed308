//! The specification: what the library makes of the declarations, rewritten from OpenAPI 3.0 to 3.1.
//!
//! The library says 3.0 in a way that linters and generators stumble over. What is rewritten:
//! - `nullable` becomes a type `null`;
//! - boolean exclusive bounds, and flags that say their own default, go away;
//! - bounds that are whole numbers are written as such, and `example` becomes `examples`;
//! - a reference with words beside it stands with them, instead of in an `allOf`;
//! - each operation's scope moves from the name of the security scheme into its list of scopes;
//! - answers to requests that failed are written once and referred to, and headers that all answers have are added;
//! - objects that refuse unknown fields say so.

use std::sync::LazyLock;

use poem::{Endpoint, Response, endpoint::make_sync};
use poem_openapi::{LicenseObject, OpenApi, OpenApiService};
use serde_json::{Map, Value, json};

use super::{auth::SCHEME, error, text};

const DESCRIPTION: &str = include_str!("openapi.md");

/// The specification of the resources, as a JSON value.
pub fn specification<T: OpenApi>(resources: T) -> Value {
    let service = OpenApiService::new(resources, "Counterfoil", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION.replace("{table of codes}", error::table_of_codes().trim_end()))
        .license(LicenseObject::new("Apache-2.0").identifier("Apache-2.0"))
        .server("http://127.0.0.1:8080");
    // The library's own output: always JSON.
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    document["openapi"] = json!("3.1.0");
    rewrite(&mut document);
    rewrite_operations(&mut document);
    share_failures(&mut document);
    add_headers_of_all_answers(&mut document);
    refuse_unknown_fields(&mut document);
    for (schema, example) in examples() {
        document["components"]["schemas"][schema]["examples"] = json!([example]);
    }
    document
}

/// The specification as YAML, as it is kept in the repository.
pub fn to_yaml(specification: &Value) -> String {
    // A JSON value always serialises.
    let yaml = serde_yaml_ng::to_string(specification).unwrap_or_default();
    format!("# Written by `counterfoil openapi` from the declarations in src/api.\n{yaml}")
}

/// What the page may load: nothing that it does not bring along, so that it works without a network and tells nobody
/// which keys are tried on it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data: \
    blob:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The specification as a file. Made when somebody asks for it, so that the service is ready sooner.
pub fn file(specification: fn() -> Value) -> impl Endpoint {
    let file = LazyLock::new(move || to_yaml(&specification()));
    make_sync(move |_| text("application/yaml", file.clone()))
}

/// A page to browse the specification with, made when somebody asks for it.
pub fn reference(specification: fn() -> Value) -> impl Endpoint {
    let page = LazyLock::new(move || page(specification()));
    make_sync(move |_| {
        let answer = Response::builder().content_type("text/html; charset=utf-8");
        answer.header("Content-Security-Policy", POLICY).body(page.clone())
    })
}

/// The library brings a viewer along and puts its own specification into the page: here ours takes its place, with this
/// service as the only server, and the viewer is told to fetch no fonts and to point nowhere else.
fn page(mut specification: Value) -> String {
    let empty = OpenApiService::new((), "", "");
    specification["servers"] = json!([{"url": "/"}]);
    let embedded = specification.to_string().replace("</", "<\\/");
    let configuration = json!({
        "withDefaultFonts": false,
        "hideClientButton": true,
        "authentication": {"preferredSecurityScheme": SCHEME},
    });
    let script = format!(r#"id="api-reference" data-configuration='{configuration}'"#);
    let page = empty.scalar_html().replacen(&empty.spec(), &embedded, 1);
    let page = page.replacen(r#"id="api-reference""#, &script, 1);
    page.replacen("<title>Scalar</title>", "<title>Counterfoil</title>", 1)
}

/// Of bodies whose fields exclude each other: an example made of all of them, as viewers make it, would be refused.
fn examples() -> [(&'static str, Value); 2] {
    let money = json!({"amount": 2380, "tax": 380, "currency": "eur"});
    [
        ("NewSpend", json!({"feature": "resume_analysis", "quantity": 1, "metadata": {"job": "4711"}})),
        (
            "NewPurchase",
            json!({"price_id": "price_demo_pro", "money": money, "reference": "invoice 2031-17"}),
        ),
    ]
}

/// Rewrites every schema, deepest first.
fn rewrite(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Object(members) => {
            members.values_mut().for_each(rewrite);
            drop_noise(members);
            write_whole_bounds(members);
            merge_reference(members);
            write_null(members);
            if let Some(example) = members.remove("example") {
                members.insert("examples".to_owned(), json!([example]));
            }
        }
        _ => {}
    }
}

fn drop_noise(members: &mut Map<String, Value>) {
    for flag in ["exclusiveMinimum", "exclusiveMaximum", "deprecated"] {
        if members.get(flag) == Some(&Value::Bool(false)) {
            members.shift_remove(flag);
        }
    }
    if members.contains_key("in") && members.get("explode") == Some(&Value::Bool(true)) {
        members.shift_remove("explode");
    }
}

fn write_whole_bounds(members: &mut Map<String, Value>) {
    for bound in ["minimum", "maximum"] {
        if let Some(number) = members.get_mut(bound)
            && let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0)
        {
            #[expect(clippy::cast_possible_truncation, reason = "bounds are at most 2^53 - 1")]
            let whole = whole as i64;
            *number = json!(whole);
        }
    }
}

/// `{"allOf": [{"$ref": …}, {words}], words}` becomes `{"$ref": …, words}`.
fn merge_reference(members: &mut Map<String, Value>) {
    let reference =
        members.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("$ref")).cloned();
    if let Some(reference) = reference {
        members.shift_remove("allOf");
        members.insert("$ref".to_owned(), reference);
    }
}

/// `nullable` becomes one more type, or one more choice.
fn write_null(members: &mut Map<String, Value>) {
    if members.shift_remove("nullable") != Some(Value::Bool(true)) {
        return;
    }
    if let Some(name) = members.get("type").cloned() {
        members.insert("type".to_owned(), json!([name, "null"]));
    }
    if let Some(reference) = members.shift_remove("$ref") {
        members.insert("anyOf".to_owned(), json!([{"$ref": reference}, {"type": "null"}]));
    }
}

/// Every operation, as a JSON object.
fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    paths.filter_map(Value::as_object_mut).flat_map(|operations| operations.values_mut())
}

fn rewrite_operations(document: &mut Value) {
    for operation in operations(document) {
        let Some(scope) =
            operation["security"][0].as_object().and_then(|scheme| scheme.keys().next().cloned())
        else {
            continue;
        };
        operation["security"] = json!([{ SCHEME: [scope] }]);
        let said = operation["description"].as_str().map_or(String::new(), |text| format!("{text}\n\n"));
        operation["description"] = json!(format!("{said}Scope: `{scope}`."));
    }
}

/// Failures of one status are the same in every operation.
fn share_failures(document: &mut Value) {
    let mut shared = Map::new();
    for operation in operations(document) {
        let responses = operation["responses"].as_object_mut().into_iter().flatten();
        for (status, response) in responses.filter(|(status, _)| status.starts_with(['4', '5'])) {
            let name = format!("Failure{status}");
            let reference = json!({"$ref": format!("#/components/responses/{name}")});
            let mut failure = std::mem::replace(response, reference);
            let words = failure["description"].as_str().unwrap_or_default();
            let codes = error::codes_of(status).join("`, `");
            failure["description"] = json!(format!("{words} Codes: `{codes}`."));
            shared.insert(name, failure);
        }
    }
    shared.sort_keys();
    document["components"]["responses"] = Value::Object(shared);
}

/// Every answer has the id of its request; one that says "not now" also says when.
fn add_headers_of_all_answers(document: &mut Value) {
    let text = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    document["components"]["headers"] = json!({
        "RequestId": text("The id of the request, as in the service's logs."),
        "RetryAfter": text("After how many seconds the request may come again."),
    });
    let request_id = json!({"$ref": "#/components/headers/RequestId"});
    for operation in operations(document) {
        let responses = operation["responses"].as_object_mut().into_iter().flat_map(|all| all.values_mut());
        for response in responses.filter(|response| response.get("$ref").is_none()) {
            response["headers"]["X-Request-Id"] = request_id.clone();
        }
    }
    let failures = document["components"]["responses"].as_object_mut().into_iter().flatten();
    for (name, failure) in failures {
        failure["headers"]["X-Request-Id"] = request_id.clone();
        if name == "Failure503" {
            failure["headers"]["Retry-After"] = json!({"$ref": "#/components/headers/RetryAfter"});
        }
    }
}

/// The schemas of request bodies, and what they refer to.
fn refuse_unknown_fields(document: &mut Value) {
    let mut open: Vec<String> = operations(document)
        .filter_map(|operation| {
            operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()
        })
        .map(ToOwned::to_owned)
        .collect();
    while let Some(reference) = open.pop() {
        let Some(name) = reference.strip_prefix("#/components/schemas/") else { continue };
        let schema = &mut document["components"]["schemas"][name];
        if schema["type"] != "object" || schema.get("additionalProperties").is_some() {
            continue;
        }
        schema["additionalProperties"] = json!(false);
        collect_references(schema, &mut open);
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            members.values().for_each(|member| collect_references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{json::decode, purchases::NewPurchase, spends::NewSpend};

    fn rewritten(mut value: Value) -> Value {
        rewrite(&mut value);
        value
    }

    #[test]
    fn the_examples_are_what_the_interface_takes() {
        for (schema, example) in examples() {
            let taken = match schema {
                "NewSpend" => decode::<NewSpend>(&example).map(|body| body.charge().is_ok()),
                _ => decode::<NewPurchase>(&example).map(|body| body.bought().is_ok()),
            };
            assert_eq!(taken, Ok(true), "{schema}");
        }
    }

    #[test]
    fn null_becomes_a_type() {
        assert_eq!(
            rewritten(json!({"type": "string", "nullable": true})),
            json!({"type": ["string", "null"]})
        );
        assert_eq!(
            rewritten(json!({"allOf": [{"$ref": "#/x"}, {"description": "d", "nullable": true}],
                             "description": "d", "nullable": true})),
            json!({"description": "d", "anyOf": [{"$ref": "#/x"}, {"type": "null"}]})
        );
    }

    #[test]
    fn words_stand_beside_a_reference() {
        assert_eq!(
            rewritten(json!({"allOf": [{"$ref": "#/x"}, {"description": "d"}], "description": "d"})),
            json!({"description": "d", "$ref": "#/x"})
        );
    }

    #[test]
    fn bounds_are_whole_and_examples_are_lists() {
        assert_eq!(
            rewritten(json!({"minimum": 1.0, "maximum": 9_007_199_254_740_991.0, "exclusiveMinimum": false,
                             "example": "a"})),
            json!({"minimum": 1, "maximum": 9_007_199_254_740_991_i64, "examples": ["a"]})
        );
    }
}
