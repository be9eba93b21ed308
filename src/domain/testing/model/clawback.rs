//! Rules 7 and 11: who pays when money goes back, and how debt is settled.

use super::{Debt, Elsewhere, Lot, Model, Own, Part, Place, Source, Target};
use crate::domain::{ids::Unit, settings::ClawbackPolicy, time::Timestamp};

impl Part {
    /// Own credits taken, set aside or absorbed.
    pub fn own_total(&self) -> i64 {
        self.own.iter().map(|own| own.amount).sum()
    }

    pub fn absorbed(&self) -> i64 {
        self.own.iter().filter(|own| own.lot.is_none()).map(|own| own.amount).sum()
    }

    /// Own credits that are not in the buyer's hands any more.
    pub fn own_taken(&self) -> i64 {
        self.own_total() - self.absorbed()
    }

    pub fn taken_elsewhere(&self) -> i64 {
        self.elsewhere.iter().map(|taking| taking.amount).sum()
    }

    /// What is missing and only recorded.
    pub fn recorded_shortfall(&self) -> i64 {
        self.target.total - self.own_total() - self.taken_elsewhere()
    }
}

impl Model {
    /// U: credits of the purchase in use for anything but its own clawback, or transferred on and not taken back.
    pub fn used(&self, purchase: usize, unit: &Unit) -> i64 {
        let in_use = [Place::Spent, Place::Held, Place::Adjusted, Place::Settled];
        let count = |lots: Vec<usize>, places: &[Place]| -> i64 {
            lots.into_iter()
                .flat_map(|lot| places.iter().map(move |place| self.lots[lot].count(*place)))
                .sum()
        };
        let of_buyer = count(self.lots_of_buyer(purchase, unit), &in_use);
        let transferred = self.lots_of_recipients(purchase, unit);
        of_buyer
            + count(transferred.clone(), &in_use)
            + count(transferred, &[Place::Remaining, Place::Expired])
    }

    /// The purchase's lots: the buyer's, then those of others, by entry.
    fn own_lots(&self, purchase: usize, unit: &Unit) -> Vec<usize> {
        [self.lots_of_buyer(purchase, unit), self.lots_of_recipients(purchase, unit)].concat()
    }

    fn lots_of_buyer(&self, purchase: usize, unit: &Unit) -> Vec<usize> {
        let mut lots = self.lots_of(self.purchases[purchase].account, unit);
        lots.retain(|lot| self.lots[*lot].purchase == Some(purchase));
        lots
    }

    fn lots_of_recipients(&self, purchase: usize, unit: &Unit) -> Vec<usize> {
        let buyer = self.purchases[purchase].account;
        let lots = self.lots.iter().enumerate();
        let own = lots.filter(|(_, lot)| lot.purchase == Some(purchase) && lot.unit == *unit);
        own.filter(|(_, lot)| lot.account != buyer).map(|(index, _)| index).collect()
    }

    fn part(&mut self, purchase: usize, unit: &Unit) -> &mut Part {
        self.purchases[purchase].parts.get_mut(unit).expect("asked for parts that exist")
    }

    /// The whole shortfall that rule 7 asks for: `max(0, T + U − G)`.
    pub fn due_from_elsewhere(&self, purchase: usize, unit: &Unit) -> i64 {
        let part = &self.purchases[purchase].parts[unit];
        (part.target.total + self.used(purchase, unit) - part.granted).max(0)
    }

    /// Moves a part of a purchase to a target, wherever it stands: what own credits cannot give, or expired ones count
    /// for, is the shortfall; of that, only what is final and not covered by own credits is really taken elsewhere.
    pub fn move_target(&mut self, purchase: usize, unit: &Unit, target: Target, now: Timestamp) {
        let rise = target.total - self.purchases[purchase].parts[unit].target.total;
        self.part(purchase, unit).target = target;
        let lots_of_buyer = self.lots_of_buyer(purchase, unit);
        let left_to_buyer: i64 =
            lots_of_buyer.iter().map(|lot| self.lots[*lot].count(Place::Remaining)).sum();
        let before = self.part(purchase, unit).own_total();
        self.take_back(purchase, unit, rise - left_to_buyer, now);
        let taken_back = self.part(purchase, unit).own_total() - before;
        let own = target.total - self.due_from_elsewhere(purchase, unit);
        let elsewhere = (target.taken - own).max(0);

        let too_much = self.part(purchase, unit).taken_elsewhere() - elsewhere;
        self.unwind_elsewhere(purchase, unit, too_much.max(0), now);
        let before = before + taken_back;
        self.take_own(purchase, unit, (own - before).max(0), now);
        self.return_own(purchase, unit, (before - own).max(0), now);
        self.take_elsewhere(purchase, unit, (-too_much).max(0), now);
        self.divide_own(purchase, unit);
    }

