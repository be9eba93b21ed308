//! Compares what the service says of every account with what the events lead to.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use reqwest::Response;
use serde::Deserialize;

use super::comparison::{Compared, NOT_REPLAYED};
use super::source::Service;
use crate::audit::verification::{Finding, Verified};
use crate::domain::event::BalanceAfter;
use crate::domain::ids::{AccountId, AccountNumber, Unit};
use crate::domain::time::Timestamp;

/// What the service says of an account.
#[derive(Deserialize)]
struct Balance {
    position: i64,
    as_of: Timestamp,
    balances: Vec<UnitBalance>,
}

#[derive(Deserialize)]
struct UnitBalance {
    unit: String,
    available: i64,
    held: i64,
    disputed: i64,
    debt: i64,
}

impl UnitBalance {
    fn balance(&self) -> BalanceAfter {
        BalanceAfter { net: self.available - self.debt, held: self.held, disputed: self.disputed }
    }
}

impl Service {
    /// Compares every balance of every account that the head covers. Events that came meanwhile are played as well.
    pub(super) async fn compare_balances(&self, verified: &mut Verified) -> anyhow::Result<Compared> {
        let mut compared = 0;
        let accounts = verified.replay.account_numbers();
        // A name that was told of two accounts is that of the later one: the other one can only have been erased.
        let names = verified.names.clone();
        let holders: BTreeMap<&String, AccountNumber> =
            names.iter().map(|(number, name)| (name, *number)).collect();
        for number in &accounts {
            if !verified.is_replayed {
                return Ok(NOT_REPLAYED);
            }
            let name = names.get(number).filter(|name| holders.get(name) == Some(number));
            let Some((name, answer)) = self.balance_of(*number, name).await? else {
                let what = format!(
                    "the service says nothing of account {number}, which has {} by the events",
                    in_words(&verified.replay.balances_at(*number, verified.replay.recorded_at()))
                );
                verified.findings.push(Finding { place: None, what });
                continue;
            };
            if answer.status().as_u16() == 403 {
                return Ok(Compared::Not("the API key lacks the scope `read`"));
            }
            ensure!(answer.status().is_success(), "the balance of {name} answered {}", answer.status());
            let told: Balance = answer.json().await.context("a balance is not of the known shape")?;
            if told.position < verified.replay.position() {
                let what = format!(
                    "the service says what {name} had at position {}, and has told of events up to {}",
                    told.position,
                    verified.replay.position()
                );
                verified.findings.push(Finding { place: None, what });
                continue;
            }
            if self.play_up_to(verified, told.position).await? {
                compared += compare(verified, *number, &name, &told);
            }
        }
        if !verified.is_replayed {
            return Ok(NOT_REPLAYED);
        }
        Ok(Compared::All(format!("{compared} balances of {} accounts", accounts.len())))
    }

    /// What the service answers about an account, by the first of its names that is known: whoever was erased meanwhile has
    /// another one than the events were listed with.
    async fn balance_of(
        &self,
        number: AccountNumber,
        name: Option<&String>,
    ) -> anyhow::Result<Option<(String, Response)>> {
        let erased = AccountId::erased(number).as_str().to_owned();
        for name in name.into_iter().chain(Some(&erased)) {
            let answer = self.get(&format!("/v1/accounts/{name}/balance"), None).await?;
            if answer.status().as_u16() != 404 {
                return Ok(Some((name.clone(), answer)));
            }
        }
        Ok(None)
    }
}

/// Compares the units that are told, and those that have to be; says how many these are.
fn compare(verified: &mut Verified, number: AccountNumber, name: &str, told: &Balance) -> usize {
    let expected = verified.replay.balances_at(number, told.as_of).unwrap_or_default();
    let found_of = |unit: &str| {
        let found = expected.iter().find(|(known, _)| known.as_str() == unit);
        found.map(|(_, balance)| *balance).unwrap_or_default()
    };
    for book in &told.balances {
        let (found, told) = (found_of(&book.unit), book.balance());
        if found != told {
            let what = format!(
                "the service says that {name} has {} of {} (and {} held, {} disputed), and by the events it is \
                 {} (and {} held, {} disputed)",
                told.net, book.unit, told.held, told.disputed, found.net, found.held, found.disputed
            );
            verified.findings.push(Finding { place: None, what });
        }
    }
    let units: BTreeSet<&str> = told.balances.iter().map(|book| book.unit.as_str()).collect();
    for (unit, found) in expected.iter().filter(|(unit, _)| !units.contains(unit.as_str())) {
        let what = format!(
            "the service does not say what {name} has of {unit}, and by the events it is {} (and {} held, {} disputed)",
            found.net, found.held, found.disputed
        );
        verified.findings.push(Finding { place: None, what });
    }
    units.len()
}

fn in_words(balances: &Option<BTreeMap<Unit, BalanceAfter>>) -> String {
    let balances = balances.iter().flatten().map(|(unit, balance)| format!("{} of {unit}", balance.net));
    let words = balances.collect::<Vec<_>>().join(" and ");
    if words.is_empty() { "nothing".to_owned() } else { words }
}
