//! From facts to commands: what Stripe reported becomes a wish of the ledger, under the name of the business fact.
//!
//! Invariants:
//! - pure: the ledger's prices and units are given, nothing is looked up;
//! - the key of a command names what happened at Stripe, so that every event which tells of it meets the same key;
//! - nothing is weighed or guessed: a fact becomes commands, or the reason says why not.

use std::collections::BTreeMap;

use crate::{
    domain::{
        Command,
        amount::Amount,
        command::{
            Bought, CloseOrder, Heard, Note, PaidThrough, RecordPaymentFact, RecordPurchase, SyncPrice,
            SyncProduct, UnlinkCustomer,
        },
        ids::{
            AccountId, AccountNumber, InvalidName, Key, Namespace, PaymentReference, PriceId, StripeId, Unit,
        },
        order::{OrderEnding, OrderFailure},
        payment::PaymentFact,
    },
    store::configuration::Configuration,
    stripe::{
        self, AccountMarker, ClosedSession, Fact, NeedsStripe, PaidElsewhere, PaidSession, PaymentReport,
        PriceReport, ProductReport, SessionEnding, SoldPrice, StatedCredits,
    },
};

use super::{
    billing,
    outcome::{Ignored, NotDone, Quarantined},
};

/// A command and what makes it happen once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyedCommand {
    /// The name of the business fact; none for a state that knows the moment that it is of, and for what the ledger's own
    /// state tells to be recorded.
    pub(super) key: Option<Key>,
    /// What the ledger is to do.
    pub(super) command: Command,
}

/// Whose something is, as the ledger knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    /// The account that the subscription or the customer belongs to.
    pub(super) account: Option<AccountNumber>,
    /// Whether the ledger knows the subscription.
    pub(super) subscription_is_known: bool,
}

/// The commands that record `fact`, in the order in which they are to be handed over. A fact about a customer or a
/// subscription concerns its `owner`.
pub(super) fn commands(
    fact: Fact,
    ledger: &Configuration,
    owner: Owner,
) -> Result<Vec<KeyedCommand>, NotDone> {
    match fact {
        Fact::SessionPaid(session) => Ok(vec![purchase(session, ledger)?]),
        Fact::SessionClosed(closed) => Ok(vec![end_of_order(closed)]),
        Fact::PaymentReport(report) => payment_facts(report),
        // What it bought is on record without a payment, so that no fact of one can take it back.
        Fact::CreditedElsewhere(told) => Err(credited_elsewhere(told.paid_by, owner)),
        Fact::PriceTold(report) => Ok(vec![price(report, ledger)?]),
        Fact::ProductTold(report) => Ok(vec![product(report, ledger)?]),
        Fact::CustomerDeleted(customer) => Ok(vec![end_of_customer(customer, owner.account)?]),
        Fact::SubscriptionBegun(begun) => Ok(vec![billing::begun(begun)?]),
        Fact::SubscriptionTold(report) => {
            Ok(vec![billing::told(report, ledger, owner.account, owner.subscription_is_known)?])
        }
        Fact::InvoicePaid(invoice) => {
            billing::paid(invoice, ledger, owner.account, owner.subscription_is_known)
        }
    }
}

/// People have to look at a note on an invoice of ours that no payment paid.
fn credited_elsewhere(paid_by: PaidElsewhere, owner: Owner) -> NotDone {
    match (paid_by, owner.subscription_is_known) {
        (PaidElsewhere::OutsideOfStripe, true) => Quarantined::PaidOutsideOfStripe.into(),
        (PaidElsewhere::Balance, true) => Quarantined::PaidFromBalance.into(),
        (PaidElsewhere::OutsideOfStripe, false) => Ignored::NoFact(stripe::Ignored::NoPaymentIntent).into(),
        (PaidElsewhere::Balance, false) => Ignored::NoFact(stripe::Ignored::NothingPaid).into(),
    }
}

