//! Every statement of the write path fails in its turn, in the midst of a batch, and takes nobody with it who does not need
//! it. The refusal is the server's own: it is asked for a prepared statement that it does not have.

use std::{collections::BTreeSet, sync::Arc};

use counterfoil::{
    domain::{
        Command, EventBody,
        amount::{Currency, PaidMoney},
        catalogue::{Price, PriceGrant},
        command::{
            Bought, ChangeAccount, Charge, CloseOrder, CreateCheckoutLink, CreateKey, EraseProfile,
            FollowCheckoutLink, Note, OpenAccount, PaidOrder, PaidThrough, PlaceHold, PlaceOrder,
            ProfileChange, RecordPaymentFact, RecordPurchase, ReleaseHold, RequestRefund, RevokeCheckoutLink,
            RevokeKey, StartSubscription, Subscriber, TransferCredits,
        },
        ids::{Actor, CheckoutLinkId, HoldId, KeyId, OrderId, PaymentReference, PriceId, StripeId},
        order::{OrderDetails, OrderEnding},
        payment::{PaymentFact, RefundStatus},
        settings::{LedgerSettings, Scope, UnitSettings},
        time::Span,
    },
    store::session::statements,
    writer::{Outcome, Submission, SubmitError, WriterSettings, Writers},
};
use futures_util::future::join_all;

use crate::{
    support::proxy::Proxy,
    writer_support::{
        Book, accepted, account, amount, checkout_settings, grant, keyed, open, plain, set_feature, spend,
        unit, writers,
    },
};

const ALWAYS: u64 = u64::MAX;

/// A ledger, writers that reach it through a proxy, and others (those of the book) that do not.
struct Stage {
    book: Book,
    proxy: Proxy,
    writers: Arc<Writers>,
    /// The statements that have failed.
    failed: BTreeSet<&'static str>,
    features: i64,
}

impl Stage {
    async fn open() -> Self {
        let book = Book::open().await;
        for neighbour in ["left", "right"] {
            book.account_with(neighbour, 1_000).await;
        }
        let proxy = Proxy::start(book.database.port()).await;
        let writers = writers(proxy.url(&book.database.runtime_url()), WriterSettings::default());
        let mut stage = Self { book, proxy, writers, failed: BTreeSet::new(), features: 0 };
        // From here on the neighbours are in the cache: nobody but the command between them loads anything.
        stage.all_succeed(None).await;
        stage
    }

    /// Spends of two neighbours, and between them the command in question, as one batch.
    async fn submit(&mut self, command: Option<&Submission>) -> Vec<Result<Outcome, SubmitError>> {
        // Settings and catalogue are no longer what these writers know, and neither is the head.
        self.features += 1;
        self.book.accept(set_feature("elsewhere", self.features)).await;
        let commands = [Some(plain(spend("left", 1))), command.cloned(), Some(plain(spend("right", 1)))];
        let submitted = commands.into_iter().flatten();
        join_all(submitted.map(|command| self.writers.submit(self.book.ledger, command))).await
    }

    async fn all_succeed(&mut self, command: Option<&Submission>) {
        for outcome in self.submit(command).await {
            assert_ne!(accepted(outcome).events.len(), 0);
        }
        self.book.check().await;
    }

    /// Whatever of this statement has happened, it no longer does.
    fn mend(&mut self, statement: &'static str) -> u64 {
        let times = self.proxy.misnamed(sql_of(statement));
        self.proxy.misname(sql_of(statement), 0);
        if times > 0 {
            self.failed.insert(statement);
        }
        times
    }

