//! `counterfoil stripe trigger`: makes a webhook as Stripe would, signs it and posts it to a running service;
//! `counterfoil stripe simulate`: a Stripe that works without a network.
//!
//! With `trigger` everything that Stripe reports can be tried without Stripe, and without a Stripe account. It is refused by any
//! ledger whose signing secret it does not know, which is all that protects a ledger from it.

mod bodies;
mod simulate;
mod target;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    domain::amount::{Amount, Currency, MAX_AMOUNT},
    stripe::signature,
};

use bodies::{Charge, CreditNote, Money, Price, Product, Refund, Session, Sold};
use target::Target;

/// Try what Stripe does, without Stripe.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Trigger(Box<TriggerArguments>),
    Simulate(simulate::Arguments),
}

/// Send a webhook as if Stripe had: realistic, and signed with the ledger's secret.
///
/// Prints what it sent and what the service answered. The credits follow a moment later.
///
/// A purchase:  counterfoil stripe trigger checkout.session.completed --account alice --price price_demo_starter
///
/// Its refund:  counterfoil stripe trigger refund.created --account alice
///
/// A part of it: counterfoil stripe trigger refund.created --payment-intent pi_… --amount 250
///
/// Or to the customer's balance: counterfoil stripe trigger credit_note.created --account alice --amount 250
///
/// A new price:  counterfoil stripe trigger price.created --price price_xl --amount 9900 --credits 5000 --unit credits
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct TriggerArguments {
    /// What happens at Stripe.
    event: EventKind,
    #[command(flatten)]
    target: target::Settings,
    /// Who buys, for the session's metadata, or whose last checkout is refunded.
    #[arg(long, value_name = "ACCOUNT", required_if_eq_any = SESSION_EVENTS)]
    account: Option<String>,
    /// Which price is bought: goes into the session's metadata. Or which price changes.
    #[arg(long, value_name = "PRICE", required_if_eq_any = PRICE_EVENTS)]
    price: Option<String>,
    /// Which product changes, or whose price it is; one named after the price if left out.
    #[arg(long, value_name = "prod_…", required_if_eq_any = PRODUCT_EVENTS)]
    product: Option<String>,
    /// What the product is called, or what the price is called beside its product.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The price or product cannot be bought any more.
    #[arg(long)]
    inactive: bool,
    /// How many of the price.
    #[arg(long, value_name = "NUMBER", default_value = "1", requires = "price", value_parser = amount)]
    quantity: Amount,
    /// How many credits are bought, where no price says it.
    #[arg(long, value_name = "NUMBER", requires = "unit", value_parser = amount)]
    credits: Option<Amount>,
    /// Of which unit.
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Money in the currency's smallest part (cents): what a session costs, what a refund or a credit note gives back, or for
    /// charge.refunded the sum of all refunds so far. If left out: what the price costs, or all that was paid.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..=MAX_AMOUNT))]
    amount: Option<i64>,
    /// How much of the session's money is tax.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(i64).range(0..=MAX_AMOUNT))]
    tax: i64,
    /// The currency of the money; the price's, or eur, if left out.
    #[arg(long, value_name = "CODE", value_parser = currency)]
    currency: Option<Currency>,
    /// The session; a new one if left out.
    #[arg(long, value_name = "cs_…")]
    session: Option<String>,
    /// The session is completed, but its money has not arrived yet.
    #[arg(long)]
    unpaid: bool,
    /// The payment. A session has a new one if left out, a refund is of the account's last checkout.
    #[arg(long, value_name = "pi_…")]
    payment_intent: Option<String>,
    /// The refund; a new one if left out.
    #[arg(long, value_name = "re_…")]
    refund: Option<String>,
    /// The credit note; a new one if left out.
    #[arg(long, value_name = "cn_…")]
    credit_note: Option<String>,
    /// How the refund stands: pending, requires_action, succeeded, failed or canceled; what the event suggests, if left
    /// out.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// The event's id; a new one if left out. The same again is what Stripe does when it is unsure.
    #[arg(long, value_name = "evt_…")]
    event_id: Option<String>,
}

