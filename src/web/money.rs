//! How amounts are written for people.

use super::Texts;
use crate::domain::amount::Currency;

/// Currencies whose smallest part is the whole, as Stripe counts them.
const WITHOUT_PARTS: [&str; 16] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof",
    "xpf",
];
/// Currencies whose smallest part is a thousandth.
const WITH_THOUSANDTHS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// Money in the smallest part of its currency, e.g. `€5.00` or `5,00 €`.
pub(super) fn written(amount: i64, currency: Currency, texts: &Texts) -> String {
    let scale = match currency.as_str() {
        code if WITHOUT_PARTS.contains(&code) => 0,
        code if WITH_THOUSANDTHS.contains(&code) => 3,
        _ => 2,
    };
    let number = fixed(amount, scale, texts);
    let symbol = match currency.as_str() {
        "eur" => "€",
        "usd" => "$",
        "gbp" => "£",
        _ => return format!("{number}\u{a0}{}", currency.as_str().to_uppercase()),
    };
    if texts.symbol_leads { format!("{symbol}{number}") } else { format!("{number}\u{a0}{symbol}") }
}

/// An amount that counts parts of 10^-scale, without decimals that say nothing.
pub(super) fn decimal(amount: i64, scale: u8, texts: &Texts) -> String {
    let number = fixed(amount, scale, texts);
    if scale == 0 {
        return number;
    }
    number.trim_end_matches('0').trim_end_matches(texts.decimal_mark).to_owned()
}

fn fixed(amount: i64, scale: u8, texts: &Texts) -> String {
    let digits = format!("{:0>width$}", amount.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, parts) = digits.split_at(digits.len() - usize::from(scale));
    let mut number = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            number.push(texts.thousands_mark);
        }
        number.push(digit);
    }
    if scale > 0 {
        number.push(texts.decimal_mark);
        number.push_str(parts);
    }
    if amount < 0 { format!("\u{2212}{number}") } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::texts::{ENGLISH, GERMAN};

    #[test]
    fn money_is_written_as_its_currency_and_the_language_have_it() {
        for (amount, currency, english, german) in [
            (500, "eur", "€5.00", "5,00\u{a0}€"),
            (5, "usd", "$0.05", "0,05\u{a0}$"),
            (123_456_789, "gbp", "£1,234,567.89", "1.234.567,89\u{a0}£"),
            (1_500, "jpy", "1,500\u{a0}JPY", "1.500\u{a0}JPY"),
            (1_500, "kwd", "1.500\u{a0}KWD", "1,500\u{a0}KWD"),
            (0, "chf", "0.00\u{a0}CHF", "0,00\u{a0}CHF"),
        ] {
            let currency = Currency::parse(currency).expect("a currency");
            assert_eq!(written(amount, currency, &ENGLISH), english);
            assert_eq!(written(amount, currency, &GERMAN), german);
        }
    }

    #[test]
    fn credits_are_written_without_decimals_that_say_nothing() {
        for (amount, scale, english) in
            [(100, 0, "100"), (1_200, 0, "1,200"), (1_250, 2, "12.5"), (1_200, 2, "12"), (5, 2, "0.05")]
        {
            assert_eq!(decimal(amount, scale, &ENGLISH), english);
        }
    }
}
