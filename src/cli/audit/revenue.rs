//! Compares the service's report of revenue with what the events lead to, day by day and to the cent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::comparison::{Compared, NOT_REPLAYED};
use super::source::Service;
use crate::audit::revenue::RevenueDay;
use crate::audit::verification::{Finding, Verified};
use crate::domain::amount::Currency;
use crate::domain::day::Day;

/// How many lines are asked for at once, if every day had one of every currency: a report has an end.
const LINES_AT_ONCE: usize = 5_000;

/// The report, as the service gives it.
#[derive(Deserialize)]
struct Report {
    items: Vec<Item>,
    position: i64,
}

#[derive(Deserialize)]
struct Item {
    currency: Currency,
    period: Day,
    deferred_at_open: i64,
    sold: i64,
    recognised: i64,
    breakage: i64,
    refunded: i64,
    deferred_at_close: i64,
}

/// One currency on one day.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Line {
    deferred_at_open: i64,
    day: RevenueDay,
    deferred_at_close: i64,
}

impl Item {
    fn line(&self) -> Line {
        let Self { deferred_at_open, sold, recognised, breakage, refunded, deferred_at_close, .. } = *self;
        Line { deferred_at_open, day: RevenueDay { sold, recognised, breakage, refunded }, deferred_at_close }
    }
}

/// Reports of some days after others, and what they have come to.
#[derive(Default)]
struct Comparison {
    /// What is owed in credits at the end of the days that were compared.
    deferred: BTreeMap<Currency, i64>,
    lines: usize,
    findings: Vec<Finding>,
}

impl Service {
    /// Compares every day from that of the first event to that of the last one.
    ///
    /// A report has all events of its days that were recorded before it was asked for, whatever position it says, and the
    /// events that were played were. If it has further ones, they are played before it is looked at. So no day is left out.
    pub(super) async fn compare_revenue(&self, verified: &mut Verified) -> anyhow::Result<Compared> {
        if !verified.is_replayed {
            return Ok(NOT_REPLAYED);
        }
        let first = Day::of(verified.replay.began_at().unwrap_or_default());
        let last = Day::of(verified.replay.recorded_at());
        let mut comparison = Comparison::default();
        let mut from = first;
        loop {
            let currencies: BTreeSet<Currency> =
                verified.replay.revenue().days().keys().map(|(currency, _)| *currency).collect();
            let days = (LINES_AT_ONCE / currencies.len().max(1)).max(1);
            let to = last.min(from.plus_days(u32::try_from(days - 1)?));
            let path = format!("/v1/reports/revenue?from={from}&to={to}");
            let answer = self.get(&path, None).await?;
            if answer.status().as_u16() == 403 {
                return Ok(Compared::Not("the API key lacks the scope `audit`"));
            }
            ensure!(
                answer.status().is_success(),
                "the report of revenue from {from} to {to} answered {}",
                answer.status()
            );
            let report: Report =
                answer.json().await.context("the report of revenue is not of the known shape")?;
            if !self.play_up_to(verified, report.position).await? {
                return Ok(NOT_REPLAYED);
            }
            comparison.take_in(verified.replay.revenue().days(), &report, (from, to));
            if to == last {
                break;
            }
            from = to.plus_days(1);
        }
        verified.findings.extend(comparison.findings);
        let lines = comparison.lines;
        Ok(Compared::All(format!("{lines} days of revenue from {first} to {last}")))
    }
}

impl Comparison {
    fn take_in(
        &mut self,
        found: &BTreeMap<(Currency, Day), RevenueDay>,
        report: &Report,
        (from, to): (Day, Day),
    ) {
        let mut told = BTreeMap::new();
        for item in &report.items {
            let (currency, day) = (item.currency, item.period);
            if day < from || day > to || told.insert((currency, day), item.line()).is_some() {
                let what = format!(
                    "the service reports a line twice or unasked: {day} in {currency}, of {from} to {to}"
                );
                self.findings.push(Finding { place: None, what });
            }
        }
        let found = found.iter().filter(|((_, day), _)| (from..=to).contains(day));
        let found: BTreeMap<_, _> = found.map(|(key, day)| (*key, *day)).collect();
        let keys: BTreeSet<&(Currency, Day)> = told.keys().chain(found.keys()).collect();
        self.lines += keys.len();
        for key in keys {
            let (currency, date) = key;
            let day = found.get(key).copied().unwrap_or_default();
            let deferred = self.deferred.entry(*currency).or_default();
            let deferred_at_open = *deferred;
            *deferred += day.deferred();
            let expected = Line { deferred_at_open, day, deferred_at_close: *deferred };
            let words = match told.get(key) {
                Some(line) if *line == expected => continue,
                Some(line) => format!("reports for {date} in {currency} {}", in_words(line)),
                // A day on which nothing moved need not be told.
                None if day == RevenueDay::default() => continue,
                None => format!("reports nothing for {date} in {currency}"),
            };
            let what = format!("the service {words}, and by the events it is {}", in_words(&expected));
            self.findings.push(Finding { place: None, what });
        }
    }
}

fn in_words(line: &Line) -> String {
    let Line { deferred_at_open, day, deferred_at_close } = line;
    let RevenueDay { sold, recognised, breakage, refunded } = day;
    format!(
        "{deferred_at_open} deferred at its beginning, {sold} sold, {recognised} recognised, {breakage} breakage, \
         {refunded} refunded and {deferred_at_close} deferred at its close"
    )
}
