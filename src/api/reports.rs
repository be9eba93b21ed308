//! Reports: what finance asks, by day, and the journal in the formats of plain-text accounting.

mod answer;
mod bodies;
mod formats;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use poem::Body;
use poem_openapi::{Enum, OpenApi};

use self::{
    answer::Answer,
    bodies::{JournalPage, OutstandingReport, RevenueReport, UsageReport},
};
use super::{
    answers::Found,
    auth::{Audit, Authorised},
    error::{ApiError, Failure, Reading},
    export,
    params::{Parameter, Query},
    tags::Tag,
    wire::{Cursor, Limit, Nullable},
};
use crate::{
    domain::{
        amount::Currency,
        day::Day,
        ids::{AccountId, AccountNumber, FeatureKey, InvalidName},
    },
    service::{
        Caller, Days, Granularity, JournalEnd, JournalPlace, JournalRow, PositionToken, RevenueFilter,
        Service, ServiceError, UsageFilter,
    },
};

/// How many entries are read at once for a stream.
const STREAM_PAGE: i64 = 1_000;
/// How many lines a report of revenue or usage may have: such a report is one answer, of one moment.
const MOST_LINES: usize = 10_000;

/// What a line of the report sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ReportPeriod {
    /// A day.
    Day,
    /// A month, or the part of it that is asked for.
    Month,
}

impl Parameter for ReportPeriod {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        match text {
            "day" => Ok(Self::Day),
            "month" => Ok(Self::Month),
            _ => Err(InvalidName { expected: "must be day or month" }),
        }
    }
}

/// How a report is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ReportFormat {
    /// As JSON.
    Json,
    /// As comma-separated values.
    Csv,
}

impl Parameter for ReportFormat {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err(InvalidName { expected: "must be json or csv" }),
        }
    }
}

/// How the journal is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum JournalFormat {
    /// A page of JSON.
    Json,
    /// All of it as comma-separated values, one posting per line.
    Csv,
    /// All of it for Beancount.
    Beancount,
    /// All of it for hledger.
    Hledger,
}

impl Parameter for JournalFormat {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "beancount" => Ok(Self::Beancount),
            "hledger" => Ok(Self::Hledger),
            _ => Err(InvalidName { expected: "must be json, csv, beancount or hledger" }),
        }
    }
}

/// The days that are asked for: all, where nothing is said.
fn days(from: Option<Day>, to: Option<Day>) -> Result<Days, ApiError> {
    let (from, to) = (from.unwrap_or(Day::FIRST), to.unwrap_or(Day::LAST));
    if from > to {
        return Err(ApiError::invalid("to", "is before `from`"));
    }
    Ok(Days { from, to })
}

/// How many lines are read: one more than a report may have shows that it would have more.
fn lines_read() -> i64 {
    i64::try_from(MOST_LINES).unwrap_or(i64::MAX).saturating_add(1)
}

/// Refuses a report that has too many lines for one answer.
fn check_size<T>(lines: &[T]) -> Result<(), ApiError> {
    if lines.len() > MOST_LINES {
        let problem = format!("asks for more than {MOST_LINES} lines: ask for fewer days at once");
        return Err(ApiError::invalid("from", problem));
    }
    Ok(())
}

/// Cuts the one row off that only shows that there is another page; says whether there is.
fn page<T>(mut rows: Vec<T>, limit: u16) -> (Vec<T>, bool) {
    let has_more = rows.len() > usize::from(limit);
    rows.truncate(limit.into());
    (rows, has_more)
}

/// The resource.
pub struct Reports;

#[OpenApi(tag = "Tag::Reports")]
impl Reports {
    /// Report revenue
    ///
    /// How what is owed in credits moved: what was sold, earned by use and by expiry, and refunded, by currency and day or
    /// month. `deferred_at_open + sold − recognised − breakage − refunded = deferred_at_close`. The whole report is one answer,
    /// of one moment, and has all that was recorded before it was asked for.
    #[oai(path = "/v1/reports/revenue", method = "get", operation_id = "report_revenue")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the interface")]
    async fn revenue(
        &self,
        caller: Authorised<Audit>,
        /// The first day; all if absent.
        from: Query<Day>,
        /// The last day, included; all if absent.
        to: Query<Day>,
        /// What a line sums; a day if absent.
        granularity: Query<ReportPeriod>,
        /// Only this currency.
        currency: Query<Currency>,
        /// How it is written; `json` if absent.
        format: Query<ReportFormat>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
    ) -> Result<Answer<RevenueReport>, Failure<Reading>> {
        let granularity = match granularity.0 {
            None | Some(ReportPeriod::Day) => Granularity::Day,
            Some(ReportPeriod::Month) => Granularity::Month,
        };
        let filter = RevenueFilter { days: days(from.0, to.0)?, granularity, currency: currency.0 };
        let report = caller.service.revenue(&caller.caller, filter, lines_read(), min_position.0).await?;
        check_size(&report.rows)?;
        if format.0 == Some(ReportFormat::Csv) {
            return Ok(Answer::csv(formats::revenue(&report.rows)));
        }
        let items = report.rows.into_iter().map(Into::into).collect();
        Ok(Answer::Json(RevenueReport { items, position: report.position.0, is_final: report.is_final }))
    }

