//! What must hold, broken in every way: each is found, and named.

use super::{eur, span, start, stripe, unit};
use crate::domain::{
    WorkingSet,
    account::{Account, AccountStatus, Book, DebtCause, Hold, Lot},
    amount::{MAX_AMOUNT, PaidMoney},
    event::{
        CreditsHeld, CreditsSpent, DebtIncurred, Draw, Event, EventBody, HoldCaptured, PurchaseClawed,
        PurchaseRestored, PurchaseSource, SuccessorLot, Target, TargetCause, TargetMove, TargetMoved,
    },
    ids::{AccountNumber, Actor, DebtId, HoldId, LotId, Position, PurchaseId, Seed, SpendId},
    invariants::{check_account, check_book, check_event, check_lot, check_part},
    purchase::{OwnTaking, Part, Purchase, TakenFrom, Taking},
};

const SEED: Seed = Seed([5; 16]);
const BUYER: AccountNumber = AccountNumber(1);
const FRIEND: AccountNumber = AccountNumber(2);

fn lot_id(position: i64) -> LotId {
    LotId::new(Position(position), 0, &SEED)
}

fn debt_id() -> DebtId {
    DebtId::new(Position(9), 0, &SEED)
}

fn hold_id() -> HoldId {
    HoldId::new(Position(8), 0, &SEED)
}

fn purchase_id() -> PurchaseId {
    PurchaseId::new(Position(3), 0, &SEED)
}

/// Ten credits, one in each pool, two to use.
fn lot() -> Lot {
    let (held, disputed, spent, expired, clawed, moved, adjusted, settled) = (1, 1, 1, 1, 1, 1, 1, 1);
    let new = Lot::new(lot_id(1), 10, 50);
    Lot { remaining: 2, held, disputed, spent, expired, clawed, moved, adjusted, settled, ..new }
}

fn hold() -> Hold {
    let draws = vec![Draw { lot: lot_id(1), amount: 1 }];
    Hold { id: hold_id(), unit: unit("credits"), draws, lapses_at: start().plus(span("1h")) }
}

fn book() -> Book {
    Book { available: 2, held: 1, disputed: 1, lots: [(lot_id(1), lot())].into(), ..Book::default() }
}

fn account(number: AccountNumber, book: Book) -> Account {
    Account {
        number,
        status: AccountStatus::Open,
        opened_at: start(),
        stripe_customer: None,
        had_trial: false,
        version: Position(1),
        books: [(unit("credits"), book)].into(),
        holds: Default::default(),
        watched: Default::default(),
    }
}

fn holder() -> Account {
    Account { holds: [(hold_id(), hold())].into(), ..account(BUYER, book()) }
}

