//! The names of things: parsed once at the edge, valid ever after.
//!
//! Public ids carry the position of the event that made the thing, so that it is found by primary key, and a random part,
//! so that no id can be guessed or come twice if history is lost.

#[macro_use]
mod bits;
mod key;
mod random;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

pub use key::{Key, Namespace};
pub use random::{EffectId, FindingId, ReconciliationId};

/// The place of an event in its ledger: 1, 2, 3 … without gaps, in commit order. 0 is before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Position(pub i64);

impl Position {
    /// The position after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An account inside of its ledger: the position of its `account.opened`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AccountNumber(pub i64);

/// A ledger inside of its database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerId(pub i64);

macro_rules! plain_number {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }
    )*};
}
plain_number!(Position AccountNumber LedgerId);

/// A text that is not what its type asks for; says what was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{expected}")]
pub struct InvalidName {
    /// What a valid value looks like, for people.
    pub expected: &'static str,
}

macro_rules! text_name {
    ($(#[doc = $doc:literal])* $name:ident, $valid:expr, $expected:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// What a valid value looks like, for people.
            pub const EXPECTED: &'static str = $expected;

            /// Parses the text.
            ///
            /// # Errors
            /// [`InvalidName`] if it is not what [`Self::EXPECTED`] says.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                let is_valid: fn(&str) -> bool = $valid;
                if is_valid(text) { Ok(Self(text.into())) } else { Err(InvalidName { expected: $expected }) }
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(D::Error::custom)
            }
        }
    };
}

/// Whether `text` has 1 to `longest` characters, all of them ASCII letters, digits or one of `others`.
fn is_token(text: &str, longest: usize, others: &[u8]) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

/// Whether whoever reads an address takes the text for a step in it, and not for a name (RFC 3986, 5.2.4).
fn is_a_step(text: &str) -> bool {
    matches!(text, "." | "..")
}

/// Whether `text` is a lower-case token that begins with a letter.
fn is_lower_token(text: &str, longest: usize, others: &[u8]) -> bool {
    is_token(text, longest, others)
        && text.as_bytes()[0].is_ascii_lowercase()
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

text_name!(
    /// The client's own name of an account.
    AccountId,
    |text| is_token(text, 128, b"._:@-") && !is_a_step(text),
    "1 to 128 characters of A-Z a-z 0-9 . _ : @ -, and not `.` or `..`"
);
text_name!(
    /// What is counted, e.g. `credits`.
    Unit,
    |text| is_lower_token(text, 32, b"_"),
    "1 to 32 characters of a-z 0-9 _, beginning with a letter"
);
text_name!(
    /// A named thing that costs credits, e.g. `resume_analysis`.
    FeatureKey,
    |text| is_lower_token(text, 64, b"_.-"),
    "1 to 64 characters of a-z 0-9 _ . -, beginning with a letter"
);
text_name!(
    /// A price by its Stripe id, e.g. `price_demo_pro`.
    PriceId,
    |text| is_token(text, 128, b"._-") && !is_a_step(text),
    "1 to 128 characters of A-Z a-z 0-9 . _ -, and not `.` or `..`"
);
text_name!(
    /// A ledger's name in addresses and keys.
    LedgerSlug,
    |text| is_lower_token(text, 32, b"-"),
    "1 to 32 characters of a-z 0-9 -, beginning with a letter"
);
text_name!(
    /// An id that Stripe gave: `cs_…`, `pi_…`, `re_…`, `ch_…`, `dp_…`.
    StripeId,
    |text| is_token(text, 255, b"_-"),
    "1 to 255 characters of A-Z a-z 0-9 _ -"
);
text_name!(
    /// The id of one HTTP request, as it appears in logs.
    RequestId,
    |text| is_token(text, 128, b"._-"),
    "1 to 128 characters of A-Z a-z 0-9 . _ -"
);

impl RequestId {
    /// An id of our own, for a request that came with none.
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("req_{bits:032x}").into())
    }
}

/// What an erased account is called from then on, followed by its number; nobody else may be called so.
const ERASED_PREFIX: &str = "erased:";

impl AccountId {
    /// What the account is called once its holder has been erased.
    pub fn erased(account: AccountNumber) -> Self {
        Self(format!("{ERASED_PREFIX}{account}").into())
    }

    /// Whether only an erased account may be called so.
    pub fn is_erased(&self) -> bool {
        self.as_str().starts_with(ERASED_PREFIX)
    }
}

/// Which payment a fact is about: Stripe's payment intent, or a payment that reached us outside of Stripe.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentReference {
    /// A Stripe payment intent, `pi_…`.
    Stripe(StripeId),
    /// Paid outside of Stripe: named by the one purchase that it paid.
    External(PurchaseId),
}

