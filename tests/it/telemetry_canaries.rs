//! Bodies with a canary in every text, made from what the specification says of them: a field that is new is there by
//! itself.

use serde_json::{Map, Value, json};

/// Part of every text that is sent. It fits every alphabet that a text may be restricted to.
pub const CANARY: &str = "canary0815";

/// The account that canaries are sent about.
pub fn account() -> String {
    format!("{CANARY}@example.com")
}

/// One operation, ready to be sent.
pub struct Operation {
    pub method: String,
    /// As the specification has it, with names of parameters in braces.
    pub template: String,
    /// The names of what may stand in its query.
    pub query: Vec<String>,
    /// What can be sent to it: all that it takes, only what it must have and its notes, and a canary wherever a text
    /// may stand, whether it fits there or not.
    pub bodies: Vec<Value>,
}

impl Operation {
    /// Its path, with a canary for every parameter but an account that is there.
    pub fn path(&self) -> String {
        let part = |part: &str| match part {
            "{account}" => account(),
            _ if part.starts_with('{') => CANARY.to_owned(),
            _ => part.to_owned(),
        };
        self.template.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    /// Whether the account is no more what it was for what comes behind it.
    pub fn is_the_end(&self) -> bool {
        self.template.ends_with("/close") || self.template.ends_with("/profile")
    }
}

/// All operations of a specification, in its order.
pub fn operations(specification: &Value) -> Vec<Operation> {
    let paths = specification["paths"].as_object().expect("paths");
    let of_path = |(template, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("methods").clone();
        let template = template.clone();
        let methods = methods.into_iter().filter(|(_, operation)| operation["responses"].is_object());
        let operations = methods.map(move |(method, operation)| Operation {
            query: parameters(&operation, "query"),
            bodies: bodies(specification, &operation["requestBody"]["content"]["application/json"]["schema"]),
            method: method.to_uppercase(),
            template: template.clone(),
        });
        operations.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

fn parameters(operation: &Value, place: &str) -> Vec<String> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let here = all.filter(|parameter| parameter["in"] == place);
    here.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
}

fn bodies(specification: &Value, schema: &Value) -> Vec<Value> {
    if schema.is_null() {
        return Vec::new();
    }
    [Fill::All, Fill::Needed, Fill::Everywhere].map(|fill| fill.value(specification, "", schema)).to_vec()
}

/// What a body is filled with.
#[derive(Clone, Copy, PartialEq)]
enum Fill {
    All,
    Needed,
    Everywhere,
}

impl Fill {
    fn value(self, specification: &Value, name: &str, schema: &Value) -> Value {
        let schema = resolved(specification, schema);
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| **kind != "null").and_then(Value::as_str),
            kind => kind.as_str(),
        };
        match kind.unwrap_or_else(|| panic!("{name} has no type: {schema}")) {
            "string" => self.text(name, schema),
            "integer" | "number" => schema["minimum"].as_i64().filter(|least| *least > 1).unwrap_or(1).into(),
            "boolean" => true.into(),
            "array" => json!([self.value(specification, name, &schema["items"])]),
            "object" => self.object(specification, schema),
            other => panic!("{name} is a {other}, and nothing here makes one"),
        }
    }

    fn object(self, specification: &Value, schema: &Value) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_note = matches!(name.as_str(), "metadata" | "reason" | "reference" | "name");
            if self != Self::Needed || is_note || required.contains(&name.as_str()) {
                object.insert(name.clone(), self.value(specification, name, property));
            }
        }
        if schema["properties"].is_null() {
            object.insert(CANARY.to_owned(), CANARY.into());
        }
        object.into()
    }

    fn text(self, name: &str, schema: &Value) -> Value {
        if self == Self::Everywhere {
            return CANARY.into();
        }
        let named = schema["enum"].as_array().and_then(|names| names.first());
        match (name, schema["format"].as_str()) {
            (_, Some("date-time")) => "2030-01-01T00:00:00Z".into(),
            (_, Some("email")) => account().into(),
            _ if named.is_some() => named.cloned().unwrap_or_default(),
            ("unit", _) => "credits".into(),
            ("currency", _) => "eur".into(),
            ("locale", _) => "de".into(),
            ("account_id" | "from_account_id", _) => account().into(),
            _ if name.ends_with("_url") => format!("https://example.com/{CANARY}").into(),
            _ => CANARY.into(),
        }
    }
}

/// What a schema stands for: references are followed, and of alternatives the first is taken.
fn resolved<'a>(specification: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema["$ref"].as_str().map(|reference| {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        specification.pointer(pointer).unwrap_or_else(|| panic!("{reference} is not there"))
    });
    let alternative = ["allOf", "oneOf", "anyOf"].iter().find_map(|several| schema[*several].get(0));
    match target.or(alternative) {
        Some(target) => resolved(specification, target),
        None => schema,
    }
}
