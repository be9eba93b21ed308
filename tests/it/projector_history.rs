//! What an account's history says, for every kind of event that concerns an account.

use std::collections::BTreeSet;

use counterfoil::domain::{
    EventBody,
    amount::{Amount, Currency, PaidMoney},
    event::{
        AccountChanged, AccountClosed, AccountFrozen, AccountOpened, AccountUnfrozen, CheckoutLinkCreated,
        CheckoutLinkRevoked, CreditsAdjusted, CreditsExpired, CreditsGranted, CreditsHeld, CreditsPurchased,
        CreditsSpent, CustomerLinked, DebtIncurred, DebtSettled, FreezeCause, GrantSource, HoldCaptured,
        HoldReleased, LimitChanged, LinkCause, OrderExpired, OrderFailed, OrderPaid, OrderPlaced,
        OrderSessionCreated, ProfileField, PurchaseClawed, PurchaseRestored, PurchaseSource, RefundRefused,
        RefundRequested, ReleaseCause, Target, TargetCause, TargetMoved, TransferReceived, TransferSent,
    },
    ids::{
        AccountNumber, CheckoutLinkId, DebtId, FeatureKey, HoldId, LotId, OrderId, PaymentReference,
        Position, PriceId, PurchaseId, RefundRequestId, SpendId, StripeId, TransferId,
    },
    order::OrderFailure,
    payment::{DisputeStatus, PaymentFact, RefundRefusal, RefundStatus},
    time::Timestamp,
};
use counterfoil::store::projections::read::{HistoryFilter, history};
use serde_json::json;

use crate::{
    projector_subscriptions,
    projector_support::{ACCOUNT, Fact, Place, SEED, whole},
};

const AT: Position = Position(1);

fn currency(code: &str) -> Currency {
    Currency::parse(code).expect("a currency")
}

fn stripe_id(id: &str) -> StripeId {
    StripeId::parse(id).expect("an id")
}

fn purchased(money: PaidMoney, price: Option<(&str, i64)>) -> CreditsPurchased {
    CreditsPurchased {
        paid_with: None,
        purchase: PurchaseId::new(AT, 0, &SEED),
        lot: LotId::new(AT, 0, &SEED),
        source: PurchaseSource::CheckoutSession(stripe_id("cs_1")),
        payment: None,
        price: price.map(|(price, _)| PriceId::parse(price).expect("a price")),
        quantity: price.map(|(_, quantity)| quantity),
        money,
        cost: money.net(),
        granted: 100,
        expires_at: None,
        priority: 50,
    }
}

fn spent(feature: Option<(&str, i64)>, overdraft: Option<i64>) -> CreditsSpent {
    CreditsSpent {
        spend: SpendId::new(AT, 0, &SEED),
        spent: 10,
        feature: feature.map(|(feature, _)| FeatureKey::parse(feature).expect("a feature")),
        quantity: feature.map(|(_, quantity)| quantity),
        draws: Vec::new(),
        overdraft: overdraft.map(|amount| DebtIncurred { debt: DebtId::new(AT, 0, &SEED), amount }),
    }
}

fn granted(source: GrantSource) -> CreditsGranted {
    let lot = LotId::new(AT, 0, &SEED);
    CreditsGranted { lot, source, granted: 100, expires_at: None, priority: 50 }
}

fn target_moved(cause: TargetCause) -> TargetMoved {
    TargetMoved {
        purchase: PurchaseId::new(AT, 0, &SEED),
        payment: None,
        cause,
        before: Target::default(),
        after: Target::default(),
        moves: Vec::new(),
    }
}

fn refund(status: RefundStatus) -> TargetCause {
    let (refund, currency) = (stripe_id("re_1"), currency("eur"));
    TargetCause::Fact(PaymentFact::Refund { refund, status, amount: 500, currency, request: None })
}

fn dispute(status: DisputeStatus) -> TargetCause {
    let (dispute, currency) = (stripe_id("dp_1"), currency("eur"));
    TargetCause::Fact(PaymentFact::Dispute { dispute, status, amount: 500, currency })
}

fn credit_note(status: RefundStatus) -> TargetCause {
    let (note, currency) = (stripe_id("cn_1"), currency("eur"));
    TargetCause::Fact(PaymentFact::CreditNote { note, status, amount: 500, currency })
}

fn adjusted(amount: i64) -> Fact {
    let lot = (amount > 0).then(|| LotId::new(AT, 0, &SEED));
    Fact::credits(CreditsAdjusted { adjusted: amount, lot, draws: Vec::new() }, amount, 0)
}

fn clawed(cause: TargetCause, amount: i64) -> Fact {
    Fact::credits(PurchaseClawed(target_moved(cause)), amount, 0)
}

