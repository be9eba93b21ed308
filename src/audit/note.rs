//! Signed notes by [C2SP signed-note](https://c2sp.org/signed-note), with Ed25519 keys.
//!
//! A note is a text of whole lines, an empty line, and one line for each signature. A key has a name, and an id that is
//! made of name and key.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// How signatures of this kind are marked.
const ED25519_TYPE: u8 = 1;
const SIGNATURE_LENGTH: usize = 64;
/// What a signature's line begins with.
const SIGNATURE_MARK: &str = "\u{2014} ";
/// How long a note may be that somebody else made.
const LONGEST_NOTE: usize = 64 * 1024;
const MOST_SIGNATURES: usize = 64;

/// A key that verifies notes: `<name>+<id>+<base64>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

/// A key that signs notes.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

/// What a signer is made of: 32 random bytes in base64.
pub struct Seed(SecretString);

/// A text that is no verifier key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAVerifierKey {
    /// Another form altogether.
    #[error("a verifier key has the form <name>+<8 hexadecimal digits>+<base64>")]
    Form,
    /// Not Ed25519.
    #[error("the verifier key is of a kind that is not known here: only Ed25519 is")]
    Kind,
    /// Somebody mistyped it.
    #[error("the id in the verifier key is not that of its name and key: was it copied whole?")]
    Id,
}

/// Why a note is not accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// Not a note at all.
    #[error("it is not a signed note")]
    Form,
    /// A signature by a key that is known is wrong.
    #[error("the signature by {key} is wrong")]
    WrongSignature {
        /// The key.
        key: String,
    },
    /// No signature is by a key that is known.
    #[error("none of its signatures is by a key that is known; they are by {}", of(signed_by))]
    UnknownKeys {
        /// Name and id of the keys that signed.
        signed_by: Vec<String>,
    },
}

fn of(keys: &[String]) -> String {
    if keys.is_empty() { "nobody".into() } else { keys.join(", ") }
}

/// Whether a key may have that name.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|character: char| character == '+' || character.is_whitespace())
}

impl VerifierKey {
    /// The key with those bytes.
    pub fn new(name: &str, public: [u8; 32]) -> Option<Self> {
        is_key_name(name).then(|| Self { name: name.to_owned(), public })
    }

    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`NotAVerifierKey`].
    pub fn parse(text: &str) -> Result<Self, NotAVerifierKey> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAVerifierKey::Form);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NotAVerifierKey::Form)?;
        let (kind, public) = bytes.split_first().ok_or(NotAVerifierKey::Form)?;
        if *kind != ED25519_TYPE {
            return Err(NotAVerifierKey::Kind);
        }
        let public = public.try_into().map_err(|_| NotAVerifierKey::Form)?;
        let key = Self::new(name, public).ok_or(NotAVerifierKey::Form)?;
        if key.id_text() == id { Ok(key) } else { Err(NotAVerifierKey::Id) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What signatures by it are recognised by: 8 hexadecimal digits.
    pub fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519_TYPE])
            .chain_update(self.public)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    fn is_signed(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(text.as_bytes(), signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        write!(formatter, "{}+{}+{}", self.name, self.id_text(), STANDARD.encode(key))
    }
}

impl Seed {
    /// The seed of those bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(SecretString::from(STANDARD.encode(bytes)))
    }

    /// Takes a seed as it was kept.
    pub fn kept(text: SecretString) -> Self {
        Self(text)
    }

    /// As it is to be kept.
    pub fn to_keep(&self) -> &SecretString {
        &self.0
    }

    /// The public key that belongs to it; none if it is no seed.
    pub fn public_key(&self) -> Option<[u8; 32]> {
        self.pair()?.public_key().as_ref().try_into().ok()
    }

    fn pair(&self) -> Option<Ed25519KeyPair> {
        let bytes = STANDARD.decode(self.0.expose_secret()).ok()?;
        Ed25519KeyPair::from_seed_unchecked(&bytes).ok()
    }
}

impl Signer {
    /// The signer of that name; none if it is no name, or no seed.
    pub fn new(name: &str, seed: &Seed) -> Option<Self> {
        let (pair, public) = (seed.pair()?, seed.public_key()?);
        Some(Self { pair, key: VerifierKey::new(name, public)? })
    }

    /// The key that verifies what it signs.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    fn line(&self, text: &str) -> String {
        let mut signature = self.key.id().to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{SIGNATURE_MARK}{} {}\n", self.key.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "signer of {}", self.key)
    }
}

/// Signs a text that ends with the end of a line.
pub fn sign(text: &str, signers: &[Signer]) -> String {
    let lines: String = signers.iter().map(|signer| signer.line(text)).collect();
    format!("{text}\n{lines}")
}

