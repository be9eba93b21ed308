//! Plays events again: what an account has follows from its events, one after the other.
//!
//! Two ways are gone at once. By arithmetic: the balance after an event is the one before it and the amount. By the rules:
//! applying the event to the state has to be possible, has to lead to the balances that stand in it, and to a state of which
//! everything holds that must: of each lot and balance after every event, and of accounts and purchases between commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::revenue::Revenue;
use crate::domain::{
    Event, EventBody, WorkingSet,
    account::Lot,
    account_at,
    event::BalanceAfter,
    evolve,
    ids::{AccountNumber, LotId, PurchaseId, Unit},
    invariants,
    time::Timestamp,
};

/// The state that events lead to.
#[derive(Default)]
pub struct Replay {
    set: WorkingSet,
    balances: BTreeMap<(AccountNumber, Unit), i64>,
    revenue: Revenue,
    position: i64,
    began_at: Option<Timestamp>,
    recorded_at: Timestamp,
    clock_ahead: i64,
    /// What the command that is being played has touched.
    accounts: BTreeSet<AccountNumber>,
    purchases: BTreeSet<PurchaseId>,
}

impl Replay {
    /// The last event that was played.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// When it was recorded.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// When the first event was recorded.
    pub fn began_at(&self) -> Option<Timestamp> {
        self.began_at
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> usize {
        self.set.accounts.len()
    }

    /// Which accounts there are.
    pub fn account_numbers(&self) -> Vec<AccountNumber> {
        self.set.accounts.keys().copied().collect()
    }

    /// How many balances there are: one for each unit that an account ever had.
    pub fn balances(&self) -> usize {
        self.balances.len()
    }

    /// What became of the money that credits were bought with.
    pub fn revenue(&self) -> &Revenue {
        &self.revenue
    }

    /// Plays the next event.
    ///
    /// # Errors
    /// Why it does not follow from those before it, for people. Nothing can be played after that.
    pub fn play(&mut self, event: &Event) -> Result<(), String> {
        if event.recorded_at < self.recorded_at {
            return Err("it was recorded before the event before it".to_owned());
        }
        if event.command.0 > event.position.0 || event.command.0 < 1 {
            return Err("it belongs to a command that is not there".to_owned());
        }
        if event.command == event.position {
            self.rest()?;
        }
        (self.position, self.recorded_at) = (event.position.0, event.recorded_at);
        self.began_at.get_or_insert(event.recorded_at);
        if let EventBody::ClockAdvanced(advanced) = &event.body {
            self.clock_ahead += advanced.seconds;
            if self.clock_ahead != advanced.ahead {
                return Err("the clock is not as far ahead as it was moved".to_owned());
            }
        }
        self.play_arithmetic(event)?;
        let before = self.lots_before(event);
        // A state that an event cannot belong to makes `evolve` panic: here it is what is looked for.
        let take_in = || {
            evolve(&mut self.set, event);
            self.revenue.take_in(event, &self.set);
        };
        catch_unwind(AssertUnwindSafe(take_in))
            .map_err(|_| "it cannot follow from the events before it".to_owned())?;
        let (Some(number), Some(unit), Some(told)) = (event.account, &event.unit, event.balance) else {
            return Ok(());
        };
        let account = self.set.accounts.get(&number).ok_or("its account was never opened")?;
        let found = account.books.get(unit).map(|book| book.balance()).unwrap_or_default();
        if found != told {
            let told = in_words(told);
            return Err(format!(
                "it says that the account has {told} of {unit} after it, and the events say {}",
                in_words(found)
            ));
        }
        invariants::check_event(event)?;
        if let Some(book) = account.books.get(unit) {
            invariants::check_book(book)?;
            let is_changed = |lot: &&Lot| before.get(&lot.id) != Some(*lot);
            self.purchases.extend(book.lots.values().filter(is_changed).filter_map(|lot| lot.purchase));
        }
        self.accounts.insert(number);
        if let EventBody::PurchaseClawed(moved) = &event.body {
            self.purchases.insert(moved.0.purchase);
        }
        if let EventBody::PurchaseRestored(moved) = &event.body {
            self.purchases.insert(moved.0.purchase);
        }
        Ok(())
    }

    fn lots_before(&self, event: &Event) -> BTreeMap<LotId, Lot> {
        let account = event.account.and_then(|number| self.set.accounts.get(&number));
        let book = account.zip(event.unit.as_ref()).and_then(|(account, unit)| account.books.get(unit));
        book.map(|book| book.lots.clone()).unwrap_or_default()
    }

    /// Checks what has to hold when a command is over. [`Self::play`] does it when the next one begins; whoever knows that
    /// no event is missing at the end does it there.
    ///
    /// # Errors
    /// What does not hold after the last command that was played, for people.
    pub fn rest(&mut self) -> Result<(), String> {
        let here =
            |broken: String| format!("what holds between commands did not after the last one: {broken}");
        for number in std::mem::take(&mut self.accounts) {
            let account = self.set.accounts.get(&number);
            account.map_or(Ok(()), invariants::check_account).map_err(here)?;
        }
        for purchase in std::mem::take(&mut self.purchases) {
            let Some(purchase) = self.set.purchases.get(&purchase) else { continue };
            for (unit, part) in &purchase.parts {
                invariants::check_part(&self.set, purchase, unit, part).map_err(here)?;
            }
        }
        Ok(())
    }

    fn play_arithmetic(&mut self, event: &Event) -> Result<(), String> {
        let (Some(number), Some(unit), Some(told)) = (event.account, &event.unit, event.balance) else {
            return if event.amount == 0 {
                Ok(())
            } else {
                Err("it has an amount, but no balance".to_owned())
            };
        };
        let net = self.balances.entry((number, unit.clone())).or_default();
        let after = net.checked_add(event.amount);
        if after != Some(told.net) {
            return Err(format!(
                "the balance after it is {}, and the one before it, {net}, and its amount, {}, make another",
                told.net, event.amount
            ));
        }
        *net = told.net;
        Ok(())
    }

    /// What the account has of each unit at that moment: what has become due by then has happened.
    pub fn balances_at(&self, number: AccountNumber, now: Timestamp) -> Option<BTreeMap<Unit, BalanceAfter>> {
        let account = account_at(&self.set, number, now)?;
        Some(account.books.into_iter().map(|(unit, book)| (unit, book.balance())).collect())
    }
}

fn in_words(balance: BalanceAfter) -> String {
    let BalanceAfter { net, held, disputed } = balance;
    format!("{net} (and {held} held, {disputed} disputed)")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        event::Target,
        testing::{Harness, plan},
    };

