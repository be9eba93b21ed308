//! The books: random histories of buying, using, refunding and disputing, through the real writer, and whether the money
//! adds up to the cent after each of their events.

use std::collections::BTreeMap;

use counterfoil::{
    audit::{replay::Replay, revenue::RevenueDay},
    domain::{
        Command, EventBody,
        amount::{Currency, PaidMoney},
        command::{
            AdjustCredits, AdvanceClock, ApplyDue, Bought, CaptureHold, Charge, Direction, GrantCredits,
            Note, PaidThrough, PlaceHold, RecordPaymentFact, RecordPurchase, ReleaseHold, SetOverdraftLimit,
            TransferCredits,
        },
        event::Event,
        ids::{AccountId, HoldId, PaymentReference, StripeId, Unit},
        payment::{DisputeStatus, Payment, PaymentFact, RefundStatus},
        settings::{ClawbackPolicy, LedgerSettings, UnitSettings},
        time::Span,
    },
    store::{
        database_url::DatabaseUrl,
        pool::Database,
        projections::{Build, definition::compiled_in, fold::Page, install::make_build},
    },
    writer::{Accepted, Outcome},
};
use tokio_postgres::Client;

use crate::{
    projector_support::{self, fold_next},
    writer_support::{Book, account, amount, open, plain},
};

/// Accounts of every history.
const NAMES: [&str; 3] = ["ada", "bob", "eve"];

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).expect("31 bits").rem_euclid(sides)
    }

    fn one_of<T: Clone>(&mut self, things: &[T]) -> Option<T> {
        let sides = i64::try_from(things.len()).expect("few");
        (sides > 0).then(|| things[usize::try_from(self.roll(sides)).expect("not negative")].clone())
    }
}

/// A history that is being made, and what has to be known of it to go on.
struct History {
    book: Book,
    dice: Dice,
    payments: Vec<(PaymentReference, PaidMoney)>,
    refunds: Vec<(PaymentReference, StripeId, i64, Currency)>,
    disputes: Vec<(PaymentReference, StripeId, i64, Currency)>,
    holds: Vec<(HoldId, i64)>,
    events: Vec<Event>,
    made: u32,
    claw_on_pending: bool,
}

fn units() -> [Unit; 2] {
    ["credits", "licence"].map(|unit| Unit::parse(unit).expect("a unit"))
}

impl History {
    async fn of(seed: u64, steps: u32, policy: ClawbackPolicy, claw_on_pending: bool) -> Self {
        let book = Book::open().await;
        let mut history = Self {
            book,
            dice: Dice(seed),
            payments: Vec::new(),
            refunds: Vec::new(),
            disputes: Vec::new(),
            holds: Vec::new(),
            events: Vec::new(),
            made: 0,
            claw_on_pending,
        };
        let units = units().map(|unit| (unit, UnitSettings { scale: 0 })).into();
        let settings =
            LedgerSettings { units, clawback_policy: policy, claw_on_pending, ..LedgerSettings::default() };
        history.submit(Command::ConfigureLedger(settings)).await;
        for name in NAMES {
            history.submit(open(name)).await;
        }
        for _ in 0..steps {
            history.step().await;
        }
        history
    }

    async fn submit(&mut self, command: Command) -> Option<Accepted> {
        match self.book.submit(plain(command)).await.expect("an outcome") {
            Outcome::Accepted(accepted) => {
                self.events.extend(accepted.events.iter().cloned());
                Some(accepted)
            }
            Outcome::Rejected(_) => None,
        }
    }

    fn someone(&mut self) -> AccountId {
        account(self.dice.one_of(&NAMES).expect("a name"))
    }

    fn some_unit(&mut self) -> Unit {
        self.dice.one_of(&units()).expect("a unit")
    }

    fn new_id(&mut self, prefix: &str) -> StripeId {
        self.made += 1;
        StripeId::parse(&format!("{prefix}_{}", self.made)).expect("an id")
    }

    async fn step(&mut self) {
        match self.dice.roll(22) {
            0..3 => self.buy().await,
            3..8 => self.spend().await,
            8..10 => self.hold().await,
            10..12 => self.resolve_hold().await,
            12 => self.grant().await,
            13 => self.adjust().await,
            14..16 => self.refund().await,
            16 => self.move_refund().await,
            17 => self.dispute().await,
            18 => self.pass_time().await,
            19 | 20 => self.transfer().await,
            _ => self.allow_overdraft().await,
        }
    }

