//! From what Stripe tells of subscriptions to commands.
//!
//! Invariants:
//! - each line of an invoice is recorded under its own key, and what was paid is split over all lines, ours or not;
//! - lines about a change are recorded together: what they are worth is a matter of all of them;
//! - whose a subscription is, the ledger says if it knows it, else its metadata, else its customer.

use crate::{
    domain::{
        Command,
        amount::{PaidMoney, split_by_weights},
        command::{RecordInvoiceLine, RecordSubscription, StartSubscription, Subscriber},
        ids::{AccountId, AccountNumber, PriceId},
    },
    store::configuration::Configuration,
    stripe::{self, AccountMarker, BegunSubscription, InvoicedLine, PaidInvoice, SubscriptionReport},
};

use super::{
    mapping::{KeyedCommand, key},
    outcome::{Ignored, NotDone, Quarantined},
};

/// A checkout began a subscription.
pub(super) fn begun(told: BegunSubscription) -> Result<KeyedCommand, NotDone> {
    let subscriber = match (&told.account, told.order) {
        (_, Some(_)) => None,
        (Some(account), None) => Some(named(account)?),
        (None, None) => return Err(Ignored::NoFact(stripe::Ignored::Subscription).into()),
    };
    let BegunSubscription { session, subscription, order, .. } = told;
    let key = Some(key(format!("checkout_session:{session}"))?);
    let command = StartSubscription { subscription, subscriber, order, session };
    Ok(KeyedCommand { key, command: Command::StartSubscription(command) })
}

/// Without a key: a state knows the moment that it is of. A subscription is ours if the ledger knows it, if its metadata
/// names an account, or if it is to a price of ours and its customer is an account's.
pub(super) fn told(
    report: SubscriptionReport,
    ledger: &Configuration,
    owner: Option<AccountNumber>,
    is_known: bool,
) -> Result<KeyedCommand, NotDone> {
    let is_ours = |price: &PriceId| ledger.catalogue.prices.contains_key(price);
    let sells_ours = report.terms.items.iter().any(|item| is_ours(&item.price));
    if !is_known && report.account.is_none() && !sells_ours {
        return Err(Ignored::UnknownSubscription.into());
    }
    let subscriber = subscriber(owner, is_known, report.account.as_ref())?;
    // Of a customer of nobody, whose invoices will tell that somebody has to look.
    let subscriber = subscriber.ok_or(Ignored::UnknownSubscription)?;
    let SubscriptionReport { subscription, order, terms, .. } = report;
    let command = RecordSubscription { subscription, subscriber, order, terms };
    Ok(KeyedCommand { key: None, command: Command::RecordSubscription(command) })
}

/// What a paid invoice grants: changes within running periods first, then new periods.
pub(super) fn paid(
    invoice: PaidInvoice,
    ledger: &Configuration,
    owner: Option<AccountNumber>,
    is_known: bool,
) -> Result<Vec<KeyedCommand>, NotDone> {
    let is_ours = |line: &InvoicedLine| {
        let price = line.price.as_ref();
        price.is_some_and(|price| ledger.catalogue.prices.contains_key(price)) && line.quantity.is_some()
    };
    if !invoice.lines.iter().any(is_ours) {
        return if is_known || invoice.account.is_none() {
            Err(Ignored::NoKnownPrice.into())
        } else {
            // Made by someone who knows of us, so the price is missing here and not another product's.
            Err(Quarantined::UnknownPrice.into())
        };
    }
    let subscriber = subscriber(owner, is_known, invoice.account.as_ref())?;
    let subscriber = subscriber.ok_or(Quarantined::MissingAccount)?;
    let entries = stripe::entries(&invoice.lines, invoice.is_change, is_ours);
    let weights: Vec<i64> = entries.iter().map(stripe::Entry::weight).collect();
    let gross = split_by_weights(invoice.money.gross, &weights);
    let tax = split_by_weights(invoice.money.tax, &weights);
    let mut commands = Vec::new();
    for (entry, (gross, tax)) in entries.iter().zip(gross.into_iter().zip(tax)) {
        let money = PaidMoney::new(gross, tax.min(gross), invoice.money.currency);
        let (Some((line, sold)), Some(money)) = (entry.sold(), money) else { continue };
        let command = RecordInvoiceLine {
            subscription: invoice.subscription.clone(),
            subscriber: subscriber.clone(),
            invoice: invoice.invoice.clone(),
            line: line.line.clone(),
            payment_intent: invoice.payment_intent.clone(),
            money,
            paid_with: invoice.came_to,
            period: line.period,
            sold,
        };
        let key = Some(key(format!("invoice:{}:{}", invoice.invoice, line.line))?);
        commands.push(KeyedCommand { key, command: Command::RecordInvoiceLine(command) });
    }
    Ok(commands)
}