fn restored(cause: TargetCause, amount: i64) -> Fact {
    Fact::credits(PurchaseRestored(target_moved(cause)), amount, 0)
}

fn money(gross: i64, code: &str) -> PaidMoney {
    PaidMoney::new(gross, 0, currency(code)).expect("money")
}

/// Every event that can concern an account, and what a person reads of it.
fn stories() -> Vec<(Fact, &'static str)> {
    let hold = HoldId::new(AT, 0, &SEED);
    let released = |cause| Fact::credits(HoldReleased { hold, cause, returned: Vec::new() }, 5, 0);
    let session = GrantSource::FreeCheckoutSession(stripe_id("cs_1"));
    let transfer = TransferId::new(AT, 0, &SEED);
    let charge = PaymentFact::ChargeRefunded {
        charge: stripe_id("ch_1"),
        amount_refunded: 500,
        currency: currency("eur"),
    };
    vec![
        (Fact::about(AccountOpened {}), "Account opened"),
        (
            Fact::about(AccountChanged { fields: vec![ProfileField::Email, ProfileField::Metadata] }),
            "Account details changed: email, metadata",
        ),
        (Fact::about(AccountChanged { fields: vec![ProfileField::Erased] }), "Personal data erased"),
        (Fact::about(AccountFrozen { cause: FreezeCause::Requested }), "Account frozen"),
        (Fact::about(AccountFrozen { cause: FreezeCause::Dispute }), "Account frozen: a payment is disputed"),
        (
            Fact::about(AccountFrozen { cause: FreezeCause::FraudWarning }),
            "Account frozen: the card's network warns of fraud",
        ),
        (
            clawed(TargetCause::Fact(PaymentFact::FraudWarning { warning: stripe_id("issfr_1") }), 0),
            "Took no credits back: the card's network warns of fraud",
        ),
        (Fact::about(AccountUnfrozen {}), "Account unfrozen"),
        (Fact::about(AccountClosed {}), "Account closed"),
        (
            Fact::credits(purchased(money(2_000, "eur"), Some(("price_pro", 2))), 100, 0),
            "Bought credits for EUR 20.00 (price_pro × 2)",
        ),
        (Fact::credits(purchased(money(5, "usd"), None), 100, 0), "Bought credits for USD 0.05"),
        (Fact::credits(purchased(money(2_000, "jpy"), None), 100, 0), "Bought credits for JPY 2000"),
        (Fact::credits(purchased(money(2_000, "kwd"), None), 100, 0), "Bought credits for KWD 2.000"),
        (Fact::credits(granted(GrantSource::Requested), 100, 0), "Granted credits"),
        (Fact::credits(granted(session), 100, 0), "Granted credits by a checkout at no charge"),
        (Fact::credits(granted(GrantSource::SignUp), 25, 0), "Granted credits to a new account"),
        (
            Fact::credits(TransferSent { transfer, to: AccountNumber(2), sent: 5, draws: Vec::new() }, -5, 0),
            "Sent credits to another account",
        ),
        (
            Fact::credits(
                TransferReceived { transfer, from: AccountNumber(2), received: 5, lots: Vec::new() },
                5,
                0,
            ),
            "Received credits from another account",
        ),
        (Fact::credits(spent(Some(("job_match", 1)), None), -5, 0), "Spent credits on job_match"),
        (Fact::credits(spent(Some(("job_match", 3)), None), -15, 0), "Spent credits on job_match × 3"),
        (Fact::credits(spent(None, Some(5)), -10, 0), "Spent credits, overdrawing the account"),
        (
            Fact::credits(
                CreditsHeld { hold, held: 5, draws: Vec::new(), lapses_at: Timestamp::default() },
                -5,
                0,
            ),
            "Set credits aside for a job",
        ),
        (
            Fact::credits(
                HoldCaptured { hold, captured: 5, draws: vec![], returned: vec![], excess: vec![] },
                0,
                0,
            ),
            "Charged for a job",
        ),
        (released(ReleaseCause::Requested), "Released what was set aside for a job"),
        (released(ReleaseCause::Lapsed), "Released what was set aside for a job: its time ran out"),
        (Fact::credits(CreditsExpired { lots: Vec::new() }, -5, 0), "Expired credits"),
        (adjusted(5), "Added credits by hand"),
        (adjusted(-5), "Removed credits by hand"),
        (clawed(refund(RefundStatus::Succeeded), -5), "Took credits back: a refund succeeded"),
        (clawed(TargetCause::Fact(charge), -5), "Took credits back: the payment was refunded"),
        (clawed(credit_note(RefundStatus::Succeeded), -5), "Took credits back: a credit note was issued"),
        (restored(credit_note(RefundStatus::Cancelled), 5), "Gave credits back: a credit note was voided"),
        (clawed(dispute(DisputeStatus::Lost), 0), "Took no credits back: a dispute was lost"),
        (
            clawed(TargetCause::NotedBefore, -5),
            "Took credits back: the payment was refunded or disputed early",
        ),
        (
            clawed(TargetCause::CreditsReturned, -5),
            "Took credits back: credits of a refunded payment came back",
        ),
        (restored(refund(RefundStatus::Failed), 5), "Gave credits back: a refund failed"),
        (restored(dispute(DisputeStatus::Won), 0), "Gave no credits back: a dispute was won"),
        (Fact::credits(DebtSettled { settlements: Vec::new() }, 0, 0), "Paid off debt of credits"),
        (Fact::credits(LimitChanged { overdraft: 50 }, 0, 0), "Overdraft limit of credits changed"),
        (Fact::credits(LimitChanged { overdraft: 0 }, 0, 0), "Overdraft of credits no longer allowed"),
    ]
}