    async fn buy(&mut self) {
        let session = self.new_id("cs");
        let intent = self.new_id("pi");
        let currency = self.dice.one_of(&["eur", "usd"]).and_then(Currency::parse).expect("a currency");
        let gross = 1 + self.dice.roll(5_000);
        let tax = self.dice.roll(gross);
        let money = PaidMoney::new(gross, tax, currency).expect("money");
        let mut totals = BTreeMap::from([(self.some_unit(), amount(1 + self.dice.roll(40)))]);
        if self.dice.roll(3) == 0 {
            totals.insert(self.some_unit(), amount(1 + self.dice.roll(7)));
        }
        let payment = PaymentReference::Stripe(intent.clone());
        if self.dice.roll(6) == 0 {
            // Stripe tells of refunds before it tells of the sale.
            self.payments.push((payment.clone(), money));
            self.refund().await;
        } else {
            self.payments.push((payment, money));
        }
        let command = RecordPurchase {
            account: self.someone(),
            paid_through: PaidThrough::CheckoutSession { session, payment_intent: Some(intent) },
            order: None,
            bought: Bought { price: None, totals },
            money,
            note: Note::new(),
        };
        assert!(
            self.submit(Command::RecordPurchase(command)).await.is_some(),
            "a purchase is always recorded"
        );
    }

    fn charge(&mut self, most: i64) -> Charge {
        Charge::Credits { unit: self.some_unit(), amount: amount(1 + self.dice.roll(most)) }
    }

    async fn spend(&mut self) {
        let charge = self.charge(12);
        let account = self.someone();
        let command = counterfoil::domain::command::SpendCredits { account, charge, note: Note::new() };
        self.submit(Command::SpendCredits(command)).await;
    }

    async fn hold(&mut self) {
        let charge = self.charge(9);
        let account = self.someone();
        let lapses_after = Span::seconds(60 + self.dice.roll(100_000));
        let command = PlaceHold { account, charge, lapses_after, note: Note::new() };
        if let Some(accepted) = self.submit(Command::PlaceHold(command)).await {
            let held = accepted.events.iter().find_map(|event| match &event.body {
                EventBody::CreditsHeld(body) => Some((body.hold, body.held)),
                _ => None,
            });
            self.holds.extend(held);
        }
    }

    async fn resolve_hold(&mut self) {
        let Some((hold, held)) = self.dice.one_of(&self.holds) else { return };
        self.holds.retain(|(other, _)| *other != hold);
        let note = Note::new();
        if self.dice.roll(3) == 0 {
            self.submit(Command::ReleaseHold(ReleaseHold { hold, note })).await;
        } else {
            let amount = amount(1 + self.dice.roll(held + 2));
            self.submit(Command::CaptureHold(CaptureHold { hold, amount, allow_excess: true, note })).await;
        }
    }

    async fn grant(&mut self) {
        let in_days = self.dice.roll(20);
        let now = self.events.last().expect("events").recorded_at;
        let command = GrantCredits {
            account: self.someone(),
            unit: self.some_unit(),
            amount: amount(1 + self.dice.roll(15)),
            expires_at: (in_days > 0).then(|| now.plus(Span::seconds(in_days * 86_400))),
            priority: 50,
            note: Note::new(),
        };
        self.submit(Command::GrantCredits(command)).await;
    }

    async fn transfer(&mut self) {
        let command = TransferCredits {
            from: self.someone(),
            to: self.someone(),
            unit: self.some_unit(),
            amount: amount(1 + self.dice.roll(20)),
            note: Note::new(),
        };
        self.submit(Command::TransferCredits(command)).await;
    }

    async fn adjust(&mut self) {
        let direction = if self.dice.roll(3) == 0 { Direction::In } else { Direction::Out };
        let command = AdjustCredits {
            account: self.someone(),
            unit: self.some_unit(),
            direction,
            amount: amount(1 + self.dice.roll(5)),
            note: Note::from_iter([("reason".to_owned(), "a mistake".into())]),
        };
        self.submit(Command::AdjustCredits(command)).await;
    }

    async fn tell(&mut self, payment: PaymentReference, fact: PaymentFact) {
        self.submit(Command::RecordPaymentFact(RecordPaymentFact { payment, fact })).await;
    }

