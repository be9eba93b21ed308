//! What follows from credits that became usable: first the purchases from which something is missing are looked at again
//! (rule 7), then debt is settled (rule 11).

use super::{
    clawback,
    decide::Draft,
    event::{DebtSettled, Settlement},
    ids::{AccountNumber, PurchaseId, Unit},
};

/// Brings the account to rest. Ends, because each step lowers what is missing somewhere, or what is owed.
pub(super) fn follow_up(draft: &mut Draft<'_>, number: AccountNumber) {
    loop {
        if let Some((purchase, unit)) = next_reducible(draft, number) {
            clawback::reduce_shortfall(draft, purchase, &unit);
        } else if let Some(unit) = next_settleable(draft, number) {
            settle(draft, number, &unit);
        } else {
            break;
        }
    }
}

/// The first purchase of which more is taken elsewhere than must be, now that credits of its own came back.
fn next_reducible(draft: &Draft<'_>, number: AccountNumber) -> Option<(PurchaseId, Unit)> {
    let account = draft.account(number);
    account.watched.iter().find_map(|purchase| {
        let parts = draft.state.purchases.get(purchase)?.parts.iter();
        let mut reducible = parts.filter(|(unit, part)| {
            account.books.get(unit).is_some_and(|book| clawback::reducible(book, *purchase, part) > 0)
        });
        reducible.next().map(|(unit, _)| (*purchase, unit.clone()))
    })
}

fn next_settleable(draft: &Draft<'_>, number: AccountNumber) -> Option<Unit> {
    let mut books = draft.account(number).books.iter();
    books.find(|(_, book)| book.available > 0 && book.debt > 0).map(|(unit, _)| unit.clone())
}

/// Pays debt off, oldest item first, with lots in spending order.
fn settle(draft: &mut Draft<'_>, number: AccountNumber, unit: &Unit) {
    let book = draft.book(number, unit);
    let mut settlements = Vec::new();
    let mut debts = book.debts.iter().map(|(debt, item)| (*debt, item.open));
    let mut owed = debts.next();
    for draw in book.draw(book.available.min(book.debt)) {
        let mut left = draw.amount;
        while left > 0
            && let Some((debt, open)) = owed
        {
            let amount = left.min(open);
            settlements.push(Settlement { debt, lot: draw.lot, amount });
            left -= amount;
            owed = if open > amount { Some((debt, open - amount)) } else { debts.next() };
        }
    }
    draft.emit(Some(number), Some(unit), DebtSettled { settlements });
}
