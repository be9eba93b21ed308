//! Loads what a batch of commands needs: one round trip, whatever the number of commands, and none of its own for those
//! that are there when the head's lock is taken.
//!
//! From the accounts and payments that the commands name, the server itself goes on to what belongs to them, because a
//! second round trip would be needed otherwise: from an order to its purchases; from a payment to its purchases, all
//! accounts that hold credits of them and their lots; from an account to its open lots and the purchases that it watches.

mod configuration;

use std::collections::BTreeMap;

use tokio_postgres::{Error, Row, types::Type};
use uuid::Uuid;

pub(super) use self::configuration::CONFIGURATION;
pub use self::configuration::{FEATURE_STATE_VERSION, PRICE_STATE_VERSION, SETTINGS_STATE_VERSION};
use super::{
    events::{event_columns, event_from_row},
    rows::{RowError, state},
    session::{Pipeline, Session, Statement, Value},
};
use crate::domain::{
    Event, Needs, WorkingSet,
    account::{ACCOUNT_STATE_VERSION, Account, Lot},
    ids::{
        AccountId, AccountNumber, Key, KeyId, LedgerId, LotId, Namespace, PaymentReference, Position,
        StripeId, Unit,
    },
    payment::{PAYMENT_STATE_VERSION, Payment},
    purchase::{PURCHASE_STATE_VERSION, Purchase},
};

/// What a batch needs that its writer does not have.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// State that commands name.
    pub needs: Needs,
    /// Hashes of the commands' keys: [`Key::hash`].
    pub key_hashes: Vec<[u8; 16]>,
    /// Whether settings and catalogue are wanted.
    pub configuration: bool,
}

impl Wanted {
    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        !self.configuration && self.key_hashes.is_empty() && self.needs == Needs::default()
    }
}

/// What was found.
#[derive(Default)]
pub struct Loaded {
    /// Settings and catalogue, if they were wanted; accounts with open lots and those closed ones that purchases touch;
    /// purchases, payments, API keys, accounts of events.
    pub set: WorkingSet,
    /// The accounts' names.
    pub names: BTreeMap<AccountNumber, AccountId>,
    /// Lots that have rows of their own, as they are stored.
    pub lot_rows: BTreeMap<LotId, Lot>,
    /// Commands that were carried out under the wanted keys; one may be there twice.
    pub commands: Vec<StoredCommand>,
}

/// A command that was carried out before.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredCommand {
    /// Its key.
    pub key: Key,
    /// SHA-256 of the request that the key came with.
    pub fingerprint: Option<[u8; 32]>,
    /// Its events; none if there was nothing to change.
    pub events: Vec<Event>,
}

/// Why a working set could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database refused or went away.
    #[error(transparent)]
    Database(#[from] Error),
    /// A row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// The statements that load what is wanted, within the transaction that holds the head's lock.
pub struct Load<'a> {
    parameters: Parameters<'a>,
    wanted: &'a Wanted,
}

impl<'a> Load<'a> {
    /// Of this ledger.
    pub fn new(ledger: LedgerId, wanted: &'a Wanted) -> Self {
        Self { parameters: Parameters::new(ledger, wanted), wanted }
    }

