//! A naive model of a whole ledger: flat lists in order of entry, sums derived whenever they are asked for, targets
//! computed from everything that was ever reported. Things are named by their place in the lists.

use std::collections::BTreeMap;

use crate::domain::{
    amount::{Currency, PaidMoney},
    catalogue::Feature,
    command::Command,
    ids::{AccountId, AccountNumber, HoldId, OrderId, PriceId, PurchaseId, RefundRequestId, StripeId, Unit},
    listing::ProductListing,
    order::OrderEnding,
    payment::PaymentFact,
    rejection::Rejection,
    settings::LedgerSettings,
    time::Timestamp,
};

mod billing;
mod clawback;
mod facts;
mod lots;
mod orders;
mod prices;
mod requests;
mod time;

pub use lots::{Lot, Place};
pub use prices::{Price, Shown};

/// A whole ledger.
#[derive(Clone, Default)]
pub struct Model {
    pub settings: LedgerSettings,
    pub features: Vec<Feature>,
    pub prices: Vec<Price>,
    /// Every state of a product that was told while one of its prices was known.
    pub products: Vec<(StripeId, ProductListing)>,
    pub accounts: Vec<Account>,
    pub lots: Vec<Lot>,
    pub debts: Vec<Debt>,
    pub holds: Vec<Hold>,
    pub purchases: Vec<Purchase>,
    pub facts: Vec<(PaymentName, PaymentFact)>,
    pub orders: Vec<Order>,
    pub requests: Vec<Request>,
    pub subscriptions: Vec<billing::Subscription>,
    /// How the code under test calls all of these, in order; only used to read commands.
    pub account_numbers: Vec<AccountNumber>,
    pub hold_ids: Vec<HoldId>,
    pub purchase_ids: Vec<PurchaseId>,
    pub order_ids: Vec<OrderId>,
    pub request_ids: Vec<RefundRequestId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Open,
    Frozen,
    Closed,
}

#[derive(Clone)]
pub struct Account {
    pub id: AccountId,
    pub status: Status,
    pub customer: Option<StripeId>,
    pub had_trial: bool,
    pub overdraft_limits: BTreeMap<Unit, i64>,
}

#[derive(Clone)]
pub struct Debt {
    pub account: usize,
    pub unit: Unit,
    /// The purchase for whose clawback it is owed; none for overdrafts.
    pub clawback_of: Option<usize>,
    pub open: i64,
}

#[derive(Clone)]
pub struct Hold {
    pub account: usize,
    pub unit: Unit,
    /// Lots and amounts, in the order in which they were drawn.
    pub draws: Vec<(usize, i64)>,
    pub lapses_at: Timestamp,
    pub open: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PaymentName {
    Stripe(StripeId),
    /// The purchase that was paid outside of Stripe.
    External(usize),
}

#[derive(Clone)]
pub struct Purchase {
    pub account: usize,
    pub payment: Option<PaymentName>,
    /// The invoice of which it is a line.
    pub invoice: Option<StripeId>,
    /// What the whole payment paid.
    pub money: PaidMoney,
    pub parts: BTreeMap<Unit, Part>,
}

/// A checkout.
#[derive(Clone)]
pub struct Order {
    pub account: usize,
    pub price: PriceId,
    pub quantity: i64,
    pub subtotal: i64,
    pub currency: Currency,
    /// Unit, credits in all, days that they live, priority.
    pub sold: Vec<(Unit, i64, Option<u32>, u8)>,
    /// Its own session, whoever told of it first.
    pub session: Option<StripeId>,
    /// How it ended without payment, so far.
    pub ended: Option<OrderEnding>,
    /// Sessions that were paid, with what was bought.
    pub paid: Vec<(StripeId, Option<usize>)>,
}

/// A refund that was asked of us.
#[derive(Clone)]
pub struct Request {
    pub payment: PaymentName,
    pub amount: i64,
    pub refused: bool,
}

/// What a purchase granted of one unit.
#[derive(Clone, Default)]
pub struct Part {
    pub granted: i64,
    /// T and the part of it that is final.
    pub target: Target,
    /// Own credits that were set aside or taken, or counted although they had expired; oldest first.
    pub own: Vec<Own>,
    /// Credits really taken from elsewhere, oldest first.
    pub elsewhere: Vec<Elsewhere>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Target {
    pub total: i64,
    pub taken: i64,
}

#[derive(Clone)]
pub struct Own {
    /// None: absorbed.
    pub lot: Option<usize>,
    pub amount: i64,
    pub at: Timestamp,
}

#[derive(Clone)]
pub struct Elsewhere {
    pub from: Source,
    pub amount: i64,
    pub at: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    WriteOff,
    /// Still owed.
    Debt(usize),
    /// Was owed; this lot settled it.
    Settlement(usize),
    OtherLot(usize),
}

impl Model {
    /// Does what the command asks, or lists every rule that it breaks and does nothing.
    pub fn handle(&mut self, command: &Command, now: Timestamp) -> Result<(), Vec<Rejection>> {
        self.pass_time(now);
        match command {
            Command::OpenAccount(command) => self.open_account(command, now)?,
            Command::SetOverdraftLimit(command) => self.set_overdraft_limit(command)?,
            Command::FreezeAccount(command) => self.freeze(command)?,
            Command::UnfreezeAccount(command) => self.unfreeze(command)?,
            Command::CloseAccount(command) => self.close(command)?,
            Command::GrantCredits(command) => self.grant(command, now)?,
            Command::SpendCredits(command) => self.spend(command, now)?,
            Command::PlaceHold(command) => self.place_hold(command, now)?,
            Command::CaptureHold(command) => self.capture(command, now)?,
            Command::ReleaseHold(command) => self.release(command, now)?,
            Command::AdjustCredits(command) => self.adjust(command, now)?,
            Command::TransferCredits(command) => self.transfer(command, now)?,
            Command::RecordPurchase(command) => self.record_purchase(command, now)?,
            Command::RecordPaymentFact(command) => self.record_fact(command, now)?,
            Command::RefundPurchase(command) => self.refund(command, now)?,
            Command::LinkCustomer(command) => self.link(command)?,
            Command::UnlinkCustomer(command) => self.unlink(command)?,
            Command::PlaceOrder(command) => self.place_order(command)?,
            Command::RecordSession(command) => self.record_session(command)?,
            Command::CloseOrder(command) => self.close_order(command)?,
            Command::RequestRefund(command) => self.request_refund(command, now)?,
            Command::RefuseRefund(command) => self.refuse_refund(command, now)?,
            Command::StartSubscription(command) => self.start_subscription(command)?,
            Command::RecordSubscription(command) => self.record_subscription(command, now)?,
            Command::RecordInvoiceLine(command) => self.record_invoice_line(command, now)?,
            Command::SetFeature(feature) => {
                self.features.retain(|known| known.feature != feature.feature);
                self.features.push(feature.clone());
            }
            Command::SetPrice(command) => self.set_price(command)?,
            Command::SyncPrice(command) => self.sync_price(command)?,
            Command::SyncProduct(command) => self.sync_product(command)?,
            Command::ConfigureLedger(settings) => self.settings = settings.clone(),
            Command::ApplyDue(_) => {}
            other => unreachable!("the model knows nothing of {other:?}"),
        }
        Ok(())
    }

    fn find_account(&self, id: &AccountId) -> Option<usize> {
        self.accounts.iter().position(|account| account.id == *id)
    }
}
