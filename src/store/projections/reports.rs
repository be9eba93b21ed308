//! Reports: reads of the projections `books`, `usage` and `accounts_overview`.
//!
//! Each read is one snapshot, and says how far its projection was in it and what it lacked. Lists are read from a key on, so
//! that a page costs the same wherever it is.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, IsolationLevel, Row, Transaction, types::Type};

use super::{LedgerId, Position, read::serving};
use crate::{
    domain::{
        amount::Currency,
        day::Day,
        ids::{AccountId, AccountNumber, FeatureKey, Unit},
    },
    store::{
        rows::RowError,
        scope::{self, Parameter},
    },
};

/// Rows of a projection, and how far it is: everything up to there is in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reported<T> {
    /// The rows, in order.
    pub rows: Vec<T>,
    /// How far the projection is.
    pub position: Position,
    /// The day of the last event that is in them.
    pub day: Option<Day>,
    /// The day of the first event that is not in them; none if there is no such event.
    pub lacks: Option<Day>,
}

/// The days of a report, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Days {
    /// The first.
    pub from: Day,
    /// The last.
    pub to: Day,
}

/// What a line of a report sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granularity {
    /// Each day.
    Day,
    /// Each month.
    Month,
}

impl Granularity {
    /// As PostgreSQL's `date_trunc` names it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// How what is owed in credits moved in one currency and one day or month. Money in the currency's smallest part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevenueRow {
    /// The currency.
    pub currency: Currency,
    /// The first day of the period.
    pub period: Day,
    /// Owed as the period began.
    pub deferred_at_open: i64,
    /// Came in, without tax.
    pub sold: i64,
    /// Earned by use.
    pub recognised: i64,
    /// Earned by expiry.
    pub breakage: i64,
    /// Went back, without tax.
    pub refunded: i64,
    /// Owed as it ended.
    pub deferred_at_close: i64,
}

/// Which revenue is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RevenueFilter {
    /// Of which days.
    pub days: Days,
    /// Summed by what.
    pub granularity: Granularity,
    /// Only of this currency.
    pub currency: Option<Currency>,
}

/// The roll-forward of what is deferred, by currency and period in which something moved. A currency of which something was
/// deferred before has a line of the first period in any case.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn revenue(
    client: &mut Client,
    ledger: LedgerId,
    filter: RevenueFilter,
    limit: i64,
) -> Result<Reported<RevenueRow>, RowError> {
    let transaction = begin(client, ledger).await?;
    let Some(books) = serving(transaction.client(), ledger, "books").await? else {
        return nothing(&transaction, ledger).await;
    };
    let statement = format!(
        "SELECT r.currency, date_trunc($2, r.day)::date AS period,
                (array_agg(r.deferred_at_open ORDER BY r.day))[1] AS deferred_at_open,
                sum(r.sold)::bigint AS sold, sum(r.recognised)::bigint AS recognised,
                sum(r.breakage)::bigint AS breakage, sum(r.refunded)::bigint AS refunded,
                (array_agg(r.deferred_at_close ORDER BY r.day DESC, r.is_carried))[1] AS deferred_at_close
           FROM (SELECT m.currency, m.day, m.deferred_at_open, m.sold, m.recognised, m.breakage, m.refunded,
                        m.deferred_at_close, false AS is_carried
                   FROM {revenue} m
                  WHERE m.ledger_id = $1 AND m.day >= $3 AND m.day <= $4
                  UNION ALL
                 SELECT c.currency, $3, l.deferred_at_close, 0, 0, 0, 0, l.deferred_at_close, true
                   FROM (SELECT DISTINCT k.currency FROM {revenue} k WHERE k.ledger_id = $1) c
                  CROSS JOIN LATERAL (SELECT b.deferred_at_close FROM {revenue} b
                                       WHERE b.ledger_id = $1 AND b.currency = c.currency AND b.day < $3
                                       ORDER BY b.day DESC LIMIT 1) l
                  WHERE l.deferred_at_close <> 0 AND $3 <= $4) r
          WHERE $5::text IS NULL OR r.currency = $5
          GROUP BY r.currency, date_trunc($2, r.day)
          ORDER BY r.currency, date_trunc($2, r.day) LIMIT $6",
        revenue = format_args!("{}.revenue", books.schema)
    );
    let (from, to) = (filter.days.from.to_date(), filter.days.to.to_date());
    let currency = filter.currency.as_ref().map(Currency::as_str);
    let parameters: [Parameter<'_>; 6] = [
        (&ledger.0, Type::INT8),
        (&filter.granularity.as_str(), Type::TEXT),
        (&from, Type::DATE),
        (&to, Type::DATE),
        (&currency, Type::TEXT),
        (&limit, Type::INT8),
    ];
    let rows = transaction.query_typed(&statement, &parameters).await?;
    reported(&transaction, ledger, &rows, books.position, |row| {
        Ok(RevenueRow {
            currency: currency_of(row)?,
            period: day_of(row, "period")?,
            deferred_at_open: row.try_get("deferred_at_open")?,
            sold: row.try_get("sold")?,
            recognised: row.try_get("recognised")?,
            breakage: row.try_get("breakage")?,
            refunded: row.try_get("refunded")?,
            deferred_at_close: row.try_get("deferred_at_close")?,
        })
    })
    .await
}