    /// A statement that only one command of the batch needs fails whenever it is tried: that command is refused, its
    /// neighbours are not, and when it no longer fails, the command succeeds.
    async fn fails_for_one(&mut self, statement: &'static str, command: Submission) {
        self.proxy.misname(sql_of(statement), ALWAYS);
        let before = self.book.head().await;
        let outcomes = self.submit(Some(&command)).await;
        assert_eq!(outcomes[1], Err(SubmitError::Internal), "{statement}");
        for neighbour in [&outcomes[0], &outcomes[2]] {
            assert!(matches!(neighbour, Ok(Outcome::Accepted(_))), "{statement}: {neighbour:?}");
        }
        // With both neighbours, with the one behind it, alone.
        assert_eq!(self.mend(statement), 3, "how often {statement} failed");
        assert_eq!(self.book.head().await, before + 3, "{statement} left something of the command");
        self.book.check().await;
        let again = self.writers.submit(self.book.ledger, command).await;
        assert_eq!(accepted(again).events.is_empty(), statement == KEEPS_A_KEY, "{statement}");
        self.book.check().await;
    }

    /// A statement that every batch needs fails: always, and nobody succeeds; once, and everybody does.
    async fn fails_for_all(&mut self, statement: &'static str) {
        let command = keyed(grant("left", 1), statement, 1);
        self.proxy.misname(sql_of(statement), ALWAYS);
        let before = self.book.head().await;
        let outcomes = self.submit(Some(&command)).await;
        assert_eq!(outcomes, vec![Err(SubmitError::Internal); 3], "{statement}");
        // All three, then the first; the other two, then each of them.
        assert_eq!(self.mend(statement), 5, "how often {statement} failed");
        assert_eq!(self.book.head().await, before + 1, "{statement} left something");

        self.proxy.misname(sql_of(statement), 1);
        self.all_succeed(Some(&command)).await;
        assert_eq!(self.mend(statement), 1, "how often {statement} failed");
        assert_eq!(self.book.head().await, before + 1 + 4, "{statement}: somebody succeeded twice");
    }

    /// As another process that has just started, through the same proxy.
    fn start_afresh(&mut self) {
        self.writers = writers(self.proxy.url(&self.book.database.runtime_url()), WriterSettings::default());
    }

    /// A statement fails once that a new connection begins with, before anything is tried: all are told that the database
    /// cannot be worked with, and may come again.
    async fn fails_at_connecting(&mut self, statement: &'static str) {
        self.start_afresh();
        self.proxy.misname(sql_of(statement), 1);
        let before = self.book.head().await;
        let command = keyed(grant("left", 1), &format!("connecting-{statement}"), 1);
        let outcomes = self.submit(Some(&command)).await;
        assert_eq!(outcomes, vec![Err(SubmitError::Unavailable); 3], "{statement}");
        assert_eq!(self.mend(statement), 1, "how often {statement} failed");
        assert_eq!(self.book.head().await, before + 1, "{statement} left something");
        self.all_succeed(Some(&command)).await;
    }

    /// The server commits and does not say so, and the first attempt to find that out fails as well.
    async fn fails_to_tell(&mut self) {
        let command = keyed(grant("left", 1), "untold", 1);
        for statement in ["transaction_status", "find_batch"] {
            self.proxy.misname(sql_of(statement), 1);
        }
        let before = self.book.head().await;
        self.all_succeed(Some(&command)).await;
        for statement in ["transaction_status", "find_batch"] {
            assert_eq!(self.mend(statement), 1, "how often {statement} failed");
        }
        assert_eq!(self.book.head().await, before + 4, "somebody succeeded twice");
    }

    /// Servers that do not tell their timeline are believed.
    async fn fails_unnoticed(&mut self, statement: &'static str) {
        self.start_afresh();
        self.proxy.misname(sql_of(statement), 1);
        self.all_succeed(None).await;
        assert_eq!(self.mend(statement), 1, "how often {statement} failed");
    }
}

fn sql_of(name: &str) -> &'static str {
    let statement = statements().find(|statement| statement.name == name);
    statement.unwrap_or_else(|| panic!("there is no statement {name}")).sql
}

