//! API keys as text: `cfk_<mode>_<ledger>_<key>_<secret>`.
//!
//! Mode and ledger are there for people and for finding the key; the secret alone proves anything. Only its hash is kept:
//! it has 256 random bits, so that a plain SHA-256 is as good as a slow one.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::{
    ids::{KeyId, LedgerSlug},
    settings::LedgerMode,
};

/// How many random bytes a secret has.
const SECRET_BYTES: usize = 32;

/// The secret of an API key.
pub struct KeySecret(SecretString);

impl KeySecret {
    /// A new secret.
    pub fn generate() -> Self {
        let bytes: [u8; SECRET_BYTES] = rand::random();
        Self(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// SHA-256 of the secret: what is stored.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret()).into()
    }
}

/// An API key with its secret.
pub struct KeyText {
    /// Whether the ledger's money is real.
    pub mode: LedgerMode,
    /// The ledger.
    pub ledger: LedgerSlug,
    /// Which key.
    pub key: KeyId,
    /// The secret.
    pub secret: KeySecret,
}

impl KeyText {
    /// Reads what [`Self::expose`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("cfk_")?.splitn(4, '_');
        let mode = LedgerMode::parse(parts.next()?)?;
        let ledger = LedgerSlug::parse(parts.next()?).ok()?;
        let key = KeyId::parse(&format!("key_{}", parts.next()?))?;
        let secret = parts.next()?;
        let is_secret = URL_SAFE_NO_PAD.decode(secret).is_ok_and(|bytes| bytes.len() == SECRET_BYTES);
        is_secret.then(|| Self { mode, ledger, key, secret: KeySecret(secret.into()) })
    }

    /// The whole text, to be shown once.
    pub fn expose(&self) -> SecretString {
        let key = self.key.to_string();
        let digits = key.strip_prefix("key_").unwrap_or(&key);
        format!("cfk_{}_{}_{digits}_{}", self.mode.as_str(), self.ledger, self.secret.0.expose_secret())
            .into()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cfk_{}_{}_{}_…", self.mode.as_str(), self.ledger, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Position, Seed};

    fn key() -> KeyText {
        KeyText {
            mode: LedgerMode::Test,
            ledger: LedgerSlug::parse("my-shop").expect("valid"),
            key: KeyId::new(Position(7), 0, &Seed([1; 16])),
            secret: KeySecret::generate(),
        }
    }

    #[test]
    fn a_key_reads_back() {
        for _ in 0..50 {
            let key = key();
            let text = key.expose();
            assert!(text.expose_secret().starts_with("cfk_test_my-shop_"));
            let read = KeyText::parse(text.expose_secret()).expect("reads");
            assert_eq!((&read.ledger, read.key), (&key.ledger, key.key));
            assert_eq!(read.secret.hash(), key.secret.hash());
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let text = key().expose().expose_secret().to_owned();
        for wrong in [
            String::new(),
            "cfk_".to_owned(),
            text.replace("cfk_", "sk_"),
            text.replace("_test_", "_prod_"),
            text.replace("my-shop", "MY"),
            text[..text.len() - 1].to_owned(),
            format!("{text}A"),
            format!("{text}\0"),
        ] {
            assert!(KeyText::parse(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_key_never_shows_its_secret_by_accident() {
        let key = key();
        assert!(!format!("{key:?}").contains(key.secret.0.expose_secret()));
    }
}