    /// Up to so many credits that were transferred on, if it is positive, where they are available: by lot. They are
    /// remembered by account.
    fn take_back(&mut self, purchase: usize, unit: &Unit, amount: i64, now: Timestamp) {
        let mut missing = amount.max(0);
        let mut takings = Vec::new();
        for lot in self.lots_of_recipients(purchase, unit) {
            let taken = missing.min(self.lots[lot].count(Place::Remaining));
            if taken > 0 {
                self.shift(lot, taken, Place::Remaining, Place::Disputed);
                takings.push(Own { lot: Some(lot), amount: taken, at: now });
                missing -= taken;
            }
        }
        takings.sort_by_key(|own| own.lot.map(|lot| self.lots[lot].account));
        self.part(purchase, unit).own.extend(takings);
    }

    /// Own credits that are left to the buyer, by lot; then own expired ones that do not count yet.
    fn take_own(&mut self, purchase: usize, unit: &Unit, amount: i64, now: Timestamp) {
        let mut missing = amount;
        for lot in self.lots_of_buyer(purchase, unit) {
            let taken = missing.min(self.lots[lot].count(Place::Remaining));
            if taken > 0 {
                self.shift(lot, taken, Place::Remaining, Place::Disputed);
                self.part(purchase, unit).own.push(Own { lot: Some(lot), amount: taken, at: now });
                missing -= taken;
            }
        }
        if missing > 0 {
            let lots = self.lots_of_buyer(purchase, unit);
            let expired: i64 = lots.into_iter().map(|lot| self.lots[lot].count(Place::Expired)).sum();
            assert!(self.part(purchase, unit).absorbed() + missing <= expired);
            self.part(purchase, unit).own.push(Own { lot: None, amount: missing, at: now });
        }
    }

    /// Own and absorbed credits, newest first. Lots that they live on in enter account by account.
    fn return_own(&mut self, purchase: usize, unit: &Unit, amount: i64, now: Timestamp) {
        let first_new = self.lots.len();
        let mut missing = amount;
        while missing > 0 {
            let mut newest = self.part(purchase, unit).own.pop().expect("own credits cover what comes back");
            let returned = missing.min(newest.amount);
            missing -= returned;
            newest.amount -= returned;
            if let Some(lot) = newest.lot {
                let from_clawed = (returned - self.lots[lot].count(Place::Disputed)).max(0);
                self.shift(lot, from_clawed, Place::Clawed, Place::Disputed);
                self.revive(lot, returned, Place::Disputed, newest.at, now);
            }
            if newest.amount > 0 {
                self.part(purchase, unit).own.push(newest);
            }
        }
        self.lots[first_new..].sort_by_key(|lot| lot.account);
    }

    /// Of own credits, as many are clawed as is final, the first lots' first; the others are only set aside.
    fn divide_own(&mut self, purchase: usize, unit: &Unit) {
        let part = self.part(purchase, unit);
        let clawed = part.target.taken.min(part.own_taken());
        let lots = self.own_lots(purchase, unit);
        let clawed_now: i64 = lots.iter().map(|lot| self.lots[*lot].count(Place::Clawed)).sum();

        let mut more = (clawed - clawed_now).max(0);
        for lot in &lots {
            let turned = more.min(self.lots[*lot].count(Place::Disputed));
            self.shift(*lot, turned, Place::Disputed, Place::Clawed);
            more -= turned;
        }
        let mut fewer = (clawed_now - clawed).max(0);
        for lot in lots.iter().rev() {
            let turned = fewer.min(self.lots[*lot].count(Place::Clawed));
            self.shift(*lot, turned, Place::Clawed, Place::Disputed);
            fewer -= turned;
        }
    }

    fn take_elsewhere(&mut self, purchase: usize, unit: &Unit, amount: i64, now: Timestamp) {
        let account = self.purchases[purchase].account;
        let mut takings = Vec::new();
        match self.settings.clawback_policy {
            ClawbackPolicy::LotOnly => takings.push((Source::WriteOff, amount)),
            ClawbackPolicy::Debt => {
                let (draws, missing) = self.draw(account, unit, amount, Place::Settled);
                takings.extend(draws.into_iter().map(|(lot, amount)| (Source::OtherLot(lot), amount)));
                if missing > 0 {
                    takings.push((Source::Debt(self.debts.len()), missing));
                    let clawback_of = Some(purchase);
                    self.debts.push(Debt { account, unit: unit.clone(), clawback_of, open: missing });
                }
            }
        }
        for (from, amount) in takings.into_iter().filter(|(_, amount)| *amount > 0) {
            self.part(purchase, unit).elsewhere.push(Elsewhere { from, amount, at: now });
        }
    }

