//! What must hold of the state by itself, after every event and between two commands. Nothing here trusts a sum that the
//! state keeps: each is derived from lots, holds, debt items and takings. An auditor's replay checks all of it, and so do
//! the tests of the rules.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    account::{Account, Book, Lot},
    amount::MAX_AMOUNT,
    event::{Draw, Event, EventBody, PurchaseClawed, PurchaseRestored, TargetMove},
    ids::{AccountNumber, LotId, Position, PurchaseId, Unit},
    purchase::{Part, Purchase},
    working_set::WorkingSet,
};

/// What does not hold, for people.
pub type Broken = String;

fn ensure(holds: bool, broken: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken()) }
}

/// What an event says must add up: what was spent is what was drawn and what is owed for it, what was held is what was
/// drawn for it, and what it makes is called after its position.
///
/// # Errors
/// What does not add up.
pub fn check_event(event: &Event) -> Result<(), Broken> {
    match &event.body {
        EventBody::CreditsSpent(spent) => {
            let overdraft = spent.overdraft.map_or(0, |debt| debt.amount);
            ensure(total(&spent.draws) + overdraft == spent.spent, || {
                format!("what was drawn and what is owed is not what was spent: {spent:?}")
            })
        }
        EventBody::CreditsHeld(held) => ensure(total(&held.draws) == held.held, || {
            format!("what was drawn is not what is held: {held:?}")
        }),
        EventBody::HoldCaptured(captured) => {
            ensure(total(&captured.draws) + total(&captured.excess) == captured.captured, || {
                format!("what was drawn is not what was captured: {captured:?}")
            })
        }
        EventBody::PurchaseClawed(PurchaseClawed(moved))
        | EventBody::PurchaseRestored(PurchaseRestored(moved)) => {
            let mut made = moved.moves.iter().filter_map(place_of_what_is_made);
            ensure(made.all(|place| place == event.position), || {
                format!("what was made is not called after the event: {moved:?}")
            })?;
            let lots = moved.moves.iter().filter_map(TargetMove::successor).map(|successor| successor.lot);
            let lots: Vec<_> = lots.collect();
            ensure(lots.iter().collect::<BTreeSet<_>>().len() == lots.len(), || {
                format!("two lots that were made are called the same: {moved:?}")
            })
        }
        _ => Ok(()),
    }
}

/// What the id of the lot or the debt that a move makes says of where it was made.
fn place_of_what_is_made(target_move: &TargetMove) -> Option<Position> {
    match target_move {
        TargetMove::DebtMade { debt, .. } => Some(debt.position()),
        _ => target_move.successor().map(|successor| successor.lot.position()),
    }
}

fn total(draws: &[Draw]) -> i64 {
    draws.iter().map(|draw| draw.amount).sum()
}

/// A lot: granted = remaining + held + disputed + spent + expired + clawed + moved + adjusted + settled, none negative. It
/// holds after every event.
///
/// # Errors
/// What does not hold of it.
pub fn check_lot(lot: &Lot) -> Result<(), Broken> {
    let pools = lot.pools();
    ensure(pools.iter().all(|pool| *pool >= 0), || format!("a lot has less than nothing: {lot:?}"))?;
    ensure(pools.iter().sum::<i64>() == lot.granted, || format!("a lot does not add up: {lot:?}"))?;
    ensure((1..=MAX_AMOUNT).contains(&lot.granted) && lot.priority <= 100, || {
        format!("there can be no such lot: {lot:?}")
    })
}

/// A unit of an account: its totals are the sums over lots and debt items, none negative. It holds after every event.
///
/// # Errors
/// What does not hold of it.
pub fn check_book(book: &Book) -> Result<(), Broken> {
    book.lots.values().try_for_each(check_lot)?;
    let sum = |pool: fn(&Lot) -> i64| book.lots.values().map(pool).sum::<i64>();
    let owed: i64 = book.debts.values().map(|debt| debt.open).sum();
    for (what, kept, counted) in [
        ("available", book.available, sum(|lot| lot.remaining)),
        ("held", book.held, sum(|lot| lot.held)),
        ("disputed", book.disputed, sum(|lot| lot.disputed)),
        ("owed", book.debt, owed),
    ] {
        ensure(kept == counted, || format!("{kept} are {what}, and {counted} by lots and items of debt"))?;
        ensure((0..=MAX_AMOUNT).contains(&kept), || format!("{kept} are {what}, which is no amount"))?;
    }
    ensure(book.debts.values().all(|debt| debt.open > 0), || format!("nothing is owed: {:?}", book.debts))
}

