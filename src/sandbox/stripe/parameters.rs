//! Parameters of a request: which there are, of what type, and what Stripe says of others.
//!
//! Each endpoint lists what it takes as a table of [`Parameter`]s. Reading a form by a table yields JSON of the right
//! types, or the first thing that is wrong in Stripe's words. An empty value means "unset" and becomes `null`.

use serde_json::{Map, Value};

use super::{answer::Failure, form::Tree};

/// One parameter of an endpoint or of an object inside.
pub(super) struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub is_required: bool,
}

/// The type of a parameter.
pub(super) enum Kind {
    /// At most this many characters.
    Text(usize),
    /// An absolute address.
    Address,
    Integer,
    /// A number with a fraction, kept as text or number as it came.
    Decimal,
    Boolean,
    Choice(&'static [&'static str]),
    Object(&'static [Parameter]),
    List(&'static Self),
    /// Free keys and values of our client's.
    Metadata,
    /// A moment, or moments compared with `gt`, `gte`, `lt`, `lte`.
    Range,
    /// A moment, or this word.
    MomentOr(&'static str),
    /// Kept as it comes, whatever is inside.
    Free,
    /// Stripe took it once and refuses it now, with this code.
    Gone(&'static str),
}

impl Parameter {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, is_required: false }
    }

    /// Must be there.
    pub(super) const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }
}

/// Text of up to 5000 characters.
pub(super) const fn text(name: &'static str) -> Parameter {
    Parameter::new(name, Kind::Text(5000))
}

pub(super) const fn short_text(name: &'static str, longest: usize) -> Parameter {
    Parameter::new(name, Kind::Text(longest))
}

pub(super) const fn address(name: &'static str) -> Parameter {
    Parameter::new(name, Kind::Address)
}

pub(super) const fn integer(name: &'static str) -> Parameter {
    Parameter::new(name, Kind::Integer)
}

pub(super) const fn decimal(name: &'static str) -> Parameter {
    Parameter::new(name, Kind::Decimal)
}

pub(super) const fn boolean(name: &'static str) -> Parameter {
    Parameter::new(name, Kind::Boolean)
}

