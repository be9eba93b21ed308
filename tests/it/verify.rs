//! `counterfoil verify` and `counterfoil rebuild`: the real binary, on ledgers that the real writer has written.

use std::{
    collections::BTreeMap,
    process::{Output, Stdio},
    sync::Arc,
};

use counterfoil::{
    domain::{
        Command,
        amount::{Amount, Currency, PaidMoney},
        catalogue::{Price, PriceGrant},
        command::{
            Bought, CaptureHold, Charge, CloseOrder, CreateCheckoutLink, FollowCheckoutLink, GrantCredits,
            Note, OpenAccount, PaidOrder, PaidThrough, PlaceHold, PlaceOrder, ProfileChange,
            RecordPaymentFact, RecordPurchase, RequestRefund, RevokeCheckoutLink, SetPrice, SpendCredits,
            TransferCredits,
        },
        ids::{
            AccountId, Actor, HoldId, Key, LedgerId, LedgerSlug, Namespace, OrderId, PaymentReference,
            PriceId, StripeId, Unit,
        },
        order::{OrderDetails, OrderEnding},
        payment::{PaymentFact, RefundStatus},
        settings::{LedgerMode, LedgerSettings, UnitSettings},
        time::Span,
    },
    store::{
        ledgers::{create_ledger, find_ledger},
        pool::Database,
        projections::{Build, list_builds},
    },
    writer::{Accepted, Outcome, Submission, WriterSettings, Writers},
};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::{
    projector_support::{Place, open},
    support::{database::TestDatabase, wait},
};

/// A ledger that the real writer writes to.
struct Shop {
    writers: Arc<Writers>,
    ledger: LedgerId,
}

/// A database with such a ledger: two accounts that have bought, been granted, spent, held and been refunded.
struct Town {
    place: Place,
    shop: Shop,
}

fn unit() -> Unit {
    Unit::parse("credits").expect("a unit")
}

fn account(name: &str) -> AccountId {
    AccountId::parse(name).expect("an account")
}

fn amount(amount: i64) -> Amount {
    Amount::new(amount).expect("an amount")
}

fn reason(text: &str) -> Note {
    Note::from_iter([("reason".to_owned(), text.into())])
}

impl Shop {
    async fn on(database: Database, slug: &LedgerSlug) -> Self {
        let client = database.connect().await.expect("a connection");
        let ledger = match find_ledger(&client, slug).await.expect("the ledgers") {
            Some(ledger) => ledger,
            None => create_ledger(&client, slug, LedgerMode::Test).await.expect("a ledger"),
        };
        Self { writers: Writers::new(database, WriterSettings::default()), ledger: ledger.ledger }
    }

    async fn submit(&self, command: Command) -> Accepted {
        self.submit_as(Actor::Operator, command).await
    }

    async fn submit_as(&self, actor: Actor, command: Command) -> Accepted {
        let key = Key::new(Namespace::Client, &Uuid::new_v4().to_string()).expect("a key");
        let submission =
            Submission { command, key: Some(key), fingerprint: Some([7; 32]), actor, request_id: None };
        match self.writers.submit(self.ledger, submission).await.expect("an outcome") {
            Outcome::Accepted(accepted) => accepted,
            Outcome::Rejected(rejection) => panic!("{rejection:?}"),
        }
    }

    async fn trade(&self) {
        let settings = LedgerSettings {
            checkout: crate::writer_support::checkout_settings(),
            units: BTreeMap::from([(unit(), UnitSettings { scale: 0 })]),
            ..LedgerSettings::default()
        };
        self.submit(Command::ConfigureLedger(settings)).await;
        for name in ["ada", "bob"] {
            let profile = ProfileChange::default();
            self.submit(Command::OpenAccount(OpenAccount {
                account: account(name),
                profile,
                stripe_customer: None,
            }))
            .await;
        }
        self.grant("ada", 50).await;
        self.buy_and_refund().await;
        self.spend("ada", 20).await;
        let hold = self.hold("bob", 30).await;
        let capture = CaptureHold { hold, amount: amount(10), allow_excess: false, note: Note::new() };
        self.submit(Command::CaptureHold(capture)).await;
        self.hold("bob", 5).await;
        self.spend("ada", 1).await;
        self.sell().await;
        self.link().await;
        let transfer = TransferCredits {
            from: account("bob"),
            to: account("ada"),
            unit: unit(),
            amount: amount(7),
            note: Note::new(),
        };
        self.submit(Command::TransferCredits(transfer)).await;
    }

