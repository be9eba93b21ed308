//! Sends requests that async-stripe's types have built, and hands back what came, whole.
//!
//! Invariants:
//! - a request is sent at most once: no retries, no redirects;
//! - connecting and the whole call have limits of time, the answer has one of size;
//! - the API key goes into one header that is marked as a secret, and nowhere else.

use std::{num::NonZeroU32, time::Duration};

use reqwest::{
    Client, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect::Policy,
};
use serde_json::Value;
use stripe_client_core::{IdempotencyKey, RequestBuilder, StripeMethod, VERSION};

use super::{
    answer::{Answer, doubtful},
    api_key::{ApiKey, BaseUrl},
    error::{CallCause, CallClass, CallError},
};
use crate::config::StripeSettings;

/// The largest answer that is read: a page of a hundred events with whole objects in them is a third of it.
const LARGEST_ANSWER: usize = 8 << 20;
/// How long a connection that nobody uses is kept. Below what servers keep theirs, so that few calls meet a closed one.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// The longest pause that an answer may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a call may wait for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(10);
/// How we introduce ourselves.
const USER_AGENT: &str = concat!("Counterfoil/", env!("CARGO_PKG_VERSION"));

/// How Stripe is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientSettings {
    /// How long connecting may take.
    pub connect_limit: Duration,
    /// How long a whole call may take, connecting included.
    pub call_limit: Duration,
    /// How long a call may wait for its turn under the limit of rate.
    pub turn_limit: Duration,
    /// How many calls a second a ledger in test mode may make.
    pub test_rate: NonZeroU32,
    /// How many calls a second a ledger in live mode may make.
    pub live_rate: NonZeroU32,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self::from(&StripeSettings::default())
    }
}

impl From<&StripeSettings> for ClientSettings {
    fn from(settings: &StripeSettings) -> Self {
        Self {
            connect_limit: CONNECT_LIMIT,
            call_limit: settings.stripe_timeout_seconds,
            turn_limit: TURN_LIMIT,
            test_rate: settings.stripe_test_rate,
            live_rate: settings.stripe_live_rate,
        }
    }
}

/// Connections to Stripe, which all ledgers share.
#[derive(Clone, Debug)]
pub struct Connections(Client);

/// Why no connection can be made.
#[derive(Debug, thiserror::Error)]
#[error("HTTPS cannot be set up; are there certificates of authorities on this machine?")]
pub struct NoConnections(#[from] reqwest::Error);

impl Connections {
    /// Prepares them; connects to nothing yet. Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`).
    ///
    /// # Errors
    /// [`NoConnections`] if this machine has no certificates to hold others' against.
    pub fn prepare(settings: &ClientSettings) -> Result<Self, NoConnections> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(settings.connect_limit)
            .timeout(settings.call_limit)
            .pool_idle_timeout(IDLE_CONNECTION)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        Ok(Self(client))
    }
}

/// Sends requests with one key to one address.
pub(super) struct Transport {
    connections: Connections,
    base_url: BaseUrl,
    api_key: ApiKey,
    authorisation: HeaderValue,
}

impl Transport {
    pub(super) fn new(connections: Connections, base_url: BaseUrl, api_key: ApiKey) -> Self {
        let mut authorisation = HeaderValue::from_str(&format!("Bearer {}", api_key.expose()))
            .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
        authorisation.set_sensitive(true);
        Self { connections, base_url, api_key, authorisation }
    }

    pub(super) fn base_url(&self) -> &BaseUrl {
        &self.base_url
    }

    pub(super) fn api_key(&self) -> &ApiKey {
        &self.api_key
    }

    /// Sends a request once and judges the answer.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        key: Option<&IdempotencyKey>,
    ) -> Result<Value, CallError> {
        let is_change = !matches!(request.method, StripeMethod::Get);
        let answer = self.exchange(request, key).await.map_err(|cause| match cause {
            CallCause::NotConnected => CallError { class: CallClass::Retry { after: None }, cause },
            cause => doubtful(cause, is_change),
        })?;
        answer.judge(is_change, self.api_key.expose())
    }

    /// Asks something of a simulated Stripe that Stripe itself does not know: without a key, in JSON.
    pub(super) async fn control(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        let sending = self.connections.0.post(self.base_url.at(path)).json(body);
        let answer = async { read(sending.send().await.map_err(|error| cause_of(&error))?).await };
        let answer = answer.await.map_err(|cause| doubtful(cause, false))?;
        answer.judge(false, self.api_key.expose())
    }

    async fn exchange(
        &self,
        request: RequestBuilder,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer, CallCause> {
        let url = self.base_url.join(&request.path, request.query.as_deref());
        let client = &self.connections.0;
        let mut sending = match request.method {
            StripeMethod::Get => client.get(url),
            StripeMethod::Post => client.post(url),
            StripeMethod::Delete => client.delete(url),
        };
        sending = sending
            .header(AUTHORIZATION, self.authorisation.clone())
            .header("Stripe-Version", VERSION.as_str());
        if let Some(key) = key {
            sending = sending.header("Idempotency-Key", key.as_str());
        }
        if let Some(form) = request.body {
            sending = sending.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(in_order(&form));
        }
        let response = sending.send().await.map_err(|error| cause_of(&error))?;
        read(response).await
    }
}

/// The same form with its fields in alphabetical order: metadata comes from a hash map, in another order each time.
fn in_order(form: &str) -> String {
    let mut fields: Vec<&str> = form.split('&').collect();
    fields.sort_unstable();
    fields.join("&")
}

async fn read(mut response: Response) -> Result<Answer, CallCause> {
    let headers = response.headers();
    let mut answer = Answer {
        status: response.status().as_u16(),
        request_id: text(headers, "Request-Id").map(str::to_owned),
        should_retry: text(headers, "Stripe-Should-Retry").and_then(|text| text.parse().ok()),
        retry_after: text(headers, "Retry-After")
            .and_then(|text| text.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)),
        body: Vec::new(),
    };
    while let Some(chunk) = response.chunk().await.map_err(|error| cause_of(&error))? {
        if answer.body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(CallCause::TooLarge);
        }
        answer.body.extend_from_slice(&chunk);
    }
    Ok(answer)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn cause_of(error: &reqwest::Error) -> CallCause {
    if error.is_connect() {
        CallCause::NotConnected
    } else if error.is_timeout() {
        CallCause::TimedOut
    } else {
        CallCause::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_reads_the_same_whatever_order_it_was_made_in() {
        assert_eq!(in_order("b=2&metadata[z]=1&a=1&metadata[a]=2"), "a=1&b=2&metadata[a]=2&metadata[z]=1");
    }
}
