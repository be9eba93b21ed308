//! The state of one account: what `decide` needs to know of it, and nothing else.
//!
//! Only `evolve` changes it. Invariants (`invariants.rs` checks them all): each lot's counters add up to what was granted;
//! each book's totals are the sums over its lots and debts; whoever has credits has no debt.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    amount::proportion,
    event::{BalanceAfter, Draw, SuccessorLot},
    ids::{AccountNumber, DebtId, HoldId, LotId, Position, PurchaseId, SpendId, StripeId, Unit},
    rejection::Rejection,
    time::Timestamp,
};

/// The version of the shape of a stored [`Account`]; a process that meets a newer one stops writing that ledger.
pub const ACCOUNT_STATE_VERSION: i16 = 1;

/// The most open lots that an account may have of one unit. Only what Stripe reports may go beyond.
pub const MAX_OPEN_LOTS: usize = 1_000;

/// The most open lots that are stored with their account; further ones are rows of their own, so that one spend never
/// rewrites a large snapshot.
pub const MAX_INLINE_LOTS: usize = 64;

/// Whether an account takes requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It does.
    Open,
    /// Clients' requests that move credits are refused.
    Frozen,
    /// All requests are refused, for ever.
    Closed,
}

impl AccountStatus {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Frozen => "frozen",
            Self::Closed => "closed",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Frozen, Self::Closed].into_iter().find(|status| status.as_str() == text)
    }

    /// Checks that clients' requests that move credits are taken.
    ///
    /// # Errors
    /// [`Rejection::AccountFrozen`] and [`Rejection::AccountClosed`].
    pub fn check_open(self) -> Result<(), Rejection> {
        match self {
            Self::Open => Ok(()),
            Self::Frozen => Err(Rejection::AccountFrozen),
            Self::Closed => Err(Rejection::AccountClosed),
        }
    }
}

/// A holder of credits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// Its number: the position of its `account.opened`.
    pub number: AccountNumber,
    /// Whether it takes requests.
    pub status: AccountStatus,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Its customer at Stripe, of which it is the only account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_customer: Option<StripeId>,
    /// Whether it got what the ledger grants for a trial, which is once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub had_trial: bool,
    /// The position of the last event that it has seen.
    pub version: Position,
    /// Its credits, by unit.
    pub books: BTreeMap<Unit, Book>,
    /// Its open holds.
    pub holds: BTreeMap<HoldId, Hold>,
    /// Purchases of which something is owed, written off, or was taken from elsewhere: when their credits come back,
    /// they are looked at again, so they must be in the working set whenever this account is.
    pub watched: BTreeSet<PurchaseId>,
}

/// What an account has of one unit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// Its lots: all open ones, and those closed ones that were loaded for the command at hand.
    pub lots: BTreeMap<LotId, Lot>,
    /// What is owed, oldest first.
    pub debts: BTreeMap<DebtId, Debt>,
    /// How many credits it may owe by spending.
    pub overdraft_limit: i64,
    /// Sum of what lots have left.
    pub available: i64,
    /// Sum of what lots have in holds.
    pub held: i64,
    /// Sum of what lots have set aside for disputes and requested refunds.
    pub disputed: i64,
    /// Sum of what is owed.
    pub debt: i64,
}

impl Book {
    /// What a spend may take: what is available, and the overdraft that is not used yet.
    pub fn spendable(&self) -> i64 {
        self.available + (self.overdraft_limit - self.debt).max(0)
    }

    /// The balances as events carry them.
    pub fn balance(&self) -> BalanceAfter {
        BalanceAfter { net: self.available - self.debt, held: self.held, disputed: self.disputed }
    }

    /// Lots with something left, in spending order.
    pub fn lots_in_spending_order(&self) -> Vec<&Lot> {
        let mut lots: Vec<&Lot> = self.lots.values().filter(|lot| lot.remaining > 0).collect();
        lots.sort_by_key(|lot| lot.spending_order());
        lots
    }

    /// How many lots are open.
    pub fn open_lots(&self) -> usize {
        self.lots.values().filter(|lot| lot.is_open()).count()
    }
}

/// Where the credits of a lot can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    /// Left to use.
    Remaining,
    /// In open holds.
    Held,
    /// Set aside for disputes.
    Disputed,
    /// Used.
    Spent,
    /// Ran out of time.
    Expired,
    /// Taken back with the money of its own purchase.
    Clawed,
    /// Living on in another lot.
    Moved,
    /// Taken out by an operator.
    Adjusted,
    /// Used for debt, or for the clawback of another purchase.
    Settled,
}

