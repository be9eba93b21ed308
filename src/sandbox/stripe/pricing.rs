//! What a session costs: its lines, less a discount, plus tax.

use serde_json::{Value, json};

/// What a session's lines come to, in the smallest part of its currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub subtotal: i64,
    pub discount: i64,
    pub tax: i64,
    pub total: i64,
}

/// Writes amounts into the lines and adds them up. `coupon` is `null` without a discount, `tax_percent` 0 without tax;
/// in a trial nothing that recurs is charged.
pub(super) fn price(lines: &mut [Value], coupon: &Value, tax_percent: i64, is_trial: bool) -> Totals {
    let subtotals: Vec<i64> = lines
        .iter()
        .map(|line| {
            if is_trial && line["price"]["type"] == "recurring" {
                return 0;
            }
            let quantity = line["quantity"].as_i64().unwrap_or(1);
            unit_amount(&line["price"], quantity)
        })
        .collect();
    let discounts = discounts(&subtotals, coupon);
    let mut totals = Totals::default();
    for ((line, subtotal), discount) in lines.iter_mut().zip(subtotals).zip(discounts) {
        let taxable = subtotal - discount;
        let is_inclusive = line["price"]["tax_behavior"] == "inclusive";
        let tax = if is_inclusive {
            taxable - divide(taxable * 100, 100 + tax_percent)
        } else {
            divide(taxable * tax_percent, 100)
        };
        let total = if is_inclusive { taxable } else { taxable + tax };
        line["amount_subtotal"] = subtotal.into();
        line["amount_discount"] = discount.into();
        line["amount_tax"] = tax.into();
        line["amount_total"] = total.into();
        totals.subtotal += subtotal;
        totals.discount += discount;
        totals.tax += tax;
        totals.total += total;
    }
    totals
}

/// What so many of a price cost; fractions of the smallest part are rounded at the end.
fn unit_amount(price: &Value, quantity: i64) -> i64 {
    if let Some(amount) = price["unit_amount"].as_i64() {
        return amount.saturating_mul(quantity);
    }
    let decimal = price["unit_amount_decimal"].as_str().and_then(|text| text.parse::<f64>().ok());
    rounded(decimal.unwrap_or_default() * as_float(quantity))
}

fn discounts(subtotals: &[i64], coupon: &Value) -> Vec<i64> {
    let sum: i64 = subtotals.iter().sum();
    if let Some(percent) = coupon["percent_off"].as_f64() {
        return subtotals.iter().map(|subtotal| rounded(as_float(*subtotal) * percent / 100.0)).collect();
    }
    let mut left = coupon["amount_off"].as_i64().unwrap_or_default().min(sum);
    let whole = left;
    let mut shares: Vec<i64> =
        subtotals.iter().map(|subtotal| if sum == 0 { 0 } else { whole * subtotal / sum }).collect();
    left -= shares.iter().sum::<i64>();
    for (share, subtotal) in shares.iter_mut().zip(subtotals) {
        let more = left.min(subtotal - *share);
        *share += more;
        left -= more;
    }
    shares
}

/// Divides and rounds half up.
const fn divide(amount: i64, by: i64) -> i64 {
    (amount * 2 + by) / (by * 2)
}

#[expect(clippy::cast_possible_truncation, reason = "amounts are far below 2^53")]
fn rounded(amount: f64) -> i64 {
    amount.round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53")]
const fn as_float(amount: i64) -> f64 {
    amount as f64
}

/// The totals as a session shows them.
pub(super) fn total_details(totals: Totals) -> Value {
    json!({ "amount_discount": totals.discount, "amount_shipping": 0, "amount_tax": totals.tax })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(unit_amount: i64, quantity: i64, tax_behavior: &str) -> Value {
        json!({ "price": { "unit_amount": unit_amount, "tax_behavior": tax_behavior }, "quantity": quantity })
    }

    #[test]
    fn tax_is_added_or_contained() {
        let mut lines = [line(1000, 1, "exclusive"), line(1190, 1, "inclusive")];
        let totals = price(&mut lines, &Value::Null, 19, false);
        assert_eq!(totals, Totals { subtotal: 2190, discount: 0, tax: 380, total: 2380 });
        assert_eq!(lines[1]["amount_tax"], 190);
    }

    #[test]
    fn a_discount_is_taken_before_tax_and_never_more_than_there_is() {
        let mut lines = [line(1000, 2, "unspecified")];
        let totals = price(&mut lines, &json!({ "percent_off": 25.0 }), 10, false);
        assert_eq!(totals, Totals { subtotal: 2000, discount: 500, tax: 150, total: 1650 });
        let mut lines =
            [line(100, 1, "unspecified"), line(101, 1, "unspecified"), line(102, 1, "unspecified")];
        let totals = price(&mut lines, &json!({ "amount_off": 100 }), 0, false);
        assert_eq!(totals, Totals { subtotal: 303, discount: 100, tax: 0, total: 203 });
        let totals = price(&mut lines, &json!({ "amount_off": 1000 }), 0, false);
        assert_eq!(totals.total, 0);
    }
}