    async fn refund(&mut self) {
        let Some((payment, money)) = self.dice.one_of(&self.payments) else { return };
        let currency = money.currency;
        let part = match self.dice.roll(3) {
            0 => money.gross,
            _ => 1 + self.dice.roll(money.gross),
        };
        if self.dice.roll(4) == 0 {
            let charge = StripeId::parse(&format!("ch_{payment}").replace("pi_", "")).expect("an id");
            return self
                .tell(payment, PaymentFact::ChargeRefunded { charge, amount_refunded: part, currency })
                .await;
        }
        let refund = self.new_id("re");
        let status = self.dice.one_of(&[RefundStatus::Pending, RefundStatus::Succeeded]).expect("a status");
        self.refunds.push((payment.clone(), refund.clone(), part, currency));
        self.tell(payment, PaymentFact::Refund { refund, status, amount: part, currency, request: None })
            .await;
    }

    async fn move_refund(&mut self) {
        let Some((payment, refund, amount, currency)) = self.dice.one_of(&self.refunds) else { return };
        let statuses = [RefundStatus::Succeeded, RefundStatus::Failed, RefundStatus::Cancelled];
        let status = self.dice.one_of(&statuses).expect("a status");
        self.tell(payment, PaymentFact::Refund { refund, status, amount, currency, request: None }).await;
    }

    async fn dispute(&mut self) {
        if self.dice.roll(2) == 0
            && let Some((payment, dispute, amount, currency)) = self.dice.one_of(&self.disputes)
        {
            let status = self.dice.one_of(&[DisputeStatus::Won, DisputeStatus::Lost]).expect("a status");
            return self.tell(payment, PaymentFact::Dispute { dispute, status, amount, currency }).await;
        }
        let Some((payment, money)) = self.dice.one_of(&self.payments) else { return };
        let (dispute, currency) = (self.new_id("dp"), money.currency);
        let amount = 1 + self.dice.roll(money.gross);
        self.disputes.push((payment.clone(), dispute.clone(), amount, currency));
        let status = DisputeStatus::Open;
        self.tell(payment, PaymentFact::Dispute { dispute, status, amount, currency }).await;
    }

    async fn pass_time(&mut self) {
        let seconds = amount(3_600 + self.dice.roll(400_000));
        self.submit(Command::AdvanceClock(AdvanceClock { seconds })).await;
        let opened = |event: &&Event| matches!(event.body, EventBody::AccountOpened(_));
        let accounts: Vec<_> = self.events.iter().filter(opened).filter_map(|event| event.account).collect();
        for account in accounts {
            self.submit(Command::ApplyDue(ApplyDue { account })).await;
        }
    }

    async fn allow_overdraft(&mut self) {
        let limit = self.dice.roll(10);
        let (account, unit) = (self.someone(), self.some_unit());
        self.submit(Command::SetOverdraftLimit(SetOverdraftLimit { account, unit, limit })).await;
    }

    /// Whether the event at a position is the last one of its command.
    fn ends_command(&self, position: i64) -> bool {
        let next = self.events.iter().find(|event| event.position.0 == position + 1);
        next.is_none_or(|next| next.command == next.position)
    }

    /// By currency, what was sold less what went back, without tax, after the events up to a position: from the facts about
    /// the payments alone.
    fn net_cash(&self, until: i64) -> BTreeMap<String, i64> {
        let mut sold: BTreeMap<PaymentReference, (PaidMoney, Payment)> = BTreeMap::new();
        let mut known: BTreeMap<PaymentReference, Payment> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.position.0 <= until) {
            let (payment, fact) = match &event.body {
                EventBody::CreditsPurchased(body) => {
                    let reference = body.payment.clone().expect("a payment");
                    let entry = known.entry(reference.clone());
                    let payment = entry.or_insert_with(|| Payment::unknown(reference.clone()));
                    payment.money = Some(body.money);
                    sold.insert(reference, (body.money, payment.clone()));
                    continue;
                }
                EventBody::PaymentNoted(body) => (body.payment.clone(), body.fact.clone()),
                EventBody::PurchaseClawed(counterfoil::domain::event::PurchaseClawed(body))
                | EventBody::PurchaseRestored(counterfoil::domain::event::PurchaseRestored(body)) => {
                    let counterfoil::domain::event::TargetCause::Fact(fact) = &body.cause else { continue };
                    (body.payment.clone().expect("a payment"), fact.clone())
                }
                _ => continue,
            };
            let entry = known.entry(payment.clone());
            entry.or_insert_with(|| Payment::unknown(payment)).learn(&fact);
        }
        let mut cash = BTreeMap::new();
        for (reference, (money, _)) in sold {
            let back = known[&reference].money_back(self.claw_on_pending).taken.min(money.gross);
            let net = i128::from(money.net());
            let returned = i64::try_from(net * i128::from(back) / i128::from(money.gross)).expect("fits");
            *cash.entry(money.currency.to_string()).or_default() += money.net() - returned;
        }
        cash
    }
}

