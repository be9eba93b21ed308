//! The HTTP API: who asks, faults, keys, then the endpoint, and the headers of the answer.
//!
//! The order is Stripe's: authentication, rate limit, idempotency key, parameters, state.

use std::{sync::Arc, time::Duration};

use base64::Engine as _;
use poem::{Body, IntoResponse, Request, Response, http::HeaderMap};
use serde_json::Value;

use super::{
    answer::{Class, Failure, Rendered},
    connection::Connections,
    faults::{ApiFault, ApiFaultKind},
    form::Tree,
    idempotency::{self, Keyed, Known},
    ids, lists, older,
    parameters::{self, Kind as Type, Parameter},
    resources::{self, Call, Route, Verb},
    world::{Cause, Shared},
};

/// No request is longer, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;

/// The API at `/v1`.
pub(super) struct Api {
    pub shared: Arc<Shared>,
    pub connections: Connections,
}

/// A request whose text has been read.
struct Asked {
    verb: Option<Verb>,
    method: String,
    path: String,
    form: Result<Tree, Failure>,
    version: String,
    key: Option<String>,
    request_id: String,
}

/// What is answered, and about which earlier request if this is a repeat.
struct Answered {
    rendered: Rendered,
    original_request: Option<String>,
}

impl poem::Endpoint for Api {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let body = request.take_body();
        let remote = request.remote_addr().clone();
        let asked = read(&request, body).await;
        let fault = self.fault(&asked);
        let answered = match self.answer(&request, &asked, fault).await {
            Some(answered) => answered,
            None => {
                self.connections.cut(&remote);
                return Ok(().into_response());
            }
        };
        Ok(finish(&asked, fault, answered))
    }
}

impl Api {
    fn fault(&self, asked: &Asked) -> Option<ApiFault> {
        self.shared.lock().faults.fate_of_request(&asked.method, &asked.path)
    }

    /// The answer; `None` if the connection is cut instead.
    async fn answer(&self, request: &Request, asked: &Asked, fault: Option<ApiFault>) -> Option<Answered> {
        let refused = |failure: Failure| {
            Some(Answered { rendered: failure.render(&asked.request_id), original_request: None })
        };
        match fault.map(|fault| fault.kind) {
            Some(ApiFaultKind::Down) => return None,
            Some(ApiFaultKind::RateLimit) => {
                let message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.";
                return refused(Failure::new(Class::RateLimited, message).code("rate_limit"));
            }
            Some(ApiFaultKind::Conflict) => {
                let message = "This object cannot be accessed right now because another API request or Stripe process is currently accessing it. If you see this error intermittently, retry the request.";
                return refused(Failure::new(Class::Conflict, message).code("lock_timeout"));
            }
            Some(ApiFaultKind::Forbidden) => {
                let message = "The provided key does not have the required permissions for this endpoint on this account.";
                return refused(Failure::new(Class::Forbidden, message).code("more_permissions_required"));
            }
            _ => {}
        }
        if let Err(failure) = authenticate(request.headers(), &self.shared.settings.api_key) {
            return refused(failure);
        }
        let keyed = match asked.keyed() {
            Ok(keyed) => keyed,
            Err(failure) => return refused(failure),
        };
        if let Some(keyed) = &keyed {
            let is_first = self.shared.lock().in_flight.insert(keyed.key.clone());
            if !is_first {
                return refused(idempotency::in_flight(&keyed.key));
            }
        }
        // Frees the key however this ends, also when the client goes away while we wait.
        let _in_flight = InFlight { shared: &self.shared, key: keyed.as_ref().map(|keyed| &keyed.key) };
        if let Some(fault) = fault.filter(|fault| fault.kind == ApiFaultKind::Slow) {
            wait(fault).await;
        }
        let answered = self.execute(asked, keyed.as_ref(), fault);
        match fault.map(|fault| fault.kind) {
            Some(ApiFaultKind::Cut) => None,
            Some(ApiFaultKind::Hang) => {
                wait(fault?).await;
                None
            }
            Some(ApiFaultKind::Garbage) => {
                Some(Answered { rendered: Rendered::garbage(), original_request: None })
            }
            Some(ApiFaultKind::BadGateway) => {
                Some(Answered { rendered: Rendered::bad_gateway(), original_request: None })
            }
            _ => Some(answered),
        }
    }

