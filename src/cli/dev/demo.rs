//! The ledger `demo`: a small catalogue to try things with.
//!
//! Every step has a key of its own, so that doing it again at the next start changes nothing, also after somebody has
//! changed the catalogue.

use std::collections::BTreeMap;

use anyhow::Context;

use crate::cli::administration::Administration;
use crate::domain::amount::{Amount, Currency};
use crate::domain::catalogue::{Feature, Price, PriceGrant};
use crate::domain::command::{CreateCheckoutLink, Note, OpenAccount, ProfileChange};
use crate::domain::ids::{AccountId, CheckoutLinkId, FeatureKey, Key, LedgerSlug, Namespace, PriceId, Unit};
use crate::domain::order::OrderDetails;
use crate::domain::settings::{LedgerMode, LedgerSettings, UnitSettings};
use crate::domain::{Command, EventBody};
use crate::store::ledgers::Ledger;

/// The ledger's name.
pub(super) const SLUG: &str = "demo";

/// What it counts.
pub(super) const UNIT: &str = "credits";
/// Name, credits for one.
const FEATURES: [(&str, i64); 3] = [("resume_analysis", 10), ("job_match", 5), ("resume_improvement", 15)];
/// Id, what a shop shows, credits, euro cents.
pub(super) const PRICES: [(&str, &str, i64, i64); 3] = [
    ("price_demo_starter", "Starter", 100, 500),
    ("price_demo_pro", "Pro", 500, 2_000),
    ("price_demo_premium", "Premium", 1_200, 3_500),
];

/// Finds the ledger or makes it, and fills in what is missing. Says whether it was made.
pub(super) async fn ensure_ledger(administration: &Administration) -> anyhow::Result<(Ledger, bool)> {
    let slug = LedgerSlug::parse(SLUG)?;
    let (ledger, is_new) = administration.ensure_ledger(&slug, LedgerMode::Test).await?;
    for (key, command) in steps()? {
        let key = Key::new(Namespace::System, &key)?;
        administration.submit(&ledger, command, Some(key)).await.context("the demo catalogue")?;
    }
    Ok((ledger, is_new))
}

/// A link by which the account `demo` can be sold the smallest pack; none if that is not on sale any more.
pub(super) async fn ensure_link(
    administration: &Administration,
    ledger: &Ledger,
) -> anyhow::Result<Option<CheckoutLinkId>> {
    let account = AccountId::parse(SLUG)?;
    let open =
        OpenAccount { account: account.clone(), profile: ProfileChange::default(), stripe_customer: None };
    let key = Key::new(Namespace::System, "demo:account")?;
    administration.submit(ledger, Command::OpenAccount(open), Some(key)).await?;
    let link = CreateCheckoutLink {
        account,
        price: PriceId::parse(PRICES[0].0)?,
        quantity: Amount::ONE,
        expires_at: None,
        details: OrderDetails::default(),
        note: Note::new(),
    };
    let key = Key::new(Namespace::System, "demo:link")?;
    let made = administration.submit(ledger, Command::CreateCheckoutLink(link), Some(key)).await;
    let events = made.map(|accepted| accepted.events).unwrap_or_default();
    Ok(events.iter().find_map(|event| match &event.body {
        EventBody::CheckoutLinkCreated(created) => Some(created.link),
        _ => None,
    }))
}

fn steps() -> anyhow::Result<Vec<(String, Command)>> {
    let unit = Unit::parse(UNIT)?;
    let units = BTreeMap::from([(unit.clone(), UnitSettings { scale: 0 })]);
    let settings = LedgerSettings { units, ..LedgerSettings::default() };
    let mut steps = vec![("demo:settings".to_owned(), Command::ConfigureLedger(settings))];
    for (name, cost) in FEATURES {
        let feature = Feature {
            feature: FeatureKey::parse(name)?,
            unit: unit.clone(),
            cost: amount(cost)?,
            active: true,
        };
        steps.push((format!("demo:feature:{name}"), Command::SetFeature(feature)));
    }
    for (display_order, (id, display_name, credits, money)) in (1..).zip(PRICES) {
        let grant = PriceGrant {
            unit: unit.clone(),
            amount: amount(credits)?,
            expires_days: None,
            priority: 50,
            share: 1,
        };
        let price = Price {
            price: PriceId::parse(id)?,
            display_name: display_name.to_owned(),
            display_order,
            active: true,
            money,
            currency: Currency::parse("EUR").context("EUR is a currency")?,
            grants: vec![grant],
            rollover: None,
            operator: None,
            stripe: None,
        };
        steps.push((format!("demo:price:{id}"), Command::SetPrice(price.into())));
    }
    Ok(steps)
}

fn amount(number: i64) -> anyhow::Result<Amount> {
    Amount::new(number).context("an amount of the demo catalogue")
}
