//! The API key and the webhook secret of the demo ledger, and the key that secrets are sealed with: made once, kept in the
//! file for scripts.

use std::path::Path;

use secrecy::SecretString;

use crate::cli::administration::Administration;
use crate::cli::environment_file;
use crate::config;
use crate::domain::settings::Scope;
use crate::store::ledgers::Ledger;
use crate::store::sealing::KeyRing;
use crate::stripe::signature::SigningSecret;

/// The name of the API key in the file.
pub(super) const API_KEY: &str = "COUNTERFOIL_API_KEY";
/// The name of the key that secrets are sealed with in the file.
pub(super) const KEY_ENCRYPTION_KEY: &str = config::KEY_ENCRYPTION_KEY;
/// The name of the webhook secret in the file.
pub(super) const WEBHOOK_SECRET: &str = "COUNTERFOIL_WEBHOOK_SECRET";

/// What opens the demo ledger.
pub(super) struct Secrets {
    pub(super) api_key: SecretString,
    pub(super) webhook_secret: SecretString,
}

impl Secrets {
    /// What the file says, if it says both.
    pub(super) fn read(file: &Path) -> anyhow::Result<Option<Self>> {
        let entries = environment_file::read(file)?;
        let value = |name| entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        Ok(match (value(API_KEY), value(WEBHOOK_SECRET)) {
            (Some(api_key), Some(webhook_secret)) => {
                Some(Self { api_key: api_key.into(), webhook_secret: webhook_secret.into() })
            }
            _ => None,
        })
    }

    /// New ones, known to the ledger.
    pub(super) async fn make(administration: &Administration, ledger: &Ledger) -> anyhow::Result<Self> {
        let webhook_secret = SigningSecret::generate();
        administration.add_webhook_secret(ledger, &webhook_secret).await?;
        let api_key = administration.create_key(ledger, "dev", Scope::ALL.into(), None).await?;
        Ok(Self { api_key, webhook_secret: webhook_secret.expose().into() })
    }
}

/// The key that secrets are sealed with: what the file says, or a new one.
pub(super) fn key_encryption_key(file: &Path) -> anyhow::Result<SecretString> {
    let known = environment_file::read(file)?.into_iter().find(|(name, _)| name == KEY_ENCRYPTION_KEY);
    Ok(known.map_or_else(KeyRing::generate, |(_, key)| key.into()))
}
