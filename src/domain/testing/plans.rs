//! How random plans are drawn: what is asked for often, what rarely, and what in a row.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    billing::{billing_steps, renewals, rollover},
    steps::{ACCOUNTS, Bought, Fact, Flaw, NEXT_PAYMENT, Stated, StatedTerms, Step, WhichSession},
};
use crate::domain::{
    order::OrderFailure,
    payment::{DisputeStatus, RefundRefusal, RefundStatus},
    settings::ClawbackPolicy,
};

fn account() -> impl Strategy<Value = u8> {
    prop_oneof![40 => Just(0), 6 => Just(1), 2 => Just(2), 1 => Just(ACCOUNTS)]
}

/// From the account that most happens to, to another and on from there, or back.
fn transfer() -> BoxedStrategy<Step> {
    let ways = vec![(0, 1), (0, 1), (0, 2), (0, 1), (1, 0), (1, 2), (2, 0), (2, 1)];
    let rare = vec![(0, 0), (0, ACCOUNTS), (ACCOUNTS, 0)];
    (prop_oneof![30 => select(ways), 1 => select(rare)], unit(), percent())
        .prop_map(|((from, to), unit, percent)| Step::Transfer { from, to, unit, percent })
        .boxed()
}

/// What somebody does with credits that were transferred.
fn elsewhere() -> BoxedStrategy<Step> {
    let account = || 1_u8..=2;
    prop_oneof![
        3 => (account(), percent()).prop_map(|(account, percent)| Step::Spend { account, unit: 0, percent }),
        2 => (account(), percent(), select(vec![900, 7_200, 90_000])).prop_map(|(account, percent, lapses_after)| {
            Step::Hold { account, unit: 0, percent, lapses_after }
        }),
        1 => (account(), incoming())
            .prop_map(|(account, amount)| Step::AdjustIn { account, unit: 0, amount }),
        1 => account().prop_map(|account| Step::Overdraft { account, unit: 0, limit: 20 }),
    ]
    .boxed()
}

fn unit() -> impl Strategy<Value = u8> {
    prop_oneof![40 => Just(0), 5 => Just(1), 1 => Just(2)]
}

fn incoming() -> impl Strategy<Value = i64> {
    prop_oneof![1_i64..=15, 1_i64..=40]
}

fn percent() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0_i64..=100, 3 => Just(100), 1 => 100_i64..=150]
}

fn money() -> impl Strategy<Value = i64> {
    prop_oneof![2 => select(vec![10, 25, 30, 50, 100, 119, 1_000]), 1 => 1_i64..=130]
}

/// A price; the last one is not there at first.
fn price() -> impl Strategy<Value = u8> {
    prop_oneof![16 => 0_u8..=2, 1 => Just(3)]
}

fn bought() -> impl Strategy<Value = Bought> {
    let stated =
        prop_oneof![8 => Just(None), 2 => Just(Some(Stated::Rightly)), 1 => Just(Some(Stated::Wrongly))];
    prop_oneof![
        2 => (price(), 1_i64..=2, stated)
            .prop_map(|(price, quantity, stated)| Bought::Price { price, quantity, stated }),
        3 => (incoming(), option::weighted(0.2, incoming()))
            .prop_map(|(first, second)| Bought::Totals { first, second }),
    ]
}

fn wait() -> impl Strategy<Value = Step> {
    let lengths = vec![0, 1, 899, 900, 3_600, 3_600, 7_200, 14_400, 86_400, 172_800];
    prop_oneof![2 => select(lengths), 1 => 1_i64..=7_200].prop_map(Step::Wait)
}

