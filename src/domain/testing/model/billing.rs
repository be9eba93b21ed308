//! Rule 9: subscriptions, in lists of everything that was ever told and paid.

use std::collections::BTreeMap;

use super::{
    Model, PaymentName, Place,
    requests::{Broken, NewLot, refuse_if_any},
};
use crate::domain::{
    amount::{MAX_AMOUNT, PaidMoney},
    command::{RecordInvoiceLine, RecordSubscription, SoldLine, StartSubscription, Subscriber},
    ids::{PriceId, StripeId, Unit},
    rejection::Rejection,
    settings::Rollover,
    subscription::SubscriptionTerms,
    time::{Span, Timestamp},
};

/// A subscription.
#[derive(Clone)]
pub struct Subscription {
    pub id: StripeId,
    pub account: usize,
    pub order: Option<usize>,
    /// What Stripe last told of it, if it told anything.
    pub terms: Option<SubscriptionTerms>,
    /// Its lots, each with the end of its period.
    pub lots: Vec<(usize, Timestamp)>,
    /// Each change within a period: when that ends, of which unit, what it was worth and what was granted for it.
    pub changes: Vec<(Timestamp, Unit, i64, i64)>,
}

impl Subscription {
    pub fn has_ended(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.status.has_ended())
    }

    pub fn status(&self) -> &'static str {
        self.terms.as_ref().map_or("active", |terms| terms.status.as_str())
    }
}

impl Model {
    fn find_subscription(&self, id: &StripeId) -> Option<usize> {
        self.subscriptions.iter().position(|known| known.id == *id)
    }

    fn find_subscriber(&self, id: &StripeId, subscriber: &Subscriber) -> Result<usize, Broken> {
        let account = match subscriber {
            Subscriber::Named(account) => self.find_account(account),
            Subscriber::Owner(number) => self.account_numbers.iter().position(|known| known == number),
        };
        let account = account.ok_or_else(|| vec![Rejection::AccountNotFound])?;
        self.check_subscriber(id, account)
    }

    fn check_subscriber(&self, id: &StripeId, account: usize) -> Result<usize, Broken> {
        let known = self.find_subscription(id).map(|known| self.subscriptions[known].account);
        if known.is_some_and(|known| known != account) {
            return Err(vec![Rejection::SubscriptionOfAnotherAccount { subscription: id.clone() }]);
        }
        Ok(account)
    }

    /// The subscription, which becomes known by it.
    fn subscription(&mut self, id: &StripeId, account: usize) -> usize {
        self.find_subscription(id).unwrap_or_else(|| {
            let (lots, changes) = (Vec::new(), Vec::new());
            let new = Subscription { id: id.clone(), account, order: None, terms: None, lots, changes };
            self.subscriptions.push(new);
            self.subscriptions.len() - 1
        })
    }

    pub fn start_subscription(&mut self, command: &StartSubscription) -> Result<(), Broken> {
        let order = command.order.map(|order| self.find_order(order)).transpose()?;
        let account = match (order, &command.subscriber) {
            (Some(order), _) => self.check_subscriber(&command.subscription, self.orders[order].account)?,
            (None, Some(subscriber)) => self.find_subscriber(&command.subscription, subscriber)?,
            (None, None) => return Err(vec![Rejection::AccountNotFound]),
        };
        let subscription = self.subscription(&command.subscription, account);
        if let Some(order) = order {
            self.subscriptions[subscription].order.get_or_insert(order);
            let is_paid = self.orders[order].paid.iter().any(|(session, _)| *session == command.session);
            if !is_paid {
                self.pay_order(order, &command.session, None);
            }
        }
        Ok(())
    }

    pub fn record_subscription(
        &mut self,
        command: &RecordSubscription,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let account = self.find_subscriber(&command.subscription, &command.subscriber)?;
        let subscription = self.subscription(&command.subscription, account);
        let order = command.order.map(|order| {
            // One that never was is taken for what it says to be.
            self.order_ids.iter().position(|known| *known == order).unwrap_or(usize::MAX)
        });
        let known = &mut self.subscriptions[subscription];
        known.order = known.order.or(order);
        let ends = command.terms.status.has_ended();
        let is_newer = known.terms.as_ref().is_none_or(|terms| ends || command.terms > *terms);
        if known.has_ended() || !is_newer {
            return Ok(());
        }
        known.terms = Some(command.terms.clone());
        if ends {
            for (lot, ends_at) in known.lots.clone() {
                let lot = &mut self.lots[lot];
                let places = [Place::Remaining, Place::Held, Place::Disputed];
                let is_open = places.into_iter().any(|place| lot.count(place) > 0);
                let sooner = now.max(ends_at);
                if is_open && lot.expires_at.is_some_and(|expires_at| expires_at > sooner) {
                    lot.expires_at = Some(sooner);
                }
            }
            self.pass_time(now);
        }
        Ok(())
    }