    /// A link by which an order is placed, and one that is revoked.
    async fn link(&self) {
        let create = || {
            Command::CreateCheckoutLink(CreateCheckoutLink {
                account: account("ada"),
                price: PriceId::parse("price_pack").expect("a price"),
                quantity: amount(2),
                expires_at: None,
                details: OrderDetails::default(),
                note: Note::new(),
            })
        };
        let link_of = |accepted: Accepted| match &accepted.events[0].body {
            counterfoil::domain::EventBody::CheckoutLinkCreated(created) => created.link,
            other => panic!("{other:?}"),
        };
        let followed = link_of(self.submit(create()).await);
        let revoked = link_of(self.submit(create()).await);
        self.submit(Command::RevokeCheckoutLink(RevokeCheckoutLink { link: revoked })).await;
        let follow = FollowCheckoutLink {
            link: followed,
            details: OrderDetails::default(),
            own_pages: "https://pay.example.com/buy".to_owned(),
        };
        self.submit_as(Actor::CheckoutLink(followed), Command::FollowCheckoutLink(follow)).await;
    }

    /// An order that is paid and in part refunded, and one that nobody pays.
    async fn sell(&self) {
        let stripe_id = |id: &str| StripeId::parse(id).expect("an id");
        let currency = Currency::parse("eur").expect("a currency");
        let price = PriceId::parse("price_pack").expect("a price");
        let grant =
            PriceGrant { unit: unit(), amount: amount(10), expires_days: None, priority: 50, share: 1 };
        self.submit(Command::SetPrice(SetPrice::from(Price {
            price: price.clone(),
            display_name: "A pack".to_owned(),
            display_order: 1,
            active: true,
            money: 500,
            currency,
            grants: vec![grant],
            rollover: None,
            operator: None,
            stripe: None,
        })))
        .await;
        let adopt = OpenAccount {
            account: account("ada"),
            profile: ProfileChange::default(),
            stripe_customer: Some(stripe_id("cus_1")),
        };
        self.submit(Command::OpenAccount(adopt)).await;
        let [order, lapsed] = [self.order(&price).await, self.order(&price).await];
        let purchase = RecordPurchase {
            order: Some(PaidOrder { order, subtotal: 500 }),
            account: account("ada"),
            paid_through: PaidThrough::CheckoutSession {
                session: stripe_id("cs_2"),
                payment_intent: Some(stripe_id("pi_2")),
            },
            bought: Bought { price: None, totals: BTreeMap::new() },
            money: PaidMoney::new(500, 0, currency).expect("money"),
            note: Note::new(),
        };
        self.submit(Command::RecordPurchase(purchase)).await;
        let ending = OrderEnding::Expired;
        self.submit(Command::CloseOrder(CloseOrder { order: lapsed, session: None, ending })).await;
        let refund = RequestRefund { order, amount: Some(amount(100)), note: Note::new() };
        self.submit(Command::RequestRefund(refund)).await;
    }

    async fn order(&self, price: &PriceId) -> OrderId {
        let place = PlaceOrder {
            trial_days: None,
            account: account("ada"),
            price: price.clone(),
            quantity: Amount::ONE,
            details: OrderDetails::default(),
            note: Note::new(),
        };
        match &self.submit(Command::PlaceOrder(place)).await.events[0].body {
            counterfoil::domain::EventBody::OrderPlaced(placed) => placed.order,
            other => panic!("{other:?}"),
        }
    }

    async fn grant(&self, name: &str, credits: i64) {
        let grant = GrantCredits {
            account: account(name),
            unit: unit(),
            amount: amount(credits),
            expires_at: None,
            priority: 50,
            note: reason("welcome"),
        };
        self.submit(Command::GrantCredits(grant)).await;
    }

    async fn spend(&self, name: &str, credits: i64) {
        let charge = Charge::Credits { unit: unit(), amount: amount(credits) };
        let spend = SpendCredits { account: account(name), charge, note: Note::new() };
        self.submit(Command::SpendCredits(spend)).await;
    }

    async fn hold(&self, name: &str, credits: i64) -> HoldId {
        let charge = Charge::Credits { unit: unit(), amount: amount(credits) };
        let place =
            PlaceHold { account: account(name), charge, lapses_after: Span::days(1), note: Note::new() };
        let accepted = self.submit(Command::PlaceHold(place)).await;
        match &accepted.events[0].body {
            counterfoil::domain::EventBody::CreditsHeld(held) => held.hold,
            other => panic!("{other:?}"),
        }
    }

