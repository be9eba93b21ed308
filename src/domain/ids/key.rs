//! The names under which commands happen once.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::InvalidName;

/// Who a key belongs to. Namespaces never meet: a client cannot occupy a key of Stripe's facts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// The `Idempotency-Key` of a client.
    Client,
    /// A business fact that Stripe reported, e.g. `checkout_session:cs_…`.
    Stripe,
    /// Our own workers.
    System,
}

impl Namespace {
    /// The name as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Stripe => "stripe",
            Self::System => "system",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Client, Self::Stripe, Self::System].into_iter().find(|namespace| namespace.as_str() == text)
    }
}

/// What makes a command happen once: unique in its ledger and namespace for ever, whatever the command. Its hash is made
/// with it, by whoever submits: the writer asks for it several times.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Whose key it is.
    pub namespace: Namespace,
    text: Box<str>,
    hash: [u8; 16],
}

impl Key {
    /// A key of 1 to 255 printable ASCII characters.
    ///
    /// # Errors
    /// [`InvalidName`] for any other text.
    pub fn new(namespace: Namespace, text: &str) -> Result<Self, InvalidName> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            Ok(Self { namespace, text: text.into(), hash: hash(namespace, text) })
        } else {
            Err(InvalidName { expected: "1 to 255 printable ASCII characters" })
        }
    }

    /// The key's text without its namespace.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first 16 bytes of SHA-256 over namespace, `:` and text: what the unique index holds.
    pub fn hash(&self) -> [u8; 16] {
        self.hash
    }
}

fn hash(namespace: Namespace, text: &str) -> [u8; 16] {
    let mut hasher = Sha256::new();
    hasher.update(namespace.as_str());
    hasher.update(b":");
    hasher.update(text.as_bytes());
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize()[..16]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_keep_equal_texts_apart() {
        let of = |namespace| Key::new(namespace, "checkout_session:cs_1").expect("valid").hash();
        assert_ne!(of(Namespace::Client), of(Namespace::Stripe));
        assert_ne!(of(Namespace::Stripe), of(Namespace::System));
        for namespace in [Namespace::Client, Namespace::Stripe, Namespace::System] {
            assert_eq!(Namespace::parse(namespace.as_str()), Some(namespace));
        }
        assert_eq!(Namespace::parse("other"), None);
    }

    #[test]
    fn keys_are_printable_and_bounded() {
        let key = |text: &str| Key::new(Namespace::Client, text);
        assert_eq!(key("a b~").map(|key| key.text().to_owned()), Ok("a b~".to_owned()));
        assert!(key(&"k".repeat(255)).is_ok());
        assert!(key(&"k".repeat(256)).is_err());
        assert!(key("").is_err());
        assert!(key("tab\t").is_err());
        assert!(key("del\x7f").is_err());
        assert!(key("é").is_err());
    }
}
