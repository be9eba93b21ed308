//! Stories of prices: what the operator says, what Stripe says, and what counts.

use super::*;
use crate::domain::{
    catalogue::{MoneyOfPrice, PriceFinding, PriceSettings},
    command::{Heard, SetPrice, SyncPrice, SyncProduct},
    event::PriceSet,
    listing::{Interval, Listing, Moments, Period, PriceMode, ProductListing, Terms},
    settings::Rollover,
};

fn price_id(id: &str) -> PriceId {
    PriceId::parse(id).expect("a price")
}

fn at(second: i64) -> Timestamp {
    start().plus(Span::seconds(second))
}

fn money(amount: i64) -> MoneyOfPrice {
    MoneyOfPrice { amount, currency: eur() }
}

fn of_credits(credits: i64) -> Terms {
    Terms { credits: Some(amount(credits)), unit: Some(unit("credits")), ..Terms::default() }
}

/// A price of `prod_1` at 5 euros, as it was so many seconds after the story began.
fn listing(second: i64, terms: Terms) -> Listing {
    Listing {
        as_of: at(second),
        product: stripe("prod_1"),
        nickname: None,
        money: Some(money(500)),
        active: true,
        deleted: false,
        mode: PriceMode::OneTime,
        terms,
        product_listing: None,
    }
}

fn product(second: i64, name: &str, terms: Terms) -> ProductListing {
    ProductListing { as_of: at(second), name: Some(name.to_owned()), active: true, deleted: false, terms }
}

fn told(listing: Listing) -> Command {
    Command::SyncPrice(SyncPrice { price: price_id("price_1"), listing, heard: Heard::Told })
}

/// Stripe tells of a price that is paid each month.
pub(super) fn told_of_plan(price: &str) -> Command {
    let mode = PriceMode::Recurring(Period { count: 1, interval: Interval::Month });
    let listing = Listing { mode, ..listing(1, of_credits(100)) };
    Command::SyncPrice(SyncPrice { price: price_id(price), listing, heard: Heard::Told })
}

/// Stripe tells of a price that is paid once.
pub(super) fn told_of_pack(price: &str) -> Command {
    let listing = listing(1, of_credits(100));
    Command::SyncPrice(SyncPrice { price: price_id(price), listing, heard: Heard::Told })
}

fn looked(listing: Listing) -> Command {
    let heard = Heard::Looked { before: None };
    Command::SyncPrice(SyncPrice { price: price_id("price_1"), listing, heard })
}

fn told_of_product(listing: ProductListing) -> Command {
    Command::SyncProduct(SyncProduct { product: stripe("prod_1"), listing })
}

fn say(settings: PriceSettings) -> Command {
    Command::SetPrice(SetPrice { price: price_id("price_1"), settings })
}

impl Story {
    /// How many events the command led to.
    fn events_of(&mut self, command: Command) -> usize {
        self.run(&command).unwrap_or_else(|rejection| panic!("{rejection}: {command:?}")).len()
    }

    fn price_1(&self) -> &Price {
        &self.state.catalogue.prices[&price_id("price_1")]
    }
}

#[test]
fn what_stripe_says_of_a_price_is_taken_in() {
    let mut story = Story::new();
    let terms = Terms { expires_days: Some(90), priority: Some(7), ..of_credits(100) };
    let monthly = PriceMode::Recurring(Period { count: 1, interval: Interval::Month });
    let listing = Listing {
        mode: monthly,
        product_listing: Some(product(0, "Pro", Terms::default())),
        ..listing(1, terms)
    };
    assert_eq!(story.events_of(told(listing.clone())), 1);
    let price = story.price_1();
    assert_eq!((price.display_name.as_str(), price.display_order, price.active), ("Pro", 0, true));
    assert_eq!((price.money, price.currency, price.mode()), (500, eur(), monthly));
    assert_eq!(price.product(), Some(&stripe("prod_1")));
    let grant = PriceGrant { expires_days: Some(90), priority: 7, ..price_grant("credits", 100, 1) };
    assert_eq!(price.grants, [grant]);
    assert_eq!(price.findings(), []);
    // Again, however it is heard of.
    assert_eq!(story.events_of(told(listing.clone())), 0);
    assert_eq!(story.events_of(looked(Listing { as_of: at(9), ..listing })), 0);
}