    pub fn record_invoice_line(&mut self, command: &RecordInvoiceLine, now: Timestamp) -> Result<(), Broken> {
        let account = self.find_subscriber(&command.subscription, &command.subscriber)?;
        let mut broken = Vec::new();
        let is_trial = matches!(command.sold, SoldLine::Period { is_free: true, .. });
        let worth = self.worth(account, command, &mut broken);
        for (unit, amount, _) in &worth.grants {
            let places = [Place::Remaining, Place::Held, Place::Disputed];
            let there: i64 = places.into_iter().map(|place| self.sum(account, unit, place)).sum();
            if there + amount > MAX_AMOUNT {
                broken.push(Rejection::AmountTooLarge { unit: unit.clone() });
            }
        }
        let is_paid = command.money.gross > 0;
        let payment = command.payment_intent.clone().filter(|_| is_paid).map(PaymentName::Stripe);
        let paid_before = self.purchases.iter().filter(|known| payment.is_some() && known.payment == payment);
        if paid_before.clone().any(|known| known.invoice.as_ref() != Some(&command.invoice)) {
            broken.push(Rejection::PaymentContradicts { what: "" });
        }
        let is_first = paid_before.count() == 0;
        refuse_if_any(broken)?;

        let subscription = self.subscription(&command.subscription, account);
        let (start, end) = (command.period.start, command.period.end);
        let ends_at = if end > now { end } else { now.plus(end.since(start)) };
        let grace = i64::from(self.settings.subscriptions.renewal_grace_days);
        let grace = if self.subscriptions[subscription].has_ended() { 0 } else { grace };
        let expires_at = Some(ends_at.plus(Span::days(grace)));
        if let Some(changes) = &worth.changes {
            self.remember_changes(subscription, command, changes, &worth.grants);
        }
        let old = self.subscriptions[subscription].lots.clone();
        let new = |(unit, amount, priority): &(Unit, i64, u8)| NewLot {
            unit: unit.clone(),
            amount: *amount,
            expires_at,
            priority: *priority,
        };
        let lots: Vec<NewLot> = worth.grants.iter().map(new).collect();
        let first_lot = self.lots.len();
        let purchase = self.add_paid_lots(account, payment, command, &lots);
        for lot in first_lot..self.lots.len() {
            self.subscriptions[subscription].lots.push((lot, ends_at));
        }
        self.accounts[account].had_trial |= is_trial && !lots.is_empty();
        if worth.changes.is_none() {
            let over = old.into_iter().filter(|(_, ends_at)| *ends_at <= start).map(|(lot, _)| lot);
            let rollover = self.rollover(&command.sold);
            self.renew(subscription, over.collect(), ends_at, expires_at, rollover);
        }
        if let Some(purchase) = purchase {
            let has_facts =
                self.facts.iter().any(|(about, _)| Some(about) == self.purchases[purchase].payment.as_ref());
            if has_facts {
                self.apply_facts(purchase, now);
            }
            let (_, open_disputes, _) = self.money_back(purchase);
            if is_first && (open_disputes > 0 || self.is_warned_of(purchase)) {
                self.freeze_for_dispute(account);
            }
        }
        self.settle_debt(account, now);
        Ok(())
    }

    fn worth(&self, account: usize, command: &RecordInvoiceLine, broken: &mut Broken) -> Worth {
        match &command.sold {
            SoldLine::Period { is_free: true, .. } if self.accounts[account].had_trial => Worth::default(),
            SoldLine::Period { is_free: true, .. } => {
                let trial = &self.settings.subscriptions.trial_credits;
                let grants = trial.iter().map(|(unit, credits)| (unit.clone(), credits.get(), 50));
                Worth { grants: grants.collect(), changes: None }
            }
            SoldLine::Period { price, quantity, .. } => {
                let grants = self.grants_of(price, broken).into_iter();
                let grants =
                    grants.map(|(unit, credits, priority)| (unit, credits * quantity.get(), priority));
                Worth { grants: grants.collect(), changes: None }
            }
            SoldLine::Changes { lines, replaced } => {
                let mut changes: BTreeMap<Unit, i64> = BTreeMap::new();
                let mut priorities: Vec<(bool, Unit, u8)> = Vec::new();
                for line in lines {
                    for (unit, credits, priority) in self.grants_of(&line.price, broken) {
                        // All prices of the plans cost 100.
                        let worth = (credits * line.amount).div_euclid(100);
                        *changes.entry(unit.clone()).or_default() += worth;
                        priorities.push((line.amount > 0, unit, priority));
                    }
                }
                let known = self.find_subscription(&command.subscription);
                let grants = changes.iter().filter_map(|(unit, change)| {
                    let before = known.map_or(0, |known| {
                        let of_period = self.subscriptions[known].changes.iter().filter(|(end, of, ..)| {
                            of == unit && (*end == command.period.end || Some(*end) == *replaced)
                        });
                        of_period.map(|(_, _, worth, granted)| worth - granted).sum::<i64>()
                    });
                    let of_unit = || priorities.iter().filter(|(_, of, _)| of == unit);
                    let priority = of_unit().rfind(|(is_more, ..)| *is_more).or_else(|| of_unit().next());
                    let due = before + change;
                    (due > 0).then(|| (unit.clone(), due, priority.map_or(50, |(.., priority)| *priority)))
                });
                Worth { grants: grants.collect(), changes: Some(changes.clone()) }
            }
        }
    }