pub fn fact() -> impl Strategy<Value = Fact> {
    use DisputeStatus::{Inquiry, Lost, Open, Won};
    use RefundStatus::{Cancelled, Failed, Pending, Succeeded};
    let refund = select(vec![Pending, Succeeded, Succeeded, Succeeded, Failed, Failed, Cancelled]);
    let dispute = select(vec![Inquiry, Open, Open, Won, Won, Lost]);
    prop_oneof![
        6 => (0_u8..=1, refund, money(), prop::bool::weighted(0.02), any::<bool>()).prop_map(
            |(refund, status, amount, foreign, answers)| Fact::Refund { refund, status, amount, foreign, answers }
        ),
        1 => money().prop_map(|amount| Fact::ChargeRefunded { amount }),
        4 => (0_u8..=1, dispute, money())
            .prop_map(|(dispute, status, amount)| Fact::Dispute { dispute, status, amount }),
        1 => (0_u8..=1).prop_map(|warning| Fact::Warning { warning }),
        2 => (0_u8..=1, prop::bool::weighted(0.7), money())
            .prop_map(|(note, issued, amount)| Fact::CreditNote { note, issued, amount }),
    ]
}

/// A report, mostly about a payment whose purchase is known.
fn facts() -> BoxedStrategy<Step> {
    let payment = prop_oneof![20 => Just(0), 10 => Just(1), 5 => Just(2), 1 => Just(NEXT_PAYMENT)];
    (payment, fact()).prop_map(|(payment, fact)| Step::Fact { payment, fact }).boxed()
}

fn settings() -> BoxedStrategy<Step> {
    (prop::bool::weighted(0.3), any::<bool>(), prop::bool::weighted(0.1), option::of(incoming()))
        .prop_map(|(lot_only, claw_on_pending, freeze_on_dispute, signup)| Step::Configure {
            policy: if lot_only { ClawbackPolicy::LotOnly } else { ClawbackPolicy::Debt },
            claw_on_pending,
            freeze_on_dispute,
            signup,
        })
        .boxed()
}

fn catalogue() -> impl Strategy<Value = Step> {
    let stated = || {
        prop_oneof![
            3 => Just(StatedTerms::Nothing),
            1 => incoming().prop_map(StatedTerms::Credits),
            6 => incoming().prop_map(StatedTerms::CreditsOfUnit),
            1 => Just(StatedTerms::Expiry),
            1 => rollover().prop_map(StatedTerms::Rollover),
        ]
    };
    let price = || 0_u8..=3;
    prop_oneof![
        2 => (price(), option::of(any::<bool>()), option::of(incoming()), option::of(rollover())).prop_map(
            |(price, active, credits, rollover)| Step::SetPrice { price, active, credits, rollover }
        ),
        4 => (price(), 0_u8..=4, any::<bool>(), stated(), any::<bool>()).prop_map(
            |(price, moment, active, stated, looked)| Step::SyncPrice { price, moment, active, stated, looked }
        ),
        2 => (0_u8..=1, 0_u8..=4, any::<bool>(), prop::bool::weighted(0.05), stated()).prop_map(
            |(product, moment, active, deleted, stated)| {
                Step::SyncProduct { product, moment, active, deleted, stated }
            }
        ),
    ]
}

/// What is rare, and ends much.
fn rare_steps() -> BoxedStrategy<Step> {
    prop_oneof![
        1 => account().prop_map(|account| Step::Open { account }),
        3 => account().prop_map(|account| Step::Freeze { account }),
        6 => account().prop_map(|account| Step::Unfreeze { account }),
        1 => account().prop_map(|account| Step::Close { account }),
        2 => (account(), bought()).prop_map(|(account, bought)| Step::FreeSession { account, bought }),
        4 => (account(), bought(), select(vec![0, 100, 1_000]))
            .prop_map(|(account, bought, gross)| Step::BuyElsewhere { account, bought, gross }),
        6 => (0_u8..=3, option::of(money())).prop_map(|(purchase, amount)| Step::Refund { purchase, amount }),
        2 => (account(), 0_u8..=3, 1_i64..=3)
            .prop_map(|(account, feature, quantity)| Step::SpendOnFeature { account, feature, quantity }),
        10 => (account(), unit(), select(vec![0, 5, 20, 50]))
            .prop_map(|(account, unit, limit)| Step::Overdraft { account, unit, limit }),
        12 => settings(),
        3 => account().prop_map(|account| Step::Sweep { account }),
    ]
    .boxed()
}

