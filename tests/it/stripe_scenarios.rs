//! Whole stories of payments, told by Stripe in any order, more than once and not always in full: the credits end the same.
//!
//! A story is a list of events about one checkout, or one renewal of a subscription. Each run shuffles it, repeats some events (as the same event and as
//! another one that tells the same) and drops some that others make up for.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use counterfoil::domain::settings::LedgerMode;

use crate::stripe_support::{WebhookLedger, as_another_event, body};

/// How often each story is told.
const RUNS: u64 = 16;
/// What every account has before its story begins.
const BEFORE: i64 = 40;

/// What stands for the id of the order.
const ORDER: &str = "the order";

/// Something that Stripe may tell of the checkout or the renewal `tag`.
type Telling = fn(tag: &str) -> Value;

struct Story {
    events: &'static [Telling],
    /// Sets of events, by place in `events`, that may be lost together: what is left tells the same.
    losable: &'static [&'static [usize]],
    /// What the account has in the end.
    credits: i64,
}

/// A checkout of 500 credits for 2000 cents, paid at once.
fn paid(tag: &str) -> Value {
    session(tag, "session_completed__price_in_metadata", "paid")
}

fn completed_unpaid(tag: &str) -> Value {
    session(tag, "session_completed__unpaid", "unpaid")
}

fn payment_succeeded(tag: &str) -> Value {
    session(tag, "session_async_payment_succeeded", "paid")
}

fn session(tag: &str, file: &str, payment_status: &str) -> Value {
    changed(
        file,
        json!({
            "id": format!("cs_{tag}"),
            "payment_intent": format!("pi_{tag}"),
            "payment_status": payment_status,
            "amount_total": 2_000,
            "metadata": {"account_id": tag, "price_id": "price_demo_pro", "quantity": "1"},
        }),
    )
}

/// The same for an order of ours, which is put in when it is placed.
fn of_order(tag: &str, file: &str, payment_status: &str) -> Value {
    let mut event = session(tag, file, payment_status);
    event["data"]["object"]["amount_subtotal"] = json!(2_000);
    event["data"]["object"]["client_reference_id"] = json!(tag);
    event["data"]["object"]["metadata"]["order_id"] = json!(ORDER);
    event
}

fn refund(tag: &str, file: &str, number: u8, amount: i64, status: &str) -> Value {
    changed(file, refund_object(tag, number, amount, status))
}

fn refund_object(tag: &str, number: u8, amount: i64, status: &str) -> Value {
    json!({
        "id": format!("re_{tag}_{number}"),
        "object": "refund",
        "charge": format!("ch_{tag}"),
        "payment_intent": format!("pi_{tag}"),
        "amount": amount,
        "currency": "eur",
        "status": status,
    })
}

fn charge(tag: &str, file: &str, amount_refunded: i64, refunds: Value) -> Value {
    changed(
        file,
        json!({
            "id": format!("ch_{tag}"),
            "payment_intent": format!("pi_{tag}"),
            "amount_refunded": amount_refunded,
            "refunds": refunds,
        }),
    )
}

/// A renewal for 500 credits that came to 2380 cents; what was not paid came from the customer's balance.
fn renewal(tag: &str, kind: &str, paid: i64) -> Value {
    let (subscription, payment) = (format!("sub_{tag}"), format!("pi_{tag}"));
    let mut event = changed(
        "invoice_paid__new_shape",
        json!({
            "id": format!("in_{tag}"),
            "customer": format!("cus_{tag}"),
            "amount_paid": paid,
            "parent": {
                "type": "subscription_details",
                "subscription_details": {
                    "metadata": {"counterfoil_account": tag},
                    "subscription": subscription,
                },
            },
        }),
    );
    event["type"] = json!(kind);
    let invoice = &mut event["data"]["object"];
    let line = &mut invoice["lines"]["data"][0];
    line["id"] = json!(format!("il_{tag}"));
    line["parent"]["subscription_item_details"]["subscription"] = json!(subscription);
    invoice["payments"]["data"][0]["payment"]["payment_intent"] = json!(payment);
    event
}