const SESSION_EVENTS: [(&str, &str); 4] = [
    ("event", "checkout.session.completed"),
    ("event", "checkout.session.async_payment_succeeded"),
    ("event", "checkout.session.async_payment_failed"),
    ("event", "checkout.session.expired"),
];
const PRICE_EVENTS: [(&str, &str); 3] =
    [("event", "price.created"), ("event", "price.updated"), ("event", "price.deleted")];
const PRODUCT_EVENTS: [(&str, &str); 3] =
    [("event", "product.created"), ("event", "product.updated"), ("event", "product.deleted")];
/// The events that can be triggered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum EventKind {
    /// A checkout was completed; paid, unless --unpaid.
    #[value(name = "checkout.session.completed")]
    SessionCompleted,
    /// The money of an unpaid checkout has arrived.
    #[value(name = "checkout.session.async_payment_succeeded")]
    SessionPaymentSucceeded,
    /// The money of an unpaid checkout will not arrive.
    #[value(name = "checkout.session.async_payment_failed")]
    SessionPaymentFailed,
    /// Nobody completed the checkout in time.
    #[value(name = "checkout.session.expired")]
    SessionExpired,
    /// Money goes back to the buyer.
    #[value(name = "refund.created")]
    RefundCreated,
    /// A refund has a new status.
    #[value(name = "refund.updated")]
    RefundUpdated,
    /// The money of a refund came back.
    #[value(name = "refund.failed")]
    RefundFailed,
    /// The older form of refund.updated.
    #[value(name = "charge.refund.updated")]
    ChargeRefundUpdated,
    /// The sum of all refunds of a payment.
    #[value(name = "charge.refunded")]
    ChargeRefunded,
    /// A credit note gives money back to the customer's balance.
    #[value(name = "credit_note.created")]
    CreditNoteCreated,
    /// A credit note is void.
    #[value(name = "credit_note.voided")]
    CreditNoteVoided,
    /// A price was made.
    #[value(name = "price.created")]
    PriceCreated,
    /// A price was changed.
    #[value(name = "price.updated")]
    PriceUpdated,
    /// A price was removed.
    #[value(name = "price.deleted")]
    PriceDeleted,
    /// A product was made.
    #[value(name = "product.created")]
    ProductCreated,
    /// A product was changed.
    #[value(name = "product.updated")]
    ProductUpdated,
    /// A product was removed.
    #[value(name = "product.deleted")]
    ProductDeleted,
}

impl EventKind {
    fn name(self) -> &'static str {
        match self {
            Self::SessionCompleted => "checkout.session.completed",
            Self::SessionPaymentSucceeded => "checkout.session.async_payment_succeeded",
            Self::SessionPaymentFailed => "checkout.session.async_payment_failed",
            Self::SessionExpired => "checkout.session.expired",
            Self::RefundCreated => "refund.created",
            Self::RefundUpdated => "refund.updated",
            Self::RefundFailed => "refund.failed",
            Self::ChargeRefundUpdated => "charge.refund.updated",
            Self::ChargeRefunded => "charge.refunded",
            Self::CreditNoteCreated => "credit_note.created",
            Self::CreditNoteVoided => "credit_note.voided",
            Self::PriceCreated => "price.created",
            Self::PriceUpdated => "price.updated",
            Self::PriceDeleted => "price.deleted",
            Self::ProductCreated => "product.created",
            Self::ProductUpdated => "product.updated",
            Self::ProductDeleted => "product.deleted",
        }
    }
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Trigger(arguments) => trigger(&arguments).await,
        Command::Simulate(arguments) => simulate::run(arguments).await,
    }
}