/// What was used of one feature and unit on one day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRow {
    /// The day.
    pub day: Day,
    /// The feature; none where none was named.
    pub feature: Option<FeatureKey>,
    /// The unit.
    pub unit: Unit,
    /// How many spends and captures.
    pub uses: i64,
    /// How many of the feature.
    pub quantity: i64,
    /// How many credits.
    pub amount: i64,
}

/// What reads what was used from a schema: of a ledger, by the account `$2` or, if it is null, by everyone, from a day to a
/// day, of the feature `$5` or, if it is null, of all, so many lines.
pub fn usage_statement(schema: &str, by_one_account: bool, of_one_feature: bool) -> String {
    let (table, of_account) = if by_one_account {
        ("account_usage", "u.account_number = $2")
    } else {
        ("usage", "$2::bigint IS NULL")
    };
    // A condition that may be absent would be no condition of the index by feature.
    let of_feature = if of_one_feature { "u.feature = $5" } else { "$5::text IS NULL" };
    format!(
        "SELECT u.day, u.feature, u.unit, u.uses, u.quantity, u.amount
           FROM {schema}.{table} u
          WHERE u.ledger_id = $1 AND {of_account} AND {of_feature} AND u.day >= $3 AND u.day <= $4
          ORDER BY u.day, u.feature, u.unit LIMIT $6"
    )
}

/// What was used, by day, feature and unit: by everyone, or by one account.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn usage(
    client: &mut Client,
    ledger: LedgerId,
    days: Days,
    account: Option<AccountNumber>,
    feature: Option<&FeatureKey>,
    limit: i64,
) -> Result<Reported<UsageRow>, RowError> {
    let transaction = begin(client, ledger).await?;
    let Some(usage) = serving(transaction.client(), ledger, "usage").await? else {
        return nothing(&transaction, ledger).await;
    };
    let statement = usage_statement(&usage.schema, account.is_some(), feature.is_some());
    let (from, to) = (days.from.to_date(), days.to.to_date());
    let account = account.map(|number| number.0);
    let feature = feature.map(FeatureKey::as_str);
    let parameters: [Parameter<'_>; 6] = [
        (&ledger.0, Type::INT8),
        (&account, Type::INT8),
        (&from, Type::DATE),
        (&to, Type::DATE),
        (&feature, Type::TEXT),
        (&limit, Type::INT8),
    ];
    let rows = transaction.query_typed(&statement, &parameters).await?;
    reported(&transaction, ledger, &rows, usage.position, |row| {
        let feature: &str = row.try_get("feature")?;
        let feature = (!feature.is_empty()).then(|| FeatureKey::parse(feature)).transpose();
        Ok(UsageRow {
            day: day_of(row, "day")?,
            feature: feature.map_err(|_| RowError::Value { column: "feature" })?,
            unit: unit_of(row)?,
            uses: row.try_get("uses")?,
            quantity: row.try_get("quantity")?,
            amount: row.try_get("amount")?,
        })
    })
    .await
}

