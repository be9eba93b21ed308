//! Events: how they are written, and read back.

use time::OffsetDateTime;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    rows::{RowError, timestamp},
    session::{Pipeline, Session, Statement, Value},
};
use crate::domain::{
    Event, EventBody,
    event::BalanceAfter,
    ids::{AccountNumber, Actor, Key, LedgerId, Namespace, Position, RequestId, Unit},
};

/// The events of one command, and what is stored with them.
pub struct CommandEvents<'a> {
    /// At least one, in order.
    pub events: &'a [Event],
    /// The request that the command came with.
    pub request_id: Option<&'a RequestId>,
    /// SHA-256 of the request that the key came with.
    pub fingerprint: Option<&'a [u8; 32]>,
}

/// Selects the ledger from its head, which routes the statement to where the ledger lives, and adds nothing if the head
/// is not where the batch began.
pub(super) static INSERT_EVENTS: Statement = Statement {
    name: "insert_events",
    sql: "INSERT INTO events (ledger_id, position, command, command_size, batch_id, account_number, type, version,
              unit, amount, balance_after, held_after, disputed_after, recorded_at, effective_at, actor, request_id,
              key_namespace, key, key_hash, fingerprint, note_hash, body)
          SELECT h.ledger_id, h.position + u.ordinal, u.command, u.command_size,
                 CASE WHEN u.ordinal = $4 THEN $3 END,
                 u.account_number, u.type, u.version, u.unit, u.amount, u.balance_after, u.held_after,
                 u.disputed_after, u.recorded_at, u.effective_at, u.actor, u.request_id, u.key_namespace, u.key,
                 u.key_hash, u.fingerprint, u.note_hash, u.body::jsonb
            FROM ledger_heads h,
                 unnest($5::int8[], $6::int4[], $7::int8[], $8::text[], $9::int2[], $10::text[], $11::int8[],
                        $12::int8[], $13::int8[], $14::int8[], $15::timestamptz[], $16::timestamptz[], $17::text[],
                        $18::text[], $19::text[], $20::text[], $21::bytea[], $22::bytea[], $23::bytea[], $24::text[])
                 WITH ORDINALITY
                 AS u (command, command_size, account_number, type, version, unit, amount, balance_after, held_after,
                       disputed_after, recorded_at, effective_at, actor, request_id, key_namespace, key, key_hash,
                       fingerprint, note_hash, body, ordinal)
           WHERE h.ledger_id = $1 AND h.position = $2",
    parameters: &[
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::INT8,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT2_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BYTEA_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// The values of [`INSERT_EVENTS`], column by column.
pub(super) struct EventColumns<'a> {
    ledger: i64,
    base: i64,
    batch_id: Uuid,
    count: i64,
    commands: Vec<i64>,
    command_sizes: Vec<Option<i32>>,
    account_numbers: Vec<Option<i64>>,
    types: Vec<&'static str>,
    versions: Vec<i16>,
    units: Vec<Option<&'a str>>,
    amounts: Vec<i64>,
    balances: Vec<Option<i64>>,
    held: Vec<Option<i64>>,
    disputed: Vec<Option<i64>>,
    recorded_at: Vec<OffsetDateTime>,
    effective_at: Vec<Option<OffsetDateTime>>,
    actors: Vec<String>,
    request_ids: Vec<Option<&'a str>>,
    namespaces: Vec<Option<&'static str>>,
    keys: Vec<Option<&'a str>>,
    key_hashes: Vec<Option<Vec<u8>>>,
    fingerprints: Vec<Option<&'a [u8]>>,
    note_hashes: Vec<Option<&'a [u8]>>,
    bodies: Vec<String>,
}

