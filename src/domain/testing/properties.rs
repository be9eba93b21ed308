//! The properties. `PROPTEST_CASES` asks for more cases than the few that run by default.

use std::collections::BTreeSet;

use proptest::{
    collection::vec, option, prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner,
};

use super::{
    golden::MOVES,
    harness::Harness,
    plans,
    steps::{ACCOUNTS, Bought, Fact, Step, WhichSession},
    summary::Summary,
};
use crate::domain::{
    event::{Event, EventBody},
    evolve,
    ids::Unit,
    payment::{DisputeStatus, RefundRefusal, RefundStatus},
    working_set::WorkingSet,
};

/// So many cases, unless the environment asks for another number.
fn cases(by_default: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { by_default };
    ProptestConfig { cases, ..config }
}

proptest! {
    #![proptest_config(cases(150))]

    /// The harness compares with the model and checks every invariant after every step.
    #[test]
    fn whatever_happens_the_code_and_the_model_tell_the_same(plan in plans::plan(40)) {
        Harness::new(0).run(&plan);
    }

}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn replaying_the_events_gives_the_live_state(plan in plans::plan(40)) {
        let mut harness = Harness::new(0);
        harness.run(&plan);
        let mut replayed = WorkingSet::default();
        for event in &harness.events {
            evolve(&mut replayed, event);
        }
        // Names are no part of the events, and which event made which hold is looked up.
        replayed.account_numbers = harness.set.account_numbers.clone();
        replayed.accounts_of_events = harness.set.accounts_of_events.clone();
        prop_assert_eq!(replayed, harness.set);
    }

    #[test]
    fn when_the_sweep_runs_changes_nothing(
        plan in plans::plan(30),
        sweeps in vec((0..ACCOUNTS, any::<bool>()), 30),
    ) {
        let (mut swept, mut unswept) = (Harness::new(1), Harness::new(2));
        for (step, (account, sweep)) in plan.iter().zip(sweeps) {
            if sweep {
                swept.step(&Step::Sweep { account });
            }
            let outcomes = (swept.step(step), unswept.step(step));
            let accepted = |outcome: &Option<Result<_, _>>| outcome.as_ref().map(Result::is_ok);
            prop_assert_eq!(accepted(&outcomes.0), accepted(&outcomes.1));
        }
        prop_assert_eq!(swept.summary(), unswept.summary());
    }

    #[test]
    fn a_fact_that_is_reported_again_changes_nothing(plan in plans::plan(30), wait in 0_i64..=7_200) {
        let mut harness = Harness::new(0);
        let mut reported = Vec::new();
        for step in &plan {
            if let (Step::Fact { .. }, Some(command)) = (step, harness.command(step)) {
                reported.extend(harness.execute(&command).is_ok().then_some(command));
            } else {
                harness.step(step);
            }
        }
        harness.step(&Step::Wait(wait));
        let before = harness.summary();
        for command in reported {
            let decision = harness.execute(&command).expect("accepted before");
            prop_assert!(decision.events.is_empty());
            prop_assert_eq!(&harness.summary(), &before);
        }
    }

    #[test]
    fn ids_come_from_the_context_alone(plan in plans::plan(20)) {
        let (mut one, mut same, mut other) = (Harness::new(1), Harness::new(1), Harness::new(2));
        one.run(&plan);
        same.run(&plan);
        other.run(&plan);
        prop_assert_eq!(&one.events, &same.events);
        prop_assert_eq!(one.summary(), other.summary());
    }
}

/// Facts about one payment, each in two orders.
fn shuffled_facts() -> impl Strategy<Value = (Vec<Fact>, Vec<Fact>)> {
    let facts = vec(plans::fact(), 1..=5).prop_map(without_ties);
    facts.prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle()))
}

/// Stripe reports one end of a refund or dispute, each state with one amount, and all in one currency: of two reports of
/// equal rank the first wins, so that their order would matter.
fn without_ties(facts: Vec<Fact>) -> Vec<Fact> {
    let rank = |fact: &Fact| match fact {
        Fact::Refund { refund, status, .. } => Some((0, *refund, status.rank())),
        Fact::Dispute { dispute, status, .. } => Some((1, *dispute, status.rank())),
        Fact::CreditNote { note, issued, .. } => Some((2, *note, u8::from(!*issued))),
        Fact::ChargeRefunded { .. } | Fact::Warning { .. } => None,
    };
    let mut kept: Vec<Fact> = Vec::new();
    for fact in facts {
        let is_tie = rank(&fact).is_some() && kept.iter().any(|known| rank(known) == rank(&fact));
        if !is_tie && !matches!(fact, Fact::Refund { foreign: true, .. }) {
            kept.push(fact);
        }
    }
    kept
}