    /// Adds the statements to a pipeline; none if nothing is wanted.
    pub fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        for (statement, values, _) in self.steps() {
            pipeline.rows(session, statement, values);
        }
    }

    /// Adds what the statements answered, in their order, to what was loaded before under the same lock.
    ///
    /// # Errors
    /// [`RowError`] if a row cannot be read.
    pub fn read(&self, answers: &[Vec<Row>], loaded: &mut Loaded) -> Result<(), RowError> {
        for (rows, (_, _, reader)) in answers.iter().zip(self.steps()) {
            rows.iter().try_for_each(|row| reader(loaded, row))?;
        }
        Ok(())
    }

    fn steps(&self) -> Vec<(&'static Statement, Vec<Value<'_>>, Reader)> {
        let (parameters, wanted) = (&self.parameters, self.wanted);
        let mut steps: Vec<(&'static Statement, Vec<Value<'_>>, Reader)> = Vec::new();
        if !wanted.key_hashes.is_empty() {
            steps.push((&LOAD_COMMANDS, vec![&parameters.ledger, &parameters.key_hashes], read_command));
            let values: Vec<Value<'_>> = vec![&parameters.ledger, &parameters.key_hashes];
            steps.push((&LOAD_IDLE_KEYS, values, read_idle_key));
        }
        if parameters.names_state {
            steps.push((&LOAD_STATE, parameters.of_state(), read_state));
        }
        if !parameters.events.is_empty() {
            let values: Vec<Value<'_>> = vec![&parameters.ledger, &parameters.events];
            steps.push((&LOAD_ACCOUNTS_OF_EVENTS, values, read_account_of_event));
        }
        steps.extend(parameters.of_selling());
        if !parameters.api_keys.is_empty() {
            let values: Vec<Value<'_>> = vec![&parameters.ledger, &parameters.api_keys];
            steps.push((&LOAD_API_KEYS, values, read_api_key));
        }
        if wanted.configuration {
            let of_ledger = |(statement, reader): &(&'static Statement, Reader)| {
                (*statement, vec![&parameters.ledger as Value<'_>], *reader)
            };
            steps.extend(CONFIGURATION.iter().map(of_ledger));
        }
        steps
    }
}

/// Loads what is wanted in a round trip of its own, and adds it to what was loaded before under the same lock.
///
/// # Errors
/// [`LoadError`].
pub async fn load(
    session: &Session,
    ledger: LedgerId,
    wanted: &Wanted,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    let load = Load::new(ledger, wanted);
    let mut pipeline = Pipeline::default();
    load.push(session, &mut pipeline);
    Ok(load.read(&pipeline.run().await?, loaded)?)
}

pub(super) type Reader = fn(&mut Loaded, &Row) -> Result<(), RowError>;

/// Every statement of this module, to be prepared.
pub(super) fn statements() -> impl Iterator<Item = &'static Statement> {
    STATEMENTS
        .iter()
        .chain(orders::STATEMENTS)
        .copied()
        .chain([&subscriptions::LOAD_SUBSCRIPTIONS as &Statement])
        .chain(CONFIGURATION.iter().map(|(statement, _)| *statement))
}

static STATEMENTS: &[&Statement] =
    &[&LOAD_COMMANDS, &LOAD_IDLE_KEYS, &LOAD_STATE, &LOAD_ACCOUNTS_OF_EVENTS, &LOAD_API_KEYS];

/// The values of the statements, `$1` being the ledger.
struct Parameters<'a> {
    ledger: i64,
    names: Vec<&'a str>,
    numbers: Vec<i64>,
    events: Vec<i64>,
    payments: Vec<String>,
    purchases: Vec<Uuid>,
    orders: Vec<Uuid>,
    purchases_of_orders: Vec<Uuid>,
    customers: Vec<&'a str>,
    links: Vec<Uuid>,
    subscriptions: Vec<&'a str>,
    api_keys: Vec<Uuid>,
    key_hashes: Vec<&'a [u8]>,
    names_state: bool,
}