/// What one event did to the books. Money in the currency's smallest part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalRow {
    /// The event.
    pub position: Position,
    /// Its day.
    pub day: Day,
    /// Its type.
    pub type_name: String,
    /// Whose money.
    pub account: AccountNumber,
    /// The currency.
    pub currency: Currency,
    /// Came in, without tax.
    pub sold: i64,
    /// Went back, without tax.
    pub refunded: i64,
    /// Cost that came from another account, or went there.
    pub carried: i64,
    /// Earned by use.
    pub recognised: i64,
    /// Earned by expiry.
    pub breakage: i64,
    /// The change of what is owed in credits.
    pub deferred: i64,
}

/// The place of an entry in the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JournalPlace(Day, Position, Currency, AccountNumber);

impl JournalRow {
    /// Where it stands.
    pub fn place(&self) -> JournalPlace {
        JournalPlace(self.day, self.position, self.currency, self.account)
    }
}

/// How far a reading of the journal goes that may take many pages: what is recorded meanwhile is not in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JournalEnd(Day, Position);

impl JournalEnd {
    /// All of those days up to a position, where that of the last event was `last_day`.
    pub fn of(days: Days, last_day: Option<Day>, position: Position) -> Self {
        Self(last_day.map_or(days.to, |last| last.min(days.to)), position)
    }

    /// How far the projection was.
    pub fn position(self) -> Position {
        self.1
    }
}

/// What reads a page of the journal in a schema: of a ledger, after a day, position, currency and account, up to a day and
/// position, so many.
pub fn journal_statement(schema: &str) -> String {
    format!(
        "SELECT j.position, j.day, j.type, j.account_number, j.currency, j.sold, j.refunded, j.carried, j.recognised,
                j.breakage, j.deferred
           FROM {schema}.journal j
          WHERE j.ledger_id = $1 AND (j.day, j.position, j.currency, j.account_number) > ($2, $3, $4, $5)
            AND (j.day, j.position) <= ($6, $7)
          ORDER BY j.day, j.position, j.currency, j.account_number LIMIT $8"
    )
}

/// The journal of some days, in the order of the events, after a place and up to an end; if none is given, up to where the
/// projection is.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn journal(
    client: &mut Client,
    ledger: LedgerId,
    days: Days,
    after: Option<&JournalPlace>,
    end: Option<JournalEnd>,
    limit: i64,
) -> Result<Reported<JournalRow>, RowError> {
    let transaction = begin(client, ledger).await?;
    let Some(books) = serving(transaction.client(), ledger, "books").await? else {
        return nothing(&transaction, ledger).await;
    };
    let statement = journal_statement(&books.schema);
    // A place in front of all, if none is given: a condition that may be absent would be no condition of the index.
    let after = after.filter(|place| place.0 >= days.from);
    let from = after.map_or(days.from, |place| place.0).to_date();
    let position = after.map_or(0, |place| place.1.0);
    let currency = after.map_or("", |place| place.2.as_str());
    let account = after.map_or(0, |place| place.3.0);
    let JournalEnd(to, until) = end.unwrap_or(JournalEnd(days.to, Position(i64::MAX)));
    let to = to.to_date();
    let parameters: [Parameter<'_>; 8] = [
        (&ledger.0, Type::INT8),
        (&from, Type::DATE),
        (&position, Type::INT8),
        (&currency, Type::TEXT),
        (&account, Type::INT8),
        (&to, Type::DATE),
        (&until.0, Type::INT8),
        (&limit, Type::INT8),
    ];
    let rows = transaction.query_typed(&statement, &parameters).await?;
    reported(&transaction, ledger, &rows, books.position, |row| {
        Ok(JournalRow {
            position: Position(row.try_get("position")?),
            day: day_of(row, "day")?,
            type_name: row.try_get("type")?,
            account: AccountNumber(row.try_get("account_number")?),
            currency: currency_of(row)?,
            sold: row.try_get("sold")?,
            refunded: row.try_get("refunded")?,
            carried: row.try_get("carried")?,
            recognised: row.try_get("recognised")?,
            breakage: row.try_get("breakage")?,
            deferred: row.try_get("deferred")?,
        })
    })
    .await
}

