//! What the metadata of a price or a product says of credits.
//!
//! | key | meaning |
//! | --- | --- |
//! | `credits`, or `includedCredits` | how many credits buying one grants, in digits |
//! | `credit_unit` | of which unit; the ledger's only one if not said |
//! | `credits_expire_days` | after how many days they expire, 1 to 36500; never if not said |
//! | `credits_priority` | their spending priority, 0 (first) to 100; 50 if not said |
//! | `credits_rollover` | what a period of a subscription takes over of the one before: `none`, `all`, or at most so many of each unit, in digits; as the ledger's rules say if not said |
//! | `counterfoil_grants` | instead of all of these but the last: a JSON array of `{"unit", "amount", "expires_days", "priority", "share"}`, as in `PUT /v1/prices/{price}`, for one or more units |
//!
//! Invariant: what cannot be read is nonsense that names the key, never a default; two keys that say different things are
//! never weighed against each other.

use serde_json::Value;

use super::{
    fields::Fields,
    json,
    metadata::digits,
    no_fact::{Nonsense, Problem},
};
use crate::domain::{
    amount::{Amount, MAX_AMOUNT},
    catalogue::PriceGrant,
    ids::Unit,
    listing::Terms,
    settings::Rollover,
};

/// The key of everything that is granted, in one or more units.
const GRANTS: &str = "counterfoil_grants";
/// The keys of credits of one unit.
const SIMPLE: [&str; 5] =
    ["credits", "includedCredits", "credit_unit", "credits_expire_days", "credits_priority"];

/// The key of what a renewal moves on.
const ROLLOVER: &str = "credits_rollover";

const LONGEST_DAYS: i64 = 36_500;
const LAST_PRIORITY: i64 = 100;
const DEFAULT_PRIORITY: i64 = 50;
const LARGEST_SHARE: i64 = 1_000_000;
const DEFAULT_SHARE: i64 = 1;

/// Reads what the metadata of `object` says.
pub(super) fn read(object: &Fields<'_>) -> Result<Terms, Nonsense> {
    let Some(metadata) = object.object("metadata")? else { return Ok(Terms::default()) };
    if let Some(text) = metadata.text(GRANTS)? {
        if let Some(other) = SIMPLE.into_iter().find(|key| metadata.value(key).is_some()) {
            return Err(metadata.nonsense(GRANTS, Problem::Contradicts(other)));
        }
        let grants = Some(grants(&metadata, text)?);
        return Ok(Terms { grants, rollover: rollover(&metadata)?, ..Terms::default() });
    }
    let unit = metadata.text("credit_unit")?.map(Unit::parse).transpose();
    Ok(Terms {
        credits: credits(&metadata)?,
        unit: unit.map_err(|_| metadata.nonsense("credit_unit", Problem::Unknown))?,
        expires_days: number(&metadata, "credits_expire_days", 1, LONGEST_DAYS)?,
        priority: number(&metadata, "credits_priority", 0, LAST_PRIORITY)?,
        grants: None,
        rollover: rollover(&metadata)?,
    })
}

fn rollover(metadata: &Fields<'_>) -> Result<Option<Rollover>, Nonsense> {
    Ok(match metadata.text(ROLLOVER)? {
        None => None,
        Some("none") => Some(Rollover::None),
        Some("all") => Some(Rollover::All),
        Some(_) => number(metadata, ROLLOVER, 1, MAX_AMOUNT)?.and_then(Amount::new).map(Rollover::Capped),
    })
}

fn credits(metadata: &Fields<'_>) -> Result<Option<Amount>, Nonsense> {
    let read = |key| {
        let number = number(metadata, key, 1, MAX_AMOUNT)?;
        Ok(number.and_then(Amount::new))
    };
    match (read("credits")?, read("includedCredits")?) {
        (Some(stated), Some(other)) if stated != other => {
            Err(metadata.nonsense("credits", Problem::Contradicts("includedCredits")))
        }
        (stated, other) => Ok(stated.or(other)),
    }
}

