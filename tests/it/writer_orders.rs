//! How customers, orders and refunds that are asked for are kept, and read again by whoever carries them out.

use std::time::Duration;

use counterfoil::{
    domain::{
        Command, EventBody, Rejection,
        amount::{Currency, PaidMoney},
        catalogue::{Price, PriceGrant},
        command::{
            Bought, CloseOrder, EraseProfile, LinkCustomer, OpenAccount, PaidOrder, PaidThrough, PlaceOrder,
            ProfileChange, RecordPaymentFact, RecordPurchase, RecordSession, RefuseRefund, RequestRefund,
            SetPrice, UnlinkCustomer,
        },
        event::LinkCause,
        ids::{AccountNumber, OrderId, PaymentReference, PriceId, RefundRequestId, StripeId},
        order::{OrderDetails, OrderEnding, OrderStatus},
        payment::{PaymentFact, RefundRefusal, RefundStatus, RequestStatus},
        time::Timestamp,
    },
    store::{
        database_url::DatabaseUrl,
        pool::Database,
        reads::orders::{
            CustomerRow, OrderFilter, OrderRow, RefundRow, find_account_of_customer, find_customer,
            find_order, find_refund, list_orders, refunds_of_order,
        },
        scope,
        session::Session,
        working_set::{Loaded, Wanted, load},
    },
    writer::{Accepted, WriterSettings},
};

use crate::writer_support::{
    Book, accepted, account, amount, open, plain, rejected, spend, types, unit, writers,
};

fn stripe(id: &str) -> StripeId {
    StripeId::parse(id).expect("an id")
}

fn eur() -> Currency {
    Currency::parse("eur").expect("a currency")
}

fn details() -> OrderDetails {
    let text = |text: &str| Some(text.to_owned());
    OrderDetails {
        locale: text("de"),
        success_url: text("https://shop.example/ada/thanks"),
        cancel_url: text("https://shop.example/ada/back"),
    }
}

fn place(name: &str) -> Command {
    Command::PlaceOrder(PlaceOrder {
        trial_days: None,
        account: account(name),
        price: PriceId::parse("price_pack").expect("a price"),
        quantity: amount(1),
        details: details(),
        note: Default::default(),
    })
}

fn pay(name: &str, order: OrderId, number: usize) -> Command {
    Command::RecordPurchase(RecordPurchase {
        account: account(name),
        paid_through: PaidThrough::CheckoutSession {
            session: stripe(&format!("cs_{number}")),
            payment_intent: Some(stripe(&format!("pi_{number}"))),
        },
        order: Some(PaidOrder { order, subtotal: 500 }),
        bought: Bought { price: None, totals: Default::default() },
        money: PaidMoney::new(500, 0, eur()).expect("money"),
        note: Default::default(),
    })
}

fn ask(order: OrderId, cents: i64) -> Command {
    Command::RequestRefund(RequestRefund { order, amount: Some(amount(cents)), note: Default::default() })
}

fn answer(intent: &str, request: RefundRequestId, refund: &str, status: RefundStatus, cents: i64) -> Command {
    let fact = PaymentFact::Refund {
        refund: stripe(refund),
        status,
        amount: cents,
        currency: eur(),
        request: Some(request),
    };
    Command::RecordPaymentFact(RecordPaymentFact { payment: PaymentReference::Stripe(stripe(intent)), fact })
}

fn adopt(name: &str, customer: &str) -> Command {
    Command::OpenAccount(OpenAccount {
        account: account(name),
        profile: ProfileChange { email: Some(Some("ada@example.com".to_owned())), ..Default::default() },
        stripe_customer: Some(stripe(customer)),
    })
}

fn order_of(accepted: &Accepted) -> OrderId {
    let placed = accepted.events.iter().find_map(|event| match &event.body {
        EventBody::OrderPlaced(body) => Some(body.order),
        _ => None,
    });
    placed.expect("an order")
}

fn request_of(accepted: &Accepted) -> RefundRequestId {
    let asked = accepted.events.iter().find_map(|event| match &event.body {
        EventBody::RefundRequested(body) => Some(body.refund),
        _ => None,
    });
    asked.expect("a refund")
}

/// A ledger that sells one pack of 100 credits for 5 euros.
struct Shop {
    book: Book,
    database: Database,
}