/// Whose it is, if anything says it.
fn subscriber(
    owner: Option<AccountNumber>,
    is_known: bool,
    marker: Option<&AccountMarker>,
) -> Result<Option<Subscriber>, NotDone> {
    match (owner, marker) {
        (Some(owner), _) if is_known => Ok(Some(Subscriber::Owner(owner))),
        (_, Some(marker)) => named(marker).map(Some),
        (owner, None) => Ok(owner.map(Subscriber::Owner)),
    }
}

fn named(marker: &AccountMarker) -> Result<Subscriber, NotDone> {
    let account = AccountId::parse(marker.account_id());
    let invalid = |_| NotDone::from(Quarantined::InvalidAccount { field: marker.field() });
    account.map(Subscriber::Named).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        amount::{Amount, Currency},
        catalogue::{Price, PriceGrant},
        command::SoldLine,
        ids::{StripeId, Unit},
        subscription::Period,
        time::Timestamp,
    };

    fn id(text: &str) -> StripeId {
        StripeId::parse(text).expect("an id")
    }

    fn price_of(text: &str) -> PriceId {
        PriceId::parse(text).expect("a price")
    }

    fn eur() -> Currency {
        Currency::parse("eur").expect("a currency")
    }

    /// A ledger that sells `price_plan` and `price_year`.
    fn ledger() -> Configuration {
        let mut ledger = Configuration::default();
        for price in ["price_plan", "price_year"] {
            let grant = PriceGrant {
                unit: Unit::parse("credits").expect("a unit"),
                amount: Amount::ONE,
                expires_days: None,
                priority: 50,
                share: 1,
            };
            let price = Price {
                price: price_of(price),
                display_name: String::new(),
                display_order: 0,
                active: true,
                money: 1_000,
                currency: eur(),
                grants: vec![grant],
                rollover: None,
                operator: None,
                stripe: None,
            };
            ledger.catalogue.prices.insert(price.price.clone(), price);
        }
        ledger
    }

    fn days(start: i64, end: i64) -> Period {
        let day = |day: i64| Timestamp::from_unix_seconds(day * 86_400).expect("in range");
        Period { start: day(start), end: day(end) }
    }

    fn line(number: u8, price: &str, amount: i64, period: Period, prorated: bool) -> InvoicedLine {
        InvoicedLine {
            line: id(&format!("il_{number}")),
            price: Some(price_of(price)),
            quantity: Some(Amount::ONE),
            amount,
            period,
            prorated,
        }
    }

    fn invoice(gross: i64, is_change: bool, lines: Vec<InvoicedLine>) -> PaidInvoice {
        PaidInvoice {
            invoice: id("in_1"),
            subscription: id("sub_1"),
            customer: Some(id("cus_1")),
            account: None,
            order: None,
            payment_intent: Some(id("pi_1")),
            money: PaidMoney::new(gross, 0, eur()).expect("money"),
            came_to: PaidMoney::new(gross, 0, eur()).expect("money"),
            is_change,
            lines,
        }
    }

    /// The key, the money and what was sold of each command.
    fn recorded(invoice: PaidInvoice) -> Vec<(String, i64, Period, SoldLine)> {
        let commands = paid(invoice, &ledger(), Some(AccountNumber(7)), true).expect("commands");
        let recorded = commands.into_iter().map(|keyed| match keyed.command {
            Command::RecordInvoiceLine(command) => {
                let key = keyed.key.expect("a key").text().to_owned();
                (key, command.money.gross, command.period, command.sold)
            }
            other => panic!("not a line: {other:?}"),
        });
        recorded.collect()
    }

    #[test]
    fn each_line_is_recorded_by_itself_with_its_part_of_what_was_paid() {
        let lines = vec![
            line(1, "price_plan", 1_000, days(0, 30), false),
            line(2, "price_of_another_product", 3_000, days(0, 30), false),
            line(3, "price_year", 0, days(0, 365), false),
        ];
        let recorded = recorded(invoice(2_000, false, lines));
        let [(first, gross, ..), (second, nothing, _, sold)] = &recorded[..] else { panic!("{recorded:?}") };
        assert_eq!((first.as_str(), *gross), ("invoice:in_1:il_1", 500));
        assert_eq!((second.as_str(), *nothing), ("invoice:in_1:il_3", 0));
        assert!(matches!(sold, SoldLine::Period { is_free: true, .. }));
    }

    #[test]
    fn lines_about_one_period_are_recorded_together_and_before_the_next_one() {
        let lines = vec![
            line(1, "price_plan", 1_000, days(30, 60), false),
            line(2, "price_plan", -400, days(10, 30), true),
            line(3, "price_year", 900, days(10, 30), true),
        ];
        let recorded = recorded(invoice(1_500, false, lines));
        let [(changes, gross, period, sold), (whole, rest, ..)] = &recorded[..] else {
            panic!("{recorded:?}")
        };
        assert_eq!((changes.as_str(), *gross, *period), ("invoice:in_1:il_2", 500, days(10, 30)));
        assert!(matches!(sold, SoldLine::Changes { lines, replaced: None } if lines.len() == 2));
        assert_eq!((whole.as_str(), *rest), ("invoice:in_1:il_1", 1_000));
    }

    #[test]
    fn a_change_that_begins_a_new_period_names_the_one_whose_place_it_took() {
        let lines = vec![
            line(1, "price_plan", -500, days(15, 30), true),
            line(2, "price_year", 10_000, days(15, 380), false),
        ];
        let recorded = recorded(invoice(9_500, true, lines));
        let [(key, gross, period, sold)] = &recorded[..] else { panic!("{recorded:?}") };
        assert_eq!((key.as_str(), *gross, *period), ("invoice:in_1:il_2", 9_500, days(15, 380)));
        let SoldLine::Changes { lines, replaced } = sold else { panic!("{sold:?}") };
        assert_eq!((lines.len(), *replaced), (2, Some(days(15, 30).end)));
    }

    #[test]
    fn whose_it_is_is_known_or_told_or_the_customers() {
        let of = |owner: Option<i64>, is_known, marker: Option<&str>| {
            let marker = marker.map(|id| AccountMarker::Metadata(id.to_owned()));
            subscriber(owner.map(AccountNumber), is_known, marker.as_ref()).expect("no nonsense")
        };
        let named = Some(Subscriber::Named(AccountId::parse("alice").expect("an account")));
        assert_eq!(of(Some(7), true, Some("alice")), Some(Subscriber::Owner(AccountNumber(7))));
        assert_eq!(of(Some(7), false, Some("alice")), named);
        assert_eq!(of(Some(7), false, None), Some(Subscriber::Owner(AccountNumber(7))));
        assert_eq!(of(None, false, None), None);
        let broken = AccountMarker::Metadata("no account".to_owned());
        assert!(subscriber(None, false, Some(&broken)).is_err());
    }

    #[test]
    fn an_invoice_of_other_prices_or_of_nobody_is_told_apart() {
        let foreign = || invoice(5, false, vec![line(1, "price_of_another_product", 5, days(0, 30), false)]);
        let none = |invoice, owner: Option<i64>, is_known| {
            paid(invoice, &ledger(), owner.map(AccountNumber), is_known).expect_err("nothing to record")
        };
        assert_eq!(none(foreign(), Some(7), true), Ignored::NoKnownPrice.into());
        let marked = PaidInvoice { account: Some(AccountMarker::Metadata("a".into())), ..foreign() };
        assert_eq!(none(marked, None, false), Quarantined::UnknownPrice.into());
        let ours = invoice(5, false, vec![line(1, "price_plan", 5, days(0, 30), false)]);
        assert_eq!(none(ours, None, false), Quarantined::MissingAccount.into());
    }
}
