//! The API's endpoints: one file for each kind of object, with its parameters, what it looks like, and its rules.

mod charges;
pub(super) mod checkout_sessions;
pub(super) mod credit_notes;
pub(super) mod customers;
pub(super) mod disputes;
mod events;
mod given;
mod invoices;
pub(super) mod payment_intents;
pub(super) mod payment_methods;
mod portal;
pub(super) mod prices;
pub(super) mod products;
pub(super) mod promotion_codes;
pub(super) mod refunds;
mod subscriptions;
pub(super) mod webhook_endpoints;

use serde_json::Value;

pub(super) use given::Given;

use super::{answer::Failure, parameters::Parameter, world::Transaction};

/// How an endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

/// One endpoint.
pub(super) struct Route {
    pub verb: Verb,
    /// With `{id}` where the id stands.
    pub path: &'static str,
    pub table: &'static [Parameter],
    pub run: fn(&mut Call<'_, '_>) -> Result<Value, Failure>,
}

/// A request that has found its endpoint, with good parameters.
pub(super) struct Call<'c, 'w> {
    pub transaction: &'c mut Transaction<'w>,
    pub id: &'c str,
    pub given: Given,
}

impl Route {
    const fn get(
        path: &'static str,
        table: &'static [Parameter],
        run: fn(&mut Call<'_, '_>) -> Result<Value, Failure>,
    ) -> Self {
        Self { verb: Verb::Get, path, table, run }
    }

    const fn post(
        path: &'static str,
        table: &'static [Parameter],
        run: fn(&mut Call<'_, '_>) -> Result<Value, Failure>,
    ) -> Self {
        Self { verb: Verb::Post, path, table, run }
    }

    const fn delete(path: &'static str, run: fn(&mut Call<'_, '_>) -> Result<Value, Failure>) -> Self {
        Self { verb: Verb::Delete, path, table: &[], run }
    }
}

const ROUTES: &[&[Route]] = &[
    charges::ROUTES,
    checkout_sessions::ROUTES,
    credit_notes::ROUTES,
    customers::ROUTES,
    disputes::ROUTES,
    events::ROUTES,
    invoices::ROUTES,
    payment_intents::ROUTES,
    payment_methods::ROUTES,
    portal::ROUTES,
    prices::ROUTES,
    products::ROUTES,
    promotion_codes::ROUTES,
    refunds::ROUTES,
    subscriptions::ROUTES,
    webhook_endpoints::ROUTES,
];

/// The endpoint for a path, and the id in the path.
pub(super) fn find(verb: Verb, path: &str) -> Option<(&'static Route, String)> {
    let segments: Vec<&str> = path.split('/').collect();
    let mut best: Option<(&Route, String)> = None;
    for route in ROUTES.iter().copied().flatten().filter(|route| route.verb == verb) {
        let pattern: Vec<&str> = route.path.split('/').collect();
        if pattern.len() != segments.len() {
            continue;
        }
        let fits =
            |(part, segment): (&&str, &&str)| part == segment || (*part == "{id}" && !segment.is_empty());
        if !pattern.iter().zip(&segments).all(fits) {
            continue;
        }
        let place = pattern.iter().position(|part| *part == "{id}");
        let id = place.map(|place| segments[place].to_owned()).unwrap_or_default();
        // A path without an id is the closer one: `/v1/customers/search`.
        if place.is_none() {
            return Some((route, id));
        }
        best = Some((route, id));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_endpoint_and_its_id() {
        let found = |verb, path| find(verb, path).map(|(route, id)| (route.path, id));
        assert_eq!(
            found(Verb::Post, "/v1/checkout/sessions/cs_1/expire"),
            Some(("/v1/checkout/sessions/{id}/expire", "cs_1".into()))
        );
        assert_eq!(found(Verb::Get, "/v1/customers/search"), Some(("/v1/customers/search", String::new())));
        assert_eq!(found(Verb::Get, "/v1/customers/"), None);
        assert_eq!(found(Verb::Delete, "/v1/customers"), None);
    }
}
