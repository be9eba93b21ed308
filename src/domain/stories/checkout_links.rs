//! Stories of links by which a price can be bought for an account.

use super::*;
use crate::domain::{
    event::{CheckoutLinkCreated, OrderPlaced},
    order::OrderDetails,
    working_set::Private,
};

const PAGES: &str = "https://credits.example/buy/demo/link/";

fn new_link(price: &str, quantity: i64) -> CreateCheckoutLink {
    CreateCheckoutLink {
        account: AccountId::parse("a").expect("an account"),
        price: PriceId::parse(price).expect("a price"),
        quantity: amount(quantity),
        expires_at: None,
        details: OrderDetails::default(),
        note: Note::new(),
    }
}

fn make(told: &mut Story, new: CreateCheckoutLink) -> CheckoutLinkCreated {
    let events = told.run(&Command::CreateCheckoutLink(new)).expect("a link");
    let [Event { body: EventBody::CheckoutLinkCreated(created), account, .. }] = events.as_slice() else {
        panic!("one link: {events:?}")
    };
    assert_eq!(*account, Some(told.number()));
    created.clone()
}

fn leading_to(success_url: &str) -> OrderDetails {
    OrderDetails { success_url: Some(success_url.to_owned()), ..OrderDetails::default() }
}

fn follow(told: &mut Story, link: CheckoutLinkId, details: OrderDetails) -> Result<OrderPlaced, Rejection> {
    let command = FollowCheckoutLink { link, details, own_pages: PAGES.to_owned() };
    let events = told.run(&Command::FollowCheckoutLink(command))?;
    let [Event { body: EventBody::OrderPlaced(placed), account, .. }] = events.as_slice() else {
        panic!("one order: {events:?}")
    };
    assert_eq!(*account, Some(told.number()));
    told.check_replay("follow");
    Ok(placed.clone())
}

#[test]
fn whoever_follows_a_link_orders_what_it_is_for_at_what_that_costs_then() {
    let mut told = Story::new();
    let link = make(&mut told, new_link("price_both", 2));
    assert_eq!((link.price.as_str(), link.quantity, link.expires_at), ("price_both", amount(2), None));
    let placed = follow(&mut told, link.link, OrderDetails::default()).expect("an order");
    assert_eq!((placed.price.as_str(), placed.quantity, placed.subtotal), ("price_both", 2, 800));
    let dearer = price("price_both", 500, vec![price_grant("credits", 100, 1)]);
    told.run(&Command::SetPrice(dearer.into())).expect("a price");
    let placed = follow(&mut told, link.link, OrderDetails::default()).expect("an order");
    assert_eq!((placed.subtotal, placed.sold.len()), (1_000, 1));
}

#[test]
fn a_link_is_for_what_can_be_ordered() {
    let mut told = Story::new();
    let mut refuse = |new: CreateCheckoutLink| {
        let before = told.state.clone();
        let rejection = told.run(&Command::CreateCheckoutLink(new)).expect_err("no link");
        told.state.accounts_of_events.clone_from(&before.accounts_of_events);
        assert_eq!(told.state, before, "a rejection changes nothing");
        rejection
    };
    let nobody = AccountId::parse("nobody").expect("an account");
    let unknown = PriceId::parse("price_none").expect("a price");
    assert_eq!(
        refuse(CreateCheckoutLink { account: nobody, ..new_link("price_none", 1) }),
        Rejection::AccountNotFound
    );
    assert_eq!(refuse(new_link("price_none", 10_001)), Rejection::UnknownPrice { price: unknown });
    let too_many = CreateCheckoutLink { details: leading_to("nowhere"), ..new_link("price_pack", 10_001) };
    assert!(matches!(refuse(too_many), Rejection::InvalidConfiguration { field: "quantity", .. }));
    let abroad = CreateCheckoutLink {
        details: leading_to("https://evil.example/"),
        expires_at: Some(start()),
        ..new_link("price_pack", 1)
    };
    assert!(matches!(refuse(abroad), Rejection::InvalidConfiguration { field: "success_url", .. }));
    let over = CreateCheckoutLink { expires_at: Some(start()), ..new_link("price_pack", 1) };
    assert_eq!(refuse(over), Rejection::ExpiryNotInFuture);
    told.tell("freeze");
    assert_eq!(
        told.run(&Command::CreateCheckoutLink(new_link("price_pack", 1))),
        Err(Rejection::AccountFrozen)
    );
}

