//! HTTP: one file for each resource, translated to use cases of `service` and back.
//!
//! The types here are those of the wire. They are declared once: the specification, the generated clients and the
//! parsing come from the same declarations. What a request says is parsed into types of the domain before a handler sees
//! it, and what is wrong with it is told by the name of the field.
//!
//! Invariants:
//! - every answer that is not a success has the one shape of [`error`], panics and unknown paths included;
//! - every path below `/v1` asks for a scope, by the type of the handler's first argument ([`auth`]);
//! - what a write answers comes from the command's own events ([`answers`]).
//!
//! | file | holds |
//! | --- | --- |
//! | `envelope`, `site_map`, `metrics` | what stands around every request |
//! | `auth`, `idempotency`, `params`, `filters`, `payload`, `json`, `wire`, `notes` | how requests are read |
//! | `answers`, `error` | how they are answered |
//! | `accounts`, `balances`, `history`, `spends`, `grants`, `purchases`, `orders`, `subscriptions`, `checkout_links`, `portal`, `settings`, `rules`, `catalogue`, `prices`, `transfers`, `events`, `reports`, `audit`, `inbox`, `outbox`, `reconciliation`, `api_keys`, `test_clock` | the resources |
//! | `webhooks` | where Stripe leaves its events |
//! | `probes`, `openapi`, `tags` | what machines and readers of the specification ask |

pub mod accounts;
pub mod answers;
pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod balances;
pub mod catalogue;
pub mod checkout_links;
pub mod error;
pub mod events;
mod export;
pub mod grants;
pub mod history;
pub mod idempotency;
pub mod inbox;
pub mod metrics;
pub mod openapi;
pub mod orders;
pub mod outbox;
pub mod params;
pub mod payload;
pub mod portal;
pub mod prices;
pub mod purchases;
pub mod reconciliation;
pub mod reports;
pub mod rules;
pub mod settings;
pub mod site_map;
pub mod spends;
pub mod subscriptions;
pub mod tags;
pub mod test_clock;
pub mod transfers;
pub mod webhooks;
pub mod wire;

mod envelope;
mod filters;
mod json;
mod notes;
mod probes;

use std::{collections::BTreeMap, sync::Arc};

use poem::{Endpoint, EndpointExt, Response, Route, endpoint::BoxEndpoint, get, post};
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::Value;

use envelope::Envelope;
use metrics::RequestMetrics;
use site_map::SiteMap;

use crate::{
    service::{Service, webhooks::Webhooks},
    telemetry::metrics::Metrics,
};

/// Credits of accounts, what is sold, and what operators do: a list is too short for all at once.
fn resources() -> impl OpenApi + 'static {
    (
        (
            accounts::Accounts,
            balances::Balances,
            history::History,
            spends::Spends,
            grants::Grants,
            transfers::Transfers,
            purchases::Purchases,
        ),
        (
            orders::Orders,
            (subscriptions::Subscriptions, subscriptions::SubscriptionChanges),
            checkout_links::CheckoutLinks,
            portal::Portal,
            catalogue::Catalogue,
            prices::Prices,
        ),
        (
            settings::Settings,
            rules::RulesOfLedger,
            events::EventStream,
            reports::Reports,
            audit::AuditTrail,
            inbox::Inbox,
            outbox::Outbox,
            reconciliation::Reconciliation,
            api_keys::ApiKeys,
            test_clock::TestClock,
        ),
    )
}

/// The specification of the interface, as a JSON value.
pub fn specification() -> Value {
    openapi::specification(resources())
}

/// JSON Schemas of all events, as files by name.
pub fn event_schemas() -> BTreeMap<String, Value> {
    events::schemas(&specification())
}

/// Pages for browsers, which stand beside the interface.
pub struct Pages {
    /// How all their paths begin.
    pub root: &'static str,
    /// Their paths, as templates.
    pub places: &'static [&'static str],
    /// What answers there.
    pub endpoint: BoxEndpoint<'static, Response>,
}

/// Everything that is served over HTTP.
pub fn endpoint(
    service: Arc<Service>,
    webhooks: Arc<Webhooks>,
    metrics: Arc<Metrics>,
    pages: Pages,
) -> impl Endpoint<Output = Response> {
    let resources = resources();
    let site_map = SiteMap::of(&resources)
        .with_post(webhooks::STRIPE_TEMPLATE)
        .with_texts(&["/docs", "/openapi.yaml", "/healthz", "/readyz", "/metrics"])
        .with_pages(pages.places);
    let interface = OpenApiService::new(resources, "Counterfoil", env!("CARGO_PKG_VERSION"));
    Route::new()
        .nest_no_strip("/v1", interface)
        .at(webhooks::STRIPE, post(webhooks::stripe(webhooks)))
        .nest_no_strip(pages.root, pages.endpoint)
        .at("/docs", get(openapi::reference(specification)))
        .at("/openapi.yaml", get(openapi::file(specification)))
        .at("/healthz", get(probes::health()))
        .at("/readyz", get(probes::readiness(Arc::clone(&service))))
        .at("/metrics", get(probes::metrics(metrics)))
        .data(service)
        .with(Envelope::new(site_map))
        .with(RequestMetrics)
}

fn text(content_type: &'static str, text: String) -> Response {
    Response::builder().content_type(content_type).body(text)
}
