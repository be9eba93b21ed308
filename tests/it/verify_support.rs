//! A ledger that the real writer has written, and `counterfoil verify` on it.

use std::{
    collections::BTreeMap,
    process::{Output, Stdio},
    sync::Arc,
};

use counterfoil::{
    domain::{
        Command,
        amount::{Amount, Currency, PaidMoney},
        catalogue::{Feature, Price, PriceGrant},
        command::{
            Bought, CaptureHold, Charge, CloseOrder, CreateCheckoutLink, CreateKey, EraseProfile,
            FollowCheckoutLink, GrantCredits, Note, OpenAccount, PaidOrder, PaidThrough, PlaceHold,
            PlaceOrder, ProfileChange, RecordPaymentFact, RecordPurchase, RecordSubscription, RequestRefund,
            RevokeCheckoutLink, SetPrice, SpendCredits, Subscriber, TransferCredits,
        },
        ids::{
            AccountId, Actor, FeatureKey, HoldId, Key, LedgerId, LedgerSlug, Namespace, OrderId,
            PaymentReference, PriceId, StripeId, Unit,
        },
        order::{OrderDetails, OrderEnding},
        payment::{PaymentFact, RefundStatus},
        settings::{LedgerMode, LedgerSettings, Scope, UnitSettings},
        subscription::{SubscriptionStatus, SubscriptionTerms},
        time::{Span, Timestamp},
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
pub struct Shop {
    pub writers: Arc<Writers>,
    pub ledger: LedgerId,
}

/// A database with such a ledger: two accounts that have bought, been granted, spent, held and been refunded.
pub struct Town {
    pub place: Place,
    pub shop: Shop,
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
    pub async fn on(database: Database, slug: &LedgerSlug) -> Self {
        let client = database.connect().await.expect("a connection");
        let ledger = match find_ledger(&client, slug).await.expect("the ledgers") {
            Some(ledger) => ledger,
            None => create_ledger(&client, slug, LedgerMode::Test).await.expect("a ledger"),
        };
        Self { writers: Writers::new(database, WriterSettings::default()), ledger: ledger.ledger }
    }

    pub async fn submit(&self, command: Command) -> Accepted {
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

    async fn begin(&self) {
        let settings = LedgerSettings {
            checkout: crate::writer_support::checkout_settings(),
            units: BTreeMap::from([(unit(), UnitSettings { scale: 0 })]),
            ..LedgerSettings::default()
        };
        self.submit(Command::ConfigureLedger(settings)).await;
    }

    async fn trade(&self) {
        self.begin().await;
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
        self.configure().await;
        // A lot that is used up.
        self.grant("bob", 3).await;
        self.spend("bob", 3).await;
        self.subscribe().await;
    }

    async fn subscribe(&self) {
        let terms = SubscriptionTerms {
            as_of: Timestamp::from_unix_seconds(1_763_692_800).expect("in range"),
            status: SubscriptionStatus::Active,
            items: Vec::new(),
            period_end: None,
            cancel_at_period_end: false,
            collection_paused: false,
        };
        let subscription = StripeId::parse("sub_1").expect("an id");
        let subscriber = Subscriber::Named(account("ada"));
        let record = RecordSubscription { subscription, subscriber, order: None, terms };
        self.submit(Command::RecordSubscription(record)).await;
    }

    /// A feature, and an API key.
    pub async fn configure(&self) {
        self.submit(Command::SetFeature(Feature {
            feature: FeatureKey::parse("essay").expect("a feature"),
            unit: unit(),
            cost: amount(3),
            active: true,
        }))
        .await;
        self.submit(Command::CreateKey(CreateKey {
            scopes: vec![Scope::Read, Scope::Spend],
            expires_at: None,
            secret_hash: [9; 32],
            name: "A client".to_owned(),
        }))
        .await;
    }

    pub async fn erase(&self, name: &str) {
        self.submit(Command::EraseProfile(EraseProfile { account: account(name) })).await;
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

    pub async fn grant(&self, name: &str, credits: i64) {
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

    pub async fn spend(&self, name: &str, credits: i64) {
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
    pub async fn open() -> Self {
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

    /// A database with a ledger that nothing has happened in but that it was set up.
    pub async fn configured() -> Self {
        let slug = LedgerSlug::parse("shop").expect("a slug");
        let place = Place::new().await;
        let shop = Shop::on(place.service.clone(), &slug).await;
        shop.begin().await;
        Self { place, shop }
    }

    pub async fn fold(&self) {
        fold(&self.place.service, self.shop.ledger).await;
    }

    /// Changes what is stored, past every guard but constraints.
    pub async fn tamper(&self, statement: &str) {
        let superuser = self.place.database.superuser().await;
        let unguarded = "SET session_replication_role = replica";
        superuser.batch_execute(unguarded).await.expect("a superuser");
        superuser.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }

    pub async fn verify(&self) -> Output {
        counterfoil(&["verify"], &[("DATABASE_URL", self.place.database.runtime_url())]).await
    }
}

async fn fold(database: &Database, ledger: LedgerId) {
    let client = database.connect().await.expect("a connection");
    for build in list_builds(&client).await.expect("builds") {
        counterfoil::projector::rebuild(database, ledger, &build, |_| {}).await.expect("folded");
    }
}

pub async fn counterfoil(arguments: &[&str], environment: &[(&str, SecretString)]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    for (name, value) in environment {
        command.env(name, value.expose_secret());
    }
    tokio::time::timeout(wait::LIMIT, command.output()).await.expect("in time").expect("a process")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is done to a ledger behind the service's back, and how the verdict begins.
pub type Tampered = &'static [(&'static str, &'static str)];

/// Does each thing to a ledger of its own, and has it verified: what is expected is the first that is found.
pub async fn assert_found(tampered: Tampered) {
    assert_told(tampered, |output, expected| {
        let said = text(&output.stderr);
        said.contains("wrong; the first: ledger shop") && said.contains(expected)
    })
    .await;
}

/// The same where something else is wrong as well, and may be found before.
pub async fn assert_found_too(tampered: Tampered) {
    let is_told =
        |line: &str, expected: &str| line.starts_with("WRONG ledger shop") && line.contains(expected);
    assert_told(tampered, |output, expected| {
        text(&output.stdout).lines().any(|line| is_told(line, expected))
    })
    .await;
}

async fn assert_told(tampered: Tampered, is_told: impl Fn(&Output, &str) -> bool) {
    let mut missed = Vec::new();
    for (statement, expected) in tampered {
        let town = Town::open().await;
        let builds = list_builds(&town.place.database.runtime().await).await.expect("builds");
        let place = |statement: String, build: &Build| {
            statement.replace(&format!("{{{}}}", build.projection), &build.schema)
        };
        town.tamper(&builds.iter().fold((*statement).to_owned(), place)).await;
        let output = town.verify().await;
        if output.status.code() != Some(1) || !is_told(&output, expected) {
            missed.push(format!("{statement}: {}{}", text(&output.stdout), text(&output.stderr)));
        }
    }
    assert_eq!(missed, [] as [String; 0]);
}