#[test]
fn a_link_works_until_it_expires_or_is_revoked() {
    let mut told = Story::new();
    let until = start().plus(Span::days(1));
    let expiring = CreateCheckoutLink { expires_at: Some(until), ..new_link("price_pack", 1) };
    let link = make(&mut told, expiring).link;
    told.now = until.plus(Span::seconds(-1));
    follow(&mut told, link, OrderDetails::default()).expect("an order");
    told.now = until;
    let refused = Err(Rejection::CheckoutLinkNotFound);
    assert_eq!(follow(&mut told, link, OrderDetails::default()), refused);
    let revoke = Command::RevokeCheckoutLink(RevokeCheckoutLink { link });
    let events = told.run(&revoke).expect("revoked");
    assert_eq!(
        events.iter().map(|event| event.body.type_name()).collect::<Vec<_>>(),
        ["checkout_link.revoked"]
    );
    assert_eq!(events[0].account, Some(told.number()));
    assert_eq!(told.run(&revoke), Err(Rejection::CheckoutLinkNotFound));

    let link = make(&mut told, new_link("price_pack", 1)).link;
    told.run(&Command::RevokeCheckoutLink(RevokeCheckoutLink { link })).expect("revoked");
    assert_eq!(follow(&mut told, link, OrderDetails::default()), refused);
    let unknown = CheckoutLinkId::from_bits(7);
    assert_eq!(follow(&mut told, unknown, OrderDetails::default()), refused);
    told.check_replay("the end");
}

#[test]
fn nobody_buys_by_a_link_for_an_account_that_takes_no_requests_or_what_is_not_on_sale() {
    let mut told = Story::new();
    let link = make(&mut told, new_link("price_pack", 1)).link;
    told.tell("freeze");
    assert_eq!(follow(&mut told, link, OrderDetails::default()), Err(Rejection::AccountFrozen));
    told.tell("unfreeze");
    let gone = Price { active: false, ..price("price_pack", 500, vec![price_grant("credits", 100, 1)]) };
    told.run(&Command::SetPrice(gone.into())).expect("a price");
    let price = PriceId::parse("price_pack").expect("a price");
    assert_eq!(follow(&mut told, link, OrderDetails::default()), Err(Rejection::PriceInactive { price }));
    told.tell("close");
    assert_eq!(follow(&mut told, link, OrderDetails::default()), Err(Rejection::AccountClosed));
}

#[test]
fn orders_by_a_link_lead_back_to_allowed_hosts_and_to_its_own_pages() {
    let mut told = Story::new();
    let link = make(&mut told, new_link("price_pack", 1)).link;
    for fine in ["https://shop.example/thanks", "https://credits.example/buy/demo/link/thanks"] {
        follow(&mut told, link, leading_to(fine)).expect("an order");
    }
    for foreign in ["https://credits.example/buy/demo/other/thanks", "https://evil.example/"] {
        let refused = follow(&mut told, link, leading_to(foreign));
        assert!(matches!(refused, Err(Rejection::InvalidConfiguration { field: "success_url", .. })));
    }
}

#[test]
fn where_a_link_leads_back_to_stands_beside_its_event() {
    let told = Story::new();
    let details = leading_to("https://shop.example/alice");
    let new = CreateCheckoutLink { details: details.clone(), ..new_link("price_pack", 1) };
    let context = Context {
        now: start(),
        next_position: Position(50),
        actor: Actor::Operator,
        key: None,
        seed: Seed([3; 16]),
    };
    let decision = decide(&told.state, &Command::CreateCheckoutLink(new), &context).expect("a link");
    let [Private::Linked { link, account, details: kept }] = decision.private.as_slice() else {
        panic!("details")
    };
    assert_eq!((link.position(), *account, kept), (Position(50), told.number(), &details));
    assert!(!decision.events[0].body.to_json().expect("serialises").contains("alice"));
    let needs = Command::RevokeCheckoutLink(RevokeCheckoutLink { link: *link }).needs();
    let of_link = Needs { links: vec![*link], accounts_of_events: vec![Position(50)], ..Needs::default() };
    assert_eq!(needs, of_link);
    let follow = FollowCheckoutLink { link: *link, details, own_pages: PAGES.to_owned() };
    assert_eq!(Command::FollowCheckoutLink(follow).needs(), of_link);
    let of_account = Needs { accounts: vec![told.account.clone()], ..Needs::default() };
    assert_eq!(Command::CreateCheckoutLink(new_link("price_pack", 1)).needs(), of_account);
}
