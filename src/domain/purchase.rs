//! What one payment bought, and where the credits were taken that must not be in the buyer's hands (rule 7).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    amount::PaidMoney,
    event::{PurchaseSource, Target},
    ids::{AccountNumber, DebtId, LotId, PaymentReference, Position, PurchaseId, Unit},
    time::Timestamp,
};

/// The version of the shape of a stored [`Purchase`].
pub const PURCHASE_STATE_VERSION: i16 = 1;

/// What one payment bought.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Purchase {
    /// Which purchase.
    pub id: PurchaseId,
    /// Who bought.
    pub account: AccountNumber,
    /// How it reached us.
    pub source: PurchaseSource,
    /// The payment that paid for it.
    pub payment: Option<PaymentReference>,
    /// What was paid.
    pub money: PaidMoney,
    /// What it granted, by unit.
    pub parts: BTreeMap<Unit, Part>,
    /// The position of the last event that it has seen.
    pub version: Position,
    /// The accounts that credits of it were ever transferred to; none is forgotten. Stored beside the purchase, so that a
    /// transfer need not read it: whoever gives out a large pack does not write ever longer lists.
    #[serde(skip)]
    pub holders: BTreeSet<AccountNumber>,
}

/// What a purchase granted of one unit, and what was taken of it since.
///
/// Invariant: own credits set aside and taken + `absorbed` + Σ `elsewhere` + `shortfall` = `target.total` ≤ `granted`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// How many credits: G.
    pub granted: i64,
    /// How many must not be in the buyer's hands: T.
    pub target: Target,
    /// Own credits that were set aside or taken, and own expired ones that count, oldest first.
    pub own: Vec<OwnTaking>,
    /// What was really taken from elsewhere, oldest first.
    pub elsewhere: Vec<Taking>,
    /// What is only recorded as missing, since it is only disputed.
    pub shortfall: i64,
}

impl Part {
    /// Own expired credits that count towards the target.
    pub fn absorbed(&self) -> i64 {
        self.own.iter().filter(|taking| taking.lot.is_none()).map(|taking| taking.amount).sum()
    }

    /// Own credits that were set aside or taken.
    pub fn own_taken(&self) -> i64 {
        self.own.iter().filter(|taking| taking.lot.is_some()).map(|taking| taking.amount).sum()
    }

    /// What was really taken from elsewhere.
    pub fn taken_elsewhere(&self) -> i64 {
        self.elsewhere.iter().map(|taking| taking.amount).sum()
    }

    /// Whether credits that come back would reduce something: see [`super::account::Account::watched`].
    pub fn is_watched(&self) -> bool {
        self.shortfall > 0 || !self.elsewhere.is_empty()
    }

    /// Lots that are not its own and that undoing what was taken may touch.
    pub fn other_lots(&self) -> impl Iterator<Item = LotId> {
        self.elsewhere.iter().filter_map(|taking| match taking.from {
            TakenFrom::Lot(lot) | TakenFrom::Settlement { lot, .. } => Some(lot),
            TakenFrom::Debt(_) | TakenFrom::WriteOff => None,
        })
    }

    /// Adds to what was taken from elsewhere.
    pub fn take_elsewhere(&mut self, from: TakenFrom, amount: i64, at: Timestamp) {
        self.elsewhere.push(Taking { from, amount, at });
    }

    /// Undoes `amount` of what was taken from there, newest first.
    pub fn untake_elsewhere(&mut self, from: TakenFrom, amount: i64) {
        let mut left = amount;
        for taking in self.elsewhere.iter_mut().rev().filter(|taking| taking.from == from) {
            let undone = left.min(taking.amount);
            taking.amount -= undone;
            left -= undone;
        }
        assert_eq!(left, 0, "no more can be undone than was taken from {from:?}");
        self.elsewhere.retain(|taking| taking.amount > 0);
    }

    /// Adds to the own credits that count towards the target; no lot means that they had expired.
    pub fn take_own(&mut self, lot: Option<LotId>, amount: i64, at: Timestamp) {
        self.own.push(OwnTaking { lot, amount, at });
    }

    /// Undoes `amount` of the own credits of that lot, newest first.
    pub fn untake_own(&mut self, lot: Option<LotId>, amount: i64) {
        let mut left = amount;
        for taking in self.own.iter_mut().rev().filter(|taking| taking.lot == lot) {
            let undone = left.min(taking.amount);
            taking.amount -= undone;
            left -= undone;
        }
        assert_eq!(left, 0, "no more can be undone than was taken of {lot:?}");
        self.own.retain(|taking| taking.amount > 0);
    }
}

/// Credits of the purchase's own that count towards its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnTaking {
    /// From which lot they were set aside; none if they had expired before (absorbed).
    pub lot: Option<LotId>,
    /// How many.
    pub amount: i64,
    /// When, so that they can live for the rest of their life if they come back.
    pub at: Timestamp,
}

/// Where credits for a clawback came from that the purchase itself no longer had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenFrom {
    /// Another lot of the account.
    Lot(LotId),
    /// They are owed.
    Debt(DebtId),
    /// They were owed, and this lot settled it.
    Settlement {
        /// The item that it settled.
        debt: DebtId,
        /// The lot.
        lot: LotId,
    },
    /// Nowhere.
    WriteOff,
}

/// Credits taken from elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taking {
    /// From where.
    pub from: TakenFrom,
    /// How many: positive.
    pub amount: i64,
    /// When.
    pub at: Timestamp,
}

impl Purchase {
    /// The buyer's account, and all that credits were ever transferred to.
    pub fn accounts(&self) -> BTreeSet<AccountNumber> {
        std::iter::once(self.account).chain(self.holders.iter().copied()).collect()
    }

    /// Whether any part is watched.
    pub fn is_watched(&self) -> bool {
        self.parts.values().any(Part::is_watched)
    }
}