    fn execute(&self, asked: &Asked, keyed: Option<&Keyed>, fault: Option<ApiFault>) -> Answered {
        let cause = Cause {
            request_id: Some(asked.request_id.clone()),
            idempotency_key: keyed.map(|keyed| keyed.key.clone()),
        };
        let known = match keyed {
            Some(keyed) => {
                self.shared.transact(cause.clone(), |transaction| idempotency::look_up(transaction, keyed))
            }
            None => Ok(Known::Nothing),
        };
        match known {
            Ok(Known::Answered { rendered, original_request }) => {
                return Answered { rendered, original_request: Some(original_request) };
            }
            Err(failure) => {
                return Answered { rendered: failure.render(&asked.request_id), original_request: None };
            }
            Ok(Known::Nothing) => {}
        }
        let is_broken = fault.is_some_and(|fault| fault.kind == ApiFaultKind::ServerError);
        let is_carried_out = fault.is_none_or(|fault| fault.is_committed);
        let broken = || Failure::new(Class::Broken, "An unknown error occurred");
        let result = if is_carried_out {
            let prepared = asked.prepare();
            self.shared.transact(cause.clone(), |transaction| {
                let (route, id, given, expand) = prepared?;
                let object = (route.run)(&mut Call { transaction, id: &id, given })?;
                let mut shown = object;
                lists::expand(transaction, &mut shown, &expand)?;
                older::reshape(&mut shown, &asked.version, transaction.store);
                let rendered = Rendered::success(&shown);
                if let Some(keyed) = keyed {
                    let kept = if is_broken { broken().render(&asked.request_id) } else { rendered.clone() };
                    idempotency::keep(transaction, keyed, &kept, &asked.request_id);
                }
                Ok(rendered)
            })
        } else if is_broken {
            Err(broken())
        } else {
            // The fault came before anything happened.
            return Answered { rendered: Rendered::bad_gateway(), original_request: None };
        };
        let rendered = match result {
            Ok(_) if is_broken => broken().render(&asked.request_id),
            Ok(rendered) => rendered,
            Err(failure) => {
                let rendered = failure.render(&asked.request_id);
                if let Some(keyed) = keyed.filter(|_| failure.class.is_kept()) {
                    let kept = self.shared.transact(cause, |transaction| {
                        idempotency::keep(transaction, keyed, &rendered, &asked.request_id);
                        Ok(())
                    });
                    if let Err(failure) = kept {
                        return Answered {
                            rendered: failure.render(&asked.request_id),
                            original_request: None,
                        };
                    }
                }
                rendered
            }
        };
        Answered { rendered, original_request: None }
    }
}

struct InFlight<'a> {
    shared: &'a Shared,
    key: Option<&'a String>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.lock().in_flight.remove(key);
        }
    }
}

impl Asked {
    /// # Errors
    /// If the key is no key.
    fn keyed(&self) -> Result<Option<Keyed>, Failure> {
        let Some(key) = self.key.clone().filter(|_| self.verb == Some(Verb::Post)) else { return Ok(None) };
        idempotency::check(&key)?;
        let parameters = self.form.as_ref().map(Tree::canonical).unwrap_or_default();
        let fingerprint = format!("{} {}\n{parameters}", self.method, self.path);
        Ok(Some(Keyed { key, fingerprint }))
    }

