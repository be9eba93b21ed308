//! What checkpoints of a ledger's log are signed with, and verified.

use std::time::Duration;

use super::{KeepError, Vault};
use crate::{
    audit::note::{Seed, Signer, VerifierKey},
    domain::ids::LedgerId,
    store::{
        logs::keys::{LogKey, add_log_key, list_log_keys},
        reads::ReadError,
        rows::RowError,
        sealing::{CannotOpen, Purpose},
    },
};

/// Why a checkpoint cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum NoSigner {
    /// A key does not open.
    #[error(transparent)]
    Closed(#[from] CannotOpen),
    /// What opened is no key, or another one than is published.
    #[error("the log's key {number} does not belong to its public key")]
    OtherKey {
        /// Which one.
        number: i32,
    },
    /// The database refused.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// The keys of a ledger's log.
pub struct LogKeys {
    /// As they are kept, the oldest first.
    pub kept: Vec<LogKey>,
    /// What verifies its checkpoints, in the same order.
    pub verifiers: Vec<VerifierKey>,
}

impl Vault {
    /// The keys of a ledger's log of that origin, without their private halves.
    ///
    /// # Errors
    /// Those of the database, and rows that cannot be read.
    pub async fn log_keys(
        &self,
        client: &tokio_postgres::Client,
        ledger: LedgerId,
        origin: &str,
    ) -> Result<LogKeys, RowError> {
        let kept = list_log_keys(client, ledger).await?;
        let verifiers: Option<Vec<_>> = kept.iter().map(|key| VerifierKey::new(origin, key.public)).collect();
        Ok(LogKeys { kept, verifiers: verifiers.ok_or(RowError::Value { column: "origin" })? })
    }

    /// What signs the checkpoints of the log of that origin now: every key whose time has not passed, so that one that
    /// does not open keeps the others from signing alone.
    ///
    /// # Errors
    /// [`NoSigner`].
    pub fn log_signers(
        &self,
        ledger: LedgerId,
        origin: &str,
        keys: &[LogKey],
    ) -> Result<Vec<Signer>, NoSigner> {
        let signer = |key: &LogKey| {
            let seed = Seed::kept(self.keys.open(Purpose::LogKey, ledger, &key.seed)?);
            let is_its_own = seed.public_key() == Some(key.public);
            let signer = Signer::new(origin, &seed).filter(|_| is_its_own);
            signer.ok_or(NoSigner::OtherKey { number: key.number })
        };
        keys.iter().filter(|key| key.signs).map(signer).collect()
    }

    /// Makes a key for the ledger's logs. Those before it sign beside it for another while. Returns whether it was made:
    /// not if somebody else made one at the same time.
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn add_log_key(&self, ledger: LedgerId, overlap: Duration) -> Result<bool, KeepError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let keys = list_log_keys(&client, ledger).await.map_err(ReadError::from)?;
        let number = keys.last().map_or(1, |key| key.number + 1);
        let seed = Seed::new(&rand::random());
        let sealed =
            self.keys.seal(Purpose::LogKey, ledger, secrecy::ExposeSecret::expose_secret(seed.to_keep()))?;
        let Some(public) = seed.public_key() else { return Ok(false) };
        let added = add_log_key(&client, ledger, number, (&public, &sealed), overlap).await;
        Ok(added.map_err(ReadError::from)?)
    }
}