/// What breaks something, and how that is called.
type Breaking<T> = (fn(&mut T), &'static str);

/// That a broken thing is found, and called so.
fn is_found(outcome: Result<(), String>, words: &str) {
    let found = outcome.expect_err(words);
    assert!(found.contains(words), "{words}: {found}");
}

#[test]
fn a_lot_whose_pools_do_not_make_what_was_granted_is_found() {
    assert_eq!(check_lot(&lot()), Ok(()));
    let pools: [fn(&mut Lot) -> &mut i64; 9] = [
        |lot| &mut lot.remaining,
        |lot| &mut lot.held,
        |lot| &mut lot.disputed,
        |lot| &mut lot.spent,
        |lot| &mut lot.expired,
        |lot| &mut lot.clawed,
        |lot| &mut lot.moved,
        |lot| &mut lot.adjusted,
        |lot| &mut lot.settled,
    ];
    for (number, pool) in pools.into_iter().enumerate() {
        let mut broken = lot();
        *pool(&mut broken) += 1;
        is_found(check_lot(&broken), "does not add up");
        let mut broken = lot();
        let (taken, other) = (*pool(&mut broken) + 1, pools[(number + 1) % pools.len()]);
        *pool(&mut broken) -= taken;
        *other(&mut broken) += taken;
        is_found(check_lot(&broken), "less than nothing");
    }
    for broken in
        [Lot::new(lot_id(1), 0, 50), Lot::new(lot_id(1), MAX_AMOUNT + 1, 50), Lot::new(lot_id(1), 1, 101)]
    {
        is_found(check_lot(&broken), "no such lot");
    }
    assert_eq!(check_lot(&Lot::new(lot_id(1), MAX_AMOUNT, 100)), Ok(()));
}

#[test]
fn totals_that_are_not_those_of_lots_and_debts_are_found() {
    assert_eq!(check_book(&book()), Ok(()));
    let broken: [Breaking<Book>; 6] = [
        (|book| book.available += 1, "3 are available, and 2"),
        (|book| book.held += 1, "2 are held, and 1"),
        (|book| book.disputed += 1, "2 are disputed, and 1"),
        (|book| book.debt += 1, "1 are owed, and 0"),
        (|book| book.owe(debt_id(), DebtCause::Clawback(purchase_id()), 0), "nothing is owed"),
        (|book| book.owe(debt_id(), DebtCause::Clawback(purchase_id()), MAX_AMOUNT + 1), "no amount"),
    ];
    for (act, words) in broken {
        let mut book = book();
        act(&mut book);
        is_found(check_book(&book), words);
    }
    let mut with_a_broken_lot = book();
    with_a_broken_lot.lots.insert(lot_id(2), Lot { spent: 1, ..Lot::new(lot_id(2), 5, 50) });
    is_found(check_book(&with_a_broken_lot), "does not add up");
}

#[test]
fn credits_beside_debt_and_holds_that_hold_something_else_are_found() {
    assert_eq!(check_account(&holder()), Ok(()));
    let of = |act: &dyn Fn(&mut Account)| {
        let mut account = holder();
        act(&mut account);
        check_account(&account)
    };
    let credits = unit("credits");
    let with_book = |act: fn(&mut Book)| of(&|account| act(account.books.get_mut(&credits).expect("a book")));
    let with_hold =
        |act: fn(&mut Hold)| of(&|account| act(account.holds.get_mut(&hold_id()).expect("a hold")));
    is_found(
        with_book(|book| book.owe(debt_id(), DebtCause::Clawback(purchase_id()), 4)),
        "has 2 of credits and owes 4",
    );
    is_found(with_book(|book| book.available = 7), "credits of account 1");
    is_found(with_hold(|hold| hold.draws[0].amount = 0), "holds nothing");
    is_found(with_hold(|hold| hold.draws[0].amount = 2), "open holds hold 2");
    is_found(with_hold(|hold| hold.draws[0].lot = lot_id(7)), "open holds hold 0");
    is_found(with_hold(|hold| hold.draws.push(Draw { lot: lot_id(7), amount: 1 })), "what is not there");
    is_found(with_hold(|hold| hold.unit = unit("bonus")), "open holds hold 0");
    is_found(of(&|account| account.holds.clear()), "open holds hold 0");
    let mut owes = account(BUYER, Book::default());
    owes.books.get_mut(&credits).expect("a book").owe(debt_id(), DebtCause::Clawback(purchase_id()), 4);
    assert_eq!(check_account(&owes), Ok(()), "nothing but debt");
}

/// The accounts, and what was bought.
type Sold = (WorkingSet, Part);

/// Ten credits that were bought, of which the buyer gave four to a friend. He has spent three and had one that expired. The
/// money for nine went back, that for eight for good: two were taken from the buyer, one of which is only set aside, three
/// from the friend, the expired one counts, and two of the three that are missing came from elsewhere.
fn sold() -> Sold {
    let own =
        |position, granted| Lot { purchase: Some(purchase_id()), ..Lot::new(lot_id(position), granted, 50) };
    let of_buyer = Lot { remaining: 0, moved: 4, spent: 3, expired: 1, clawed: 2, ..own(1, 10) };
    let of_friend = Lot { remaining: 0, spent: 1, clawed: 3, ..own(2, 4) };
    let mut set = WorkingSet::default();
    for (number, lot) in [(BUYER, of_buyer), (FRIEND, of_friend)] {
        set.accounts
            .insert(number, account(number, Book { lots: [(lot.id, lot)].into(), ..Book::default() }));
    }
    let at = |hours: i64| start().plus(crate::domain::time::Span::seconds(hours * 3_600));
    let taking = |lot: Option<i64>, amount, hours| OwnTaking { lot: lot.map(lot_id), amount, at: at(hours) };
    let part = Part {
        granted: 10,
        target: Target { total: 9, taken: 8 },
        own: vec![taking(Some(1), 2, 1), taking(Some(2), 3, 1), taking(None, 1, 2)],
        elsewhere: vec![Taking { from: TakenFrom::WriteOff, amount: 2, at: at(3) }],
        shortfall: 1,
    };
    (set, part)
}

/// Forty credits in every pool, of which the buyer gave fourteen to a friend, while the bank asks for most of the money: what is
/// taken for good is what was clawed before, and what others are asked for comes later.
fn sold_and_disputed() -> Sold {
    let own =
        |position, granted| Lot { purchase: Some(purchase_id()), ..Lot::new(lot_id(position), granted, 50) };
    let used = |lot: Lot| Lot { spent: 2, held: 3, adjusted: 1, settled: 2, ..lot };
    let of_buyer = Lot { remaining: 0, moved: 14, expired: 3, clawed: 9, disputed: 6, ..used(own(1, 40)) };
    let of_friend = Lot { remaining: 1, expired: 1, clawed: 3, disputed: 1, ..used(own(2, 14)) };
    let (mut set, mut part) = sold();
    for (number, lot) in [(BUYER, of_buyer), (FRIEND, of_friend)] {
        *own_lot(&mut set, number) = lot;
    }
    part.granted = 40;
    part.target = Target { total: 27, taken: 12 };
    for (taking, amount) in part.own.iter_mut().zip([15, 4, 3]) {
        taking.amount = amount;
    }
    (part.elsewhere, part.shortfall) = (Vec::new(), 5);
    (set, part)
}

fn purchase(part: &Part) -> Purchase {
    Purchase {
        id: purchase_id(),
        account: BUYER,
        source: PurchaseSource::CheckoutSession(stripe("cs_1")),
        payment: None,
        money: PaidMoney::new(1_000, 0, eur()).expect("money"),
        parts: [(unit("credits"), part.clone())].into(),
        version: Position(3),
        holders: [FRIEND].into(),
    }
}

fn check((set, part): &Sold) -> Result<(), String> {
    check_part(set, &purchase(part), &unit("credits"), part)
}

fn own_lot(set: &mut WorkingSet, account: AccountNumber) -> &mut Lot {
    let books = &mut set.accounts.get_mut(&account).expect("an account").books;
    books.values_mut().flat_map(|book| book.lots.values_mut()).next().expect("a lot")
}

#[test]
fn a_purchase_of_which_more_or_less_was_taken_than_its_target_is_found() {
    assert_eq!(check(&sold()), Ok(()));
    assert_eq!(check(&sold_and_disputed()), Ok(()));
    let broken: [Breaking<Sold>; 18] = [
        (|(_, part)| part.granted = 11, "not what was granted"),
        (|(set, _)| own_lot(set, BUYER).moved = 3, "not what was granted"),
        (|(_, part)| part.target.total = 10, "not the target"),
        (|(_, part)| part.shortfall = 0, "not the target"),
        (|(_, part)| part.elsewhere[0].amount = 3, "not the target"),
        (|(_, part)| part.own[2].amount = 2, "not the target"),
        (|(set, _)| own_lot(set, FRIEND).clawed = 2, "not the target"),
        (|(set, _)| own_lot(set, BUYER).disputed = 1, "not the target"),
        (|(_, part)| part.target.taken = -1, "more than was granted"),
        (|(_, part)| part.target.taken = 10, "more than was granted"),
        (|(set, _)| own_lot(set, BUYER).spent = 2, "not what was used"),
        (|(set, _)| own_lot(set, BUYER).held = 1, "not what was used"),
        (|(set, _)| own_lot(set, FRIEND).remaining = 1, "not what was used"),
        (|(_, part)| part.target.taken = 4, "not what is taken for good"),
        (|(_, part)| part.target.taken = 7, "not what had to"),
        (|(set, _)| own_lot(set, BUYER).expired = 0, "more expired credits"),
        (|(_, part)| part.own[1].at = start(), "not oldest first"),
        (|(_, part)| part.own.swap(0, 2), "not oldest first"),
    ];
    for (act, words) in broken {
        let mut state = sold();
        act(&mut state);
        is_found(check(&state), words);
    }
}

#[test]
fn takings_that_are_not_what_lots_lost_are_found() {
    let with = |act: fn(&mut Part)| {
        let mut state = sold();
        act(&mut state.1);
        check(&state)
    };
    let nothing = |part: &Part| Taking { amount: 0, ..part.elsewhere[0] };
    let mut state = sold();
    state.1.elsewhere.push(nothing(&state.1));
    is_found(check(&state), "took nothing");
    is_found(
        with(|part| {
            let nothing = OwnTaking { amount: 0, ..part.own[2] };
            part.own.push(nothing);
        }),
        "took nothing",
    );
    is_found(with(|part| part.own[0].amount = 1), "1 were taken");
    is_found(with(|part| part.own[0].lot = Some(lot_id(2))), "0 were taken");
    is_found(
        with(|part| {
            let half = Taking { amount: 1, ..part.elsewhere[0] };
            part.elsewhere[0].amount = 1;
            part.elsewhere.insert(0, Taking { at: half.at.plus(span("1h")), ..half });
        }),
        "not oldest first",
    );
}

#[test]
fn an_event_whose_draws_are_not_what_it_says_is_found() {
    let draw = |amount| vec![Draw { lot: lot_id(1), amount }];
    let spent = |amount, overdraft: i64| {
        let overdraft =
            Some(DebtIncurred { debt: debt_id(), amount: overdraft }).filter(|owed| owed.amount > 0);
        let spend = SpendId::new(Position(9), 0, &SEED);
        EventBody::CreditsSpent(CreditsSpent {
            spend,
            spent: amount,
            feature: None,
            quantity: None,
            draws: draw(5),
            overdraft,
        })
    };
    let held = |amount| {
        let lapses_at = start().plus(span("1h"));
        EventBody::CreditsHeld(CreditsHeld { hold: hold_id(), held: amount, draws: draw(5), lapses_at })
    };
    let captured = |amount| {
        EventBody::HoldCaptured(HoldCaptured {
            hold: hold_id(),
            captured: amount,
            draws: draw(5),
            returned: draw(3),
            excess: draw(2),
        })
    };
    for (good, broken, words) in [
        (spent(5, 0), spent(6, 0), "not what was spent"),
        (spent(7, 2), spent(5, 2), "not what was spent"),
        (held(5), held(4), "not what is held"),
        (captured(7), captured(5), "not what was captured"),
    ] {
        assert_eq!(check_event(&event(good)), Ok(()));
        is_found(check_event(&event(broken)), words);
    }
}

#[test]
fn what_is_made_by_an_event_and_called_after_another_is_found() {
    let returned = |position| TargetMove::OwnReturned {
        lot: lot_id(1),
        amount: 1,
        into: Some(SuccessorLot { lot: lot_id(position), expires_at: start(), cost: None }),
    };
    let owed = |position| TargetMove::DebtMade { debt: DebtId::new(Position(position), 0, &SEED), amount: 1 };
    let moved = |moves| TargetMoved {
        purchase: purchase_id(),
        payment: None,
        cause: TargetCause::CreditsReturned,
        before: Target::default(),
        after: Target::default(),
        moves,
    };
    let clawed = |moved| EventBody::PurchaseClawed(PurchaseClawed(moved));
    let restored = |moved| EventBody::PurchaseRestored(PurchaseRestored(moved));
    for made in [returned as fn(i64) -> TargetMove, owed] {
        for of in [clawed as fn(TargetMoved) -> EventBody, restored] {
            let body = |position| of(moved(vec![made(position)]));
            assert_eq!(check_event(&event(body(9))), Ok(()));
            is_found(check_event(&event(body(8))), "not called after the event");
        }
    }
}

fn event(body: EventBody) -> Event {
    Event {
        position: Position(9),
        command: Position(9),
        account: Some(BUYER),
        unit: Some(unit("credits")),
        amount: 0,
        balance: None,
        recorded_at: start(),
        effective_at: None,
        actor: Actor::System,
        key: None,
        note_hash: None,
        body,
    }
}