    /// One more credit is said to be taken for good. That one more is only set aside may be true: of a purchase that was
    /// spent it leaves no trace but what is missing.
    fn raise(target: &mut Target) {
        target.total += 1;
        target.taken += 1;
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn whatever_was_decided_can_be_played_again_and_nothing_else(steps in plan(40), salt: u8, place: prop::sample::Index) {
            let mut harness = Harness::new(salt);
            harness.run(&steps);
            let mut replay = Replay::default();
            for event in &harness.events {
                prop_assert_eq!(replay.play(event), Ok(()), "{:?}", event);
            }
            prop_assert_eq!(replay.rest(), Ok(()));
            for (number, account) in &harness.set.accounts {
                let now = harness.now;
                let expected = account_at(&harness.set, *number, now).expect("an account");
                let expected = expected.books.into_iter().map(|(unit, book)| (unit, book.balance())).collect();
                prop_assert_eq!(replay.balances_at(*number, now), Some(expected));
                prop_assert!(account.number == *number);
            }
            let with_amounts: Vec<usize> = (0..harness.events.len()).filter(|place| harness.events[*place].amount != 0).collect();
            if !with_amounts.is_empty() {
                let changed = with_amounts[place.index(with_amounts.len())];
                let mut replay = Replay::default();
                for (number, event) in harness.events.iter().enumerate() {
                    let mut event = event.clone();
                    if number == changed {
                        event.amount += 1;
                    }
                    let outcome = replay.play(&event);
                    prop_assert_eq!(outcome.is_err(), number == changed);
                    if outcome.is_err() {
                        break;
                    }
                }
            }
        }

        #[test]
        fn an_event_that_breaks_what_must_hold_is_found(steps in plan(40), salt: u8, place: prop::sample::Index) {
            let mut harness = Harness::new(salt);
            harness.run(&steps);
            let is_meant = |event: &&Event| matches!(event.body, EventBody::CreditsSpent(_) | EventBody::PurchaseClawed(_));
            let meant: Vec<i64> = harness.events.iter().filter(is_meant).map(|event| event.position.0).collect();
            prop_assume!(!meant.is_empty());
            let changed = meant[place.index(meant.len())];
            let meant = harness.events.iter().find(|event| event.position.0 == changed).expect("an event");
            let (command, is_spend) = (meant.command, matches!(meant.body, EventBody::CreditsSpent(_)));
            let mut replay = Replay::default();
            let mut outcome = Ok(());
            for event in &harness.events {
                let mut event = event.clone();
                // Another event of the same command may set the target as it has to be: all of them say the wrong one.
                let is_target =
                    matches!(event.body, EventBody::PurchaseClawed(_) | EventBody::PurchaseRestored(_));
                let in_command = is_target && !is_spend && event.command == command && event.position.0 >= changed;
                if event.position.0 == changed || in_command {
                    match &mut event.body {
                        EventBody::CreditsSpent(spent) => spent.spent += 1,
                        EventBody::PurchaseClawed(clawed) => raise(&mut clawed.0.after),
                        EventBody::PurchaseRestored(restored) => raise(&mut restored.0.after),
                        _ => {}
                    }
                }
                outcome = replay.play(&event);
                prop_assert!(event.position.0 >= changed || outcome.is_ok());
                if outcome.is_err() {
                    break;
                }
            }
            prop_assert!(outcome.and_then(|()| replay.rest()).is_err());
        }
    }
}
