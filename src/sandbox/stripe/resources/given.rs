//! The parameters of a request, after they were read by the endpoint's table.

use serde_json::{Map, Value};

/// Values by name.
#[derive(Clone, Debug, Default)]
pub(in crate::sandbox::stripe) struct Given(Map<String, Value>);

impl From<Map<String, Value>> for Given {
    fn from(values: Map<String, Value>) -> Self {
        Self(values)
    }
}

impl Given {
    /// Whatever was given; `None` if the parameter was not there, `null` if it was empty.
    pub(in crate::sandbox::stripe) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A copy, or `null`.
    pub(in crate::sandbox::stripe) fn value(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or(Value::Null)
    }

    /// A copy, or this if there is none or it is empty.
    pub(in crate::sandbox::stripe) fn value_or(&self, name: &str, otherwise: impl Into<Value>) -> Value {
        match self.0.get(name) {
            None | Some(Value::Null) => otherwise.into(),
            Some(value) => value.clone(),
        }
    }

    pub(in crate::sandbox::stripe) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    pub(in crate::sandbox::stripe) fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    pub(in crate::sandbox::stripe) fn boolean(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    /// Whether the object's field is what the filter of the same name asks for, if there is one.
    pub(in crate::sandbox::stripe) fn filters(&self, object: &Value, name: &str) -> bool {
        self.0.get(name).is_none_or(|wanted| object.get(name) == Some(wanted))
    }
}

impl Given {
    pub(in crate::sandbox::stripe) fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }
}