#[test]
fn a_price_that_says_nothing_of_credits_is_none_of_ours() {
    let mut story = Story::new();
    let refused = Err(Rejection::PriceGrantsNothing { price: price_id("price_1") });
    assert_eq!(story.run(&told(listing(1, Terms::default()))), refused);
    // Neither an expiry nor a unit alone promises anything.
    let idle = Terms { credits: None, expires_days: Some(1), ..of_credits(1) };
    assert_eq!(story.run(&told(listing(2, idle))), refused);
    assert_eq!(story.events_of(told_of_product(product(3, "Other", of_credits(5)))), 0);
}

#[test]
fn metadata_of_the_price_counts_before_that_of_its_product_key_by_key() {
    let mut story = Story::new();
    let of_product = Terms { expires_days: Some(30), priority: Some(3), ..of_credits(10) };
    let both =
        |terms| Listing { product_listing: Some(product(0, "Pro", of_product.clone())), ..listing(1, terms) };
    let granted = |terms| {
        let mut story = Story::new();
        story.events_of(told(both(terms)));
        story.price_1().grants.clone()
    };
    let from_product = PriceGrant { expires_days: Some(30), priority: 3, ..price_grant("credits", 10, 1) };
    assert_eq!(granted(Terms::default()), std::slice::from_ref(&from_product));
    let credits_alone = Terms { credits: Some(amount(500)), ..Terms::default() };
    assert_eq!(granted(credits_alone), [PriceGrant { amount: amount(500), ..from_product.clone() }]);
    let days_alone = Terms { expires_days: Some(1), ..Terms::default() };
    assert_eq!(granted(days_alone), [PriceGrant { expires_days: Some(1), ..from_product.clone() }]);
    let several = vec![price_grant("credits", 5, 3), price_grant("bonus", 1, 1)];
    let stated = Terms { grants: Some(several.clone()), ..Terms::default() };
    assert_eq!(granted(stated), several);
    // Without a unit, and with several in the ledger, nothing is guessed.
    let unstated = Terms { credits: Some(amount(5)), ..Terms::default() };
    let refused = Err(Rejection::PriceWithoutUnit { price: price_id("price_1") });
    assert_eq!(story.run(&told(listing(1, unstated))), refused);
}

#[test]
fn what_stripe_states_is_held_to_the_rules_of_prices() {
    let mut story = Story::new();
    let mut refuse = |terms| story.run(&told(listing(1, terms))).expect_err("against the rules");
    let gold = Terms { unit: Some(unit("gold")), ..of_credits(1) };
    assert_eq!(refuse(gold), Rejection::UnknownUnit { unit: unit("gold") });
    let twice = vec![price_grant("credits", 1, 1), price_grant("credits", 2, 1)];
    let of_grants = |grants| Terms { grants: Some(grants), ..Terms::default() };
    for terms in [of_grants(twice), of_grants(Vec::new()), Terms { priority: Some(101), ..of_credits(1) }] {
        assert!(matches!(refuse(terms), Rejection::InvalidConfiguration { .. }));
    }
    let tiered = Listing { money: None, ..listing(1, of_credits(1)) };
    let refused = story.run(&told(tiered)).expect_err("costs nothing that could be shown");
    assert!(matches!(refused, Rejection::InvalidConfiguration { field: "money", .. }));
}

#[test]
fn the_newest_state_counts_in_whatever_order_states_arrive() {
    let states = [
        told(Listing { nickname: Some("first".to_owned()), ..listing(1, of_credits(100)) }),
        told(Listing { active: false, ..listing(2, of_credits(100)) }),
        told(listing(3, of_credits(200))),
        told_of_product(product(1, "Old", Terms::default())),
        told_of_product(ProductListing { active: false, ..product(2, "Older", Terms::default()) }),
        told_of_product(product(3, "New", Terms::default())),
    ];
    for rotation in 0..states.len() {
        for step in [1, 5] {
            let mut story = Story::new();
            // A product is only kept with a price, so the first one opens the story.
            story.events_of(states[0].clone());
            for place in 0..states.len() {
                story.events_of(states[(rotation + place * step) % states.len()].clone());
            }
            let price = story.price_1();
            let found = (price.display_name.as_str(), price.active, price.grants[0].amount.get());
            assert_eq!(found, ("New", true, 200), "{rotation} {step}");
        }
    }
}

