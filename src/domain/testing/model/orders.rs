//! Customers, checkouts, and refunds that are asked of us. How far something has come is told from what is known of it.

use super::{
    Model, Order, PaymentName, Request, Status,
    requests::{Broken, NewLot, Refused, refuse_if_any},
};
use crate::domain::{
    amount::{Currency, MAX_AMOUNT},
    command::{
        CloseOrder, LinkCustomer, PlaceOrder, RecordPurchase, RecordSession, RefuseRefund, RequestRefund,
        UnlinkCustomer,
    },
    event::LinkCause,
    ids::{OrderId, StripeId},
    order::OrderEnding,
    payment::{PaymentFact, RefundStatus},
    rejection::Rejection,
    time::{Span, Timestamp},
};

impl Order {
    pub fn status(&self) -> &'static str {
        match self.ended {
            _ if !self.paid.is_empty() => "paid",
            Some(OrderEnding::Expired) => "expired",
            Some(OrderEnding::Failed(_)) => "failed",
            None => "placed",
        }
    }
}

impl Model {
    pub fn link(&mut self, command: &LinkCustomer) -> Result<(), Broken> {
        let account = self.account_numbers.iter().position(|number| *number == command.account);
        let Some(account) = account else { return Err(vec![Rejection::AccountNotFound]) };
        let is_second = command.cause == LinkCause::Created && self.accounts[account].customer.is_some();
        if !is_second {
            let mut broken = Vec::new();
            self.check_customer(Some(account), &command.customer, &mut broken);
            refuse_if_any(broken)?;
            self.accounts[account].customer = Some(command.customer.clone());
        }
        Ok(())
    }

    /// One account, one customer, and the other way round.
    pub fn check_customer(&self, account: Option<usize>, customer: &StripeId, broken: &mut Broken) {
        let owner = self.accounts.iter().position(|known| known.customer.as_ref() == Some(customer));
        if owner.is_some() && owner != account {
            broken.push(Rejection::CustomerOfAnotherAccount { customer: customer.clone() });
        }
        let known = account.and_then(|account| self.accounts[account].customer.clone());
        if let Some(known) = known.filter(|known| known != customer) {
            broken.push(Rejection::AccountHasCustomer { customer: known });
        }
    }

    pub fn unlink(&mut self, command: &UnlinkCustomer) -> Result<(), Broken> {
        let account = self.account_numbers.iter().position(|number| *number == command.account);
        let Some(account) = account else { return Err(vec![Rejection::AccountNotFound]) };
        let account = &mut self.accounts[account];
        if account.customer == command.customer {
            account.customer = None;
        }
        Ok(())
    }

    pub fn find_order(&self, id: OrderId) -> Result<usize, Broken> {
        self.order_ids.iter().position(|known| *known == id).ok_or_else(|| vec![Rejection::OrderNotFound])
    }

    pub fn place_order(&mut self, command: &PlaceOrder) -> Result<(), Broken> {
        let mut broken = Vec::new();
        let account = self.check_account(&command.account, Refused::FrozenAndClosed, &mut broken);
        let quantity = command.quantity;
        if quantity.get() > 10_000 {
            let problem = "must be 1 to 10000";
            broken.push(Rejection::InvalidConfiguration { field: "quantity", problem });
        }
        let offered = self.shown().into_iter().find(|(id, ..)| *id == command.price);
        let Some((price, _, _, active, money, grants, _)) = offered else {
            broken.push(Rejection::UnknownPrice { price: command.price.clone() });
            return Err(broken);
        };
        if !active {
            broken.push(Rejection::PriceInactive { price: price.clone() });
        }
        let subtotal = i128::from(money) * i128::from(quantity.get());
        assert!(subtotal <= i128::from(MAX_AMOUNT), "no price of the plans is that dear");
        let sold = grants.iter().map(|grant| {
            let amount = grant.amount.get() * quantity.get();
            (grant.unit.clone(), amount, grant.expires_days, grant.priority)
        });
        let sold = sold.collect();
        refuse_if_any(broken)?;
        self.orders.push(Order {
            account,
            price,
            quantity: quantity.get(),
            subtotal: i64::try_from(subtotal).expect("checked"),
            currency: Currency::parse("eur").expect("the currency of all prices"),
            sold,
            session: None,
            ended: None,
            paid: Vec::new(),
        });
        Ok(())
    }