    /// Write-offs, then open debt, then what settled debt, then other lots; the newest first within each.
    fn unwind_elsewhere(&mut self, purchase: usize, unit: &Unit, amount: i64, now: Timestamp) {
        let kinds: [fn(Source) -> bool; 4] = [
            |from| from == Source::WriteOff,
            |from| matches!(from, Source::Debt(_)),
            |from| matches!(from, Source::Settlement(_)),
            |from| matches!(from, Source::OtherLot(_)),
        ];
        let mut missing = amount;
        for is_of_kind in kinds {
            for index in (0..self.part(purchase, unit).elsewhere.len()).rev() {
                let taking = &mut self.part(purchase, unit).elsewhere[index];
                let (from, at) = (taking.from, taking.at);
                if missing == 0 || !is_of_kind(from) {
                    continue;
                }
                let undone = missing.min(taking.amount);
                taking.amount -= undone;
                missing -= undone;
                match from {
                    Source::WriteOff => {}
                    Source::Debt(debt) => self.debts[debt].open -= undone,
                    Source::Settlement(lot) | Source::OtherLot(lot) => {
                        self.revive(lot, undone, Place::Settled, at, now);
                    }
                }
            }
        }
        assert_eq!(missing, 0, "what was taken covers what is unwound");
        self.part(purchase, unit).elsewhere.retain(|taking| taking.amount > 0);
    }

    /// Gives credits back to a lot. If its time has run out since they were taken, they live on for the life that they
    /// had left then, in a lot of their own.
    fn revive(&mut self, lot: usize, amount: i64, from: Place, taken_at: Timestamp, now: Timestamp) {
        let old = &self.lots[lot];
        match old.expires_at.filter(|expires_at| *expires_at <= now) {
            None => self.shift(lot, amount, from, Place::Remaining),
            Some(expires_at) if amount > 0 => {
                let mut successor = Lot::new(old.account, &old.unit, amount);
                successor.purchase = old.purchase;
                successor.priority = old.priority;
                successor.expires_at = Some(now.plus(expires_at.since(taken_at)));
                self.shift(lot, amount, from, Place::Moved);
                self.lots.push(successor);
            }
            Some(_) => {}
        }
    }

    /// After the targets of a purchase moved: everybody who has credits of it comes to rest.
    pub fn credits_moved(&mut self, purchase: usize, now: Timestamp) {
        let mut accounts: Vec<usize> = vec![self.purchases[purchase].account];
        accounts.extend(self.lots.iter().filter(|lot| lot.purchase == Some(purchase)).map(|lot| lot.account));
        for account in accounts {
            self.credits_came_back(account, now);
        }
    }

    /// After credits of the account came back: purchases that had to take from elsewhere look again, the first first,
    /// until nothing changes; then debt is settled.
    pub fn credits_came_back(&mut self, account: usize, now: Timestamp) {
        while let Some((purchase, unit)) = self.first_that_takes_too_much(account) {
            let target = self.purchases[purchase].parts[&unit].target;
            self.move_target(purchase, &unit, target, now);
        }
        self.settle_debt(account, now);
    }

    fn first_that_takes_too_much(&self, account: usize) -> Option<(usize, Unit)> {
        let purchases = self.purchases.iter().enumerate();
        let parts = purchases
            .filter(|(_, purchase)| purchase.account == account)
            .flat_map(|(index, purchase)| purchase.parts.iter().map(move |(unit, part)| (index, unit, part)));
        let mut wrong = parts.filter(|(index, unit, part)| {
            part.target.total - part.own_total() != self.due_from_elsewhere(*index, unit)
        });
        wrong.next().map(|(index, unit, _)| (index, unit.clone()))
    }

    /// Debt is settled by whatever can be used, in spending order, the oldest item first.
    pub fn settle_debt(&mut self, account: usize, now: Timestamp) {
        for debt in 0..self.debts.len() {
            if self.debts[debt].account != account {
                continue;
            }
            let unit = self.debts[debt].unit.clone();
            let (draws, missing) = self.draw(account, &unit, self.debts[debt].open, Place::Settled);
            self.debts[debt].open = missing;
            let Some(purchase) = self.debts[debt].clawback_of else { continue };
            let part = self.part(purchase, &unit);
            for (lot, amount) in draws {
                let owed = part.elsewhere.iter_mut().find(|taking| taking.from == Source::Debt(debt));
                owed.expect("open debt is a taking").amount -= amount;
                part.elsewhere.push(Elsewhere { from: Source::Settlement(lot), amount, at: now });
            }
            part.elsewhere.retain(|taking| taking.amount > 0);
        }
    }
}
