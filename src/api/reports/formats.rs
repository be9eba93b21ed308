//! Reports as text: comma-separated values, Beancount, hledger. Nothing in them is free text, so nothing needs quotes.

use std::fmt::Write;

use super::JournalFormat;
use crate::{
    domain::ids::FeatureKey,
    service::{JournalRow, RevenueRow, UsageRow},
};

/// The media type of comma-separated values.
pub const CSV: &str = "text/csv";
/// The media type of plain-text accounting, which has none of its own.
pub const PLAIN: &str = "text/plain";

/// Money that came in and went back.
const PAYMENTS: &str = "Assets:Payments";
/// What is owed in credits.
const CREDITS: &str = "Liabilities:Credits";
/// Earned by use.
const RECOGNISED: &str = "Income:Recognised";
/// Earned by expiry.
const BREAKAGE: &str = "Income:Breakage";
/// On its way from one account to another.
const CARRIED: &str = "Equity:Carried";

pub fn media_type(format: JournalFormat) -> &'static str {
    match format {
        JournalFormat::Csv => CSV,
        JournalFormat::Json | JournalFormat::Beancount | JournalFormat::Hledger => PLAIN,
    }
}

/// What stands before the entries.
pub fn preamble(format: JournalFormat) -> &'static str {
    match format {
        JournalFormat::Json => "",
        JournalFormat::Csv => "day,position,type,account_number,account,amount,currency\n",
        JournalFormat::Beancount => {
            "option \"title\" \"Credits\"\n\n\
             1970-01-01 open Assets:Payments\n\
             1970-01-01 open Liabilities:Credits\n\
             1970-01-01 open Income:Recognised\n\
             1970-01-01 open Income:Breakage\n\
             1970-01-01 open Equity:Carried\n"
        }
        JournalFormat::Hledger => {
            "decimal-mark .\n\
             account Assets:Payments\n\
             account Liabilities:Credits\n\
             account Income:Recognised\n\
             account Income:Breakage\n\
             account Equity:Carried\n"
        }
    }
}

/// The report of revenue as comma-separated values: money in the currency, with its decimals.
pub fn revenue(rows: &[RevenueRow]) -> String {
    let mut text =
        "currency,period,deferred_at_open,sold,recognised,breakage,refunded,deferred_at_close\n".to_owned();
    for row in rows {
        let money = [
            row.deferred_at_open,
            row.sold,
            row.recognised,
            row.breakage,
            row.refunded,
            row.deferred_at_close,
        ];
        let money = money.map(|amount| row.currency.write(amount)).join(",");
        let _ = writeln!(text, "{},{},{money}", row.currency.as_str().to_ascii_uppercase(), row.period);
    }
    text
}

/// The report of usage as comma-separated values: credits in the smallest part of the unit.
pub fn usage(rows: &[UsageRow]) -> String {
    let mut text = "day,feature,unit,uses,quantity,amount\n".to_owned();
    for row in rows {
        let feature = row.feature.as_ref().map_or("", FeatureKey::as_str);
        let UsageRow { day, unit, uses, quantity, amount, .. } = row;
        let _ = writeln!(text, "{day},{feature},{unit},{uses},{quantity},{amount}");
    }
    text
}

/// The postings of an entry: debits positive, credits negative; those that are not 0, and they sum up to 0.
pub fn postings(row: &JournalRow) -> Vec<(&'static str, i64)> {
    let all = [
        (PAYMENTS, row.sold - row.refunded),
        (CREDITS, -row.deferred),
        (RECOGNISED, -row.recognised),
        (BREAKAGE, -row.breakage),
        (CARRIED, row.carried),
    ];
    all.into_iter().filter(|(_, amount)| *amount != 0).collect()
}

/// One entry.
pub fn entry(format: JournalFormat, row: &JournalRow) -> String {
    let mut text = String::new();
    let (day, type_name) = (row.day, &row.type_name);
    let (position, account_number) = (row.position, row.account);
    let currency = row.currency.as_str().to_ascii_uppercase();
    match format {
        JournalFormat::Beancount => {
            let _ = write!(
                text,
                "\n{day} * \"{type_name}\"\n  position: {position}\n  account_number: {account_number}\n"
            );
        }
        JournalFormat::Hledger => {
            let _ = write!(text, "\n{day} * ({position}) {type_name}  ; account_number:{account_number}\n");
        }
        JournalFormat::Json | JournalFormat::Csv => {}
    }
    for (account, amount) in postings(row) {
        let amount = row.currency.write(amount);
        let _ = match format {
            JournalFormat::Json | JournalFormat::Csv => {
                writeln!(text, "{day},{position},{type_name},{account_number},{account},{amount},{currency}")
            }
            JournalFormat::Beancount | JournalFormat::Hledger => {
                writeln!(text, "  {account}  {amount} {currency}")
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        amount::Currency,
        day::Day,
        ids::{AccountNumber, Position},
    };

    fn spent() -> JournalRow {
        JournalRow {
            position: Position(9),
            day: Day::parse("2026-01-31").expect("a day"),
            type_name: "credits.spent".to_owned(),
            account: AccountNumber(2),
            currency: Currency::parse("eur").expect("a currency"),
            sold: 0,
            refunded: 0,
            carried: 0,
            recognised: 1_205,
            breakage: 0,
            deferred: -1_205,
        }
    }

    #[test]
    fn an_entry_is_written_as_each_tool_reads_it() {
        assert_eq!(
            entry(JournalFormat::Beancount, &spent()),
            "\n2026-01-31 * \"credits.spent\"\n  position: 9\n  account_number: 2\n\
             \x20 Liabilities:Credits  12.05 EUR\n  Income:Recognised  -12.05 EUR\n"
        );
        assert_eq!(
            entry(JournalFormat::Hledger, &spent()),
            "\n2026-01-31 * (9) credits.spent  ; account_number:2\n\
             \x20 Liabilities:Credits  12.05 EUR\n  Income:Recognised  -12.05 EUR\n"
        );
        assert_eq!(
            entry(JournalFormat::Csv, &spent()),
            "2026-01-31,9,credits.spent,2,Liabilities:Credits,12.05,EUR\n\
             2026-01-31,9,credits.spent,2,Income:Recognised,-12.05,EUR\n"
        );
    }

    #[test]
    fn postings_sum_up_to_nothing() {
        assert_eq!(postings(&spent()).iter().map(|(_, amount)| amount).sum::<i64>(), 0);
    }
}