impl<'a> Parameters<'a> {
    fn new(ledger: LedgerId, wanted: &'a Wanted) -> Self {
        let needs = &wanted.needs;
        Self {
            ledger: ledger.0,
            names: needs.accounts.iter().map(AccountId::as_str).collect(),
            numbers: needs.account_numbers.iter().map(|number| number.0).collect(),
            events: needs.accounts_of_events.iter().map(|position| position.0).collect(),
            payments: needs.payments.iter().map(PaymentReference::to_string).collect(),
            purchases: needs.purchases.iter().map(|purchase| Uuid::from_u128(purchase.to_bits())).collect(),
            orders: needs.orders.iter().map(|order| Uuid::from_u128(order.to_bits())).collect(),
            purchases_of_orders: needs
                .purchases_of_orders
                .iter()
                .map(|order| Uuid::from_u128(order.to_bits()))
                .collect(),
            customers: needs.customers.iter().map(StripeId::as_str).collect(),
            links: needs.links.iter().map(|link| Uuid::from_u128(link.to_bits())).collect(),
            subscriptions: needs.subscriptions.iter().map(StripeId::as_str).collect(),
            api_keys: needs.keys.iter().map(|key| Uuid::from_u128(key.to_bits())).collect(),
            key_hashes: wanted.key_hashes.iter().map(<[u8; 16]>::as_slice).collect(),
            names_state: !(needs.accounts.is_empty()
                && needs.account_numbers.is_empty()
                && needs.accounts_of_events.is_empty()
                && needs.payments.is_empty()
                && needs.purchases.is_empty()
                && needs.purchases_of_orders.is_empty()),
        }
    }

    /// What is asked of orders, customers, links and subscriptions; nothing, mostly.
    fn of_selling(&self) -> Vec<(&'static Statement, Vec<Value<'_>>, Reader)> {
        let mut steps: Vec<(&'static Statement, Vec<Value<'_>>, Reader)> = Vec::new();
        if !self.orders.is_empty() {
            steps.push((&orders::LOAD_ORDERS, vec![&self.ledger, &self.orders], orders::read_order));
        }
        if !self.customers.is_empty() {
            let values: Vec<Value<'_>> = vec![&self.ledger, &self.customers];
            steps.push((&orders::LOAD_CUSTOMERS, values, orders::read_customer));
        }
        if !self.links.is_empty() {
            steps.push((&orders::LOAD_CHECKOUT_LINKS, vec![&self.ledger, &self.links], orders::read_link));
        }
        if !self.subscriptions.is_empty() {
            let values: Vec<Value<'_>> = vec![&self.ledger, &self.subscriptions];
            steps.push((&subscriptions::LOAD_SUBSCRIPTIONS, values, subscriptions::read_subscription));
        }
        steps
    }

    fn of_state(&self) -> Vec<Value<'_>> {
        vec![
            &self.ledger,
            &self.names,
            &self.numbers,
            &self.events,
            &self.payments,
            &self.purchases,
            &self.purchases_of_orders,
        ]
    }
}

const STATE_PARAMETERS: &[Type] = &[
    Type::INT8,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
];

// Each look-up stands in a LATERAL subquery of its own that `OFFSET 0` keeps as it is: the planner can then do nothing but
// look each value up by index. Left to itself it scans the ledger where it believes that the ledger is small, and goes on
// believing so in a prepared plan. What is found twice is read twice and kept once.

macro_rules! account_columns {
    () => {
        "a.account_number, a.external_id, a.watched, a.state_version, a.state"
    };
}

macro_rules! purchase_columns {
    () => {
        "p.purchase_id, p.account_number, p.payment, p.other_lots, p.state_version, p.state"
    };
}

macro_rules! accounts_where {
    ($condition:literal) => {
        concat!(
            "LATERAL (SELECT ",
            account_columns!(),
            " FROM accounts a WHERE a.ledger_id = $1 AND ",
            $condition,
            " OFFSET 0) a"
        )
    };
}

macro_rules! purchases_where {
    ($condition:literal) => {
        concat!(
            "LATERAL (SELECT ",
            purchase_columns!(),
            " FROM purchases p WHERE p.ledger_id = $1 AND ",
            $condition,
            " OFFSET 0) p"
        )
    };
}