/// What fills an account, and empties it.
fn credit_steps() -> BoxedStrategy<Step> {
    let expires = option::weighted(0.6, prop_oneof![1 => Just(0), 20 => 1_i64..=6, 4 => 1_i64..=48]);
    let grant = (account(), unit(), incoming(), expires, select(vec![0_u8, 50, 50, 90]));
    let lapses_after =
        prop_oneof![1 => select(vec![0, 604_801]), 20 => select(vec![1, 900, 900, 7_200, 90_000])];
    let hold = || prop_oneof![8 => 0_u8..=1, 1 => 0_u8..=6];
    prop_oneof![
        3 => grant.prop_map(|(account, unit, amount, expires, priority)| {
            Step::Grant { account, unit, amount, expires, priority }
        }),
        4 => (account(), unit(), percent())
            .prop_map(|(account, unit, percent)| Step::Spend { account, unit, percent }),
        5 => (account(), unit(), percent(), lapses_after).prop_map(
            |(account, unit, percent, lapses_after)| Step::Hold { account, unit, percent, lapses_after }
        ),
        2 => (hold(), percent(), prop::bool::weighted(0.8))
            .prop_map(|(hold, percent, allow_excess)| Step::Capture { hold, percent, allow_excess }),
        2 => hold().prop_map(|hold| Step::Release { hold }),
        1 => (account(), unit(), incoming())
            .prop_map(|(account, unit, amount)| Step::AdjustIn { account, unit, amount }),
        1 => (account(), unit(), percent())
            .prop_map(|(account, unit, percent)| Step::AdjustOut { account, unit, percent }),
    ]
    .boxed()
}

fn purchases() -> BoxedStrategy<Step> {
    (account(), bought(), prop::bool::weighted(0.02))
        .prop_map(|(account, bought, again)| Step::Buy { account, bought, again })
        .boxed()
}

fn which_session() -> impl Strategy<Value = WhichSession> {
    prop_oneof![6 => Just(WhichSession::Own), 1 => Just(WhichSession::Another), 1 => Just(WhichSession::None)]
}

fn order() -> impl Strategy<Value = u8> {
    prop_oneof![12 => Just(0), 4 => Just(1), 2 => Just(2), 1 => Just(u8::MAX)]
}

/// Customers come and go.
fn customer_steps() -> BoxedStrategy<Step> {
    prop_oneof![
        1 => (account(), 0_u8..=2).prop_map(|(account, customer)| Step::OpenWith { account, customer }),
        3 => (account(), 0_u8..=2, any::<bool>())
            .prop_map(|(account, customer, adopted)| Step::Link { account, customer, adopted }),
        2 => (account(), option::weighted(0.8, 0_u8..=2), option::of(order()))
            .prop_map(|(account, customer, order)| Step::Unlink { account, customer, order }),
    ]
    .boxed()
}

/// Checkouts begin and end.
fn order_steps() -> BoxedStrategy<Step> {
    use Flaw::{Account, Credits, Currency, Price, Quantity, Subtotal};
    let failures = select(vec![OrderFailure::PaymentFailed, OrderFailure::Refused, OrderFailure::GivenUp]);
    let flaw = option::weighted(0.15, select(vec![Account, Price, Quantity, Credits, Currency, Subtotal]));
    let quantity = prop_oneof![20 => 1_i64..=2, 1 => 10_000_i64..=10_001];
    prop_oneof![
        4 => (account(), price(), quantity)
            .prop_map(|(account, price, quantity)| Step::Order { account, price, quantity }),
        3 => order().prop_map(|order| Step::Session { order }),
        2 => (order(), which_session(), option::of(failures))
            .prop_map(|(order, session, failure)| Step::End { order, session, failure }),
        6 => (order(), which_session(), prop::bool::weighted(0.1), flaw)
            .prop_map(|(order, session, free, flaw)| Step::Pay { order, session, free, flaw }),
    ]
    .boxed()
}

