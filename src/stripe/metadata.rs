//! What the metadata of a checkout session says about what was sold, and to whom.
//!
//! A product that makes its sessions itself marks them with these keys (all texts, as Stripe has it):
//!
//! | key | meaning |
//! | --- | --- |
//! | `account_id` | who gets the credits; `client_reference_id` may say it instead |
//! | `credits` | how many, for the whole session |
//! | `unit` or `credit_unit` | of which unit |
//! | `price_id`, `quantity` | or: which price, and how many of it (1 if not said) |
//! | `order_id` or `counterfoil_order` | the order of ours, `ord_…`; other ids are somebody else's orders |
//!
//! On refunds that we ask for:
//!
//! | key | meaning |
//! | --- | --- |
//! | `counterfoil_refund` | the request of ours that it answers, `rfd_…` |
//!
//! Invariant: two keys that say different things are never weighed against each other: that is nonsense.

use serde_json::Value;

use super::{
    client::origin,
    fact::{AccountMarker, SoldPrice, StatedCredits},
    fields::Fields,
    no_fact::{Nonsense, Problem},
};
use crate::domain::{
    amount::Amount,
    ids::{OrderId, PriceId, RefundRequestId, Unit},
};

/// How ids of our own orders begin.
const ORDER_PREFIX: &str = "ord_";

/// The account that `session` names.
pub(super) fn account(session: &Fields<'_>) -> Result<Option<AccountMarker>, Nonsense> {
    let reference = session.text("client_reference_id")?;
    let Some(metadata) = session.object("metadata")? else {
        return Ok(reference.map(|id| AccountMarker::Reference(id.to_owned())));
    };
    match (metadata.text("account_id")?, reference) {
        (Some(stated), Some(other)) if stated != other => {
            Err(metadata.nonsense("account_id", Problem::Contradicts("client_reference_id")))
        }
        (Some(stated), _) => Ok(Some(AccountMarker::Metadata(stated.to_owned()))),
        (None, reference) => Ok(reference.map(|id| AccountMarker::Reference(id.to_owned()))),
    }
}

/// The order of ours that `session` was made for.
pub(super) fn order(session: &Fields<'_>) -> Result<Option<OrderId>, Nonsense> {
    let Some(metadata) = session.object("metadata")? else { return Ok(None) };
    let stated = metadata.text("order_id")?.filter(|id| id.starts_with(ORDER_PREFIX));
    let (name, order) = match (stated, metadata.text(origin::ORDER)?) {
        (Some(stated), Some(mark)) if stated != mark => {
            return Err(metadata.nonsense("order_id", Problem::Contradicts(origin::ORDER)));
        }
        (Some(stated), _) => ("order_id", stated),
        (None, Some(mark)) => (origin::ORDER, mark),
        (None, None) => return Ok(None),
    };
    OrderId::parse(order).map(Some).ok_or_else(|| metadata.nonsense(name, Problem::NotAnId))
}

/// The account that the metadata of a subscription names.
pub(super) fn subscriber(marks: &Fields<'_>) -> Result<Option<AccountMarker>, Nonsense> {
    let stated = match marks.text("account_id")? {
        Some(stated) => Some(stated),
        None => marks.text(origin::ACCOUNT)?,
    };
    Ok(stated.map(|id| AccountMarker::Metadata(id.to_owned())))
}

/// The order of ours that the metadata of a subscription names. Whoever copied it names one that we do not have.
pub(super) fn order_of(marks: &Fields<'_>) -> Result<Option<OrderId>, Nonsense> {
    Ok(marks.text(origin::ORDER)?.and_then(OrderId::parse))
}

/// The request of ours that `refund` answers. Whoever copied our metadata names one that the payment does not have.
pub(super) fn refund_request(refund: &Fields<'_>) -> Result<Option<RefundRequestId>, Nonsense> {
    let Some(metadata) = refund.object("metadata")? else { return Ok(None) };
    Ok(metadata.text(origin::REFUND)?.and_then(RefundRequestId::parse))
}