/// The same, of checkouts and of refunds that are asked of us.
fn checkout_stories() -> Vec<(Fact, &'static str)> {
    let order = OrderId::new(AT, 0, &SEED);
    let refund = RefundRequestId::new(AT, 0, &SEED);
    let purchase = PurchaseId::new(AT, 0, &SEED);
    let session = || stripe_id("cs_1");
    let payment = || PaymentReference::Stripe(stripe_id("pi_1"));
    let linked = |customer: Option<&str>, cause| {
        Fact::about(CustomerLinked { customer: customer.map(stripe_id), cause, order: None })
    };
    let paid = |again| Fact::about(OrderPaid { order, session: session(), purchase: Some(purchase), again });
    let failed = |reason| Fact::about(OrderFailed { order, session: None, reason });
    let refused = |reason| Fact::about(RefundRefused { refund, payment: payment(), reason });
    let (link, price) = (CheckoutLinkId::new(AT, 0, &SEED), PriceId::parse("price_pro").expect("a price"));
    let quantity = Amount::new(2).expect("an amount");
    let made = CheckoutLinkCreated { link, price, quantity, expires_at: None };
    let placed = OrderPlaced {
        subscription: None,
        order,
        price: PriceId::parse("price_pro").expect("a price"),
        quantity: 2,
        subtotal: 2_000,
        currency: currency("eur"),
        sold: Vec::new(),
        customer: None,
    };
    let requested = RefundRequested {
        refund,
        order: Some(order),
        purchase,
        payment: payment(),
        amount: 250,
        currency: currency("eur"),
    };
    let created = OrderSessionCreated { order, session: session(), expires_at: Timestamp::default() };
    vec![
        (linked(Some("cus_1"), LinkCause::Created), "Linked to a customer at Stripe"),
        (linked(Some("cus_1"), LinkCause::Adopted), "Linked to a customer at Stripe"),
        (linked(None, LinkCause::Deleted), "Customer at Stripe is gone"),
        (Fact::about(placed), "Began a checkout (price_pro × 2)"),
        (Fact::about(made), "Made a link to buy (price_pro × 2)"),
        (Fact::about(CheckoutLinkRevoked { link }), "Revoked a link to buy"),
        (Fact::about(created), "Checkout is ready to be paid"),
        (paid(false), "Checkout was paid"),
        (paid(true), "Checkout was paid once more"),
        (Fact::about(OrderExpired { order, session: None }), "Checkout was not paid in time"),
        (failed(OrderFailure::PaymentFailed), "Checkout failed: its payment did not arrive"),
        (failed(OrderFailure::Refused), "Checkout failed: Stripe refused it"),
        (failed(OrderFailure::GivenUp), "Checkout failed: it was given up"),
        (Fact::about(requested), "Asked for a refund of EUR 2.50"),
        (refused(RefundRefusal::AlreadyRefunded), "Refund refused: the money has gone back already"),
        (refused(RefundRefusal::Disputed), "Refund refused: the payment is disputed"),
        (
            refused(RefundRefusal::InsufficientFunds),
            "Refund refused: the balance at Stripe does not cover it",
        ),
        (refused(RefundRefusal::Refused), "Refund refused: Stripe does not do it"),
        (refused(RefundRefusal::GivenUp), "Refund refused: it was given up"),
        (clawed(TargetCause::RefundRequested(refund), -5), "Took credits back: a refund was asked for"),
        (restored(TargetCause::RefundRefused(refund), 5), "Gave credits back: a refund was refused"),
    ]
}

/// All of them.
pub fn all_stories() -> Vec<(Fact, &'static str)> {
    [stories(), checkout_stories(), projector_subscriptions::stories()].concat()
}

