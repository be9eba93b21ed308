//! What buyers, banks and shopkeepers do.

use serde_json::{Value, json};

use super::super::{
    answer::{Class, Failure},
    billing,
    cards::{self, Card, Method},
    checkout::{self, Entered},
    resources::{
        Given, checkout_sessions, credit_notes, disputes, payment_methods, prices, products, refunds,
    },
    store::Kind,
    subscriptions,
    world::Transaction,
};

/// Does what the path says.
///
/// # Errors
/// If there is nothing to do it to, or it cannot be done now.
pub(super) fn perform(
    transaction: &mut Transaction<'_>,
    segments: &[&str],
    order: &Value,
) -> Result<Value, Failure> {
    match segments {
        ["checkout_sessions", id, "complete"] => complete(transaction, id, order),
        ["checkout_sessions", id, "challenge"] => challenge(transaction, id, order),
        ["checkout_sessions", id, "expire"] => {
            checkout::open(transaction, id)?;
            Ok(checkout_sessions::expire(transaction, id))
        }
        ["checkout_sessions", id, "async_result"] => {
            let has_arrived = outcome(order, &[("succeeded", true), ("failed", false)])?;
            checkout::settle(transaction, id, has_arrived)
        }
        ["refunds", id, "fail"] => {
            let reason = order["reason"].as_str().unwrap_or("expired_or_canceled_card");
            refunds::fail(transaction, id, reason)
        }
        ["refunds", id, "succeed"] => refunds::succeed(transaction, id),
        ["refunds", id, "require_action"] => refunds::require_action(transaction, id),
        ["charges", id, "dispute"] => {
            let new = disputes::New {
                amount: order["amount"].as_i64(),
                reason: order["reason"].as_str().unwrap_or("fraudulent").to_owned(),
                is_inquiry: order["inquiry"] == true,
            };
            let charge = charge(transaction, id);
            disputes::open(transaction, &charge, &new)
        }
        ["disputes", id, "escalate"] => disputes::escalate(transaction, id),
        ["disputes", id, "close"] => {
            let is_won = outcome(order, &[("won", true), ("lost", false)])?;
            disputes::close(transaction, id, is_won)
        }
        ["invoices", id, "pay"] => billing::pay_with(transaction, id, Method::Card(card(order)?)),
        ["invoices", id, "collect"] => {
            let invoice = billing::open(transaction, id)?;
            Ok(billing::collect(transaction, &invoice))
        }
        ["subscriptions", id, "renew"] => {
            let subscription = transaction.find(Kind::Subscription, id)?;
            if !subscriptions::is_alive(&subscription) {
                return Err(Failure::state(format!("Subscription {id} is over.")));
            }
            Ok(subscriptions::renew(transaction, &subscription))
        }
        ["credit_notes", id, "void"] => credit_notes::take_back(transaction, id),
        ["customers", id, "card"] => {
            let card = card(order)?;
            payment_methods::replace(transaction, id, Method::Card(card))
        }
        ["events", id, "resend"] => resend(transaction, id),
        ["products"] => products::make(transaction, &given(order)?),
        ["prices"] => price(transaction, order),
        _ => Err(Failure::new(Class::Missing, "The control API has no such address.")),
    }
}

fn complete(transaction: &mut Transaction<'_>, id: &str, order: &Value) -> Result<Value, Failure> {
    let outcome = outcome(order, &[("paid", "paid"), ("unpaid", "unpaid"), ("declined", "declined")])?;
    let session = checkout::open(transaction, id)?;
    let details = &session["customer_details"];
    let entered = |name: &str, otherwise: &str| {
        let known = details.get(name).is_some_and(|known| !known.is_null());
        let given = order[name].as_str().map(str::to_owned);
        given.or_else(|| (!known).then(|| otherwise.to_owned()))
    };
    let has_country = !details["address"]["country"].is_null();
    let country =
        order["country"].as_str().map(str::to_owned).or_else(|| (!has_country).then(|| "DE".to_owned()));
    let entered = Entered {
        email: entered("email", "buyer@example.com"),
        name: entered("name", "Test Buyer"),
        country,
        tax_id: order["tax_id"].as_str().map(str::to_owned),
    };
    checkout::enter(transaction, id, &entered);
    if let Some(code) = order["promotion_code"].as_str() {
        checkout::use_code(transaction, id, code).map_err(|why| Failure::state(why).of("promotion_code"))?;
    }
    let card = card(order)?;
    match outcome {
        "declined" => {
            checkout::decline(transaction, id, Method::Card(card), &cards::GENERIC)?;
        }
        "unpaid" => {
            checkout::pay(transaction, id, Method::SepaDebit, false)?;
        }
        _ => {
            checkout::pay(transaction, id, Method::Card(card), false)?;
        }
    }
    transaction.find(Kind::CheckoutSession, id)
}

/// The card that is ordered, or one that pays.
fn card(order: &Value) -> Result<&'static Card, Failure> {
    let number = order["card"].as_str().unwrap_or("4242424242424242");
    Card::find(number).ok_or_else(|| Failure::parameters("That is no test card.").of("card"))
}

fn challenge(transaction: &mut Transaction<'_>, id: &str, order: &Value) -> Result<Value, Failure> {
    let has_passed = outcome(order, &[("passed", true), ("failed", false)])?;
    checkout::answer_challenge(transaction, id, has_passed)?;
    transaction.find(Kind::CheckoutSession, id)
}

/// Sends an event once more to everyone who wants it.
fn resend(transaction: &mut Transaction<'_>, id: &str) -> Result<Value, Failure> {
    let event = transaction.find(Kind::Event, id)?;
    transaction.deliver(&event);
    Ok(event)
}

/// A price with an id of the caller's choice, and a product of its own unless it names one.
fn price(transaction: &mut Transaction<'_>, order: &Value) -> Result<Value, Failure> {
    let mut given = given(order)?;
    let id = given.text("id").map(str::to_owned);
    if let Some(known) = id.as_deref().and_then(|id| transaction.store.get(Kind::Price, id)) {
        return Ok(known.clone());
    }
    given.take_product(transaction)?;
    prices::make(transaction, &given, id)
}

fn given(order: &Value) -> Result<Given, Failure> {
    let fields = order.as_object().cloned();
    Ok(fields.ok_or_else(|| Failure::parameters("The body is a JSON object."))?.into())
}

/// A charge may also be named by its payment intent.
fn charge(transaction: &Transaction<'_>, id: &str) -> String {
    let intent = transaction.peek(Kind::PaymentIntent, &json!(id));
    intent["latest_charge"].as_str().unwrap_or(id).to_owned()
}

fn outcome<T: Copy>(order: &Value, known: &[(&str, T)]) -> Result<T, Failure> {
    known.iter().find(|(name, _)| order["outcome"] == *name).map(|(_, outcome)| *outcome).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Failure::parameters(format!("`outcome` is one of {}.", names.join(", "))).of("outcome")
    })
}