/// A checkout session, the only one of its ledger: facts are about its payment, whether it comes before them or after.
fn buy(first: i64, second: Option<i64>) -> Step {
    Step::Buy { account: 0, bought: Bought::Totals { first, second }, again: false }
}

/// What happened around the purchase whose facts are shuffled.
fn shuffle_history() -> impl Strategy<Value = Vec<Step>> {
    let around = prop_oneof![
        (1_i64..=120).prop_map(|percent| Step::Spend { account: 0, unit: 0, percent }),
        (1_i64..=15).prop_map(|amount| Step::AdjustIn { account: 0, unit: 0, amount }),
        (1_i64..=100).prop_map(|percent| Step::AdjustOut { account: 0, unit: 0, percent }),
        (1_i64..=100).prop_map(|percent| Step::Hold { account: 0, unit: 0, percent, lapses_after: 90_000 }),
        (1_i64..=15).prop_map(|first| {
            Step::BuyElsewhere { account: 0, bought: Bought::Totals { first, second: None }, gross: 100 }
        }),
        (1_i64..=15, 1_i64..=4, any::<bool>()).prop_map(|(amount, hours, expires)| Step::Grant {
            account: 0,
            unit: 0,
            amount,
            expires: expires.then_some(hours),
            priority: 50,
        }),
        (1_i64..=7_200).prop_map(Step::Wait),
    ];
    vec(around, 0..=6)
}

fn balances(summary: &Summary) -> Vec<(String, Unit, [i64; 4])> {
    let accounts = summary.accounts.iter();
    let books = accounts.flat_map(|(id, account)| {
        account.books.iter().map(move |(unit, book)| {
            (id.clone(), unit.clone(), [book.available, book.held, book.disputed, book.debt])
        })
    });
    books.collect()
}

fn targets(summary: &Summary) -> Vec<(i64, i64)> {
    summary.purchases.iter().flat_map(|parts| parts.values().map(|part| part.target)).collect()
}

/// What happened on the way: whether targets only rose, and whether there was ever debt or something absorbed.
#[derive(Clone, Copy)]
struct Way {
    only_raised: bool,
    debt: bool,
    absorbed: bool,
}

