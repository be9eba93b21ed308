//! Search: `metadata['key']:'value' AND email:'…'`. Unlike Stripe's it sees what was made a moment ago.

use serde_json::{Value, json};

use super::{
    answer::Failure,
    parameters::{LIMIT, Parameter, text},
    resources::Given,
    store::Kind,
    world::Transaction,
};

pub(super) const PARAMETERS: &[Parameter] = &[text("query").required(), LIMIT, text("page")];

/// One page of what the query finds, newest first.
///
/// # Errors
/// If the query cannot be read.
pub(super) fn run(
    transaction: &Transaction<'_>,
    kind: Kind,
    given: &Given,
    url: &str,
) -> Result<Value, Failure> {
    let clauses = parse(given.text("query").unwrap_or_default())?;
    let first: usize = given.text("page").and_then(|page| page.parse().ok()).unwrap_or(0);
    let limit = usize::try_from(given.integer("limit").unwrap_or(10).clamp(1, 100)).unwrap_or(10);
    let found: Vec<&Value> = transaction
        .store
        .all(kind)
        .rev()
        .filter(|object| object.get("deleted").is_none())
        .filter(|object| clauses.iter().all(|clause| clause.is_true_of(object)))
        .collect();
    let last = (first + limit).min(found.len());
    let has_more = last < found.len();
    Ok(json!({
        "object": "search_result",
        "data": found.get(first..last).unwrap_or_default(),
        "has_more": has_more,
        "next_page": has_more.then(|| last.to_string()),
        "url": url,
    }))
}

#[derive(Debug, PartialEq, Eq)]
struct Clause {
    /// `email`, or `metadata` and a key.
    path: Vec<String>,
    value: String,
}

impl Clause {
    fn is_true_of(&self, object: &Value) -> bool {
        let found = self.path.iter().fold(object, |object, name| &object[name]);
        match found {
            Value::String(text) => *text == self.value,
            Value::Bool(flag) => self.value.parse() == Ok(*flag),
            Value::Number(number) => number.as_i64().is_some_and(|number| self.value.parse() == Ok(number)),
            _ => false,
        }
    }
}

fn parse(query: &str) -> Result<Vec<Clause>, Failure> {
    query.split(" AND ").map(|clause| parse_clause(clause.trim())).collect()
}

fn parse_clause(clause: &str) -> Result<Clause, Failure> {
    let unreadable = || {
        let message = format!(
            "We were unable to parse your search query at `{clause}`: the simulator reads clauses such as metadata['key']:'value', joined by AND."
        );
        Failure::parameters(message).of("query")
    };
    let (name, value) = clause.split_once(':').ok_or_else(unreadable)?;
    let value = value.trim().trim_matches(['\'', '"']).to_owned();
    let name = name.trim();
    let path = match name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']')) {
        Some(key) => vec!["metadata".to_owned(), key.trim_matches(['\'', '"']).to_owned()],
        None if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
            vec![name.to_owned()]
        }
        None => return Err(unreadable()),
    };
    Ok(Clause { path, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_and_hold() {
        let clauses =
            parse("metadata['a b']:'1:2' AND email:\"x@y.example\" AND active:'true'").expect("a query");
        let object = json!({ "metadata": { "a b": "1:2" }, "email": "x@y.example", "active": true });
        assert!(clauses.iter().all(|clause| clause.is_true_of(&object)), "{clauses:?}");
        assert!(!clauses.iter().all(|clause| clause.is_true_of(&json!({}))));
        assert!(parse("metadata").is_err());
    }
}