    /// Report usage
    ///
    /// What was used of each feature and unit, by day: by everyone, or by one account. The whole report is one answer, of one
    /// moment, and has all that was recorded before it was asked for.
    #[oai(path = "/v1/reports/usage", method = "get", operation_id = "report_usage")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the interface")]
    async fn usage(
        &self,
        caller: Authorised<Audit>,
        /// The first day; all if absent.
        from: Query<Day>,
        /// The last day, included; all if absent.
        to: Query<Day>,
        /// Only this account.
        account: Query<AccountId>,
        /// Only this feature.
        feature: Query<FeatureKey>,
        /// How it is written; `json` if absent.
        format: Query<ReportFormat>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
    ) -> Result<Answer<UsageReport>, Failure<Reading>> {
        let filter = UsageFilter { days: days(from.0, to.0)?, account: account.0, feature: feature.0 };
        let report = caller.service.usage(&caller.caller, &filter, lines_read(), min_position.0).await?;
        check_size(&report.rows)?;
        if format.0 == Some(ReportFormat::Csv) {
            return Ok(Answer::csv(formats::usage(&report.rows)));
        }
        let items = report.rows.into_iter().map(Into::into).collect();
        Ok(Answer::Json(UsageReport { items, position: report.position.0, is_final: report.is_final }))
    }

    /// Read the journal
    ///
    /// What each event did to the books, as postings that sum up to 0. As `json` in pages; as `csv`, `beancount` or `hledger`
    /// all that was asked for at once. Both end with what was recorded before the first page was asked for, however much comes
    /// meanwhile; a text that ends early was cut off.
    #[oai(path = "/v1/reports/journal", method = "get", operation_id = "report_journal")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the interface")]
    async fn journal(
        &self,
        caller: Authorised<Audit>,
        /// The first day; all if absent.
        from: Query<Day>,
        /// The last day, included; all if absent.
        to: Query<Day>,
        /// How it is written; `json` if absent.
        format: Query<JournalFormat>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
        /// How many at most, as `json`; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before; as `json` only.
        cursor: Query<Cursor>,
    ) -> Result<Answer<JournalPage>, Failure<Reading>> {
        let days = days(from.0, to.0)?;
        let format = format.0.unwrap_or(JournalFormat::Json);
        if format != JournalFormat::Json {
            if cursor.0.is_some() {
                return Err(ApiError::invalid("cursor", "is of pages of json").into());
            }
            let (service, caller) = (caller.service, caller.caller);
            let body = whole_journal(service, caller, days, format, min_position.0).await?;
            return Ok(Answer::Text(formats::media_type(format), body));
        }
        let limit = limit.0.unwrap_or_default().get();
        // One more than is shown says whether there is another page.
        let read = i64::from(limit) + 1;
        let (rows, end) = match cursor.0 {
            None => {
                let (report, end) =
                    caller.service.journal(&caller.caller, days, read, min_position.0).await?;
                (report.rows, end)
            }
            Some(cursor) => {
                let (after, end): (JournalPlace, JournalEnd) = cursor.place()?;
                (caller.service.journal_after(&caller.caller, days, &after, end, read).await?, end)
            }
        };
        let (rows, has_more) = page(rows, limit);
        let next = rows.last().filter(|_| has_more).map(|row| Cursor::of(&(row.place(), end)));
        let items = rows.into_iter().map(Into::into).collect();
        Ok(Answer::Json(JournalPage { items, position: end.position().0, next_cursor: Nullable(next) }))
    }

    /// Report outstanding credits
    ///
    /// What accounts had at the end of a day, and what was deferred for them. Of a day that is over, all pages are of one
    /// moment.
    #[oai(path = "/v1/reports/outstanding", method = "get", operation_id = "report_outstanding")]
    async fn outstanding(
        &self,
        caller: Authorised<Audit>,
        /// The day; if absent today, by the ledger's clock.
        as_of: Query<Day>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
        /// How many accounts at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<OutstandingReport>, Failure<Reading>> {
        let after: Option<AccountNumber> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let read = i64::from(limit) + 1;
        let report = caller.service.outstanding(&caller.caller, as_of.0, after, read, min_position.0);
        let (report, as_of) = report.await?;
        let (rows, has_more) = page(report.rows, limit);
        let next = rows.last().filter(|_| has_more).map(|row| Cursor::of(&row.account));
        let with_something = rows.into_iter().filter(|row| !row.units.is_empty() || !row.deferred.is_empty());
        Ok(Found(OutstandingReport {
            as_of,
            items: with_something.map(Into::into).collect(),
            position: report.position.0,
            is_final: report.is_final,
            next_cursor: Nullable(next),
        }))
    }
}

/// All of the journal as text, read page by page as it is taken. The first page is read before the answer begins, so that
/// whatever keeps it from being read is told by a status.
async fn whole_journal(
    service: Arc<Service>,
    caller: Arc<Caller>,
    days: Days,
    format: JournalFormat,
    seen: Option<PositionToken>,
) -> Result<Body, ServiceError> {
    let (first, end) = service.journal(&caller, days, STREAM_PAGE, seen).await?;
    let after = first.rows.last().map(JournalRow::place);
    let text =
        move |rows: &[JournalRow]| -> String { rows.iter().map(|row| formats::entry(format, row)).collect() };
    let begin = formats::preamble(format).to_owned() + &text(&first.rows);
    let rest = stream::try_unfold(after, move |after| {
        let (service, caller) = (Arc::clone(&service), Arc::clone(&caller));
        async move {
            let Some(after) = after else { return Ok(None) };
            let rows = service.journal_after(&caller, days, &after, end, STREAM_PAGE).await?;
            Ok(rows.last().map(|last| (text(&rows), Some(last.place()))))
        }
    });
    let pages = stream::once(async { Ok(begin) }).chain(rest);
    Ok(export::body(pages.map_ok(String::into_bytes).map_err(|error: ServiceError| error.to_string())))
}
