//! Reads a request's JSON so that whatever is wrong with it is told by the name of the field.
//!
//! Two steps: [`read`] turns bytes into a value, [`decode`] turns the value into a type. Invariants:
//! - a key that occurs twice in one object is refused: two readers could understand it differently;
//! - NUL, which PostgreSQL cannot keep, is refused wherever text stands;
//! - nesting is bounded (by `serde_json`, at 128 levels).

use std::{cell::RefCell, fmt};

use serde::{
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess,
        SeqAccess, Unexpected, VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

/// The name of the whole document where a field's name is asked for.
const DOCUMENT: &str = "body";

/// A part of a request that is not what it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidField {
    /// Its path, e.g. `money.amount` or `grants[0].unit`; `body` for the whole document.
    pub field: String,
    /// What is wrong with it, for people.
    pub problem: String,
    /// Whether the document is no JSON at all.
    pub is_malformed: bool,
}

impl InvalidField {
    /// A valid document with a field that is not valid.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), is_malformed: false }
    }
}

/// Reads bytes as exactly one JSON document.
///
/// # Errors
/// What is wrong, and in which field the reader was when it saw it.
pub fn read(bytes: &[u8]) -> Result<Value, InvalidField> {
    let path = Path::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = ValueSeed(&path).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| InvalidField {
        field: path.text(),
        problem: error.to_string(),
        is_malformed: !error.is_data(),
    })
}

/// Reads a type from a value. Object types must refuse unknown fields by themselves (`deny_unknown_fields`).
///
/// # Errors
/// The first field that is missing, unknown or not valid.
pub fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, InvalidField> {
    T::deserialize(Node(value)).map_err(|error| {
        let field = if error.field.is_empty() { DOCUMENT.to_owned() } else { error.field };
        InvalidField::new(field, error.problem)
    })
}

/// Where in the document the reader is; left as it is when reading fails.
#[derive(Default)]
struct Path(RefCell<Vec<String>>);

impl Path {
    fn enter(&self, name: String) {
        self.0.borrow_mut().push(name);
    }

    fn leave(&self) {
        self.0.borrow_mut().pop();
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for name in self.0.borrow().iter() {
            text = join(name, &text, true);
        }
        if text.is_empty() { DOCUMENT.to_owned() } else { text }
    }
}

/// Puts one step before (or, `behind`, after) a path: names are set apart by dots, places in lists stand in brackets.
fn join(step: &str, path: &str, behind: bool) -> String {
    let (first, second) = if behind { (path, step) } else { (step, path) };
    let dot = if first.is_empty() || second.is_empty() || second.starts_with('[') { "" } else { "." };
    format!("{first}{dot}{second}")
}

/// Reads a value, and keeps the path to it.
struct ValueSeed<'a>(&'a Path);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        if value.contains('\0') {
            return Err(E::custom("text must not contain NUL"));
        }
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            self.0.enter(format!("[{}]", list.len()));
            let item = items.next_element_seed(ValueSeed(self.0))?;
            self.0.leave();
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.0.enter(name.clone());
            if object.contains_key(&name) {
                return Err(A::Error::custom("the field occurs twice"));
            }
            if name.contains('\0') {
                return Err(A::Error::custom("a name must not contain NUL"));
            }
            let value = members.next_value_seed(ValueSeed(self.0))?;
            self.0.leave();
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// Why a type cannot be read from a value: the path grows on the way out.
#[derive(Debug)]
struct DecodeError {
    field: String,
    problem: String,
}

impl DecodeError {
    fn within(self, step: &str) -> Self {
        Self { field: join(step, &self.field, false), ..self }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self { field: String::new(), problem: problem.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
            Unexpected::Float(_) => "a fraction, or too large",
            Unexpected::Str(_) => "text",
            Unexpected::Unit => "null",
            Unexpected::Seq => "a list",
            Unexpected::Map => "an object",
            _ => "something else",
        };
        Self::custom(format!("must be {}, is {found}", plain(&expected.to_string())))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("must be {}", plain(&expected.to_string())))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("must be one of: {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let problem = format!("there is no such field; there are: {}", expected.join(", "));
        Self { field: field.to_owned(), problem }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { field: field.to_owned(), problem: "is missing".to_owned() }
    }
}

