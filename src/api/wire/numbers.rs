//! Numbers with bounds.

use std::borrow::Cow;

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use crate::{
    api::params::Parameter,
    domain::{
        amount::{Amount, MAX_AMOUNT},
        ids::InvalidName,
    },
};

fn integer(minimum: i64, maximum: i64) -> MetaSchema {
    #[expect(
        clippy::cast_precision_loss,
        reason = "all bounds are at most 2^53 - 1, which a double holds exactly"
    )]
    let (minimum, maximum) = (Some(minimum as f64), Some(maximum as f64));
    MetaSchema { minimum, maximum, ..MetaSchema::new_with_format("integer", "int64") }
}

scalar!(Amount, integer(1, MAX_AMOUNT));

/// Makes a kind of number with bounds.
macro_rules! bounded_number {
    ($(#[doc = $doc:literal])* $name:ident($inner:ty), $least:literal to $most:expr, $expected:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// The plain number.
            pub fn get(self) -> $inner {
                self.0
            }

            fn new(value: i64) -> Result<Self, InvalidName> {
                let in_bounds = Some(value).filter(|value| ($least..=$most).contains(value));
                let value = in_bounds.and_then(|value| <$inner>::try_from(value).ok());
                value.map(Self).ok_or(InvalidName { expected: concat!("must be ", $expected) })
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(i64::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }

        impl Parameter for $name {
            fn parse(text: &str) -> Result<Self, InvalidName> {
                // Not a number is as wrong as one out of bounds.
                Self::new(text.parse().unwrap_or(i64::MIN))
            }
        }

        scalar!($name, integer($least, $most));
    };
}

bounded_number!(
    /// A whole number that may be 0.
    Whole(i64), 0 to MAX_AMOUNT, "0 to 2^53 - 1"
);
bounded_number!(
    /// Spending priority: 0 is spent first, 100 last.
    Priority(u8), 0 to 100, "0 to 100"
);
bounded_number!(
    /// How many items a page has at most.
    Limit(u16), 1 to 500, "1 to 500"
);
bounded_number!(
    /// How many days something lives.
    Days(u32), 1 to 36_500, "1 to 36500"
);
bounded_number!(
    /// For how many days credits outlive the period that they were for.
    GraceDays(u32), 0 to 90, "0 to 90"
);
bounded_number!(
    /// For how many days nothing has to be paid.
    TrialDays(u32), 1 to 730, "1 to 730"
);
bounded_number!(
    /// A weight among others.
    Share(u32), 0 to 1_000_000, "0 to 1000000"
);

impl Default for Priority {
    fn default() -> Self {
        Self(50)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl From<Limit> for i64 {
    fn from(limit: Limit) -> Self {
        Self::from(limit.0)
    }
}

impl Default for Share {
    fn default() -> Self {
        Self(1)
    }
}

/// A change of a balance: positive or negative, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct SignedAmount(i64);

impl SignedAmount {
    /// The plain number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for SignedAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = i64::deserialize(deserializer)?;
        let is_valid = value != 0 && (-MAX_AMOUNT..=MAX_AMOUNT).contains(&value);
        let expected = "must be -(2^53 - 1) to 2^53 - 1, and not 0";
        is_valid.then_some(Self(value)).ok_or_else(|| D::Error::custom(expected))
    }
}

scalar!(SignedAmount, integer(-MAX_AMOUNT, MAX_AMOUNT));

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accepts<T: serde::de::DeserializeOwned>(value: Value) -> bool {
        serde_json::from_value::<T>(value).is_ok()
    }

    #[test]
    fn amounts_keep_to_their_ranges() {
        for (valid, value) in [(false, -1), (true, 0), (true, MAX_AMOUNT), (false, MAX_AMOUNT + 1)] {
            assert_eq!(accepts::<Whole>(json!(value)), valid, "{value}");
            assert_eq!(<Whole as Parameter>::parse(&value.to_string()).is_ok(), valid, "{value}");
        }
        for (valid, value) in [(true, -MAX_AMOUNT), (false, 0), (true, 1), (false, -MAX_AMOUNT - 1)] {
            assert_eq!(accepts::<SignedAmount>(json!(value)), valid, "{value}");
        }
        for (valid, value) in [(false, -1), (true, 0), (true, 100), (false, 101), (false, 256)] {
            assert_eq!(accepts::<Priority>(json!(value)), valid, "{value}");
        }
        for (valid, text) in
            [(false, "0"), (true, "1"), (true, "500"), (false, "501"), (false, "+-1"), (false, "")]
        {
            assert_eq!(Limit::parse(text).is_ok(), valid, "{text}");
        }
    }
}