impl Shop {
    async fn open() -> Self {
        let book = Book::open().await;
        let grant =
            PriceGrant { unit: unit(), amount: amount(100), expires_days: None, priority: 50, share: 1 };
        book.accept(Command::SetPrice(SetPrice::from(Price {
            price: PriceId::parse("price_pack").expect("a price"),
            display_name: "A pack".to_owned(),
            display_order: 1,
            active: true,
            money: 500,
            currency: eur(),
            grants: vec![grant],
            rollover: None,
            operator: None,
            stripe: None,
        })))
        .await;
        let url = DatabaseUrl::parse(&book.database.runtime_url()).expect("an address");
        Self { database: Database::open(&url, 2).expect("a usable address"), book }
    }

    async fn order(&self, name: &str) -> OrderId {
        order_of(&self.book.accept(place(name)).await)
    }

    async fn read(&self, order: OrderId) -> OrderRow {
        let (moment, found) = find_order(&self.database, self.book.ledger, order).await.expect("readable");
        assert_eq!(moment.position.0, self.book.head().await);
        found.expect("an order")
    }

    async fn customer(&self, account: AccountNumber) -> CustomerRow {
        let found = find_customer(&self.database, self.book.ledger, account).await.expect("readable");
        found.expect("an account")
    }

    async fn owner(&self, customer: &str) -> Option<AccountNumber> {
        let customer = stripe(customer);
        let found = find_account_of_customer(&self.database, self.book.ledger, &customer).await;
        found.expect("readable").map(|row| row.number)
    }

    async fn refunds(&self, order: OrderId) -> Vec<RefundRow> {
        refunds_of_order(&self.database, self.book.ledger, order).await.expect("readable")
    }
}

#[tokio::test]
async fn an_order_is_read_with_all_that_its_checkout_needs_to_know() {
    let shop = Shop::open().await;
    shop.book.accept(adopt("ada", "cus_1")).await;
    let order = shop.order("ada").await;
    let row = shop.read(order).await;
    assert_eq!((row.order.id, row.order.status, row.order.subtotal), (order, OrderStatus::Placed, 500));
    assert_eq!((row.details, row.session_url), (details(), None));
    assert_eq!((row.buyer.account.as_str(), row.buyer.customer), ("ada", Some(stripe("cus_1"))));
    assert_eq!(row.buyer.profile.email.as_deref(), Some("ada@example.com"));
    assert_eq!(row.buyer.number, row.order.account);

    let session = RecordSession {
        order,
        session: stripe("cs_1"),
        url: "https://pay.example/cs_1".to_owned(),
        expires_at: Timestamp::from_unix_seconds(1_900_000_000).expect("in range"),
    };
    shop.book.accept(Command::RecordSession(session)).await;
    shop.book.accept(pay("ada", order, 1)).await;
    let row = shop.read(order).await;
    assert_eq!(row.session_url.as_deref(), Some("https://pay.example/cs_1"));
    assert_eq!((row.order.status, row.details), (OrderStatus::Paid, details()));
    assert_eq!(row.order.purchases.len(), 1);

    let unheard_of = OrderId::from_bits(99 << 64);
    let (_, found) = find_order(&shop.database, shop.book.ledger, unheard_of).await.expect("readable");
    assert_eq!(found, None);
    let close = CloseOrder { order: unheard_of, session: None, ending: OrderEnding::Expired };
    assert_eq!(rejected(shop.book.submit(plain(Command::CloseOrder(close))).await), Rejection::OrderNotFound);
    shop.book.check().await;
}

#[tokio::test]
async fn orders_are_listed_newest_first_by_account_and_by_how_far_they_have_come() {
    let shop = Shop::open().await;
    let mut orders = Vec::new();
    let mut numbers = Vec::new();
    for name in ["ada", "bob", "ada", "ada"] {
        shop.book.accept(open(name)).await;
        orders.push(shop.order(name).await);
        numbers.push(shop.read(orders[orders.len() - 1]).await.order.account);
    }
    shop.book.accept(pay("ada", orders[0], 1)).await;
    shop.book.accept(pay("bob", orders[1], 2)).await;
    let list = async |account, status, before, limit| -> Vec<usize> {
        let filter = OrderFilter { account, status, from: None, before };
        let rows = list_orders(&shop.database, shop.book.ledger, &filter, limit).await;
        let place = |row: &OrderRow| orders.iter().position(|order| *order == row.order.id).expect("known");
        rows.expect("readable").0.iter().map(place).collect()
    };
    let (ada, bob) = (Some(numbers[0]), Some(numbers[1]));
    let (paid, placed) = (Some(OrderStatus::Paid), Some(OrderStatus::Placed));
    assert_eq!(list(None, None, None, 9).await, [3, 2, 1, 0]);
    assert_eq!(list(None, None, None, 2).await, [3, 2]);
    assert_eq!(list(None, None, Some(orders[2]), 9).await, [1, 0]);
    assert_eq!(list(ada, None, None, 9).await, [3, 2, 0]);
    assert_eq!(list(ada, None, Some(orders[3]), 1).await, [2]);
    assert_eq!(list(None, paid, None, 9).await, [1, 0]);
    assert_eq!(list(None, paid, Some(orders[1]), 9).await, [0]);
    assert_eq!(list(ada, placed, None, 9).await, [3, 2]);
    assert_eq!(list(ada, placed, Some(orders[3]), 9).await, [2]);
    assert_eq!(list(bob, placed, None, 9).await, [] as [usize; 0]);
}