pub(super) const fn choice(name: &'static str, choices: &'static [&'static str]) -> Parameter {
    Parameter::new(name, Kind::Choice(choices))
}

pub(super) const fn object(name: &'static str, parameters: &'static [Parameter]) -> Parameter {
    Parameter::new(name, Kind::Object(parameters))
}

pub(super) const fn list(name: &'static str, kind: &'static Kind) -> Parameter {
    Parameter::new(name, Kind::List(kind))
}

pub(super) const fn range(name: &'static str) -> Parameter {
    Parameter::new(name, Kind::Range)
}

pub(super) const fn free(name: &'static str) -> Parameter {
    Parameter::new(name, Kind::Free)
}

pub(super) const fn gone(name: &'static str, code: &'static str) -> Parameter {
    Parameter::new(name, Kind::Gone(code))
}

pub(super) const fn moment_or(name: &'static str, word: &'static str) -> Parameter {
    Parameter::new(name, Kind::MomentOr(word))
}

pub(super) const METADATA: Parameter = Parameter::new("metadata", Kind::Metadata);
pub(super) const LIMIT: Parameter = integer("limit");
pub(super) const STARTING_AFTER: Parameter = text("starting_after");
pub(super) const ENDING_BEFORE: Parameter = text("ending_before");
pub(super) const CREATED: Parameter = range("created");

/// An address of a person or company.
pub(super) const POSTAL_ADDRESS: &[Parameter] =
    &[text("city"), text("country"), text("line1"), text("line2"), text("postal_code"), text("state")];

/// Reads a form by a table.
///
/// # Errors
/// The first thing that is wrong, as Stripe would say it.
pub(super) fn read(form: &Tree, table: &[Parameter]) -> Result<Map<String, Value>, Failure> {
    read_object(form.fields(), table, "")
}

fn read_object(
    fields: &[(String, Tree)],
    table: &[Parameter],
    path: &str,
) -> Result<Map<String, Value>, Failure> {
    let mut values = Map::new();
    for (name, tree) in fields {
        let path = within(path, name);
        let Some(parameter) = table.iter().find(|parameter| parameter.name == name) else {
            let message = format!("Received unknown parameter: {path}");
            return Err(Failure::parameters(message).code("parameter_unknown").of(path));
        };
        let value = read_value(tree, &parameter.kind, &path)?;
        if value.is_null() && parameter.is_required {
            let message = format!(
                "You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; however '{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty value."
            );
            return Err(Failure::parameters(message).code("parameter_invalid_empty").of(path));
        }
        values.insert(name.clone(), value);
    }
    for parameter in table.iter().filter(|parameter| parameter.is_required) {
        if !values.contains_key(parameter.name) {
            let path = within(path, parameter.name);
            let message = format!("Missing required param: {path}.");
            return Err(Failure::parameters(message).code("parameter_missing").of(path));
        }
    }
    Ok(values)
}

fn read_value(tree: &Tree, kind: &Kind, path: &str) -> Result<Value, Failure> {
    if let Kind::Gone(code) = kind {
        let message = format!("`{path}` is no longer supported in this API version.");
        return Err(Failure::parameters(message).code(code).of(path));
    }
    match (tree, kind) {
        (Tree::Leaf(text), Kind::Free | Kind::Text(_)) if text.is_empty() => Ok(Value::Null),
        (Tree::Leaf(text), _) if text.is_empty() => Ok(Value::Null),
        (Tree::Leaf(text), _) => read_text(text, kind, path),
        (Tree::Branch(fields), Kind::Object(table)) => read_object(fields, table, path).map(Value::Object),
        (Tree::Branch(fields), Kind::List(inner)) => {
            let values = fields.iter().enumerate().map(|(place, (name, tree))| {
                if name.parse::<usize>().is_err() {
                    return Err(Failure::parameters("Invalid array").of(path));
                }
                read_value(tree, inner, &format!("{path}[{place}]"))
            });
            values.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        (Tree::Branch(fields), Kind::Metadata) => read_metadata(fields, path).map(Value::Object),
        (Tree::Branch(fields), Kind::Range) => {
            const BOUNDS: &[Parameter] = &[integer("gt"), integer("gte"), integer("lt"), integer("lte")];
            read_object(fields, BOUNDS, path).map(Value::Object)
        }
        (Tree::Branch(_), Kind::Free) => Ok(plain(tree)),
        (Tree::Branch(_), _) => {
            let name = path.rsplit('[').next().unwrap_or(path).trim_end_matches(']');
            Err(Failure::parameters(format!("Invalid {name}: must be a single value")).of(path))
        }
    }
}

fn read_text(text: &str, kind: &Kind, path: &str) -> Result<Value, Failure> {
    match kind {
        Kind::Text(longest) => {
            let length = text.chars().count();
            if length > *longest {
                let message =
                    format!("Invalid string: {}; must be at most {longest} characters", shortened(text));
                return Err(Failure::parameters(message).of(path));
            }
            Ok(text.into())
        }
        Kind::Address => {
            let has_scheme = text.split_once("://").is_some_and(|(scheme, rest)| {
                !scheme.is_empty()
                    && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
                    && !rest.is_empty()
            });
            if has_scheme && !text.contains(char::is_whitespace) {
                return Ok(text.into());
            }
            let message = if has_scheme {
                "Not a valid URL"
            } else {
                "Invalid URL: An explicit scheme (such as https) must be provided."
            };
            Err(Failure::parameters(message).code("url_invalid").of(path))
        }
        Kind::Integer | Kind::Range => read_integer(text, path),
        Kind::MomentOr(word) if text == *word => Ok(text.into()),
        Kind::MomentOr(_) => read_integer(text, path),
        Kind::Decimal => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(text.into()),
            _ => Err(Failure::parameters(format!("Invalid decimal: {}", shortened(text))).of(path)),
        },
        Kind::Boolean => match text {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            other => {
                let message = format!("Invalid boolean: {}", shortened(other));
                Err(Failure::parameters(message).of(path))
            }
        },
        Kind::Choice(choices) if choices.contains(&text) => Ok(text.into()),
        Kind::Choice(choices) => {
            let choices = match choices {
                [one] => (*one).to_owned(),
                [first, second] => format!("{first} or {second}"),
                [rest @ .., last] => format!("one of {}, or {last}", rest.join(", ")),
                [] => String::new(),
            };
            Err(Failure::parameters(format!("Invalid {path}: must be {choices}")).of(path))
        }
        Kind::Free => Ok(text.into()),
        Kind::Object(_) | Kind::Metadata => Err(Failure::parameters("Invalid object").of(path)),
        Kind::List(_) => Err(Failure::parameters("Invalid array").of(path)),
        Kind::Gone(code) => Err(Failure::parameters(format!("`{path}` is gone")).code(code).of(path)),
    }
}

fn read_integer(text: &str, path: &str) -> Result<Value, Failure> {
    text.parse::<i64>().map(Value::from).map_err(|_| {
        let message = format!("Invalid integer: {}", shortened(text));
        Failure::parameters(message).code("parameter_invalid_integer").of(path)
    })
}

fn read_metadata(fields: &[(String, Tree)], path: &str) -> Result<Map<String, Value>, Failure> {
    let mut metadata = Map::new();
    for (name, tree) in fields {
        let path = within(path, name);
        let Tree::Leaf(value) = tree else {
            return Err(Failure::parameters(format!("Invalid string: {path} must be a string")).of(path));
        };
        if name.chars().count() > 40 {
            let message = format!(
                "Metadata keys can have up to 40 characters, but you passed in a key that is {} characters.",
                name.chars().count()
            );
            return Err(Failure::parameters(message).of(path));
        }
        if value.chars().count() > 500 {
            let message = format!(
                "Metadata values can have up to 500 characters, but you passed in a value that is {} characters.",
                value.chars().count()
            );
            return Err(Failure::parameters(message).of(path));
        }
        metadata.insert(name.clone(), value.clone().into());
    }
    Ok(metadata)
}

/// The tree as JSON, without types.
fn plain(tree: &Tree) -> Value {
    match tree {
        Tree::Leaf(text) => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            text => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        },
        Tree::Branch(fields) => {
            let is_list = fields.iter().all(|(name, _)| name.parse::<usize>().is_ok());
            if is_list {
                fields.iter().map(|(_, tree)| plain(tree)).collect()
            } else {
                fields.iter().map(|(name, tree)| (name.clone(), plain(tree))).collect()
            }
        }
    }
}

