//! Reports, from projections. A report has all that was recorded in its days before it was asked for; it waits for that.

use deadpool_postgres::Object;

use super::{
    Caller, NotFound, PositionToken, Service, ServiceError,
    position::{Waiting, check_seen},
};
use crate::{
    domain::{
        day::Day,
        ids::{AccountId, AccountNumber, FeatureKey, Position},
        time::{Span, Timestamp},
    },
    store::{
        projections::reports::{
            self, Days, JournalEnd, JournalPlace, JournalRow, OutstandingRow, Reported, RevenueFilter,
            RevenueRow, UsageRow,
        },
        reads::{self, Moment, ReadError},
        rows::RowError,
    },
};

/// How long after its end a day may still get events: a batch takes its time first, and then commits, in less than this.
const LONGEST_BATCH_SECONDS: i64 = 10;

/// Which use is reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageFilter {
    /// On which days.
    pub days: Days,
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only of this feature.
    pub feature: Option<FeatureKey>,
}

/// A report, or a page of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report<T> {
    /// The rows, in order.
    pub rows: Vec<T>,
    /// It has all events up to here, and none after.
    pub position: Position,
    /// Whether its days are over, so that no event can change it any more.
    pub is_final: bool,
}

impl Service {
    /// How what is owed in credits moved, by currency and period: `limit` lines at most.
    ///
    /// # Errors
    /// [`ServiceError::HistoryLost`] if what was `seen` is gone; [`ServiceError::PositionNotReached`] if what belongs into
    /// the report is not in it in time.
    pub async fn revenue(
        &self,
        caller: &Caller,
        filter: RevenueFilter,
        limit: i64,
        seen: Option<PositionToken>,
    ) -> Result<Report<RevenueRow>, ServiceError> {
        let mut report = self.begin(caller, filter.days.to, seen).await?;
        loop {
            let mut client = self.client().await?;
            let read = reports::revenue(&mut client, caller.ledger, filter, limit).await;
            drop(client);
            if let Some((report, _)) = report.with(read).await? {
                return Ok(report);
            }
        }
    }

    /// What was used, by day, feature and unit: `limit` lines at most.
    ///
    /// # Errors
    /// [`NotFound::Account`], and those of [`Self::revenue`].
    pub async fn usage(
        &self,
        caller: &Caller,
        filter: &UsageFilter,
        limit: i64,
        seen: Option<PositionToken>,
    ) -> Result<Report<UsageRow>, ServiceError> {
        let number = match &filter.account {
            None => None,
            Some(account) => {
                let (_, number) =
                    reads::accounts::find_number(&self.database, caller.ledger, account).await?;
                Some(number.ok_or(ServiceError::NotFound(NotFound::Account))?)
            }
        };
        let (days, feature) = (filter.days, filter.feature.as_ref());
        let mut report = self.begin(caller, days.to, seen).await?;
        loop {
            let mut client = self.client().await?;
            let read = reports::usage(&mut client, caller.ledger, days, number, feature, limit).await;
            drop(client);
            if let Some((report, _)) = report.with(read).await? {
                return Ok(report);
            }
        }
    }

    /// The first page of what events did to the books, and how far the pages after it go.
    ///
    /// # Errors
    /// Those of [`Self::revenue`].
    pub async fn journal(
        &self,
        caller: &Caller,
        days: Days,
        limit: i64,
        seen: Option<PositionToken>,
    ) -> Result<(Report<JournalRow>, JournalEnd), ServiceError> {
        let mut report = self.begin(caller, days.to, seen).await?;
        loop {
            let mut client = self.client().await?;
            let read = reports::journal(&mut client, caller.ledger, days, None, None, limit).await;
            drop(client);
            if let Some((report, last_day)) = report.with(read).await? {
                let end = JournalEnd::of(days, last_day, report.position);
                return Ok((report, end));
            }
        }
    }

    /// The page of the journal after a place, up to where the first page said.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn journal_after(
        &self,
        caller: &Caller,
        days: Days,
        after: &JournalPlace,
        end: JournalEnd,
        limit: i64,
    ) -> Result<Vec<JournalRow>, ServiceError> {
        let mut client = self.client().await?;
        let read = reports::journal(&mut client, caller.ledger, days, Some(after), Some(end), limit);
        Ok(read.await.map_err(ReadError::from)?.rows)
    }

    /// What accounts had at the end of a day: of today, by the ledger's clock, if no day is named. Says which day it is.
    ///
    /// # Errors
    /// Those of [`Self::revenue`].
    pub async fn outstanding(
        &self,
        caller: &Caller,
        day: Option<Day>,
        after: Option<AccountNumber>,
        limit: i64,
        seen: Option<PositionToken>,
    ) -> Result<(Report<OutstandingRow>, Day), ServiceError> {
        let day = match day {
            Some(day) => day,
            None => Day::of(reads::read_moment(&self.database, caller.ledger).await?.now),
        };
        let mut report = self.begin(caller, day, seen).await?;
        loop {
            let mut client = self.client().await?;
            let read = reports::outstanding(&mut client, caller.ledger, day, after, limit).await;
            drop(client);
            if let Some((report, _)) = report.with(read).await? {
                return Ok((report, day));
            }
        }
    }

    /// Begins a report of the days up to `to`.
    async fn begin(
        &self,
        caller: &Caller,
        to: Day,
        seen: Option<PositionToken>,
    ) -> Result<Beginning, ServiceError> {
        let moment = reads::read_moment(&self.database, caller.ledger).await?;
        check_seen(&moment, seen)?;
        Ok(Beginning { moment, to, seen, waiting: Waiting::begin() })
    }

    async fn client(&self) -> Result<Object, ServiceError> {
        Ok(self.database.pool().get().await.map_err(ReadError::from)?)
    }
}

/// A report that was asked for at a moment.
struct Beginning {
    moment: Moment,
    to: Day,
    seen: Option<PositionToken>,
    waiting: Waiting,
}

impl Beginning {
    /// The report with what was read, and the day of its last event. If something is lacking that was recorded before it was
    /// asked for, this takes a while, gives nothing, and it is to be read again.
    async fn with<T>(
        &mut self,
        read: Result<Reported<T>, RowError>,
    ) -> Result<Option<(Report<T>, Option<Day>)>, ServiceError> {
        let Reported { rows, position, day, lacks } = read.map_err(ReadError::from)?;
        let is_complete = position >= self.moment.position || lacks.is_some_and(|lacks| lacks > self.to);
        if is_complete && self.seen.is_none_or(|seen| position >= seen.position()) {
            let is_final = is_over(self.to, self.moment.now);
            return Ok(Some((Report { rows, position, is_final }, day)));
        }
        self.waiting.pause().await?;
        Ok(None)
    }
}

/// Whether nothing can be recorded on that day any more.
fn is_over(day: Day, now: Timestamp) -> bool {
    Day::of(now.plus(Span::seconds(-LONGEST_BATCH_SECONDS))) > day
}