impl<'a> EventColumns<'a> {
    /// The columns for `commands`, whose events follow `base` without gaps.
    ///
    /// # Errors
    /// None that an event of ours can cause: its body always serialises.
    pub(super) fn new(
        ledger: LedgerId,
        base: Position,
        batch_id: Uuid,
        commands: &[CommandEvents<'a>],
    ) -> serde_json::Result<Self> {
        let events =
            || commands.iter().flat_map(|command| command.events.iter().map(move |event| (command, event)));
        let is_first = |event: &Event| event.position == event.command;
        let balance =
            |of: fn(BalanceAfter) -> i64| events().map(|(_, event)| event.balance.map(of)).collect();
        let key = |event: &'a Event| event.key.as_ref();
        Ok(Self {
            ledger: ledger.0,
            base: base.0,
            batch_id,
            count: events().count() as i64,
            commands: events().map(|(_, event)| event.command.0).collect(),
            command_sizes: events()
                .map(|(command, event)| is_first(event).then_some(command.events.len() as i32))
                .collect(),
            account_numbers: events().map(|(_, event)| event.account.map(|account| account.0)).collect(),
            types: events().map(|(_, event)| event.body.type_name()).collect(),
            versions: events().map(|(_, event)| event.body.version()).collect(),
            units: events().map(|(_, event)| event.unit.as_ref().map(Unit::as_str)).collect(),
            amounts: events().map(|(_, event)| event.amount).collect(),
            balances: balance(|balance| balance.net),
            held: balance(|balance| balance.held),
            disputed: balance(|balance| balance.disputed),
            recorded_at: events().map(|(_, event)| event.recorded_at.to_datetime()).collect(),
            effective_at: events()
                .map(|(_, event)| event.effective_at.map(|moment| moment.to_datetime()))
                .collect(),
            actors: events().map(|(_, event)| event.actor.to_string()).collect(),
            request_ids: events().map(|(command, _)| command.request_id.map(RequestId::as_str)).collect(),
            namespaces: events().map(|(_, event)| key(event).map(|key| key.namespace.as_str())).collect(),
            keys: events().map(|(_, event)| key(event).map(Key::text)).collect(),
            key_hashes: events().map(|(_, event)| key(event).map(|key| key.hash().to_vec())).collect(),
            fingerprints: events()
                .map(|(command, event)| {
                    key(event).and(command.fingerprint).map(|fingerprint| fingerprint.as_slice())
                })
                .collect(),
            note_hashes: events()
                .map(|(_, event)| event.note_hash.as_ref().map(|hash| hash.as_slice()))
                .collect(),
            bodies: events().map(|(_, event)| event.body.to_json()).collect::<serde_json::Result<_>>()?,
        })
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        let values: Vec<Value<'p>> = vec![
            &self.ledger,
            &self.base,
            &self.batch_id,
            &self.count,
            &self.commands,
            &self.command_sizes,
            &self.account_numbers,
            &self.types,
            &self.versions,
            &self.units,
            &self.amounts,
            &self.balances,
            &self.held,
            &self.disputed,
            &self.recorded_at,
            &self.effective_at,
            &self.actors,
            &self.request_ids,
            &self.namespaces,
            &self.keys,
            &self.key_hashes,
            &self.fingerprints,
            &self.note_hashes,
            &self.bodies,
        ];
        pipeline.rows(session, &INSERT_EVENTS, values);
    }
}

/// The columns that [`event_from_row`] reads, for a table or alias `e`.
macro_rules! event_columns {
    () => {
        "e.position, e.command, e.account_number, e.type, e.version, e.unit, e.amount, e.balance_after, e.held_after,
         e.disputed_after, e.recorded_at, e.effective_at, e.actor, e.key_namespace, e.key, e.note_hash,
         e.body::text AS body"
    };
}
pub(super) use event_columns;

/// Reads an event from the columns of `event_columns!`.
///
/// # Errors
/// [`RowError`]; [`RowError::is_newer`] if a newer version wrote it.
pub fn event_from_row(row: &Row) -> Result<Event, RowError> {
    let invalid = |column| RowError::Value { column };
    let unit: Option<&str> = row.try_get("unit")?;
    let unit = unit.map(|unit| Unit::parse(unit).map_err(|_| invalid("unit"))).transpose()?;
    let effective_at: Option<OffsetDateTime> = row.try_get("effective_at")?;
    let note_hash: Option<&[u8]> = row.try_get("note_hash")?;
    Ok(Event {
        position: Position(row.try_get("position")?),
        command: Position(row.try_get("command")?),
        account: row.try_get::<_, Option<i64>>("account_number")?.map(AccountNumber),
        balance: match unit {
            Some(_) => Some(BalanceAfter {
                net: row.try_get("balance_after")?,
                held: row.try_get("held_after")?,
                disputed: row.try_get("disputed_after")?,
            }),
            None => None,
        },
        unit,
        amount: row.try_get("amount")?,
        recorded_at: timestamp(row.try_get("recorded_at")?, "recorded_at")?,
        effective_at: effective_at.map(|moment| timestamp(moment, "effective_at")).transpose()?,
        actor: Actor::parse(row.try_get("actor")?).ok_or(invalid("actor"))?,
        key: key_from_row(row)?,
        note_hash: note_hash.map(|hash| hash.try_into().map_err(|_| invalid("note_hash"))).transpose()?,
        body: EventBody::parse(row.try_get("type")?, row.try_get("version")?, row.try_get("body")?)?,
    })
}

fn key_from_row(row: &Row) -> Result<Option<Key>, RowError> {
    let namespace: Option<&str> = row.try_get("key_namespace")?;
    let text: Option<&str> = row.try_get("key")?;
    let (Some(namespace), Some(text)) = (namespace, text) else { return Ok(None) };
    let namespace = Namespace::parse(namespace).ok_or(RowError::Value { column: "key_namespace" })?;
    Key::new(namespace, text).map(Some).map_err(|_| RowError::Value { column: "key" })
}