fn within(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}[{name}]") }
}

fn shortened(text: &str) -> String {
    let kept: String = text.chars().take(60).collect();
    if kept.len() < text.len() { format!("{kept}...") } else { kept }
}

/// Puts metadata into an object: keys are added or replaced, empty values remove them, `null` removes all.
///
/// # Errors
/// If more than fifty keys would be there.
pub(super) fn merge_metadata(object: &mut Value, given: Option<&Value>) -> Result<(), Failure> {
    let Some(given) = given else { return Ok(()) };
    let mut metadata = object["metadata"].as_object().cloned().unwrap_or_default();
    match given.as_object() {
        None => metadata.clear(),
        Some(given) => {
            for (name, value) in given {
                if value.as_str() == Some("") {
                    metadata.shift_remove(name);
                } else {
                    metadata.insert(name.clone(), value.clone());
                }
            }
        }
    }
    if metadata.len() > 50 {
        let message = format!("Metadata can have up to 50 keys, but you passed in {}.", metadata.len());
        return Err(Failure::parameters(message).of("metadata"));
    }
    object["metadata"] = metadata.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &[Parameter] = &[
        text("customer"),
        integer("amount").required(),
        boolean("confirm"),
        choice("mode", &["payment", "setup", "subscription"]),
        list("line_items", &Kind::Object(&[text("price").required(), integer("quantity")])),
        METADATA,
        address("url"),
        range("created"),
        gone("payment_method_types", "payment_method_types_no_longer_supported"),
        free("options"),
    ];

    fn read_text(form: &str) -> Result<Value, Failure> {
        read(&Tree::parse(form).expect("a form"), TABLE).map(Value::Object)
    }

    #[test]
    fn values_get_their_types() {
        let form = "amount=5&confirm=true&mode=setup&line_items[0][price]=p&line_items[0][quantity]=2&metadata[0]=x\
                    &customer=&created[gte]=3&url=https://a.example/%7BID%7D&options[card][x]=true";
        let expected = json!({
            "amount": 5, "confirm": true, "mode": "setup", "line_items": [{ "price": "p", "quantity": 2 }],
            "metadata": { "0": "x" }, "customer": null, "created": { "gte": 3 }, "url": "https://a.example/{ID}",
            "options": { "card": { "x": true } },
        });
        assert_eq!(read_text(form).expect("good parameters"), expected);
    }

    #[test]
    fn what_is_wrong_is_said_as_stripe_says_it() {
        for (form, code, param, message) in [
            ("amount=1&foo=1", Some("parameter_unknown"), "foo", "Received unknown parameter: foo"),
            (
                "amount=1&line_items[0][bar]=1",
                Some("parameter_unknown"),
                "line_items[0][bar]",
                "Received unknown parameter: line_items[0][bar]",
            ),
            ("confirm=true", Some("parameter_missing"), "amount", "Missing required param: amount."),
            ("amount=x", Some("parameter_invalid_integer"), "amount", "Invalid integer: x"),
            ("amount=1&confirm=yes", None, "confirm", "Invalid boolean: yes"),
            ("amount=1&mode=x", None, "mode", "Invalid mode: must be one of payment, setup, or subscription"),
            ("amount=1&line_items=x", None, "line_items", "Invalid array"),
            ("amount=1&metadata=x", None, "metadata", "Invalid object"),
            (
                "amount=1&url=example.com",
                Some("url_invalid"),
                "url",
                "Invalid URL: An explicit scheme (such as https) must be provided.",
            ),
        ] {
            let failure = read_text(form).expect_err(form);
            let said = (failure.code, failure.param.as_deref(), failure.message.as_str());
            assert_eq!(said, (code, Some(param), message));
        }
        let failure = read_text("amount=").expect_err("an empty amount");
        assert_eq!(failure.code, Some("parameter_invalid_empty"));
        let failure = read_text("amount=1&payment_method_types[]=card").expect_err("a parameter of the past");
        assert_eq!(failure.code, Some("payment_method_types_no_longer_supported"));
    }

    #[test]
    fn metadata_is_merged_and_empty_values_remove() {
        let mut object = json!({ "metadata": { "a": "1", "b": "2" } });
        merge_metadata(&mut object, Some(&json!({ "a": "", "c": "3" }))).expect("few keys");
        assert_eq!(object["metadata"], json!({ "b": "2", "c": "3" }));
        merge_metadata(&mut object, None).expect("nothing");
        merge_metadata(&mut object, Some(&Value::Null)).expect("none");
        assert_eq!(object["metadata"], json!({}));
        let many: Map<String, Value> = (0..51).map(|key| (key.to_string(), "x".into())).collect();
        assert!(merge_metadata(&mut object, Some(&Value::Object(many))).is_err());
    }
}
