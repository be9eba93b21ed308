//! What one account must have, lot by lot: the rules of credits told once more, as plainly as they can be.
//!
//! It knows moments in seconds, takes everything in the order in which it happened, and shares nothing with the service.
//! What the quarter never does, it does not know: holds, reversals, transfers, overdrafts, priorities, and refunds that
//! fail after they took credits that had been spent.

use std::collections::BTreeMap;

/// Credits and licences.
pub const UNITS: [&str; 2] = ["credits", "licence_30d"];
/// A day, in seconds.
pub const DAY: i64 = 24 * 60 * 60;
/// How long the credits of a period live on while their subscription does.
pub const GRACE: i64 = 3 * DAY;
/// How far a moment that the service took from its own clock may be from where the model thinks that it is.
pub const SLACK: i64 = 25 * 60;

/// When something expires, in seconds since 1970, and how exactly that is known.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Expiry {
    pub at: i64,
    pub slack: i64,
}

/// What of the rest moves into the next period.
#[derive(Clone, Copy, Debug)]
pub enum Rollover {
    None,
    All,
    Capped(i64),
}

/// Credits that came in together.
#[derive(Clone, Debug)]
pub struct Lot {
    pub unit: usize,
    /// The purchase that paid for it.
    purchase: Option<usize>,
    pub left: i64,
    pub disputed: i64,
    clawed: i64,
    expired: i64,
    pub expiry: Option<Expiry>,
    /// The subscription by whose periods it lives, and when its period ends.
    period: Option<(String, i64)>,
}

/// Own credits that a purchase gave up, when; of no lot if they had expired.
#[derive(Debug)]
struct Taking {
    lot: Option<usize>,
    amount: i64,
    at: i64,
}

/// What one payment bought of one unit in one line.
#[derive(Debug)]
struct Purchase {
    payment: String,
    unit: usize,
    granted: i64,
    own: Vec<Taking>,
    /// Taken from other lots, or owed.
    elsewhere: i64,
    total: i64,
}

/// What changes within a period of a subscription came to: E, and what was granted.
type Changes = BTreeMap<(String, i64, usize), (i64, i64)>;

/// An account's credits.
#[derive(Debug, Default)]
pub struct Holdings {
    pub lots: Vec<Lot>,
    purchases: Vec<Purchase>,
    pub debt: [i64; 2],
    changes: Changes,
    had_trial: bool,
}

/// What is bought: of which unit, how many.
pub type Grants = Vec<(usize, i64)>;

/// A paid line of a subscription's invoice.
#[derive(Clone, Debug)]
pub struct Paid {
    pub subscription: String,
    /// What paid for it; nothing if nothing was due.
    pub payment: Option<String>,
    pub start: i64,
    pub end: i64,
}

impl Holdings {
    pub fn available(&self, unit: usize) -> i64 {
        self.lots.iter().filter(|lot| lot.unit == unit).map(|lot| lot.left).sum()
    }

    pub fn disputed(&self, unit: usize) -> i64 {
        self.lots.iter().filter(|lot| lot.unit == unit).map(|lot| lot.disputed).sum()
    }

    /// Time has come so far.
    pub fn pass_time(&mut self, now: i64) {
        for lot in self.lots.iter_mut().filter(|lot| lot.left > 0) {
            let Some(expiry) = lot.expiry else { continue };
            assert!((expiry.at - now).abs() > 300, "too close to say: {lot:?} at {now}");
            if expiry.at <= now {
                lot.expired += lot.left;
                lot.left = 0;
            }
        }
    }

