//! The state of one account: what `decide` needs to know of it, and nothing else.
//!
//! Only `evolve` changes it. Invariants (`invariants.rs` checks them all): each lot's counters add up to what was granted;
//! each book's totals are the sums over its lots and debts; whoever has credits has no debt.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    event::{BalanceAfter, Draw},
    ids::{AccountNumber, DebtId, HoldId, LotId, Position, PurchaseId, SpendId, Unit},
    time::Timestamp,
};

/// The version of the shape of a stored [`Account`]; a process that meets a newer one stops writing that ledger.
pub const ACCOUNT_STATE_VERSION: i16 = 1;

/// The most open lots that an account may have of one unit. Only what Stripe reports may go beyond.
pub const MAX_OPEN_LOTS: usize = 1_000;

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
    /// Sum of what lots have set aside.
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
    #[serde(default, skip_serializing_if = "is_false")]
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
    /// Rule 4: lower priority number, sooner expiry (never last), unpaid before paid, earlier entry.
    pub fn spending_order(&self) -> (u8, Timestamp, bool, LotId) {
        let never = Timestamp::default().plus(super::time::Span::days(365 * 100_000));
        (self.priority, self.expires_at.unwrap_or(never), self.purchase.is_some(), self.id)
    }

    /// Whether anything of it can still be used, given back or taken.
    pub fn is_open(&self) -> bool {
        self.remaining > 0 || self.held > 0 || self.disputed > 0
    }

    /// Whether its time has run out.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Out of use for other things than its own purchase's clawback: the U of rule 7. What lives on in a successor
    /// counts there.
    pub fn used(&self) -> i64 {
        self.spent + self.held + self.adjusted + self.settled
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

fn is_false(value: &bool) -> bool {
    !value
}
