//! Events: how they are written, and read back.

use time::OffsetDateTime;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    arrays::Array,
    rows::{RowError, timestamp},
    session::{Statement, Value},
};
use crate::domain::{
    Event, EventBody,
    event::BalanceAfter,
    ids::{AccountNumber, Actor, Key, LedgerId, Namespace, Position, RequestId, Unit},
    time::Timestamp,
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
/// is not where the batch began. The events of a batch may be added by several such statements: `$3` have been before.
pub(super) static INSERT_EVENTS: Statement = Statement {
    name: "insert_events",
    sql: "INSERT INTO events (ledger_id, position, command, command_size, batch_id, account_number, type, version,
              unit, amount, balance_after, held_after, disputed_after, recorded_at, effective_at, actor, request_id,
              key_namespace, key, key_hash, fingerprint, note_hash, body)
          SELECT h.ledger_id, h.position + $3 + u.ordinal, u.command, u.command_size,
                 CASE WHEN u.ordinal = $4 THEN $5 END,
                 u.account_number, u.type, u.version, u.unit, u.amount, u.balance_after, u.held_after,
                 u.disputed_after, $6, u.effective_at, u.actor, u.request_id, u.key_namespace, u.key,
                 u.key_hash, u.fingerprint, u.note_hash, u.body::jsonb
            FROM ledger_heads h,
                 unnest($7::int8[], $8::int4[], $9::int8[], $10::text[], $11::int2[], $12::text[], $13::int8[],
                        $14::int8[], $15::int8[], $16::int8[], $17::timestamptz[], $18::text[], $19::text[],
                        $20::text[], $21::text[], $22::bytea[], $23::bytea[], $24::bytea[], $25::text[])
                 WITH ORDINALITY
                 AS u (command, command_size, account_number, type, version, unit, amount, balance_after, held_after,
                       disputed_after, effective_at, actor, request_id, key_namespace, key, key_hash, fingerprint,
                       note_hash, body, ordinal)
           WHERE h.ledger_id = $1 AND h.position = $2",
    parameters: &[
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::TIMESTAMPTZ,
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

/// Where events of a batch belong.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) ledger: LedgerId,
    /// The head that the batch began at.
    pub(super) base: Position,
    /// How many events of the batch come before these.
    pub(super) before: i64,
    /// The batch, if these are the last of it.
    pub(super) ends: Option<Uuid>,
    /// When all events of the batch are recorded.
    pub(super) recorded_at: Timestamp,
}

/// The values of [`INSERT_EVENTS`], column by column.
pub(super) struct EventColumns {
    place: Place,
    recorded_at: OffsetDateTime,
    count: i64,
    commands: Array,
    command_sizes: Array,
    account_numbers: Array,
    types: Array,
    versions: Array,
    units: Array,
    amounts: Array,
    balances: Array,
    held: Array,
    disputed: Array,
    effective_at: Array,
    actors: Array,
    request_ids: Array,
    namespaces: Array,
    keys: Array,
    key_hashes: Array,
    fingerprints: Array,
    note_hashes: Array,
    bodies: Array,
}

impl EventColumns {
    /// The columns for `commands`, whose events stand at `place` without gaps.
    ///
    /// # Errors
    /// None that an event of ours can cause: its body always serialises.
    pub(super) fn new(place: Place, commands: &[CommandEvents<'_>]) -> serde_json::Result<Self> {
        let mut columns = Self {
            place,
            recorded_at: place.recorded_at.to_datetime(),
            count: 0,
            commands: Array::of(Type::INT8),
            command_sizes: Array::of(Type::INT4),
            account_numbers: Array::of(Type::INT8),
            types: Array::of(Type::TEXT),
            versions: Array::of(Type::INT2),
            units: Array::of(Type::TEXT),
            amounts: Array::of(Type::INT8),
            balances: Array::of(Type::INT8),
            held: Array::of(Type::INT8),
            disputed: Array::of(Type::INT8),
            effective_at: Array::of(Type::TIMESTAMPTZ),
            actors: Array::of(Type::TEXT),
            request_ids: Array::of(Type::TEXT),
            namespaces: Array::of(Type::TEXT),
            keys: Array::of(Type::TEXT),
            key_hashes: Array::of(Type::BYTEA),
            fingerprints: Array::of(Type::BYTEA),
            note_hashes: Array::of(Type::BYTEA),
            bodies: Array::of(Type::TEXT),
        };
        for command in commands {
            for event in command.events {
                columns.add(command, event)?;
            }
        }
        Ok(columns)
    }

    fn add(&mut self, command: &CommandEvents<'_>, event: &Event) -> serde_json::Result<()> {
        let size = (event.position == event.command).then_some(command.events.len() as i32);
        let (key, balance) = (event.key.as_ref(), event.balance);
        let hash = key.map(Key::hash);
        self.count += 1;
        self.commands.push(event.command.0);
        self.command_sizes.push(size);
        self.account_numbers.push(event.account.map(|account| account.0));
        self.types.push(event.body.type_name());
        self.versions.push(event.body.version());
        self.units.push(event.unit.as_ref().map(Unit::as_str));
        self.amounts.push(event.amount);
        self.balances.push(balance.map(|balance| balance.net));
        self.held.push(balance.map(|balance| balance.held));
        self.disputed.push(balance.map(|balance| balance.disputed));
        self.effective_at.push(event.effective_at.map(Timestamp::to_datetime));
        self.actors.push(event.actor.to_string());
        self.request_ids.push(command.request_id.map(RequestId::as_str));
        self.namespaces.push(key.map(|key| key.namespace.as_str()));
        self.keys.push(key.map(Key::text));
        self.key_hashes.push(hash.as_ref().map(<[u8; 16]>::as_slice));
        self.fingerprints.push(key.and(command.fingerprint).map(<[u8; 32]>::as_slice));
        self.note_hashes.push(event.note_hash.as_ref().map(<[u8; 32]>::as_slice));
        self.bodies.push(event.body.to_json()?);
        Ok(())
    }

    /// How many events there are.
    pub(super) fn count(&self) -> i64 {
        self.count
    }

    /// The values of the statement's parameters, in their order.
    pub(super) fn values(&self) -> Vec<Value<'_>> {
        vec![
            &self.place.ledger.0,
            &self.place.base.0,
            &self.place.before,
            &self.count,
            &self.place.ends,
            &self.recorded_at,
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
            &self.effective_at,
            &self.actors,
            &self.request_ids,
            &self.namespaces,
            &self.keys,
            &self.key_hashes,
            &self.fingerprints,
            &self.note_hashes,
            &self.bodies,
        ]
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