    fn grants_of(&self, price: &PriceId, broken: &mut Broken) -> Vec<(Unit, i64, u8)> {
        let Some(known) = self.find_price(price) else {
            broken.push(Rejection::UnknownPrice { price: price.clone() });
            return Vec::new();
        };
        let grants = self.granted_by(known).into_iter();
        grants.map(|grant| (grant.unit, grant.amount.get(), grant.priority)).collect()
    }

    fn remember_changes(
        &mut self,
        subscription: usize,
        command: &RecordInvoiceLine,
        changes: &BTreeMap<Unit, i64>,
        grants: &[(Unit, i64, u8)],
    ) {
        let SoldLine::Changes { replaced, .. } = &command.sold else { return };
        let known = &mut self.subscriptions[subscription].changes;
        for (end, ..) in known.iter_mut().filter(|(end, ..)| Some(*end) == *replaced) {
            *end = command.period.end;
        }
        for (unit, worth) in changes {
            let granted = grants.iter().find(|(of, ..)| of == unit).map_or(0, |(_, amount, _)| *amount);
            known.push((command.period.end, unit.clone(), *worth, granted));
        }
    }

    /// The lots of a line, which are a purchase if anything was paid.
    fn add_paid_lots(
        &mut self,
        account: usize,
        payment: Option<PaymentName>,
        command: &RecordInvoiceLine,
        lots: &[NewLot],
    ) -> Option<usize> {
        let PaidMoney { gross, .. } = command.money;
        let purchase = (gross > 0 && !lots.is_empty()).then_some(self.purchases.len());
        if purchase.is_some() {
            self.push_purchase(account, payment, command.paid_with, lots, Some(command.invoice.clone()));
        }
        for lot in lots {
            self.add_lot(account, purchase, lot);
        }
        purchase
    }

    fn rollover(&self, sold: &SoldLine) -> Rollover {
        let price = match sold {
            SoldLine::Period { price, .. } => self.find_price(price),
            SoldLine::Changes { .. } => None,
        };
        let of_price = price.and_then(|price| self.rollover_of(price));
        of_price.unwrap_or(self.settings.subscriptions.rollover)
    }

    /// What is left of periods that are over lives on as far as it may, the lots that came first before the others.
    fn renew(
        &mut self,
        subscription: usize,
        over: Vec<usize>,
        ends_at: Timestamp,
        expires_at: Option<Timestamp>,
        rollover: Rollover,
    ) {
        let mut units: Vec<Unit> = over.iter().map(|lot| self.lots[*lot].unit.clone()).collect();
        units.sort();
        units.dedup();
        for unit in units {
            let mut may_move = match rollover {
                Rollover::None => 0,
                Rollover::All => i64::MAX,
                Rollover::Capped(most) => most.get(),
            };
            let of_unit = over.iter().copied().filter(|lot| self.lots[*lot].unit == unit);
            for lot in of_unit.collect::<Vec<_>>() {
                let left = self.lots[lot].count(Place::Remaining);
                let moved = may_move.min(left);
                may_move -= moved;
                self.shift(lot, left - moved, Place::Remaining, Place::Expired);
                if moved > 0 {
                    self.shift(lot, moved, Place::Remaining, Place::Moved);
                    let old = self.lots[lot].clone();
                    let (amount, priority) = (moved, old.priority);
                    self.add_lot(
                        old.account,
                        old.purchase,
                        &NewLot { unit: unit.clone(), amount, expires_at, priority },
                    );
                    let new = self.lots.len() - 1;
                    self.subscriptions[subscription].lots.push((new, ends_at));
                }
            }
        }
    }
}

#[derive(Default)]
struct Worth {
    /// Unit, credits, priority.
    grants: Vec<(Unit, i64, u8)>,
    /// What changes within a period are worth, signed.
    changes: Option<BTreeMap<Unit, i64>>,
}