    pub fn record_session(&mut self, command: &RecordSession) -> Result<(), Broken> {
        let order = self.find_order(command.order)?;
        let order = &mut self.orders[order];
        if order.session.is_none() {
            order.session = Some(command.session.clone());
            order.ended = None;
        }
        Ok(())
    }

    pub fn close_order(&mut self, command: &CloseOrder) -> Result<(), Broken> {
        let order = self.find_order(command.order)?;
        let order = &mut self.orders[order];
        let is_about_another = order.session.is_some() && order.session != command.session;
        if order.status() == "placed" && !is_about_another {
            order.ended = Some(command.ending);
            if command.session.is_some() {
                order.session.clone_from(&command.session);
            }
        }
        Ok(())
    }

    /// The order that is paid, and what was sold with it; what was paid for must not differ.
    pub fn check_ordered(
        &self,
        command: &RecordPurchase,
        now: Timestamp,
        broken: &mut Broken,
    ) -> Result<Option<(usize, Vec<NewLot>)>, Broken> {
        let Some(paid) = command.order else { return Ok(None) };
        let index = self.find_order(paid.order)?;
        let order = &self.orders[index];
        let stated: Vec<(String, i64)> =
            command.bought.totals.iter().map(|(unit, amount)| (unit.to_string(), amount.get())).collect();
        let mut sold: Vec<(String, i64)> =
            order.sold.iter().map(|(unit, amount, ..)| (unit.to_string(), *amount)).collect();
        sold.sort();
        let named = self.find_account(&command.account);
        let price = command.bought.price.clone().map(|(price, quantity)| (price, quantity.get()));
        let is_same = named.is_none_or(|named| named == order.account)
            && price.is_none_or(|price| price == (order.price.clone(), order.quantity))
            && (stated.is_empty() || stated == sold)
            && command.money.currency == order.currency
            && paid.subtotal == order.subtotal;
        if !is_same {
            broken.push(Rejection::OrderContradicts { order: paid.order, what: "" });
        }
        let lots = order.sold.iter().map(|(unit, amount, days, priority)| NewLot {
            unit: unit.clone(),
            amount: *amount,
            expires_at: days.map(|days| now.plus(Span::days(i64::from(days)))),
            priority: *priority,
        });
        Ok(Some((index, lots.collect())))
    }

    pub fn pay_order(&mut self, order: usize, session: &StripeId, purchase: Option<usize>) {
        let order = &mut self.orders[order];
        order.paid.push((session.clone(), purchase));
        order.session.get_or_insert_with(|| session.clone());
    }

    pub fn request_refund(&mut self, command: &RequestRefund, now: Timestamp) -> Result<(), Broken> {
        let order = self.find_order(command.order)?;
        let mut broken = Vec::new();
        let account = self.orders[order].account;
        if self.accounts[account].status == Status::Closed {
            broken.push(Rejection::AccountClosed);
        }
        if self.orders[order].paid.is_empty() {
            broken.push(Rejection::OrderNotPaid { order: command.order });
        }
        let bought = self.orders[order].paid.iter().filter_map(|(_, purchase)| *purchase);
        let left: Vec<(usize, i64)> = bought.map(|purchase| (purchase, self.left(purchase))).collect();
        let least = command.amount.map_or(1, |amount| amount.get());
        let newest = left.iter().rev().find(|(_, left)| *left >= least);
        let Some((purchase, left)) = newest.copied() else {
            let refundable = left.iter().map(|(_, left)| *left).max().unwrap_or(0);
            let requested = command.amount.map_or(0, |amount| amount.get());
            broken.push(Rejection::RefundExceedsPayment { requested, refundable });
            return Err(broken);
        };
        refuse_if_any(broken)?;
        let payment = self.purchases[purchase].payment.clone().expect("Stripe's payments have intents");
        let amount = command.amount.map_or(left, |amount| amount.get());
        self.requests.push(Request { payment, amount, refused: false });
        self.apply_facts(purchase, now);
        self.credits_moved(purchase, now);
        Ok(())
    }