    async fn buy_and_refund(&self) {
        let stripe_id = |id: &str| StripeId::parse(id).expect("an id");
        let currency = Currency::parse("eur").expect("a currency");
        let purchase = RecordPurchase {
            order: None,
            account: account("bob"),
            paid_through: PaidThrough::CheckoutSession {
                session: stripe_id("cs_1"),
                payment_intent: Some(stripe_id("pi_1")),
            },
            bought: Bought { price: None, totals: BTreeMap::from([(unit(), amount(100))]) },
            money: PaidMoney::new(1_000, 0, currency).expect("money"),
            note: Note::new(),
        };
        self.submit(Command::RecordPurchase(purchase)).await;
        let fact = PaymentFact::Refund {
            request: None,
            refund: stripe_id("re_1"),
            status: RefundStatus::Succeeded,
            amount: 500,
            currency,
        };
        let payment = PaymentReference::Stripe(stripe_id("pi_1"));
        self.submit(Command::RecordPaymentFact(RecordPaymentFact { payment, fact })).await;
    }
}

impl Town {
    async fn open() -> Self {
        let slug = LedgerSlug::parse("shop").expect("a slug");
        let database = TestDatabase::filled("shop", async |url| {
            let database = open(&url);
            let shop = Shop::on(database.clone(), &slug).await;
            shop.trade().await;
            shop.writers.drain().await;
            fold(&database, shop.ledger).await;
        });
        let place = Place::on(database.await);
        let shop = Shop::on(place.service.clone(), &slug).await;
        Self { place, shop }
    }

    async fn fold(&self) {
        fold(&self.place.service, self.shop.ledger).await;
    }

    /// Changes what is stored, past every guard but constraints.
    async fn tamper(&self, statement: &str) {
        let superuser = self.place.database.superuser().await;
        let unguarded = "SET session_replication_role = replica";
        superuser.batch_execute(unguarded).await.expect("a superuser");
        superuser.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }

    async fn verify(&self) -> Output {
        counterfoil(&["verify"], &[("DATABASE_URL", self.place.database.runtime_url())]).await
    }
}

async fn fold(database: &Database, ledger: LedgerId) {
    let client = database.connect().await.expect("a connection");
    for build in list_builds(&client).await.expect("builds") {
        counterfoil::projector::rebuild(database, ledger, &build, |_| {}).await.expect("folded");
    }
}

async fn counterfoil(arguments: &[&str], environment: &[(&str, SecretString)]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    for (name, value) in environment {
        command.env(name, value.expose_secret());
    }
    tokio::time::timeout(wait::LIMIT, command.output()).await.expect("in time").expect("a process")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_ledger_that_the_service_wrote_verifies() {
    let town = Town::open().await;
    let output = town.verify().await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for line in [
        "shop: 2 balances of the projection compared",
        "shop: 2 accounts compared with their events",
        "shop: 3 orders compared with their events",
        "23 keys, 1 notes (0 erased)",
        "rows of books compared",
        "rows of history compared",
        "verified 1 ledger: everything follows from the events",
    ] {
        assert!(said.contains(line), "{line:?} is missing in:\n{said}");
    }
}

#[tokio::test]
async fn an_empty_ledger_and_a_database_without_ledgers_verify() {
    let place = Place::new().await;
    let environment = [("DATABASE_URL", place.database.runtime_url())];
    let output = counterfoil(&["verify"], &environment).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    place.book("empty").await;
    let output = counterfoil(&["verify", "--ledger", "empty"], &environment).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = counterfoil(&["verify", "--ledger", "none"], &environment).await;
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("there is no ledger `none`"));
}

/// What is done to a ledger behind the service's back, and how the verdict begins.
type Tampered = &'static [(&'static str, &'static str)];

const EVENTS: Tampered = &[
    ("DELETE FROM events WHERE position = 7", "position 7: there is no event"),
    ("DELETE FROM events WHERE position IN (7, 8)", "position 7: there are no events up to 8"),
    ("UPDATE ledger_heads SET position = position + 1", "there is no event"),
    ("UPDATE ledger_heads SET position = position - 1", "the head is at"),
    ("UPDATE ledger_heads SET batch_id = gen_random_uuid()", "the head does not belong to the batch"),
    (
        "UPDATE events SET amount = amount - 1 WHERE position = 7",
        "position 7: the balance is not the one before",
    ),
    (
        "UPDATE events SET held_after = held_after + 1 WHERE position = (SELECT max(position) FROM events
           WHERE account_number = 3)",
        "account 3: the projection's balance of credits is not what the events up to",
    ),
    (
        "UPDATE events SET recorded_at = recorded_at + interval '1 hour' WHERE position = 4",
        "position 5: it was recorded before the event before it",
    ),
    ("UPDATE events SET body = '{}' WHERE type = 'credits.spent'", "the event cannot be read"),
    ("UPDATE events SET type = 'credits.lent' WHERE position = 7", "position 7: the event cannot be read"),
    (
        "UPDATE events SET command_size = 2 WHERE position = 7",
        "position 7: the command lacks 1 of its events",
    ),
];