/// Serde names Rust's types; clients know JSON's.
fn plain(expected: &str) -> &str {
    match expected {
        "i64" | "u64" | "i32" | "u32" | "u8" => "an integer within bounds",
        "a string" | "a borrowed string" => "text",
        "a sequence" => "a list",
        "a map" => "an object",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

/// A value to read a type from.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Value);

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_i64(value),
                (None, Some(value), _) => visitor.visit_u64(value),
                (None, None, value) => visitor.visit_f64(value.unwrap_or(f64::INFINITY)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            Value::Object(members) => visitor.visit_map(Members { members: members.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// Serde would also read a struct from a list of its fields' values.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Array(_) => Err(DecodeError::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::String(_) => visitor.visit_enum(self),
            _ => Err(DecodeError::custom("must be text")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// Enumerations without data: the text is the variant.
impl<'de> EnumAccess<'de> for Node<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        Ok((seed.deserialize(self)?, self))
    }
}

impl<'de> VariantAccess<'de> for Node<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, DecodeError> {
        Err(DecodeError::custom("must be text"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError::custom("must be text"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DecodeError> {
        Err(DecodeError::custom("must be text"))
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let step = format!("[{}]", self.index);
        self.index += 1;
        seed.deserialize(Node(item)).map(Some).map_err(|error| error.within(&step))
    }
}

struct Members<'a> {
    members: serde_json::map::Iter<'a>,
    value: Option<(&'a str, &'a Value)>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        self.value = Some((name, value));
        seed.deserialize(serde::de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Some((name, value)) = self.value.take() else {
            return Err(DecodeError::custom("a value without a name"));
        };
        seed.deserialize(Node(value)).map_err(|error| error.within(name))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::domain::{amount::Amount, ids::Unit};

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        unit: Unit,
        count: Option<u8>,
        #[serde(default)]
        inner: Vec<Inner>,
        colour: Option<Colour>,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        amount: Amount,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        DarkRed,
    }

    fn field(body: &str) -> String {
        let problem = read(body.as_bytes()).and_then(|value| decode::<Outer>(&value));
        problem.expect_err(body).field
    }

    #[test]
    fn a_valid_document_is_read() {
        let body = br#"{"unit":"credits","count":3,"inner":[{"amount":5}],"colour":"dark_red"}"#;
        let value = read(body).expect("JSON");
        assert_eq!(
            value,
            json!({"unit": "credits", "count": 3, "inner": [{"amount": 5}], "colour": "dark_red"})
        );
        let outer: Outer = decode(&value).expect("valid");
        assert_eq!(outer.inner[0].amount.get(), 5);
        assert_eq!((outer.count, outer.colour), (Some(3), Some(Colour::DarkRed)));
    }

    #[test]
    fn whatever_is_wrong_is_told_by_the_name_of_the_field() {
        for (expected, body) in [
            ("unit", r#"{}"#),
            ("unit", r#"{"unit":null}"#),
            ("unit", r#"{"unit":5}"#),
            ("unit", r#"{"unit":"NO"}"#),
            ("unit", r#"{"unit":"nul\u0000"}"#),
            ("unit", r#"{"unit":"a","unit":"a"}"#),
            ("unti", r#"{"unit":"a","unti":"a"}"#),
            ("count", r#"{"unit":"a","count":300}"#),
            ("count", r#"{"unit":"a","count":1.5}"#),
            ("count", r#"{"unit":"a","count":1e999}"#),
            ("colour", r#"{"unit":"a","colour":"blue"}"#),
            ("colour", r#"{"unit":"a","colour":{"dark_red":null}}"#),
            ("inner", r#"{"unit":"a","inner":{}}"#),
            ("inner[1].amount", r#"{"unit":"a","inner":[{"amount":1},{"amount":0}]}"#),
            ("inner[0].amount", r#"{"unit":"a","inner":[{}]}"#),
            ("inner[0].amount", r#"{"unit":"a","inner":[{"amount":9007199254740992}]}"#),
            ("inner[0].amount", r#"{"unit":"a","inner":[{"amount":99999999999999999999}]}"#),
            ("inner[0].amuont", r#"{"unit":"a","inner":[{"amuont":1}]}"#),
            ("inner[0].x", r#"{"unit":"a","inner":[{"x":tru}]}"#),
            ("body", r#""text""#),
            ("body", r#"{"unit":"a"} {}"#),
            ("body", r#""#),
        ] {
            assert_eq!(field(body), expected, "{body}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_told_by_the_name_of_the_field() {
        let problem = read(b"{\"a\":{\"b\":\"\xff\"}}").expect_err("not UTF-8");
        assert_eq!(problem.field, "a.b");
        assert!(problem.is_malformed);
    }

    #[test]
    fn no_depth_exhausts_the_stack() {
        let problem = read("[".repeat(200_000).as_bytes()).expect_err("too deep");
        assert!(problem.problem.contains("recursion limit"));
    }

    #[test]
    fn problems_are_told_in_the_words_of_json() {
        let problem = |body: &str| {
            let value = read(body.as_bytes()).expect("JSON");
            decode::<Outer>(&value).expect_err(body).problem
        };
        assert_eq!(problem(r#"{"unit":5}"#), "must be text, is an integer");
        assert_eq!(problem(r#"{"unit":"a","count":true}"#), "must be an integer within bounds, is a boolean");
        assert_eq!(problem(r#"{"unit":"a","inner":7}"#), "must be a list, is an integer");
        assert_eq!(problem(r#"[]"#), "must be an object, is a list");
        assert_eq!(problem(r#"{"unit":"a","colour":"red"}"#), "must be one of: dark_red");
    }
}