/// The credits that the metadata of `session` states.
pub(super) fn credits(session: &Fields<'_>) -> Result<Option<StatedCredits>, Nonsense> {
    let Some(metadata) = session.object("metadata")? else { return Ok(None) };
    let Some(amount) = at_least_one(&metadata, "credits")? else { return Ok(None) };
    let unit = match (metadata.text("unit")?, metadata.text("credit_unit")?) {
        (Some(unit), Some(other)) if unit != other => {
            return Err(metadata.nonsense("unit", Problem::Contradicts("credit_unit")));
        }
        (Some(unit), _) => Some(Unit::parse(unit).map_err(|_| metadata.nonsense("unit", Problem::Unknown))?),
        (None, Some(unit)) => {
            Some(Unit::parse(unit).map_err(|_| metadata.nonsense("credit_unit", Problem::Unknown))?)
        }
        (None, None) => None,
    };
    Ok(Some(StatedCredits { amount, unit }))
}

/// The price that the metadata of `session` names. What cannot be the id of a price is somebody else's
/// `price_id`, unless the session was made by someone who knows of us.
pub(super) fn price(session: &Fields<'_>) -> Result<Option<SoldPrice>, Nonsense> {
    let Some(metadata) = session.object("metadata")? else { return Ok(None) };
    let price = match metadata.text("price_id")?.map(PriceId::parse) {
        Some(Ok(price)) => price,
        Some(Err(_)) if metadata.value("account_id").is_some() => {
            return Err(metadata.nonsense("price_id", Problem::NotAnId));
        }
        _ => return Ok(None),
    };
    let quantity = at_least_one(&metadata, "quantity")?.unwrap_or(Amount::ONE);
    Ok(Some(SoldPrice { price, quantity }))
}

/// A whole number from 1 on. Stripe's metadata holds texts only, so the digits of a text count as one.
fn at_least_one(metadata: &Fields<'_>, name: &str) -> Result<Option<Amount>, Nonsense> {
    match metadata.value(name) {
        Some(Value::String(text)) => {
            let amount = digits(text).and_then(|number| Amount::new(number).ok_or(Problem::OutOfRange));
            amount.map(Some).map_err(|problem| metadata.nonsense(name, problem))
        }
        _ => metadata.amount(name),
    }
}