/// Refunds are asked for, and nothing comes of some.
fn request_steps() -> BoxedStrategy<Step> {
    use RefundRefusal::{AlreadyRefunded, Disputed, GivenUp, InsufficientFunds, Refused};
    let reasons = select(vec![AlreadyRefunded, Disputed, GivenUp, InsufficientFunds, Refused]);
    let request = prop_oneof![6 => Just(0), 3 => 1_u8..=2, 1 => Just(u8::MAX)];
    prop_oneof![
        4 => (order(), option::weighted(0.7, money())).prop_map(|(order, amount)| Step::Ask { order, amount }),
        1 => (request, reasons).prop_map(|(request, reason)| Step::Refuse { request, reason }),
    ]
    .boxed()
}

/// An order that is paid, so that a refund of it can be asked for.
fn sale() -> BoxedStrategy<Vec<Step>> {
    (account(), 0_u8..=2, 1_i64..=2, any::<bool>())
        .prop_map(|(account, price, quantity, has_session)| {
            let order = Step::Order { account, price, quantity };
            let session = has_session.then_some(Step::Session { order: 0 });
            let pay = Step::Pay { order: 0, session: WhichSession::Own, free: false, flaw: None };
            std::iter::once(order).chain(session).chain([pay]).collect()
        })
        .boxed()
}

/// A refund or dispute of the last payment that comes to nothing in the end, and what happens meanwhile.
fn there_and_back() -> BoxedStrategy<Vec<Step>> {
    let report = |fact| Step::Fact { payment: 0, fact };
    let refund = (0_u8..=1, money()).prop_map(|(refund, amount)| {
        [RefundStatus::Succeeded, RefundStatus::Failed].map(|status| Fact::Refund {
            refund,
            status,
            amount,
            foreign: false,
            answers: false,
        })
    });
    let dispute = (0_u8..=1, money()).prop_map(|(dispute, amount)| {
        [DisputeStatus::Open, DisputeStatus::Won].map(|status| Fact::Dispute { dispute, status, amount })
    });
    let meanwhile =
        prop_oneof![2 => credit_steps(), 1 => facts(), 1 => wait(), 1 => transfer(), 1 => elsewhere()];
    let note = (0_u8..=1, money())
        .prop_map(|(note, amount)| [true, false].map(|issued| Fact::CreditNote { note, issued, amount }));
    let facts = prop_oneof![2 => refund, 1 => dispute, 1 => note];
    (facts, vec(meanwhile, 0..=3), option::of(wait()))
        .prop_map(move |([there, back], meanwhile, wait)| {
            let there = std::iter::once(report(there));
            there.chain(meanwhile).chain(wait).chain([report(back)]).collect()
        })
        .boxed()
}

/// A whole history. What it is chosen from is boxed, each by itself: all of it at once does not fit a stack.
pub fn plan(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => wait(),
        3 => rare_steps(),
        1 => catalogue(),
        8 => credit_steps(),
        2 => purchases(),
        8 => facts(),
        1 => customer_steps(),
        3 => order_steps(),
        3 => request_steps(),
        3 => transfer(),
        2 => elsewhere(),
        3 => billing_steps().prop_map(Step::Billing),
    ];
    let renewed = renewals().prop_map(|steps| steps.into_iter().map(Step::Billing).collect());
    let steps =
        prop_oneof![16 => step.prop_map(|step| vec![step]), 1 => there_and_back(), 1 => sale(), 1 => renewed];
    let begin = prop_oneof![purchases().prop_map(|step| vec![step]), sale()];
    (begin, vec(steps, longest / 4..longest)).prop_map(|(begin, steps)| {
        let mut plan = begin;
        plan.extend(steps.into_iter().flatten());
        plan
    })
}
