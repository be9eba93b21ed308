//! Replacing the key-encryption key: every secret of a ledger comes under the current one.
//!
//! Invariant: a secret that does not open stays as it is, and is counted; nothing is lost by trying.

use secrecy::ExposeSecret;

use super::Vault;
use crate::{
    domain::ids::LedgerId,
    store::{
        logs::keys::{list_log_keys, reseal_log_key},
        reads::ReadError,
        rows::RowError,
        sealing::{CannotOpen, NoKey, Purpose},
        stripe_credentials::{read_credentials, reseal_credentials},
        webhook_secrets::{KeptSecret, keep_webhook_secret, list_webhook_secrets},
    },
};

/// What became of the secrets of a ledger.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Resealed {
    /// How many are under the current key now and were not before.
    pub changed: usize,
    /// How many were under it already.
    pub kept: usize,
    /// Why others could not be opened and stay as they are.
    pub closed: Vec<CannotOpen>,
}

/// Why secrets could not be sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// There is nothing to seal them with.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] ReadError),
}

impl From<RowError> for ResealError {
    fn from(error: RowError) -> Self {
        Self::Database(error.into())
    }
}

impl Vault {
    /// Seals every secret of a ledger under the current key: those under an older one, and those in clear.
    ///
    /// # Errors
    /// [`ResealError`]; those that were sealed before stay so, and it can be done again.
    pub async fn reseal(&self, ledger: LedgerId) -> Result<Resealed, ResealError> {
        let mut done = Resealed::default();
        self.reseal_stripe_key(ledger, &mut done).await?;
        self.reseal_webhook_secrets(ledger, &mut done).await?;
        self.reseal_log_keys(ledger, &mut done).await?;
        Ok(done)
    }

    async fn reseal_stripe_key(&self, ledger: LedgerId, done: &mut Resealed) -> Result<(), ResealError> {
        let Some(kept) = read_credentials(&self.database, ledger).await?.credentials else { return Ok(()) };
        if Some(&kept.api_key.key) == self.keys.current() {
            done.kept += 1;
            return Ok(());
        }
        match self.keys.open(Purpose::StripeApiKey, ledger, &kept.api_key) {
            Ok(secret) => {
                let sealed = self.keys.seal(Purpose::StripeApiKey, ledger, secret.expose_secret())?;
                reseal_credentials(&self.database, ledger, kept.version, &sealed).await?;
                done.changed += 1;
            }
            Err(error) => done.closed.push(error),
        }
        Ok(())
    }

    async fn reseal_log_keys(&self, ledger: LedgerId, done: &mut Resealed) -> Result<(), ResealError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        for kept in list_log_keys(&client, ledger).await? {
            if Some(&kept.seed.key) == self.keys.current() {
                done.kept += 1;
                continue;
            }
            match self.keys.open(Purpose::LogKey, ledger, &kept.seed) {
                Ok(secret) => {
                    let sealed = self.keys.seal(Purpose::LogKey, ledger, secret.expose_secret())?;
                    reseal_log_key(&client, ledger, kept.number, &sealed).await?;
                    done.changed += 1;
                }
                Err(error) => done.closed.push(error),
            }
        }
        Ok(())
    }

    async fn reseal_webhook_secrets(&self, ledger: LedgerId, done: &mut Resealed) -> Result<(), ResealError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        for kept in list_webhook_secrets(&client, ledger).await? {
            if matches!(&kept.secret, KeptSecret::Sealed(sealed) if Some(&sealed.key) == self.keys.current())
            {
                done.kept += 1;
                continue;
            }
            match self.open_webhook_secret(ledger, &kept.secret) {
                Ok(secret) => {
                    let sealed = self.keys.seal(Purpose::WebhookSecret, ledger, secret.expose_secret())?;
                    keep_webhook_secret(&client, ledger, kept.id, &KeptSecret::Sealed(sealed)).await?;
                    done.changed += 1;
                }
                Err(error) => done.closed.push(error),
            }
        }
        Ok(())
    }
}