fn report(harness: &mut Harness, facts: &[Fact]) -> Way {
    let mut way = Way { only_raised: true, debt: false, absorbed: false };
    let look = |harness: &Harness, way: &mut Way| {
        let summary = harness.summary();
        let mut books = summary.accounts.values().flat_map(|account| account.books.values());
        way.debt |= books.any(|book| book.debt > 0);
        let mut parts = summary.purchases.iter().flat_map(|parts| parts.values());
        way.absorbed |= parts.any(|part| part.absorbed > 0);
        targets(&summary)
    };
    let mut before = look(harness, &mut way);
    for fact in facts {
        harness.step(&Step::Fact { payment: 0, fact: fact.clone() });
        let after = look(harness, &mut way);
        way.only_raised &= before.iter().zip(&after).all(|(old, new)| old.0 <= new.0 && old.1 <= new.1);
        before = after;
    }
    way
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn shuffled_facts_give_the_same_targets_and_where_it_is_promised_the_same_balances(
        bought in (1_i64..=20, any::<bool>()),
        history in shuffle_history(),
        (facts, shuffled) in shuffled_facts(),
        known_before in any::<bool>(),
    ) {
        let purchase = buy(bought.0, bought.1.then_some(3));
        let run = |facts: &[Fact]| {
            let mut harness = Harness::new(0);
            if known_before {
                harness.step(&purchase);
                harness.run(&history);
            }
            let way = report(&mut harness, facts);
            if !known_before {
                harness.run(&history);
                harness.step(&purchase);
            }
            (harness.summary(), way)
        };
        let ((one, one_way), (other, other_way)) = (run(&facts), run(&shuffled));
        prop_assert_eq!(targets(&one), targets(&other));
        let both = [one_way, other_way];
        let raised = both.iter().all(|way| way.only_raised);
        let simple = !both.iter().any(|way| way.debt || way.absorbed);
        if raised || simple || !known_before {
            prop_assert_eq!(balances(&one), balances(&other));
        }
    }

    #[test]
    fn answers_to_requests_in_any_order_give_the_same_targets_and_where_it_is_promised_the_same_balances(
        price in 0_u8..=2,
        asked in vec(1_i64..=60, 1..=2),
        refused in option::of(0_u8..=1),
        history in shuffle_history(),
        (facts, shuffled) in shuffled_facts(),
    ) {
        let run = |facts: &[Fact]| {
            let mut harness = Harness::new(0);
            harness.step(&Step::Order { account: 0, price, quantity: 1 });
            harness.step(&Step::Pay { order: 0, session: WhichSession::Own, free: false, flaw: None });
            harness.run(&history);
            for cents in &asked {
                harness.step(&Step::Ask { order: 0, amount: Some(*cents) });
            }
            if let Some(request) = refused {
                harness.step(&Step::Refuse { request, reason: RefundRefusal::Refused });
            }
            let way = report(&mut harness, facts);
            (harness.summary(), way)
        };
        let ((one, one_way), (other, other_way)) = (run(&facts), run(&shuffled));
        prop_assert_eq!(targets(&one), targets(&other));
        prop_assert_eq!(&one.requests, &other.requests);
        let both = [one_way, other_way];
        let raised = both.iter().all(|way| way.only_raised);
        if raised || !both.iter().any(|way| way.debt || way.absorbed) {
            prop_assert_eq!(balances(&one), balances(&other));
        }
    }

    /// Whether it is refused by Stripe, fails or is called off: nothing of it is left.
    #[test]
    fn a_request_that_comes_to_nothing_leaves_the_buyer_as_before(
        price in 0_u8..=2,
        cents in option::of(1_i64..=100),
        history in shuffle_history(),
        on_its_way in any::<bool>(),
        ending in select(vec![None, Some(RefundStatus::Failed), Some(RefundStatus::Cancelled)]),
    ) {
        let mut harness = Harness::new(0);
        harness.step(&Step::Order { account: 0, price, quantity: 1 });
        harness.step(&Step::Pay { order: 0, session: WhichSession::Own, free: false, flaw: None });
        harness.run(&history);
        let before = harness.summary();
        harness.step(&Step::Ask { order: 0, amount: cents });
        let answer = |status| {
            let fact = Fact::Refund { refund: 0, status, amount: cents.unwrap_or(100), foreign: false, answers: true };
            Step::Fact { payment: 0, fact }
        };
        match ending {
            None => drop(harness.step(&Step::Refuse { request: 0, reason: RefundRefusal::Refused })),
            Some(ending) => {
                if on_its_way {
                    harness.step(&answer(RefundStatus::Pending));
                }
                harness.step(&answer(ending));
            }
        }
        prop_assert_eq!(Summary { requests: Vec::new(), ..harness.summary() }, before);
    }

    #[test]
    fn a_refund_in_parts_takes_what_one_refund_takes(
        bought in 1_i64..=50,
        history in shuffle_history(),
        parts in vec(1_i64..=40, 1..=4),
    ) {
        let purchase = buy(bought, None);
        let refund = |refund: usize, amount| Fact::Refund {
            refund: u8::try_from(refund).expect("few refunds"),
            status: RefundStatus::Succeeded,
            amount,
            foreign: false,
            answers: false,
        };
        let in_parts: Vec<Fact> = parts.iter().enumerate().map(|(at, cents)| refund(at, *cents)).collect();
        let at_once = [refund(9, parts.iter().sum())];
        let run = |facts: &[Fact]| {
            let mut harness = Harness::new(0);
            harness.step(&purchase);
            harness.run(&history);
            report(&mut harness, facts);
            harness.summary()
        };
        let (in_parts, at_once) = (run(&in_parts), run(&at_once));
        prop_assert_eq!(targets(&in_parts), targets(&at_once));
        prop_assert_eq!(balances(&in_parts), balances(&at_once));
    }

    #[test]
    fn a_dispute_that_is_won_leaves_the_buyer_as_before(
        bought in 1_i64..=50,
        history in shuffle_history(),
        cents in 1_i64..=120,
    ) {
        let mut harness = Harness::new(0);
        harness.step(&buy(bought, None));
        harness.run(&history);
        let before = harness.summary();
        for status in [DisputeStatus::Open, DisputeStatus::Won] {
            let fact = Fact::Dispute { dispute: 0, status, amount: cents };
            harness.step(&Step::Fact { payment: 0, fact });
        }
        prop_assert_eq!(harness.summary(), before);
    }
}