/// `named_purchases`: those that payments, purchases and orders name, and all others of the same payments.
/// `named_accounts`: those that are named in any way, and those that were given credits of these purchases.
/// `wanted_purchases`: all that belong to what is named, those that its accounts watch as well.
///
/// Written down once, and not once for each use, of which there are many: planning and starting a statement that has them in
/// full each time takes far longer than all that it looks up.
macro_rules! with_wanted {
    () => {
        concat!(
            "WITH named_purchases AS MATERIALIZED (SELECT ",
            purchase_columns!(),
            " FROM unnest($5::text[]) w (payment), ",
            purchases_where!("p.payment = w.payment"),
            " UNION ALL SELECT ",
            purchase_columns!(),
            " FROM unnest($6::uuid[]) w (purchase_id), ",
            purchases_where!("p.purchase_id = w.purchase_id"),
            " UNION ALL SELECT ",
            purchase_columns!(),
            " FROM unnest($6::uuid[]) w (purchase_id),
                   LATERAL (SELECT o.payment FROM purchases o
                             WHERE o.ledger_id = $1 AND o.purchase_id = w.purchase_id OFFSET 0) o, ",
            purchases_where!("p.payment = o.payment"),
            " UNION ALL SELECT ",
            purchase_columns!(),
            " FROM unnest($7::uuid[]) w (order_id),
                   LATERAL (SELECT o.purchases FROM orders o
                             WHERE o.ledger_id = $1 AND o.order_id = w.order_id OFFSET 0) o,
                   unnest(o.purchases) b (purchase_id), ",
            purchases_where!("p.purchase_id = b.purchase_id"),
            "), named_accounts AS MATERIALIZED (SELECT ",
            account_columns!(),
            " FROM unnest($2::text[]) w (name), ",
            accounts_where!("a.external_id = w.name"),
            " UNION ALL SELECT ",
            account_columns!(),
            " FROM unnest($3::int8[]) w (account_number), ",
            accounts_where!("a.account_number = w.account_number"),
            " UNION ALL SELECT ",
            account_columns!(),
            " FROM unnest($4::int8[]) w (position),
                   LATERAL (SELECT e.account_number FROM events e
                             WHERE e.ledger_id = $1 AND e.position = w.position OFFSET 0) e, ",
            accounts_where!("a.account_number = e.account_number"),
            " UNION ALL SELECT ",
            account_columns!(),
            " FROM named_purchases n, ",
            accounts_where!("a.account_number = n.account_number"),
            " UNION ALL SELECT ",
            account_columns!(),
            " FROM named_purchases n,
                   LATERAL (SELECT h.account_number FROM purchase_holders h
                             WHERE h.ledger_id = $1 AND h.purchase_id = n.purchase_id OFFSET 0) h, ",
            accounts_where!("a.account_number = h.account_number"),
            "), wanted_purchases AS MATERIALIZED (SELECT ",
            purchase_columns!(),
            " FROM named_purchases p UNION ALL SELECT ",
            purchase_columns!(),
            " FROM named_accounts n, unnest(n.watched) w (purchase_id), ",
            purchases_where!("p.purchase_id = w.purchase_id"),
            ")"
        )
    };
}

macro_rules! lots_where {
    ($condition:literal) => {
        concat!(
            "LATERAL (SELECT l.account_number, l.unit, l.state_version, l.state::text AS state FROM lots l
                       WHERE l.ledger_id = $1 AND l.state IS NOT NULL AND ",
            $condition,
            " OFFSET 0) l"
        )
    };
}

macro_rules! payments_where {
    ($condition:literal) => {
        concat!(
            "LATERAL (SELECT m.state_version, m.state::text AS state FROM payments m WHERE m.ledger_id = $1 AND ",
            $condition,
            " OFFSET 0) m"
        )
    };
}

