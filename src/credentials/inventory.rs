//! Which secrets a ledger has, for people: what they are recognised by, and whether they open.

use super::Vault;
use crate::{
    domain::ids::LedgerId,
    store::{
        logs::keys::list_log_keys,
        reads::ReadError,
        sealing::{CannotOpen, Purpose, SealingKeyId},
        stripe_credentials::read_credentials,
        webhook_secrets::{KeptSecret, list_webhook_secrets},
    },
};

/// A secret, without what is secret of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretState {
    /// What it is for.
    pub purpose: Purpose,
    /// What people recognise it by.
    pub hint: String,
    /// The key that it is sealed under; none if it is kept in clear.
    pub sealed_under: Option<SealingKeyId>,
    /// Why it does not open.
    pub closed: Option<CannotOpen>,
}

impl Vault {
    /// The secrets of a ledger.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn inventory(&self, ledger: LedgerId) -> Result<Vec<SecretState>, ReadError> {
        let mut states = Vec::new();
        if let Some(kept) = read_credentials(&self.database, ledger).await?.credentials {
            let purpose = Purpose::StripeApiKey;
            let closed = self.keys.open(purpose, ledger, &kept.api_key).err();
            let sealed_under = Some(kept.api_key.key);
            states.push(SecretState { purpose, hint: kept.hint, sealed_under, closed });
        }
        let client = self.database.pool().get().await?;
        for kept in list_log_keys(&client, ledger).await? {
            let purpose = Purpose::LogKey;
            let closed = self.keys.open(purpose, ledger, &kept.seed).err();
            let (hint, sealed_under) = (format!("key {}", kept.number), Some(kept.seed.key));
            states.push(SecretState { purpose, hint, sealed_under, closed });
        }
        for kept in list_webhook_secrets(&client, ledger).await? {
            let closed = self.open_webhook_secret(ledger, &kept.secret).err();
            let sealed_under = match kept.secret {
                KeptSecret::Clear(_) => None,
                KeptSecret::Sealed(sealed) => Some(sealed.key),
            };
            let (purpose, hint) = (Purpose::WebhookSecret, kept.id.to_string());
            states.push(SecretState { purpose, hint, sealed_under, closed });
        }
        Ok(states)
    }
}
