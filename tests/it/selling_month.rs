//! A month of a small shop, with everything going wrong that can: Stripe fails, webhooks come twice, late, in another order or
//! not at all, and the service is killed every few seconds, while hundreds of accounts buy, spend and are refunded. In the
//! end every account has what a model says that knows nothing of the service, and nothing was made twice at Stripe.
//!
//! `COUNTERFOIL_MONTH_SEED` plays a month again, `COUNTERFOIL_MONTH_ACCOUNTS` a larger one.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use futures_util::{StreamExt, future::join, stream};
use rand::SeedableRng;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    month_model::Evidence,
    month_plan::{DAYS, LASTING, Plan, SECONDS_BETWEEN, SHORT},
    month_stage::Life,
    stage::{
        Counts, Rest, Stage, by_mark, check_that_all_is_done, come_to_rest, end_faults, kill,
        send_lost_again, setting, under_fire,
    },
    support::{app::TestApp, shop::Shop, simulator::TestSimulator},
};

/// How many accounts the shop has, unless more are wanted.
const ACCOUNTS: usize = 200;
/// The service lives so long, in milliseconds, before it is killed for the first time.
const FIRST_LIFE: Range<u64> = 100..600;
/// How many of them do something at the same time.
const AT_ONCE: usize = 32;

#[tokio::test]
async fn a_month_of_a_small_shop_ends_as_a_model_says() {
    let seed = setting("COUNTERFOIL_MONTH_SEED").unwrap_or_else(rand::random);
    let accounts = setting("COUNTERFOIL_MONTH_ACCOUNTS").unwrap_or(ACCOUNTS);
    // Shown if it fails.
    println!("COUNTERFOIL_MONTH_SEED={seed} COUNTERFOIL_MONTH_ACCOUNTS={accounts}");
    let Plan { scripts, troubles, mut chance } = Plan::draw(seed, accounts);
    let mut shop = furnished().await;
    let mut lives: Vec<Life> = scripts.into_iter().map(Life::new).collect();
    let counts = Counts::default();
    let stage = Stage::new(&shop.app, &shop.stripe, &counts, chance.fork());

    let opening = each(&mut lives, async |life| stage.open(life).await);
    under_fire(&mut shop.app, &counts, &mut chance, FIRST_LIFE, opening).await;
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    for (day, troubles) in troubles.into_iter().enumerate() {
        let refunds = shop.stripe.objects("refund").await;
        for trouble in troubles {
            shop.stripe.control("faults", trouble).await;
        }
        let business = each(&mut lives, async |life| stage.play(life, day, &refunds).await);
        under_fire(&mut shop.app, &counts, &mut chance, FIRST_LIFE, business).await;
        end_faults(&shop.stripe, &mut met).await;
        rest(&mut shop.app, &shop.stripe, &counts).await;
        let name = format!("night {day}");
        let clocks = stage.time_goes_on(&name, SECONDS_BETWEEN);
        let awake = lives.len() / 10;
        let owls = each(&mut lives[..awake], async |life| stage.sit_up(life, day).await);
        under_fire(&mut shop.app, &counts, &mut chance, FIRST_LIFE, join(clocks, owls)).await;
    }
    let refunds = shop.stripe.objects("refund").await;
    each(&mut lives, async |life| stage.settle(life, &refunds).await).await;
    rest(&mut shop.app, &shop.stripe, &counts).await;
    stage.time_goes_on("the last night", SECONDS_BETWEEN).await;
    rest(&mut shop.app, &shop.stripe, &counts).await;

    drop(stage);
    let evidence = check(&shop, &lives).await;
    println!("{counts:?}, {} sales, faults: {met:?}", evidence.sales());
    assert!(evidence.sales() > accounts, "{} sales", evidence.sales());
    let at_least = |what: &str, number: usize, least: usize| assert!(number >= least, "{number} {what}");
    at_least("kills", counts.kills.get(), 2 * DAYS);
    at_least("retries", counts.retries.get(), accounts / 10);
    at_least("replays", counts.replays.get(), accounts / 10);
    at_least("refusals", counts.refusals.get(), accounts / 20);
    at_least("lost webhooks", counts.recovered.borrow().len(), accounts / 20);
    at_least("faults", met.values().sum(), accounts);
    let kinds = met.values().filter(|hits| **hits > 0).count();
    at_least("kinds of faults", kinds, 9);
}

/// Lost webhooks come after all, and everything comes to rest in the hands of a new process.
async fn rest(app: &mut TestApp, stripe: &TestSimulator, counts: &Counts) {
    send_lost_again(stripe, counts).await;
    kill(app, counts).await;
    come_to_rest(app, stripe, counts, Rest { pauses: 400, patience: Duration::from_secs(4) }).await;
}

