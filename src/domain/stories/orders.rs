//! Stories of checkouts: placed, paid, expired, failed.

use super::*;
use crate::domain::{
    effects::{Effect, effects_of},
    event::{OrderPaid, OrderPlaced},
    order::{Order, OrderFailure, OrderStatus},
    sale::Sale,
    working_set::Private,
};

fn order(told: &Story, name: &str) -> Order {
    told.state.orders[&told.order(name)].clone()
}

fn placed(told: &Story) -> OrderPlaced {
    let mut placed = told.events.iter().rev().filter_map(|event| match &event.body {
        EventBody::OrderPlaced(body) => Some(body.clone()),
        _ => None,
    });
    placed.next().expect("an order")
}

fn paid(told: &Story) -> Vec<OrderPaid> {
    let paid = told.events.iter().filter_map(|event| match &event.body {
        EventBody::OrderPaid(body) => Some(body.clone()),
        _ => None,
    });
    paid.collect()
}

#[test]
fn an_order_remembers_what_was_sold() {
    let told = story(
        "at 1d
         order o price_both x 3           => 0 [order.placed]",
    );
    let placed = placed(&told);
    assert_eq!((placed.quantity, placed.subtotal, placed.currency), (3, 1_200, eur()));
    let sold = |name: &str, credits, share| crate::domain::order::SoldCredits {
        unit: unit(name),
        amount: amount(credits),
        expires_days: None,
        priority: 50,
        share,
    };
    assert_eq!(placed.sold, [sold("credits", 300, 3), sold("bonus", 30, 1)]);
    let order = order(&told, "o");
    assert_eq!(
        (order.status, order.account, order.placed_at),
        (OrderStatus::Placed, told.number(), told.now)
    );
    assert_eq!((order.price.as_str(), order.sold), ("price_both", placed.sold));
    assert_eq!(order.id.position(), told.events.last().expect("events").position);
}

#[test]
fn an_order_is_of_what_its_price_sells_until_that_is_something_else() {
    let told = story("order o price_both x 3 => 0 [order.placed]");
    let (order, price) = (order(&told, "o"), &told.state.catalogue.prices[&placed(&told).price]);
    let sells_it = |price: &Price, quantity| {
        Sale::of(price, amount(quantity), None).expect("what can be sold").is_of(&order)
    };
    assert!(sells_it(price, 3));
    assert!(!sells_it(price, 2));
    let dearer = Price { money: price.money + 1, ..price.clone() };
    let other = Price { grants: vec![price_grant("credits", 100, 3)], ..price.clone() };
    for changed in [dearer, other] {
        assert!(!sells_it(&changed, 3), "{changed:?}");
    }
}

#[test]
fn an_order_asks_for_a_customer_only_if_there_is_none() {
    let told = story("order o price_pack => 0 [order.placed]");
    let (account, order) = (told.number(), told.order("o"));
    let session = Effect::CreateCheckoutSession { account, order };
    let effects = effects_of(told.events.last().expect("events"));
    assert_eq!(effects, [Effect::CreateCustomer { account, order: Some(order) }, session]);

    let told = story("link cus_1 created => 0\n order o price_pack => 0");
    assert_eq!(placed(&told).customer, Some(stripe("cus_1")));
    let (account, order) = (told.number(), told.order("o"));
    let effects = effects_of(told.events.last().expect("events"));
    assert_eq!(effects, [Effect::CreateCheckoutSession { account, order }]);
}

#[test]
fn what_the_checkout_needs_to_know_is_kept_beside_the_events() {
    let mut told = story("order o price_pack => 0");
    let place = told.checkout_command("order", &mut Words("p price_pack".split_whitespace().peekable()));
    let decision = super::accounts::decide_once(&told, &place).expect("accepted");
    let [Private::Ordered { order, account, details }] = &decision.private[..] else {
        panic!("{decision:?}")
    };
    assert_eq!((*account, details.locale.as_deref()), (told.number(), Some("de")));
    assert_eq!(order.position(), decision.events[0].position);
    let session = told.checkout_command("session", &mut Words("o cs_1".split_whitespace().peekable()));
    let decision = super::accounts::decide_once(&told, &session).expect("accepted");
    let [Private::Session { order, account, url }] = &decision.private[..] else { panic!("{decision:?}") };
    assert_eq!((*order, *account), (told.order("o"), told.number()));
    assert_eq!(url, "https://pay.example/cs_1");
}