/// A credit note on a renewal of which so much was paid, with the refunds that are part of it.
fn note(tag: &str, file: &str, number: u8, [paid, amount]: [i64; 2], refunds: Value) -> Value {
    let invoice = renewal(tag, "invoice.paid", paid)["data"]["object"].clone();
    let changes = json!({
        "id": format!("cn_{tag}_{number}"),
        "amount": amount,
        "post_payment_amount": amount,
        "invoice": invoice,
        "refunds": refunds,
    });
    changed(file, changes)
}

/// The body in `file` under a new event id, its object changed.
fn changed(file: &str, changes: Value) -> Value {
    let mut event = as_another_event(&body(file));
    for (name, value) in changes.as_object().expect("an object") {
        event["data"]["object"][name] = value.clone();
    }
    event
}

const STORIES: &[Story] = &[
    // Paid with delay, refunded in two parts.
    Story {
        events: &[
            completed_unpaid,
            payment_succeeded,
            |tag| refund(tag, "refund_created__pending", 1, 600, "pending"),
            |tag| refund(tag, "refund_updated__succeeded", 1, 600, "succeeded"),
            |tag| charge(tag, "charge_refunded__half", 600, Value::Null),
            |tag| refund(tag, "refund_created__expanded_charge", 2, 400, "succeeded"),
            |tag| refund(tag, "refund_updated__no_money_moved", 2, 400, "succeeded"),
            |tag| charge(tag, "charge_refunded__half", 1_000, Value::Null),
        ],
        losable: &[&[], &[0], &[2], &[5], &[6], &[4, 7], &[0, 2, 4, 5, 7], &[0, 2, 3, 4, 5, 6]],
        credits: 250,
    },
    // Refunded whole, and the refund fails.
    Story {
        events: &[
            paid,
            |tag| refund(tag, "refund_created__pending", 1, 2_000, "pending"),
            |tag| refund(tag, "refund_updated__succeeded", 1, 2_000, "succeeded"),
            |tag| charge(tag, "charge_refunded__whole", 2_000, Value::Null),
            |tag| refund(tag, "refund_failed", 1, 2_000, "failed"),
        ],
        losable: &[&[], &[1], &[2], &[1, 3], &[1, 2, 3]],
        credits: 500,
    },
    // Refunded in parts in 2020.
    Story {
        events: &[
            |tag| session(tag, "session_completed__2020-08-27", "paid"),
            |tag| {
                charge(
                    tag,
                    "charge_refunded__2020-08-27_with_refunds",
                    500,
                    json!({
                        "object": "list", "has_more": false, "data": [refund_object(tag, 1, 500, "succeeded")],
                    }),
                )
            },
            |tag| {
                charge(
                    tag,
                    "charge_refunded__2020-08-27_with_refunds",
                    2_000,
                    json!({
                        "object": "list", "has_more": false,
                        "data": [refund_object(tag, 2, 1_500, "succeeded"), refund_object(tag, 1, 500, "succeeded")],
                    }),
                )
            },
            |tag| refund(tag, "charge_refund_updated__2020-08-27", 1, 500, "succeeded"),
        ],
        losable: &[&[], &[1], &[3], &[1, 3]],
        credits: 0,
    },
    // A refund called off and another one in its place.
    Story {
        events: &[
            paid,
            |tag| refund(tag, "refund_created__requires_action", 1, 2_000, "requires_action"),
            |tag| refund(tag, "refund_updated__canceled", 1, 2_000, "canceled"),
            |tag| refund(tag, "refund_created__pending", 2, 500, "pending"),
            |tag| refund(tag, "refund_updated__succeeded", 2, 500, "succeeded"),
        ],
        losable: &[&[], &[1], &[3], &[1, 3], &[1, 2]],
        credits: 375,
    },
    // An order of ours, paid with delay and refunded in part.
    Story {
        events: &[
            |tag| of_order(tag, "session_completed__unpaid", "unpaid"),
            |tag| of_order(tag, "session_async_payment_succeeded", "paid"),
            |tag| refund(tag, "refund_created__pending", 1, 600, "pending"),
            |tag| refund(tag, "refund_updated__succeeded", 1, 600, "succeeded"),
            |tag| charge(tag, "charge_refunded__half", 600, Value::Null),
        ],
        losable: &[&[], &[0], &[2], &[4], &[0, 2, 3], &[0, 2, 4]],
        credits: 350,
    },
    // An order of ours whose money never came.
    Story {
        events: &[
            |tag| of_order(tag, "session_completed__unpaid", "unpaid"),
            |tag| of_order(tag, "session_async_payment_failed__order_of_ours", "unpaid"),
        ],
        losable: &[&[], &[0]],
        credits: 0,
    },
    // An order of ours, of which it is told that it ended unpaid, and that it was paid.
    Story {
        events: &[
            |tag| of_order(tag, "session_completed__order_of_ours", "paid"),
            |tag| of_order(tag, "session_expired__order_of_ours", "unpaid"),
        ],
        losable: &[&[], &[1]],
        credits: 500,
    },
    // A renewal with a note to the balance, another one that is void in the end, and a refund beside them.
    Story {
        events: &[
            |tag| renewal(tag, "invoice.paid", 2_380),
            |tag| renewal(tag, "invoice.payment_succeeded", 2_380),
            |tag| note(tag, "credit_note_created__balance_expanded", 1, [2_380, 1_190], json!([])),
            |tag| note(tag, "credit_note_updated__memo", 1, [2_380, 1_190], json!([])),
            |tag| note(tag, "credit_note_created__balance_expanded", 2, [2_380, 595], json!([])),
            |tag| note(tag, "credit_note_voided", 2, [2_380, 595], json!([])),
            |tag| refund(tag, "refund_updated__succeeded", 1, 238, "succeeded"),
            |tag| charge(tag, "charge_refunded__half", 238, Value::Null),
        ],
        losable: &[&[], &[0], &[1], &[2], &[3], &[4], &[6], &[7], &[0, 2, 4, 6], &[1, 3, 4, 7]],
        credits: 200,
    },
    // A renewal that the balance paid half of, and a note of half of it all that gives back by a refund and to the balance.
    Story {
        events: &[
            |tag| renewal(tag, "invoice.paid", 1_190),
            |tag| {
                let refunds = json!([{"refund": format!("re_{tag}_1"), "amount_refunded": 476}]);
                note(tag, "credit_note_created__balance_expanded", 1, [1_190, 1_190], refunds)
            },
            |tag| refund(tag, "refund_created__pending", 1, 476, "pending"),
            |tag| refund(tag, "refund_updated__succeeded", 1, 476, "succeeded"),
            |tag| charge(tag, "charge_refunded__half", 476, Value::Null),
        ],
        losable: &[&[], &[2], &[4], &[2, 3], &[2, 4]],
        credits: 250,
    },
];

