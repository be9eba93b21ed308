//! JSON Schemas of events: one for the body of each type and version, and one for events as they are answered, which refers
//! to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::domain::EventBody;

/// Files with schemas, by name.
pub fn schemas(specification: &Value) -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    let mut cases = Vec::new();
    for (type_name, version, meaning, schema) in EventBody::schemas() {
        let file = format!("{type_name}.v{version}.json");
        let mut schema = schema.to_value();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("$id".to_owned(), json!(file));
            schema.insert("description".to_owned(), json!(meaning));
            schema.insert("title".to_owned(), json!(format!("{type_name}, version {version}")));
        }
        cases.push(json!({
            "if": {"properties": {"type": {"const": type_name}, "version": {"const": version}}},
            "then": {"properties": {"body": {"$ref": file}}}
        }));
        files.insert(file, schema);
    }
    files.insert("event.json".to_owned(), event(specification, &cases));
    files
}

fn event(specification: &Value, cases: &[Value]) -> Value {
    let mut event = specification["components"]["schemas"]["Event"].clone();
    if let Some(event) = event.as_object_mut() {
        event.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        event.insert("$id".to_owned(), json!("event.json"));
        event.insert("title".to_owned(), json!("Event"));
        event.insert("allOf".to_owned(), json!(cases));
    }
    event
}
