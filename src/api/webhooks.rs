//! `POST /webhooks/stripe/{ledger}`: where Stripe leaves its events.
//!
//! It is no part of the specification: nobody but Stripe calls it, and Stripe's signature is what it asks for instead of an
//! API key. The answer says only that the event is stored.

use std::sync::Arc;

use poem::{Endpoint, Request, Response, endpoint::make, error::ReadBodyError};

use super::error::ApiError;
use crate::service::webhooks::{IncomingWebhook, Webhooks};

/// The path, for the router.
pub const STRIPE: &str = "/webhooks/stripe/:ledger";
/// The same path, for the site map.
pub const STRIPE_TEMPLATE: &str = "/webhooks/stripe/{ledger}";
/// The largest event that is taken, in bytes; Stripe's are a hundredth of that.
const BODY_LIMIT: usize = 1024 * 1024;
/// The header with the signature.
const SIGNATURE: &str = "Stripe-Signature";

/// Takes events in for the ledger that the path names.
pub fn stripe(webhooks: Arc<Webhooks>) -> impl Endpoint<Output = Response> {
    make(move |request| {
        let webhooks = Arc::clone(&webhooks);
        async move { take(&webhooks, request).await.map_err(poem::Error::from) }
    })
}

async fn take(webhooks: &Webhooks, mut request: Request) -> Result<Response, ApiError> {
    let body = request.take_body().into_bytes_limit(BODY_LIMIT).await.map_err(|error| match error {
        ReadBodyError::PayloadTooLarge => ApiError::body_too_large(BODY_LIMIT),
        // The connection broke: nobody is there to read the answer.
        _ => ApiError::invalid("body", "cannot be read to its end"),
    })?;
    let webhook = IncomingWebhook {
        ledger: request.raw_path_param("ledger").unwrap_or_default(),
        signature: request.headers().get(SIGNATURE).map(|value| value.to_str().unwrap_or_default()),
        body: &body,
    };
    webhooks.take(&webhook).await?;
    Ok(Response::builder().content_type("application/json").body(r#"{"received":true}"#))
}
