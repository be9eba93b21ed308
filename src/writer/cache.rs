//! What a writer remembers of its ledger between batches, so that a hot account is not read again and again.
//!
//! Invariant: everything in it is as of the head that the writer knows. Whatever a batch needs is taken out and comes
//! back after the commit, so that a batch that fails leaves nothing behind that is not true. Accounts that watch
//! purchases are never kept: those purchases would have to be kept with them.

use std::collections::HashMap;

use crate::domain::{
    account::Account,
    catalogue::Catalogue,
    ids::{AccountId, AccountNumber},
    settings::LedgerSettings,
};

/// See the module.
pub(super) struct Cache {
    capacity: usize,
    accounts: HashMap<AccountNumber, Entry>,
    numbers: HashMap<AccountId, AccountNumber>,
    configuration: Option<(LedgerSettings, Catalogue)>,
    /// Counts what is put in: who has the lower number was used longer ago.
    uses: u64,
}

struct Entry {
    name: AccountId,
    account: Account,
    last_use: u64,
}

impl Cache {
    /// An empty cache of at most `capacity` accounts.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, accounts: HashMap::new(), numbers: HashMap::new(), configuration: None, uses: 0 }
    }

    /// Whether it has the account of this name.
    pub(super) fn has_named(&self, name: &AccountId) -> bool {
        self.numbers.contains_key(name)
    }

    /// Whether it has this account.
    pub(super) fn has(&self, number: AccountNumber) -> bool {
        self.accounts.contains_key(&number)
    }

    /// Whether it has settings and catalogue.
    pub(super) fn has_configuration(&self) -> bool {
        self.configuration.is_some()
    }

    /// The number of the account of this name.
    pub(super) fn number_of(&self, name: &AccountId) -> Option<AccountNumber> {
        self.numbers.get(name).copied()
    }

    /// Takes out an account, with its name.
    pub(super) fn take(&mut self, number: AccountNumber) -> Option<(AccountId, Account)> {
        let entry = self.accounts.remove(&number)?;
        self.numbers.remove(&entry.name);
        Some((entry.name, entry.account))
    }

    /// Puts an account in, unless it must not be kept.
    pub(super) fn put(&mut self, name: AccountId, mut account: Account) {
        let number = account.number;
        self.take(number);
        if !account.watched.is_empty() {
            return;
        }
        account.drop_closed_lots();
        if self.accounts.len() >= self.capacity {
            self.forget_older_half();
        }
        self.uses += 1;
        self.numbers.insert(name.clone(), number);
        self.accounts.insert(number, Entry { name, account, last_use: self.uses });
    }

    /// Takes out settings and catalogue.
    pub(super) fn take_configuration(&mut self) -> Option<(LedgerSettings, Catalogue)> {
        self.configuration.take()
    }

    /// Puts settings and catalogue in.
    pub(super) fn put_configuration(&mut self, settings: LedgerSettings, catalogue: Catalogue) {
        self.configuration = Some((settings, catalogue));
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.accounts.clear();
        self.numbers.clear();
        self.configuration = None;
    }

    /// Half at once, so that a full cache is not searched at each use.
    fn forget_older_half(&mut self) {
        let mut uses: Vec<u64> = self.accounts.values().map(|entry| entry.last_use).collect();
        let middle = uses.len() / 2;
        let (_, oldest_kept, _) = uses.select_nth_unstable(middle);
        let oldest_kept = *oldest_kept;
        self.accounts.retain(|_, entry| entry.last_use >= oldest_kept);
        self.numbers.retain(|_, number| self.accounts.contains_key(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{account::AccountStatus, ids::Position, time::Timestamp};

    fn name(number: i64) -> AccountId {
        AccountId::parse(&format!("account-{number}")).expect("valid")
    }

    fn account(number: i64) -> Account {
        Account {
            had_trial: false,
            number: AccountNumber(number),
            status: AccountStatus::Open,
            opened_at: Timestamp::default(),
            stripe_customer: None,
            version: Position(number),
            books: Default::default(),
            holds: Default::default(),
            watched: Default::default(),
        }
    }

    #[test]
    fn what_is_taken_out_is_no_longer_there() {
        let mut cache = Cache::new(10);
        cache.put(name(1), account(1));
        assert_eq!(cache.take(AccountNumber(1)), Some((name(1), account(1))));
        assert!(!cache.has_named(&name(1)) && !cache.has(AccountNumber(1)));
        assert_eq!(cache.take(AccountNumber(1)), None);
    }

    #[test]
    fn a_full_cache_forgets_who_was_used_longest_ago() {
        let mut cache = Cache::new(4);
        for number in 1..=4 {
            cache.put(name(number), account(number));
        }
        let (first_name, first) = cache.take(AccountNumber(1)).expect("there");
        cache.put(first_name, first);
        cache.put(name(5), account(5));
        let kept: Vec<i64> = (1..=5).filter(|number| cache.take(AccountNumber(*number)).is_some()).collect();
        assert_eq!(kept, [1, 4, 5]);
    }

    #[test]
    fn an_account_that_gets_another_name_is_not_found_by_the_old_one() {
        let mut cache = Cache::new(4);
        cache.put(name(1), account(1));
        cache.put(name(2), account(1));
        assert!(!cache.has_named(&name(1)));
        assert_eq!(cache.number_of(&name(2)), Some(AccountNumber(1)));
        assert_eq!(cache.take(AccountNumber(1)), Some((name(2), account(1))));
    }

    #[test]
    fn an_account_that_watches_a_purchase_is_not_kept() {
        let mut cache = Cache::new(4);
        let mut watching = account(1);
        watching.watched.insert(crate::domain::ids::PurchaseId::from_bits(7));
        cache.put(name(1), account(1));
        cache.put(name(1), watching);
        assert_eq!(cache.take(AccountNumber(1)), None);
    }
}