/// What one account had at the end of a day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutstandingRow {
    /// The account.
    pub account: AccountNumber,
    /// The client's present name of it.
    pub account_id: AccountId,
    /// Of which unit, and of it available, debt, held and disputed.
    pub units: Vec<(Unit, [i64; 4])>,
    /// What is deferred for it, by currency.
    pub deferred: Vec<(Currency, i64)>,
}

/// What accounts had at the end of a day, by number, after an account. Accounts without anything then have no credits and
/// nothing deferred.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn outstanding(
    client: &mut Client,
    ledger: LedgerId,
    day: Day,
    after: Option<AccountNumber>,
    limit: i64,
) -> Result<Reported<OutstandingRow>, RowError> {
    let transaction = begin(client, ledger).await?;
    let overview = serving(transaction.client(), ledger, "accounts_overview").await?;
    let books = serving(transaction.client(), ledger, "books").await?;
    let (Some(overview), Some(books)) = (overview, books) else {
        return nothing(&transaction, ledger).await;
    };
    let statement = outstanding_statement(&overview.schema, &books.schema);
    let after = after.map_or(0, |number| number.0);
    let day = day.to_date();
    let parameters: [Parameter<'_>; 4] =
        [(&ledger.0, Type::INT8), (&day, Type::DATE), (&after, Type::INT8), (&limit, Type::INT8)];
    let rows = transaction.query_typed(&statement, &parameters).await?;
    let position = overview.position.min(books.position);
    reported(&transaction, ledger, &rows, position, outstanding_from).await
}

/// What reads a page of what accounts had from schemas of two projections: of a ledger, at the end of a day, after an account,
/// so many.
///
/// Accounts of later numbers were not opened earlier: where one is too young, the list has ended.
pub fn outstanding_statement(overview: &str, books: &str) -> String {
    format!(
        "SELECT o.account_number, a.external_id, u.units, u.amounts, d.currencies, d.deferred
           FROM (SELECT v.account_number, v.opened_at FROM {overview}.accounts_overview v
                  WHERE v.ledger_id = $1 AND v.account_number > $3
                  ORDER BY v.account_number LIMIT $4) o
          CROSS JOIN LATERAL (SELECT a.external_id FROM accounts a
                               WHERE a.ledger_id = $1 AND a.account_number = o.account_number OFFSET 0) a
          CROSS JOIN LATERAL (
                SELECT array_agg(n.unit ORDER BY n.unit) AS units,
                       array_agg(n.amount ORDER BY n.unit, n.place) AS amounts
                  FROM ({of_units}) l
                 CROSS JOIN LATERAL unnest(ARRAY[l.available, l.debt, l.held, l.disputed])
                            WITH ORDINALITY n0 (amount, place)
                 CROSS JOIN LATERAL (SELECT l.unit, n0.amount, n0.place) n
                 WHERE l.available <> 0 OR l.debt <> 0 OR l.held <> 0 OR l.disputed <> 0
                ) u
          CROSS JOIN LATERAL (
                SELECT array_agg(l.currency ORDER BY l.currency) AS currencies,
                       array_agg(l.deferred ORDER BY l.currency) AS deferred
                  FROM ({of_currencies}) l
                 WHERE l.deferred <> 0
                ) d
          WHERE o.opened_at < ($2 + 1)::timestamp AT TIME ZONE 'UTC'
          ORDER BY o.account_number",
        of_units =
            last_days(&format!("{overview}.account_days"), "unit", "x.available, x.debt, x.held, x.disputed"),
        of_currencies = last_days(&format!("{books}.deferred_days"), "currency", "x.deferred"),
    )
}

/// The last rows of an account until the day `$2`, one for each unit or currency: looked up one by one, however many days it
/// has.
fn last_days(table: &str, key: &str, columns: &str) -> String {
    let of_account = format!("FROM {table} x WHERE x.ledger_id = $1 AND x.account_number = o.account_number");
    format!(
        "WITH RECURSIVE keys AS (
             SELECT (SELECT x.{key} {of_account} ORDER BY x.{key} LIMIT 1) AS {key}
              UNION ALL
             SELECT (SELECT x.{key} {of_account} AND x.{key} > k.{key} ORDER BY x.{key} LIMIT 1)
               FROM keys k WHERE k.{key} IS NOT NULL
         )
         SELECT k.{key}, last.*
           FROM keys k
          CROSS JOIN LATERAL (SELECT {columns} {of_account} AND x.{key} = k.{key} AND x.day <= $2
                               ORDER BY x.day DESC LIMIT 1) last"
    )
}

