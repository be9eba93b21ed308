//! Recounts what became of the money that credits were bought with, from the events alone: by day and currency what was
//! sold, recognised, lost and refunded. The service's own report is folded by SQL; nothing of that is used here.
//!
//! Of a lot is recognised what its used credits cost, counted from its beginning, so that the sum of what is rounded is what
//! was paid. What has gone back comes out of what is deferred first, then out of breakage, then out of what was recognised.

use std::collections::{BTreeMap, HashMap};

use crate::domain::{
    Event, EventBody, WorkingSet,
    amount::Currency,
    day::Day,
    event::{CreditsPurchased, Draw, SuccessorLot, TargetMove, TargetMoved},
    ids::{LotId, PaymentReference, PurchaseId, Unit},
};

/// What happened to the money of one currency on one day, in its smallest part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RevenueDay {
    /// What credits were sold for.
    pub sold: i64,
    /// Earned, as credits were used.
    pub recognised: i64,
    /// Earned, as credits were lost.
    pub breakage: i64,
    /// Refunded, or lost in disputes.
    pub refunded: i64,
}

impl RevenueDay {
    /// By how much what is owed in credits grew.
    pub fn deferred(&self) -> i64 {
        self.sold - self.recognised - self.breakage - self.refunded
    }
}

/// The money of all lots, as of the last event.
#[derive(Default)]
pub struct Revenue {
    lots: HashMap<LotId, PaidLot>,
    /// The lots that were bought, which refunds find by their purchases.
    bought: HashMap<(PurchaseId, Unit), LotId>,
    /// What the lots of each payment cost together.
    costs: HashMap<PaymentReference, i64>,
    days: BTreeMap<(Currency, Day), RevenueDay>,
}

/// A lot that was paid for, or lives on in one that was.
#[derive(Clone)]
struct PaidLot {
    currency: Currency,
    cost: i64,
    granted: i64,
    /// The lot that was bought, which it comes from in the end.
    origin: LotId,
    /// What paid for it, how much that was, and what the lots before this one cost of it.
    payment: PaymentReference,
    paid: i64,
    cost_before: i64,
    live: i64,
    used: i64,
    lost: i64,
    clawed: i64,
    /// What has gone back of it and its successors; what it gave up itself; what successors took along.
    back: i64,
    refunded: i64,
    carried_on: i64,
    recognised: i64,
    breakage: i64,
}

/// What one event does to a lot.
#[derive(Clone, Copy, Default)]
struct Shift {
    live: i64,
    used: i64,
    lost: i64,
    clawed: i64,
    carried_on: i64,
    refunded: i64,
}

/// The shifts of one event, by lot.
#[derive(Default)]
struct Shifts(BTreeMap<LotId, Shift>);

impl Shifts {
    fn of(&mut self, lot: LotId) -> &mut Shift {
        self.0.entry(lot).or_default()
    }

    fn use_up(&mut self, draws: &[Draw]) {
        for draw in draws {
            let shift = self.of(draw.lot);
            (shift.live, shift.used) = (shift.live - draw.amount, shift.used + draw.amount);
        }
    }

    fn lose(&mut self, draws: &[Draw]) {
        for draw in draws {
            let shift = self.of(draw.lot);
            (shift.live, shift.lost) = (shift.live - draw.amount, shift.lost + draw.amount);
        }
    }
}

impl Revenue {
    /// What was counted so far, by currency and day.
    pub fn days(&self) -> &BTreeMap<(Currency, Day), RevenueDay> {
        &self.days
    }

