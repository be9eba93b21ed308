//! Sends events to the endpoints that want them, signed, until they are taken.
//!
//! Invariants:
//! - what has to be sent stands in the store before anyone hears of it, and is struck off after an answer of success: a
//!   webhook may arrive twice and is never lost;
//! - nothing is sent under the lock; webhooks are under way at the same time and may overtake each other, as Stripe's do;
//! - each try is signed anew, with the real time, for receivers compare it with theirs.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::{Value, json};

use super::{
    older,
    resources::webhook_endpoints,
    store::Kind,
    world::{Cause, Shared, real_now_ms},
};
use crate::stripe::signature::{self, SigningSecret};

/// How many are under way at once.
const CONCURRENT: usize = 16;

/// How long an endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// When the next try follows a failed one, in seconds; the last is repeated.
const PAUSES: &[i64] = &[1, 5, 30, 300, 1800, 3600, 7200, 14_400];

/// After so many tries Stripe gives up.
const MOST_TRIES: usize = 16;

/// How often the clock is looked at for what may have become due, without anyone asking.
const TICK: Duration = Duration::from_millis(500);

/// How many finished deliveries the log keeps.
const LOG_LENGTH: usize = 20_000;

struct Delivery {
    id: String,
    endpoint: String,
    url: String,
    body: String,
    signature: String,
}

/// Sends for as long as the future is polled.
pub(super) async fn run(shared: Arc<Shared>) {
    let client =
        reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "no webhook can be sent");
            return;
        }
    };
    let mut under_way = FuturesUnordered::new();
    let mut busy: Vec<String> = Vec::new();
    loop {
        for delivery in next(&shared, &busy, CONCURRENT.saturating_sub(busy.len())) {
            busy.push(delivery.id.clone());
            under_way.push(send(&client, delivery));
        }
        tokio::select! {
            Some((delivery, answer)) = under_way.next(), if !under_way.is_empty() => {
                busy.retain(|id| *id != delivery.id);
                record(&shared, &delivery, &answer);
            }
            () = shared.bell.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// What an endpoint said: its status, or why there is none.
type Answer = Result<u16, String>;

async fn send(client: &reqwest::Client, delivery: Delivery) -> (Delivery, Answer) {
    let request = client
        .post(&delivery.url)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("Stripe-Signature", &delivery.signature)
        .body(delivery.body.clone());
    let answer = match request.send().await {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(error.without_url().to_string()),
    };
    (delivery, answer)
}

/// What is due now and not under way, signed.
fn next(shared: &Shared, busy: &[String], most: usize) -> Vec<Delivery> {
    if most == 0 {
        return Vec::new();
    }
    let due = shared.lock().transact(Cause::default(), |transaction| {
        let due: Vec<Value> = transaction
            .store
            .entries(Kind::Delivery)
            .filter(|(id, delivery)| {
                delivery["due_ms"].as_i64().is_some_and(|due| due <= transaction.now_ms)
                    && !busy.iter().any(|busy| busy == id)
            })
            .take(most)
            .map(|(_, delivery)| delivery.clone())
            .collect();
        let mut deliveries = Vec::new();
        for delivery in due {
            let endpoint = transaction.peek(Kind::WebhookEndpoint, &delivery["endpoint"]);
            if endpoint["status"] != "enabled" {
                // Nobody wants it any more.
                transaction.store.remove(Kind::Delivery, text(&delivery["id"]));
                continue;
            }
            let secrets = webhook_endpoints::secrets(transaction, text(&endpoint["id"]));
            let mut event = delivery["body"].clone();
            let version = endpoint["api_version"].as_str().unwrap_or(super::API_VERSION).to_owned();
            older::reshape(&mut event, &version, transaction.store);
            let body = event.to_string();
            deliveries.push(Delivery {
                id: text(&delivery["id"]).to_owned(),
                endpoint: text(&endpoint["id"]).to_owned(),
                url: text(&endpoint["url"]).to_owned(),
                signature: sign(&body, &secrets),
                body,
            });
        }
        Ok(deliveries)
    });
    due.unwrap_or_default()
}

/// One header for all secrets: `t=…,v1=…,v1=…`.
fn sign(body: &str, secrets: &[String]) -> String {
    let now = real_now_ms() / 1000;
    let mut header = format!("t={now}");
    for secret in secrets.iter().filter_map(|secret| SigningSecret::parse(secret).ok()) {
        let signed = signature::sign(body.as_bytes(), &secret, now);
        if let Some((_, signature)) = signed.split_once(',') {
            header.push(',');
            header.push_str(signature);
        }
    }
    header
}

fn record(shared: &Shared, delivery: &Delivery, answer: &Answer) {
    let recorded = shared.lock().transact(Cause::default(), |transaction| {
        let mut record = transaction.peek(Kind::Delivery, &delivery.id.as_str().into());
        let is_taken = matches!(answer, Ok(200..=299));
        if let Some(attempts) = record["attempts"].as_array_mut() {
            attempts.push(json!({
                "at": transaction.now_ms / 1000,
                "status": answer.as_ref().ok(),
                "error": answer.as_ref().err(),
            }));
            let tries = attempts.len();
            if is_taken || tries >= MOST_TRIES {
                record["status"] = if is_taken { "delivered".into() } else { "failed".into() };
                if let Some(fields) = record.as_object_mut() {
                    fields.shift_remove("body");
                }
                transaction.store.remove(Kind::Delivery, &delivery.id);
                transaction.put(Kind::Delivered, &record);
                forget_old(transaction.store);
                count_down(transaction.store, text(&record["event"]), is_taken);
            } else {
                let pause = PAUSES[(tries - 1).min(PAUSES.len() - 1)];
                record["due_ms"] = (transaction.now_ms + pause * 1000).into();
                transaction.put(Kind::Delivery, &record);
            }
        }
        Ok(())
    });
    if let Err(failure) = recorded {
        tracing::error!(
            endpoint = delivery.endpoint,
            message = failure.message,
            "a delivery is not recorded"
        );
    }
}

fn count_down(store: &mut super::store::Store, event: &str, is_taken: bool) {
    let Some(mut object) = store.get(Kind::Event, event).cloned() else { return };
    if let Some(pending) = object["pending_webhooks"].as_i64().filter(|_| is_taken) {
        object["pending_webhooks"] = (pending - 1).max(0).into();
        store.put(Kind::Event, event, object);
    }
}

fn forget_old(store: &mut super::store::Store) {
    let surplus = store.count(Kind::Delivered).saturating_sub(LOG_LENGTH);
    let old: Vec<String> =
        store.entries(Kind::Delivered).take(surplus).map(|(id, _)| id.to_owned()).collect();
    for id in old {
        store.remove(Kind::Delivered, &id);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