/// Credits of a purchase go from hand to hand.
fn hands() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (select(vec![(0, 1), (0, 2), (1, 2), (1, 0), (2, 1), (2, 0)]), 1_i64..=100).prop_map(
            |((from, to), percent)| Step::Transfer { from, to, unit: 0, percent }
        ),
        1 => (0_u8..=2, 1_i64..=100)
            .prop_map(|(account, percent)| Step::Spend { account, unit: 0, percent }),
        1 => (0_u8..=2, 1_i64..=100).prop_map(|(account, percent)| {
            Step::Hold { account, unit: 0, percent, lapses_after: 90_000 }
        }),
        1 => (0_u8..=2, 1_i64..=15)
            .prop_map(|(account, amount)| Step::AdjustIn { account, unit: 0, amount }),
    ];
    vec(step, 1..=8)
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn what_is_transferred_is_lost_by_nobody(
        bought in 1_i64..=50,
        hands in hands(),
        cents in 1_i64..=120,
        ending in select(vec![DisputeStatus::Won, DisputeStatus::Lost]),
    ) {
        let mut harness = Harness::new(0);
        harness.step(&buy(bought, None));
        harness.run(&hands);
        let before = harness.summary();
        let report = |harness: &mut Harness, status| {
            let fact = Fact::Dispute { dispute: 0, status, amount: cents };
            harness.step(&Step::Fact { payment: 0, fact });
        };
        report(&mut harness, DisputeStatus::Open);
        let owed = |summary: &Summary| {
            let others = summary.accounts.iter().filter(|(id, _)| *id != "account-0");
            others.flat_map(|(_, account)| account.books.values().map(|book| book.debt)).sum::<i64>()
        };
        prop_assert_eq!(owed(&harness.summary()), 0, "a recipient owes nothing");
        report(&mut harness, ending);
        if ending == DisputeStatus::Won {
            prop_assert_eq!(harness.summary(), before, "everything is where it came from");
        } else {
            prop_assert_eq!(owed(&harness.summary()), 0, "a recipient owes nothing");
        }
    }
}

/// Adds the types of a history's events and the moves in them to what was seen.
fn look_at(events: &[Event], seen: &mut BTreeSet<String>) {
    for event in events {
        seen.insert(event.body.type_name().to_owned());
        let moved = match &event.body {
            EventBody::PurchaseClawed(clawed) => &clawed.0,
            EventBody::PurchaseRestored(restored) => &restored.0,
            _ => continue,
        };
        for one in &moved.moves {
            let json = serde_json::to_value(one).expect("serialises");
            seen.insert(json["move"].as_str().expect("a name").to_owned());
            seen.extend(json.get("into").is_some().then(|| "successor".to_owned()));
        }
    }
}

/// Without this, the properties might hold because nothing happens.
#[test]
fn random_histories_come_across_every_event_and_every_move() {
    // These move no credits, and the model knows nothing of them.
    let left_out = [
        "account.changed",
        "key.created",
        "key.revoked",
        "checkout_link.created",
        "checkout_link.revoked",
        "subscription.change_requested",
        "subscription.change_settled",
        "history.lost",
        "clock.advanced",
    ];
    let types = EventBody::TYPES.iter().map(|(name, _)| *name).filter(|name| !left_out.contains(name));
    let mut unseen: BTreeSet<&str> = types.chain(MOVES).chain(["successor"]).collect();
    let mut runner = TestRunner::deterministic();
    for _ in 0..1_000 {
        let plan = plans::plan(40).new_tree(&mut runner).expect("a plan").current();
        let mut harness = Harness::new(0);
        harness.run(&plan);
        let mut seen = BTreeSet::new();
        look_at(&harness.events, &mut seen);
        unseen.retain(|name| !seen.contains(*name));
        if unseen.is_empty() {
            return;
        }
    }
    panic!("never seen: {unseen:?}");
}