async fn trigger(arguments: &TriggerArguments) -> anyhow::Result<()> {
    let target = Target::find(&arguments.target)?;
    let now = unix_time()?;
    let object = object(arguments, &target, now).await?;
    let event_id = arguments.event_id.clone().unwrap_or_else(|| new_id("evt"));
    let body = bodies::event(&event_id, arguments.event.name(), &object, now).to_string();
    let signature = signature::sign(body.as_bytes(), &target.secret, now);
    println!("event             {} {event_id}", arguments.event.name());
    for (label, id) in
        [(&object["object"], &object["id"]), (&json!("payment_intent"), &object["payment_intent"])]
    {
        if let (Some(label), Some(id)) = (label.as_str(), id.as_str()) {
            println!("{label:<17} {id}");
        }
    }
    let answer = target.post(body, signature).await?;
    println!("answer            {answer}");
    if !answer.is_success {
        bail!("the service did not take the webhook");
    }
    Ok(())
}

async fn object(arguments: &TriggerArguments, target: &Target, now: i64) -> anyhow::Result<Value> {
    match arguments.event {
        EventKind::SessionCompleted if arguments.unpaid => {
            session(arguments, target, now, "unpaid", "complete").await
        }
        EventKind::SessionCompleted | EventKind::SessionPaymentSucceeded => {
            session(arguments, target, now, "paid", "complete").await
        }
        EventKind::SessionPaymentFailed => session(arguments, target, now, "unpaid", "complete").await,
        EventKind::SessionExpired => session(arguments, target, now, "unpaid", "expired").await,
        EventKind::RefundCreated | EventKind::RefundUpdated | EventKind::ChargeRefundUpdated => {
            refund(arguments, target, now, "succeeded").await
        }
        EventKind::RefundFailed => refund(arguments, target, now, "failed").await,
        EventKind::ChargeRefunded => charge(arguments, target, now).await,
        EventKind::CreditNoteCreated => credit_note(arguments, target, now, "issued").await,
        EventKind::CreditNoteVoided => credit_note(arguments, target, now, "void").await,
        EventKind::PriceCreated | EventKind::PriceUpdated => price(arguments, target, now, false).await,
        EventKind::PriceDeleted => price(arguments, target, now, true).await,
        EventKind::ProductCreated | EventKind::ProductUpdated => product(arguments, now, false),
        EventKind::ProductDeleted => product(arguments, now, true),
    }
}

async fn price(
    arguments: &TriggerArguments,
    target: &Target,
    now: i64,
    is_deleted: bool,
) -> anyhow::Result<Value> {
    let price = arguments.price.as_deref().context("--price is needed")?;
    let usual = format!("prod_{}", price.strip_prefix("price_").unwrap_or(price));
    Ok(bodies::price(&Price {
        price,
        product: arguments.product.as_deref().unwrap_or(&usual),
        name: arguments.name.as_deref(),
        money: money(arguments, target).await?,
        terms: terms(arguments),
        is_active: !arguments.inactive && !is_deleted,
        now,
    }))
}

fn product(arguments: &TriggerArguments, now: i64, is_deleted: bool) -> anyhow::Result<Value> {
    Ok(bodies::product(&Product {
        product: arguments.product.as_deref().context("--product is needed")?,
        name: arguments.name.as_deref(),
        terms: terms(arguments),
        is_active: !arguments.inactive && !is_deleted,
        now,
    }))
}

/// What a price or product grants, as its metadata says it.
fn terms(arguments: &TriggerArguments) -> Option<(Amount, &str)> {
    arguments.credits.zip(arguments.unit.as_deref())
}

async fn session(
    arguments: &TriggerArguments,
    target: &Target,
    now: i64,
    payment_status: &'static str,
    status: &'static str,
) -> anyhow::Result<Value> {
    let account = arguments.account.as_deref().context("--account is needed")?;
    let sold = match (&arguments.credits, &arguments.price) {
        (Some(credits), _) => {
            Sold::Credits { credits: *credits, unit: arguments.unit.as_deref().context("--unit is needed")? }
        }
        (None, Some(price)) => Sold::Price { price, quantity: arguments.quantity },
        (None, None) => bail!("--price or --credits and --unit say what is bought"),
    };
    let money = money(arguments, target).await?;
    let session_id = arguments.session.clone().unwrap_or_else(|| new_id("cs_test"));
    let payment_intent = arguments.payment_intent.clone().unwrap_or_else(|| new_id("pi"));
    Ok(bodies::session(&Session {
        session: &session_id,
        payment_intent: &payment_intent,
        account,
        sold,
        money,
        tax: arguments.tax,
        payment_status,
        status,
        now,
    }))
}

