//! What happens by itself when its time has come: sessions expire, subscriptions renew, keys and events are forgotten.

use serde_json::Value;

use super::{
    events, idempotency,
    resources::checkout_sessions,
    store::{Kind, Store},
    subscriptions,
    world::Transaction,
};

/// Whether time changes an object that is like this: only these are looked at when time has passed.
pub(super) fn waits(kind: Kind, object: &Value) -> bool {
    match kind {
        Kind::CheckoutSession | Kind::Invoice => object["status"] == "open",
        Kind::Subscription => subscriptions::is_alive(object),
        _ => false,
    }
}

/// The earliest moment up to `now` (seconds since 1970) at which something is due.
pub(super) fn next(store: &Store, now: i64) -> Option<i64> {
    let sessions =
        store.waiting(Kind::CheckoutSession).filter_map(|(_, session)| session["expires_at"].as_i64());
    // Both are kept in the order in which they were made, so the first is the oldest.
    let key = store.all(Kind::IdempotentRequest).next().and_then(|request| request["created"].as_i64());
    let key = key.map(|created| created + idempotency::KEPT_SECONDS);
    let event = store.all(Kind::Event).next().and_then(|event| event["created"].as_i64());
    let event = event.map(|created| created + events::KEPT_SECONDS);
    sessions
        .chain(key)
        .chain(event)
        .chain(subscriptions::next_due(store))
        .filter(|moment| *moment <= now)
        .min()
}

/// Does everything that is due at the transaction's moment.
pub(super) fn apply(transaction: &mut Transaction<'_>) {
    let now = transaction.now();
    let expired: Vec<String> = transaction
        .store
        .waiting(Kind::CheckoutSession)
        .filter(|(_, session)| session["expires_at"].as_i64().is_some_and(|moment| moment <= now))
        .map(|(id, _)| id.to_owned())
        .collect();
    for session in expired {
        checkout_sessions::expire(transaction, &session);
    }
    subscriptions::apply_due(transaction);
    for (kind, kept) in
        [(Kind::IdempotentRequest, idempotency::KEPT_SECONDS), (Kind::Event, events::KEPT_SECONDS)]
    {
        let old: Vec<String> = transaction
            .store
            .entries(kind)
            .take_while(|(_, object)| object["created"].as_i64().unwrap_or(0) + kept <= now)
            .map(|(id, _)| id.to_owned())
            .collect();
        for id in old {
            transaction.store.remove(kind, &id);
        }
    }
}
