//! Calls to Stripe: requests from async-stripe's typed parameters, sent and judged by ourselves.
//!
//! ```text
//! NewCheckoutSession ─▶ async-stripe's CreateCheckoutSession ─▶ transport ─▶ answer ─▶ CheckoutSession
//! ```
//!
//! Invariants:
//! - whatever is made at Stripe is made under the key of the effect that ordered it, and carries that effect's id; another
//!   key is for an effect whose key answers with a failure for ever, once it is known that nothing was made;
//! - every failure says whether Stripe refused, did nothing, or may have done it ([`CallClass`]);
//! - answers are read by small readers of our own, never as whole objects of a version;
//! - calls wait for their turn under our own limit of rate, which all clients of one ledger share;
//! - `payment_method_types` is never sent: Stripe refuses it since 2026-09-30.
//!
//! Why async-stripe's own client does not send them: `docs/decisions/0014-requests-to-stripe-are-sent-by-ourselves.md`.

mod answer;
mod api_key;
mod billing;
mod create;
mod error;
mod fetch;
mod find;
mod limiter;
mod lists;
pub mod origin;
mod portal;
mod simulated;
mod subscriptions;
mod transport;

use std::{fmt, sync::Arc};

use serde_json::Value;
use stripe_client_core::{IdempotencyKey, RequestBuilder, StripeMethod, StripeRequest, VERSION};

pub use api_key::{ApiKey, BaseUrl, NotABaseUrl, NotAnApiKey};
pub use create::{CheckoutMode, NewCheckoutSession, NewCustomer, NewRefund, RefundReason};
pub use error::{CallCause, CallClass, CallError, Refusal};
pub use fetch::EventQuery;
pub use limiter::Limiter;
pub use lists::MadeIn;
pub use origin::Origin;
pub use portal::NewPortalSession;
pub use subscriptions::{SubscriptionAtStripe, SwitchedItem, Update};
pub use transport::{ClientSettings, Connections, NoConnections};

use self::{answer::garbled, transport::Transport};
use super::{
    no_fact::Nonsense,
    object::{Page, StripeObject},
};
use crate::domain::ids::{EffectId, StripeId};

/// The API version that our requests are made for and answered in.
pub fn api_version() -> &'static str {
    VERSION.as_str()
}

/// Calls Stripe for one ledger.
pub struct StripeClient {
    transport: Arc<Transport>,
    limiter: Arc<Limiter>,
    renewal: u32,
}

impl StripeClient {
    /// Calls `base_url` with `api_key`, as often as `limiter` allows.
    pub fn new(connections: Connections, base_url: BaseUrl, api_key: ApiKey, limiter: Arc<Limiter>) -> Self {
        Self { transport: Arc::new(Transport::new(connections, base_url, api_key)), limiter, renewal: 0 }
    }

    /// The same client, which makes things under another key of the effect: the first other one, the second, and so on.
    /// For an effect whose key is spent ([`CallError::is_key_spent`]), after a look has shown that nothing was made.
    #[must_use]
    pub fn with_renewed_key(&self, renewal: u32) -> Self {
        Self { transport: Arc::clone(&self.transport), limiter: Arc::clone(&self.limiter), renewal }
    }

    /// Where its calls go.
    pub fn base_url(&self) -> &BaseUrl {
        self.transport.base_url()
    }

    /// What its calls are authorised with.
    pub fn api_key(&self) -> &ApiKey {
        self.transport.api_key()
    }

    /// The Stripe account that the key belongs to: shows that the key is taken.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::is_unauthorised`] if the key is wrong, or restricted so that it may not ask this.
    pub async fn fetch_account(&self) -> Result<StripeObject, CallError> {
        let answer = self.call(RequestBuilder::new(StripeMethod::Get, "/account"), None).await?;
        read_one("account", answer)
    }

    /// Has something made, once, under the key of the effect that ordered it.
    async fn create(&self, request: &impl StripeRequest, effect: EffectId) -> Result<Value, CallError> {
        let key = match self.renewal {
            0 => effect.to_string(),
            renewal => format!("{effect}:{renewal}"),
        };
        // It is neither empty nor too long, which is all that a key may not be.
        let key = IdempotencyKey::new(key).ok();
        self.call(request.build(), key.as_ref()).await
    }

    async fn fetch(&self, kind: &str, request: &impl StripeRequest) -> Result<StripeObject, CallError> {
        read_one(kind, self.call(request.build(), None).await?)
    }

    /// Asks what something would be, which changes nothing.
    async fn preview(&self, request: &impl StripeRequest) -> Result<Value, CallError> {
        self.call(request.build(), None).await
    }

    async fn list(&self, kind: &str, request: &impl StripeRequest) -> Result<Page, CallError> {
        let answer = self.call(request.build(), None).await?;
        Page::read(kind, &answer).map_err(|nonsense| unusable(&nonsense, false))
    }

    async fn call(&self, request: RequestBuilder, key: Option<&IdempotencyKey>) -> Result<Value, CallError> {
        if !self.limiter.wait().await {
            return Err(CallError { class: CallClass::Retry { after: None }, cause: CallCause::Busy });
        }
        self.transport.send(request, key).await
    }
}

impl fmt::Debug for StripeClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, key, rate) = (self.base_url(), self.api_key().hint(), self.limiter.per_second());
        write!(formatter, "Stripe at {url} with {key}, {rate} calls a second")
    }
}

fn read_one(kind: &str, answer: Value) -> Result<StripeObject, CallError> {
    StripeObject::read(kind, answer).map_err(|nonsense| unusable(&nonsense, false))
}

/// A success that does not hold what it must: after a change, what was done has to be looked up.
fn unusable(nonsense: &Nonsense, is_change: bool) -> CallError {
    garbled(nonsense.to_string(), is_change)
}

/// How an id is put into the path of a request.
fn in_path(id: &StripeId) -> &str {
    id.as_str()
}
