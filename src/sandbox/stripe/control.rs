//! The control API: what no client of Stripe's could ask for, because banks, buyers and time do it.
//!
//! Requests and answers are JSON. Nobody is authenticated: whoever reaches the port may do everything.

mod acts;

use std::sync::Arc;

use poem::{Request, Response};
use serde_json::{Value, json};

use super::{
    answer::{Class, Failure, Rendered},
    ids,
    resources::webhook_endpoints,
    store::Kind,
    world::{Cause, Shared},
};

const LONGEST_BODY: usize = 1024 * 1024;

/// The control API at `/_control`.
pub(super) struct Control {
    pub shared: Arc<Shared>,
}

impl poem::Endpoint for Control {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let body = request.take_body().into_bytes_limit(LONGEST_BODY).await.unwrap_or_default();
        let result = read(&body).and_then(|order| {
            let path = request.uri().path().trim_start_matches("/_control").to_owned();
            let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            self.obey(request.method().as_str(), &segments, request.uri().query(), &order)
        });
        let rendered = match result {
            Ok(answer) => Rendered::success(&answer),
            Err(failure) => failure.render(&ids::request()),
        };
        Ok(rendered.into_response())
    }
}

fn read(body: &[u8]) -> Result<Value, Failure> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body).map_err(|error| Failure::parameters(format!("The body is no JSON: {error}")))
}

impl Control {
    fn obey(
        &self,
        method: &str,
        segments: &[&str],
        query: Option<&str>,
        order: &Value,
    ) -> Result<Value, Failure> {
        match (method, segments) {
            ("GET", ["state"]) => Ok(self.state(query.unwrap_or_default())),
            ("GET", ["clock"]) => Ok(json!({ "now": self.shared.lock().now_ms() / 1000 })),
            ("POST", ["clock", "advance"]) => {
                let mut world = self.shared.lock();
                // To a moment it is moved once, however many want that.
                let until = order["until"].as_i64().map(|until| (until - world.now_ms() / 1000).max(0));
                let seconds = until.or(order["seconds"].as_i64());
                let seconds = seconds.filter(|seconds| (0..=100 * 366 * 86_400).contains(seconds));
                let seconds = seconds.ok_or_else(|| {
                    Failure::parameters("`seconds` is a whole number of at most a hundred years.")
                        .of("seconds")
                })?;
                let now = world.advance(seconds)?;
                drop(world);
                self.shared.bell.notify_one();
                Ok(json!({ "now": now }))
            }
            ("GET", ["faults"]) => Ok(self.shared.lock().faults.list()),
            ("DELETE", ["faults"]) => {
                let mut world = self.shared.lock();
                world.faults.clear();
                Ok(world.faults.list())
            }
            ("DELETE", ["faults", id]) => {
                let id = id.parse().map_err(|_| Failure::no_such("fault", id))?;
                let mut world = self.shared.lock();
                if world.faults.remove(id) {
                    Ok(world.faults.list())
                } else {
                    Err(Failure::no_such("fault", &id.to_string()))
                }
            }
            ("POST", ["faults"]) => match order["webhooks"].as_str() {
                Some("rotate_secret") => self.rotate_secrets(order),
                Some("api_version") => self.set_version(order),
                _ => self.shared.lock().faults.order(order),
            },
            ("POST", _) => self
                .shared
                .transact(Cause::default(), |transaction| acts::perform(transaction, segments, order)),
            _ => Err(Failure::new(Class::Missing, "The control API has no such address.")),
        }
    }

    /// Gives endpoints new secrets; the old ones sign as well for a while.
    fn rotate_secrets(&self, order: &Value) -> Result<Value, Failure> {
        let overlap = order["overlap_seconds"].as_i64().unwrap_or(24 * 3600);
        let secret = match order.get("secret") {
            None => ids::with_prefix("whsec_", 32),
            Some(secret) => {
                let secret = secret.as_str().filter(|secret| secret.starts_with("whsec_"));
                secret
                    .ok_or_else(|| Failure::parameters("A secret begins with `whsec_`.").of("secret"))?
                    .to_owned()
            }
        };
        self.for_endpoints(order, |transaction, id| {
            webhook_endpoints::rotate(transaction, id, &secret, overlap);
        })
        .map(|endpoints| json!({ "secret": secret, "endpoints": endpoints }))
    }

    fn set_version(&self, order: &Value) -> Result<Value, Failure> {
        let version = order["version"].as_str().map(str::to_owned);
        self.for_endpoints(order, |transaction, id| {
            let mut endpoint = transaction.peek(Kind::WebhookEndpoint, &id.into());
            endpoint["api_version"] = version.clone().into();
            transaction.put(Kind::WebhookEndpoint, &endpoint);
        })
        .map(|endpoints| json!({ "version": version, "endpoints": endpoints }))
    }

    fn for_endpoints(
        &self,
        order: &Value,
        mut act: impl FnMut(&mut super::world::Transaction<'_>, &str),
    ) -> Result<Vec<String>, Failure> {
        let only = order["endpoint"].as_str();
        self.shared.transact(Cause::default(), |transaction| {
            let ids: Vec<String> = transaction
                .store
                .entries(Kind::WebhookEndpoint)
                .map(|(id, _)| id.to_owned())
                .filter(|id| only.is_none_or(|only| only == id))
                .collect();
            for id in &ids {
                act(transaction, id);
            }
            Ok(ids)
        })
    }

    /// All objects of the kinds that are asked for (`?kinds=customer,refund`), or of all, and how many there are.
    fn state(&self, query: &str) -> Value {
        let wanted = query.strip_prefix("kinds=").map(|kinds| kinds.split(',').collect::<Vec<_>>());
        let world = self.shared.lock();
        let mut counts = json!({});
        let mut objects = json!({});
        for kind in Kind::ALL.iter().filter(|kind| !matches!(kind, Kind::Hidden | Kind::Setting)) {
            let name = kind.name().trim_start_matches('_');
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&name)) {
                continue;
            }
            let all: Vec<Value> = world.all(*kind).cloned().collect();
            counts[name] = all.len().into();
            objects[name] = all.into();
        }
        json!({ "now": world.now_ms() / 1000, "counts": counts, "objects": objects, "faults": world.faults.list()["faults"] })
    }
}