/// What commands are decided on, of four kinds: the accounts that are wanted and their open lots; the purchases that are, all
/// of their lots, and those that they took something from; and the payments. Accounts come before lots, which are put into
/// them.
static LOAD_STATE: Statement = Statement {
    name: "load_state",
    sql: concat!(
        with_wanted!(),
        " SELECT 'account' AS kind, a.state_version, a.state::text AS state, a.external_id,
                 NULL::int8 AS account_number, NULL::text AS unit, NULL::int8[] AS holders
            FROM named_accounts a
          UNION ALL
          SELECT 'purchase', p.state_version, p.state::text, NULL, NULL, NULL,
                 ARRAY(SELECT h.account_number FROM purchase_holders h
                        WHERE h.ledger_id = $1 AND h.purchase_id = p.purchase_id)
            FROM wanted_purchases p
          UNION ALL
          SELECT 'payment', m.state_version, m.state, NULL, NULL, NULL, NULL
            FROM unnest($5::text[]) w (payment), ",
        payments_where!("m.payment = w.payment"),
        " UNION ALL
          SELECT 'payment', m.state_version, m.state, NULL, NULL, NULL, NULL
            FROM wanted_purchases p, ",
        payments_where!("m.payment = p.payment"),
        " UNION ALL
          SELECT 'lot', l.state_version, l.state, NULL, l.account_number, l.unit, NULL
            FROM named_accounts a, ",
        lots_where!("l.account_number = a.account_number AND l.is_open"),
        " UNION ALL
          SELECT 'lot', l.state_version, l.state, NULL, l.account_number, l.unit, NULL
            FROM wanted_purchases p, ",
        lots_where!("l.purchase_id = p.purchase_id"),
        " UNION ALL
          SELECT 'lot', l.state_version, l.state, NULL, l.account_number, l.unit, NULL
            FROM wanted_purchases p, unnest(p.other_lots) w (lot_id), ",
        lots_where!("l.lot_id = w.lot_id"),
        " ORDER BY kind"
    ),
    parameters: STATE_PARAMETERS,
};

fn read_state(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    match row.try_get("kind")? {
        "account" => read_account(loaded, row),
        "lot" => read_lot(loaded, row),
        "payment" => read_payment(loaded, row),
        "purchase" => read_purchase(loaded, row),
        _ => Err(RowError::Value { column: "kind" }),
    }
}

fn read_account(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let account: Account =
        state("account", row.try_get("state_version")?, ACCOUNT_STATE_VERSION, row.try_get("state")?)?;
    let name = AccountId::parse(row.try_get("external_id")?)
        .map_err(|_| RowError::Value { column: "external_id" })?;
    loaded.set.account_numbers.insert(name.clone(), account.number);
    loaded.names.insert(account.number, name);
    // One that was loaded before, under the same lock, has closed lots already that this row has not.
    loaded.set.accounts.entry(account.number).or_insert(account);
    Ok(())
}

fn read_lot(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let lot: Lot = state("lot", row.try_get("state_version")?, ACCOUNT_STATE_VERSION, row.try_get("state")?)?;
    let account = AccountNumber(row.try_get("account_number")?);
    let unit = Unit::parse(row.try_get("unit")?).map_err(|_| RowError::Value { column: "unit" })?;
    loaded.lot_rows.insert(lot.id, lot.clone());
    if let Some(account) = loaded.set.accounts.get_mut(&account) {
        account.books.entry(unit).or_default().lots.insert(lot.id, lot);
    }
    Ok(())
}

fn read_purchase(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let mut purchase: Purchase =
        state("purchase", row.try_get("state_version")?, PURCHASE_STATE_VERSION, row.try_get("state")?)?;
    let holders: Vec<i64> = row.try_get("holders")?;
    purchase.holders = holders.into_iter().map(AccountNumber).collect();
    loaded.set.purchases.insert(purchase.id, purchase);
    Ok(())
}

// Behind the macros that it uses as well.
pub(in crate::store) mod orders;
mod subscriptions;

fn read_payment(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let payment: Payment =
        state("payment", row.try_get("state_version")?, PAYMENT_STATE_VERSION, row.try_get("state")?)?;
    loaded.set.payments.insert(payment.reference.clone(), payment);
    Ok(())
}