#[tokio::test]
async fn history_says_in_words_what_happened() {
    let place = Place::new().await;
    let mut book = place.book("words").await;
    let stories = all_stories();
    book.write(&stories.iter().map(|(fact, _)| fact.clone()).collect::<Vec<_>>()).await;
    place.fold(&book, "history").await;
    let mut told = place.history(&book, ACCOUNT).await;
    told.reverse();
    assert_eq!(told.len(), stories.len());
    for ((fact, expected), entry) in stories.iter().zip(told) {
        assert_eq!(entry.description, *expected, "{fact:?}");
        assert_eq!(entry.type_name, fact.type_name);
        assert_eq!(entry.amount, fact.amount);
    }
}

#[tokio::test]
async fn history_can_be_read_whatever_stands_in_a_body() {
    let place = Place::new().await;
    let mut book = place.book("odd").await;
    let bodies = [
        json!({}),
        json!({"fields": {"name": 1}, "cause": [1], "money": {"gross": "12a", "currency": "eur"}, "adjusted": "some",
               "overdraft": {}, "again": "perhaps", "change": [], "source": 5, "quantity": {}, "spend": []}),
        json!({"fields": "name", "cause": {"fact": 1}, "money": [], "amount": {}, "currency": "eur", "adjusted": null,
               "overdraft": "1e400", "change": {"terms": 1, "switch": []}, "source": null}),
    ];
    let facts: Vec<Fact> = EventBody::TYPES
        .iter()
        .flat_map(|(type_name, _)| bodies.iter().map(|body| (*type_name, body)))
        .map(|(type_name, body)| Fact {
            type_name: type_name.to_owned(),
            body: body.to_string(),
            ..Fact::about(AccountOpened {})
        })
        .collect();
    book.write(&facts).await;
    place.fold(&book, "history").await;
    let told = place.history(&book, ACCOUNT).await;
    assert_eq!(told.len(), facts.len());
    for entry in told {
        let words = [&entry.description, &entry.description_de];
        assert!(words.iter().all(|words| !words.is_empty()), "{entry:?}");
    }
}

#[test]
fn no_kind_of_event_that_concerns_an_account_lacks_words() {
    // Facts of the ledger as a whole, or of payments that nobody knows yet.
    const WITHOUT_ACCOUNT: &[&str] = &[
        "payment.noted",
        "feature.set",
        "price.set",
        "ledger.configured",
        "key.created",
        "key.revoked",
        "history.lost",
        "clock.advanced",
    ];
    let told: BTreeSet<String> = all_stories().into_iter().map(|(fact, _)| fact.type_name).collect();
    for (type_name, _) in EventBody::TYPES {
        assert!(told.contains(*type_name) || WITHOUT_ACCOUNT.contains(type_name), "{type_name}");
    }
}

#[tokio::test]
async fn history_refers_to_what_an_event_is_about() {
    let place = Place::new().await;
    let mut book = place.book("references").await;
    book.write(&[
        Fact::credits(purchased(money(2_000, "eur"), None), 100, 100),
        Fact::credits(granted(GrantSource::Requested), 100, 200),
        Fact::credits(spent(None, None), -10, 190),
        Fact::credits(CreditsExpired { lots: Vec::new() }, -5, 185),
    ])
    .await;
    place.fold(&book, "history").await;
    let references: Vec<_> =
        place.history(&book, ACCOUNT).await.into_iter().map(|entry| entry.reference).collect();
    assert_eq!(
        references,
        [
            None,
            Some(SpendId::new(AT, 0, &SEED).to_string()),
            Some(LotId::new(AT, 0, &SEED).to_string()),
            Some(PurchaseId::new(AT, 0, &SEED).to_string()),
        ]
    );
}

#[tokio::test]
async fn history_is_read_page_by_page_and_of_one_account_only() {
    let place = Place::new().await;
    let mut book = place.book("pages").await;
    let other = AccountNumber(2);
    for _ in 0..5 {
        let grant = Fact::credits(granted(GrantSource::Requested), 1, 0);
        book.write(&[grant.clone(), grant.of(other)]).await;
    }
    place.fold(&book, "history").await;
    let mut client = place.database.runtime().await;
    let mut read = Vec::new();
    let mut filter = HistoryFilter { limit: 2, ..whole() };
    loop {
        let page = history(&mut client, book.ledger, other, &filter).await.expect("a page");
        assert_eq!(page.position.0, 10);
        read.extend(page.entries.into_iter().map(|entry| entry.position.0));
        let Some(next) = page.next else { break };
        filter.positions.end = next;
    }
    assert_eq!(read, [10, 8, 6, 4, 2]);
}

#[tokio::test]
async fn a_ledger_that_nothing_was_folded_of_has_an_empty_history() {
    let place = Place::new().await;
    let book = place.book("empty").await;
    assert_eq!(place.history(&book, ACCOUNT).await, []);
}
