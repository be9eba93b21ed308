//! Where secrets of ledgers are opened: the keys that Stripe is called with, the secrets that its webhooks are signed
//! with, and the keys that checkpoints are signed with.
//!
//! Invariants:
//! - this module alone holds the key-encryption keys; what is opened stays in memory and is sent nowhere but to whom it
//!   is for;
//! - a key that is missing or wrong stops nothing but what needs the secret: it is an error that names what to do, and
//!   the next attempt asks again;
//! - without a key, webhook secrets are kept in clear, as `counterfoil dev` and older installations do; API keys never.

mod inventory;
mod log_keys;
mod reseal;
mod stripe_clients;

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Client;

pub use inventory::SecretState;
pub use log_keys::{LogKeys, NoSigner};
pub use reseal::{ResealError, Resealed};
pub use stripe_clients::{NoStripe, StripeAccess, StripeClients};

use crate::{
    domain::ids::{LedgerId, StripeId},
    store::{
        pool::Database,
        reads::ReadError,
        rows::RowError,
        sealing::{CannotOpen, KeyRing, NoKey, Purpose},
        stripe_credentials::{self, NewCredentials},
        webhook_secrets::{self, KeptSecret},
    },
    stripe::{
        client::{ApiKey, BaseUrl},
        signature::SigningSecret,
    },
};

/// The secrets of all ledgers of a database, and the keys to them.
#[derive(Clone)]
pub struct Vault {
    database: Database,
    keys: Arc<KeyRing>,
}

/// The secrets that a ledger's webhooks may be signed with.
pub struct WebhookSecrets {
    /// Those that could be opened.
    pub open: Vec<SigningSecret>,
    /// Why another one could not.
    pub closed: Option<CannotOpen>,
}

/// Why a Stripe key could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is nothing to seal it with.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] ReadError),
}

impl Vault {
    /// The secrets of a database, opened and sealed with `keys`.
    pub fn new(database: Database, keys: KeyRing) -> Self {
        Self { database, keys: Arc::new(keys) }
    }

    /// The database that the secrets are in.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The keys.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The secrets that the ledger's webhooks may be signed with.
    ///
    /// # Errors
    /// Those of the database, and a row that cannot be read.
    pub async fn webhook_secrets(
        &self,
        client: &Client,
        ledger: LedgerId,
    ) -> Result<WebhookSecrets, RowError> {
        let mut secrets = WebhookSecrets { open: Vec::new(), closed: None };
        for kept in webhook_secrets::list_webhook_secrets(client, ledger).await? {
            match self.open_webhook_secret(ledger, &kept.secret) {
                Ok(secret) => secrets.open.extend(SigningSecret::parse(secret.expose_secret())),
                Err(error) => secrets.closed = Some(error),
            }
        }
        Ok(secrets)
    }

    /// Lets webhooks in that are signed with this secret; one that is known already is not added again.
    ///
    /// # Errors
    /// Those of the database, and a row that cannot be read.
    pub async fn add_webhook_secret(
        &self,
        client: &Client,
        ledger: LedgerId,
        secret: &SigningSecret,
    ) -> Result<(), RowError> {
        let known = self.webhook_secrets(client, ledger).await?;
        if known.open.iter().any(|known| known.expose() == secret.expose()) {
            return Ok(());
        }
        let kept = self.keep_webhook_secret(ledger, &SecretString::from(secret.expose()));
        webhook_secrets::add_webhook_secret(client, ledger, &kept).await
    }

    /// Keeps the key that the ledger calls Stripe with, in place of the one that it had.
    ///
    /// # Errors
    /// [`KeepError`]; what it had is still there then.
    pub async fn keep_stripe_key(
        &self,
        ledger: LedgerId,
        api_key: &ApiKey,
        base_url: Option<&BaseUrl>,
        account: Option<&StripeId>,
    ) -> Result<(), KeepError> {
        let sealed = self.keys.seal(Purpose::StripeApiKey, ledger, api_key.expose())?;
        let hint = api_key.hint();
        let base_url = base_url.map(BaseUrl::as_str);
        let new = NewCredentials { api_key: &sealed, hint: &hint, base_url, account };
        Ok(stripe_credentials::set_credentials(&self.database, ledger, &new).await?)
    }

    fn open_webhook_secret(&self, ledger: LedgerId, kept: &KeptSecret) -> Result<SecretString, CannotOpen> {
        match kept {
            KeptSecret::Clear(secret) => Ok(secret.clone()),
            KeptSecret::Sealed(sealed) => self.keys.open(Purpose::WebhookSecret, ledger, sealed),
        }
    }

    /// The form that a secret is kept in by this process.
    fn keep_webhook_secret(&self, ledger: LedgerId, secret: &SecretString) -> KeptSecret {
        match self.keys.seal(Purpose::WebhookSecret, ledger, secret.expose_secret()) {
            Ok(sealed) => KeptSecret::Sealed(sealed),
            Err(NoKey) => KeptSecret::Clear(secret.clone()),
        }
    }
}
