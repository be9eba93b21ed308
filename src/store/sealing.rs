//! Secrets as they lie in the database: encrypted, so that a copy of the database opens nothing.
//!
//! AES-256-GCM under a key that the database never sees. What is sealed is bound to its ledger and its purpose: moved to
//! another row, it opens no more.
//!
//! Invariants:
//! - neither keys nor secrets show in `Debug` output or in an error; a key is called by its id, which tells nothing of it;
//! - a secret says which key it is sealed under, so that a key that is missing is told from one that is wrong, and both
//!   from a secret that was tampered with;
//! - sealing uses the first key, opening any: that is how keys are replaced.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::{
    config::{KEY_ENCRYPTION_KEY, KEY_ENCRYPTION_KEY_PREVIOUS},
    domain::ids::LedgerId,
};

/// How long a key is, in bytes.
const KEY_LENGTH: usize = 32;
/// What is hashed before a key to make its id, so that the hash is of no use elsewhere.
const ID_CONTEXT: &[u8] = b"counterfoil key-encryption key\0";
/// How many bytes of the hash are the id.
const ID_LENGTH: usize = 8;

/// What a sealed secret is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Calls to Stripe.
    StripeApiKey,
    /// Signatures of Stripe's webhooks.
    WebhookSecret,
    /// Signatures of checkpoints.
    LogKey,
}

impl Purpose {
    /// A stable name, which is sealed with the secret.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StripeApiKey => "stripe_api_key",
            Self::WebhookSecret => "webhook_secret",
            Self::LogKey => "log_key",
        }
    }
}

/// What a key is called: 16 hexadecimal digits made from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealingKeyId(String);

impl SealingKeyId {
    /// Takes an id as it is stored.
    pub fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As it is stored and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(key: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(ID_CONTEXT).chain_update(key).finalize();
        Self(HEXLOWER.encode(&digest[..ID_LENGTH]))
    }
}

impl fmt::Display for SealingKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A secret that only a key opens.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key.
    pub key: SealingKeyId,
    /// Nonce, ciphertext, tag.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sealed under {}", self.key)
    }
}

struct SealingKey {
    id: SealingKeyId,
    key: RandomizedNonceKey,
}

/// The keys of this process, the one to seal with first. There may be none.
#[derive(Default)]
pub struct KeyRing(Vec<SealingKey>);

/// A key that is none. Quotes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{variable} has to be {KEY_LENGTH} random bytes in base64, as `openssl rand -base64 {KEY_LENGTH}` prints"
)]
pub struct NotAKey {
    /// Where it was given.
    pub variable: &'static str,
}

/// Nothing can be sealed without a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{KEY_ENCRYPTION_KEY} is not set, and without it no secret can be kept")]
pub struct NoKey;

/// Why a sealed secret does not open.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CannotOpen {
    /// This process has no key at all.
    #[error("a secret is sealed under the key {sealed_under}, and {KEY_ENCRYPTION_KEY} is not set")]
    NoKey {
        /// The key that opens it.
        sealed_under: SealingKeyId,
    },
    /// This process has other keys.
    #[error(
        "a secret is sealed under the key {sealed_under}, and neither {KEY_ENCRYPTION_KEY} ({current}) nor \
         {KEY_ENCRYPTION_KEY_PREVIOUS} is that one"
    )]
    OtherKey {
        /// The key that opens it.
        sealed_under: SealingKeyId,
        /// The key that this process seals with.
        current: SealingKeyId,
    },
    /// The key is right and the secret is not: it was changed, or is another ledger's.
    #[error("a sealed secret was changed, or belongs to another ledger")]
    Damaged,
}

impl CannotOpen {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey { .. } => "key_encryption_key_missing",
            Self::OtherKey { .. } => "key_encryption_key_wrong",
            Self::Damaged => "sealed_secret_damaged",
        }
    }
}