/// A build of the books that the ledger is folded into page by page.
async fn build(book: &Book) -> Build {
    let url = DatabaseUrl::parse(&book.database.owner_url()).expect("an address");
    let mut owner = Database::open(&url, 1).expect("a database").connect().await.expect("a connection");
    let definitions = compiled_in().expect("projections");
    let books = definitions.into_iter().find(|definition| definition.name == "books").expect("the books");
    let build = make_build(&mut owner, &books, None).await.expect("a build");
    let client = book.database.superuser().await;
    let follow = "INSERT INTO projection_cursors (ledger_id, projection, build, is_serving)
                  VALUES ($1, $2, $3, false)";
    client.execute(follow, &[&book.ledger.0, &build.projection, &build.build]).await.expect("a cursor");
    build
}

/// Folds one more page; gives the position up to which everything is folded.
async fn fold(service: &Database, book: &Book, build: &Build, limit: i64) -> Option<i64> {
    let page = fold_next(service, book.ledger, build, limit).await;
    assert!(!matches!(page, Page::Halted | Page::Passed), "{page:?}");
    let Page::Folded { .. } = page else { return None };
    let superuser = book.database.superuser().await;
    let cursor =
        "SELECT position FROM projection_cursors WHERE ledger_id = $1 AND projection = $2 AND build = $3";
    let row = superuser.query_one(cursor, &[&book.ledger.0, &build.projection, &build.build]).await;
    Some(row.expect("a cursor").get(0))
}

/// By currency: earned (recognised and breakage) and deferred, three times: by the lots, by the journal, by the days.
async fn sums(client: &Client, build: &Build) -> BTreeMap<String, [(i64, i64); 3]> {
    let schema = &build.schema;
    let statement = format!(
        "SELECT c.currency,
                (SELECT sum(l.recognised + l.breakage)::bigint FROM {schema}.lots l WHERE l.currency = c.currency),
                (SELECT sum(l.deferred)::bigint FROM {schema}.lots l WHERE l.currency = c.currency),
                (SELECT sum(j.recognised + j.breakage)::bigint FROM {schema}.journal j WHERE j.currency = c.currency),
                (SELECT sum(j.deferred)::bigint FROM {schema}.journal j WHERE j.currency = c.currency),
                (SELECT sum(r.recognised + r.breakage)::bigint FROM {schema}.revenue r WHERE r.currency = c.currency),
                (SELECT r.deferred_at_close FROM {schema}.revenue r WHERE r.currency = c.currency
                  ORDER BY r.day DESC LIMIT 1)
           FROM (SELECT DISTINCT currency FROM {schema}.lots WHERE currency IS NOT NULL) c"
    );
    let rows = client.query(&statement, &[]).await.expect("sums");
    let number = |row: &tokio_postgres::Row, at: usize| row.get::<_, Option<i64>>(at).unwrap_or(0);
    let pairs = |row: &tokio_postgres::Row| [1, 3, 5].map(|at| (number(row, at), number(row, at + 1)));
    rows.iter().map(|row| (row.get(0), pairs(row))).collect()
}

async fn check_history(history: &History, pages: i64) {
    let book = &history.book;
    let superuser = book.database.superuser().await;
    let service = projector_support::open(&book.database.runtime_url());
    let build_in_pages = build(book).await;
    while let Some(position) = fold(&service, book, &build_in_pages, pages).await {
        // Within a command, a sale or a transfer is not complete.
        if !history.ends_command(position) {
            continue;
        }
        let cash = history.net_cash(position);
        for (currency, [lots, journal, days]) in sums(&superuser, &build_in_pages).await {
            assert_eq!((lots, lots), (journal, days), "{currency} at {position}");
            assert_eq!(lots.0 + lots.1, cash[&currency], "net cash of {currency} at {position}");
        }
    }
    let at_once = build(book).await;
    while fold(&service, book, &at_once, 100_000).await.is_some() {}
    check_same(&superuser, &build_in_pages, &at_once).await;
    check_lots(&superuser, book, &at_once).await;
    check_revenue(&superuser, history, &at_once).await;
}