    /// Takes in the next event; `after` is the state that it led to.
    pub fn take_in(&mut self, event: &Event, after: &WorkingSet) {
        let mut shifts = Shifts::default();
        match &event.body {
            EventBody::CreditsPurchased(body) => {
                self.buy(event, body);
                shifts.of(body.lot).live += body.granted;
                self.give_back(event, body.purchase, after, &mut shifts);
            }
            EventBody::CreditsSpent(body) => shifts.use_up(&body.draws),
            EventBody::HoldCaptured(body) => {
                shifts.use_up(&body.draws);
                shifts.use_up(&body.excess);
            }
            EventBody::CreditsExpired(body) => shifts.lose(&body.lots),
            EventBody::CreditsAdjusted(body) => shifts.lose(&body.draws),
            EventBody::DebtSettled(body) => {
                for settlement in &body.settlements {
                    let shift = shifts.of(settlement.lot);
                    shift.live -= settlement.amount;
                    shift.used += settlement.amount;
                }
            }
            EventBody::TransferReceived(body) => {
                for lot in &body.lots {
                    shifts.of(lot.of).live -= lot.granted;
                    self.live_on(lot.of, lot.lot, lot.granted, lot.cost, &mut shifts);
                }
            }
            EventBody::CreditsRolledOver(body) => {
                for rolled in &body.lots {
                    shifts.of(rolled.lot).live -= rolled.amount;
                    self.live_on(rolled.lot, rolled.into.lot, rolled.amount, rolled.into.cost, &mut shifts);
                }
            }
            EventBody::PurchaseClawed(body) => self.move_target(event, &body.0, after, &mut shifts),
            EventBody::PurchaseRestored(body) => self.move_target(event, &body.0, after, &mut shifts),
            _ => return,
        }
        self.give_back_of_successors(&mut shifts);
        let day = Day::of(event.recorded_at);
        for (lot, shift) in shifts.0 {
            self.settle(lot, shift, day);
        }
    }

    fn buy(&mut self, event: &Event, body: &CreditsPurchased) {
        let Some(unit) = event.unit.clone() else { return };
        let payment = body.payment.clone().unwrap_or(PaymentReference::External(body.purchase));
        let cost_before = self.costs.entry(payment.clone()).or_default();
        let lot = PaidLot {
            currency: body.money.currency,
            cost: body.cost,
            granted: body.granted,
            origin: body.lot,
            payment,
            // A payment may have paid for more than these credits.
            paid: body.paid_with.unwrap_or(body.money).gross,
            cost_before: *cost_before,
            live: 0,
            used: 0,
            lost: 0,
            clawed: 0,
            back: 0,
            refunded: 0,
            carried_on: 0,
            recognised: 0,
            breakage: 0,
        };
        *cost_before += body.cost;
        self.bought.insert((body.purchase, unit), body.lot);
        self.lots.insert(body.lot, lot);
        let day = self.days.entry((body.money.currency, Day::of(event.recorded_at))).or_default();
        day.sold += body.cost;
    }

    /// Credits of `of` live on in `lot` and take their part of the cost along.
    fn live_on(&mut self, of: LotId, lot: LotId, granted: i64, cost: Option<i64>, shifts: &mut Shifts) {
        let (Some(cost), Some(parent)) = (cost, self.lots.get(&of)) else { return };
        let successor = PaidLot {
            cost,
            granted,
            live: 0,
            used: 0,
            lost: 0,
            clawed: 0,
            back: 0,
            refunded: 0,
            carried_on: 0,
            recognised: 0,
            breakage: 0,
            ..parent.clone()
        };
        self.lots.insert(lot, successor);
        shifts.of(of).carried_on += cost;
        shifts.of(lot).live += granted;
    }

    fn move_target(&mut self, event: &Event, body: &TargetMoved, after: &WorkingSet, shifts: &mut Shifts) {
        let mut returned = |books: &mut Self, lot: LotId, amount: i64, into: Option<&SuccessorLot>| match into
        {
            Some(into) => books.live_on(lot, into.lot, amount, into.cost, shifts),
            None => shifts.of(lot).live += amount,
        };
        // In two passes, because the lots that others live on in are taken from before they are added to.
        for step in &body.moves {
            match step {
                // Disputed credits live as others do: until they are gone or live on elsewhere.
                TargetMove::OwnReturned { lot, amount, into: Some(into) } => {
                    returned(self, *lot, *amount, Some(into));
                }
                TargetMove::OtherReturned { lot, amount, into }
                | TargetMove::SettlementReturned { lot, amount, into, .. } => {
                    returned(self, *lot, *amount, into.as_ref());
                }
                _ => {}
            }
        }
        for step in &body.moves {
            match step {
                TargetMove::OwnReturned { lot, amount, into: Some(_) } => shifts.of(*lot).live -= amount,
                TargetMove::OwnClawed { lot, amount } => {
                    let shift = shifts.of(*lot);
                    (shift.live, shift.clawed) = (shift.live - amount, shift.clawed + amount);
                }
                TargetMove::OwnUnclawed { lot, amount } => {
                    let shift = shifts.of(*lot);
                    (shift.live, shift.clawed) = (shift.live + amount, shift.clawed - amount);
                }
                TargetMove::OtherTaken { lot, amount } => {
                    let shift = shifts.of(*lot);
                    (shift.live, shift.used) = (shift.live - amount, shift.used + amount);
                }
                TargetMove::OtherReturned { lot, amount, .. }
                | TargetMove::SettlementReturned { lot, amount, .. } => shifts.of(*lot).used -= amount,
                _ => {}
            }
        }
        self.give_back(event, body.purchase, after, shifts);
    }

