//! The secret that our calls to Stripe are authorised with, and where they go.
//!
//! Invariants:
//! - the text of a key shows in no `Debug` output and in no message; [`ApiKey::hint`] is what people are shown;
//! - a key of real money never travels unencrypted.

use std::fmt;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::settings::LedgerMode;

/// What keys that may call Stripe's API begin with, and the mode that they are of.
const PREFIXES: [(&str, LedgerMode); 4] = [
    ("sk_test_", LedgerMode::Test),
    ("rk_test_", LedgerMode::Test),
    ("sk_live_", LedgerMode::Live),
    ("rk_live_", LedgerMode::Live),
];

/// How much of a key's end people are shown, as Stripe's own dashboard does.
const HINT_LENGTH: usize = 4;

/// The longest key that is taken, in characters; Stripe's are a third as long.
const LONGEST_KEY: usize = 255;

/// A secret or restricted API key of Stripe.
#[derive(Clone, Debug)]
pub struct ApiKey {
    text: SecretString,
    prefix: &'static str,
    mode: LedgerMode,
}

/// Why a text is no API key that could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnApiKey {
    /// It begins otherwise.
    #[error("an API key of Stripe begins with `sk_test_`, `rk_test_`, `sk_live_` or `rk_live_`")]
    Prefix,
    /// It is the key that browsers get.
    #[error(
        "this is a publishable key, `pk_…`, which may not make checkouts; the secret one begins with `sk_`"
    )]
    Publishable,
    /// It is something else that Stripe gives out.
    #[error("this is the signing secret of a webhook endpoint, `whsec_…`, not an API key")]
    SigningSecret,
    /// What follows is not a key's.
    #[error("an API key of Stripe goes on with letters, digits and underscores")]
    Characters,
}

impl ApiKey {
    /// Takes a key as Stripe shows it.
    ///
    /// # Errors
    /// [`NotAnApiKey`], which quotes nothing of the text.
    pub fn parse(text: &str) -> Result<Self, NotAnApiKey> {
        if text.starts_with("pk_") {
            return Err(NotAnApiKey::Publishable);
        }
        if text.starts_with("whsec_") {
            return Err(NotAnApiKey::SigningSecret);
        }
        let known = PREFIXES.into_iter().find(|(prefix, _)| text.starts_with(prefix));
        let (prefix, mode) = known.ok_or(NotAnApiKey::Prefix)?;
        let rest = &text[prefix.len()..];
        let is_key = !rest.is_empty()
            && text.len() <= LONGEST_KEY
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_key.then_some(()).ok_or(NotAnApiKey::Characters)?;
        Ok(Self { text: SecretString::from(text), prefix, mode })
    }

    /// Whether it moves real money.
    pub fn mode(&self) -> LedgerMode {
        self.mode
    }

    /// Enough to recognise it by: how it begins and, if there is more that stays hidden, how it ends.
    pub fn hint(&self) -> String {
        let text = self.expose();
        let rest = &text[self.prefix.len()..];
        let end = if rest.len() > 2 * HINT_LENGTH { &rest[rest.len() - HINT_LENGTH..] } else { "" };
        format!("{}…{end}", self.prefix)
    }

    /// The whole text, to be sealed or sent.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

/// Where Stripe's API is: `https://api.stripe.com`, or something that speaks as it does.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why an address is none that calls can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABaseUrl {
    /// It is no address, or has parts that mean nothing here.
    #[error("expected https://host or https://host/path, without a query and without a password")]
    Form,
    /// Whoever listens could take the key and with it the money.
    #[error("a live key is sent to https addresses only")]
    LiveUnencrypted,
}

impl BaseUrl {
    /// Stripe itself.
    const STRIPE: &str = "https://api.stripe.com";

    /// Reads an address that calls with a key of `mode` go to.
    ///
    /// # Errors
    /// [`NotABaseUrl`].
    pub fn parse(text: &str, mode: LedgerMode) -> Result<Self, NotABaseUrl> {
        let url = Url::parse(text).map_err(|_| NotABaseUrl::Form)?;
        let is_plain = url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        match (is_plain, url.scheme(), mode) {
            (true, "https", _) | (true, "http", LedgerMode::Test) => Ok(Self(url)),
            (true, "http", LedgerMode::Live) => Err(NotABaseUrl::LiveUnencrypted),
            _ => Err(NotABaseUrl::Form),
        }
    }

