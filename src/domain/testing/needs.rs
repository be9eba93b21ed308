//! Loads as a store would: only what a command says that it needs.

use super::harness::Harness;
use crate::domain::{
    command::Command,
    ids::{AccountNumber, PurchaseId},
    working_set::WorkingSet,
};

impl Harness {
    /// The working set with only what the command says that it needs.
    pub fn pruned(&self, command: &Command) -> WorkingSet {
        let needs = command.needs();
        let mut set = WorkingSet {
            settings: self.set.settings.clone(),
            catalogue: self.set.catalogue.clone(),
            configured_at: self.set.configured_at,
            ..WorkingSet::default()
        };
        let mut accounts = needs.account_numbers.clone();
        for id in &needs.accounts {
            if let Some(number) = self.set.account_numbers.get(id) {
                set.account_numbers.insert(id.clone(), *number);
                accounts.push(*number);
            }
        }
        for position in &needs.accounts_of_events {
            let event = self.events.iter().find(|event| event.position == *position);
            accounts.extend(event.and_then(|event| event.account));
            if let Some(number) = self.set.accounts_of_events.get(position) {
                set.accounts_of_events.insert(*position, *number);
            }
        }
        for order in needs.orders.iter().filter_map(|id| self.set.orders.get(id)) {
            set.orders.insert(order.id, order.clone());
        }
        for known in needs.subscriptions.iter().filter_map(|id| self.set.subscriptions.get(id)) {
            set.subscriptions.insert(known.id.clone(), known.clone());
        }
        for customer in &needs.customers {
            if let Some(number) = self.set.customers.get(customer) {
                set.customers.insert(customer.clone(), *number);
            }
        }
        let mut payments = needs.payments.clone();
        let mut purchases = needs.purchases.clone();
        let ordered = needs.purchases_of_orders.iter().filter_map(|id| self.set.orders.get(id));
        let ordered: Vec<PurchaseId> = ordered.flat_map(|order| order.purchases.clone()).collect();
        payments.extend(ordered.iter().filter_map(|id| self.set.purchases.get(id)?.payment.clone()));
        purchases.extend(ordered);
        let of_purchases = needs.purchases.iter().filter_map(|id| self.set.purchases.get(id));
        payments.extend(of_purchases.filter_map(|purchase| purchase.payment.clone()));
        for reference in &payments {
            if let Some(payment) = self.set.payments.get(reference) {
                set.payments.insert(reference.clone(), payment.clone());
                purchases.extend(payment.purchases.iter().copied());
            }
        }
        let known = purchases.iter().filter_map(|id| self.set.purchases.get(id));
        accounts.extend(known.flat_map(|purchase| purchase.accounts()));
        self.load(&mut set, &accounts, &purchases);
        set
    }

    /// Puts accounts into a working set, with the purchases that they watch, and all lots that purchases touch.
    fn load(&self, set: &mut WorkingSet, accounts: &[AccountNumber], purchases: &[PurchaseId]) {
        let known = accounts.iter().filter_map(|number| self.set.accounts.get(number));
        let watched = known.clone().flat_map(|account| account.watched.iter().copied());
        for id in watched.chain(purchases.iter().copied()) {
            if let Some(purchase) = self.set.purchases.get(&id) {
                set.purchases.insert(id, purchase.clone());
            }
        }
        for account in known {
            let mut account = account.clone();
            for (unit, book) in &mut account.books {
                let parts = set.purchases.values().filter_map(|purchase| purchase.parts.get(unit));
                let touched: Vec<_> = parts.flat_map(|part| part.other_lots()).collect();
                book.lots.retain(|id, lot| {
                    let is_own = lot.purchase.is_some_and(|purchase| set.purchases.contains_key(&purchase));
                    lot.is_open() || is_own || touched.contains(id)
                });
            }
            set.accounts.insert(account.number, account);
        }
    }
}
