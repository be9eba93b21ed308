//! Lots, and drawing on them.

use std::collections::BTreeMap;

use super::Model;
use crate::domain::{ids::Unit, time::Timestamp};

/// Where a credit of a lot is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    Remaining,
    Held,
    Disputed,
    Spent,
    Expired,
    Clawed,
    Moved,
    Adjusted,
    Settled,
}

/// A lot: each of its credits is in one place.
#[derive(Clone)]
pub struct Lot {
    pub account: usize,
    pub unit: Unit,
    pub purchase: Option<usize>,
    pub expires_at: Option<Timestamp>,
    pub priority: u8,
    places: BTreeMap<Place, i64>,
}

impl Lot {
    pub fn new(account: usize, unit: &Unit, granted: i64) -> Self {
        let places = BTreeMap::from([(Place::Remaining, granted)]);
        Self { account, unit: unit.clone(), purchase: None, expires_at: None, priority: 50, places }
    }

    pub fn count(&self, place: Place) -> i64 {
        self.places.get(&place).copied().unwrap_or(0)
    }

    pub fn granted(&self) -> i64 {
        self.places.values().sum()
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    fn is_open(&self) -> bool {
        self.count(Place::Remaining) + self.count(Place::Held) + self.count(Place::Disputed) > 0
    }
}

impl Model {
    /// Moves credits of a lot from one place to another.
    pub fn shift(&mut self, lot: usize, amount: i64, from: Place, to: Place) {
        let places = &mut self.lots[lot].places;
        let left = places.entry(from).or_default();
        *left -= amount;
        assert!(amount >= 0 && *left >= 0, "the model moves what is not there");
        *places.entry(to).or_default() += amount;
    }

    /// All lots of an account and unit, by entry.
    pub fn lots_of(&self, account: usize, unit: &Unit) -> Vec<usize> {
        let all = 0..self.lots.len();
        all.filter(|lot| self.lots[*lot].account == account && self.lots[*lot].unit == *unit).collect()
    }

    pub fn sum(&self, account: usize, unit: &Unit, place: Place) -> i64 {
        self.lots_of(account, unit).into_iter().map(|lot| self.lots[lot].count(place)).sum()
    }

    pub fn available(&self, account: usize, unit: &Unit) -> i64 {
        self.sum(account, unit, Place::Remaining)
    }

    pub fn debt(&self, account: usize, unit: &Unit) -> i64 {
        let owed = self.debts.iter().filter(|debt| debt.account == account && debt.unit == *unit);
        owed.map(|debt| debt.open).sum()
    }

    pub fn spendable(&self, account: usize, unit: &Unit) -> i64 {
        let limit = self.accounts[account].overdraft_limits.get(unit).copied().unwrap_or(0);
        self.available(account, unit) + (limit - self.debt(account, unit)).max(0)
    }

    pub fn open_lots(&self, account: usize, unit: &Unit) -> usize {
        self.lots_of(account, unit).into_iter().filter(|lot| self.lots[*lot].is_open()).count()
    }

    /// Lots with something left, in the order in which they are spent (rule 4).
    pub fn spending_order(&self, account: usize, unit: &Unit) -> Vec<usize> {
        let mut usable = self.lots_of(account, unit);
        usable.retain(|lot| self.lots[*lot].count(Place::Remaining) > 0);
        usable.sort_by_key(|index| {
            let lot = &self.lots[*index];
            let never = lot.expires_at.is_none();
            (lot.priority, never, lot.expires_at, lot.purchase.is_some(), *index)
        });
        usable
    }

    /// Takes up to `amount` out of the account's lots, in spending order; says from which, and how much is missing.
    pub fn draw(&mut self, account: usize, unit: &Unit, amount: i64, to: Place) -> (Vec<(usize, i64)>, i64) {
        let mut missing = amount;
        let mut draws = Vec::new();
        for lot in self.spending_order(account, unit) {
            let drawn = missing.min(self.lots[lot].count(Place::Remaining));
            if drawn > 0 {
                self.shift(lot, drawn, Place::Remaining, to);
                draws.push((lot, drawn));
                missing -= drawn;
            }
        }
        (draws, missing)
    }
}