impl KeyRing {
    /// Reads the key to seal with, and older ones, separated by commas, that still open.
    ///
    /// # Errors
    /// [`NotAKey`], which names the variable.
    pub fn parse(current: Option<&SecretString>, previous: Option<&SecretString>) -> Result<Self, NotAKey> {
        let Some(current) = current.filter(|text| !text.expose_secret().trim().is_empty()) else {
            let has_more = previous.is_some_and(|text| !text.expose_secret().trim().is_empty());
            // Older keys alone would open and never seal: somebody has mixed up the two.
            return if has_more {
                Err(NotAKey { variable: KEY_ENCRYPTION_KEY })
            } else {
                Ok(Self::default())
            };
        };
        let mut keys = vec![key(current.expose_secret(), KEY_ENCRYPTION_KEY)?];
        for text in previous.map(ExposeSecret::expose_secret).unwrap_or_default().split(',') {
            if !text.trim().is_empty() {
                keys.push(key(text, KEY_ENCRYPTION_KEY_PREVIOUS)?);
            }
        }
        Ok(Self(keys))
    }

    /// The text of a new key, for who has none yet.
    pub fn generate() -> SecretString {
        SecretString::from(STANDARD.encode(rand::random::<[u8; KEY_LENGTH]>()))
    }

    /// The key that it seals with.
    pub fn current(&self) -> Option<&SealingKeyId> {
        self.0.first().map(|key| &key.id)
    }

    /// Seals a secret of a ledger.
    ///
    /// # Errors
    /// [`NoKey`] if there is none.
    pub fn seal(&self, purpose: Purpose, ledger: LedgerId, secret: &str) -> Result<Sealed, NoKey> {
        let key = self.0.first().ok_or(NoKey)?;
        let mut ciphertext = secret.as_bytes().to_vec();
        let nonce = key.key.seal_in_place_append_tag(context(purpose, ledger), &mut ciphertext);
        // Only a text of many gigabytes, or a system without randomness, is refused.
        let mut bytes = nonce.map_err(|_| NoKey)?.as_ref().to_vec();
        bytes.append(&mut ciphertext);
        Ok(Sealed { key: key.id.clone(), bytes })
    }

    /// Opens a secret of a ledger.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub fn open(
        &self,
        purpose: Purpose,
        ledger: LedgerId,
        sealed: &Sealed,
    ) -> Result<SecretString, CannotOpen> {
        let sealed_under = || sealed.key.clone();
        let current = self.current().ok_or_else(|| CannotOpen::NoKey { sealed_under: sealed_under() })?;
        let key = self
            .0
            .iter()
            .find(|key| key.id == sealed.key)
            .ok_or_else(|| CannotOpen::OtherKey { sealed_under: sealed_under(), current: current.clone() })?;
        let (nonce, ciphertext) = sealed.bytes.split_at_checked(NONCE_LEN).ok_or(CannotOpen::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotOpen::Damaged)?;
        let mut ciphertext = ciphertext.to_vec();
        let secret = key
            .key
            .open_in_place(nonce, context(purpose, ledger), &mut ciphertext)
            .map_err(|_| CannotOpen::Damaged)?;
        let secret = std::str::from_utf8(secret).map_err(|_| CannotOpen::Damaged)?;
        Ok(SecretString::from(secret))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

fn key(text: &str, variable: &'static str) -> Result<SealingKey, NotAKey> {
    let not_a_key = NotAKey { variable };
    let bytes = STANDARD.decode(text.trim()).map_err(|_| not_a_key)?;
    if bytes.len() != KEY_LENGTH {
        return Err(not_a_key);
    }
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| not_a_key)?;
    Ok(SealingKey { id: SealingKeyId::of(&bytes), key })
}