static LOAD_ACCOUNTS_OF_EVENTS: Statement = Statement {
    name: "load_accounts_of_events",
    sql: "SELECT e.position, e.account_number
            FROM unnest($2::int8[]) w (position),
                 LATERAL (SELECT e.position, e.account_number, e.type FROM events e
                           WHERE e.ledger_id = $1 AND e.position = w.position OFFSET 0) e
           WHERE e.type = 'credits.held'",
    parameters: &[Type::INT8, Type::INT8_ARRAY],
};

fn read_account_of_event(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let account = AccountNumber(row.try_get("account_number")?);
    loaded.set.accounts_of_events.insert(Position(row.try_get("position")?), account);
    Ok(())
}

static LOAD_API_KEYS: Statement = Statement {
    name: "load_api_keys",
    sql: "SELECT key_id FROM api_keys WHERE ledger_id = $1 AND key_id = ANY($2) AND revoked_at IS NULL",
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};

fn read_api_key(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    loaded.set.keys.insert(KeyId::from_bits(row.try_get::<_, Uuid>("key_id")?.as_u128()));
    Ok(())
}

/// The key's row says how many events its command has: they follow it, and are read as a range of the primary key.
static LOAD_COMMANDS: Statement = Statement {
    name: "load_commands",
    sql: concat!(
        "SELECT k.key_namespace AS command_namespace, k.key AS command_key,
                k.fingerprint AS command_fingerprint, ",
        event_columns!(),
        " FROM unnest($2::bytea[]) w (key_hash),
               LATERAL (SELECT k.position, k.command_size, k.key_namespace, k.key, k.fingerprint FROM events k
                         WHERE k.ledger_id = $1 AND k.key_hash = w.key_hash OFFSET 0) k,
               LATERAL (SELECT * FROM events e
                         WHERE e.ledger_id = $1 AND e.position >= k.position
                           AND e.position < k.position + k.command_size OFFSET 0) e
         ORDER BY e.position"
    ),
    parameters: &[Type::INT8, Type::BYTEA_ARRAY],
};

fn read_command(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let event = event_from_row(row)?;
    let last = loaded.commands.last_mut();
    if let Some(command) = last.filter(|command| command.is_of(&event)) {
        // The same key may be asked for twice under one lock: what is there already is not added again.
        if command.events.last().is_some_and(|last| last.position < event.position) {
            command.events.push(event);
        }
        return Ok(());
    }
    let namespace = Namespace::parse(row.try_get("command_namespace")?)
        .ok_or(RowError::Value { column: "key_namespace" })?;
    let command = StoredCommand::from_row(row, namespace, vec![event])?;
    loaded.commands.push(command);
    Ok(())
}

/// Of clients' commands that had nothing to change.
static LOAD_IDLE_KEYS: Statement = Statement {
    name: "load_idle_keys",
    sql: "SELECT k.key AS command_key, k.fingerprint AS command_fingerprint
            FROM unnest($2::bytea[]) w (key_hash),
                 LATERAL (SELECT k.key, k.fingerprint FROM idle_keys k
                           WHERE k.ledger_id = $1 AND k.key_hash = w.key_hash OFFSET 0) k",
    parameters: &[Type::INT8, Type::BYTEA_ARRAY],
};

fn read_idle_key(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    loaded.commands.push(StoredCommand::from_row(row, Namespace::Client, Vec::new())?);
    Ok(())
}

impl StoredCommand {
    fn is_of(&self, event: &Event) -> bool {
        self.events.first().is_some_and(|first| first.position == event.command)
    }

    fn from_row(row: &Row, namespace: Namespace, events: Vec<Event>) -> Result<Self, RowError> {
        let key = Key::new(namespace, row.try_get("command_key")?)
            .map_err(|_| RowError::Value { column: "key" })?;
        let fingerprint: Option<&[u8]> = row.try_get("command_fingerprint")?;
        let fingerprint = fingerprint
            .map(|bytes| bytes.try_into().map_err(|_| RowError::Value { column: "fingerprint" }))
            .transpose()?;
        Ok(Self { key, fingerprint, events })
    }
}