/// What the arguments say, or what the service says that the price costs.
async fn money(arguments: &TriggerArguments, target: &Target) -> anyhow::Result<Money> {
    let money = match (arguments.amount, &arguments.price) {
        (Some(amount), _) => Money { amount, currency: eur()? },
        (None, Some(price)) => {
            let Money { amount, currency } = target.price_money(price).await?;
            let total = amount.checked_mul(arguments.quantity.get());
            Money { amount: total.context("the price times the quantity is too much")?, currency }
        }
        (None, None) => bail!("--amount, or a --price that is known, says how much money it is about"),
    };
    Ok(Money { currency: arguments.currency.unwrap_or(money.currency), ..money })
}

async fn refund(
    arguments: &TriggerArguments,
    target: &Target,
    now: i64,
    usual: &str,
) -> anyhow::Result<Value> {
    let refund = arguments.refund.clone().unwrap_or_else(|| new_id("re"));
    let (payment_intent, money) = refunded(arguments, target).await?;
    let status = arguments.status.as_deref().unwrap_or(usual);
    Ok(bodies::refund(&Refund { refund: &refund, payment_intent: &payment_intent, money, status, now }))
}

async fn charge(arguments: &TriggerArguments, target: &Target, now: i64) -> anyhow::Result<Value> {
    let (payment_intent, refunded) = refunded(arguments, target).await?;
    Ok(bodies::charge(&Charge { payment_intent: &payment_intent, refunded, now }))
}

async fn credit_note(
    arguments: &TriggerArguments,
    target: &Target,
    now: i64,
    status: &'static str,
) -> anyhow::Result<Value> {
    let note = arguments.credit_note.clone().unwrap_or_else(|| new_id("cn"));
    let (payment_intent, money) = refunded(arguments, target).await?;
    Ok(bodies::credit_note(&CreditNote { note: &note, payment_intent: &payment_intent, money, status, now }))
}

/// Which payment is refunded, and how much of it: what the arguments say, or all of the account's last checkout.
async fn refunded(arguments: &TriggerArguments, target: &Target) -> anyhow::Result<(String, Money)> {
    if let Some(payment_intent) = &arguments.payment_intent {
        return Ok((payment_intent.clone(), money(arguments, target).await?));
    }
    let account = arguments.account.as_deref();
    let account =
        account.context("--payment-intent, or the --account whose last checkout is meant, is needed")?;
    let (payment_intent, paid) = target.last_payment(account).await?;
    let money = match (arguments.amount, &arguments.price) {
        (None, None) => paid,
        (Some(amount), _) => Money { amount, currency: arguments.currency.unwrap_or(paid.currency) },
        (None, Some(_)) => money(arguments, target).await?,
    };
    Ok((payment_intent.to_string(), money))
}

fn eur() -> anyhow::Result<Currency> {
    Currency::parse("eur").context("eur is a currency")
}

fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::new_v4().simple())
}

#[expect(clippy::disallowed_methods, reason = "Stripe signs by its own clock, which this process plays here")]
fn unix_time() -> anyhow::Result<i64> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    i64::try_from(since_1970.as_secs()).context("the clock is beyond all years")
}

fn amount(text: &str) -> Result<Amount, String> {
    text.parse().ok().and_then(Amount::new).ok_or_else(|| "a whole number from 1 on".to_owned())
}

fn currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).ok_or_else(|| "three letters, such as eur".to_owned())
}