#[tokio::test]
async fn each_statement_can_fail_and_whoever_does_not_need_it_succeeds() {
    let mut stage = Stage::open().await;
    for statement in
        ["lock_head", "read_server", "list_since", "load_settings", "load_features", "load_prices"]
    {
        stage.fails_for_all(statement).await;
    }
    for statement in ["insert_events", "write_accounts", "move_head"] {
        stage.fails_for_all(statement).await;
    }
    for statement in ["lock_head", "read_server", "change_fence"] {
        stage.fails_at_connecting(statement).await;
    }
    stage.fails_unnoticed("read_timeline").await;
    stage.fails_to_tell().await;
    let world = World::prepare(&stage.book).await;
    for (statement, command) in world.cases() {
        stage.fails_for_one(statement, command).await;
    }
    // Whoever adds a statement says here what becomes of those who need it, when it fails.
    let all: BTreeSet<&str> = statements().map(|statement| statement.name).collect();
    let spared: Vec<_> = all.difference(&stage.failed).collect();
    assert!(spared.is_empty(), "these have not failed: {spared:?}");
}

/// What a command needs that finds everything as it asks: its key is kept, and nothing else is written.
const KEEPS_A_KEY: &str = "insert_idle_keys";

/// What must be there for commands that need every kind of state. Nothing of it is in the cache of the writers that fail.
struct World {
    hold: HoldId,
    keys: [KeyId; 2],
    /// Nobody has paid it.
    placed: OrderId,
    /// 100 credits for 5 euros, through `pi_paid`.
    paid: OrderId,
    links: [CheckoutLinkId; 2],
}

macro_rules! made {
    ($book:expr, $command:expr, $event:ident, $field:ident) => {
        $book
            .accept($command)
            .await
            .events
            .iter()
            .find_map(|event| match &event.body {
                EventBody::$event(body) => Some(body.$field),
                _ => None,
            })
            .expect("an id")
    };
}

impl World {
    async fn prepare(book: &Book) -> Self {
        for name in ["alice", "bob", "noted", "ordered", "linked"] {
            book.account_with(name, 100).await;
        }
        for name in ["unread", "carol", "dave"] {
            book.accept(open(name)).await;
        }
        book.accept(price("price_pack", 500)).await;
        let placed = made!(book, place("ordered"), OrderPlaced, order);
        let paid = made!(book, place("carol"), OrderPlaced, order);
        book.accept(purchase("carol", "paid", Some(paid))).await;
        book.accept(purchase("dave", "known", None)).await;
        Self {
            hold: made!(book, hold("alice"), CreditsHeld, hold),
            keys: [made!(book, create_key(1), KeyCreated, key), made!(book, create_key(2), KeyCreated, key)],
            placed,
            paid,
            links: [
                made!(book, create_link("linked"), CheckoutLinkCreated, link),
                made!(book, create_link("bob"), CheckoutLinkCreated, link),
            ],
        }
    }

    /// Commands that need one statement that none of their neighbours need. They are carried out in this order.
    fn cases(&self) -> Vec<(&'static str, Submission)> {
        let loading = vec![
            ("load_commands", keyed(grant("alice", 1), "a-key", 1)),
            ("load_idle_keys", keyed(grant("alice", 1), "another-key", 1)),
            ("load_state", plain(grant("unread", 1))),
            ("load_accounts_of_events", plain(release(self.hold))),
            ("load_orders", plain(close(self.placed))),
            ("load_customers", plain(open_with("erin", Some("cus_1")))),
            ("load_checkout_links", follow(self.links[0])),
            ("load_subscriptions", plain(subscribe("alice", "sub_1"))),
            ("load_api_keys", plain(revoke_key(self.keys[0]))),
        ];
        loading.into_iter().chain(self.writing()).chain(private()).chain(configuration()).collect()
    }