/// One way to tell a story to an account of its own.
fn telling(story: &Story, tag: &str, random: &mut StdRng) -> Vec<Value> {
    let lost = story.losable[random.random_range(0..story.losable.len())];
    let mut events = Vec::new();
    for (place, tell) in story.events.iter().enumerate() {
        if lost.contains(&place) {
            continue;
        }
        let event = tell(tag);
        if random.random_bool(0.3) {
            events.push(as_another_event(&event));
        }
        if random.random_bool(0.3) {
            events.push(event.clone());
        }
        events.push(event);
    }
    events.shuffle(random);
    events
}

/// All tellings of all stories, by account, each with the credits that the account must end with.
fn tellings() -> BTreeMap<String, (i64, Vec<Value>)> {
    let mut all = BTreeMap::new();
    for (number, story) in STORIES.iter().enumerate() {
        for run in 0..RUNS {
            let tag = format!("story{number}-{run}");
            let mut random = StdRng::seed_from_u64(run);
            let events = telling(story, &tag, &mut random);
            all.insert(tag, (story.credits, events));
        }
    }
    all
}

/// A ledger in which every account has bought a little before, which the story must leave alone, and has ordered what the
/// story is about, if it is about an order.
async fn ledger(tellings: &mut BTreeMap<String, (i64, Vec<Value>)>) -> WebhookLedger {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let accounts: Vec<String> = tellings.keys().cloned().collect();
    join_all(accounts.iter().map(|account| ledger.open(account))).await;
    let earlier = |account: &String| {
        let session = json!({
            "id": format!("cs_{account}_before"),
            "payment_intent": format!("pi_{account}_before"),
            "metadata": {"account_id": account, "credits": BEFORE.to_string()},
        });
        changed("session_completed__credits_in_metadata", session)
    };
    deliver_all(&ledger, accounts.iter().map(earlier)).await;
    ledger.settle().await;
    join_all(tellings.iter_mut().map(|(account, (_, events))| place_order(&ledger, account, events))).await;
    ledger
}