const KEYS_AND_NOTES: Tampered = &[
    (
        "UPDATE events SET key = 'other' WHERE position = 4",
        "position 4: the hash of its key is not that of its key",
    ),
    (
        "UPDATE events SET fingerprint = NULL WHERE position = 4",
        "position 4: a client's key has no fingerprint",
    ),
    (
        "DROP INDEX events_key; UPDATE events e SET key = o.key, key_hash = o.key_hash FROM events o
          WHERE o.position = 4 AND e.position = 5",
        "position 4: another event has the same key",
    ),
    ("DROP INDEX events_key", "the unique index on keys is missing"),
    ("UPDATE event_notes SET content = '{\"reason\": \"bribe\"}'", "position 4: its note has been changed"),
    ("UPDATE events SET note_hash = NULL", "position 4: there is a note that the event does not know"),
];

const STATE: Tampered = &[
    ("DELETE FROM accounts WHERE account_number = 2", "account 2: events speak of it, but it is not there"),
    (
        "UPDATE accounts SET version = version + 1 WHERE account_number = 3",
        "account 3: its state is as of position",
    ),
    (
        "UPDATE accounts SET status = 'closed' WHERE account_number = 3",
        "account 3: its columns and its state",
    ),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{books,credits,available}', '1000')::json
          WHERE account_number = 2",
        "account 2: its balance of credits is not what its events say",
    ),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{books,credits,lots}', '{}')::json
          WHERE account_number = 2",
        "account 2: what is available is not what is left in the lots of credits",
    ),
    ("UPDATE accounts SET state = '{}' WHERE account_number = 2", "account 2: its state cannot be read"),
    (
        "UPDATE accounts SET stripe_customer = 'cus_2' WHERE account_number = 2",
        "account 2: its customer is not what its events say",
    ),
    (
        "UPDATE accounts SET state = (state::jsonb - 'stripe_customer')::json WHERE account_number = 2",
        "account 2: its customer is not what its events say",
    ),
    ("UPDATE orders SET status = 'placed' WHERE status = 'paid'", "account 2: the order ord_"),
    ("UPDATE orders SET purchases = '{}'", "account 2: the order ord_"),
    ("UPDATE orders SET account_number = 3", "account 2: the order ord_"),
    ("UPDATE orders SET version = version + 1", "account 2: the order ord_"),
    (
        "UPDATE orders SET state = jsonb_set(state, '{status}', '\"failed\"') WHERE status = 'expired'",
        "account 2: the order ord_",
    ),
    ("DELETE FROM orders WHERE status = 'paid'", "account 2: the order ord_"),
    ("DELETE FROM refund_requests", "account 2: the refund rfd_"),
    ("UPDATE refund_requests SET order_id = NULL", "account 2: the refund rfd_"),
    ("UPDATE payments SET state = state - 'requested'", "account 2: the refund rfd_"),
    ("UPDATE checkout_links SET revoked_at = NULL", "account 2: the link lnk_"),
    ("UPDATE checkout_links SET quantity = 1 WHERE orders > 0", "account 2: the link lnk_"),
    ("UPDATE checkout_links SET orders = orders + 1 WHERE orders > 0", "account 2: the link lnk_"),
    ("DELETE FROM checkout_links WHERE orders = 0", "account 2: the link lnk_"),
    ("DELETE FROM purchase_holders", "account 2: who holds credits of pur_"),
    (
        "INSERT INTO purchase_holders SELECT ledger_id, purchase_id, 3 FROM purchase_holders",
        "account 3: who holds credits of pur_",
    ),
    (
        "UPDATE {balances}.balances SET held = held + 1 WHERE account_number = 3",
        "account 3: the projection's balance of credits is not what the events up to",
    ),
    (
        "DELETE FROM {balances}.balances WHERE account_number = 3",
        "account 3: the projection's balance of credits",
    ),
];

