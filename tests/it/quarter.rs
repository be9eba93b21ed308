//! A quarter of a small business: plans, trials, changes in the middle of a period, cards that fail, packs, refunds and
//! disputes, while Stripe fails, webhooks come twice, late, in another order or not at all, and the service is killed again
//! and again. After every day and every night each account has, lot by lot, what a model says that knows nothing of the
//! service; in the end nothing was made twice at Stripe and nothing is left open.
//!
//! An account does at most one thing a day that Stripe tells of, after it has spent, and time goes on when all of it has
//! arrived: so that there is one right outcome, whatever goes wrong on the way. Lost webhooks come back by reconciliation.
//!
//! What rolls over at a renewal changes with the month: nothing, all, some, in an order that the seed decides.
//! `COUNTERFOIL_QUARTER_SEED` plays another quarter.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use counterfoil::{
    audit::{record::read_line, replay::Replay},
    domain::{ids::LedgerSlug, time::Timestamp},
};
use futures_util::future::join_all;
use rand::SeedableRng;
use serde_json::{Value, json};

use crate::{
    quarter_model::{DAY, Rollover, UNITS},
    quarter_plan::{DAYS, PACKS, PLANS, Plan, TRIAL_CREDITS},
    quarter_stage::Life,
    stage::{
        Counts, Rest, Stage, by_mark, check_that_all_is_done, come_to_rest, end_faults, newly_lost, setting,
        under_fire,
    },
    support::{app::TestApp, shop::Shop},
};

/// The service lives so long, in milliseconds, before it is killed for the first time on a day, or in a night.
const FIRST_LIFE: Range<u64> = 5..500;
const REST: Rest = Rest { pauses: 40, patience: Duration::from_secs(2) };

/// What is played unless another is asked for.
const SEED: u64 = 4;

#[tokio::test]
async fn a_quarter_of_a_small_business_ends_as_a_model_says() {
    let seed = setting("COUNTERFOIL_QUARTER_SEED").unwrap_or(SEED);
    // Shown if it fails.
    println!("COUNTERFOIL_QUARTER_SEED={seed}");
    let Plan { scripts, pauses, rollovers, troubles, mut chance } = Plan::draw(seed);
    let mut shop = furnished().await;
    let mut lives: Vec<Life> = scripts.into_iter().map(|(name, days)| Life::new(name, days)).collect();
    let counts = Counts::default();
    let stage = Stage::new(&shop.app, &shop.stripe, &counts, chance.fork());
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    join_all(lives.iter().map(|life| stage.begin(life))).await;
    let began = stage.time_goes_on("the first morning", 60).await;
    let mut now = began;
    for (day, ([by_day, by_night], pause)) in troubles.into_iter().zip(pauses).enumerate() {
        let rollover = rollovers[day * rollovers.len() / DAYS];
        roll_over(&shop, rollover).await;
        for trouble in by_day {
            shop.stripe.control("faults", trouble).await;
        }
        let business = join_all(lives.iter_mut().map(|life| stage.live(life, day)));
        under_fire(&mut shop.app, &counts, &mut chance, FIRST_LIFE, business).await;
        end_faults(&shop.stripe, &mut met).await;
        look_for_the_lost(&shop, &counts).await;
        come_to_rest(&mut shop.app, &shop.stripe, &counts, REST).await;
        stage.tell(&mut lives, rollover, now).await;
        check(&shop.app, &lives, &format!("day {day} of seed {seed}")).await;

        for trouble in by_night {
            shop.stripe.control("faults", trouble).await;
        }
        let name = format!("night {day}");
        let night = stage.time_goes_on(&name, pause);
        now = under_fire(&mut shop.app, &counts, &mut chance, FIRST_LIFE, night).await;
        end_faults(&shop.stripe, &mut met).await;
        look_for_the_lost(&shop, &counts).await;
        come_to_rest(&mut shop.app, &shop.stripe, &counts, REST).await;
        stage.tell(&mut lives, rollover, now).await;
        check(&shop.app, &lives, &format!("night {day} of seed {seed}")).await;
    }
    drop(stage);
    check_stripe(&shop, &lives).await;
    let [from, to] = [began - DAY, now + DAY]
        .map(|moment| Timestamp::from_unix_seconds(moment).expect("a moment").to_string());
    shop.reconciles(&["--compare", "--from", &from, "--to", &to]).await;
    assert_eq!(shop.findings("open").await.len(), 0);
    check_that_all_is_done(&shop).await;
    check_events(&shop).await;
    check_kinds(&shop).await;
    let (kills, lost) = (counts.kills.get(), counts.recovered.borrow().len());
    println!("{kills} kills, {lost} lost webhooks, faults: {met:?}");
    assert!(kills >= DAYS / 3 && lost >= DAYS / 3, "{kills} kills, {lost} lost webhooks");
    let kinds = met.values().filter(|hits| **hits > 0).count();
    assert!(kinds >= 8, "{met:?}");
}

/// A business with all that it sells.
async fn furnished() -> Shop {
    let settings = [("COUNTERFOIL_STRIPE_TIMEOUT_SECONDS", "1"), ("COUNTERFOIL_STRIPE_TEST_RATE", "1000")];
    let shop = Shop::open_with(&settings).await;
    for plan in &PLANS {
        shop.offer_plan(plan.id, plan.cents, plan.told()).await;
    }
    for pack in &PACKS {
        shop.offer(pack.id, pack.cents, pack.told()).await;
    }
    shop
}