    /// The whole address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// Scheme, host and port, unless it is Stripe itself.
    pub fn elsewhere(&self) -> Option<String> {
        (self.as_str() != Self::STRIPE).then(|| self.0.origin().ascii_serialization())
    }

    /// Whether it is an address of this machine.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.0.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
    }

    /// The address of `path` itself.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }

    /// The address of what Stripe calls `/v1<path>`.
    pub(super) fn join(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.0.clone();
        let before = url.path().trim_end_matches('/');
        let path = format!("{before}/v1{path}");
        url.set_path(&path);
        url.set_query(query);
        url
    }
}

impl Default for BaseUrl {
    #[expect(clippy::expect_used, reason = "a constant, tried by a test")]
    fn default() -> Self {
        Self(Url::parse(Self::STRIPE).expect("the address of Stripe's API"))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_its_mode_and_hides_its_text() {
        for (text, mode, hint) in [
            ("sk_test_51HqXyZabcdWXYZ", LedgerMode::Test, "sk_test_…WXYZ"),
            ("rk_test_51HqXyZabcdWXYZ", LedgerMode::Test, "rk_test_…WXYZ"),
            ("sk_live_51HqXyZabcdWXYZ", LedgerMode::Live, "sk_live_…WXYZ"),
            ("rk_live_51HqXyZabcdWXYZ", LedgerMode::Live, "rk_live_…WXYZ"),
            ("sk_test_short", LedgerMode::Test, "sk_test_…"),
        ] {
            let key = ApiKey::parse(text).expect(text);
            assert_eq!((key.mode(), key.hint().as_str()), (mode, hint));
            assert!(!format!("{key:?}").contains(&text["sk_test_".len()..]), "{key:?}");
        }
    }

    #[test]
    fn what_is_no_api_key_is_told_apart() {
        for (text, expected) in [
            ("pk_test_abc", NotAnApiKey::Publishable),
            ("whsec_abc", NotAnApiKey::SigningSecret),
            ("", NotAnApiKey::Prefix),
            ("sk_abc", NotAnApiKey::Prefix),
            ("sk_test_", NotAnApiKey::Characters),
            ("sk_test_a b", NotAnApiKey::Characters),
            ("sk_test_abc\n", NotAnApiKey::Characters),
        ] {
            assert_eq!(ApiKey::parse(text).expect_err(text), expected, "{text}");
        }
        assert!(ApiKey::parse(&format!("sk_test_{}", "a".repeat(300))).is_err());
    }

    #[test]
    fn an_address_is_taken_if_the_key_is_safe_on_the_way() {
        let read = |text, mode| BaseUrl::parse(text, mode).map(|url| url.to_string());
        assert_eq!(
            read("http://127.0.0.1:12111/", LedgerMode::Test),
            Ok("http://127.0.0.1:12111".to_owned())
        );
        assert_eq!(read("http://127.0.0.1:12111", LedgerMode::Live), Err(NotABaseUrl::LiveUnencrypted));
        assert_eq!(
            read("https://proxy.test/stripe", LedgerMode::Live),
            Ok("https://proxy.test/stripe".to_owned())
        );
        for text in
            ["", "api.stripe.com", "ftp://a", "https://u:p@a", "https://a?b=c", "https://a#b", "file:///a"]
        {
            assert_eq!(read(text, LedgerMode::Test), Err(NotABaseUrl::Form), "{text}");
        }
    }

    #[test]
    fn paths_are_put_behind_the_address() {
        assert_eq!(BaseUrl::default().join("/refunds", None).as_str(), "https://api.stripe.com/v1/refunds");
        let behind = BaseUrl::parse("http://localhost:1/stripe/", LedgerMode::Test).expect("an address");
        let url = behind.join("/prices", Some("limit=1"));
        assert_eq!(url.as_str(), "http://localhost:1/stripe/v1/prices?limit=1");
    }
}