impl Book {
    /// Takes a new lot in.
    pub fn add_lot(&mut self, lot: Lot) {
        self.available += lot.remaining;
        self.lots.insert(lot.id, lot);
    }

    /// Moves credits of one lot from one pool to another and keeps the totals.
    ///
    /// # Panics
    /// If the lot is not in the working set or has too little: the state does not belong to the event then, and nothing
    /// may be written.
    #[expect(clippy::panic, reason = "a state that an event cannot belong to must not be written")]
    pub fn shift(&mut self, lot: LotId, amount: i64, from: Pool, to: Pool) {
        let Some(state) = self.lots.get_mut(&lot) else { panic!("{lot} must be in the working set") };
        *state.pool_mut(from) -= amount;
        *state.pool_mut(to) += amount;
        assert!(amount > 0 && *state.pool_mut(from) >= 0, "{lot} must have {amount} in {from:?}");
        for (pool, change) in [(from, -amount), (to, amount)] {
            if let Some(total) = self.total_mut(pool) {
                *total += change;
            }
        }
    }

    /// Brings credits back to use: into their own lot, or, if that has expired since, into its successor, which is
    /// `spilled` if the account has many lots.
    ///
    /// # Panics
    /// As [`Self::shift`].
    pub fn give_back(
        &mut self,
        lot: LotId,
        amount: i64,
        from: Pool,
        into: Option<SuccessorLot>,
        spilled: bool,
    ) {
        let Some(successor) = into else { return self.shift(lot, amount, from, Pool::Remaining) };
        self.shift(lot, amount, from, Pool::Moved);
        let old = &self.lots[&lot];
        let new = Lot {
            purchase: old.purchase,
            cost: successor.cost,
            expires_at: Some(successor.expires_at),
            spilled,
            ..Lot::new(successor.lot, amount, old.priority)
        };
        self.add_lot(new);
    }

    /// Adds to what is owed.
    pub fn owe(&mut self, debt: DebtId, cause: DebtCause, amount: i64) {
        self.debts.entry(debt).or_insert(Debt { cause, open: 0 }).open += amount;
        self.debt += amount;
    }

    /// Takes from what is owed by one item; gives its cause.
    ///
    /// # Panics
    /// If so much is not owed by it.
    #[expect(clippy::panic, reason = "a state that an event cannot belong to must not be written")]
    pub fn owe_less(&mut self, debt: DebtId, amount: i64) -> DebtCause {
        let Some(item) = self.debts.get_mut(&debt) else { panic!("{debt} must be open") };
        item.open -= amount;
        assert!(item.open >= 0, "{debt} must have {amount} open");
        self.debt -= amount;
        let cause = item.cause.clone();
        if item.open == 0 {
            self.debts.remove(&debt);
        }
        cause
    }

    /// The lots of a purchase, by entry.
    pub fn lots_of(&self, purchase: PurchaseId) -> impl DoubleEndedIterator<Item = &Lot> {
        self.lots.values().filter(move |lot| lot.purchase == Some(purchase))
    }

    /// What the first lots in spending order give up for `amount`; less than it if less is left.
    pub fn draw(&self, amount: i64) -> Vec<Draw> {
        let mut left = amount;
        let mut draws = Vec::new();
        for lot in self.lots_in_spending_order() {
            if left == 0 {
                break;
            }
            let taken = left.min(lot.remaining);
            draws.push(Draw { lot: lot.id, amount: taken });
            left -= taken;
        }
        draws
    }

    fn total_mut(&mut self, pool: Pool) -> Option<&mut i64> {
        match pool {
            Pool::Remaining => Some(&mut self.available),
            Pool::Held => Some(&mut self.held),
            Pool::Disputed => Some(&mut self.disputed),
            Pool::Spent | Pool::Expired | Pool::Clawed | Pool::Moved | Pool::Adjusted | Pool::Settled => None,
        }
    }
}

/// A quantity of one unit that entered an account at one time from one source. All numbers are credits, net and ≥ 0:
/// `granted` is the sum of all others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lot {
    /// Which lot; in order of entry.
    pub id: LotId,
    /// The purchase that made it, if it was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase: Option<PurchaseId>,
    /// What was paid for it without tax, in the smallest part of the purchase's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// When what is left expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
    /// Whether it is stored as a row of its own, since the account had many lots when it came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spilled: bool,
    /// How many credits entered.
    pub granted: i64,
    /// Left to use.
    pub remaining: i64,
    /// In open holds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: i64,
    /// Set aside for open disputes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disputed: i64,
    /// Used.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spent: i64,
    /// Ran out of time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expired: i64,
    /// Taken back with the money of its own purchase.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clawed: i64,
    /// Living on in another lot.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moved: i64,
    /// Taken out by an operator.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub adjusted: i64,
    /// Used for debt, or for the clawback of another purchase.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settled: i64,
}