/// A whole number within bounds. Stripe's metadata holds texts only, so it stands in digits.
fn number<T: TryFrom<i64>>(
    metadata: &Fields<'_>,
    key: &str,
    least: i64,
    most: i64,
) -> Result<Option<T>, Nonsense> {
    let Some(text) = metadata.text(key)? else { return Ok(None) };
    let number = digits(text).map_err(|problem| metadata.nonsense(key, problem))?;
    bounded(metadata, key, number, least, most).map(Some)
}

fn bounded<T: TryFrom<i64>>(
    fields: &Fields<'_>,
    name: &str,
    number: i64,
    least: i64,
    most: i64,
) -> Result<T, Nonsense> {
    let in_bounds = Some(number).filter(|number| (least..=most).contains(number));
    let number = in_bounds.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| fields.nonsense(name, Problem::OutOfRange))
}

fn grants(metadata: &Fields<'_>, text: &str) -> Result<Vec<PriceGrant>, Nonsense> {
    let list = json::parse(text.as_bytes())
        .map_err(|error| metadata.nonsense(GRANTS, Problem::Unreadable(error)))?;
    let Value::Array(items) = &list else { return Err(metadata.nonsense(GRANTS, Problem::NotAList)) };
    if items.is_empty() {
        return Err(metadata.nonsense(GRANTS, Problem::Missing));
    }
    let path = metadata.path_of(GRANTS);
    let grant = |(at, item): (usize, &Value)| grant(&Fields::of(format!("{path}[{at}]"), item)?);
    items.iter().enumerate().map(grant).collect()
}

