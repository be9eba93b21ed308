//! What must hold of the accounts: the state that commands are decided on is what the events say.

use std::collections::BTreeMap;

use super::findings::Findings;
use crate::domain::account::{Account, Book, Lot};
use crate::domain::event::BalanceAfter;
use crate::domain::ids::StripeId;
use crate::domain::invariants::check_lot;
use crate::domain::time::Timestamp;
use crate::store::verification::{AccountPage, RecountedAccount, StoredAccount};

/// Compares a page of accounts with what was recounted of them.
pub(super) fn compare(page: &AccountPage, findings: &mut Findings) {
    let mut recounted: BTreeMap<i64, &RecountedAccount> =
        page.recounted.iter().map(|account| (account.number, account)).collect();
    for stored in &page.accounts {
        let replayed = page.replayed.get(&stored.number);
        match recounted.remove(&stored.number.0) {
            Some(recounted) => compare_account(stored, recounted, replayed, findings),
            None => findings.account(stored.number.0, "no event speaks of it"),
        }
    }
    for number in recounted.into_keys() {
        findings.account(number, "events speak of it, but it is not there");
    }
    for differing in [&page.purchases, &page.orders, &page.subscriptions]
        .into_iter()
        .flat_map(|compared| &compared.differing)
    {
        findings.row(differing);
    }
    for (number, refund) in &page.requests.differing_refunds {
        findings.account(*number, format!("the refund {refund} is not what its events say"));
    }
    for (number, link) in &page.requests.differing_links {
        findings.account(*number, format!("the link {link} is not what its events say"));
    }
    for (number, purchase) in &page.requests.differing_holders {
        findings.account(*number, format!("who holds credits of {purchase} is not what its events say"));
    }
}

fn compare_account(
    stored: &StoredAccount,
    recounted: &RecountedAccount,
    replayed: Option<&Account>,
    findings: &mut Findings,
) {
    let number = stored.number.0;
    let account = match &stored.account {
        Ok(account) => account,
        Err(error) => return findings.account(number, format!("its state cannot be read: {error}")),
    };
    if !agrees(stored, account) {
        findings.account(number, "its columns and its state contradict each other");
    }
    if stored.version != recounted.version || account.version.0 != recounted.version {
        let (version, last) = (account.version, recounted.version);
        findings
            .account(number, format!("its state is as of position {version}, its last event is at {last}"));
    }
    for (unit, expected) in balances(account, recounted) {
        let book = account.books.iter().find_map(|(of, book)| (of.as_str() == &*unit).then_some(book));
        if book.map(Book::balance).unwrap_or_default() != expected {
            findings.account(number, format!("its balance of {unit} is not what its events say"));
        }
        if let Some(fault) = book.and_then(|book| fault_of(book, account, &unit)) {
            findings.account(number, format!("{fault} of {unit}"));
        }
    }
    if let Some(what) = difference(account, stored.stripe_customer.as_deref(), replayed) {
        findings.account(number, format!("{what} not what its events say"));
    }
}

/// Whether the columns beside the state say what it says.
fn agrees(stored: &StoredAccount, account: &Account) -> bool {
    account.number == stored.number
        && account.status.as_str() == stored.status
        && account.opened_at.to_datetime() == stored.opened_at
        && account.next_due_at().map(Timestamp::to_datetime) == stored.next_due_at
        && account.watched.iter().eq(&stored.watched)
}

/// The first thing that is not as the events leave it.
fn difference(account: &Account, customer: Option<&str>, replayed: Option<&Account>) -> Option<String> {
    let Some(replayed) = replayed else { return Some("its state is".to_owned()) };
    let of_events = replayed.stripe_customer.as_ref().map(StripeId::as_str);
    if (customer, &account.stripe_customer) != (of_events, &replayed.stripe_customer) {
        return Some("its customer is".to_owned());
    }
    let nothing = Book::default();
    for (unit, book) in &replayed.books {
        let lots = &account.books.get(unit).unwrap_or(&nothing).lots;
        let mut ids = book.lots.keys().chain(lots.keys());
        if let Some(lot) = ids.find(|lot| book.lots.get(lot) != lots.get(lot)) {
            return Some(format!("the lot {lot} of {unit} is"));
        }
        if account.books.get(unit).is_some_and(|stored| stored.debts != book.debts) {
            return Some(format!("what it owes of {unit} is"));
        }
    }
    if account.holds != replayed.holds {
        return Some("what it holds is".to_owned());
    }
    (account != replayed).then(|| "its state is".to_owned())
}

/// What the events say of each unit that either side knows; nothing, of a unit that they do not mention.
fn balances(account: &Account, recounted: &RecountedAccount) -> BTreeMap<Box<str>, BalanceAfter> {
    let in_state = account.books.keys().map(|unit| (unit.as_str().into(), BalanceAfter::default()));
    let in_events = recounted.balances.iter().map(|(unit, net, held, disputed)| {
        (unit.as_str().into(), BalanceAfter { net: *net, held: *held, disputed: *disputed })
    });
    in_state.chain(in_events).collect()
}

/// What of a book contradicts itself.
fn fault_of(book: &Book, account: &Account, unit: &str) -> Option<&'static str> {
    let sum = |of: fn(&Lot) -> i64| book.lots.values().map(of).sum::<i64>();
    let in_holds: i64 =
        account.holds.values().filter(|hold| hold.unit.as_str() == unit).map(|hold| hold.amount()).sum();
    let owed: i64 = book.debts.values().map(|debt| debt.open).sum();
    [
        (book.available != sum(|lot| lot.remaining), "what is available is not what is left in the lots"),
        (book.held != sum(|lot| lot.held), "what is held is not what is held in the lots"),
        (book.held != in_holds, "what is held is not what the open holds hold"),
        (book.disputed != sum(|lot| lot.disputed), "what is disputed is not what is disputed in the lots"),
        (book.debt != owed, "the debt is not the sum of its items"),
        (book.available > 0 && book.debt > 0, "there are credits and debt at once"),
        (!book.lots.values().all(|lot| check_lot(lot).is_ok()), "a lot does not add up"),
    ]
    .into_iter()
    .find_map(|(is_wrong, fault)| is_wrong.then_some(fault))
}