impl Lot {
    /// A lot of which nothing has been used.
    pub fn new(id: LotId, granted: i64, priority: u8) -> Self {
        Self {
            id,
            purchase: None,
            cost: None,
            expires_at: None,
            priority,
            spilled: false,
            granted,
            remaining: granted,
            held: 0,
            disputed: 0,
            spent: 0,
            expired: 0,
            clawed: 0,
            moved: 0,
            adjusted: 0,
            settled: 0,
        }
    }

    /// How much is in each pool: together what was granted.
    pub fn pools(&self) -> [i64; 9] {
        [
            self.remaining,
            self.held,
            self.disputed,
            self.spent,
            self.expired,
            self.clawed,
            self.moved,
            self.adjusted,
            self.settled,
        ]
    }

    fn pool_mut(&mut self, pool: Pool) -> &mut i64 {
        match pool {
            Pool::Remaining => &mut self.remaining,
            Pool::Held => &mut self.held,
            Pool::Disputed => &mut self.disputed,
            Pool::Spent => &mut self.spent,
            Pool::Expired => &mut self.expired,
            Pool::Clawed => &mut self.clawed,
            Pool::Moved => &mut self.moved,
            Pool::Adjusted => &mut self.adjusted,
            Pool::Settled => &mut self.settled,
        }
    }

    /// Rule 4: lower priority number, sooner expiry (never last), unpaid before paid, earlier entry.
    pub fn spending_order(&self) -> (u8, Timestamp, bool, LotId) {
        (self.priority, self.expires_at.unwrap_or(Timestamp::LAST), self.purchase.is_some(), self.id)
    }

    /// Whether anything of it can still be used, given back or taken.
    pub fn is_open(&self) -> bool {
        self.remaining > 0 || self.held > 0 || self.disputed > 0
    }

    /// Whether it is stored as a row of its own, and not with its account: one of many, or closed.
    pub fn has_row(&self) -> bool {
        self.spilled || !self.is_open()
    }

    /// Whether its time has run out.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// The share of its cost that goes with the next `amount` credits that leave it for another lot, so rounded that all
    /// of them together take all of it along.
    pub fn cost_of_moving(&self, amount: i64) -> Option<i64> {
        let share = |cost, moved| proportion(cost, moved, self.granted);
        self.cost.map(|cost| share(cost, self.moved + amount) - share(cost, self.moved))
    }
}

/// An amount set aside for a job of unknown cost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// Which hold.
    pub id: HoldId,
    /// Of which unit.
    pub unit: Unit,
    /// From which lots, in the order in which they were drawn.
    pub draws: Vec<Draw>,
    /// When it gives its credits back by itself.
    pub lapses_at: Timestamp,
}

impl Hold {
    /// How many credits it holds.
    pub fn amount(&self) -> i64 {
        self.draws.iter().map(|draw| draw.amount).sum()
    }
}

/// Why something is owed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DebtCause {
    /// Spent within the overdraft limit.
    Overdraft(SpendId),
    /// Owed for the clawback of this purchase.
    Clawback(PurchaseId),
}

/// One item of what an account owes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Debt {
    /// Why.
    pub cause: DebtCause,
    /// How many credits are still owed by it: positive.
    pub open: i64,
}

impl Account {
    /// Whether the next lot is stored as a row of its own.
    pub fn next_lot_is_spilled(&self) -> bool {
        let lots = self.books.values().flat_map(|book| book.lots.values());
        lots.filter(|lot| lot.is_open() && !lot.spilled).count() >= MAX_INLINE_LOTS
    }

    /// The next moment at which something of this account happens by itself: a lot expires or a hold lapses.
    pub fn next_due_at(&self) -> Option<Timestamp> {
        let lots = self.books.values().flat_map(|book| book.lots.values());
        let expiries = lots.filter(|lot| lot.remaining > 0).filter_map(|lot| lot.expires_at);
        expiries.chain(self.holds.values().map(|hold| hold.lapses_at)).min()
    }

    /// Forgets closed lots: they stand in rows of their own and are loaded when a command needs them.
    pub fn drop_closed_lots(&mut self) {
        for book in self.books.values_mut() {
            book.lots.retain(|_, lot| lot.is_open());
        }
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}