fn purchase(session: PaidSession, ledger: &Configuration) -> Result<KeyedCommand, NotDone> {
    let bought = match session.order {
        Some(_) => ordered(&session, ledger)?,
        None => bought(&session, ledger)?,
    };
    let account = account(session.account.as_ref())?;
    Ok(KeyedCommand {
        key: Some(key(format!("checkout_session:{}", session.session))?),
        command: Command::RecordPurchase(RecordPurchase {
            account,
            paid_through: PaidThrough::CheckoutSession {
                session: session.session,
                payment_intent: session.payment_intent,
            },
            order: session.order,
            bought,
            money: session.money,
            note: Note::new(),
        }),
    })
}

/// What a session with an order says of it besides. What was sold stands in the order, whatever has become of the price
/// since; the ledger holds the one against the other.
fn ordered(session: &PaidSession, ledger: &Configuration) -> Result<Bought, NotDone> {
    let price = match session.prices.as_slice() {
        [] => None,
        [sold] => Some((sold.price.clone(), sold.quantity)),
        _ => return Err(Quarantined::SeveralPrices.into()),
    };
    Ok(Bought { price, totals: totals(session, ledger)? })
}

/// What was sold: stated credits, a known price, or both, which the ledger holds against each other.
fn bought(session: &PaidSession, ledger: &Configuration) -> Result<Bought, NotDone> {
    Ok(Bought { price: known_price(session, ledger)?, totals: totals(session, ledger)? })
}

fn totals(session: &PaidSession, ledger: &Configuration) -> Result<BTreeMap<Unit, Amount>, NotDone> {
    match &session.credits {
        Some(credits) => Ok([(unit(credits, ledger)?, credits.amount)].into()),
        None => Ok(BTreeMap::new()),
    }
}

fn known_price(session: &PaidSession, ledger: &Configuration) -> Result<Option<(PriceId, Amount)>, NotDone> {
    let is_known = |sold: &SoldPrice| ledger.catalogue.prices.contains_key(&sold.price);
    match session.prices.as_slice() {
        [sold] if is_known(sold) => Ok(Some((sold.price.clone(), sold.quantity))),
        _ if session.credits.is_some() => Ok(None),
        prices if prices.iter().any(is_known) => Err(Quarantined::SeveralPrices.into()),
        _ => match session.account {
            // Made by someone who knows of us, so the price is missing here and not another product's.
            Some(AccountMarker::Metadata(_)) => Err(Quarantined::UnknownPrice.into()),
            Some(AccountMarker::Reference(_)) | None => Err(Ignored::NoKnownPrice.into()),
        },
    }
}

fn unit(credits: &StatedCredits, ledger: &Configuration) -> Result<Unit, NotDone> {
    if let Some(unit) = &credits.unit {
        return Ok(unit.clone());
    }
    let mut units = ledger.settings.units.keys();
    match (units.next(), units.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => Err(Quarantined::MissingUnit.into()),
    }
}

fn account(marker: Option<&AccountMarker>) -> Result<AccountId, NotDone> {
    let marker = marker.ok_or(Quarantined::MissingAccount)?;
    AccountId::parse(marker.account_id())
        .map_err(|_| Quarantined::InvalidAccount { field: marker.field() }.into())
}

/// Without a key: an order that has ended, or was paid, cannot end so again; and one that was given up, and whose session is
/// found after all, can.
fn end_of_order(closed: ClosedSession) -> KeyedCommand {
    let ending = match closed.ending {
        SessionEnding::Expired => OrderEnding::Expired,
        SessionEnding::PaymentFailed => OrderEnding::Failed(OrderFailure::PaymentFailed),
    };
    let command = CloseOrder { order: closed.order, session: Some(closed.session), ending };
    KeyedCommand { key: None, command: Command::CloseOrder(command) }
}