/// Everybody does something, some of them at the same time.
async fn each(lives: &mut [Life], act: impl AsyncFn(&mut Life)) {
    stream::iter(lives).for_each_concurrent(AT_ONCE, |life| act(life)).await;
}

/// A shop with all that it sells, two promotion codes, and a feature to spend on.
async fn furnished() -> Shop {
    // A silent Stripe is not waited for, and a month is shorter than Stripe's limits think.
    let settings = [("COUNTERFOIL_STRIPE_TIMEOUT_SECONDS", "1"), ("COUNTERFOIL_STRIPE_TEST_RATE", "1000")];
    let shop = Shop::open_with(&settings).await;
    for price in LASTING.iter().chain([&SHORT]) {
        shop.offer(price.id, price.cents, price.grants()).await;
    }
    shop.promote("SPRING", 20).await;
    shop.promote("FREE", 100).await;
    let feature = json!({"unit": "credits", "cost": 7});
    assert_eq!(shop.app.send(Method::PUT, "/v1/features/report", Some(&feature)).await.status, 200);
    shop
}

/// Holds what the service and Stripe have in the end against the model, and against each other.
async fn check(shop: &Shop, lives: &[Life]) -> Evidence {
    let customers = shop.stripe.objects("customer").await;
    let sessions = shop.stripe.objects("checkout.session").await;
    let refunds = shop.stripe.objects("refund").await;
    let evidence = Evidence::read(&sessions, &refunds);
    for life in lives {
        let account = &life.script.account;
        let balance = shop.app.get(&format!("/v1/accounts/{account}/balance")).await;
        let found = [0, 1].map(|unit: usize| {
            let of = |name: &str| balance["balances"][unit][name].as_i64().expect("an amount");
            assert_eq!((of("held"), of("disputed")), (0, 0), "{balance}");
            (of("available"), of("debt"))
        });
        assert_eq!(found, evidence.balances(life), "{life:#?}");
        check_orders(shop, life, &refunds).await;
    }

    // Nothing was made twice.
    let once =
        |names: Vec<&str>| names.into_iter().map(|name| (name.to_owned(), 1)).collect::<BTreeMap<_, _>>();
    let buyers = |has_customer: bool| {
        let buyers = lives.iter().filter(|life| life.script.has_customer == has_customer);
        let buyers = buyers.filter(|life| has_customer || !life.sales.is_empty());
        once(buyers.map(|life| life.script.account.as_str()).collect())
    };
    assert_eq!(by_mark(&customers, "counterfoil_account"), buyers(false));
    assert_eq!(by_mark(&customers, "adopted_by"), buyers(true));
    let orders = lives.iter().flat_map(|life| &life.sales).map(|sale| sale.order.as_str());
    assert_eq!(by_mark(&sessions, "counterfoil_order"), once(orders.collect()));
    assert!(by_mark(&refunds, "counterfoil_refund").values().all(|count| *count == 1), "{refunds:#?}");
    for objects in [&customers, &sessions, &refunds] {
        assert!(by_mark(objects, "counterfoil_effect").values().all(|count| *count == 1), "{objects:#?}");
    }

    check_that_all_is_done(shop).await;
    evidence
}

/// Every checkout is one order, which ended as its buyer did, and every refund that the ledger took on is one of Stripe's, or
/// was refused.
async fn check_orders(shop: &Shop, life: &Life, refunds: &[Value]) {
    let account = &life.script.account;
    let orders = shop.app.get(&format!("/v1/orders?account_id={account}&limit=100")).await["items"].clone();
    let mut found: Vec<(&str, &str)> = Vec::new();
    for order in orders.as_array().expect("orders") {
        found.push((order["order_id"].as_str().expect("an id"), order["status"].as_str().expect("a status")));
    }
    let mut expected: Vec<(&str, &str)> = life.sales.iter().map(|sale| (&*sale.order, sale.ends())).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{account}");
    for sale in life.sales.iter().filter(|sale| !sale.requests.is_empty()) {
        let order = shop.app.get(&format!("/v1/orders/{}", sale.order)).await;
        let mut requests = Vec::new();
        for request in order["refunds"].as_array().expect("refunds") {
            let made = refunds.iter().find(|refund| request["stripe_refund_id"] == refund["id"]);
            let status = made.map_or("refused", |refund| refund["status"].as_str().expect("a status"));
            assert_eq!(request["status"], status, "{request}");
            assert!(
                made.is_none_or(|refund| refund["metadata"]["counterfoil_refund"] == request["refund_id"])
            );
            requests.push(request["refund_id"].as_str().expect("an id").to_owned());
        }
        let mut asked = sale.requests.clone();
        requests.sort_unstable();
        asked.sort_unstable();
        assert_eq!(requests, asked, "{account}");
    }
}
