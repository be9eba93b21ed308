//! The `Stripe-Signature` header: proof that a webhook body was sent by Stripe, and recently.
//!
//! The header lists a time and signatures, `t=1700000000,v1=<hex>,v1=<hex>,v0=<hex>`. Each `v1` is the
//! HMAC-SHA256, keyed with a whole `whsec_…` secret, of `"<t>."` followed by the body.
//!
//! Invariants:
//! - the signature is checked over the bytes as they arrived; nothing is parsed before;
//! - while a secret is being replaced Stripe signs with both, so any `v1` may match any secret;
//! - schemes other than `v1`, and signatures of another length, prove nothing and are passed over;
//! - comparison takes the same time whatever the bytes are;
//! - a secret never shows in `Debug` output.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How far, in seconds, the signed time may lie from ours, before or after.
pub const TOLERANCE_SECONDS: u64 = 300;

/// What every signing secret of Stripe begins with.
const SECRET_PREFIX: &str = "whsec_";

/// A SHA-256 HMAC, in bytes.
const DIGEST_LENGTH: usize = 32;

/// The secret of one webhook endpoint, `whsec_…`.
#[derive(Clone, Debug)]
pub struct SigningSecret(SecretString);

/// Why a text is no signing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook signing secret begins with `whsec_` and goes on with letters and digits")]
pub struct NotASecret;

impl SigningSecret {
    /// Takes the secret as Stripe shows it.
    ///
    /// # Errors
    /// [`NotASecret`] if it does not look like one; an API key pasted by mistake is caught here.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let rest = text.strip_prefix(SECRET_PREFIX).ok_or(NotASecret)?;
        if rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotASecret);
        }
        Ok(Self(SecretString::from(text)))
    }

    /// A new secret, for a ledger that Stripe does not sign for.
    pub fn generate() -> Self {
        Self(SecretString::from(format!("{SECRET_PREFIX}{:032x}", rand::random::<u128>())))
    }

    /// The whole text, to be stored or shown to whoever has to sign with it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Why a webhook was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature at all.
    #[error("there is no Stripe-Signature header")]
    Missing,
    /// The header is not a list of `name=value` with one time and at least one `v1`.
    #[error("the Stripe-Signature header cannot be read")]
    Malformed,
    /// The signed time is too long ago or too far ahead: a replay, or a wrong clock.
    #[error("the signed time lies more than {TOLERANCE_SECONDS} seconds from now")]
    OutsideTolerance,
    /// No signature belongs to this body and any of the secrets.
    #[error("no signature matches")]
    NoMatch,
}

impl SignatureError {
    /// A stable name for metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::OutsideTolerance => "outside_tolerance",
            Self::NoMatch => "no_match",
        }
    }
}

/// Checks that `body` was signed with one of `secrets` at a time close to `now` (seconds since 1970).
///
/// # Errors
/// Says why not; nothing in `body` may be used then.
pub fn verify(header: &str, body: &[u8], secrets: &[SigningSecret], now: i64) -> Result<(), SignatureError> {
    let Header { timestamp, signatures } = Header::parse(header)?;
    if now.abs_diff(timestamp) > TOLERANCE_SECONDS {
        return Err(SignatureError::OutsideTolerance);
    }
    let matches = secrets.iter().any(|secret| {
        let expected = digest(secret, timestamp, body);
        signatures.iter().any(|signature| bool::from(signature.ct_eq(&expected)))
    });
    if matches { Ok(()) } else { Err(SignatureError::NoMatch) }
}

