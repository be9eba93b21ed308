//! What Stripe says its answers look like, read from `../shared/stripe/stripe-spec-subset.json`. Without that file
//! nothing is compared, and the tests say so.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use jsonschema::{Registry, Validator};
use serde_json::{Map, Value, json};

/// What schemas call the specification.
const SPECIFICATION: &str = "urn:stripe";

/// The file, if it is on this machine.
pub fn shared(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("COUNTERFOIL_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = shared.unwrap_or(beside).join("stripe").join(name);
    if !path.exists() {
        println!("there is no {}: nothing to compare", path.display());
        return None;
    }
    Some(path)
}

fn specification() -> Option<&'static Value> {
    static SPECIFICATION: OnceLock<Option<Value>> = OnceLock::new();
    let specification = SPECIFICATION.get_or_init(|| {
        let text = fs::read(shared("stripe-spec-subset.json")?).expect("the specification");
        let mut specification: Value = serde_json::from_slice(&text).expect("JSON");
        as_json_schema(&mut specification["components"]["schemas"]);
        // Stripe answers with this code and has not added it to the list.
        let codes = &mut specification["components"]["schemas"]["api_errors"]["properties"]["code"]["enum"];
        codes.as_array_mut().expect("codes").push("payment_method_types_no_longer_supported".into());
        as_json_schema(&mut specification["paths"]);
        Some(specification)
    });
    specification.as_ref()
}

/// OpenAPI 3.0 writes `nullable`, which JSON Schema does not know.
fn as_json_schema(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(as_json_schema),
        Value::Object(fields) => {
            fields.values_mut().for_each(as_json_schema);
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.shift_remove("nullable");
                let inner = std::mem::take(fields);
                *fields = Map::from_iter([("anyOf".to_owned(), json!([inner, { "type": "null" }]))]);
            }
        }
        _ => {}
    }
}

/// Holds an answer of the API against what Stripe specifies for the method and path.
#[track_caller]
pub fn check_answer(method: &str, path: &str, is_success: bool, body: &Value) {
    let Some(specification) = specification() else { return };
    let Some(paths) = specification["paths"].as_object() else { return };
    let path = path.split('?').next().unwrap_or_default();
    let Some((template, _)) = paths
        .iter()
        .find(|(template, methods)| methods.get(method.to_lowercase()).is_some() && fits(template, path))
    else {
        return;
    };
    let code = if is_success { "200" } else { "default" };
    let template = template.replace('/', "~1").replace('{', "%7B").replace('}', "%7D");
    let method = method.to_lowercase();
    let place = format!("/paths/{template}/{method}/responses/{code}/content/application~1json/schema");
    check(&place, body);
    check_objects(body);
}

/// Holds every object inside an event against the schema that its `object` names.
#[track_caller]
pub fn check_event(event: &Value) {
    if specification().is_none() {
        return;
    }
    check("/components/schemas/event", event);
    check_objects(&event["data"]["object"]);
}

#[track_caller]
fn check_objects(value: &Value) {
    let items: Vec<&Value> = match value["object"].as_str() {
        Some("list" | "search_result") => value["data"].as_array().into_iter().flatten().collect(),
        _ => vec![value],
    };
    let schemas =
        specification().and_then(|specification| specification["components"]["schemas"].as_object());
    for item in items {
        if let Some(name) = item["object"].as_str()
            && item.get("deleted").is_none()
            && schemas.is_some_and(|schemas| schemas.contains_key(name))
        {
            check(&format!("/components/schemas/{name}"), item);
        }
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(part, segment)| part == segment || part.starts_with('{'))
        && (template.iter().any(|part| path.contains(part)))
}

/// The specification as schemas refer to it: read once, however many of its places are asked for.
fn registry() -> &'static Registry<'static> {
    static REGISTRY: OnceLock<Registry<'static>> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let added = Registry::new().add(SPECIFICATION, specification().expect("a specification"));
        added.and_then(|registry| registry.prepare()).expect("schemas that refer to one another")
    })
}

/// Holds a value against the schema at a place in the specification, a JSON pointer.
#[track_caller]
fn check(place: &str, instance: &Value) {
    thread_local! {
        static VALIDATORS: RefCell<HashMap<String, &'static Validator>> = RefCell::default();
    }
    let known = VALIDATORS.with_borrow(|validators| validators.get(place).copied());
    let validator = known.unwrap_or_else(|| {
        let schema = json!({ "$ref": format!("{SPECIFICATION}#{place}") });
        let validator = jsonschema::options().with_registry(registry()).build(&schema).expect("a schema");
        let validator: &'static Validator = Box::leak(Box::new(validator));
        VALIDATORS.with_borrow_mut(|validators| validators.insert(place.to_owned(), validator));
        validator
    });
    let errors: Vec<String> = validator
        .iter_errors(instance)
        .map(|error| {
            let text = error.to_string();
            format!("{}: {}", error.instance_path(), text.chars().take(300).collect::<String>())
        })
        .collect();
    assert!(errors.is_empty(), "{place} is not as Stripe specifies:\n{}\n{instance:#}", errors.join("\n"));
}