/// Places the order that events are about, and puts its id into them.
async fn place_order(ledger: &WebhookLedger, account: &str, events: &mut [Value]) {
    let is_of_order = |event: &Value| event["data"]["object"]["metadata"]["order_id"] == ORDER;
    if !events.iter().any(is_of_order) {
        return;
    }
    let order = ledger.order(account, "price_demo_pro", 1).await.to_string();
    for event in events.iter_mut().filter(|event| is_of_order(event)) {
        event["data"]["object"]["metadata"]["order_id"] = json!(order);
    }
}

/// Delivers events side by side, as Stripe does.
async fn deliver_all(ledger: &WebhookLedger, events: impl Iterator<Item = Value>) {
    let delivered =
        join_all(events.map(|event| async move { ledger.deliver(event.to_string().as_bytes()).await }));
    for taken in delivered.await {
        taken.expect("taken");
    }
}

async fn assert_ends(ledger: &WebhookLedger, tellings: &BTreeMap<String, (i64, Vec<Value>)>) {
    let found = ledger.credits_of_all().await;
    for (account, (credits, events)) in tellings {
        let kinds: Vec<String> = events
            .iter()
            .map(|event| format!("{} {}", event["type"], event["data"]["object"]["status"]))
            .collect();
        assert_eq!(found[account], BEFORE + credits, "{account}, told as\n{}", kinds.join("\n"));
    }
    let put_aside = ["failed", "quarantined", "received"];
    let statuses = ledger.statuses().await;
    assert!(!statuses.iter().any(|status| put_aside.contains(status)), "{statuses:?}");
}

#[tokio::test]
async fn stories_told_one_event_after_the_other_in_any_order_end_the_same() {
    let mut tellings = tellings();
    let ledger = ledger(&mut tellings).await;
    let longest = tellings.values().map(|(_, events)| events.len()).max().unwrap_or(0);
    for place in 0..longest {
        deliver_all(&ledger, tellings.values().filter_map(|(_, events)| events.get(place).cloned())).await;
        ledger.settle().await;
    }
    assert_ends(&ledger, &tellings).await;
}

#[tokio::test]
async fn stories_told_all_at_once_end_the_same() {
    let mut tellings = tellings();
    let ledger = ledger(&mut tellings).await;
    deliver_all(&ledger, tellings.values().flat_map(|(_, events)| events.clone())).await;
    ledger.settle().await;
    assert_ends(&ledger, &tellings).await;
}

#[tokio::test]
async fn working_off_everything_again_changes_nothing() {
    let mut tellings = tellings();
    tellings.retain(|account, _| account.ends_with("-1"));
    let ledger = ledger(&mut tellings).await;
    deliver_all(&ledger, tellings.values().flat_map(|(_, events)| events.clone())).await;
    ledger.settle().await;
    let events = ledger.count_all_events().await;
    ledger.replay(&ledger.event_ids().await).await;
    assert_eq!(ledger.count_all_events().await, events);
    assert_ends(&ledger, &tellings).await;
}