/// `{history}` is where the tables of that projection are.
const PROJECTIONS: Tampered = &[
    (
        "UPDATE {history}.history_entries SET account_number = 2 WHERE position = 5",
        "history_entries of the projection history is not what the events up to",
    ),
    ("DELETE FROM {history}.history_entries WHERE position = 5", "say: account_number 3, position 5"),
    ("INSERT INTO {usage}.usage VALUES (1, '2020-01-01', '', 'credits', 1, 1, 1)", "say: day 2020-01-01"),
    (
        "UPDATE {accounts_overview}.accounts_overview SET status = 'frozen' WHERE account_number = 3",
        "accounts_overview of the projection accounts_overview is not",
    ),
    (
        "UPDATE {books}.journal SET recognised = recognised + 1, deferred = deferred - 1 WHERE recognised > 0",
        "journal of the projection books is not",
    ),
    ("UPDATE {books}.lots SET payment = 'pi_9' WHERE payment = 'pi_1'", "lots of the projection books is not"),
    ("UPDATE {books}.revenue SET sold = sold + 1", "revenue of the projection books is not"),
    ("TRUNCATE {books}.lot_changes", "lot_changes of the projection books is not"),
    (
        "UPDATE projection_cursors SET halted_position = position + 1, halted_category = '23514', halted_reason = 'odd',
                halted_at = now() WHERE projection = 'books'",
        "books has stopped here: odd",
    ),
];

#[tokio::test]
async fn whatever_is_changed_of_projections_behind_the_service_is_found_and_named() {
    assert_found(PROJECTIONS).await;
}

#[tokio::test]
async fn whatever_is_changed_of_events_behind_the_service_is_found_and_named() {
    assert_found(EVENTS).await;
}

#[tokio::test]
async fn whatever_is_changed_of_keys_and_notes_behind_the_service_is_found_and_named() {
    assert_found(KEYS_AND_NOTES).await;
}

#[tokio::test]
async fn whatever_is_changed_of_state_behind_the_service_is_found_and_named() {
    assert_found(STATE).await;
}

async fn assert_found(tampered: Tampered) {
    let mut missed = Vec::new();
    for (statement, expected) in tampered {
        let town = Town::open().await;
        let builds = list_builds(&town.place.database.runtime().await).await.expect("builds");
        let place = |statement: String, build: &Build| {
            statement.replace(&format!("{{{}}}", build.projection), &build.schema)
        };
        town.tamper(&builds.iter().fold((*statement).to_owned(), place)).await;
        let output = town.verify().await;
        let said = text(&output.stderr);
        let is_named = said.contains("wrong; the first: ledger shop") && said.contains(expected);
        if output.status.code() != Some(1) || !is_named {
            missed.push(format!("{statement}: {}{said}", text(&output.stdout)));
        }
    }
    assert_eq!(missed, [] as [String; 0]);
}

#[tokio::test]
async fn a_ledger_is_verified_while_it_is_written_to() {
    let town = Town::open().await;
    town.shop.grant("ada", 1_000_000).await;
    let url = town.place.database.runtime_url();
    let verified = tokio::spawn(async move {
        for _ in 0..3 {
            let output = counterfoil(&["verify"], &[("DATABASE_URL", url.clone())]).await;
            assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        }
    });
    let mut spends = 0;
    while !verified.is_finished() {
        town.shop.spend("ada", 1).await;
        spends += 1;
        if spends % 50 == 0 {
            town.fold().await;
        }
    }
    verified.await.expect("verified");
    assert!(spends > 10, "there was no load: {spends} spends");
}

#[tokio::test]
async fn rebuild_fills_new_tables_and_drops_the_old_ones() {
    let town = Town::open().await;
    let old = town.place.build("balances").await.schema.clone();
    town.tamper(&format!("UPDATE {old}.balances SET held = held + 1")).await;
    assert!(!town.verify().await.status.success());
    let environment = [
        ("DATABASE_URL", town.place.database.runtime_url()),
        ("DATABASE_DIRECT_URL", town.place.database.owner_url()),
    ];
    let output = counterfoil(&["rebuild", "balances"], &environment).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("balances of shop: "), "{said}");
    assert!(said.contains(&format!("dropped {old}")), "{said}");
    let output = town.verify().await;
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[tokio::test]
async fn rebuild_says_which_projections_there_are() {
    let place = Place::new().await;
    let environment = [("DATABASE_URL", place.database.owner_url())];
    let output = counterfoil(&["rebuild", "balance"], &environment).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains(
            "there is no projection `balance`; there are: accounts_overview, balances, books, history, usage"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn verifying_through_a_pooler_asks_for_a_direct_connection() {
    let place = Place::new().await;
    let url = format!("{}&pgbouncer=true", place.database.runtime_url().expose_secret());
    let output = counterfoil(&["verify"], &[("DATABASE_URL", url.into())]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("DATABASE_DIRECT_URL"), "{said}");
}
