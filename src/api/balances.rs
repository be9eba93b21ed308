//! What an account has now, and the lots that explain it.

use poem_openapi::{Enum, Object, OpenApi};

use super::{
    answers::Found,
    auth::{Authorised, Read},
    error::{Failure, Reading},
    params::{Path, Query},
    tags::Tag,
    wire::{Cursor, Limit, Nullable},
};
use crate::{
    domain::{
        amount::Currency,
        ids::{AccountId, LotId, PurchaseId, Unit},
        time::Timestamp,
    },
    service::{BalanceView, BookView, LotView, NextExpiry, PositionToken, SpendingPlace},
};

/// Credits that expire next.
#[derive(Clone, Debug, Object)]
pub struct Expiry {
    /// How many.
    pub amount: i64,
    /// When.
    pub at: Timestamp,
}

impl From<NextExpiry> for Expiry {
    fn from(expiry: NextExpiry) -> Self {
        Self { amount: expiry.amount, at: expiry.at }
    }
}

/// What an account has of one unit.
#[derive(Clone, Debug, Object)]
pub struct BookBalance {
    /// The unit.
    pub unit: Unit,
    /// What usable lots have left; never negative.
    pub available: i64,
    /// Set aside in open holds.
    pub held: i64,
    /// Set aside for open disputes.
    pub disputed: i64,
    /// What is owed; above 0 only if nothing is available.
    pub debt: i64,
    /// What a spend may take: what is available, and the overdraft that is not used yet.
    pub spendable: i64,
    /// What of it expires next; `null` if nothing does.
    pub next_expiry: Nullable<Expiry>,
}

impl From<BookView> for BookBalance {
    fn from(book: BookView) -> Self {
        Self {
            unit: book.unit,
            available: book.available,
            held: book.held,
            disputed: book.disputed,
            debt: book.debt,
            spendable: book.spendable,
            next_expiry: Nullable(book.next_expiry.map(Into::into)),
        }
    }
}

/// What an account has.
#[derive(Clone, Debug, Object)]
pub struct Balance {
    /// The account.
    pub account_id: AccountId,
    /// Everything up to this position is in it.
    pub position: i64,
    /// The moment that it is true for.
    pub as_of: Timestamp,
    /// Every unit of the ledger.
    pub balances: Vec<BookBalance>,
}

impl From<BalanceView> for Balance {
    fn from(balance: BalanceView) -> Self {
        Self {
            account_id: balance.account,
            position: balance.position.0,
            as_of: balance.as_of,
            balances: balance.books.into_iter().map(Into::into).collect(),
        }
    }
}

/// How credits entered an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum LotSource {
    /// They were bought.
    Purchase,
    /// They were granted.
    Grant,
    /// An operator put them in.
    Adjustment,
    /// Another account gave them.
    Transfer,
    /// They came back to a lot that had expired meanwhile, and live on.
    Return,
}

impl LotSource {
    fn of_event(event_type: &str) -> Self {
        match event_type {
            "credits.purchased" => Self::Purchase,
            "credits.granted" => Self::Grant,
            "credits.adjusted" => Self::Adjustment,
            "transfer.received" => Self::Transfer,
            _ => Self::Return,
        }
    }
}

/// What was paid for a lot, without tax.
#[derive(Clone, Debug, Object)]
pub struct Cost {
    /// In the smallest part of the currency.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

/// Credits that entered an account together. `granted` is the sum of all that follows.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Lot {
    /// Which lot.
    pub lot_id: LotId,
    /// The unit.
    pub unit: Unit,
    /// How the credits entered.
    pub source: LotSource,
    /// When they entered.
    pub entered_at: Timestamp,
    /// The position of the event that made the lot.
    pub position: i64,
    /// The purchase that it comes from, if it was paid, by whomever.
    pub purchase_id: Option<PurchaseId>,
    /// What was paid for it, if it was paid.
    pub cost: Option<Cost>,
    /// When what is left expires; `null` if it does not.
    pub expires_at: Nullable<Timestamp>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
    /// How many credits entered.
    pub granted: i64,
    /// Left to use.
    pub remaining: i64,
    /// In open holds.
    pub held: i64,
    /// Set aside for open disputes.
    pub disputed: i64,
    /// Used.
    pub spent: i64,
    /// Ran out of time.
    pub expired: i64,
    /// Taken back with the money of its own purchase.
    pub clawed: i64,
    /// Living on in another lot.
    pub moved: i64,
    /// Taken out by an operator.
    pub adjusted: i64,
    /// Used for debt, or for the clawback of another purchase.
    pub settled: i64,
}

impl From<LotView> for Lot {
    fn from(view: LotView) -> Self {
        let LotView { unit, lot, origin, currency } = view;
        Self {
            lot_id: lot.id,
            unit,
            source: LotSource::of_event(&origin.event_type),
            entered_at: origin.recorded_at,
            position: lot.id.position().0,
            purchase_id: lot.purchase,
            cost: lot.cost.zip(currency).map(|(amount, currency)| Cost { amount, currency }),
            expires_at: Nullable(lot.expires_at),
            priority: lot.priority,
            granted: lot.granted,
            remaining: lot.remaining,
            held: lot.held,
            disputed: lot.disputed,
            spent: lot.spent,
            expired: lot.expired,
            clawed: lot.clawed,
            moved: lot.moved,
            adjusted: lot.adjusted,
            settled: lot.settled,
        }
    }
}

/// A page of lots.
#[derive(Clone, Debug, Object)]
pub struct LotList {
    /// Everything up to this position is in it.
    pub position: i64,
    /// The moment that it is true for.
    pub as_of: Timestamp,
    /// The lots, by unit, in the order in which they are spent.
    pub items: Vec<Lot>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// The resource.
pub struct Balances;

#[OpenApi(tag = "Tag::Balances")]
impl Balances {
    /// Read the balance
    ///
    /// Always current: every write that was answered is in it, and so is every expiry whose time has come.
    #[oai(path = "/v1/accounts/:account/balance", method = "get", operation_id = "read_balance")]
    async fn balance(
        &self,
        caller: Authorised<Read>,
        /// The account.
        account: Path<AccountId>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
    ) -> Result<Found<Balance>, Failure<Reading>> {
        let balance = caller.service.balance(&caller.caller, &account.0, min_position.0).await?;
        Ok(Found(balance.into()))
    }

    /// List open lots
    ///
    /// What the balance is made of, in the order in which it is spent: lower priority number first, then the sooner
    /// expiry, then unpaid before paid, then the earlier entry.
    #[oai(path = "/v1/accounts/:account/lots", method = "get", operation_id = "list_lots")]
    async fn lots(
        &self,
        caller: Authorised<Read>,
        /// The account.
        account: Path<AccountId>,
        /// Only lots of this unit.
        unit: Query<Unit>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<LotList>, Failure<Reading>> {
        let after: Option<SpendingPlace> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let limit = limit.0.unwrap_or_default().into();
        let page = caller.service.lots(
            &caller.caller,
            &account.0,
            unit.0.as_ref(),
            after.as_ref(),
            limit,
            min_position.0,
        );
        let page = page.await?;
        Ok(Found(LotList {
            position: page.position.0,
            as_of: page.as_of,
            items: page.lots.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(page.next.map(|place| Cursor::of(&place))),
        }))
    }
}
