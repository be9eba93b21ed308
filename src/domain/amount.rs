//! Amounts of credits and of money. Both are whole numbers of the smallest part; neither can leave the range that every
//! JSON client reads exactly.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The largest amount, and the largest sum of amounts: 2^53 − 1, the last whole number that a double holds exactly.
pub const MAX_AMOUNT: i64 = (1 << 53) - 1;

/// A positive number of the smallest part of a unit: 1 to 2^53 − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct Amount(i64);

impl Amount {
    /// The smallest amount.
    pub const ONE: Self = Self(1);

    /// The amount, if it is positive and within bounds.
    pub fn new(value: i64) -> Option<Self> {
        (1..=MAX_AMOUNT).contains(&value).then_some(Self(value))
    }

    /// The plain number.
    pub fn get(self) -> i64 {
        self.0
    }

    /// This amount `quantity` times, if that is within bounds.
    pub fn times(self, quantity: Amount) -> Option<Self> {
        self.0.checked_mul(quantity.0).and_then(Self::new)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = i64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| D::Error::custom(format!("{value} is not an amount: 1 to 2^53 - 1")))
    }
}

/// A currency by its three-letter ISO 4217 code in lower case, as Stripe writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads a code in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 3] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphabetic).then(|| Self(bytes.map(|byte| byte.to_ascii_lowercase())))
    }

    /// The code in lower case.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many decimals its amounts are written with, as Stripe counts its smallest part.
    pub fn decimals(&self) -> u8 {
        match self.as_str() {
            "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "ugx" | "vnd"
            | "vuv" | "xaf" | "xof" | "xpf" => 0,
            "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
            _ => 2,
        }
    }

    /// An amount of its smallest part, written with its decimals, e.g. `-12.50`.
    pub fn write(&self, amount: i64) -> String {
        let decimals = usize::from(self.decimals());
        let sign = if amount < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", amount.unsigned_abs(), width = decimals + 1);
        let (whole, part) = digits.split_at(digits.len() - decimals);
        if decimals == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a currency code")))
    }
}

/// What a buyer paid, in the smallest part of the currency (cents; whole yen).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PaidMoney {
    /// Everything that was paid, tax included: 0 to 2^53 − 1.
    pub gross: i64,
    /// The tax in it: 0 to `gross`.
    pub tax: i64,
    /// The currency of both.
    pub currency: Currency,
}

impl PaidMoney {
    /// The money, if `0 <= tax <= gross <= 2^53 - 1`.
    pub fn new(gross: i64, tax: i64, currency: Currency) -> Option<Self> {
        ((0..=MAX_AMOUNT).contains(&gross) && (0..=gross).contains(&tax)).then_some(Self {
            gross,
            tax,
            currency,
        })
    }

    /// What remains without the tax: the cost basis of what was bought.
    pub fn net(&self) -> i64 {
        self.gross - self.tax
    }
}

/// `floor(value × numerator / denominator)` without overflow.
///
/// `denominator` must be positive and the result must fit, which holds whenever `numerator <= denominator`.
pub fn proportion(value: i64, numerator: i64, denominator: i64) -> i64 {
    let product = i128::from(value) * i128::from(numerator);
    i64::try_from(product.div_euclid(i128::from(denominator))).unwrap_or(i64::MAX)
}

/// Splits `total` by `weights` so that the parts add up to it exactly: each running sum is rounded down.
///
/// All weights zero: everything goes to the last part.
pub fn split_by_weights(total: i64, weights: &[i64]) -> Vec<i64> {
    let sum: i64 = weights.iter().sum();
    let mut parts = Vec::with_capacity(weights.len());
    let (mut weight_so_far, mut given) = (0, 0);
    for (index, weight) in weights.iter().enumerate() {
        weight_so_far += weight;
        let is_last = index + 1 == weights.len();
        let until_here = match (is_last, sum) {
            (true, _) => total,
            (false, 0) => 0,
            (false, sum) => proportion(total, weight_so_far, sum),
        };
        parts.push(until_here - given);
        given = until_here;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_with_the_decimals_of_its_currency() {
        let written = |currency, amount| Currency::parse(currency).expect("a currency").write(amount);
        assert_eq!(written("eur", -1_250), "-12.50");
        assert_eq!(written("usd", 5), "0.05");
        assert_eq!(written("usd", 0), "0.00");
        assert_eq!(written("jpy", 2_000), "2000");
        assert_eq!(written("kwd", -1), "-0.001");
    }

    #[test]
    fn amounts_are_positive_and_exact_in_json() {
        assert_eq!(Amount::new(0), None);
        assert_eq!(Amount::new(-1), None);
        assert_eq!(Amount::new(1).map(Amount::get), Some(1));
        assert_eq!(Amount::new(MAX_AMOUNT).map(Amount::get), Some(9_007_199_254_740_991));
        assert_eq!(Amount::new(MAX_AMOUNT + 1), None);
        assert!(serde_json::from_str::<Amount>("0").is_err());
        assert!(serde_json::from_str::<Amount>("1.5").is_err());
        assert_eq!(Amount::new(7).expect("in range").to_string(), "7");
    }

    #[test]
    fn a_product_beyond_the_bound_is_refused() {
        let (large, two) = (Amount::new(MAX_AMOUNT).expect("in range"), Amount::new(2).expect("in range"));
        assert_eq!(large.times(two), None);
        assert_eq!(two.times(two).map(Amount::get), Some(4));
    }

    #[test]
    fn currencies_are_three_letters() {
        assert_eq!(Currency::parse("EUR").map(|currency| currency.to_string()), Some("eur".to_owned()));
        assert_eq!(Currency::parse("eu"), None);
        assert_eq!(Currency::parse("eu1"), None);
        assert_eq!(format!("{:?}", Currency::parse("usd").expect("a code")), "usd");
        assert!(serde_json::from_str::<Currency>("\"euro\"").is_err());
    }

    #[test]
    fn tax_is_part_of_the_gross() {
        let eur = Currency::parse("eur").expect("a code");
        assert_eq!(PaidMoney::new(119, 19, eur).map(|money| money.net()), Some(100));
        assert_eq!(PaidMoney::new(100, 101, eur), None);
        assert_eq!(PaidMoney::new(-1, 0, eur), None);
        assert_eq!(PaidMoney::new(5, -1, eur), None);
        assert_eq!(PaidMoney::new(MAX_AMOUNT + 1, 0, eur), None);
        assert!(PaidMoney::new(MAX_AMOUNT, MAX_AMOUNT, eur).is_some());
    }

    #[test]
    fn a_split_adds_up_to_the_whole() {
        assert_eq!(split_by_weights(100, &[1, 1, 1]), [33, 33, 34]);
        assert_eq!(split_by_weights(500, &[7_000, 3_000]), [350, 150]);
        assert_eq!(split_by_weights(5, &[0, 0]), [0, 5]);
        assert_eq!(split_by_weights(5, &[2, 0]), [5, 0]);
        assert_eq!(split_by_weights(5, &[]), [] as [i64; 0]);
        assert_eq!(split_by_weights(MAX_AMOUNT, &[MAX_AMOUNT - 1, 1]), [MAX_AMOUNT - 1, 1]);
    }

    #[test]
    fn proportions_round_down() {
        assert_eq!(proportion(100, 1, 3), 33);
        assert_eq!(proportion(100, 3, 3), 100);
        assert_eq!(proportion(MAX_AMOUNT, MAX_AMOUNT, MAX_AMOUNT), MAX_AMOUNT);
    }
}
