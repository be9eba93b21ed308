//! The state that the events lead to by the rules, kept in temporary tables.
//!
//! Each page of events is applied by [`evolve`] to what it touches, which is read from these tables before and written
//! back afterwards: memory holds a page, however long the ledger is. As in the service, an account is read with its open
//! lots and the purchases that it watches, and closed lots are read where an event names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::{StoredEvent, VerifyError};
use crate::{
    domain::{
        Event, WorkingSet,
        account::{Account, Lot},
        evolve,
        ids::{AccountNumber, LotId, Position, Unit},
        order::Order,
        payment::Payment,
        purchase::Purchase,
        subscription::Subscription,
    },
    store::{rows::RowError, scope::Parameter},
};

/// Accounts stand here without their lots. Room is left on each page, so that a new version finds it beside the old one.
pub(super) const TABLES: &str = "
    CREATE TEMPORARY TABLE replayed_states
        (ledger_id bigint, kind text, id text, account_number bigint, state text, PRIMARY KEY (ledger_id, kind, id))
        WITH (fillfactor = 60);
    CREATE INDEX replayed_states_account ON pg_temp.replayed_states (ledger_id, kind, account_number, id);
    CREATE TEMPORARY TABLE replayed_lots
        (ledger_id bigint, lot_id uuid, account_number bigint, unit text, is_open boolean, has_row boolean, state text,
         PRIMARY KEY (ledger_id, lot_id))
        WITH (fillfactor = 60);
    CREATE INDEX replayed_lots_open ON pg_temp.replayed_lots (ledger_id, account_number) WHERE is_open;
    CREATE INDEX replayed_lots_rows ON pg_temp.replayed_lots (ledger_id, lot_id) WHERE has_row";

/// State that stands in a row of its own.
pub(super) trait Kept: Serialize + DeserializeOwned {
    /// What it is called, here and in findings.
    const KIND: &'static str;
    /// Which of its kind it is.
    fn id(&self) -> String;
    /// Whose it is.
    fn account(&self) -> Option<AccountNumber>;
}

impl Kept for Account {
    const KIND: &'static str = "account";
    fn id(&self) -> String {
        self.number.to_string()
    }
    fn account(&self) -> Option<AccountNumber> {
        Some(self.number)
    }
}

impl Kept for Purchase {
    const KIND: &'static str = "purchase";
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn account(&self) -> Option<AccountNumber> {
        Some(self.account)
    }
}

impl Kept for Payment {
    const KIND: &'static str = "payment";
    fn id(&self) -> String {
        self.reference.to_string()
    }
    fn account(&self) -> Option<AccountNumber> {
        None
    }
}

impl Kept for Order {
    const KIND: &'static str = "order";
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn account(&self) -> Option<AccountNumber> {
        Some(self.account)
    }
}

impl Kept for Subscription {
    const KIND: &'static str = "subscription";
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn account(&self) -> Option<AccountNumber> {
        Some(self.account)
    }
}

/// Plays the next events of the ledger. Gives the first that cannot follow from those before it: what comes after it is not
/// played.
pub(super) async fn play(
    client: &Client,
    ledger: i64,
    events: &[StoredEvent],
) -> Result<Option<Position>, VerifyError> {
    let events: Vec<&Event> = events.iter().filter_map(|stored| stored.event.as_ref().ok()).collect();
    let mut page = Page::default();
    page.load(client, ledger, Touched::by(&events)?).await?;
    let stuck = page.play(&events);
    page.save(client, ledger).await?;
    Ok(stuck)
}

/// What events name.
#[derive(Default)]
struct Touched {
    accounts: BTreeSet<AccountNumber>,
    lots: BTreeSet<Uuid>,
    states: BTreeSet<(&'static str, String)>,
}

impl Touched {
    fn by(events: &[&Event]) -> Result<Self, RowError> {
        let mut touched = Self::default();
        for event in events {
            touched.accounts.extend(event.account);
            let body = serde_json::to_value(&event.body).map_err(|error| unreadable("event", &error))?;
            touched.add(&body);
        }
        Ok(touched)
    }

