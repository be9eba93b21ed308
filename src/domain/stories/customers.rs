//! Stories of customers at Stripe.

use super::*;
use crate::domain::{
    effects::{Effect, effects_of},
    event::{CustomerLinked, LinkCause},
};

fn customer(told: &Story) -> Option<String> {
    told.account().stripe_customer.as_ref().map(StripeId::to_string)
}

fn last_link(told: &Story) -> CustomerLinked {
    let mut links = told.events.iter().rev().filter_map(|event| match &event.body {
        EventBody::CustomerLinked(body) => Some(body.clone()),
        _ => None,
    });
    links.next().expect("a link")
}

#[test]
fn an_account_keeps_the_first_customer_that_was_made_for_it() {
    let told = story(
        "link cus_1 created               => 0 [customer.linked]
         link cus_1 created               => 0 []
         link cus_2 created               => 0 []",
    );
    assert_eq!(customer(&told).as_deref(), Some("cus_1"));
    assert_eq!(effects_of(told.events.last().expect("events")), []);
}

#[test]
fn a_customer_belongs_to_one_account() {
    story(
        "link cus_1 created               => 0
         link cus_1 adopted               => 0 []
         link cus_2 adopted               => rejected AccountHasCustomer { customer: cus_1 }
         open b with cus_1                => rejected CustomerOfAnotherAccount { customer: cus_1 }
         open b with cus_2                => 0 [account.opened customer.linked]
         link cus_1 adopted               => rejected CustomerOfAnotherAccount { customer: cus_1 }
         open b with cus_2                => 0 []
         open b                           => 0 []
         open b with cus_3                => rejected AccountHasCustomer { customer: cus_2 }
         open b with cus_1                => rejected CustomerOfAnotherAccount { customer: cus_1 }",
    );
}

#[test]
fn an_account_that_is_there_takes_a_customer_over_unless_it_is_closed() {
    let told = story(
        "open a with cus_1                => 0 [customer.linked]
         close                            => 0
         open a with cus_1                => 0 []
         open a                           => 0 []
         open b                           => 0
         close                            => 0
         open b with cus_2                => rejected AccountClosed
         link cus_2 created               => 0 [customer.linked]",
    );
    assert_eq!(last_link(&told).cause, LinkCause::Created);
}

#[test]
fn a_customer_that_stripe_has_no_longer_is_nobodys() {
    let told = story(
        "link cus_1 created               => 0
         unlink cus_2                     => 0 []
         unlink cus_1                     => 0 [customer.linked]
         unlink cus_1                     => 0 []
         open b with cus_1                => 0 [account.opened customer.linked]
         account a
         link cus_2 adopted               => 0 [customer.linked]",
    );
    assert_eq!(customer(&told).as_deref(), Some("cus_2"));
}

#[test]
fn a_checkout_that_came_to_a_halt_over_its_customer_is_made_anew() {
    let told = story(
        "link cus_1 created               => 0
         order o price_pack               => 0 [order.placed]
         unlink cus_1 for o               => 0 [customer.linked]",
    );
    let (account, order) = (told.number(), told.order("o"));
    let session = Effect::CreateCheckoutSession { account, order };
    assert_eq!(
        last_link(&told),
        CustomerLinked { customer: None, cause: LinkCause::Deleted, order: Some(order) }
    );
    let effects = effects_of(told.events.last().expect("events"));
    assert_eq!(effects, [Effect::CreateCustomer { account, order: Some(order) }, session]);
}

#[test]
fn a_checkout_is_made_anew_even_if_its_customer_was_replaced_meanwhile() {
    let told = story(
        "link cus_1 created               => 0
         order o price_pack               => 0
         unlink cus_1                     => 0 [customer.linked]
         link cus_2 adopted               => 0
         unlink cus_1 for o               => 0 [customer.linked]",
    );
    let (account, order) = (told.number(), told.order("o"));
    assert_eq!(customer(&told).as_deref(), Some("cus_2"));
    let effects = effects_of(told.events.last().expect("events"));
    assert_eq!(effects, [Effect::CreateCheckoutSession { account, order }]);
}

#[test]
fn a_checkout_whose_account_lost_its_customer_meanwhile_is_made_anew() {
    let told = story(
        "link cus_1 created               => 0
         order o price_pack               => 0
         unlink cus_1                     => 0 [customer.linked]
         unlink - for o                   => 0 [customer.linked]",
    );
    let (account, order) = (told.number(), told.order("o"));
    assert_eq!(
        last_link(&told),
        CustomerLinked { customer: None, cause: LinkCause::Deleted, order: Some(order) }
    );
    let effects = effects_of(told.events.last().expect("events"));
    let session = Effect::CreateCheckoutSession { account, order };
    assert_eq!(effects, [Effect::CreateCustomer { account, order: Some(order) }, session]);
    let told = story(
        "link cus_1 created               => 0
         unlink -                         => 0 []
         order o price_pack               => 0
         unlink - for o                   => 0 [customer.linked]",
    );
    assert_eq!(customer(&told).as_deref(), Some("cus_1"));
}

#[test]
fn a_checkout_that_waits_for_nothing_is_not_made_anew() {
    let told = story(
        "link cus_1 created               => 0
         order o price_pack               => 0
         order p price_pack               => 0
         session o cs_1                   => 0
         unlink cus_1 for o               => 0 [customer.linked]
         unlink cus_1 for o               => 0 []
         fail p - refused                 => 0
         unlink cus_1 for p               => 0 []
         unlink cus_1 for unheard_of      => 0 []",
    );
    assert_eq!(last_link(&told).order, None);
    story(
        "order o price_pack               => 0
         open b                           => 0
         unlink cus_1 for o               => 0 []",
    );
}