#[test]
fn states_of_one_moment_end_alike_in_either_order() {
    let [one, other] = [100, 200].map(|credits| told(listing(1, of_credits(credits))));
    let ends = [[&one, &other], [&other, &one]].map(|order| {
        let mut story = Story::new();
        for command in order {
            story.events_of(command.clone());
        }
        story.price_1().clone()
    });
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn a_late_report_of_a_state_that_came_back_since_changes_nothing() {
    let mut story = Story::new();
    story.events_of(told(listing(1, of_credits(100))));
    // Told of the moment, although nothing else is new: that is what the late one is measured by.
    assert_eq!(story.events_of(told(listing(3, of_credits(100)))), 1);
    assert_eq!(story.events_of(told(Listing { active: false, ..listing(2, of_credits(100)) })), 0);
    assert!(story.price_1().active);
}

#[test]
fn who_looks_sees_what_is_newer_than_what_was_known_before_whatever_the_clocks_say() {
    let mut story = Story::new();
    let known = Listing {
        product_listing: Some(product(100, "Old", Terms::default())),
        ..listing(100, of_credits(100))
    };
    story.events_of(told(known.clone()));
    let seen = Listing {
        product_listing: Some(product(50, "New", Terms::default())),
        ..listing(50, of_credits(200))
    };
    let look = |before| {
        let heard = Heard::Looked { before };
        Command::SyncPrice(SyncPrice { price: price_id("price_1"), listing: seen.clone(), heard })
    };
    // Without knowing what was known, or if that has changed meanwhile, the clocks decide.
    assert_eq!(story.events_of(look(None)), 0);
    assert_eq!(story.events_of(look(Some(Moments { product: None, ..known.moments() }))), 0);
    assert_eq!(story.events_of(look(Some(known.moments()))), 1);
    let price = story.price_1();
    assert_eq!((price.display_name.as_str(), price.grants[0].amount.get()), ("New", 200));
    // What comes late is still late, and what follows still follows.
    assert_eq!(story.events_of(told(listing(99, of_credits(7)))), 0);
    assert_eq!(story.events_of(told(listing(101, of_credits(300)))), 1);
}

#[test]
fn what_the_operator_says_wins_until_it_is_taken_back() {
    let mut story = Story::new();
    let known =
        Listing { product_listing: Some(product(0, "Pro", Terms::default())), ..listing(1, of_credits(100)) };
    story.events_of(told(known.clone()));
    let settings = PriceSettings {
        display_name: Some("Our Pro".to_owned()),
        display_order: Some(-5),
        active: Some(false),
        money: Some(money(500)),
        grants: Some(vec![price_grant("credits", 120, 1)]),
        rollover: Some(Rollover::All),
    };
    assert_eq!(story.events_of(say(settings.clone())), 1);
    assert_eq!(story.events_of(say(settings.clone())), 0);
    story.events_of(told(Listing { as_of: at(5), terms: of_credits(70), ..known.clone() }));
    let price = story.price_1().clone();
    let found = (price.display_name.as_str(), price.display_order, price.active);
    assert_eq!(found, ("Our Pro", -5, false));
    assert_eq!((price.grants[0].amount.get(), price.rollover), (120, Some(Rollover::All)));
    assert_eq!(price.operator_side(), settings);
    // Part by part, and then all of it.
    story.events_of(say(PriceSettings { display_order: Some(2), ..PriceSettings::default() }));
    let price = story.price_1();
    assert_eq!((price.display_name.as_str(), price.display_order, price.active), ("Pro", 2, true));
    assert_eq!(price.grants[0].amount.get(), 70);
    assert_eq!(story.events_of(say(PriceSettings::default())), 1);
    assert_eq!(story.price_1().operator, None);
    assert_eq!(story.price_1().display_order, 0);
}

#[test]
fn a_price_that_was_set_by_hand_stays_so_when_stripe_tells_of_it() {
    let mut story = Story::new();
    let by_hand = price("price_1", 450, vec![price_grant("credits", 120, 1)]);
    story.events_of(Command::SetPrice(by_hand.clone().into()));
    story.events_of(told(Listing { active: false, ..listing(1, of_credits(100)) }));
    let price = story.price_1();
    assert_eq!(
        (&price.display_name, price.active, &price.grants),
        (&by_hand.display_name, true, &by_hand.grants)
    );
    // What it costs is Stripe's to say.
    assert_eq!(price.money, 500);
    let refused = story.run(&Command::SetPrice(by_hand.into())).expect_err("another money");
    assert!(matches!(refused, Rejection::InvalidConfiguration { field: "money", .. }));
}

#[test]
fn a_price_from_before_there_were_two_sides_is_the_operators() {
    let mut story = Story::new();
    let old = price("price_1", 450, vec![price_grant("credits", 120, 1)]);
    assert_eq!((old.operator.is_none(), old.stripe.is_none()), (true, true));
    story.state.catalogue.prices.insert(old.price.clone(), old.clone());
    story.events_of(told(listing(1, of_credits(100))));
    assert_eq!((&story.price_1().display_name, &story.price_1().grants), (&old.display_name, &old.grants));
}

#[test]
fn only_what_stripe_has_told_of_can_be_left_to_it() {
    let mut story = Story::new();
    let field = |outcome| match outcome {
        Err(Rejection::InvalidConfiguration { field, .. }) => field,
        other => panic!("must be refused: {other:?}"),
    };
    assert_eq!(field(story.run(&say(PriceSettings::default()))), "price");
    let mut settings = PriceSettings { active: Some(true), ..PriceSettings::default() };
    assert_eq!(field(story.run(&say(settings.clone()))), "display_name");
    settings.display_name = Some("Pro".to_owned());
    assert_eq!(field(story.run(&say(settings.clone()))), "grants");
    settings.grants = Some(vec![price_grant("credits", 1, 1)]);
    assert_eq!(field(story.run(&say(settings.clone()))), "money");
    settings.money = Some(money(500));
    assert_eq!(story.events_of(say(settings)), 1);
}

#[test]
fn a_price_that_lost_its_metadata_keeps_what_it_granted_and_cannot_be_bought() {
    let mut story = Story::new();
    story.events_of(told(listing(1, of_credits(100))));
    story.events_of(told(listing(2, Terms::default())));
    let price = story.price_1();
    assert_eq!((price.active, price.grants.as_slice()), (false, [price_grant("credits", 100, 1)].as_slice()));
    assert_eq!(price.findings(), [PriceFinding::CreditsUnstated, PriceFinding::ProductUnknown]);
    // Not even if the operator says so, unless it is said what is sold.
    story.events_of(say(PriceSettings { active: Some(true), ..PriceSettings::default() }));
    assert!(!story.price_1().active);
    let grants = Some(vec![price_grant("credits", 100, 1)]);
    story.events_of(say(PriceSettings { grants, ..PriceSettings::default() }));
    assert!(story.price_1().active);
    story.events_of(say(PriceSettings::default()));
    story.events_of(told(listing(3, of_credits(150))));
    assert_eq!((story.price_1().active, story.price_1().grants[0].amount.get()), (true, 150));
}

#[test]
fn what_is_deleted_at_stripe_cannot_be_bought_whatever_anyone_says() {
    for command in [
        told(Listing { deleted: true, ..listing(2, of_credits(100)) }),
        told_of_product(ProductListing { deleted: true, ..product(2, "Pro", Terms::default()) }),
    ] {
        let mut story = Story::new();
        story.events_of(told(listing(1, of_credits(100))));
        story.events_of(say(PriceSettings { active: Some(true), ..PriceSettings::default() }));
        assert!(story.price_1().active);
        story.events_of(command);
        assert!(!story.price_1().active);
        assert!(story.price_1().findings().contains(&PriceFinding::DeletedAtStripe));
    }
}

#[test]
fn a_product_speaks_for_all_its_prices() {
    let mut story = Story::new();
    let sync =
        |id, listing| Command::SyncPrice(SyncPrice { price: price_id(id), listing, heard: Heard::Told });
    story.events_of(sync("price_1", listing(1, of_credits(100))));
    story.events_of(sync("price_2", listing(1, of_credits(300))));
    let elsewhere = Listing { product: stripe("prod_2"), ..listing(1, of_credits(1)) };
    story.events_of(sync("price_3", elsewhere));
    let inactive = ProductListing { active: false, ..product(2, "Gone", of_credits(7)) };
    assert_eq!(story.events_of(told_of_product(inactive)), 2);
    let prices = &story.state.catalogue.prices;
    let active = ["price_1", "price_2", "price_3"].map(|id| prices[&price_id(id)].active);
    assert_eq!(active, [false, false, true]);
    // A new price of the product is known with it at once.
    assert_eq!(story.events_of(sync("price_4", listing(3, Terms::default()))), 1);
    let price = &story.state.catalogue.prices[&price_id("price_4")];
    assert_eq!((price.display_name.as_str(), price.active), ("Gone", false));
    assert_eq!(price.grants, [price_grant("credits", 7, 1)]);
}

#[test]
fn a_unit_need_not_be_stated_where_the_ledger_has_just_one() {
    let mut story = Story::new();
    story.state.settings.units.retain(|name, _| *name == unit("credits"));
    let unstated = Terms { credits: Some(amount(5)), ..Terms::default() };
    assert_eq!(story.events_of(told(listing(1, unstated))), 1);
    assert_eq!(story.price_1().grants, [price_grant("credits", 5, 1)]);
}

#[test]
fn what_is_known_of_a_product_stays_with_its_own_prices() {
    let product_listing = Some(product(5, "Pro", Terms::default()));
    let known = Listing { product_listing: product_listing.clone(), ..listing(1, of_credits(1)) };
    let newer = listing(2, of_credits(2));
    let both = Listing { product_listing, ..newer.clone() };
    assert_eq!(known.clone().merged(newer.clone()), both);
    assert_eq!(newer.clone().merged(known.clone()), both);
    let moved = Listing { product: stripe("prod_2"), ..newer };
    assert_eq!(known.merged(moved.clone()), moved);
}

#[test]
fn a_price_is_the_ledgers_if_it_is_known_or_if_it_or_its_product_states_credits() {
    let mut story = Story::new();
    let concerns =
        |story: &Story, id, listing: &Listing| story.state.catalogue.concerns(&price_id(id), listing);
    let silent = listing(1, Terms::default());
    assert!(!concerns(&story, "price_1", &silent));
    assert!(concerns(&story, "price_1", &listing(1, of_credits(1))));
    assert!(concerns(&story, "price_pack", &silent));
    assert!(!story.state.catalogue.knows_product(&stripe("prod_1")));
    let product_listing = Some(product(1, "Pro", of_credits(5)));
    story.events_of(told(Listing { product_listing, ..silent.clone() }));
    assert!(story.state.catalogue.knows_product(&stripe("prod_1")));
    assert!(!story.state.catalogue.knows_product(&stripe("prod_2")));
    assert!(concerns(&story, "price_2", &silent));
    assert!(!concerns(&story, "price_2", &Listing { product: stripe("prod_2"), ..silent }));
}

#[test]
fn what_stripe_does_not_say_is_not_stored_and_what_it_says_reads_back() {
    let silent = listing(1, Terms::default());
    let loud = Listing {
        deleted: true,
        product_listing: Some(ProductListing { deleted: true, ..product(1, "Pro", of_credits(5)) }),
        ..listing(1, of_credits(1))
    };
    let stored = [silent, loud].map(|listing| {
        let stored = serde_json::to_value(&listing).expect("serialises");
        assert_eq!(serde_json::from_value::<Listing>(stored.clone()).expect("reads"), listing);
        stored
    });
    let fields: Vec<&String> = stored[0].as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["as_of", "product", "money", "active", "mode"]);
}

