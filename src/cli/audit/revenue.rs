//! Compares the service's report of revenue with what the events lead to, day by day and to the cent.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::source::{Compared, Service};
use crate::audit::revenue::RevenueDay;
use crate::audit::verification::{Finding, Verified};
use crate::domain::amount::Currency;
use crate::domain::day::Day;

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
    sold: i64,
    recognised: i64,
    breakage: i64,
    refunded: i64,
    deferred_at_close: i64,
}

impl Item {
    fn day(&self) -> RevenueDay {
        let Self { sold, recognised, breakage, refunded, .. } = *self;
        RevenueDay { sold, recognised, breakage, refunded }
    }
}

impl Service {
    /// Compares every day that is over by the events that were played, and the last one as well if the report has no
    /// other events than these.
    pub(super) async fn compare_revenue(&self, verified: &mut Verified) -> anyhow::Result<Compared> {
        if !verified.is_replayed {
            return Ok(Compared::Not("not all events could be replayed"));
        }
        let answer = self.get("/v1/reports/revenue", None).await?;
        if answer.status().as_u16() == 403 {
            return Ok(Compared::Not("the API key lacks the scope `audit`"));
        }
        ensure!(answer.status().is_success(), "the report of revenue answered {}", answer.status());
        let report: Report =
            answer.json().await.context("the report of revenue is not of the known shape")?;
        let replay = &verified.replay;
        let last = Day::of(replay.recorded_at());
        let is_comparable = |day: Day| day < last || report.position == replay.position();
        let told: BTreeMap<(Currency, Day), &Item> =
            report.items.iter().map(|item| ((item.currency, item.period), item)).collect();
        let mut keys: Vec<(Currency, Day)> = told
            .keys()
            .chain(replay.revenue().days().keys())
            .copied()
            .filter(|(_, day)| is_comparable(*day))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let mut deferred: BTreeMap<Currency, i64> = BTreeMap::new();
        let mut findings = Vec::new();
        for key @ (currency, day) in &keys {
            let found = replay.revenue().days().get(key).copied().unwrap_or_default();
            let deferred = deferred.entry(*currency).or_default();
            *deferred += found.deferred();
            let item = told.get(key);
            let of_service = item.map(|item| item.day()).unwrap_or_default();
            let owed = item.map_or(*deferred, |item| item.deferred_at_close);
            if (of_service, owed) != (found, *deferred) {
                let what = format!(
                    "the service reports for {day} in {currency} {} and {owed} deferred at its close, and by the events it is \
                     {} and {deferred}",
                    in_words(&of_service),
                    in_words(&found)
                );
                findings.push(Finding { place: None, what });
            }
        }
        verified.findings.extend(findings);
        Ok(Compared::All(keys.len()))
    }
}

fn in_words(day: &RevenueDay) -> String {
    let RevenueDay { sold, recognised, breakage, refunded } = day;
    format!("{sold} sold, {recognised} recognised, {breakage} breakage, {refunded} refunded")
}