    /// All lots of a payment together give up what went back of it, to the cent.
    fn give_back(&mut self, event: &Event, purchase: PurchaseId, after: &WorkingSet, shifts: &mut Shifts) {
        let Some(unit) = event.unit.clone() else { return };
        let Some(origin) = self.bought.get(&(purchase, unit)) else { return };
        let Some(lot) = self.lots.get_mut(origin).filter(|lot| lot.paid > 0) else { return };
        let payment = after.payments.get(&lot.payment);
        let back = payment.map_or(0, |payment| payment.money_back(after.settings.claw_on_pending).taken);
        let back = back.min(lot.paid);
        let share = |cost: i64| part(cost, back, lot.paid);
        let back = share(lot.cost_before + lot.cost) - share(lot.cost_before);
        shifts.of(*origin).refunded += back - lot.back;
        lot.back = back;
    }

    /// Lots that others live on in give money back by the credits that are taken of them; the rest comes out of the origin.
    fn give_back_of_successors(&self, shifts: &mut Shifts) {
        let clawed: Vec<(LotId, i64)> = shifts
            .0
            .iter()
            .filter(|(_, shift)| shift.clawed != 0)
            .map(|(lot, shift)| (*lot, shift.clawed))
            .collect();
        for (id, clawed) in clawed {
            let Some(lot) = self.lots.get(&id).filter(|lot| lot.origin != id) else { continue };
            let share = |clawed: i64| part(lot.cost, clawed, lot.granted);
            let refunded = share(lot.clawed + clawed) - share(lot.clawed);
            shifts.of(id).refunded += refunded;
            shifts.of(lot.origin).refunded -= refunded;
        }
    }

    fn settle(&mut self, id: LotId, shift: Shift, day: Day) {
        // Credits that nobody paid for carry no money.
        let Some(lot) = self.lots.get_mut(&id) else { return };
        lot.live += shift.live;
        lot.used += shift.used;
        lot.lost += shift.lost;
        lot.clawed += shift.clawed;
        lot.carried_on += shift.carried_on;
        lot.refunded += shift.refunded;
        let kept = lot.cost - lot.carried_on - lot.refunded;
        let deferred = match lot.live {
            0 => 0,
            _ => (kept - part(lot.cost, lot.used + lot.lost, lot.granted)).max(0),
        };
        let earned = kept - deferred;
        let recognised =
            if lot.lost == 0 { earned } else { earned.min(part(lot.cost, lot.used, lot.granted)) };
        let breakage = earned - recognised;
        let of_day = self.days.entry((lot.currency, day)).or_default();
        of_day.recognised += recognised - lot.recognised;
        of_day.breakage += breakage - lot.breakage;
        of_day.refunded += shift.refunded;
        (lot.recognised, lot.breakage) = (recognised, breakage);
    }
}