    /// Whatever a body calls a lot, a purchase and so on is one, wherever it stands.
    fn add(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.add(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(id) => self.add_id(name, id),
                        value => self.add(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn add_id(&mut self, name: &str, id: &str) {
        if name == "lot" {
            self.lots.extend(LotId::parse(id).map(|lot| Uuid::from_u128(lot.to_bits())));
        }
        let kinds = [Purchase::KIND, Payment::KIND, Order::KIND, Subscription::KIND];
        self.states.extend(kinds.into_iter().find(|kind| *kind == name).map(|kind| (kind, id.to_owned())));
    }
}

/// What a page of events touches, and what of it stands in the temporary tables.
#[derive(Default)]
struct Page {
    set: WorkingSet,
    states: BTreeMap<(String, String), String>,
    lots: BTreeMap<LotId, String>,
}

impl Page {
    async fn load(&mut self, client: &Client, ledger: i64, mut touched: Touched) -> Result<(), VerifyError> {
        let accounts = touched.accounts.iter().map(|number| (Account::KIND, number.to_string())).collect();
        self.load_states(client, ledger, accounts).await?;
        let watched = self.set.accounts.values().flat_map(|account| &account.watched);
        touched.states.extend(watched.map(|purchase| (Purchase::KIND, purchase.to_string())));
        self.load_states(client, ledger, touched.states).await?;
        let accounts: Vec<i64> = touched.accounts.iter().map(|number| number.0).collect();
        let lots: Vec<Uuid> = touched.lots.into_iter().collect();
        let parameters: [Parameter<'_>; 3] =
            [(&ledger, Type::INT8), (&accounts, Type::INT8_ARRAY), (&lots, Type::UUID_ARRAY)];
        for row in client.query_typed(LOTS, &parameters).await? {
            let text: String = row.try_get("state")?;
            let lot = put_into_account(&mut self.set.accounts, &row, &text)?;
            self.lots.insert(lot, text);
        }
        Ok(())
    }

    async fn load_states(
        &mut self,
        client: &Client,
        ledger: i64,
        wanted: BTreeSet<(&'static str, String)>,
    ) -> Result<(), VerifyError> {
        let (kinds, ids): (Vec<&str>, Vec<String>) = wanted.into_iter().unzip();
        let parameters: [Parameter<'_>; 3] =
            [(&ledger, Type::INT8), (&kinds, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)];
        for row in client.query_typed(STATES, &parameters).await? {
            let (kind, id, text): (String, String, String) =
                (row.try_get("kind")?, row.try_get("id")?, row.try_get("state")?);
            let set = &mut self.set;
            match kind.as_str() {
                Account::KIND => insert(&mut set.accounts, &text, |account: &Account| account.number)?,
                Purchase::KIND => insert(&mut set.purchases, &text, |purchase: &Purchase| purchase.id)?,
                Payment::KIND => {
                    insert(&mut set.payments, &text, |payment: &Payment| payment.reference.clone())?;
                }
                Order::KIND => insert(&mut set.orders, &text, |order: &Order| order.id)?,
                _ => insert(&mut set.subscriptions, &text, |known: &Subscription| known.id.clone())?,
            }
            self.states.insert((kind, id), text);
        }
        Ok(())
    }

    /// A state that an event cannot belong to makes [`evolve`] panic: here it is what is looked for.
    fn play(&mut self, events: &[&Event]) -> Option<Position> {
        let mut played =
            |event: &Event| catch_unwind(AssertUnwindSafe(|| evolve(&mut self.set, event))).is_ok();
        events.iter().find(|event| !played(event)).map(|event| event.position)
    }

    /// Writes what has changed.
    async fn save(mut self, client: &Client, ledger: i64) -> Result<(), VerifyError> {
        let mut lots = ChangedLots::default();
        for account in self.set.accounts.values_mut() {
            for (unit, book) in &mut account.books {
                for lot in std::mem::take(&mut book.lots).into_values() {
                    lots.add(account.number, unit, &lot, self.lots.get(&lot.id))?;
                }
            }
        }
        let (set, before) = (&self.set, &self.states);
        let mut states = ChangedStates::default();
        set.accounts.values().try_for_each(|state| states.add(state, before))?;
        set.purchases.values().try_for_each(|state| states.add(state, before))?;
        set.payments.values().try_for_each(|state| states.add(state, before))?;
        set.orders.values().try_for_each(|state| states.add(state, before))?;
        set.subscriptions.values().try_for_each(|state| states.add(state, before))?;
        states.write(client, ledger).await?;
        lots.write(client, ledger).await
    }
}

const STATES: &str = "
    SELECT s.kind, s.id, s.state
      FROM unnest($2::text[], $3::text[]) w (kind, id),
           LATERAL (SELECT s.kind, s.id, s.state FROM pg_temp.replayed_states s
                     WHERE s.ledger_id = $1 AND s.kind = w.kind AND s.id = w.id OFFSET 0) s";

const LOTS: &str = "
    SELECT account_number, unit, state FROM pg_temp.replayed_lots
     WHERE ledger_id = $1 AND account_number = ANY($2) AND is_open
     UNION ALL
    SELECT account_number, unit, state FROM pg_temp.replayed_lots WHERE ledger_id = $1 AND lot_id = ANY($3)";

/// The accounts numbered in the range as the events leave them, with their open lots.
pub(super) async fn accounts(
    client: &Client,
    ledger: i64,
    range: [i64; 2],
) -> Result<BTreeMap<AccountNumber, Account>, VerifyError> {
    let states = "SELECT state FROM pg_temp.replayed_states
                   WHERE ledger_id = $1 AND kind = 'account' AND account_number > $2 AND account_number <= $3";
    let lots = "SELECT account_number, unit, state FROM pg_temp.replayed_lots
                 WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3 AND is_open";
    let mut accounts = BTreeMap::new();
    for row in super::rows(client, states, ledger, range).await? {
        insert(&mut accounts, row.try_get("state")?, |account: &Account| account.number)?;
    }
    for row in super::rows(client, lots, ledger, range).await? {
        put_into_account(&mut accounts, &row, row.try_get("state")?)?;
    }
    Ok(accounts)
}

fn insert<K: Ord, T: Kept>(
    states: &mut BTreeMap<K, T>,
    text: &str,
    key: impl Fn(&T) -> K,
) -> Result<(), RowError> {
    let state: T = read(T::KIND, text)?;
    states.insert(key(&state), state);
    Ok(())
}

/// Reads what this module has written.
pub(super) fn read<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, RowError> {
    serde_json::from_str(text).map_err(|error| unreadable(what, &error))
}

fn unreadable(what: &'static str, error: &serde_json::Error) -> RowError {
    RowError::State { what, reason: error.to_string() }
}

/// Puts a lot into its account, from a row with `account_number` and `unit`.
fn put_into_account(
    accounts: &mut BTreeMap<AccountNumber, Account>,
    row: &Row,
    text: &str,
) -> Result<LotId, RowError> {
    let lot: Lot = read("lot", text)?;
    let id = lot.id;
    let unit = Unit::parse(row.try_get("unit")?).map_err(|_| RowError::Value { column: "unit" })?;
    if let Some(account) = accounts.get_mut(&AccountNumber(row.try_get("account_number")?)) {
        account.books.entry(unit).or_default().lots.insert(id, lot);
    }
    Ok(id)
}

#[derive(Default)]
struct ChangedStates {
    kinds: Vec<&'static str>,
    ids: Vec<String>,
    accounts: Vec<Option<i64>>,
    texts: Vec<String>,
}

impl ChangedStates {
    fn add<T: Kept>(
        &mut self,
        state: &T,
        before: &BTreeMap<(String, String), String>,
    ) -> Result<(), RowError> {
        let text = serde_json::to_string(state).map_err(|error| unreadable(T::KIND, &error))?;
        let id = state.id();
        if before.get(&(T::KIND.to_owned(), id.clone())) != Some(&text) {
            self.kinds.push(T::KIND);
            self.ids.push(id);
            self.accounts.push(state.account().map(|number| number.0));
            self.texts.push(text);
        }
        Ok(())
    }

    async fn write(&self, client: &Client, ledger: i64) -> Result<(), VerifyError> {
        let statement = "
            INSERT INTO pg_temp.replayed_states (ledger_id, kind, id, account_number, state)
            SELECT $1, * FROM unnest($2::text[], $3::text[], $4::int8[], $5::text[])
                ON CONFLICT (ledger_id, kind, id) DO UPDATE SET state = excluded.state";
        let parameters: [Parameter<'_>; 5] = [
            (&ledger, Type::INT8),
            (&self.kinds, Type::TEXT_ARRAY),
            (&self.ids, Type::TEXT_ARRAY),
            (&self.accounts, Type::INT8_ARRAY),
            (&self.texts, Type::TEXT_ARRAY),
        ];
        client.query_typed(statement, &parameters).await?;
        Ok(())
    }
}

/// Each is there once, also if events that contradict each other put it into two accounts.
#[derive(Default)]
struct ChangedLots {
    seen: BTreeSet<LotId>,
    ids: Vec<Uuid>,
    accounts: Vec<i64>,
    units: Vec<String>,
    are_open: Vec<bool>,
    have_rows: Vec<bool>,
    texts: Vec<String>,
}

impl ChangedLots {
    fn add(
        &mut self,
        account: AccountNumber,
        unit: &Unit,
        lot: &Lot,
        before: Option<&String>,
    ) -> Result<(), RowError> {
        let text = serde_json::to_string(lot).map_err(|error| unreadable("lot", &error))?;
        if before != Some(&text) && self.seen.insert(lot.id) {
            self.ids.push(Uuid::from_u128(lot.id.to_bits()));
            self.accounts.push(account.0);
            self.units.push(unit.as_str().to_owned());
            self.are_open.push(lot.is_open());
            self.have_rows.push(lot.has_row());
            self.texts.push(text);
        }
        Ok(())
    }

    async fn write(&self, client: &Client, ledger: i64) -> Result<(), VerifyError> {
        let statement = "
            INSERT INTO pg_temp.replayed_lots (ledger_id, lot_id, account_number, unit, is_open, has_row, state)
            SELECT $1, * FROM unnest($2::uuid[], $3::int8[], $4::text[], $5::bool[], $6::bool[], $7::text[])
                ON CONFLICT (ledger_id, lot_id) DO UPDATE
                   SET is_open = excluded.is_open, has_row = excluded.has_row, state = excluded.state";
        let parameters: [Parameter<'_>; 7] = [
            (&ledger, Type::INT8),
            (&self.ids, Type::UUID_ARRAY),
            (&self.accounts, Type::INT8_ARRAY),
            (&self.units, Type::TEXT_ARRAY),
            (&self.are_open, Type::BOOL_ARRAY),
            (&self.have_rows, Type::BOOL_ARRAY),
            (&self.texts, Type::TEXT_ARRAY),
        ];
        client.query_typed(statement, &parameters).await?;
        Ok(())
    }
}