/// An account between two commands: whoever has credits owes none, and what its lots have in holds is what its open holds
/// hold.
///
/// # Errors
/// What does not hold of it.
pub fn check_account(account: &Account) -> Result<(), Broken> {
    for (unit, book) in &account.books {
        check_book(book).map_err(|broken| format!("{unit} of account {}: {broken}", account.number))?;
        ensure(book.available == 0 || book.debt == 0, || {
            let (available, debt) = (book.available, book.debt);
            format!("account {} has {available} of {unit} and owes {debt}", account.number)
        })?;
    }
    let mut held: BTreeMap<(&Unit, LotId), i64> = BTreeMap::new();
    for hold in account.holds.values() {
        for draw in &hold.draws {
            ensure(draw.amount > 0, || format!("a hold holds nothing: {hold:?}"))?;
            *held.entry((&hold.unit, draw.lot)).or_default() += draw.amount;
        }
    }
    for (unit, book) in &account.books {
        for lot in book.lots.values() {
            let by_holds = held.remove(&(unit, lot.id)).unwrap_or(0);
            ensure(lot.held == by_holds, || format!("open holds hold {by_holds} of {lot:?}"))?;
        }
    }
    ensure(held.is_empty(), || format!("holds of account {} hold what is not there", account.number))
}

/// A part of a purchase between two commands: clawed + disputed + absorbed + taken elsewhere = T ≤ G, and taken elsewhere =
/// max(0, T + U − G), U being what the buyer used and what others have that was not taken back from them. All accounts that
/// hold credits of it must be in the working set.
///
/// # Errors
/// What does not hold of it.
pub fn check_part(set: &WorkingSet, purchase: &Purchase, unit: &Unit, part: &Part) -> Result<(), Broken> {
    let of_buyer = lots_of(set, purchase.account, unit, purchase.id);
    let others = purchase.accounts().into_iter().filter(|account| *account != purchase.account);
    let transferred: Vec<&Lot> =
        others.flat_map(|account| lots_of(set, account, unit, purchase.id)).collect();
    let own: Vec<&Lot> = of_buyer.iter().chain(&transferred).copied().collect();
    let sum = |pool: fn(&Lot) -> i64| own.iter().map(|lot| pool(lot)).sum::<i64>();
    let granted = sum(|lot| lot.granted) - sum(|lot| lot.moved);
    let (clawed, disputed) = (sum(|lot| lot.clawed), sum(|lot| lot.disputed));
    let elsewhere: i64 = part.elsewhere.iter().map(|taking| taking.amount).sum();
    let absorbed: i64 =
        part.own.iter().filter(|taking| taking.lot.is_none()).map(|taking| taking.amount).sum();
    let used: i64 = sum(|lot| lot.spent + lot.held + lot.adjusted + lot.settled)
        + transferred.iter().map(|lot| lot.remaining + lot.expired).sum::<i64>();
    let (target, missing) = (part.target, elsewhere + part.shortfall);
    let expired: i64 = of_buyer.iter().map(|lot| lot.expired).sum();
    for (holds, what) in [
        (granted == part.granted, "its lots are not what was granted"),
        (clawed + disputed + absorbed + missing == target.total, "what was taken is not the target"),
        (
            0 <= target.taken && target.taken <= target.total && target.total <= granted,
            "the target is more than was granted",
        ),
        (missing == (target.total + used - granted).max(0), "what is missing is not what was used"),
        (clawed == target.taken.min(clawed + disputed), "what is final is not what is taken for good"),
        (
            elsewhere == (target.taken - clawed - disputed - absorbed).max(0),
            "what came from elsewhere is not what had to",
        ),
        (absorbed <= expired, "more expired credits count than there are"),
        (part.own.iter().all(|taking| taking.amount > 0), "a taking took nothing"),
        (part.elsewhere.iter().all(|taking| taking.amount > 0), "a taking took nothing"),
        (part.own.is_sorted_by_key(|taking| taking.at), "takings are not oldest first"),
        (part.elsewhere.is_sorted_by_key(|taking| taking.at), "takings are not oldest first"),
    ] {
        ensure(holds, || format!("{what}: {unit} of {}: {part:?} of {own:?}", purchase.id))?;
    }
    for lot in own {
        let of_lot = part.own.iter().filter(|taking| taking.lot == Some(lot.id));
        let taken: i64 = of_lot.map(|taking| taking.amount).sum();
        ensure(taken == lot.clawed + lot.disputed, || format!("{taken} were taken of {lot:?}"))?;
    }
    Ok(())
}

fn lots_of<'a>(
    set: &'a WorkingSet,
    account: AccountNumber,
    unit: &Unit,
    purchase: PurchaseId,
) -> Vec<&'a Lot> {
    let book = set.accounts.get(&account).and_then(|account| account.books.get(unit));
    book.into_iter().flat_map(|book| book.lots_of(purchase)).collect()
}