/// What `some` of `all` is of a sum, rounded down.
fn part(sum: i64, some: i64, all: i64) -> i64 {
    let part = i128::from(sum) * i128::from(some) / i128::from(all.max(1));
    i64::try_from(part).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        audit::replay::Replay,
        domain::{
            evolve,
            testing::{Harness, plan},
        },
    };

    /// What stayed of the cash that came in without tax, told from the events and the state of each payment alone.
    #[derive(Default)]
    struct Cash {
        set: WorkingSet,
        payments: BTreeMap<PaymentReference, Paid>,
    }

    /// What a payment came to, what of that bought credits, and how much of it all has gone back.
    struct Paid {
        currency: Currency,
        gross: i64,
        bought: i64,
        back: i64,
    }

    impl Cash {
        fn take_in(&mut self, event: &Event) {
            evolve(&mut self.set, event);
            let purchase = match &event.body {
                EventBody::CreditsPurchased(bought) => {
                    let reference = reference_of(bought.payment.as_ref(), bought.purchase);
                    let paid = self.payments.entry(reference).or_insert_with(|| Paid {
                        currency: bought.money.currency,
                        gross: bought.paid_with.unwrap_or(bought.money).gross,
                        bought: 0,
                        back: 0,
                    });
                    paid.bought += bought.cost;
                    bought.purchase
                }
                EventBody::PurchaseClawed(moved) => moved.0.purchase,
                EventBody::PurchaseRestored(moved) => moved.0.purchase,
                _ => return,
            };
            let reference = reference_of(self.set.purchases[&purchase].payment.as_ref(), purchase);
            let payment = self.set.payments.get(&reference);
            let back =
                payment.map_or(0, |payment| payment.money_back(self.set.settings.claw_on_pending).taken);
            self.payments.get_mut(&reference).expect("bought before").back = back;
        }

        fn kept(&self) -> BTreeMap<Currency, i64> {
            let mut kept: BTreeMap<Currency, i64> = BTreeMap::new();
            for paid in self.payments.values() {
                let back = i128::from(paid.back.min(paid.gross));
                let of_credits = match paid.gross {
                    0 => 0,
                    gross => i128::from(paid.bought) * back / i128::from(gross),
                };
                let of_credits = i64::try_from(of_credits).expect("no more than was paid");
                *kept.entry(paid.currency).or_default() += paid.bought - of_credits;
            }
            kept
        }

        /// What each lot has left, wherever it is set aside.
        fn live(&self) -> BTreeMap<LotId, i64> {
            let books = self.set.accounts.values().flat_map(|account| account.books.values());
            let lots = books.flat_map(|book| book.lots.values());
            lots.map(|lot| (lot.id, lot.remaining + lot.held + lot.disputed)).collect()
        }
    }

    fn reference_of(payment: Option<&PaymentReference>, purchase: PurchaseId) -> PaymentReference {
        payment.cloned().unwrap_or(PaymentReference::External(purchase))
    }

    /// Per currency: net cash without tax = recognised + breakage + deferred, and lots of which nothing is left have
    /// nothing deferred.
    fn check_money(revenue: &Revenue, cash: &Cash) -> Result<(), TestCaseError> {
        let mut told: BTreeMap<Currency, i64> = BTreeMap::new();
        let live = cash.live();
        for (id, lot) in &revenue.lots {
            let deferred = lot.cost - lot.carried_on - lot.refunded - lot.recognised - lot.breakage;
            let left = live.get(id).copied().unwrap_or(0);
            prop_assert!(deferred >= 0 && (left > 0 || deferred == 0), "{left} left: {id:?} {deferred}");
            *told.entry(lot.currency).or_default() += lot.recognised + lot.breakage + deferred;
        }
        prop_assert_eq!(&told, &cash.kept(), "what lots tell");
        let mut reported: BTreeMap<Currency, i64> = BTreeMap::new();
        for ((currency, _), day) in revenue.days() {
            *reported.entry(*currency).or_default() += day.recognised + day.breakage + day.deferred();
        }
        prop_assert_eq!(&reported, &told, "what days tell");
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn after_every_command_the_cash_that_stayed_is_earned_or_owed(steps in plan(60), salt: u8) {
            let mut harness = Harness::new(salt);
            harness.run(&steps);
            let (mut replay, mut cash) = (Replay::default(), Cash::default());
            let mut events = harness.events.iter().peekable();
            while let Some(event) = events.next() {
                prop_assert_eq!(replay.play(event), Ok(()), "{:?}", event);
                cash.take_in(event);
                if events.peek().is_none_or(|next| next.command != event.command) {
                    check_money(replay.revenue(), &cash)?;
                }
            }
            for lot in replay.revenue().lots.values().filter(|lot| lot.used == lot.granted) {
                let kept = lot.cost - lot.carried_on - lot.refunded;
                prop_assert_eq!((lot.recognised, lot.breakage), (kept, 0));
            }
        }
    }
}