#[tokio::test]
async fn a_refund_is_found_by_its_order_and_by_itself_and_follows_its_payment() {
    let shop = Shop::open().await;
    shop.book.accept(open("ada")).await;
    let order = shop.order("ada").await;
    shop.book.accept(pay("ada", order, 1)).await;
    let first = request_of(&shop.book.accept(ask(order, 100)).await);
    let second = request_of(&shop.book.accept(ask(order, 50)).await);
    shop.book.accept(answer("pi_1", first, "re_1", RefundStatus::Succeeded, 100)).await;
    let payment = PaymentReference::Stripe(stripe("pi_1"));
    let refuse = RefuseRefund { refund: second, payment: payment.clone(), reason: RefundRefusal::GivenUp };
    let refused = shop.book.accept(Command::RefuseRefund(refuse)).await;
    assert_eq!(types(&refused.events), ["refund.refused", "purchase.restored"]);

    let rows = shop.refunds(order).await;
    let told: Vec<_> = rows.iter().map(|row| (row.id, row.request.amount, row.status)).collect();
    assert_eq!(told, [(first, 100, RequestStatus::Succeeded), (second, 50, RequestStatus::Refused)]);
    assert_eq!((&rows[0].payment, rows[0].currency), (&payment, Some(eur())));
    assert_eq!((rows[0].request.order, rows[0].request.refund.clone()), (Some(order), Some(stripe("re_1"))));
    assert_eq!(rows[0].account, shop.read(order).await.order.account);
    let found = find_refund(&shop.database, shop.book.ledger, second).await.expect("readable");
    assert_eq!(found.as_ref(), rows.get(1));
    let unheard_of = RefundRequestId::from_bits(99 << 64);
    assert_eq!(find_refund(&shop.database, shop.book.ledger, unheard_of).await.expect("readable"), None);
    assert_eq!(shop.refunds(OrderId::from_bits(99 << 64)).await, []);
    shop.book.check().await;
}

/// What a process that has nothing in its cache loads is enough to decide on: lots that are closed, and those of others.
#[tokio::test]
async fn a_refund_is_asked_for_by_a_process_that_starts_afresh() {
    let shop = Shop::open().await;
    shop.book.accept(open("ada")).await;
    let [first, second] = [shop.order("ada").await, shop.order("ada").await];
    shop.book.accept(pay("ada", first, 1)).await;
    shop.book.accept(pay("ada", second, 2)).await;
    shop.book.accept(spend("ada", 130)).await;
    for (order, intent, refund, event) in
        [(first, "pi_1", "re_1", "purchase.clawed"), (second, "pi_2", "re_2", "purchase.clawed")]
    {
        let fresh = writers(shop.book.database.runtime_url(), WriterSettings::default());
        let asked = accepted(fresh.submit(shop.book.ledger, plain(ask(order, 500))).await);
        assert_eq!(types(&asked.events), ["refund.requested", event]);
        let request = request_of(&asked);
        let fresh = writers(shop.book.database.runtime_url(), WriterSettings::default());
        let told = answer(intent, request, refund, RefundStatus::Succeeded, 500);
        accepted(fresh.submit(shop.book.ledger, plain(told)).await);
        shop.book.check().await;
    }
    let again = rejected(shop.book.submit(plain(ask(first, 1))).await);
    assert_eq!(again, Rejection::RefundExceedsPayment { requested: 1, refundable: 0 });
}