    pub fn refuse_refund(&mut self, command: &RefuseRefund, now: Timestamp) -> Result<(), Broken> {
        let not_found = || vec![Rejection::RefundNotFound { refund: command.refund }];
        let request = self.request_ids.iter().position(|known| *known == command.refund);
        let request = request.ok_or_else(not_found)?;
        let payment = self.payment_name(&command.payment);
        if self.requests[request].payment != payment {
            return Err(not_found());
        }
        if self.answer_to(request).is_some() || self.requests[request].refused {
            return Ok(());
        }
        self.requests[request].refused = true;
        let purchase = self.purchases.iter().position(|known| known.payment.as_ref() == Some(&payment));
        let purchase = purchase.expect("a refund was asked for of it");
        self.apply_facts(purchase, now);
        self.credits_moved(purchase, now);
        Ok(())
    }

    /// The refund that answers a request: that of the first report which says so.
    pub fn answer_to(&self, request: usize) -> Option<&StripeId> {
        let payment = &self.requests[request].payment;
        self.facts.iter().find_map(|(about, fact)| match fact {
            PaymentFact::Refund { refund, request: Some(id), .. }
                if about == payment && self.request_ids.get(request) == Some(id) =>
            {
                Some(refund)
            }
            _ => None,
        })
    }

    fn requests_of(&self, purchase: usize) -> Vec<usize> {
        let payment = self.purchases[purchase].payment.as_ref();
        (0..self.requests.len()).filter(|index| Some(&self.requests[*index].payment) == payment).collect()
    }

    /// What was asked for and nothing has come of yet, without what the charge's sum has in excess of all known refunds.
    fn waiting(&self, purchase: usize) -> i64 {
        let requests = self.requests_of(purchase).into_iter();
        let waiting = requests
            .filter(|request| !self.requests[*request].refused && self.answer_to(*request).is_none())
            .map(|request| self.requests[request].amount);
        let (refunds, highest) = self.refunds_of(purchase);
        let explained: i64 = refunds.iter().map(|(.., amount)| amount).sum();
        (waiting.sum::<i64>() - (highest - explained).max(0)).max(0)
    }

    /// What is set aside since it was asked for: what nothing is known of yet, and what is on its way.
    pub fn asked_for(&self, purchase: usize) -> i64 {
        let (refunds, _) = self.refunds_of(purchase);
        let answers: Vec<&StripeId> =
            self.requests_of(purchase).into_iter().filter_map(|request| self.answer_to(request)).collect();
        let on_its_way: i64 = refunds
            .iter()
            .filter(|(refund, status, _)| *status == RefundStatus::Pending && answers.contains(refund))
            .map(|(.., amount)| amount)
            .sum();
        // A pending refund counts as one that succeeded, if the ledger says so.
        self.waiting(purchase) + if self.settings.claw_on_pending { 0 } else { on_its_way }
    }

    /// What can still be refunded.
    fn left(&self, purchase: usize) -> i64 {
        let (refunds, highest) = self.refunds_of(purchase);
        let sum = |undone: bool| -> i64 {
            let is_undone = |status| matches!(status, RefundStatus::Failed | RefundStatus::Cancelled);
            let chosen = refunds.iter().filter(|(_, status, _)| is_undone(*status) == undone);
            chosen.map(|(.., amount)| amount).sum()
        };
        let gone = sum(false).max(highest - sum(true)) + self.credited(purchase);
        let (_, open, lost) = self.money_back(purchase);
        (self.purchases[purchase].money.gross - gone - self.waiting(purchase) - open - lost).max(0)
    }

    /// How far a request has come.
    pub fn request_status(&self, request: usize) -> &'static str {
        let payment: &PaymentName = &self.requests[request].payment;
        let purchase = self.purchases.iter().position(|known| known.payment.as_ref() == Some(payment));
        let (refunds, _) = self.refunds_of(purchase.expect("a refund was asked for of it"));
        match self.answer_to(request) {
            Some(answer) => refunds.iter().find(|(id, ..)| *id == answer).expect("reported").1.as_str(),
            None if self.requests[request].refused => "refused",
            None => "requested",
        }
    }
}
