//! The customer portal.

use askama::Template;
use serde_json::Value;

use super::{
    super::{store::Kind, subscriptions, world::Transaction},
    Shown, Texts, nothing, rendered, text,
};

/// For how long an address of the portal can be used, in seconds.
const LIFE: i64 = 3600;

#[derive(Template)]
#[template(path = "stripe/portal.html")]
struct PortalPage {
    texts: &'static Texts,
    subscriptions: Vec<Row>,
    link: Option<String>,
}

/// One subscription.
struct Row {
    id: String,
    name: String,
    amount: String,
    /// It ends with its period.
    is_ending: bool,
}

pub(super) fn show(transaction: &mut Transaction<'_>, id: &str, language: &str) -> Shown {
    let Some(session) = session(transaction, id) else { return nothing(Texts::of(&Value::Null, language)) };
    let texts = Texts::of(&session, language);
    let subscriptions = alive(transaction, &session).into_iter().map(|subscription| {
        let item = &subscription["items"]["data"][0];
        let product = transaction.peek(Kind::Product, &item["price"]["product"]);
        Row {
            id: text(&subscription["id"]).to_owned(),
            name: text(&product["name"]).to_owned(),
            amount: texts.money(&item["price"]["unit_amount"], &subscription["currency"]),
            is_ending: subscription["cancel_at_period_end"] == true,
        }
    });
    let page = PortalPage {
        texts,
        subscriptions: subscriptions.collect(),
        link: session["return_url"].as_str().map(str::to_owned),
    };
    Shown::Page(rendered(&page))
}

/// Lets a subscription of the session's customer end with its period.
pub(super) fn cancel(transaction: &mut Transaction<'_>, id: &str, subscription: &str) {
    let Some(session) = session(transaction, id) else { return };
    let meant = alive(transaction, &session).into_iter().find(|known| known["id"] == subscription);
    let Some(before) = meant else { return };
    let ending = subscriptions::let_end(transaction, &before, true);
    transaction.put(Kind::Subscription, &ending);
    transaction.emit_change("customer.subscription.updated", &before, &ending);
}

fn session(transaction: &Transaction<'_>, id: &str) -> Option<Value> {
    let session = transaction.store.get(Kind::PortalSession, id)?;
    (session["created"].as_i64()? + LIFE > transaction.now()).then(|| session.clone())
}

fn alive(transaction: &Transaction<'_>, session: &Value) -> Vec<Value> {
    let all = transaction.store.all(Kind::Subscription);
    all.filter(|subscription| {
        subscription["customer"] == session["customer"] && subscriptions::is_alive(subscription)
    })
    .cloned()
    .collect()
}
