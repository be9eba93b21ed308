//! Credits follow the money (rule 7). After every fact about a payment, each purchase that it paid for moves from its old
//! target, the number of credits that must not be in the buyer's hands, to its new one.
//!
//! Credits are found in this order: the purchase's own unspent ones, its own expired ones (absorbed, no effect on the
//! balance), and for the rest, the shortfall, the account's other lots, then debt (or a write-off, as the ledger's policy
//! says). What is only disputed is set aside if it is the purchase's own, and merely recorded if it is not. A target that
//! falls undoes the same in reverse.
//!
//! Credits that the buyer gave to others stay the purchase's own: after his, they are taken where they are available at
//! the moment of the fact, and go back there. What is not available there then is missing like what he has spent, so that
//! no recipient ever owes anything, and nothing is taken from him later. Each account gets an event of its own, the
//! buyer's last, because his says what is missing.
//!
//! With O own credits set aside or taken, `a` absorbed and S = T − O − a missing, of which the final part of the target is
//! Tc: `min(Tc, O)` own credits are taken for good, and `max(0, Tc − O − a)` really come from elsewhere. What own credits
//! and absorbed ones are, history decides; everything else follows from it.

use std::collections::BTreeMap;

use super::{
    account::{Book, Lot},
    amount::{MAX_AMOUNT, proportion},
    decide::Draft,
    event::{PurchaseClawed, PurchaseRestored, SuccessorLot, Target, TargetCause, TargetMove, TargetMoved},
    evolve::{apply_to_book, apply_to_part, set_target},
    ids::{AccountNumber, DebtId, LOTS_OF_EVENT, LotId, Position, PurchaseId, Seed, Unit},
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

/// How many credits less than now need to be missing, since own ones came back to the buyer's book: S − max(0, T + U − G),
/// if positive. U is all that he neither has left, nor lost to time, nor had to give up: what he transferred on as well.
pub(super) fn reducible(book: &Book, purchase: PurchaseId, part: &Part) -> i64 {
    let in_hand: i64 = book.lots_of(purchase).map(|lot| lot.remaining + lot.expired).sum();
    let missing = part.shortfall + part.taken_elsewhere();
    missing - (part.target.total - part.own_taken() - in_hand).max(0)
}

/// Moves one part of a purchase to a new target and writes the events. All accounts that hold credits of it must be part
/// of the draft.
pub(super) fn retarget(
    draft: &mut Draft<'_>,
    purchase: PurchaseId,
    unit: &Unit,
    after: Target,
    cause: TargetCause,
) {
    let mut plan = Plan::new(draft, purchase, unit, draft.state.purchases[&purchase].accounts());
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

/// Takes own credits that came back to the buyer, and lets go of what was taken elsewhere in their place.
pub(super) fn reduce_shortfall(draft: &mut Draft<'_>, purchase: PurchaseId, unit: &Unit) {
    let buyer = draft.state.purchases[&purchase].account;
    let mut plan = Plan::new(draft, purchase, unit, [buyer]);
    let target = plan.part.target;
    let reducible = reducible(plan.book(), purchase, &plan.part);
    plan.take_own(reducible);
    plan.distribute(target);
    plan.write(draft, target, target, TargetCause::CreditsReturned);
}

/// The moves that are being found, and the state that they lead to.
struct Plan {
    purchase: PurchaseId,
    unit: Unit,
    buyer: AccountNumber,
    /// The books that it may touch: the buyer's, and those of accounts that credits were transferred to.
    books: BTreeMap<AccountNumber, Book>,
    part: Part,
    /// How many own credits are taken for good, in whichever book.
    clawed: i64,
    moves: Vec<(AccountNumber, TargetMove)>,
    policy: ClawbackPolicy,
    at: Timestamp,
    position: Position,
    seed: Seed,
    successors: i64,
}

impl Plan {
    fn new(
        draft: &Draft<'_>,
        purchase: PurchaseId,
        unit: &Unit,
        accounts: impl IntoIterator<Item = AccountNumber>,
    ) -> Self {
        let state = &draft.state.purchases[&purchase];
        let part = state.parts[unit].clone();
        Self {
            purchase,
            unit: unit.clone(),
            buyer: state.account,
            books: accounts.into_iter().map(|account| (account, draft.book(account, unit))).collect(),
            clawed: part.target.taken.min(part.own_taken()),
            part,
            moves: Vec::new(),
            policy: draft.base().settings.clawback_policy,
            at: draft.moment(),
            position: draft.next_position(),
            seed: draft.context().seed,
            successors: 0,
        }
    }

    /// The buyer's book.
    fn book(&self) -> &Book {
        &self.books[&self.buyer]
    }

    /// The purchase's own lots by entry: the buyer's, then those of others.
    fn own_lots(&self) -> Vec<(AccountNumber, Lot)> {
        let lots = self
            .books
            .iter()
            .flat_map(|(account, book)| book.lots_of(self.purchase).map(move |lot| (*account, lot.clone())));
        let mut lots: Vec<_> = lots.collect();
        lots.sort_by_key(|(account, lot)| (*account != self.buyer, lot.id));
        lots
    }

    /// Whose book has an own lot.
    fn holder_of(&self, lot: LotId) -> AccountNumber {
        let mut books = self.books.iter();
        books.find(|(_, book)| book.lots.contains_key(&lot)).map_or(self.buyer, |(account, _)| *account)
    }

    /// Makes a move on the buyer's book.
    fn make(&mut self, target_move: TargetMove) {
        self.make_at(self.buyer, target_move);
    }

    fn make_at(&mut self, account: AccountNumber, target_move: TargetMove) {
        // Where the lot is stored does not matter to the plan.
        let book = self.books.entry(account).or_default();
        apply_to_book(book, self.purchase, &target_move, false);
        apply_to_part(&mut self.part, &target_move, self.at);
        self.moves.push((account, target_move));
    }

    /// Writes the events of each account that was touched, and the buyer's, always and last.
    fn write(self, draft: &mut Draft<'_>, before: Target, after: Target, cause: TargetCause) {
        let payment = draft.state.purchases[&self.purchase].payment.clone();
        let fell = after.total < before.total || (after.total == before.total && after.taken < before.taken);
        let mut by_account: BTreeMap<AccountNumber, Vec<TargetMove>> = BTreeMap::new();
        for (account, target_move) in self.moves {
            by_account.entry(account).or_default().push(target_move);
        }
        let of_buyer = by_account.remove(&self.buyer).unwrap_or_default();
        let by_account = by_account.into_iter().chain([(self.buyer, of_buyer)]);
        let by_event =
            by_account.flat_map(|(account, moves)| events_of(moves).into_iter().map(move |of| (account, of)));
        for (account, mut moves) in by_event {
            name_after(&mut moves, draft.next_position(), &self.seed);
            let (purchase, payment, cause) = (self.purchase, payment.clone(), cause.clone());
            let moved = TargetMoved { purchase, payment, cause, before, after, moves };
            if fell {
                draft.emit(Some(account), Some(&self.unit), PurchaseRestored(moved));
            } else {
                draft.emit(Some(account), Some(&self.unit), PurchaseClawed(moved));
            }
        }
    }

    /// Takes up to `amount` own credits: unspent ones by entry, the buyer's first, then expired ones of his. The rest is
    /// missing.
    fn take_own(&mut self, amount: i64) {
        let mut left = amount;
        for (account, lot) in self.own_lots() {
            let amount = left.min(lot.remaining);
            if amount > 0 {
                self.make_at(account, TargetMove::OwnTaken { lot: lot.id, amount });
                left -= amount;
            }
        }
        let expired: i64 = self.book().lots_of(self.purchase).map(|lot| lot.expired).sum();
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
                    let account = self.holder_of(lot);
                    let disputed = self.books[&account].lots[&lot].disputed;
                    if disputed < amount {
                        self.make_at(account, TargetMove::OwnUnclawed { lot, amount: amount - disputed });
                        self.clawed -= amount - disputed;
                    }
                    let into = self.successor(account, lot, amount, newest.at);
                    self.make_at(account, TargetMove::OwnReturned { lot, amount, into });
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

    /// Turns own credits from set aside to taken for good, or back, until `clawed` are. Where only the buyer's book is at
    /// hand, only what was just set aside there is to be turned.
    fn claw_own(&mut self, clawed: i64) {
        let mut left = clawed - self.clawed;
        let lots = self.own_lots();
        for (account, lot) in &lots {
            let amount = left.min(lot.disputed);
            if amount > 0 {
                self.make_at(*account, TargetMove::OwnClawed { lot: lot.id, amount });
                left -= amount;
            }
        }
        for (account, lot) in lots.iter().rev() {
            let amount = (-left).min(lot.clawed);
            if amount > 0 {
                self.make_at(*account, TargetMove::OwnUnclawed { lot: lot.id, amount });
                left += amount;
            }
        }
    }

    /// Takes `amount` from other lots in spending order, then as debt; or writes it off.
    fn take_elsewhere(&mut self, amount: i64) {
        let mut left = amount.max(0);
        if self.policy == ClawbackPolicy::Debt {
            for draw in self.book().draw(left) {
                self.make(TargetMove::OtherTaken { lot: draw.lot, amount: draw.amount });
                left -= draw.amount;
            }
            let amount = left.min(MAX_AMOUNT - self.book().debt);
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
                    let into = self.successor(self.buyer, lot, amount, taking.at);
                    TargetMove::SettlementReturned { debt, lot, amount, into }
                }
                TakenFrom::Lot(lot) => {
                    let into = self.successor(self.buyer, lot, amount, taking.at);
                    TargetMove::OtherReturned { lot, amount, into }
                }
            };
            self.make(target_move);
        }
    }

    /// The lot that credits live on in which come back to a lot that has expired since they were taken: for as long as
    /// they had left then.
    fn successor(
        &mut self,
        account: AccountNumber,
        lot: LotId,
        amount: i64,
        taken_at: Timestamp,
    ) -> Option<SuccessorLot> {
        let old = &self.books[&account].lots[&lot];
        let expires_at = old.expires_at.filter(|_| old.is_expired(self.at))?;
        // A name that no other lot has, behind all that there are; the event that it becomes part of gives it another.
        self.successors += 1;
        let position = Position(self.position.0 + self.successors);
        Some(SuccessorLot {
            lot: LotId::new(position, 0, &self.seed),
            expires_at: self.at.plus(expires_at.since(taken_at)),
            cost: old.cost_of_moving(amount),
        })
    }
}

/// The moves of an account, cut where an event has made all the lots that one can make; one event at least.
fn events_of(moves: Vec<TargetMove>) -> Vec<Vec<TargetMove>> {
    let mut events = vec![Vec::new()];
    let mut made = 0;
    for target_move in moves {
        if target_move.successor().is_some() {
            if made == LOTS_OF_EVENT {
                events.push(Vec::new());
                made = 0;
            }
            made += 1;
        }
        if let Some(event) = events.last_mut() {
            event.push(target_move);
        }
    }
    events
}

/// Gives what the moves make ids of the event that they become part of; what the plan called them served the plan alone.
fn name_after(moves: &mut [TargetMove], position: Position, seed: &Seed) {
    let mut ordinals = 0..=u8::MAX;
    for target_move in moves {
        if let TargetMove::DebtMade { debt, .. } = target_move {
            *debt = DebtId::new(position, 0, seed);
        }
        if let Some(successor) = target_move.successor_mut()
            && let Some(ordinal) = ordinals.next()
        {
            successor.lot = LotId::new(position, ordinal, seed);
        }
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
