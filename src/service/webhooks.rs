//! Taking webhooks in: whoever can sign for a ledger may leave one there.
//!
//! Invariants:
//! - nothing of a body is believed, kept or logged before its signature is verified over the bytes as they came;
//! - an answer that a webhook was taken leaves only when it is committed;
//! - how long the work on it takes does not matter here: that is the inbox's.

use std::fmt;

use data_encoding::HEXLOWER;
use metrics::counter;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::{
    credentials::{Vault, WebhookSecrets},
    domain::{
        ids::{LedgerId, LedgerSlug},
        time::Timestamp,
    },
    store::{inbox::insert_webhook, ledgers::find_ledger},
    stripe::{
        Identity,
        signature::{self, SignatureError},
    },
    telemetry::metrics::WEBHOOKS_REFUSED,
    writer::ProcessClock,
};

/// The type that a webhook is stored with which names none.
const NO_TYPE: &str = "unknown";

/// Takes webhooks in.
pub struct Webhooks {
    vault: Vault,
    bell: mpsc::Sender<LedgerId>,
    clock: ProcessClock,
}

/// A webhook as it came.
pub struct IncomingWebhook<'a> {
    /// The ledger that the address names.
    pub ledger: &'a str,
    /// The `Stripe-Signature` header.
    pub signature: Option<&'a str>,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// Why a webhook was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is no such ledger.
    #[error("there is no such ledger")]
    UnknownLedger,
    /// It does not come from Stripe, or not now. Nothing was stored.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// It could not be stored, or not be told from one that somebody else made; Stripe comes again.
    #[error("the webhook cannot be taken now")]
    Unavailable,
}

impl Webhooks {
    /// Stores webhooks in the vault's database, and rings `bell` with the ledger's number for each. Signatures are held
    /// against the vault's secrets and `clock`.
    pub fn new(vault: Vault, bell: mpsc::Sender<LedgerId>, clock: ProcessClock) -> Self {
        Self { vault, bell, clock }
    }

    /// Verifies a webhook and stores it. One that is there already is taken as well. Gives the id that it is stored
    /// under: the event's own, or one made from the body if it has none.
    ///
    /// # Errors
    /// [`WebhookError`]; nothing was stored then.
    pub async fn take(&self, webhook: &IncomingWebhook<'_>) -> Result<String, WebhookError> {
        let slug = LedgerSlug::parse(webhook.ledger).map_err(|_| WebhookError::UnknownLedger)?;
        let client = self.vault.database().pool().get().await.map_err(unavailable)?;
        let ledger = find_ledger(&client, &slug).await.map_err(unavailable)?;
        let ledger = ledger.ok_or(WebhookError::UnknownLedger)?.ledger;
        let secrets = self.vault.webhook_secrets(&client, ledger).await.map_err(unavailable)?;
        verify(webhook, &secrets, (self.clock)()).map_err(|error| refuse(ledger, error, &secrets))?;
        let (event_id, kind) = identity(webhook.body);
        let stored = insert_webhook(&client, ledger, &event_id, &kind, webhook.body).await;
        stored.map_err(unavailable)?;
        // A full bell rings anyway: the inbox looks at every ledger again and again.
        let _ = self.bell.try_send(ledger);
        Ok(event_id)
    }
}

fn verify(
    webhook: &IncomingWebhook<'_>,
    secrets: &WebhookSecrets,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let header = webhook.signature.ok_or(SignatureError::Missing)?;
    signature::verify(header, webhook.body, &secrets.open, now.unix_seconds())
}

/// A signature that matches no secret that we can open may match one that we cannot: Stripe is not turned away for that.
fn refuse(ledger: LedgerId, error: SignatureError, secrets: &WebhookSecrets) -> WebhookError {
    if let (SignatureError::NoMatch, Some(error)) = (error, &secrets.closed) {
        tracing::error!(%ledger, %error, "webhooks cannot be verified");
        return WebhookError::Unavailable;
    }
    counter!(WEBHOOKS_REFUSED, "reason" => error.code()).increment(1);
    tracing::warn!(%ledger, %error, "a webhook was refused");
    error.into()
}

/// What the event is called. A body that does not say it is called by its own digest, so that it is stored once as well.
fn identity(body: &[u8]) -> (String, String) {
    match Identity::of(body) {
        Some(Identity { id, kind }) => (id.to_string(), kind),
        None => (format!("body_{}", HEXLOWER.encode(&Sha256::digest(body))), NO_TYPE.to_owned()),
    }
}

fn unavailable(error: impl fmt::Display) -> WebhookError {
    tracing::warn!(%error, "a webhook could not be stored");
    WebhookError::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_without_a_name_is_called_by_its_digest() {
        let (event_id, kind) = identity(b"[]");
        assert_eq!(kind, NO_TYPE);
        assert_eq!(event_id, "body_4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945");
        let named = identity(br#"{"id":"evt_1","type":"refund.created"}"#);
        assert_eq!(named, ("evt_1".to_owned(), "refund.created".to_owned()));
    }
}