/// What a secret is bound to.
fn context(purpose: Purpose, ledger: LedgerId) -> Aad<Vec<u8>> {
    Aad::from(format!("counterfoil\0v1\0{}\0{ledger}", purpose.as_str()).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";
    const LEDGER: LedgerId = LedgerId(7);

    fn ring(current: &str, previous: &str) -> KeyRing {
        KeyRing::parse(Some(&current.into()), Some(&previous.into())).expect("keys")
    }

    fn seal(ring: &KeyRing) -> Sealed {
        ring.seal(Purpose::StripeApiKey, LEDGER, "sk_test_secret").expect("a key")
    }

    #[test]
    fn what_is_sealed_opens_under_the_same_key_and_is_different_each_time() {
        let ring = ring(OLD, "");
        let sealed = seal(&ring);
        let opened = ring.open(Purpose::StripeApiKey, LEDGER, &sealed).expect("it opens");
        assert_eq!(opened.expose_secret(), "sk_test_secret");
        assert_ne!(sealed.bytes, seal(&ring).bytes);
        assert!(!sealed.bytes.windows(6).any(|bytes| bytes == b"secret"));
    }

    #[test]
    fn it_opens_neither_elsewhere_nor_changed() {
        let ring = ring(OLD, "");
        let sealed = seal(&ring);
        let damaged = Err(CannotOpen::Damaged);
        let open = |purpose, ledger, sealed: &Sealed| ring.open(purpose, ledger, sealed).map(|_| ());
        assert_eq!(open(Purpose::WebhookSecret, LEDGER, &sealed), damaged);
        assert_eq!(open(Purpose::StripeApiKey, LedgerId(8), &sealed), damaged);
        for place in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[place] ^= 1;
            assert_eq!(open(Purpose::StripeApiKey, LEDGER, &changed), damaged, "byte {place}");
        }
        for length in [0, NONCE_LEN - 1, NONCE_LEN, NONCE_LEN + 15] {
            let short = Sealed { bytes: sealed.bytes[..length].to_vec(), ..sealed.clone() };
            assert_eq!(open(Purpose::StripeApiKey, LEDGER, &short), damaged, "{length} bytes");
        }
    }

    #[test]
    fn a_missing_key_is_told_from_a_wrong_one() {
        let sealed = seal(&ring(OLD, ""));
        let missing = KeyRing::default().open(Purpose::StripeApiKey, LEDGER, &sealed).expect_err("no key");
        assert_eq!(missing.code(), "key_encryption_key_missing");
        assert!(missing.to_string().contains("COUNTERFOIL_KEY_ENCRYPTION_KEY is not set"), "{missing}");
        let wrong = ring(NEW, "").open(Purpose::StripeApiKey, LEDGER, &sealed).expect_err("another key");
        assert_eq!(wrong.code(), "key_encryption_key_wrong");
        assert!(wrong.to_string().contains(sealed.key.as_str()), "{wrong}");
    }

    #[test]
    fn an_older_key_still_opens_and_the_new_one_seals() {
        let sealed = seal(&ring(OLD, ""));
        let both = ring(NEW, &format!(" {OLD},"));
        assert!(both.open(Purpose::StripeApiKey, LEDGER, &sealed).is_ok());
        assert_eq!(both.current(), ring(NEW, "").current());
        assert_ne!(seal(&both).key, sealed.key);
    }

    #[test]
    fn what_is_no_key_is_refused_by_the_name_of_its_variable() {
        let short = STANDARD.encode([1; 31]);
        for text in ["no base64!", "AAAA", short.as_str()] {
            let refused = KeyRing::parse(Some(&text.into()), None).expect_err(text);
            assert_eq!(refused.variable, "COUNTERFOIL_KEY_ENCRYPTION_KEY");
            assert!(!refused.to_string().contains(text));
            let refused = KeyRing::parse(Some(&OLD.into()), Some(&text.into())).expect_err(text);
            assert_eq!(refused.variable, "COUNTERFOIL_KEY_ENCRYPTION_KEY_PREVIOUS");
        }
        assert!(KeyRing::parse(None, Some(&OLD.into())).is_err());
        assert_eq!(KeyRing::parse(Some(&"".into()), None).expect("none").current(), None);
    }

    #[test]
    fn a_new_key_is_a_key_and_another_each_time() {
        let ids = [KeyRing::generate(), KeyRing::generate()]
            .map(|text| KeyRing::parse(Some(&text), None).expect("a key").current().cloned());
        assert!(ids[0].is_some() && ids[0] != ids[1]);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let ring = ring(OLD, NEW);
        let shown = format!("{ring:?} {:?}", seal(&ring));
        assert!(!shown.contains("AAEC") && !shown.contains("sk_test"), "{shown}");
    }
}