/// Whoever joins a batch late has more loaded under the same lock: what was there stays, closed lots too.
#[tokio::test]
async fn what_is_loaded_later_under_the_same_lock_takes_nothing_away() {
    let shop = Shop::open().await;
    shop.book.accept(open("ada")).await;
    let order = shop.order("ada").await;
    shop.book.accept(pay("ada", order, 1)).await;
    shop.book.accept(spend("ada", 100)).await;
    let session = Session::open(&shop.database, Duration::from_secs(10)).await.expect("a session");
    session.execute(&scope::begin_writing(shop.book.ledger)).await.expect("a transaction");
    let mut loaded = Loaded::default();
    for command in [ask(order, 100), spend("ada", 1)] {
        let wanted = Wanted { needs: command.needs(), ..Wanted::default() };
        load(&session, shop.book.ledger, &wanted, &mut loaded).await.expect("state");
    }
    assert_eq!(loaded.set.orders.keys().copied().collect::<Vec<_>>(), [order]);
    assert_eq!((loaded.set.purchases.len(), loaded.set.payments.len()), (1, 1));
    let books = loaded.set.accounts.values().flat_map(|account| account.books.values());
    let lots: Vec<_> =
        books.flat_map(|book| book.lots.values()).map(|lot| (lot.spent, lot.is_open())).collect();
    assert_eq!(lots, [(100, false)]);
}

#[tokio::test]
async fn a_customer_is_one_accounts_whoever_comes_first() {
    let shop = Shop::open().await;
    let opened = shop.book.accept(adopt("ada", "cus_1")).await;
    let ada = opened.events[0].account.expect("an account");
    shop.book.accept(open("bob")).await;
    let taken = rejected(shop.book.submit(plain(adopt("bob", "cus_1"))).await);
    assert_eq!(taken, Rejection::CustomerOfAnotherAccount { customer: stripe("cus_1") });
    let fresh = writers(shop.book.database.runtime_url(), WriterSettings::default());
    let taken = rejected(fresh.submit(shop.book.ledger, plain(adopt("carol", "cus_1"))).await);
    assert_eq!(taken, Rejection::CustomerOfAnotherAccount { customer: stripe("cus_1") });
    assert_eq!(shop.owner("cus_1").await, Some(ada));
    assert_eq!(shop.customer(ada).await.customer, Some(stripe("cus_1")));
    assert_eq!(shop.customer(ada).await.profile.email.as_deref(), Some("ada@example.com"));

    let gone = UnlinkCustomer { account: ada, customer: Some(stripe("cus_1")), order: None };
    shop.book.accept(Command::UnlinkCustomer(gone)).await;
    assert_eq!((shop.owner("cus_1").await, shop.customer(ada).await.customer), (None, None));
    let link = |customer: &str| {
        let (account, customer) = (ada, stripe(customer));
        plain(Command::LinkCustomer(LinkCustomer { account, customer, cause: LinkCause::Created }))
    };
    // Made at once for the same account: the first one stays.
    let (one, other) = tokio::join!(shop.book.submit(link("cus_2")), shop.book.submit(link("cus_3")));
    let linked = accepted(one).events.len() + accepted(other).events.len();
    assert_eq!(linked, 1);
    assert_eq!(shop.book.count("customer.linked").await, 3);
    let nobody = find_customer(&shop.database, shop.book.ledger, AccountNumber(i64::MAX)).await;
    assert_eq!(nobody.expect("readable"), None);
    shop.book.check().await;
}

#[tokio::test]
async fn erasing_a_person_erases_what_orders_know_of_it() {
    let shop = Shop::open().await;
    for name in ["ada", "bob"] {
        shop.book.accept(open(name)).await;
    }
    let [order, other] = [shop.order("ada").await, shop.order("bob").await];
    let session = |order| {
        Command::RecordSession(RecordSession {
            order,
            session: stripe("cs_1"),
            url: "https://pay.example/cs_1".to_owned(),
            expires_at: Timestamp::from_unix_seconds(1_900_000_000).expect("in range"),
        })
    };
    shop.book.accept(session(other)).await;
    // In one batch, or in several: what comes before the erasure is erased.
    let erase = Command::EraseProfile(EraseProfile { account: account("ada") });
    let (one, two, three, four) = tokio::join!(
        shop.book.submit(plain(place("ada"))),
        shop.book.submit(plain(session(order))),
        shop.book.submit(plain(erase)),
        shop.book.submit(plain(place("bob"))),
    );
    let batch_order = order_of(&accepted(one));
    let later = order_of(&accepted(four));
    drop((accepted(two), accepted(three)));
    for order in [order, batch_order] {
        let row = shop.read(order).await;
        assert_eq!((row.details, row.session_url), (OrderDetails::default(), None));
        assert!(row.buyer.account.is_erased());
    }
    assert_eq!(shop.read(other).await.details, details());
    assert_eq!(shop.read(other).await.session_url.as_deref(), Some("https://pay.example/cs_1"));
    assert_eq!(shop.read(later).await.details, details());
    // Its money is still recorded.
    shop.book.accept(pay("ada", order, 1)).await;
    assert_eq!(shop.read(order).await.order.status, OrderStatus::Paid);
    shop.book.check().await;
}
