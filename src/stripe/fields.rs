//! Reads single fields out of a Stripe object, tolerant of everything but a wrong type.
//!
//! Stripe adds keys with every API version and leaves others out, so whole objects are never parsed.
//!
//! Invariants:
//! - `null` and an absent key mean the same: the field is not given;
//! - a field of another type than expected is [`Nonsense`] that names its path, never a default;
//! - wherever Stripe may put an id, it may put the whole object instead: both are read.

use serde_json::{Map, Value};

use super::no_fact::{Nonsense, Problem};
use crate::domain::{
    amount::{Amount, Currency, MAX_AMOUNT},
    ids::StripeId,
};

/// One JSON object within a body, with its path for messages, such as `data.object.metadata`.
#[derive(Clone, Debug)]
pub(super) struct Fields<'body> {
    path: String,
    members: &'body Map<String, Value>,
}

impl<'body> Fields<'body> {
    /// Takes `value` for an object found at `path`.
    pub(super) fn of(path: impl Into<String>, value: &'body Value) -> Result<Self, Nonsense> {
        let path = path.into();
        match value {
            Value::Object(members) => Ok(Self { path, members }),
            _ => Err(Nonsense { field: path, problem: Problem::NotAnObject }),
        }
    }

    /// Says that the field `name` of this object has a problem.
    pub(super) fn nonsense(&self, name: &str, problem: Problem) -> Nonsense {
        Nonsense { field: self.path_of(name), problem }
    }

    /// The value of a field, whatever its type.
    pub(super) fn value(&self, name: &str) -> Option<&'body Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field stands there at all, be it as `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'body str>, Nonsense> {
        self.read(name, Value::as_str, Problem::NotText)
    }

    /// A name for people, if it is not empty. What no database can keep is none.
    pub(super) fn name(&self, name: &str) -> Result<Option<&'body str>, Nonsense> {
        match self.text(name)? {
            Some(text) if text.contains('\0') => Err(self.nonsense(name, Problem::Unknown)),
            text => Ok(text.filter(|text| !text.is_empty())),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Nonsense> {
        self.read(name, Value::as_bool, Problem::NotAFlag)
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'body Vec<Value>>, Nonsense> {
        self.read(name, Value::as_array, Problem::NotAList)
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'body>>, Nonsense> {
        self.value(name).map(|value| Fields::of(self.path_of(name), value)).transpose()
    }

    /// The objects of the list `name`, each knowing its own path.
    pub(super) fn objects(&self, name: &str) -> Result<Option<Vec<Fields<'body>>>, Nonsense> {
        let Some(items) = self.list(name)? else { return Ok(None) };
        let path = self.path_of(name);
        let objects = items.iter().enumerate().map(|(at, item)| Fields::of(format!("{path}[{at}]"), item));
        objects.collect::<Result<_, _>>().map(Some)
    }