/// What is folded by SQL is what an auditor recounts from the events.
async fn check_revenue(client: &Client, history: &History, build: &Build) {
    let mut replay = Replay::default();
    for event in &history.events {
        replay.play(event).expect("an event that follows");
    }
    let statement = format!(
        "SELECT currency, day::text, sold, recognised, breakage, refunded FROM {}.revenue ORDER BY currency, day",
        build.schema
    );
    let rows = client.query(&statement, &[]).await.expect("the days");
    let by_sql: Vec<(String, String, RevenueDay)> = rows
        .iter()
        .map(|row| {
            let day = RevenueDay {
                sold: row.get(2),
                recognised: row.get(3),
                breakage: row.get(4),
                refunded: row.get(5),
            };
            (row.get(0), row.get(1), day)
        })
        .filter(|(.., day)| *day != RevenueDay::default())
        .collect();
    let recounted: Vec<(String, String, RevenueDay)> = replay
        .revenue()
        .days()
        .iter()
        .filter(|(_, day)| **day != RevenueDay::default())
        .map(|((currency, day), of_day)| (currency.to_string(), day.to_string(), *of_day))
        .collect();
    assert!(!by_sql.is_empty());
    assert_eq!(by_sql, recounted);
}

/// However the events are cut into pages, the tables are the same.
async fn check_same(client: &Client, one: &Build, other: &Build) {
    for table in
        ["lots", "lot_changes", "payment_facts", "pending_counts", "journal", "revenue", "deferred_days"]
    {
        let (one, other) = (&one.schema, &other.schema);
        let statement = format!(
            "SELECT count(*) FROM ((TABLE {one}.{table} EXCEPT TABLE {other}.{table})
                                   UNION ALL (TABLE {other}.{table} EXCEPT TABLE {one}.{table})) d"
        );
        let different: i64 = client.query_one(&statement, &[]).await.expect("a comparison").get(0);
        assert_eq!(different, 0, "{table}");
    }
}

/// The lots of the books are those that commands are decided on.
async fn check_lots(client: &Client, book: &Book, build: &Build) {
    let statement = format!(
        "WITH live AS (
             SELECT jsonb_path_query(a.state::jsonb, '$.books.*.lots.*') AS lot FROM accounts a WHERE a.ledger_id = $1
              UNION
             SELECT l.state FROM lots l WHERE l.ledger_id = $1 AND l.state IS NOT NULL
         ), numbers AS (
             SELECT substr(l.lot ->> 'id', 5)::uuid AS lot,
                    ARRAY(SELECT COALESCE((l.lot ->> name)::bigint, 0)
                            FROM unnest(ARRAY['granted', 'remaining', 'held', 'disputed', 'spent', 'settled', 'expired',
                                              'adjusted', 'clawed', 'moved', 'cost']) name) AS numbers,
                    (l.lot ->> 'expires_at')::timestamptz AS expires_at
               FROM live l
         ), folded AS (
             SELECT b.lot, ARRAY[b.granted, b.remaining, b.held, b.disputed, b.spent, b.settled, b.expired, b.adjusted,
                                 b.clawed, b.moved, COALESCE(b.cost, 0)] AS numbers, b.expires_at
               FROM {}.lots b WHERE b.ledger_id = $1
         )
         SELECT (SELECT count(*) FROM folded),
                (SELECT count(*) FROM numbers),
                (SELECT count(*) FROM ((TABLE numbers EXCEPT TABLE folded) UNION ALL (TABLE folded EXCEPT TABLE numbers)) d)",
        build.schema
    );
    let row = client.query_one(&statement, &[&book.ledger.0]).await.expect("a comparison");
    assert!(row.get::<_, i64>(0) > 0);
    assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(2)), (row.get(0), 0), "lots that differ");
}

#[tokio::test]
async fn money_adds_up_to_the_cent_after_each_event_of_any_history() {
    check_history(&History::of(7, 150, ClawbackPolicy::Debt, false).await, 1).await;
}

#[tokio::test]
async fn money_adds_up_where_shortfalls_are_written_off_and_pending_refunds_count() {
    check_history(&History::of(11, 250, ClawbackPolicy::LotOnly, true).await, 7).await;
}

#[tokio::test]
async fn money_adds_up_in_a_longer_history() {
    check_history(&History::of(23, 500, ClawbackPolicy::Debt, false).await, 50).await;
}