    /// The endpoint, the id in the path, its parameters, and what to expand.
    fn prepare(&self) -> Result<(&'static Route, String, resources::Given, Vec<String>), Failure> {
        const EXPAND: &[Parameter] = &[parameters::list("expand", &Type::Text(500))];
        let found = self.verb.and_then(|verb| resources::find(verb, &self.path));
        let Some((route, id)) = found else {
            let message = format!(
                "Unrecognized request URL ({}: {}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.",
                self.method, self.path
            );
            return Err(Failure::new(Class::Missing, message));
        };
        let mut form = self.form.clone()?;
        let expand = match form.take("expand") {
            None => Vec::new(),
            Some(tree) => {
                let wrapped = Tree::Branch(vec![("expand".to_owned(), tree)]);
                let read = parameters::read(&wrapped, EXPAND)?;
                let list = read.get("expand").and_then(Value::as_array).cloned().unwrap_or_default();
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
        };
        Ok((route, id, parameters::read(&form, route.table)?.into(), expand))
    }
}

async fn wait(fault: ApiFault) {
    tokio::time::sleep(Duration::from_secs_f64(fault.seconds)).await;
}

async fn read(request: &Request, body: Body) -> Asked {
    let uri = request.uri();
    let verb = match request.method().as_str() {
        "GET" => Some(Verb::Get),
        "POST" => Some(Verb::Post),
        "DELETE" => Some(Verb::Delete),
        _ => None,
    };
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Asked {
        verb,
        method: request.method().as_str().to_owned(),
        path: uri.path().to_owned(),
        form: read_form(uri.query().unwrap_or_default(), body).await,
        version: header("stripe-version").unwrap_or_else(|| super::API_VERSION.to_owned()),
        key: header("idempotency-key"),
        request_id: ids::request(),
    }
}

async fn read_form(query: &str, body: Body) -> Result<Tree, Failure> {
    let unreadable = |why: String| Failure::parameters(format!("Invalid request: {why}"));
    let bytes = body.into_bytes_limit(LONGEST_BODY).await.map_err(|error| unreadable(error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let mut form = Tree::parse(query).map_err(|error| unreadable(error.to_string()))?;
    form.merge(Tree::parse(text).map_err(|error| unreadable(error.to_string()))?);
    Ok(form)
}

/// Stripe takes the key as a bearer token or as the user of basic authentication.
fn authenticate(headers: &HeaderMap, expected: &str) -> Result<(), Failure> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = match given.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim().to_owned()),
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("basic") => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(token.trim()).unwrap_or_default();
            String::from_utf8(decoded).ok().and_then(|text| text.split(':').next().map(str::to_owned))
        }
        _ => None,
    };
    match key.filter(|key| !key.is_empty()) {
        Some(key) if key == expected => Ok(()),
        Some(key) => {
            let shown: String = key.chars().take(8).collect();
            Err(Failure::new(Class::Unauthorized, format!("Invalid API Key provided: {shown}****")))
        }
        None => {
            let message = "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').";
            Err(Failure::new(Class::Unauthorized, message))
        }
    }
}

fn finish(asked: &Asked, fault: Option<ApiFault>, answered: Answered) -> Response {
    let Answered { rendered, original_request } = answered;
    let should_retry = rendered.should_retry;
    let is_ours = rendered.content_type == "application/json";
    let mut response = rendered.into_response();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    if !is_ours {
        // A proxy answered, which knows nothing of these.
        return response;
    }
    set("request-id", &asked.request_id);
    set("stripe-version", &asked.version);
    if let Some(key) = asked.key.as_deref().filter(|_| asked.verb == Some(Verb::Post)) {
        set("idempotency-key", key);
        set("original-request", original_request.as_deref().unwrap_or(&asked.request_id));
        if original_request.is_some() {
            set("idempotent-replayed", "true");
        }
    }
    let is_kept_post = asked.verb == Some(Verb::Post) && asked.key.is_some();
    if let Some(should_retry) = should_retry.or_else(|| is_kept_post.then_some(false)) {
        set("stripe-should-retry", if should_retry { "true" } else { "false" });
    }
    if let Some(fault) = fault.filter(|fault| fault.kind == ApiFaultKind::RateLimit) {
        set("retry-after", &format!("{:.0}", fault.seconds.ceil()));
        set("stripe-should-retry", "true");
    }
    response
}