    /// See [`World::cases`].
    fn writing(&self) -> Vec<(&'static str, Submission)> {
        vec![
            ("write_lots", plain(spend("bob", 100))),
            ("write_purchases", plain(purchase("alice", "new", None))),
            ("write_purchases", plain(refunded("known", "re_1"))),
            ("write_holders", plain(transfer("carol", "bob"))),
            ("write_payments", plain(purchase("alice", "newer", None))),
            ("write_payments", plain(refunded("newer", "re_2"))),
            ("insert_refund_requests", plain(refund(self.paid))),
            ("write_orders", plain(place("alice"))),
            ("order_effects", plain(place("alice"))),
            ("insert_checkout_links", plain(create_link("alice"))),
            ("follow_checkout_link", follow(self.links[1])),
            ("revoke_checkout_link", plain(revoke_link(self.links[1]))),
            ("write_subscriptions", plain(subscribe("alice", "sub_2"))),
            ("revoke_api_keys", plain(revoke_key(self.keys[1]))),
        ]
    }
}

/// See [`World::cases`].
fn private() -> Vec<(&'static str, Submission)> {
    let text = |text: &str| Some(Some(text.to_owned()));
    let nothing = ProfileChange::default;
    vec![
        ("insert_notes", plain(with_note(grant("alice", 1)))),
        ("insert_profiles", plain(open_with("frank", None))),
        ("write_email", change(ProfileChange { email: text("alice@example.org"), ..nothing() })),
        ("write_name", change(ProfileChange { name: text("Alice"), ..nothing() })),
        ("write_locale", change(ProfileChange { locale: text("de"), ..nothing() })),
        ("write_metadata", change(ProfileChange { metadata: Some(note()), ..nothing() })),
        ("delete_notes", erase("noted")),
        ("erase_orders", erase("ordered")),
        ("erase_checkout_links", erase("linked")),
    ]
}

/// See [`World::cases`].
fn configuration() -> Vec<(&'static str, Submission)> {
    vec![
        ("write_settings", plain(configure())),
        ("write_features", plain(set_feature("analysis", 3))),
        (KEEPS_A_KEY, keyed(set_feature("analysis", 3), "as-it-is", 1)),
        ("write_prices", plain(price("price_other", 700))),
        ("insert_api_keys", plain(create_key(3))),
    ]
}

fn stripe(kind: &str, name: &str) -> StripeId {
    StripeId::parse(&format!("{kind}_{name}")).expect("an id")
}

fn eur() -> Currency {
    Currency::parse("eur").expect("a currency")
}

fn price_id(id: &str) -> PriceId {
    PriceId::parse(id).expect("a price")
}

fn note() -> Note {
    [("reason".to_owned(), "because".into())].into_iter().collect()
}

/// 100 credits.
fn price(id: &str, cents: i64) -> Command {
    let grant = PriceGrant { unit: unit(), amount: amount(100), expires_days: None, priority: 50, share: 1 };
    let price = Price {
        price: price_id(id),
        display_name: "A pack".to_owned(),
        display_order: 1,
        active: true,
        money: cents,
        currency: eur(),
        grants: vec![grant],
        rollover: None,
        operator: None,
        stripe: None,
    };
    Command::SetPrice(price.into())
}

fn place(name: &str) -> Command {
    Command::PlaceOrder(PlaceOrder {
        trial_days: None,
        account: account(name),
        price: price_id("price_pack"),
        quantity: amount(1),
        details: OrderDetails::default(),
        note: Note::new(),
    })
}

fn close(order: OrderId) -> Command {
    Command::CloseOrder(CloseOrder { order, session: None, ending: OrderEnding::Expired })
}

/// 100 credits for 5 euros.
fn purchase(name: &str, payment: &str, order: Option<OrderId>) -> Command {
    let totals = if order.is_some() { Default::default() } else { [(unit(), amount(100))].into() };
    Command::RecordPurchase(RecordPurchase {
        account: account(name),
        paid_through: PaidThrough::CheckoutSession {
            session: stripe("cs", payment),
            payment_intent: Some(stripe("pi", payment)),
        },
        order: order.map(|order| PaidOrder { order, subtotal: 500 }),
        bought: Bought { price: None, totals },
        money: PaidMoney::new(500, 0, eur()).expect("money"),
        note: Note::new(),
    })
}