/// A whole number in digits.
pub(super) fn digits(text: &str) -> Result<i64, Problem> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::NotAWholeNumber);
    }
    text.parse().map_err(|_| Problem::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::amount::MAX_AMOUNT;
    use serde_json::json;

    fn read<T>(session: &Value, read: impl Fn(&Fields<'_>) -> Result<T, Nonsense>) -> Result<T, String> {
        let fields = Fields::of("s", session).expect("an object");
        read(&fields).map_err(|nonsense| nonsense.to_string())
    }

    fn amount(value: i64) -> Amount {
        Amount::new(value).expect("in range")
    }

    #[test]
    fn an_account_may_stand_in_the_metadata_or_in_the_reference() {
        let metadata = Some(AccountMarker::Metadata("a".to_owned()));
        let reference = Some(AccountMarker::Reference("a".to_owned()));
        for (session, expected) in [
            (json!({}), Ok(None)),
            (json!({"metadata": {}, "client_reference_id": null}), Ok(None)),
            (json!({"metadata": {"account_id": "a"}}), Ok(metadata.clone())),
            (json!({"metadata": {"account_id": "a"}, "client_reference_id": "a"}), Ok(metadata)),
            (json!({"client_reference_id": "a"}), Ok(reference.clone())),
            (json!({"metadata": {"other": "b"}, "client_reference_id": "a"}), Ok(reference)),
            (
                json!({"metadata": {"account_id": "a"}, "client_reference_id": "b"}),
                Err("`s.metadata.account_id` contradicts `client_reference_id`".to_owned()),
            ),
            (json!({"metadata": {"account_id": 1}}), Err("`s.metadata.account_id` is not a text".to_owned())),
            (json!({"metadata": []}), Err("`s.metadata` is not an object".to_owned())),
        ] {
            assert_eq!(read(&session, account), expected, "{session}");
        }
    }

    #[test]
    fn only_an_id_of_ours_is_an_order_of_ours() {
        let ours = OrderId::from_bits(7);
        let text = ours.to_string();
        for (metadata, expected) in [
            (json!({"order_id": text}), Ok(Some(ours))),
            (json!({"counterfoil_order": text}), Ok(Some(ours))),
            (json!({"order_id": text, "counterfoil_order": text}), Ok(Some(ours))),
            (json!({"order_id": "6735", "counterfoil_order": text}), Ok(Some(ours))),
            (json!({"order_id": "6735"}), Ok(None)),
            (json!({"order_id": "ord_1"}), Err("`s.metadata.order_id` is not an id".to_owned())),
            (
                json!({"counterfoil_order": "1"}),
                Err("`s.metadata.counterfoil_order` is not an id".to_owned()),
            ),
            (
                json!({"order_id": text, "counterfoil_order": OrderId::from_bits(8).to_string()}),
                Err("`s.metadata.order_id` contradicts `counterfoil_order`".to_owned()),
            ),
        ] {
            assert_eq!(read(&json!({ "metadata": metadata }), order), expected, "{metadata}");
        }
    }

    #[test]
    fn a_refund_answers_a_request_only_if_it_names_one() {
        let request = RefundRequestId::from_bits(7);
        for (refund, expected) in [
            (json!({}), None),
            (json!({"metadata": null}), None),
            (json!({"metadata": {"counterfoil_refund": "re_1"}}), None),
            (json!({"metadata": {"counterfoil_refund": request.to_string()}}), Some(request)),
        ] {
            assert_eq!(read(&refund, refund_request), Ok(expected), "{refund}");
        }
    }

    #[test]
    fn credits_are_whole_numbers_in_digits_or_as_a_number() {
        for credits_given in [json!("100"), json!("0100"), json!(100)] {
            let expected = StatedCredits { amount: amount(100), unit: None };
            assert_eq!(read(&json!({"metadata": {"credits": credits_given}}), credits), Ok(Some(expected)));
        }
        let largest = json!({"metadata": {"credits": "9007199254740991"}});
        assert_eq!(
            read(&largest, credits).map(|stated| stated.map(|stated| stated.amount)),
            Ok(Some(amount(MAX_AMOUNT)))
        );
        let not_whole =
            ["", " 100", "1.5", "100.0", "1e2", "+100", "1,000", "abc", "-", "٣"].map(|text| json!(text));
        for given in not_whole.into_iter().chain([json!(1.5), json!(true), json!([1])]) {
            let error = read(&json!({"metadata": {"credits": given}}), credits).expect_err("no number");
            assert_eq!(error, "`s.metadata.credits` is not a whole number", "{given}");
        }
        let out_of_range =
            ["0", "-100", "9007199254740992", "99999999999999999999999999"].map(|text| json!(text));
        for given in out_of_range.into_iter().chain([json!(0), json!(-1), json!(9_007_199_254_740_992_i64)]) {
            let error =
                read(&json!({"metadata": {"credits": given}}), credits).expect_err("too big or small");
            assert_eq!(error, "`s.metadata.credits` is out of range", "{given}");
        }
    }

    #[test]
    fn a_unit_has_two_names_that_may_not_differ() {
        let unit_u = Ok(Unit::parse("u").ok());
        for (metadata, expected) in [
            (json!({"credits": "1"}), Ok(None)),
            (json!({"credits": "1", "unit": "u"}), unit_u.clone()),
            (json!({"credits": "1", "credit_unit": "u"}), unit_u.clone()),
            (json!({"credits": "1", "unit": "u", "credit_unit": "u"}), unit_u),
            (json!({"credits": "1", "unit": "U"}), Err("`s.metadata.unit` has an unknown value".to_owned())),
            (
                json!({"credits": "1", "unit": "u", "credit_unit": "v"}),
                Err("`s.metadata.unit` contradicts `credit_unit`".to_owned()),
            ),
        ] {
            let unit =
                read(&json!({"metadata": metadata}), credits).map(|stated| stated.expect("stated").unit);
            assert_eq!(unit, expected, "{metadata}");
        }
    }

    #[test]
    fn a_price_is_sold_once_unless_a_quantity_is_given() {
        let sold = |quantity| SoldPrice {
            price: PriceId::parse("price_1").expect("an id"),
            quantity: amount(quantity),
        };
        for (metadata, expected) in [
            (json!({"quantity": "3"}), Ok(None)),
            (json!({"price_id": "price_1"}), Ok(Some(sold(1)))),
            (json!({"price_id": "price_1", "quantity": "3"}), Ok(Some(sold(3)))),
            (json!({"price_id": "gold plan"}), Ok(None)),
            (
                json!({"price_id": "gold plan", "account_id": "a"}),
                Err("`s.metadata.price_id` is not an id".to_owned()),
            ),
            (
                json!({"price_id": "price_1", "quantity": "0"}),
                Err("`s.metadata.quantity` is out of range".to_owned()),
            ),
        ] {
            assert_eq!(read(&json!({"metadata": metadata}), price), expected, "{metadata}");
        }
    }
}
