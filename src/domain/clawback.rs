//! Credits follow the money (rule 7). After every fact about a payment, each purchase that it paid for moves from its old
//! target, the number of credits that must not be in the buyer's hands, to its new one.
//!
//! Credits are found in this order: the purchase's own unspent ones, its own expired ones (absorbed, no effect on the
//! balance), and for the rest, the shortfall, the account's other lots, then debt (or a write-off, as the ledger's policy
//! says). What is only disputed is set aside if it is the purchase's own, and merely recorded if it is not. A target that
//! falls undoes the same in reverse.
//!
//! With O own credits set aside or taken, `a` absorbed and S = T − O − a missing, of which the final part of the target is
//! Tc: `min(Tc, O)` own credits are taken for good, and `max(0, Tc − O − a)` really come from elsewhere. What own credits
//! and absorbed ones are, history decides; everything else follows from it.

use super::{
    account::{Book, Lot},
    amount::{MAX_AMOUNT, proportion},
    decide::Draft,
    event::{PurchaseClawed, PurchaseRestored, SuccessorLot, Target, TargetCause, TargetMove, TargetMoved},
    evolve::{apply_to_book, apply_to_part, set_target},
    ids::{DebtId, LotId, Position, PurchaseId, Seed, Unit},
    payment::MoneyBack,
    purchase::{Part, TakenFrom},
    settings::ClawbackPolicy,
    time::Timestamp,
};

/// The target of a purchase of which `granted` credits were bought in a payment of `paid`.
///
/// `floor(granted × min(paid, back) / paid)`; nothing if nothing was paid.
pub fn target(granted: i64, paid: i64, back: MoneyBack) -> Target {
    let share = |money: i64| if paid == 0 { 0 } else { proportion(granted, money.clamp(0, paid), paid) };
    Target { total: share(back.total), taken: share(back.taken) }
}

/// How many credits less than now need to be missing, since own ones came back: S − max(0, T + U − G), if positive.
pub(super) fn reducible(book: &Book, purchase: PurchaseId, part: &Part) -> i64 {
    let used: i64 = book.lots_of(purchase).map(Lot::used).sum();
    let missing = part.shortfall + part.taken_elsewhere();
    missing - (part.target.total + used - part.granted).max(0)
}

/// Moves one part of a purchase to a new target and writes the event.
pub(super) fn retarget(
    draft: &mut Draft<'_>,
    purchase: PurchaseId,
    unit: &Unit,
    after: Target,
    cause: TargetCause,
) {
    let mut plan = Plan::new(draft, purchase, unit);
    let before = plan.part.target;
    if after.total >= before.total {
        plan.take_own(after.total - before.total);
        plan.distribute(after);
    } else {
        plan.unwind_elsewhere(plan.must_come_from_elsewhere(after));
        plan.return_own(plan.part.own_taken() + plan.part.absorbed() - after.total);
        plan.distribute(after);
    }
    plan.write(draft, before, after, cause);
}

/// Takes own credits that came back, and lets go of what was taken elsewhere in their place.
pub(super) fn reduce_shortfall(draft: &mut Draft<'_>, purchase: PurchaseId, unit: &Unit) {
    let mut plan = Plan::new(draft, purchase, unit);
    let target = plan.part.target;
    let reducible = reducible(&plan.book, purchase, &plan.part);
    plan.take_own(reducible);
    plan.distribute(target);
    plan.write(draft, target, target, TargetCause::CreditsReturned);
}

/// The moves that are being found, and the state that they lead to.
struct Plan {
    purchase: PurchaseId,
    unit: Unit,
    book: Book,
    part: Part,
    moves: Vec<TargetMove>,
    policy: ClawbackPolicy,
    at: Timestamp,
    position: Position,
    seed: Seed,
    successors: u8,
}

impl Plan {
    fn new(draft: &Draft<'_>, purchase: PurchaseId, unit: &Unit) -> Self {
        let state = &draft.state.purchases[&purchase];
        Self {
            purchase,
            unit: unit.clone(),
            book: draft.book(state.account, unit),
            part: state.parts[unit].clone(),
            moves: Vec::new(),
            policy: draft.base().settings.clawback_policy,
            at: draft.moment(),
            position: draft.next_position(),
            seed: draft.context().seed,
            successors: 0,
        }
    }

    fn make(&mut self, target_move: TargetMove) {
        // Where the lot is stored does not matter to the plan.
        apply_to_book(&mut self.book, self.purchase, &target_move, false);
        apply_to_part(&mut self.part, &target_move, self.at);
        self.moves.push(target_move);
    }

    fn write(self, draft: &mut Draft<'_>, before: Target, after: Target, cause: TargetCause) {
        let purchase = &draft.state.purchases[&self.purchase];
        let (account, payment) = (purchase.account, purchase.payment.clone());
        let moved = TargetMoved { purchase: self.purchase, payment, cause, before, after, moves: self.moves };
        let fell = after.total < before.total || (after.total == before.total && after.taken < before.taken);
        if fell {
            draft.emit(Some(account), Some(&self.unit), PurchaseRestored(moved));
        } else {
            draft.emit(Some(account), Some(&self.unit), PurchaseClawed(moved));
        }
    }