fn outstanding_from(row: &Row) -> Result<OutstandingRow, RowError> {
    // Each unit stands there once for each of its four amounts.
    let units: Vec<String> = row.try_get::<_, Option<_>>("units")?.unwrap_or_default();
    let amounts: Vec<i64> = row.try_get::<_, Option<_>>("amounts")?.unwrap_or_default();
    let mut held = Vec::new();
    for (unit, amounts) in units.iter().step_by(4).zip(amounts.chunks(4)) {
        let amounts = amounts.try_into().map_err(|_| RowError::Value { column: "amounts" })?;
        held.push((Unit::parse(unit).map_err(|_| RowError::Value { column: "unit" })?, amounts));
    }
    let currencies: Vec<String> = row.try_get::<_, Option<_>>("currencies")?.unwrap_or_default();
    let amounts: Vec<i64> = row.try_get::<_, Option<_>>("deferred")?.unwrap_or_default();
    let mut deferred = Vec::new();
    for (currency, amount) in currencies.iter().zip(amounts) {
        deferred.push((Currency::parse(currency).ok_or(RowError::Value { column: "currency" })?, amount));
    }
    let account_id = AccountId::parse(row.try_get("external_id")?);
    Ok(OutstandingRow {
        account: AccountNumber(row.try_get("account_number")?),
        account_id: account_id.map_err(|_| RowError::Value { column: "external_id" })?,
        units: held,
        deferred,
    })
}

async fn begin(client: &mut Client, ledger: LedgerId) -> Result<Transaction<'_>, RowError> {
    // A caller may go away between two queries: a transaction that is dropped rolls itself back.
    let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = builder.start().await?;
    transaction.batch_execute(&scope::settings(ledger)).await?;
    Ok(transaction)
}

async fn nothing<T>(transaction: &Transaction<'_>, ledger: LedgerId) -> Result<Reported<T>, RowError> {
    let never = |_: &Row| Err(RowError::Value { column: "position" });
    reported(transaction, ledger, &[], Position(0), never).await
}

async fn reported<T>(
    transaction: &Transaction<'_>,
    ledger: LedgerId,
    rows: &[Row],
    position: Position,
    from_row: impl Fn(&Row) -> Result<T, RowError>,
) -> Result<Reported<T>, RowError> {
    let statement = "
        SELECT (SELECT (e.recorded_at AT TIME ZONE 'UTC')::date FROM events e
                 WHERE e.ledger_id = $1 AND e.position = $2) AS last,
               (SELECT (e.recorded_at AT TIME ZONE 'UTC')::date FROM events e
                 WHERE e.ledger_id = $1 AND e.position = $2 + 1) AS next";
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&position.0, Type::INT8)];
    let around = transaction.query_typed(statement, &parameters).await?;
    let around = around.first().ok_or(RowError::Value { column: "last" })?;
    let day = |column: &'static str| {
        let date: Option<time::Date> = around.try_get(column)?;
        date.map(|date| Day::new(date).ok_or(RowError::Value { column })).transpose()
    };
    Ok(Reported {
        rows: rows.iter().map(from_row).collect::<Result<_, _>>()?,
        position,
        day: day("last")?,
        lacks: day("next")?,
    })
}

fn currency_of(row: &Row) -> Result<Currency, RowError> {
    Currency::parse(row.try_get("currency")?).ok_or(RowError::Value { column: "currency" })
}

fn unit_of(row: &Row) -> Result<Unit, RowError> {
    Unit::parse(row.try_get("unit")?).map_err(|_| RowError::Value { column: "unit" })
}

fn day_of(row: &Row, column: &'static str) -> Result<Day, RowError> {
    Day::new(row.try_get(column)?).ok_or(RowError::Value { column })
}