impl PaymentReference {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        match PurchaseId::parse(text) {
            Some(purchase) => Some(Self::External(purchase)),
            None => StripeId::parse(text).ok().map(Self::Stripe),
        }
    }
}

impl fmt::Display for PaymentReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stripe(intent) => fmt::Display::fmt(intent, formatter),
            Self::External(purchase) => fmt::Display::fmt(purchase, formatter),
        }
    }
}

impl fmt::Debug for PaymentReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for PaymentReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PaymentReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` names no payment")))
    }
}

/// Where the random parts of ids and the salts of notes come from: drawn once for each command, outside of the domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

impl Seed {
    /// Bytes that nobody can guess who does not know the seed; the same for the same purpose and place.
    pub fn bytes(&self, purpose: &[u8], position: Position, ordinal: u8) -> [u8; 16] {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(position.0.to_be_bytes());
        hasher.update([ordinal]);
        hasher.update(purpose);
        let digest = hasher.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes
    }
}

/// The most lots that one event can make: their ids have room for so many.
pub const LOTS_OF_EVENT: usize = 256;

macro_rules! public_id {
    ($(#[doc = $doc:literal])* $name:ident, $prefix:literal) => {
        $(#[doc = $doc])*
        ///
        #[doc = concat!("Written as `", $prefix, "_` and 32 hexadecimal digits: position, ordinal, random part.")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The id of the `ordinal`th thing of its kind that the event at `position` makes.
            pub fn new(position: Position, ordinal: u8, seed: &Seed) -> Self {
                let random = u128::from_be_bytes(seed.bytes($prefix.as_bytes(), position, ordinal)) >> 72;
                Self(((position.0 as u128) << 64) | (u128::from(ordinal) << 56) | random)
            }

            /// The least id that a thing can have which the event at `position` made, or a later one: ids are in the order in which
            /// things were made.
            pub fn first_at(position: Position) -> Self {
                Self((position.0 as u128) << 64)
            }

            /// The position of the event that made the thing.
            pub fn position(self) -> Position {
                Position((self.0 >> 64) as i64)
            }
        }

        bits_as_text!($name, $prefix);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text)
                    .ok_or_else(|| D::Error::custom(format!(concat!("`{}` is no ", $prefix, "_ id"), text)))
            }
        }
    };
}

public_id!(
    /// A quantity of one unit that entered an account at one time from one source.
    LotId,
    "lot"
);
public_id!(
    /// One spend.
    SpendId,
    "spd"
);
public_id!(
    /// One amount set aside for a job of unknown cost.
    HoldId,
    "hld"
);
public_id!(
    /// What one payment bought.
    PurchaseId,
    "pur"
);
public_id!(
    /// Credits that one account gave to another.
    TransferId,
    "trf"
);
public_id!(
    /// One checkout of ours.
    OrderId,
    "ord"
);
public_id!(
    /// One refund that was asked of us.
    RefundRequestId,
    "rfd"
);
public_id!(
    /// One change of a subscription that was asked of us.
    SubscriptionChangeId,
    "sch"
);
public_id!(
    /// One item of an account's debt.
    DebtId,
    "dbt"
);
public_id!(
    /// One API key.
    KeyId,
    "key"
);
public_id!(
    /// One link by which a price can be bought for an account.
    CheckoutLinkId,
    "lnk"
);

/// Who caused an event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// A client with this API key.
    ApiKey(KeyId),
    /// Whoever was given this link.
    CheckoutLink(CheckoutLinkId),
    /// Someone at the command line of the service itself.
    Operator,
    /// Stripe, by webhook or reconciliation.
    Stripe,
    /// The service: sweeper, recovery.
    System,
}

impl Actor {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "operator" => Some(Self::Operator),
            "stripe" => Some(Self::Stripe),
            "system" => Some(Self::System),
            _ => match text.strip_prefix("checkout_link:") {
                Some(link) => CheckoutLinkId::parse(link).map(Self::CheckoutLink),
                None => text.strip_prefix("api_key:").and_then(KeyId::parse).map(Self::ApiKey),
            },
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey(key) => write!(formatter, "api_key:{key}"),
            Self::CheckoutLink(link) => write!(formatter, "checkout_link:{link}"),
            Self::Operator => formatter.write_str("operator"),
            Self::Stripe => formatter.write_str("stripe"),
            Self::System => formatter.write_str("system"),
        }
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabets() {
        for (valid, text) in [
            (true, "user-1"),
            (true, "a.b_c:d@e-F9"),
            (true, "..."),
            (false, "."),
            (false, ".."),
            (false, ""),
            (false, "with space"),
            (false, "ümlaut"),
            (false, "nul\0"),
        ] {
            assert_eq!(AccountId::parse(text).is_ok(), valid, "{text:?}");
        }
        assert!(AccountId::parse(&"x".repeat(128)).is_ok());
        assert!(AccountId::parse(&"x".repeat(129)).is_err());
        assert!(Unit::parse("licence_30d").is_ok());
        assert!(Unit::parse("30d").is_err());
        assert!(Unit::parse("Credits").is_err());
        assert!(Unit::parse("a-b").is_err());
        assert!(Unit::parse("_a").is_err());
        assert!(FeatureKey::parse("job.match-2").is_ok());
        assert!(LedgerSlug::parse("demo").is_ok());
        assert!(LedgerSlug::parse("de_mo").is_err());
        assert_eq!(Unit::parse("9").map_err(|error| error.to_string()), Err(Unit::EXPECTED.to_owned()));
    }

    #[test]
    fn the_name_of_an_erased_account_is_known_for_what_it_is() {
        let erased = AccountId::erased(AccountNumber(17));
        assert_eq!(erased.as_str(), "erased:17");
        assert_eq!(AccountId::parse("erased:17"), Ok(erased.clone()));
        assert!(erased.is_erased());
        assert!(!AccountId::parse("unerased:17").expect("valid").is_erased());
    }

    #[test]
    fn a_request_id_of_our_own_is_a_valid_one() {
        let made = RequestId::from_bits(u128::MAX);
        assert_eq!(RequestId::parse(made.as_str()), Ok(made));
    }

    #[test]
    fn a_public_id_tells_its_position_and_reads_back() {
        let seed = Seed([7; 16]);
        let lot = LotId::new(Position(258), 3, &seed);
        assert_eq!(lot.position(), Position(258));
        assert_eq!(LotId::first_at(Position(258)).to_bits(), 258 << 64);
        assert!(LotId::first_at(Position(258)) < lot && lot < LotId::first_at(Position(259)));
        assert_eq!(LotId::parse(&lot.to_string()), Some(lot));
        assert_eq!(LotId::from_bits(lot.to_bits()), lot);
        assert!(lot.to_string().starts_with("lot_000000000000010203"));
        assert_eq!(SpendId::parse(&lot.to_string()), None);
        assert_eq!(LotId::parse(&lot.to_string().to_uppercase().replace("LOT", "lot")), None);
        assert_eq!(LotId::parse("lot_+0000000000000000000000000000001"), None);
        assert_eq!(LotId::parse("lot_1"), None);
    }

    #[test]
    fn an_effect_is_named_by_its_bits_alone() {
        let effect = EffectId::from_bits(0xabc);
        assert_eq!(effect.to_string(), "eff_00000000000000000000000000000abc");
        assert_eq!(format!("{effect:?}"), effect.to_string());
        assert_eq!(EffectId::parse(&effect.to_string()), Some(effect));
        assert_eq!(effect.to_bits(), 0xabc);
        assert_eq!(EffectId::parse("eff_abc"), None);
        assert_eq!(EffectId::parse(&effect.to_string()[4..]), None);
    }

    #[test]
    fn ids_of_one_event_are_ordered_by_ordinal_and_differ_by_seed() {
        let (one, other) = (Seed([1; 16]), Seed([2; 16]));
        assert!(LotId::new(Position(1), 0, &one) < LotId::new(Position(1), 1, &one));
        assert!(LotId::new(Position(1), 255, &one) < LotId::new(Position(2), 0, &one));
        assert_ne!(LotId::new(Position(1), 0, &one), LotId::new(Position(1), 0, &other));
        assert_ne!(one.bytes(b"a", Position(1), 0), one.bytes(b"b", Position(1), 0));
    }

    #[test]
    fn actors_and_payments_read_back() {
        let seed = Seed([9; 16]);
        for actor in [
            Actor::ApiKey(KeyId::new(Position(4), 0, &seed)),
            Actor::CheckoutLink(CheckoutLinkId::new(Position(4), 0, &seed)),
            Actor::Operator,
            Actor::Stripe,
            Actor::System,
        ] {
            assert_eq!(Actor::parse(&actor.to_string()), Some(actor.clone()));
            assert_eq!(format!("{actor:?}"), actor.to_string());
        }
        assert_eq!(Actor::parse("api_key:nonsense"), None);
        assert_eq!(Actor::parse("checkout_link:nonsense"), None);
        let external = PaymentReference::External(PurchaseId::new(Position(4), 0, &seed));
        let stripe = PaymentReference::Stripe(StripeId::parse("pi_1").expect("valid"));
        for payment in [external, stripe] {
            assert_eq!(PaymentReference::parse(&payment.to_string()), Some(payment.clone()));
            let written = serde_json::to_string(&payment).expect("serialises");
            assert_eq!(serde_json::from_str::<PaymentReference>(&written).expect("reads"), payment);
        }
        assert_eq!(PaymentReference::parse("with space"), None);
    }
}
