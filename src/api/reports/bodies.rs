//! What reports look like as JSON.

use poem_openapi::Object;

use super::formats;
use crate::{
    api::wire::{Cursor, Nullable},
    domain::{
        amount::Currency,
        day::Day,
        ids::{AccountId, FeatureKey, Unit},
    },
    service::{JournalRow, OutstandingRow, RevenueRow, UsageRow},
};

/// How what is owed in credits moved in one currency and period. Amounts are in the currency's smallest part and without
/// tax.
#[derive(Clone, Debug, Object)]
pub struct RevenueItem {
    /// The currency.
    pub currency: Currency,
    /// The first day of the period.
    pub period: Day,
    /// Owed in credits as the period began.
    pub deferred_at_open: i64,
    /// What credits were sold for.
    pub sold: i64,
    /// Earned, as credits were used.
    pub recognised: i64,
    /// Earned, as credits were lost.
    pub breakage: i64,
    /// Refunded, or lost in disputes.
    pub refunded: i64,
    /// Owed in credits as the period ended.
    pub deferred_at_close: i64,
}

/// The report of revenue.
#[derive(Clone, Debug, Object)]
pub struct RevenueReport {
    /// By currency, then by period. Periods in which nothing happened are left out.
    pub items: Vec<RevenueItem>,
    /// The report has all events up to this position, and none after.
    pub position: i64,
    /// Whether its days are over: no event can change it any more.
    pub is_final: bool,
}

/// What was used of a feature and unit on one day.
#[derive(Clone, Debug, Object)]
pub struct UsageItem {
    /// The day, in UTC.
    pub day: Day,
    /// The feature; `null` where none was named.
    pub feature: Nullable<FeatureKey>,
    /// The unit.
    pub unit: Unit,
    /// How many spends and captured holds.
    pub uses: i64,
    /// How many of the feature.
    pub quantity: i64,
    /// How many credits.
    pub amount: i64,
}

/// The report of usage.
#[derive(Clone, Debug, Object)]
pub struct UsageReport {
    /// By day, feature and unit.
    pub items: Vec<UsageItem>,
    /// The report has all events up to this position, and none after.
    pub position: i64,
    /// Whether its days are over: no event can change it any more.
    pub is_final: bool,
}

/// A part of an entry of the journal.
#[derive(Clone, Debug, Object)]
pub struct Posting {
    /// The account of the books, e.g. `Liabilities:Credits`.
    pub account: String,
    /// Positive is a debit, negative a credit, in the currency's smallest part.
    pub amount: i64,
}

/// What an event did to the books.
#[derive(Clone, Debug, Object)]
pub struct JournalEntry {
    /// The event.
    pub position: i64,
    /// The day on which it was recorded, in UTC.
    pub day: Day,
    /// Its type.
    #[oai(rename = "type")]
    pub event_type: String,
    /// Whose credits, by the account's number: the position of its `account.opened`.
    pub account_number: i64,
    /// The currency.
    pub currency: Currency,
    /// The postings; they sum up to 0.
    pub postings: Vec<Posting>,
}

/// A page of the journal.
#[derive(Clone, Debug, Object)]
pub struct JournalPage {
    /// In the order of the events.
    pub items: Vec<JournalEntry>,
    /// The journal ends with this position, on this page and on those after it.
    pub position: i64,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// What an account had of a unit.
#[derive(Clone, Debug, Object)]
pub struct OutstandingUnit {
    /// The unit.
    pub unit: Unit,
    /// What could be used.
    pub available: i64,
    /// What was owed.
    pub debt: i64,
    /// What was set aside in holds.
    pub held: i64,
    /// What was set aside for disputes and requested refunds.
    pub disputed: i64,
}

/// What was deferred in a currency.
#[derive(Clone, Debug, Object)]
pub struct DeferredMoney {
    /// The currency.
    pub currency: Currency,
    /// How much, in its smallest part.
    pub amount: i64,
}

/// What an account had at the end of a day.
#[derive(Clone, Debug, Object)]
pub struct OutstandingItem {
    /// The account, by its present name.
    pub account_id: AccountId,
    /// The account, by its number.
    pub account_number: i64,
    /// What it had, by unit; units of which it had nothing are left out.
    pub units: Vec<OutstandingUnit>,
    /// What was deferred for it: what its credits had cost.
    pub deferred: Vec<DeferredMoney>,
}

/// A page of what accounts had.
#[derive(Clone, Debug, Object)]
pub struct OutstandingReport {
    /// The end of this day, in UTC.
    pub as_of: Day,
    /// By account number. Accounts that had nothing are left out, so that a page may hold fewer than asked for.
    pub items: Vec<OutstandingItem>,
    /// The page has all events up to this position that belong to it.
    pub position: i64,
    /// Whether the day is over: no event can change the report any more. Until then pages may be of different moments.
    pub is_final: bool,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

impl From<RevenueRow> for RevenueItem {
    fn from(row: RevenueRow) -> Self {
        Self {
            currency: row.currency,
            period: row.period,
            deferred_at_open: row.deferred_at_open,
            sold: row.sold,
            recognised: row.recognised,
            breakage: row.breakage,
            refunded: row.refunded,
            deferred_at_close: row.deferred_at_close,
        }
    }
}

impl From<UsageRow> for UsageItem {
    fn from(row: UsageRow) -> Self {
        Self {
            day: row.day,
            feature: Nullable(row.feature),
            unit: row.unit,
            uses: row.uses,
            quantity: row.quantity,
            amount: row.amount,
        }
    }
}

impl From<JournalRow> for JournalEntry {
    fn from(row: JournalRow) -> Self {
        let postings = formats::postings(&row);
        let postings =
            postings.into_iter().map(|(account, amount)| Posting { account: account.to_owned(), amount });
        Self {
            position: row.position.0,
            day: row.day,
            account_number: row.account.0,
            currency: row.currency,
            postings: postings.collect(),
            event_type: row.type_name,
        }
    }
}

impl From<OutstandingRow> for OutstandingItem {
    fn from(row: OutstandingRow) -> Self {
        let units = row.units.into_iter().map(|(unit, [available, debt, held, disputed])| OutstandingUnit {
            unit,
            available,
            debt,
            held,
            disputed,
        });
        let deferred = row.deferred.into_iter().map(|(currency, amount)| DeferredMoney { currency, amount });
        Self {
            account_id: row.account_id,
            account_number: row.account.0,
            units: units.collect(),
            deferred: deferred.collect(),
        }
    }
}