    /// Takes up to `amount` own credits: unspent ones by entry, then expired ones. The rest is missing.
    fn take_own(&mut self, amount: i64) {
        let mut left = amount;
        let lots: Vec<(LotId, i64)> =
            self.book.lots_of(self.purchase).map(|lot| (lot.id, lot.remaining)).collect();
        for (lot, remaining) in lots {
            let amount = left.min(remaining);
            if amount > 0 {
                self.make(TargetMove::OwnTaken { lot, amount });
                left -= amount;
            }
        }
        let expired: i64 = self.book.lots_of(self.purchase).map(|lot| lot.expired).sum();
        let amount = left.min(expired - self.part.absorbed());
        if amount > 0 {
            self.make(TargetMove::Absorbed { amount });
        }
    }

    /// Gives `amount` own and absorbed credits back, if it is positive, newest first.
    fn return_own(&mut self, amount: i64) {
        let mut left = amount;
        while left > 0
            && let Some(newest) = self.part.own.last().copied()
        {
            let amount = left.min(newest.amount);
            left -= amount;
            match newest.lot {
                None => self.make(TargetMove::Unabsorbed { amount }),
                Some(lot) => {
                    let disputed = self.book.lots[&lot].disputed;
                    if disputed < amount {
                        self.make(TargetMove::OwnUnclawed { lot, amount: amount - disputed });
                    }
                    let into = self.successor(lot, amount, newest.at);
                    self.make(TargetMove::OwnReturned { lot, amount, into });
                }
            }
        }
    }

    /// How much must really come from elsewhere at that target. Own credits beyond it do not change that.
    fn must_come_from_elsewhere(&self, target: Target) -> i64 {
        (target.taken - self.part.own_taken() - self.part.absorbed()).max(0)
    }

    /// Makes everything but own and absorbed credits what the target asks for.
    fn distribute(&mut self, target: Target) {
        let must = self.must_come_from_elsewhere(target);
        self.unwind_elsewhere(must);
        self.take_elsewhere(must - self.part.taken_elsewhere());
        self.claw_own(target.taken.min(self.part.own_taken()));
        set_target(&mut self.part, target);
    }

    /// Turns own credits from set aside to taken for good, or back, until `clawed` are.
    fn claw_own(&mut self, clawed: i64) {
        let now: i64 = self.book.lots_of(self.purchase).map(|lot| lot.clawed).sum();
        let mut left = clawed - now;
        let pools = |lot: &Lot| (lot.id, lot.disputed, lot.clawed);
        let lots: Vec<_> = self.book.lots_of(self.purchase).map(pools).collect();
        for (lot, disputed, _) in &lots {
            let amount = left.min(*disputed);
            if amount > 0 {
                self.make(TargetMove::OwnClawed { lot: *lot, amount });
                left -= amount;
            }
        }
        for (lot, _, clawed) in lots.iter().rev() {
            let amount = (-left).min(*clawed);
            if amount > 0 {
                self.make(TargetMove::OwnUnclawed { lot: *lot, amount });
                left += amount;
            }
        }
    }

    /// Takes `amount` from other lots in spending order, then as debt; or writes it off.
    fn take_elsewhere(&mut self, amount: i64) {
        let mut left = amount.max(0);
        if self.policy == ClawbackPolicy::Debt {
            for draw in self.book.draw(left) {
                self.make(TargetMove::OtherTaken { lot: draw.lot, amount: draw.amount });
                left -= draw.amount;
            }
            let amount = left.min(MAX_AMOUNT - self.book.debt);
            if amount > 0 {
                self.make(TargetMove::DebtMade { debt: DebtId::new(self.position, 0, &self.seed), amount });
                left -= amount;
            }
        }
        if left > 0 {
            self.make(TargetMove::WrittenOff { amount: left });
        }
    }

    /// Undoes what was taken elsewhere until only `keep` is: write-offs, open debt, settled debt, other lots, newest first.
    fn unwind_elsewhere(&mut self, keep: i64) {
        let mut left = (self.part.taken_elsewhere() - keep).max(0);
        let mut takings = self.part.elsewhere.clone();
        takings.reverse();
        takings.sort_by_key(|taking| unwinding_order(taking.from));
        for taking in takings {
            let amount = left.min(taking.amount);
            if amount == 0 {
                break;
            }
            left -= amount;
            let target_move = match taking.from {
                TakenFrom::WriteOff => TargetMove::WriteOffUndone { amount },
                TakenFrom::Debt(debt) => TargetMove::DebtCancelled { debt, amount },
                TakenFrom::Settlement { debt, lot } => {
                    let into = self.successor(lot, amount, taking.at);
                    TargetMove::SettlementReturned { debt, lot, amount, into }
                }
                TakenFrom::Lot(lot) => {
                    let into = self.successor(lot, amount, taking.at);
                    TargetMove::OtherReturned { lot, amount, into }
                }
            };
            self.make(target_move);
        }
    }

    /// The lot that credits live on in which come back to a lot that has expired since they were taken: for as long as
    /// they had left then.
    fn successor(&mut self, lot: LotId, amount: i64, taken_at: Timestamp) -> Option<SuccessorLot> {
        let old = &self.book.lots[&lot];
        let expires_at = old.expires_at.filter(|_| old.is_expired(self.at))?;
        let ordinal = self.successors;
        self.successors = self.successors.saturating_add(1);
        Some(SuccessorLot {
            lot: LotId::new(self.position, ordinal, &self.seed),
            expires_at: self.at.plus(expires_at.since(taken_at)),
            cost: old.cost.map(|cost| proportion(cost, amount, old.granted)),
        })
    }
}

fn unwinding_order(from: TakenFrom) -> u8 {
    match from {
        TakenFrom::WriteOff => 0,
        TakenFrom::Debt(_) => 1,
        TakenFrom::Settlement { .. } => 2,
        TakenFrom::Lot(_) => 3,
    }
}