fn grant(grant: &Fields<'_>) -> Result<PriceGrant, Nonsense> {
    grant.expect_only(&["unit", "amount", "expires_days", "priority", "share"])?;
    let missing = |name| grant.nonsense(name, Problem::Missing);
    let unit = grant.text("unit")?.ok_or_else(|| missing("unit"))?;
    let expires_days = grant.count("expires_days")?;
    let or = |name, default| Ok(grant.count(name)?.unwrap_or(default));
    Ok(PriceGrant {
        unit: Unit::parse(unit).map_err(|_| grant.nonsense("unit", Problem::Unknown))?,
        amount: grant.amount("amount")?.ok_or_else(|| missing("amount"))?,
        expires_days: expires_days
            .map(|days| bounded(grant, "expires_days", days, 1, LONGEST_DAYS))
            .transpose()?,
        priority: bounded(grant, "priority", or("priority", DEFAULT_PRIORITY)?, 0, LAST_PRIORITY)?,
        share: bounded(grant, "share", or("share", DEFAULT_SHARE)?, 0, LARGEST_SHARE)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn terms(metadata: Value) -> Result<Terms, String> {
        let object = json!({ "metadata": metadata });
        let fields = Fields::of("p", &object).expect("an object");
        read(&fields).map_err(|nonsense| nonsense.to_string())
    }

    fn amount(value: i64) -> Amount {
        Amount::new(value).expect("in range")
    }

    fn unit(name: &str) -> Unit {
        Unit::parse(name).expect("a unit")
    }

    #[test]
    fn credits_of_one_unit_stand_in_single_keys() {
        assert_eq!(terms(json!(null)), Ok(Terms::default()));
        assert_eq!(terms(json!({"color": "red"})), Ok(Terms::default()));
        for key in ["credits", "includedCredits"] {
            let expected = Terms { credits: Some(amount(500)), ..Terms::default() };
            assert_eq!(terms(json!({ key: "500" })), Ok(expected));
        }
        let all = json!({
            "credits": "500", "includedCredits": "500", "credit_unit": "credits", "credits_expire_days": "365",
            "credits_priority": "0",
        });
        let expected = Terms {
            credits: Some(amount(500)),
            unit: Some(unit("credits")),
            expires_days: Some(365),
            priority: Some(0),
            grants: None,
            rollover: None,
        };
        assert_eq!(terms(all), Ok(expected));
    }

    #[test]
    fn several_units_stand_in_one_key() {
        let text = r#"[{"unit":"credits","amount":500,"expires_days":365,"priority":10,"share":7},{"unit":"licence_30d","amount":1}]"#;
        let grant = |name: &str, credits, expires_days, priority, share| PriceGrant {
            unit: unit(name),
            amount: amount(credits),
            expires_days,
            priority,
            share,
        };
        let expected = vec![grant("credits", 500, Some(365), 10, 7), grant("licence_30d", 1, None, 50, 1)];
        let expected = Terms { grants: Some(expected), ..Terms::default() };
        assert_eq!(terms(json!({"counterfoil_grants": text})), Ok(expected));
    }

    #[test]
    fn what_rolls_over_is_a_word_or_a_number_beside_either_form_of_credits() {
        let capped = Rollover::Capped(amount(40));
        for (text, expected) in [("none", Rollover::None), ("all", Rollover::All), ("40", capped)] {
            let expected = Terms { rollover: Some(expected), ..Terms::default() };
            assert_eq!(terms(json!({"credits_rollover": text})), Ok(expected.clone()));
            let credits = Terms { credits: Some(amount(5)), ..expected.clone() };
            assert_eq!(terms(json!({"credits_rollover": text, "credits": "5"})), Ok(credits));
            let grants = r#"[{"unit":"credits","amount":1}]"#;
            let both = terms(json!({"credits_rollover": text, "counterfoil_grants": grants})).expect("terms");
            assert_eq!((both.rollover, both.grants.is_some()), (expected.rollover, true));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (metadata, problem) in [
            (json!({"credits": "many"}), "credits` is not a whole number"),
            (json!({"credits": ""}), "credits` is not a whole number"),
            (json!({"credits": "0"}), "credits` is out of range"),
            (json!({"credits": "-5"}), "credits` is out of range"),
            (json!({"credits": "9007199254740992"}), "credits` is out of range"),
            (json!({"credits": 5}), "credits` is not a text"),
            (json!({"credits": "5", "includedCredits": "6"}), "credits` contradicts `includedCredits`"),
            (json!({"credit_unit": "Gold!"}), "credit_unit` has an unknown value"),
            (json!({"credits_expire_days": "0"}), "credits_expire_days` is out of range"),
            (json!({"credits_expire_days": "1.5"}), "credits_expire_days` is not a whole number"),
            (json!({"credits_priority": "101"}), "credits_priority` is out of range"),
            (json!({"credits_rollover": "some"}), "credits_rollover` is not a whole number"),
            (json!({"credits_rollover": "0"}), "credits_rollover` is out of range"),
            (json!({"credits_rollover": "9007199254740992"}), "credits_rollover` is out of range"),
            (json!({"credits_rollover": 40}), "credits_rollover` is not a text"),
            (json!({"counterfoil_grants": "[]"}), "counterfoil_grants` is missing"),
            (json!({"counterfoil_grants": "{}"}), "counterfoil_grants` is not a list"),
            (json!({"counterfoil_grants": "[1]"}), "counterfoil_grants[0]` is not an object"),
            (json!({"counterfoil_grants": "[{}]"}), "counterfoil_grants[0].unit` is missing"),
            (
                json!({"counterfoil_grants": r#"[{"unit":"credits","amount":1,"days":1}]"#}),
                "counterfoil_grants[0]` has an unknown value",
            ),
            (
                json!({"counterfoil_grants": r#"[{"unit":"credits","amount":1,"share":-1}]"#}),
                "counterfoil_grants[0].share` is out of range",
            ),
            (
                json!({"counterfoil_grants": r#"[{"unit":"credits","amount":1}]"#, "credit_unit": "credits"}),
                "counterfoil_grants` contradicts `credit_unit`",
            ),
        ] {
            let found = terms(metadata.clone()).expect_err("nonsense");
            assert_eq!(found, format!("`p.metadata.{problem}"), "{metadata}");
        }
        let broken = terms(json!({"counterfoil_grants": "[{"})).expect_err("no JSON");
        assert!(broken.starts_with("`p.metadata.counterfoil_grants` cannot be read: "), "{broken}");
    }
}