/// The header that Stripe would send with `body` at `timestamp` (seconds since 1970).
#[must_use]
pub fn sign(body: &[u8], secret: &SigningSecret, timestamp: i64) -> String {
    format!("t={timestamp},v1={}", HEXLOWER.encode(&digest(secret, timestamp, body)))
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length: the error cannot occur")]
fn digest(secret: &SigningSecret, timestamp: i64, body: &[u8]) -> [u8; DIGEST_LENGTH] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.0.expose_secret().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

struct Header {
    timestamp: i64,
    signatures: Vec<[u8; DIGEST_LENGTH]>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, SignatureError> {
        let mut timestamp = None;
        let mut signatures = Vec::new();
        for item in text.split(',') {
            let (scheme, value) = item.trim().split_once('=').ok_or(SignatureError::Malformed)?;
            match scheme {
                "t" if timestamp.is_none() => {
                    timestamp = Some(value.parse().map_err(|_| SignatureError::Malformed)?);
                }
                // With two times it would be open which of them was signed.
                "t" => return Err(SignatureError::Malformed),
                "v1" => signatures.extend(from_hex(value)),
                _ => {}
            }
        }
        match timestamp {
            Some(timestamp) if !signatures.is_empty() => Ok(Self { timestamp, signatures }),
            _ => Err(SignatureError::Malformed),
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; DIGEST_LENGTH]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;
    const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(text).expect("a secret")
    }

    fn v1(header: &str) -> &str {
        header.split_once(",v1=").expect("a signature").1
    }

    #[test]
    fn a_known_vector_is_reproduced() {
        // Computed with: printf '%s' '1700000000.{"id":"evt_1","object":"event"}' |
        //   openssl dgst -sha256 -hmac whsec_vector
        assert_eq!(sign(BODY, &secret("whsec_vector"), NOW), VECTOR);
    }

    const VECTOR: &str = "t=1700000000,v1=054fb216ec215036ac666fdcd7b515d9e87d75ea9803c1d5e36b049f004192ec";

    #[test]
    fn what_was_signed_is_accepted() {
        let header = sign(BODY, &secret("whsec_a"), NOW);
        assert_eq!(verify(&header, BODY, &[secret("whsec_a")], NOW), Ok(()));
    }

    #[test]
    fn any_signature_may_match_any_secret() {
        let (old, new) = (secret("whsec_old"), secret("whsec_new"));
        let by_old = sign(BODY, &old, NOW);
        let by_new = sign(BODY, &new, NOW);
        let both = format!("{by_old},v1={}", v1(&by_new));
        assert_eq!(verify(&both, BODY, std::slice::from_ref(&new), NOW), Ok(()));
        assert_eq!(verify(&both, BODY, std::slice::from_ref(&old), NOW), Ok(()));
        assert_eq!(verify(&by_old, BODY, &[new, old], NOW), Ok(()));
    }

    #[test]
    fn what_is_no_v1_signature_is_passed_over_and_proves_nothing() {
        let secrets = [secret("whsec_a")];
        let header = sign(BODY, &secrets[0], NOW);
        let with_others = format!("v0=zz,v9=,v1=zz,{header}");
        assert_eq!(verify(&with_others, BODY, &secrets, NOW), Ok(()));
        let only_v0 = header.replace("v1=", "v0=");
        assert_eq!(verify(&only_v0, BODY, &secrets, NOW), Err(SignatureError::Malformed));
    }

    #[test]
    fn a_changed_body_time_or_secret_is_refused() {
        let secrets = [secret("whsec_a")];
        let header = sign(BODY, &secrets[0], NOW);
        let refused = Err(SignatureError::NoMatch);
        assert_eq!(verify(&header, b"{}", &secrets, NOW), refused);
        assert_eq!(verify(&header.replace("t=17", "t=16"), BODY, &secrets, NOW - 100_000_000), refused);
        assert_eq!(verify(&header, BODY, &[secret("whsec_b")], NOW), refused);
        assert_eq!(verify(&header, BODY, &[], NOW), refused);
    }

    #[test]
    fn the_time_may_lie_five_minutes_off_either_way() {
        let secrets = [secret("whsec_a")];
        let header = sign(BODY, &secrets[0], NOW);
        for (seconds_off, expected) in [
            (-301, Err(SignatureError::OutsideTolerance)),
            (-300, Ok(())),
            (300, Ok(())),
            (301, Err(SignatureError::OutsideTolerance)),
        ] {
            assert_eq!(verify(&header, BODY, &secrets, NOW + seconds_off), expected, "{seconds_off} s");
        }
        assert_eq!(
            verify(&sign(BODY, &secrets[0], i64::MIN), BODY, &secrets, i64::MAX),
            Err(SignatureError::OutsideTolerance)
        );
    }

    #[test]
    fn a_header_that_cannot_be_read_is_refused() {
        let good = sign(BODY, &secret("whsec_a"), NOW);
        let signature = v1(&good);
        for header in [
            String::new(),
            "nonsense".to_owned(),
            "t=1700000000".to_owned(),
            format!("v1={signature}"),
            format!("t=,v1={signature}"),
            format!("t=1e9,v1={signature}"),
            format!("t={NOW},v1={}", &signature[1..]),
            format!("t={NOW},v1=g{}", &signature[1..]),
            format!("t={NOW},t={NOW},v1={signature}"),
            format!("t=99999999999999999999,v1={signature}"),
        ] {
            assert_eq!(
                verify(&header, BODY, &[secret("whsec_a")], NOW),
                Err(SignatureError::Malformed),
                "{header}"
            );
        }
    }

    #[test]
    fn only_a_signing_secret_is_taken_for_one_and_it_stays_hidden() {
        for text in ["", "whsec_", "sk_test_1", "whsec_ a", "whsec_\u{e4}"] {
            assert!(SigningSecret::parse(text).is_err(), "{text}");
        }
        assert!(!format!("{:?}", secret("whsec_visible")).contains("visible"));
    }
}