/// The text of a note, if one of `keys` has signed it, and those of them that have. Signatures by other keys do not
/// count, and do not harm; a wrong one by a known key does.
///
/// # Errors
/// [`NoteError`].
pub fn open<'note, 'keys>(
    note: &'note str,
    keys: &'keys [VerifierKey],
) -> Result<(&'note str, Vec<&'keys VerifierKey>), NoteError> {
    let is_control = |character: char| character < ' ' && character != '\n';
    if note.len() > LONGEST_NOTE || note.contains(is_control) {
        return Err(NoteError::Form);
    }
    // The text may hold empty lines: signatures stand behind the last one.
    let end = note.rfind("\n\n").ok_or(NoteError::Form)?;
    let (text, lines) = (&note[..=end], &note[end + 2..]);
    let lines: Vec<&str> = lines.strip_suffix('\n').ok_or(NoteError::Form)?.split('\n').collect();
    if lines.len() > MOST_SIGNATURES {
        return Err(NoteError::Form);
    }
    let (mut signed_by, mut known) = (Vec::new(), Vec::new());
    for line in lines {
        let (name, signature) = line
            .strip_prefix(SIGNATURE_MARK)
            .and_then(|rest| rest.split_once(' '))
            .filter(|(name, _)| is_key_name(name))
            .ok_or(NoteError::Form)?;
        let signature = STANDARD.decode(signature).map_err(|_| NoteError::Form)?;
        let (id, signature) = signature.split_first_chunk::<4>().ok_or(NoteError::Form)?;
        if signature.is_empty() {
            return Err(NoteError::Form);
        }
        signed_by.push(format!("{name} ({:08x})", u32::from_be_bytes(*id)));
        let Some(key) = keys.iter().find(|key| key.name == name && key.id() == *id) else { continue };
        if signature.len() != SIGNATURE_LENGTH || !key.is_signed(text, signature) {
            return Err(NoteError::WrongSignature { key: format!("{name} ({})", key.id_text()) });
        }
        if !known.contains(&key) {
            known.push(key);
        }
    }
    if known.is_empty() { Err(NoteError::UnknownKeys { signed_by }) } else { Ok((text, known)) }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::audit) fn signer(name: &str, byte: u8) -> Signer {
        Signer::new(name, &Seed::new(&[byte; 32])).expect("a signer")
    }

    /// From the documentation of the implementation in Go, by which the format was specified.
    const PUBLISHED_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PUBLISHED_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_published_note_opens_with_its_published_key() {
        let key = VerifierKey::parse(PUBLISHED_KEY).expect("a key");
        assert_eq!(key.to_string(), PUBLISHED_KEY);
        let keys = [key];
        let (text, known) = open(PUBLISHED_NOTE, &keys).expect("it opens");
        assert!(text.starts_with("If you think") && text.ends_with("problem is.\n"));
        assert_eq!(known, [&keys[0]]);
    }

    #[test]
    fn both_signatures_count_while_two_keys_sign() {
        let signers = [signer("log", 1), signer("log", 2)];
        let keys = signers.each_ref().map(|signer| signer.verifier_key().clone());
        let note = sign("one\n\ntwo\n", &signers);
        for key in &keys {
            let known = std::slice::from_ref(key);
            assert_eq!(open(&note, known), Ok(("one\n\ntwo\n", vec![key])));
        }
        assert_eq!(open(&note, &keys), Ok(("one\n\ntwo\n", keys.iter().collect())));
        let stranger = signer("log", 3).key;
        let Err(NoteError::UnknownKeys { signed_by }) = open(&note, &[stranger]) else { panic!("opened") };
        assert_eq!(signed_by.len(), 2);
    }

    #[test]
    fn a_changed_text_or_signature_does_not_open() {
        let signer = signer("log", 1);
        let keys = [signer.key.clone()];
        let note = sign("amount 10\n", &[signer]);
        let wrong = note.replace("10", "11");
        assert!(matches!(open(&wrong, &keys), Err(NoteError::WrongSignature { .. })));
        for wrong in [
            "",
            "\n\n",
            "text\n",
            "text\n\n",
            "a\n\nb\n",
            "a\n\n\u{2014} log AAAA\n",
            "a\n\n\u{2014} log !\n",
        ] {
            assert_eq!(open(wrong, &keys), Err(NoteError::Form), "{wrong:?}");
        }
        assert_eq!(open(&note.replace('\n', "\r\n"), &keys), Err(NoteError::Form));
        assert_eq!(open(note.trim_end(), &keys), Err(NoteError::Form));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = signer("log", 1).key.to_string();
        let (name, rest) = key.split_once('+').expect("a name");
        assert_eq!(name, "log");
        let other_kind = STANDARD.encode([[2].as_slice(), &[0; 32]].concat());
        for (text, error) in [
            ("log".to_owned(), NotAVerifierKey::Form),
            (format!("+{rest}"), NotAVerifierKey::Form),
            (format!("a b+{rest}"), NotAVerifierKey::Form),
            (key.replace("log", "lag"), NotAVerifierKey::Id),
            (key[..key.len() - 4].to_owned(), NotAVerifierKey::Form),
            (format!("log+00000000+{other_kind}"), NotAVerifierKey::Kind),
        ] {
            assert_eq!(VerifierKey::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_seed_that_was_kept_signs_the_same_and_shows_nothing() {
        let seed = Seed::new(&[7; 32]);
        let kept = Seed::kept(seed.to_keep().clone());
        assert_eq!(kept.public_key(), seed.public_key());
        assert!(Signer::new("log", &Seed::kept("AAAA".into())).is_none());
        assert!(Signer::new("a name", &seed).is_none());
        assert!(!format!("{:?}", signer("log", 7)).contains(seed.to_keep().expose_secret()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(note in "(\u{2014} |log|[a-zA-Z0-9+/= \n]){0,60}") {
            let _ = open(&note, &[signer("log", 1).key]);
        }
    }
}