/// Without a key: an account that has another customer, or none, keeps what it has.
fn end_of_customer(customer: StripeId, owner: Option<AccountNumber>) -> Result<KeyedCommand, NotDone> {
    let account = owner.ok_or(Ignored::UnknownCustomer)?;
    let command = UnlinkCustomer { account, customer: Some(customer), order: None };
    Ok(KeyedCommand { key: None, command: Command::UnlinkCustomer(command) })
}

fn payment_facts(report: PaymentReport) -> Result<Vec<KeyedCommand>, NotDone> {
    let keyed = |fact: PaymentFact| {
        Ok(KeyedCommand {
            key: Some(fact_key(&fact)?),
            command: Command::RecordPaymentFact(RecordPaymentFact {
                payment: PaymentReference::Stripe(report.payment_intent.clone()),
                fact,
            }),
        })
    };
    report.facts.into_iter().map(keyed).collect()
}

/// Prices of other products are none of ours.
fn price(report: PriceReport, ledger: &Configuration) -> Result<KeyedCommand, NotDone> {
    let PriceReport { price, listing } = report;
    if !ledger.catalogue.concerns(&price, &listing) {
        return Err(Ignored::NoFact(stripe::Ignored::NoCredits).into());
    }
    let command = SyncPrice { price, listing, heard: Heard::Told };
    Ok(KeyedCommand { key: None, command: Command::SyncPrice(command) })
}

/// A product is ours if the ledger knows one of its prices. If it only says how many credits its prices are for, Stripe
/// has to tell which those are.
fn product(report: ProductReport, ledger: &Configuration) -> Result<KeyedCommand, NotDone> {
    let ProductReport { product, listing } = report;
    if !ledger.catalogue.knows_product(&product) {
        return if listing.terms.states_credits() && !listing.deleted {
            let needs = NeedsStripe { kind: "product", id: product, missing: "prices" };
            Err(Quarantined::NeedsStripe(needs).into())
        } else {
            Err(Ignored::UnknownProduct.into())
        };
    }
    let command = SyncProduct { product, listing };
    Ok(KeyedCommand { key: None, command: Command::SyncProduct(command) })
}

fn fact_key(fact: &PaymentFact) -> Result<Key, NotDone> {
    key(fact.key_text())
}