#[test]
fn an_order_is_checked_in_order() {
    let mut told = story(
        "account nobody
         order o price_unheard_of x 10001 => rejected AccountNotFound
         account a
         freeze                           => 0
         order o price_unheard_of x 10001 => rejected AccountFrozen
         close                            => 0
         order o price_unheard_of x 10001 => rejected AccountClosed
         open b                           => 0
         order o price_unheard_of x 10001 => rejected UnknownPrice { price: price_unheard_of }
         order o price_pack x 10001       => rejected InvalidConfiguration { field: \"quantity\", problem: \"must be
         order o price_pack x 10000       => 0 [order.placed]",
    );
    let retired = Price { active: false, ..price("price_old", 1, vec![price_grant("credits", 1, 1)]) };
    told.run(&Command::SetPrice(retired.into())).expect("a valid price");
    told.tell("order p price_old x 10001 => rejected PriceInactive { price: price_old }");
    told.run(&super::prices::told_of_plan("price_plan")).expect("a valid price");
    told.tell("order p price_plan x 10001 => rejected InvalidConfiguration { field: \"quantity\"");
    told.tell("order p price_pack trial 7 => rejected InvalidConfiguration { field: \"trial_days\", problem: \"is for");
    told.tell("order p price_plan trial 731 => rejected InvalidConfiguration { field: \"trial_days\", problem: \"must be");
    told.tell("order p price_plan trial 730 => 0 [order.placed]");
    let trial = crate::domain::order::OrderedSubscription { trial_days: Some(730) };
    assert_eq!((placed(&told).subscription, order(&told, "p").subscription), (Some(trial), Some(trial)));
    let largest = crate::domain::amount::MAX_AMOUNT;
    for (id, money, credits) in
        [("price_dear", largest, 1), ("price_much", 1, largest), ("price_half", largest / 2, largest / 2)]
    {
        let price = price(id, money, vec![price_grant("credits", credits, 1)]);
        told.run(&Command::SetPrice(price.into())).expect("a valid price");
    }
    told.tell("order p price_dear x 2 => rejected InvalidConfiguration { field: \"quantity\", problem: \"is so much");
    told.tell("order p price_much x 2 => rejected AmountTooLarge { unit: credits }");
    told.tell("order p price_half x 2 => 0 [order.placed]");
    told.tell("order p price_dear => 0 [order.placed]");
}

#[test]
fn a_paid_order_grants_what_was_sold_whatever_the_price_grants_now() {
    let mut told =
        story("order o price_monthly x 2 => 0 [order.placed]\n session o cs_1 => 0 [order.session_created]");
    let order_before = order(&told, "o");
    assert_eq!(order_before.session_expires_at, Some(told.now.plus(Span::days(1))));
    let other = Price { active: false, ..price("price_monthly", 7, vec![price_grant("bonus", 1, 1)]) };
    told.run(&Command::SetPrice(other.into())).expect("a valid price");
    told.tell("at 2d");
    told.tell("pay o pi_1 for 590 tax 90 at cs_1 => 200 [credits.purchased order.paid]");
    let lot = told.book().lots.values().next().cloned().expect("a lot");
    assert_eq!((lot.expires_at, lot.priority, lot.cost), (Some(start().plus(Span::days(32))), 20, Some(500)));
    let order = order(&told, "o");
    assert_eq!((order.status, order.session.clone()), (OrderStatus::Paid, Some(stripe("cs_1"))));
    assert_eq!(order.paid_sessions, [stripe("cs_1")]);
    let [paid] = &paid(&told)[..] else { panic!("paid once") };
    assert_eq!(Some(&paid.purchase.expect("a purchase")), order.purchases.first());
    assert!(!paid.again);
    let bought = told.events.iter().find_map(|event| match &event.body {
        EventBody::CreditsPurchased(body) => Some((body.price.clone(), body.quantity)),
        _ => None,
    });
    assert_eq!(bought, Some((PriceId::parse("price_monthly").ok(), Some(2))));
}

#[test]
fn two_units_of_an_order_share_its_money() {
    let told = story(
        "order o price_both x 2                   => 0
         pay o pi_1 for 801 tax 1                 => 200 [credits.purchased credits.purchased order.paid]
         unit bonus
         spend 20                                 => 0",
    );
    let costs = told.account().books.values().flat_map(|book| book.lots.values()).map(|lot| lot.cost);
    assert_eq!(costs.collect::<Vec<_>>(), [Some(200), Some(600)]);
}

#[test]
fn what_was_paid_has_to_be_what_was_ordered() {
    story(
        "order o price_pack x 2                           => 0
         open b                                           => 0
         pay unheard_of pi_1 for 1000                     => rejected OrderNotFound
         pay o pi_1 for 1000 by b                         => rejected OrderContradicts
         account a
         pay o pi_1 for 1000 as price_both x 2            => rejected OrderContradicts
         pay o pi_1 for 1000 as price_pack x 1            => rejected OrderContradicts
         pay o pi_1 for 1000 credits 100                  => rejected OrderContradicts
         pay o pi_1 for 1000 in usd                       => rejected OrderContradicts
         pay o pi_1 for 1000 of 999                       => rejected OrderContradicts
         pay o pi_1 for 900 of 1000 as price_pack x 2 credits 200 => 200 [credits.purchased order.paid]",
    );
}

#[test]
fn what_differs_is_named_the_first_thing_first() {
    let mut told = story("order o price_pack => 0\n open b => 0");
    for (payment, what) in [
        (
            "pay o pi_1 for 5 of 5 as price_both x 2 credits 7 in usd by b",
            "it was ordered for another account",
        ),
        ("pay o pi_1 for 5 of 5 as price_both x 2 credits 7 in usd by a", "the price is another one"),
        ("pay o pi_1 for 5 of 5 as price_pack x 2 credits 7 in usd by a", "the quantity is another one"),
        ("pay o pi_1 for 5 of 5 as price_pack credits 7 in usd by a", "its credits are not what was sold"),
        ("pay o pi_1 for 5 of 5 as price_pack credits 100 in usd by a", "the currency is another one"),
        ("pay o pi_1 for 5 of 5 as price_pack credits 100 by a", "the subtotal is another one"),
    ] {
        let mut words = Words(payment.split_whitespace().peekable());
        words.next();
        let command = told.checkout_command("pay", &mut words);
        let order = told.order("o");
        assert_eq!(told.run(&command), Err(Rejection::OrderContradicts { order, what }));
    }
}

#[test]
fn money_is_recorded_whatever_became_of_account_and_order() {
    story(
        "order o price_pack               => 0
         freeze                           => 0
         pay o pi_1 for 500               => 100 [credits.purchased order.paid]
         open b                           => 0
         order p price_pack               => 0
         close                            => 0
         session p cs_9                   => 0 [order.session_created]
         pay p pi_2 for 500 at cs_9       => 100 [credits.purchased order.paid]",
    );
    story(
        "order o price_pack               => 0
         erase
         account erased:7
         pay o pi_1 for 500 by a          => 100 [credits.purchased order.paid]",
    );
}

#[test]
fn an_order_without_anything_to_pay_is_paid_all_the_same() {
    let told = story(
        "order o price_pack               => 0
         pay o free for 0 of 500          => 100 [credits.granted order.paid]",
    );
    assert_eq!(order(&told, "o").status, OrderStatus::Paid);
    assert!(order(&told, "o").purchases.is_empty());
    assert_eq!(paid(&told)[0].purchase, None);
}

#[test]
fn an_order_that_is_paid_twice_is_two_purchases() {
    let told = story(
        "order o price_pack               => 0
         session o cs_1                   => 0
         pay o pi_1 for 500 at cs_1       => 100
         pay o pi_2 for 500 at cs_2       => 200 [credits.purchased order.paid]
         pay o free of 500 at cs_3        => 300 [credits.granted order.paid]",
    );
    let order = order(&told, "o");
    assert_eq!(order.session, Some(stripe("cs_1")));
    assert_eq!(order.paid_sessions, [stripe("cs_1"), stripe("cs_2"), stripe("cs_3")]);
    assert_eq!(order.purchases.len(), 2);
    assert_eq!(paid(&told).iter().map(|paid| paid.again).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn paid_absorbs_every_other_state() {
    for ending in ["expire o cs_1", "fail o cs_1 payment_failed", "fail o - given_up"] {
        let told = story(&format!(
            "order o price_pack               => 0
             {ending}
             pay o pi_1 for 500 at cs_1       => 100 [credits.purchased order.paid]
             {ending}                         => 100 []"
        ));
        let order = order(&told, "o");
        assert_eq!((order.status, order.failure), (OrderStatus::Paid, None));
        assert_eq!(order.session, Some(stripe("cs_1")));
    }
}

#[test]
fn an_order_ends_once() {
    let told = story(
        "order o price_pack               => 0
         session o cs_1                   => 0
         fail o cs_1 payment_failed       => 0 [order.failed]
         fail o cs_1 payment_failed       => 0 []
         expire o cs_1                    => 0 []
         order p price_pack               => 0
         expire p cs_2                    => 0 [order.expired]
         fail p cs_2 payment_failed       => 0 []
         expire unheard_of cs_2           => rejected OrderNotFound",
    );
    assert_eq!(order(&told, "o").failure, Some(OrderFailure::PaymentFailed));
    assert_eq!(
        (order(&told, "o").status, order(&told, "p").status),
        (OrderStatus::Failed, OrderStatus::Expired)
    );
}

#[test]
fn only_an_orders_own_session_ends_it() {
    let told = story(
        "order o price_pack               => 0
         session o cs_1                   => 0 [order.session_created]
         expire o cs_2                    => 0 []
         fail o - given_up                => 0 []
         expire o cs_1                    => 0 [order.expired]",
    );
    assert_eq!(order(&told, "o").session, Some(stripe("cs_1")));
}

#[test]
fn an_order_has_one_session() {
    let told = story(
        "order o price_pack               => 0
         session o cs_1                   => 0 [order.session_created]
         session o cs_1                   => 0 []
         session o cs_2                   => 0 []
         session unheard_of cs_1          => rejected OrderNotFound",
    );
    assert_eq!(order(&told, "o").session, Some(stripe("cs_1")));
}

#[test]
fn what_stripe_tells_of_a_session_may_come_before_we_know_that_it_is_there() {
    let told = story(
        "order o price_pack               => 0
         expire o cs_1                    => 0 [order.expired]
         session o cs_1                   => 0 []
         order p price_pack               => 0
         pay p pi_1 for 500 at cs_2       => 100
         session p cs_2                   => 100 []",
    );
    assert_eq!(order(&told, "o").status, OrderStatus::Expired);
    assert_eq!(order(&told, "p").status, OrderStatus::Paid);
}

#[test]
fn an_order_that_was_given_up_can_be_paid_if_its_session_was_made_after_all() {
    let told = story(
        "order o price_pack               => 0
         fail o - given_up                => 0 [order.failed]
         session o cs_1                   => 0 [order.session_created]",
    );
    let order = order(&told, "o");
    assert_eq!((order.status, order.failure), (OrderStatus::Placed, None));
    assert_eq!(order.session, Some(stripe("cs_1")));
}
