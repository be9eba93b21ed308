//! Reads a webhook body as JSON, refusing what two readers could understand differently.
//!
//! Invariants:
//! - a key that occurs twice in one object is an error, not the last one wins;
//! - nesting is bounded (by `serde_json`, at 128 levels), so that no body can exhaust the stack;
//! - what an error says quotes no value of the body.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses `body`, which must be exactly one JSON document in UTF-8.
///
/// # Errors
/// What is wrong with it and where, fit for people.
pub(super) fn parse(body: &[u8]) -> Result<Value, String> {
    match serde_json::from_slice::<Unambiguous>(body) {
        Ok(Unambiguous(value)) => Ok(value),
        Err(error) => Err(error.to_string()),
    }
}

/// A JSON value in which every object names each key once.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnambiguousVisitor).map(Self)
    }
}

struct UnambiguousVisitor;

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
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

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unambiguous(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom("a key occurs twice in one object"));
            }
            let Unambiguous(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_every_kind_are_read() {
        let body = br#"{"a":[null,true,-1,18446744073709551615,1.5,"\u00e9\ud83d\ude00"],"b":{}}"#;
        let expected = json!({"a": [null, true, -1, 18_446_744_073_709_551_615_u64, 1.5, "é😀"], "b": {}});
        assert_eq!(parse(body), Ok(expected));
    }

    #[test]
    fn a_key_given_twice_is_refused_at_any_depth() {
        for body in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"b":2,"a":3}}]"#, r#"{"a":1,"\u0061":2}"#] {
            let error = parse(body.as_bytes()).expect_err(body);
            assert!(error.starts_with("a key occurs twice"), "{error}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let body = "[".repeat(500_000);
        assert!(parse(body.as_bytes()).expect_err("too deep").contains("recursion limit"));
    }

    #[test]
    fn what_is_not_one_json_document_is_refused() {
        let bodies: [&[u8]; 7] = [b"", b"{", b"{} {}", b"{\"a\":1,}", b"\"\xff\"", b"{\"a\":1e999}", b"\0"];
        for body in bodies {
            assert!(parse(body).is_err(), "{body:?}");
        }
    }
}