#[test]
fn what_rolls_over_is_said_by_the_operator_else_the_price_else_its_product() {
    let mut story = Story::new();
    let of = |rollover| Terms { rollover, ..of_credits(100) };
    let (of_price, of_product) = (Some(Rollover::All), Some(Rollover::Capped(amount(5))));
    let told_by = |moment, own, others| Listing {
        product_listing: Some(product(moment, "Pro", of(others))),
        ..listing(moment, of(own))
    };
    story.events_of(told(told_by(1, None, None)));
    assert_eq!(story.price_1().rollover, None, "as the ledger's rules say");
    story.events_of(told(told_by(2, None, of_product)));
    assert_eq!(story.price_1().rollover, of_product);
    story.events_of(told(told_by(3, of_price, of_product)));
    assert_eq!(story.price_1().rollover, of_price);
    story.events_of(say(PriceSettings { rollover: Some(Rollover::None), ..PriceSettings::default() }));
    assert_eq!(story.price_1().rollover, Some(Rollover::None));
    story.events_of(say(PriceSettings::default()));
    assert_eq!(story.price_1().rollover, of_price);
}

#[test]
fn a_price_is_written_in_the_first_shape_that_has_a_place_for_all_of_it() {
    let (operator, stripe) = (Some(PriceSettings::default()), Some(listing(1, Terms::default())));
    for (operator, stripe, version) in
        [(None, None, 1), (operator.clone(), None, 2), (None, stripe.clone(), 2), (operator, stripe, 2)]
    {
        let price = Price { operator, stripe, ..price("price_1", 500, vec![price_grant("credits", 1, 1)]) };
        let rolling = Price { rollover: Some(Rollover::None), ..price.clone() };
        assert_eq!(
            (PriceSet(Box::new(price)).version(), PriceSet(Box::new(rolling)).version()),
            (version, 3)
        );
    }
}