/// A key of Stripe's facts; an id so long that it leaves no room for one is not Stripe's.
pub(super) fn key(text: String) -> Result<Key, NotDone> {
    Key::new(Namespace::Stripe, &text).map_err(|InvalidName { .. }| Quarantined::IdTooLong.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        amount::{Currency, PaidMoney},
        catalogue::{Price, PriceGrant},
        command::PaidOrder,
        ids::OrderId,
        payment::RefundStatus,
    };

    fn id(text: &str) -> StripeId {
        StripeId::parse(text).expect("an id")
    }

    fn unit_of(text: &str) -> Unit {
        Unit::parse(text).expect("a unit")
    }

    fn price_of(text: &str) -> PriceId {
        PriceId::parse(text).expect("a price")
    }

    fn eur() -> Currency {
        Currency::parse("eur").expect("a currency")
    }

    fn number(value: i64) -> Amount {
        Amount::new(value).expect("in range")
    }

    /// A ledger with one price, `price_pro` of 500 credits, and these units.
    fn ledger(units: &[&str]) -> Configuration {
        let grant = PriceGrant {
            unit: unit_of("credits"),
            amount: number(500),
            expires_days: None,
            priority: 50,
            share: 1,
        };
        let price = Price {
            price: price_of("price_pro"),
            display_name: "Pro".to_owned(),
            display_order: 1,
            active: true,
            money: 2000,
            currency: eur(),
            grants: vec![grant],
            rollover: None,
            operator: None,
            stripe: None,
        };
        let mut ledger = Configuration::default();
        for unit in units {
            ledger.settings.units.insert(unit_of(unit), crate::domain::settings::UnitSettings { scale: 0 });
        }
        ledger.catalogue.prices.insert(price.price.clone(), price);
        ledger
    }

    fn session() -> PaidSession {
        PaidSession {
            session: id("cs_1"),
            account: Some(AccountMarker::Metadata("alice".to_owned())),
            order: None,
            credits: None,
            prices: vec![SoldPrice { price: price_of("price_pro"), quantity: number(2) }],
            money: PaidMoney::new(4000, 0, eur()).expect("money"),
            payment_intent: Some(id("pi_1")),
        }
    }

    fn stated(unit: Option<&str>) -> Option<StatedCredits> {
        Some(StatedCredits { amount: number(7), unit: unit.map(unit_of) })
    }

    fn reference(text: &str) -> Option<AccountMarker> {
        Some(AccountMarker::Reference(text.to_owned()))
    }

    fn other_price() -> SoldPrice {
        SoldPrice { price: price_of("price_of_another_product"), quantity: number(1) }
    }

    fn map(session: PaidSession) -> Result<RecordPurchase, String> {
        let mapped = commands(Fact::SessionPaid(session), &ledger(&["credits"]), Owner::default());
        let mut mapped = mapped.map_err(|reason| reason.to_string())?;
        match mapped.pop().map(|keyed| keyed.command) {
            Some(Command::RecordPurchase(purchase)) if mapped.is_empty() => Ok(purchase),
            other => panic!("not one purchase: {other:?}"),
        }
    }

    fn code(result: Result<RecordPurchase, String>) -> String {
        let reason = result.expect_err("no purchase");
        reason.split(':').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_known_price_is_bought_as_often_as_it_says() {
        let purchase = map(session()).expect("a purchase");
        assert_eq!(purchase.account.as_str(), "alice");
        assert_eq!(purchase.bought.price, Some((price_of("price_pro"), number(2))));
        assert!(purchase.bought.totals.is_empty());
        assert_eq!(purchase.money.gross, 4000);
    }

    #[test]
    fn stated_credits_are_totals_and_stand_beside_a_known_price_for_the_ledger_to_compare() {
        let purchase = map(PaidSession { credits: stated(None), prices: Vec::new(), ..session() });
        assert_eq!(purchase.expect("a purchase").bought.totals, [(unit_of("credits"), number(7))].into());
        let purchase =
            map(PaidSession { credits: stated(Some("credits")), ..session() }).expect("a purchase");
        assert!(purchase.bought.price.is_some() && !purchase.bought.totals.is_empty());
        let unknown = PaidSession { credits: stated(None), prices: vec![other_price()], ..session() };
        assert_eq!(map(unknown).expect("a purchase").bought.price, None);
    }

    #[test]
    fn a_unit_is_not_guessed_where_there_are_several() {
        let session = PaidSession { credits: stated(None), prices: Vec::new(), ..session() };
        let reason =
            commands(Fact::SessionPaid(session), &ledger(&["credits", "licence_30d"]), Owner::default());
        assert_eq!(reason, Err(Quarantined::MissingUnit.into()));
    }

    #[test]
    fn a_price_that_is_not_known_is_ours_only_if_the_session_was_made_by_someone_who_knows_of_us() {
        let unknown = |account| PaidSession { account, prices: vec![other_price()], ..session() };
        assert_eq!(code(map(unknown(session().account))), "unknown_price");
        assert_eq!(code(map(unknown(reference("alice")))), "no_known_price");
        assert_eq!(code(map(unknown(reference("not an account of ours")))), "no_known_price");
        assert_eq!(code(map(unknown(None))), "no_known_price");
    }

    #[test]
    fn whoever_paid_for_a_known_price_is_looked_for_and_not_guessed() {
        assert_eq!(code(map(PaidSession { account: None, ..session() })), "missing_account");
        let invalid = map(PaidSession { account: reference("not an account"), ..session() });
        assert_eq!(
            invalid.expect_err("no account"),
            "invalid_account: `data.object.client_reference_id` is not the id of an account"
        );
    }

    #[test]
    fn several_prices_in_one_session_are_not_one_purchase() {
        let several = vec![session().prices[0].clone(), other_price()];
        assert_eq!(code(map(PaidSession { prices: several, ..session() })), "several_prices");
        let foreign = vec![other_price(), other_price()];
        let foreign = PaidSession { account: reference("alice"), prices: foreign, ..session() };
        assert_eq!(code(map(foreign)), "no_known_price");
    }

    #[test]
    fn a_session_with_an_order_is_held_against_it_and_not_against_the_price_table() {
        let order = Some(PaidOrder { order: OrderId::from_bits(1), subtotal: 2_000 });
        let of_order = |prices: Vec<SoldPrice>| map(PaidSession { order, prices, ..session() });
        let purchase = of_order(vec![other_price()]).expect("a purchase");
        assert_eq!(
            (purchase.order, purchase.bought.price.map(|(_, quantity)| quantity)),
            (order, Some(number(1)))
        );
        let purchase = of_order(Vec::new()).expect("a purchase");
        assert_eq!((purchase.order, purchase.bought.price), (order, None));
        assert_eq!(code(of_order(vec![session().prices[0].clone(), other_price()])), "several_prices");
    }

    #[test]
    fn a_session_that_ends_unpaid_closes_its_order() {
        for (ending, expected) in [
            (SessionEnding::Expired, OrderEnding::Expired),
            (SessionEnding::PaymentFailed, OrderEnding::Failed(OrderFailure::PaymentFailed)),
        ] {
            let order = OrderId::from_bits(1);
            let closed = ClosedSession { session: id("cs_1"), order, ending };
            let command = CloseOrder { order, session: Some(id("cs_1")), ending: expected };
            let expected = KeyedCommand { key: None, command: Command::CloseOrder(command) };
            assert_eq!(
                commands(Fact::SessionClosed(closed), &ledger(&[]), Owner::default()),
                Ok(vec![expected])
            );
        }
    }

    #[test]
    fn a_customer_that_is_deleted_concerns_whoever_had_it() {
        let deleted = |owner: Owner| commands(Fact::CustomerDeleted(id("cus_1")), &ledger(&[]), owner);
        let account = AccountNumber(7);
        let command = UnlinkCustomer { account, customer: Some(id("cus_1")), order: None };
        let expected = KeyedCommand { key: None, command: Command::UnlinkCustomer(command) };
        assert_eq!(
            deleted(Owner { account: Some(account), subscription_is_known: false }),
            Ok(vec![expected])
        );
        assert_eq!(deleted(Owner::default()), Err(Ignored::UnknownCustomer.into()));
    }

    fn report(facts: Vec<PaymentFact>) -> Vec<KeyedCommand> {
        let report = PaymentReport { payment_intent: id("pi_1"), facts };
        commands(Fact::PaymentReport(report), &ledger(&[]), Owner::default()).expect("commands")
    }

    fn refund(status: RefundStatus, amount: i64) -> PaymentFact {
        PaymentFact::Refund { refund: id("re_1"), status, amount, currency: eur(), request: None }
    }

    #[test]
    fn keys_name_the_business_fact() {
        let keyed = commands(Fact::SessionPaid(session()), &ledger(&["credits"]), Owner::default())
            .expect("a command");
        assert_eq!(keyed[0].key, Key::new(Namespace::Stripe, "checkout_session:cs_1").ok());
        let sum = PaymentFact::ChargeRefunded { charge: id("ch_1"), amount_refunded: 300, currency: eur() };
        let keyed = report(vec![refund(RefundStatus::Succeeded, 300), sum]);
        let keys: Vec<Option<Key>> = keyed.into_iter().map(|keyed| keyed.key).collect();
        let expected = ["refund:re_1:succeeded", "charge:ch_1:300"];
        assert_eq!(keys, expected.map(|text| Key::new(Namespace::Stripe, text).ok()));
    }

    #[test]
    fn an_id_without_room_for_a_key_is_put_aside() {
        let session = PaidSession { session: id(&"c".repeat(255)), ..session() };
        assert_eq!(code(map(session)), "id_too_long");
    }
}