    /// An amount of money in the currency's smallest part, or another count: 0 to [`MAX_AMOUNT`].
    pub(super) fn count(&self, name: &str) -> Result<Option<i64>, Nonsense> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let Value::Number(number) = value else { return Err(self.nonsense(name, Problem::NotAWholeNumber)) };
        if number.is_f64() {
            return Err(self.nonsense(name, Problem::NotAWholeNumber));
        }
        match number.as_i64() {
            Some(count @ 0..=MAX_AMOUNT) => Ok(Some(count)),
            _ => Err(self.nonsense(name, Problem::OutOfRange)),
        }
    }

    /// An amount of money that may be given back: −[`MAX_AMOUNT`] to [`MAX_AMOUNT`].
    pub(super) fn signed(&self, name: &str) -> Result<Option<i64>, Nonsense> {
        let Some(value) = self.value(name) else { return Ok(None) };
        match value.as_number().filter(|number| !number.is_f64()).map(serde_json::Number::as_i64) {
            None => Err(self.nonsense(name, Problem::NotAWholeNumber)),
            Some(Some(amount @ ..=MAX_AMOUNT)) if amount >= -MAX_AMOUNT => Ok(Some(amount)),
            Some(_) => Err(self.nonsense(name, Problem::OutOfRange)),
        }
    }

    /// A count that is not zero.
    pub(super) fn amount(&self, name: &str) -> Result<Option<Amount>, Nonsense> {
        let Some(count) = self.count(name)? else { return Ok(None) };
        Amount::new(count).map(Some).ok_or_else(|| self.nonsense(name, Problem::OutOfRange))
    }

    pub(super) fn currency(&self) -> Result<Option<Currency>, Nonsense> {
        self.read("currency", |value| value.as_str().and_then(Currency::parse), Problem::Unknown)
    }

    /// An id, or the `id` of the object that stands in its place.
    pub(super) fn id(&self, name: &str) -> Result<Option<StripeId>, Nonsense> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let text = match value {
            Value::Object(expanded) => expanded.get("id").and_then(Value::as_str),
            other => other.as_str(),
        };
        match text.map(StripeId::parse) {
            Some(Ok(id)) => Ok(Some(id)),
            _ => Err(self.nonsense(name, Problem::NotAnId)),
        }
    }

    /// The payment intent of something that belongs to a charge. An expanded charge may know it where the object itself does
    /// not say it.
    pub(super) fn payment_intent_or_that_of_the_charge(&self) -> Result<Option<StripeId>, Nonsense> {
        if let Some(id) = self.id("payment_intent")? {
            return Ok(Some(id));
        }
        match self.value("charge") {
            Some(charge) if charge.is_object() => {
                Fields::of(self.path_of("charge"), charge)?.id("payment_intent")
            }
            _ => Ok(None),
        }
    }

    /// The id of this object itself, without which nothing about it can be recorded.
    pub(super) fn own_id(&self) -> Result<StripeId, Nonsense> {
        self.id("id")?.ok_or_else(|| self.nonsense("id", Problem::Missing))
    }

    /// Refuses an object that says to be of another kind than its event promised.
    pub(super) fn expect_kind(&self, kind: &str) -> Result<(), Nonsense> {
        match self.text("object")? {
            Some(stated) if stated != kind => Err(self.nonsense("object", Problem::Contradicts("type"))),
            _ => Ok(()),
        }
    }

    /// Refuses an object with other fields than these.
    pub(super) fn expect_only(&self, names: &[&str]) -> Result<(), Nonsense> {
        if self.members.keys().all(|name| names.contains(&name.as_str())) {
            Ok(())
        } else {
            Err(Nonsense { field: self.path.clone(), problem: Problem::Unknown })
        }
    }

    /// The whole path of the field `name`.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn read<T>(
        &self,
        name: &str,
        convert: impl FnOnce(&'body Value) -> Option<T>,
        problem: Problem,
    ) -> Result<Option<T>, Nonsense> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => convert(value).map(Some).ok_or_else(|| self.nonsense(name, problem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_and_absent_are_the_same() {
        let value = json!({"a": null});
        let fields = Fields::of("o", &value).expect("an object");
        for name in ["a", "b"] {
            assert_eq!(fields.text(name), Ok(None));
            assert_eq!(fields.flag(name), Ok(None));
            assert_eq!(fields.count(name), Ok(None));
            assert_eq!(fields.id(name), Ok(None));
            assert!(matches!(fields.object(name), Ok(None)));
            assert!(matches!(fields.objects(name), Ok(None)));
        }
    }

    #[test]
    fn an_id_may_stand_alone_or_in_its_whole_object() {
        let value =
            json!({"a": "pi_1", "b": {"id": "pi_1", "object": "payment_intent"}, "c": {}, "d": 1, "e": ""});
        let fields = Fields::of("o", &value).expect("an object");
        let id = Ok(StripeId::parse("pi_1").ok());
        assert_eq!(fields.id("a"), id);
        assert_eq!(fields.id("b"), id);
        for name in ["c", "d", "e"] {
            assert_eq!(fields.id(name), Err(fields.nonsense(name, Problem::NotAnId)));
        }
    }

    #[test]
    fn a_count_is_a_whole_number_that_every_reader_keeps_exact() {
        let value = json!({
            "zero": 0, "largest": MAX_AMOUNT, "larger": MAX_AMOUNT + 1, "huge": u64::MAX,
            "negative": -1, "half": 0.5, "float": 1.0, "text": "1",
        });
        let fields = Fields::of("o", &value).expect("an object");
        assert_eq!(fields.count("zero"), Ok(Some(0)));
        assert_eq!(fields.count("largest"), Ok(Some(MAX_AMOUNT)));
        for name in ["larger", "huge", "negative"] {
            assert_eq!(fields.count(name), Err(fields.nonsense(name, Problem::OutOfRange)), "{name}");
        }
        for name in ["half", "float", "text"] {
            assert_eq!(fields.count(name), Err(fields.nonsense(name, Problem::NotAWholeNumber)), "{name}");
        }
    }

    #[test]
    fn a_wrong_type_is_named_with_its_whole_path() {
        let value = json!({"list": [{"a": {"b": "text"}}, 1]});
        let fields = Fields::of("", &value).expect("an object");
        assert_eq!(fields.flag("list").expect_err("a list").to_string(), "`list` is not true or false");
        let items = Fields::of("", &value).and_then(|fields| fields.objects("list"));
        assert_eq!(items.expect_err("a number").to_string(), "`list[1]` is not an object");
        let value = json!({"list": [{"a": {"b": "text"}}]});
        let items = Fields::of("o", &value).and_then(|fields| fields.objects("list")).expect("a list");
        let inner = items.expect("given")[0].object("a").expect("an object").expect("given");
        assert_eq!(
            inner.count("b").expect_err("a text").to_string(),
            "`o.list[0].a.b` is not a whole number"
        );
    }
}
