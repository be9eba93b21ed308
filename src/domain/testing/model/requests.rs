//! What clients and operators ask for: each request first lists every rule that it breaks, and is carried out if it
//! breaks none. In which order the rules are looked at is no business of the model.

use std::collections::BTreeMap;

use super::{Account, Debt, Hold, Lot, Model, Part, PaymentName, Place, Purchase, Status};
use crate::domain::{
    amount::{MAX_AMOUNT, PaidMoney},
    command::{
        AdjustCredits, CaptureHold, Charge, CloseAccount, Direction, FreezeAccount, GrantCredits,
        OpenAccount, PaidThrough, PlaceHold, RecordPurchase, RefundPurchase, ReleaseHold, SetOverdraftLimit,
        SpendCredits, TransferCredits, UnfreezeAccount,
    },
    ids::{AccountId, HoldId, StripeId, Unit},
    payment::{PaymentFact, RefundStatus},
    rejection::Rejection,
    time::{Span, Timestamp},
};

/// Which accounts a request is refused for.
#[derive(Clone, Copy, PartialEq)]
pub enum Refused {
    FrozenAndClosed,
    Closed,
    None,
}

/// The rules that a request breaks.
pub type Broken = Vec<Rejection>;

pub fn refuse_if_any(broken: Broken) -> Result<(), Broken> {
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

/// A lot that is asked for.
pub struct NewLot {
    pub unit: Unit,
    pub amount: i64,
    pub expires_at: Option<Timestamp>,
    pub priority: u8,
}

impl Model {
    pub fn open_account(&mut self, command: &OpenAccount, now: Timestamp) -> Result<(), Broken> {
        let known = self.find_account(&command.account);
        if let Some(customer) = &command.stripe_customer {
            let mut broken = Vec::new();
            self.check_customer(known, customer, &mut broken);
            let known = known.map(|account| &self.accounts[account]);
            let is_new = known.is_some_and(|known| known.customer.as_ref() != Some(customer));
            if is_new && known.is_some_and(|known| known.status == Status::Closed) {
                broken.push(Rejection::AccountClosed);
            }
            refuse_if_any(broken)?;
        }
        let account = known.unwrap_or_else(|| {
            let (id, status) = (command.account.clone(), Status::Open);
            self.accounts.push(Account {
                id,
                status,
                customer: None,
                had_trial: false,
                overdraft_limits: BTreeMap::new(),
            });
            self.accounts.len() - 1
        });
        if known.is_none() {
            for grant in self.settings.signup_grants.clone() {
                let lot = NewLot {
                    unit: grant.unit,
                    amount: grant.amount.get(),
                    expires_at: grant.expires_days.map(|days| now.plus(Span::days(i64::from(days)))),
                    priority: grant.priority,
                };
                self.add_lot(account, None, &lot);
            }
        }
        if command.stripe_customer.is_some() {
            self.accounts[account].customer.clone_from(&command.stripe_customer);
        }
        Ok(())
    }

    pub fn set_overdraft_limit(&mut self, command: &SetOverdraftLimit) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::Closed, &mut broken);
        self.check_unit(&command.unit, &mut broken);
        refuse_if_any(broken)?;
        self.accounts[account].overdraft_limits.insert(command.unit.clone(), command.limit);
        Ok(())
    }

    pub fn freeze(&mut self, command: &FreezeAccount) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::Closed, &mut broken);
        refuse_if_any(broken)?;
        self.accounts[account].status = Status::Frozen;
        Ok(())
    }

    pub fn unfreeze(&mut self, command: &UnfreezeAccount) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::Closed, &mut broken);
        refuse_if_any(broken)?;
        self.accounts[account].status = Status::Open;
        Ok(())
    }

    pub fn close(&mut self, command: &CloseAccount) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::None, &mut broken);
        refuse_if_any(broken)?;
        self.accounts[account].status = Status::Closed;
        Ok(())
    }

    pub fn grant(&mut self, command: &GrantCredits, now: Timestamp) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::FrozenAndClosed, &mut broken);
        self.check_unit(&command.unit, &mut broken);
        if command.expires_at.is_some_and(|expires_at| expires_at <= now) {
            broken.push(Rejection::ExpiryNotInFuture);
        }
        self.check_room(account, &command.unit, command.amount.get(), &mut broken);
        refuse_if_any(broken)?;
        let lot = NewLot {
            unit: command.unit.clone(),
            amount: command.amount.get(),
            expires_at: command.expires_at,
            priority: command.priority,
        };
        self.add_lot(account, None, &lot);
        self.settle_debt(account, now);
        Ok(())
    }

    pub fn transfer(&mut self, command: &TransferCredits, now: Timestamp) -> Result<(), Broken> {
        let (mut broken, mut of_recipient) = (Vec::new(), Vec::new());
        let from = self.check_account(&command.from, Refused::FrozenAndClosed, &mut broken);
        let to = self.check_account(&command.to, Refused::FrozenAndClosed, &mut of_recipient);
        broken.extend(of_recipient.into_iter().map(|rejection| match rejection {
            Rejection::AccountNotFound => Rejection::RecipientNotFound,
            Rejection::AccountFrozen => Rejection::RecipientFrozen,
            _ => Rejection::RecipientClosed,
        }));
        if command.from == command.to {
            broken.push(Rejection::TransferToItself);
        }
        self.check_unit(&command.unit, &mut broken);
        let amount = command.amount.get();
        if let Some(from) = self.index(from) {
            let available = self.available(from, &command.unit);
            self.check_cover(from, &command.unit, amount, available, &mut broken);
        }
        if let Some(to) = self.index(to) {
            self.check_sum(to, &command.unit, amount, &mut broken);
        }
        refuse_if_any(broken)?;
        let (draws, _) = self.draw(from, &command.unit, amount, Place::Moved);
        for (lot, amount) in draws {
            let old = &self.lots[lot];
            let mut new = Lot::new(to, &old.unit, amount);
            (new.purchase, new.expires_at, new.priority) = (old.purchase, old.expires_at, old.priority);
            self.lots.push(new);
        }
        self.credits_came_back(to, now);
        Ok(())
    }

    pub fn spend(&mut self, command: &SpendCredits, _now: Timestamp) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::FrozenAndClosed, &mut broken);
        let charge = self.check_charge(&command.charge, &mut broken);
        if let (Some(account), Some((unit, required))) = (self.index(account), &charge) {
            let spendable = self.spendable(account, unit);
            self.check_cover(account, unit, *required, spendable, &mut broken);
        }
        refuse_if_any(broken)?;
        let (unit, required) = charge.expect("checked");
        let (_, overdraft) = self.draw(account, &unit, required, Place::Spent);
        if overdraft > 0 {
            self.debts.push(Debt { account, unit, clawback_of: None, open: overdraft });
        }
        Ok(())
    }

    pub fn place_hold(&mut self, command: &PlaceHold, now: Timestamp) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::FrozenAndClosed, &mut broken);
        let charge = self.check_charge(&command.charge, &mut broken);
        if command.lapses_after < Span::seconds(1) || command.lapses_after > Span::days(7) {
            broken.push(Rejection::LapseOutOfRange);
        }
        if let (Some(account), Some((unit, required))) = (self.index(account), &charge) {
            let available = self.available(account, unit);
            self.check_cover(account, unit, *required, available, &mut broken);
        }
        refuse_if_any(broken)?;
        let (unit, required) = charge.expect("checked");
        let (draws, _) = self.draw(account, &unit, required, Place::Held);
        let lapses_at = now.plus(command.lapses_after);
        self.holds.push(Hold { account, unit, draws, lapses_at, open: true });
        Ok(())
    }

    pub fn capture(&mut self, command: &CaptureHold, now: Timestamp) -> Result<(), Broken> {
        let hold = self.check_hold(command.hold)?;
        let (account, unit, draws) = (hold.account, hold.unit.clone(), hold.draws.clone());
        let (captured, held): (i64, i64) =
            (command.amount.get(), draws.iter().map(|(_, amount)| amount).sum());
        let excess = (captured - held).max(0);
        let mut broken = Vec::new();
        if excess > 0 && !command.allow_excess {
            broken.push(Rejection::CaptureExceedsHold { captured, held });
        }
        if excess > 0 && command.allow_excess {
            let available = self.available(account, &unit);
            self.check_cover(account, &unit, excess, available, &mut broken);
        }
        refuse_if_any(broken)?;
        self.close_hold(command.hold);
        let mut missing = captured;
        for (lot, amount) in draws {
            let used = missing.min(amount);
            self.shift(lot, used, Place::Held, Place::Spent);
            self.give_back(lot, amount - used, now);
            missing -= used;
        }
        self.draw(account, &unit, missing, Place::Spent);
        self.credits_came_back(account, now);
        Ok(())
    }

    pub fn release(&mut self, command: &ReleaseHold, now: Timestamp) -> Result<(), Broken> {
        self.check_hold(command.hold)?;
        let hold = self.hold_ids.iter().position(|id| *id == command.hold).expect("checked");
        self.give_up_hold(hold, now);
        Ok(())
    }

    pub fn adjust(&mut self, command: &AdjustCredits, now: Timestamp) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::Closed, &mut broken);
        self.check_unit(&command.unit, &mut broken);
        let (unit, amount) = (command.unit.clone(), command.amount.get());
        match (command.direction, self.index(account)) {
            (Direction::In, _) => self.check_room(account, &unit, amount, &mut broken),
            (Direction::Out, Some(account)) => {
                let available = self.available(account, &unit);
                self.check_cover(account, &unit, amount, available, &mut broken);
            }
            (Direction::Out, None) => {}
        }
        refuse_if_any(broken)?;
        match command.direction {
            Direction::In => {
                self.add_lot(account, None, &NewLot { unit, amount, expires_at: None, priority: 50 });
                self.settle_debt(account, now);
            }
            Direction::Out => {
                self.draw(account, &unit, amount, Place::Adjusted);
            }
        }
        Ok(())
    }

    pub fn record_purchase(&mut self, command: &RecordPurchase, now: Timestamp) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let refused = match command.paid_through {
            PaidThrough::CheckoutSession { .. } => Refused::None,
            PaidThrough::External => Refused::Closed,
        };
        let ordered = self.check_ordered(command, now, &mut broken)?;
        let (account, order, lots) = match ordered {
            Some((order, lots)) => (self.orders[order].account, Some(order), lots),
            None => {
                let account = self.check_account(&command.account, refused, &mut broken);
                (account, None, self.check_bought(command, now, &mut broken))
            }
        };
        for lot in &lots {
            self.check_unit(&lot.unit, &mut broken);
            if let Some(account) = self.index(account) {
                self.check_sum(account, &lot.unit, lot.amount, &mut broken);
                if command.paid_through == PaidThrough::External {
                    self.check_lots(account, &lot.unit, &mut broken);
                }
            }
        }
        if command.paid_through == PaidThrough::External && command.money.gross == 0 {
            let problem = "must be positive; credits that nobody paid for are granted";
            broken.push(Rejection::InvalidConfiguration { field: "money", problem });
        }
        let intent = match &command.paid_through {
            PaidThrough::CheckoutSession { payment_intent, .. } => payment_intent.clone(),
            PaidThrough::External => None,
        };
        let payment = intent.map(PaymentName::Stripe);
        if payment.is_some() && self.purchases.iter().any(|known| known.payment == payment) {
            broken.push(Rejection::PaymentContradicts { what: "" });
        }
        refuse_if_any(broken)?;

        let is_free = command.money.gross == 0;
        if let (Some(order), PaidThrough::CheckoutSession { session, .. }) = (order, &command.paid_through) {
            self.pay_order(order, session, (!is_free).then_some(self.purchases.len()));
        }
        if is_free {
            for lot in &lots {
                self.add_lot(account, None, lot);
            }
            self.settle_debt(account, now);
            return Ok(());
        }
        let payment = match command.paid_through {
            PaidThrough::External => Some(PaymentName::External(self.purchases.len())),
            PaidThrough::CheckoutSession { .. } => payment,
        };
        self.add_purchase(account, payment, command, &lots, now);
        Ok(())
    }

    fn add_purchase(
        &mut self,
        account: usize,
        payment: Option<PaymentName>,
        command: &RecordPurchase,
        lots: &[NewLot],
        now: Timestamp,
    ) {
        let purchase = self.purchases.len();
        self.push_purchase(account, payment.clone(), command.money, lots, None);
        for lot in lots {
            self.add_lot(account, Some(purchase), lot);
        }
        if self.facts.iter().any(|(about, _)| Some(about) == payment.as_ref()) {
            self.apply_facts(purchase, now);
        }
        let (_, open_disputes, _) = self.money_back(purchase);
        if open_disputes > 0 || self.is_warned_of(purchase) {
            self.freeze_for_dispute(account);
        }
        self.settle_debt(account, now);
    }

    /// A purchase, without its lots.
    pub fn push_purchase(
        &mut self,
        account: usize,
        payment: Option<PaymentName>,
        money: PaidMoney,
        lots: &[NewLot],
        invoice: Option<StripeId>,
    ) {
        let grants = lots.iter().map(|lot| {
            let part = Part { granted: lot.amount, ..Part::default() };
            (lot.unit.clone(), part)
        });
        let parts = grants.collect();
        self.purchases.push(Purchase { account, payment, invoice, money, parts });
    }

    pub fn refund(&mut self, command: &RefundPurchase, now: Timestamp) -> Result<(), Broken> {
        let Some(index) = self.purchase_ids.iter().position(|id| *id == command.purchase) else {
            return Err(vec![Rejection::PurchaseNotFound]);
        };
        let purchase = &self.purchases[index];
        let money = purchase.money;
        let mut broken = Vec::new();
        if self.accounts[purchase.account].status == Status::Closed {
            broken.push(Rejection::AccountClosed);
        }
        if !matches!(purchase.payment, Some(PaymentName::External(_))) {
            broken.push(Rejection::PurchasePaidThroughStripe { purchase: command.purchase });
        }
        let (refunded, ..) = self.money_back(index);
        let refundable = (money.gross - refunded).max(0);
        let requested = command.amount.map_or(refundable, |amount| amount.get());
        if requested > refundable || refundable == 0 {
            broken.push(Rejection::RefundExceedsPayment { requested, refundable });
        }
        refuse_if_any(broken)?;
        let refund = StripeId::parse(&format!("refund_{}", self.facts.len())).expect("a valid id");
        let status = RefundStatus::Succeeded;
        let currency = money.currency;
        let fact = PaymentFact::Refund { refund, status, amount: requested, currency, request: None };
        self.learn(PaymentName::External(index), &fact, now);
        Ok(())
    }

    /// The account, or a place that no account has.
    pub fn check_account(&self, id: &AccountId, refused: Refused, broken: &mut Broken) -> usize {
        let Some(account) = self.find_account(id) else {
            broken.push(Rejection::AccountNotFound);
            return usize::MAX;
        };
        match self.accounts[account].status {
            Status::Frozen if refused == Refused::FrozenAndClosed => broken.push(Rejection::AccountFrozen),
            Status::Closed if refused != Refused::None => broken.push(Rejection::AccountClosed),
            Status::Open | Status::Frozen | Status::Closed => {}
        }
        account
    }

    fn index(&self, account: usize) -> Option<usize> {
        (account < self.accounts.len()).then_some(account)
    }

    fn check_unit(&self, unit: &Unit, broken: &mut Broken) {
        if !self.settings.units.contains_key(unit) {
            broken.push(Rejection::UnknownUnit { unit: unit.clone() });
        }
    }

    /// What is to be paid, if that can be told.
    fn check_charge(&self, charge: &Charge, broken: &mut Broken) -> Option<(Unit, i64)> {
        let (unit, amount) = match charge {
            Charge::Credits { unit, amount } => (unit.clone(), amount.get()),
            Charge::Feature { feature: key, quantity } => {
                let Some(feature) = self.features.iter().find(|known| known.feature == *key) else {
                    broken.push(Rejection::UnknownFeature { feature: key.clone() });
                    return None;
                };
                if !feature.active {
                    broken.push(Rejection::FeatureInactive { feature: key.clone() });
                }
                let Some(amount) = feature.cost.times(*quantity) else {
                    broken.push(Rejection::AmountTooLarge { unit: feature.unit.clone() });
                    return None;
                };
                (feature.unit.clone(), amount.get())
            }
        };
        self.check_unit(&unit, broken);
        Some((unit, amount))
    }

    fn check_cover(&self, account: usize, unit: &Unit, required: i64, spendable: i64, broken: &mut Broken) {
        if required > spendable {
            let (unit, available) = (unit.clone(), self.available(account, unit));
            broken.push(Rejection::InsufficientCredits { unit, available, spendable, required });
        }
    }

    fn check_room(&self, account: usize, unit: &Unit, amount: i64, broken: &mut Broken) {
        if let Some(account) = self.index(account) {
            self.check_sum(account, unit, amount, broken);
            self.check_lots(account, unit, broken);
        }
    }

    fn check_sum(&self, account: usize, unit: &Unit, amount: i64, broken: &mut Broken) {
        let places = [Place::Remaining, Place::Held, Place::Disputed];
        let there: i64 = places.into_iter().map(|place| self.sum(account, unit, place)).sum();
        if there + amount > MAX_AMOUNT {
            broken.push(Rejection::AmountTooLarge { unit: unit.clone() });
        }
    }

    fn check_lots(&self, account: usize, unit: &Unit, broken: &mut Broken) {
        if self.open_lots(account, unit) >= 1_000 {
            broken.push(Rejection::TooManyLots { unit: unit.clone() });
        }
    }

    fn check_hold(&self, id: HoldId) -> Result<&Hold, Broken> {
        let Some(index) = self.hold_ids.iter().position(|known| *known == id) else {
            return Err(vec![Rejection::HoldNotFound]);
        };
        let hold = &self.holds[index];
        let mut broken = Vec::new();
        if !hold.open {
            broken.push(Rejection::HoldAlreadyResolved { hold: id });
        }
        if self.accounts[hold.account].status == Status::Closed {
            broken.push(Rejection::AccountClosed);
        }
        refuse_if_any(broken).map(|()| hold)
    }

    fn close_hold(&mut self, id: HoldId) {
        let index = self.hold_ids.iter().position(|known| *known == id).expect("checked");
        self.holds[index].open = false;
    }

    /// The lots that a purchase asks for: by its price, or by its totals; both must say the same.
    fn check_bought(&self, command: &RecordPurchase, now: Timestamp, broken: &mut Broken) -> Vec<NewLot> {
        let by_total = command.bought.totals.iter().map(|(unit, amount)| NewLot {
            unit: unit.clone(),
            amount: amount.get(),
            expires_at: None,
            priority: 50,
        });
        let Some((id, quantity)) = &command.bought.price else { return by_total.collect() };
        let Some(price) = self.find_price(id) else {
            broken.push(Rejection::UnknownPrice { price: id.clone() });
            return Vec::new();
        };
        let mut lots = Vec::new();
        for grant in &self.granted_by(price) {
            let Some(amount) = grant.amount.times(*quantity) else {
                broken.push(Rejection::AmountTooLarge { unit: grant.unit.clone() });
                continue;
            };
            lots.push(NewLot {
                unit: grant.unit.clone(),
                amount: amount.get(),
                expires_at: grant.expires_days.map(|days| now.plus(Span::days(i64::from(days)))),
                priority: grant.priority,
            });
        }
        let granted: BTreeMap<&Unit, i64> = lots.iter().map(|lot| (&lot.unit, lot.amount)).collect();
        let stated = command.bought.totals.iter().map(|(unit, amount)| (unit, amount.get())).collect();
        if !command.bought.totals.is_empty() && granted != stated {
            broken.push(Rejection::PaymentContradicts { what: "" });
        }
        lots
    }

    pub fn add_lot(&mut self, account: usize, purchase: Option<usize>, new: &NewLot) {
        let mut lot = Lot::new(account, &new.unit, new.amount);
        lot.purchase = purchase;
        lot.expires_at = new.expires_at;
        lot.priority = new.priority;
        self.lots.push(lot);
    }
}