fn refunded(payment: &str, refund: &str) -> Command {
    Command::RecordPaymentFact(RecordPaymentFact {
        payment: PaymentReference::Stripe(stripe("pi", payment)),
        fact: PaymentFact::Refund {
            request: None,
            refund: StripeId::parse(refund).expect("an id"),
            status: RefundStatus::Succeeded,
            amount: 500,
            currency: eur(),
        },
    })
}

fn refund(order: OrderId) -> Command {
    Command::RequestRefund(RequestRefund { order, amount: Some(amount(100)), note: Note::new() })
}

fn create_link(name: &str) -> Command {
    Command::CreateCheckoutLink(CreateCheckoutLink {
        account: account(name),
        price: price_id("price_pack"),
        quantity: amount(1),
        expires_at: None,
        details: OrderDetails::default(),
        note: Note::new(),
    })
}

fn follow(link: CheckoutLinkId) -> Submission {
    let own_pages = "https://pay.example/buy".to_owned();
    let follow = FollowCheckoutLink { link, details: OrderDetails::default(), own_pages };
    Submission { actor: Actor::CheckoutLink(link), ..plain(Command::FollowCheckoutLink(follow)) }
}

fn revoke_link(link: CheckoutLinkId) -> Command {
    Command::RevokeCheckoutLink(RevokeCheckoutLink { link })
}

fn subscribe(name: &str, subscription: &str) -> Command {
    Command::StartSubscription(StartSubscription {
        subscription: StripeId::parse(subscription).expect("an id"),
        subscriber: Some(Subscriber::Named(account(name))),
        order: None,
        session: stripe("cs", subscription),
    })
}

fn hold(name: &str) -> Command {
    Command::PlaceHold(PlaceHold {
        account: account(name),
        charge: Charge::Credits { unit: unit(), amount: amount(5) },
        lapses_after: Span::seconds(3_600),
        note: Note::new(),
    })
}

fn release(hold: HoldId) -> Command {
    Command::ReleaseHold(ReleaseHold { hold, note: Note::new() })
}

fn transfer(from: &str, to: &str) -> Command {
    Command::TransferCredits(TransferCredits {
        from: account(from),
        to: account(to),
        unit: unit(),
        amount: amount(5),
        note: Note::new(),
    })
}

fn open_with(name: &str, customer: Option<&str>) -> Command {
    Command::OpenAccount(OpenAccount {
        account: account(name),
        profile: ProfileChange::default(),
        stripe_customer: customer.map(|id| StripeId::parse(id).expect("an id")),
    })
}

fn change(profile: ProfileChange) -> Submission {
    plain(Command::ChangeAccount(ChangeAccount { account: account("alice"), profile }))
}

fn erase(name: &str) -> Submission {
    plain(Command::EraseProfile(EraseProfile { account: account(name) }))
}

fn with_note(mut command: Command) -> Command {
    if let Command::GrantCredits(grant) = &mut command {
        grant.note = note();
    }
    command
}

fn configure() -> Command {
    Command::ConfigureLedger(LedgerSettings {
        units: [(unit(), UnitSettings { scale: 0 })].into(),
        checkout: checkout_settings(),
        freeze_on_dispute: true,
        ..LedgerSettings::default()
    })
}

fn create_key(number: u8) -> Command {
    Command::CreateKey(CreateKey {
        scopes: vec![Scope::Read],
        expires_at: None,
        secret_hash: [number; 32],
        name: "a key".to_owned(),
    })
}

fn revoke_key(key: KeyId) -> Command {
    Command::RevokeKey(RevokeKey { key })
}