    /// The lots of a unit that have something left, in the order in which they are spent: those that expire sooner, then
    /// those that nobody paid for, then those that came first.
    pub fn in_order(&self, unit: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.lots.len()).filter(|at| self.lots[*at].unit == unit).collect();
        order.sort_by_key(|at| {
            let lot = &self.lots[*at];
            (lot.expiry.map_or(i64::MAX, |expiry| expiry.at), lot.purchase.is_some(), *at)
        });
        order
    }

    /// Takes up to so many credits; how many.
    fn take(&mut self, unit: usize, amount: i64) -> i64 {
        let mut taken = 0;
        for at in self.in_order(unit) {
            let lot = &mut self.lots[at];
            let of_lot = lot.left.min(amount - taken);
            lot.left -= of_lot;
            taken += of_lot;
        }
        taken
    }

    /// Whether it could be spent.
    pub fn spend(&mut self, unit: usize, amount: i64) -> bool {
        let can = amount <= self.available(unit);
        if can {
            self.take(unit, amount);
        }
        can
    }

    /// Whatever is there pays what is owed.
    fn settle(&mut self) {
        for unit in 0..UNITS.len() {
            self.debt[unit] -= self.take(unit, self.debt[unit]);
        }
    }

    fn enter(
        &mut self,
        unit: usize,
        amount: i64,
        purchase: Option<usize>,
        expiry: Option<Expiry>,
    ) -> &mut Lot {
        let lot =
            Lot { unit, purchase, left: amount, disputed: 0, clawed: 0, expired: 0, expiry, period: None };
        self.lots.push(lot);
        self.lots.last_mut().expect("a lot")
    }

    fn purchase(&mut self, payment: &str, unit: usize, granted: i64) -> usize {
        let payment = payment.to_owned();
        self.purchases.push(Purchase { payment, unit, granted, own: Vec::new(), elsewhere: 0, total: 0 });
        self.purchases.len() - 1
    }

    /// A pack was bought.
    pub fn buy(&mut self, payment: &str, grants: &Grants, expiry: Option<Expiry>) {
        for (unit, amount) in grants {
            let purchase = self.purchase(payment, *unit, *amount);
            self.enter(*unit, *amount, Some(purchase), expiry);
        }
        self.settle();
    }

    /// A trial began: once it is worth something.
    pub fn try_out(&mut self, paid: &Paid, grants: &Grants, now: i64) {
        let grants = if self.had_trial { Vec::new() } else { grants.clone() };
        self.had_trial |= !grants.is_empty();
        self.grant(paid, &grants, now);
        self.settle();
    }

    /// A whole period was paid: its credits come, and those of earlier periods go with them or end.
    pub fn renew(&mut self, paid: &Paid, grants: &Grants, rollover: Rollover, now: i64) {
        let (ends, expiry) = self.grant(paid, grants, now);
        for unit in 0..UNITS.len() {
            let mut room = match rollover {
                Rollover::None => 0,
                Rollover::All => i64::MAX,
                Rollover::Capped(most) => most,
            };
            for at in 0..self.lots.len() {
                let lot = &mut self.lots[at];
                let is_earlier = lot
                    .period
                    .as_ref()
                    .is_some_and(|(of, end)| *of == paid.subscription && *end <= paid.start);
                if lot.unit != unit || !is_earlier || lot.left == 0 {
                    continue;
                }
                let (moved, purchase) = (lot.left.min(room), lot.purchase);
                lot.expired += lot.left - moved;
                lot.left = 0;
                room -= moved;
                if moved > 0 {
                    self.enter(unit, moved, purchase, Some(expiry)).period =
                        Some((paid.subscription.clone(), ends));
                }
            }
        }
        self.settle();
    }

    /// A change within a period was paid: all changes of the period together are worth so much, and what they are worth
    /// beyond what was granted for them comes.
    pub fn change(&mut self, paid: &Paid, worth: &Grants, now: i64) {
        for (unit, worth) in worth {
            let key = (paid.subscription.clone(), paid.end, *unit);
            self.changes.entry(key).or_default().0 += worth;
        }
        let mut grants = Vec::new();
        for (unit, _) in worth {
            let changes =
                self.changes.get_mut(&(paid.subscription.clone(), paid.end, *unit)).expect("an entry");
            let due = changes.0 - changes.1;
            if due > 0 {
                changes.1 += due;
                grants.push((*unit, due));
            }
        }
        self.grant(paid, &grants, now);
        self.settle();
    }

    /// Credits that live by a period: when that ends, and when they expire. A period that is over counts from its payment.
    fn grant(&mut self, paid: &Paid, grants: &Grants, now: i64) -> (i64, Expiry) {
        let is_over = paid.end <= now;
        let ends = if is_over { now + paid.end - paid.start } else { paid.end };
        let expiry = Expiry { at: ends + GRACE, slack: if is_over { SLACK } else { 0 } };
        for (unit, amount) in grants {
            let purchase = paid.payment.as_deref().map(|payment| self.purchase(payment, *unit, *amount));
            self.enter(*unit, *amount, purchase, Some(expiry)).period =
                Some((paid.subscription.clone(), ends));
        }
        (ends, expiry)
    }

    /// A subscription is over: its credits end with their periods.
    pub fn end(&mut self, subscription: &str, now: i64) {
        for lot in &mut self.lots {
            let Some((of, end)) = &lot.period else { continue };
            let sooner =
                if *end > now { Expiry { at: *end, slack: 0 } } else { Expiry { at: now, slack: SLACK } };
            let is_open = lot.left + lot.disputed > 0;
            if of == subscription && is_open && lot.expiry.is_some_and(|expiry| expiry.at > sooner.at) {
                lot.expiry = Some(sooner);
                if sooner.at <= now {
                    lot.expired += lot.left;
                    lot.left = 0;
                }
            }
        }
    }

    /// Of a payment of `paid`, so much went back for good, and so much is disputed.
    pub fn money_back(&mut self, payment: &str, paid: i64, back: i64, disputed: i64, now: i64) {
        for number in 0..self.purchases.len() {
            let Purchase { payment: of, granted, .. } = &self.purchases[number];
            if of == payment {
                let share = |money: i64| granted * money.min(paid) / paid;
                let (total, taken) = (share(back + disputed), share(back));
                self.move_target(number, total, taken, now);
            }
        }
        self.settle();
    }

    fn move_target(&mut self, number: usize, total: i64, taken: i64, now: i64) {
        let mut left = total - self.purchases[number].total;
        self.purchases[number].total = total;
        if left >= 0 {
            for at in self.own_lots(number) {
                let amount = self.lots[at].left.min(left);
                self.lots[at].left -= amount;
                self.lots[at].disputed += amount;
                left -= amount;
                self.purchases[number].note(Some(at), amount, now);
            }
            let expired: i64 = self.own_lots(number).iter().map(|at| self.lots[*at].expired).sum();
            let absorbed = left.min(expired - self.purchases[number].absorbed());
            self.purchases[number].note(None, absorbed, now);
        } else {
            self.give_back(number, self.purchases[number].given_up() - total, now);
        }
        let purchase = &self.purchases[number];
        let (unit, missing) = (purchase.unit, (taken - purchase.given_up()).max(0) - purchase.elsewhere);
        assert!(missing >= 0, "the quarter never unwinds what was taken elsewhere: {purchase:?}");
        self.purchases[number].elsewhere += missing;
        self.debt[unit] += missing - self.take(unit, missing);
        self.claw(number, taken);
    }

    /// Of what was set aside, so much is gone for good.
    fn claw(&mut self, number: usize, taken: i64) {
        let own = self.own_lots(number);
        let set_aside: i64 = own.iter().map(|at| self.lots[*at].disputed + self.lots[*at].clawed).sum();
        let mut left = taken.min(set_aside) - own.iter().map(|at| self.lots[*at].clawed).sum::<i64>();
        assert!(left >= 0, "what is gone stays gone");
        for at in own {
            let amount = self.lots[at].disputed.min(left);
            self.lots[at].disputed -= amount;
            self.lots[at].clawed += amount;
            left -= amount;
        }
    }

    /// A dispute was won: what was given up last comes back first, and lives on for as long as it had left.
    fn give_back(&mut self, number: usize, amount: i64, now: i64) {
        let mut left = amount;
        while left > 0 {
            let taking = self.purchases[number].own.last_mut().expect("something was given up");
            let (lot, at, amount) = (taking.lot, taking.at, taking.amount.min(left));
            taking.amount -= amount;
            left -= amount;
            if taking.amount == 0 {
                self.purchases[number].own.pop();
            }
            let Some(lot) = lot else { continue };
            let (unit, expiry) = (self.lots[lot].unit, self.lots[lot].expiry);
            self.lots[lot].disputed -= amount;
            match expiry.filter(|expiry| expiry.at <= now) {
                None => self.lots[lot].left += amount,
                Some(expiry) => {
                    let expiry = Expiry { at: now + expiry.at - at, slack: SLACK };
                    self.enter(unit, amount, Some(number), Some(expiry));
                }
            }
        }
    }

    fn own_lots(&self, number: usize) -> Vec<usize> {
        (0..self.lots.len()).filter(|at| self.lots[*at].purchase == Some(number)).collect()
    }
}

impl Purchase {
    fn note(&mut self, lot: Option<usize>, amount: i64, at: i64) {
        if amount > 0 {
            self.own.push(Taking { lot, amount, at });
        }
    }

    fn absorbed(&self) -> i64 {
        self.own.iter().filter(|taking| taking.lot.is_none()).map(|taking| taking.amount).sum()
    }

    /// What it gave up of its own.
    fn given_up(&self) -> i64 {
        self.own.iter().map(|taking| taking.amount).sum()
    }
}