/// Sets what moves on at a renewal from now on.
async fn roll_over(shop: &Shop, rollover: Rollover) {
    let rollover = match rollover {
        Rollover::None => json!({"kind": "none"}),
        Rollover::All => json!({"kind": "all"}),
        Rollover::Capped(most) => json!({"kind": "capped", "amount": most}),
    };
    let trial = json!([{"unit": UNITS[0], "amount": TRIAL_CREDITS}]);
    shop.rule(json!({"rollover": rollover, "trial_credits": trial})).await;
}

/// What was lost comes back by reading Stripe's events.
async fn look_for_the_lost(shop: &Shop, counts: &Counts) {
    if !newly_lost(&shop.stripe, counts).await.is_empty() {
        shop.reconciles(&["--events"]).await;
    }
}

/// Every account has what the model says, lot by lot.
async fn check(app: &TestApp, lives: &[Life], when: &str) {
    for life in lives {
        let (name, holdings) = (&life.name, &life.holdings);
        let balance = app.get(&format!("/v1/accounts/{name}/balance")).await;
        let lots = app.get(&format!("/v1/accounts/{name}/lots?limit=500")).await;
        let lots = lots["items"].as_array().expect("lots");
        for (unit, word) in UNITS.iter().enumerate() {
            let of = |field: &str| balance["balances"][unit][field].as_i64().expect("an amount");
            let found = (of("available"), of("held"), of("disputed"), of("debt"));
            let expected = (holdings.available(unit), 0, holdings.disputed(unit), holdings.debt[unit]);
            assert_eq!(found, expected, "{word} of {name}, {when}: {lots:#?} {holdings:#?}");
            let found: Vec<&Value> = lots.iter().filter(|lot| lot["unit"] == *word).collect();
            let open = holdings.in_order(unit).into_iter().map(|at| &holdings.lots[at]);
            let open: Vec<_> = open.filter(|lot| lot.left + lot.disputed > 0).collect();
            let is_same = found.len() == open.len()
                && found.iter().zip(&open).all(|(found, lot)| {
                    let expires_at = seconds(&found["expires_at"]);
                    found["remaining"] == lot.left
                        && found["disputed"] == lot.disputed
                        && expires_at.is_some() == lot.expiry.is_some()
                        && expires_at
                            .zip(lot.expiry)
                            .is_none_or(|(found, expiry)| (found - expiry.at).abs() <= expiry.slack)
                });
            assert!(is_same, "{word} of {name}, {when}: {found:#?} instead of {open:#?}");
        }
    }
}

/// Unix seconds of a moment, if there is one.
fn seconds(moment: &Value) -> Option<i64> {
    let text = moment.as_str()?;
    Some(Timestamp::parse(text).expect("a moment").unix_seconds())
}

/// Nothing was made twice, and both sides know the same subscriptions.
async fn check_stripe(shop: &Shop, lives: &[Life]) {
    let [customers, sessions, refunds] = [
        shop.stripe.objects("customer").await,
        shop.stripe.objects("checkout.session").await,
        shop.stripe.objects("refund").await,
    ];
    for (objects, mark) in [
        (&customers, "counterfoil_account"),
        (&sessions, "counterfoil_order"),
        (&refunds, "counterfoil_refund"),
        (&customers, "counterfoil_effect"),
        (&sessions, "counterfoil_effect"),
        (&refunds, "counterfoil_effect"),
    ] {
        assert!(by_mark(objects, mark).values().all(|count| *count == 1), "{mark}: {objects:#?}");
    }
    let orders = lives.iter().flat_map(|life| &life.orders).map(|order| (order.clone(), 1));
    assert_eq!(by_mark(&sessions, "counterfoil_order"), orders.collect());
    for at_stripe in shop.stripe.objects("subscription").await {
        let path = format!("/v1/subscriptions/{}", at_stripe["id"].as_str().expect("an id"));
        let known = shop.app.get(&path).await;
        let items = at_stripe["items"]["data"].as_array().expect("items").iter();
        let items: Value = items
            .map(|item| json!({"price_id": item["price"]["id"], "quantity": item["quantity"]}))
            .collect();
        assert_eq!((&known["status"], &known["items"]), (&at_stripe["status"], &items), "{known}");
    }
}

/// Plays all events again: after each of them everything holds that must.
async fn check_events(shop: &Shop) {
    let ledger = LedgerSlug::parse(&shop.app.ledger.slug).expect("a name");
    let (mut replay, mut after) = (Replay::default(), 0);
    loop {
        let page = shop.app.get(&format!("/v1/events?after={after}&limit=500")).await;
        let events = page["events"].as_array().expect("events");
        for event in events {
            let event = read_line(&ledger, &event.to_string()).expect("an event").event.expect("an event");
            after = event.position.0;
            assert_eq!(replay.play(&event), Ok(()), "{event:?}");
        }
        if events.is_empty() {
            break;
        }
    }
    assert_eq!(replay.rest(), Ok(()));
}

/// Everything happened that a quarter is about.
async fn check_kinds(shop: &Shop) {
    for (kind, status) in
        [("refund", "succeeded"), ("dispute", "won"), ("dispute", "lost"), ("subscription", "canceled")]
    {
        let objects = shop.stripe.objects(kind).await;
        assert!(objects.iter().any(|object| object["status"] == status), "no {kind} is {status}");
    }
    for kind in
        ["credits.expired", "debt.settled", "purchase.restored", "subscription.ended", "credits.granted"]
    {
        assert!(!shop.events(kind).await.is_empty(), "no {kind}");
    }
}
