//! Ids that no event has made: of what is to be done outside, and of what is found out about the ledger.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::bits;

macro_rules! random_id {
    ($(#[doc = $doc:literal])* $name:ident, $prefix:literal, $of_what:literal) => {
        $(#[doc = $doc])*
        ///
        #[doc = concat!("Written as `", $prefix, "_` and 32 hexadecimal digits.")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        bits_as_text!($name, $prefix);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                let expected = concat!("must be the id of ", $of_what, ", `", $prefix, "_…`");
                Self::parse(&text).ok_or_else(|| D::Error::custom(expected))
            }
        }
    };
}

random_id!(
    /// One thing to be done outside: random, so that it can be the idempotency key of the calls that do it.
    EffectId,
    "eff",
    "an effect"
);
random_id!(
    /// One run of the reconciliation with Stripe.
    ReconciliationId,
    "rcn",
    "a run"
);
random_id!(
    /// One difference between Stripe and the ledger.
    FindingId,
    "fnd",
    "a finding"
);
