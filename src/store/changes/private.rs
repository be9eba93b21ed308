//! Notes and profiles: what can be erased, besides names.
//!
//! An erasure reaches what the same batch wrote before it, and nothing that comes after it.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

use super::Changes;
use crate::{
    domain::{
        Private,
        command::{Note, ProfileChange},
        ids::{AccountNumber, Position},
    },
    store::session::{Pipeline, Session, Statement, Value},
};

pub(super) static STATEMENTS: &[&Statement] = &[
    &DELETE_NOTES,
    &INSERT_NOTES,
    &INSERT_PROFILES,
    &WRITE_EMAIL,
    &WRITE_NAME,
    &WRITE_LOCALE,
    &WRITE_METADATA,
];

/// Before any insert: what the batch adds after an erasure stays.
static DELETE_NOTES: Statement = Statement {
    name: "delete_notes",
    sql: "DELETE FROM event_notes WHERE ledger_id = $1 AND account_number = $2",
    parameters: &[Type::INT8, Type::INT8],
};

static INSERT_NOTES: Statement = Statement {
    name: "insert_notes",
    sql: "INSERT INTO event_notes (ledger_id, position, account_number, salt, content)
          SELECT h.ledger_id, u.position, u.account_number, u.salt, u.content::jsonb
            FROM ledger_heads h,
                 unnest($2::int8[], $3::int8[], $4::bytea[], $5::text[]) AS u (position, account_number, salt, content)
           WHERE h.ledger_id = $1",
    parameters: &[Type::INT8, Type::INT8_ARRAY, Type::INT8_ARRAY, Type::BYTEA_ARRAY, Type::TEXT_ARRAY],
};

static INSERT_PROFILES: Statement = Statement {
    name: "insert_profiles",
    sql: "INSERT INTO profiles (ledger_id, account_number, email, name, locale, metadata)
          SELECT h.ledger_id, u.account_number, u.email, u.name, u.locale, COALESCE(u.metadata, '{}')::jsonb
            FROM ledger_heads h,
                 unnest($2::int8[], $3::text[], $4::text[], $5::text[], $6::text[])
                 AS u (account_number, email, name, locale, metadata)
           WHERE h.ledger_id = $1",
    parameters: &[
        Type::INT8,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// A profile is there since its account is: a conflict is looked up in the primary key, where an UPDATE that joins might
/// scan the ledger.
static WRITE_EMAIL: Statement = Statement {
    name: "write_email",
    sql: "INSERT INTO profiles (ledger_id, account_number, email)
          SELECT h.ledger_id, u.account_number, u.value
            FROM ledger_heads h, unnest($2::int8[], $3::text[]) AS u (account_number, value)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, account_number) DO UPDATE SET email = excluded.email",
    parameters: &[Type::INT8, Type::INT8_ARRAY, Type::TEXT_ARRAY],
};

static WRITE_NAME: Statement = Statement {
    name: "write_name",
    sql: "INSERT INTO profiles (ledger_id, account_number, name)
          SELECT h.ledger_id, u.account_number, u.value
            FROM ledger_heads h, unnest($2::int8[], $3::text[]) AS u (account_number, value)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, account_number) DO UPDATE SET name = excluded.name",
    parameters: &[Type::INT8, Type::INT8_ARRAY, Type::TEXT_ARRAY],
};

static WRITE_LOCALE: Statement = Statement {
    name: "write_locale",
    sql: "INSERT INTO profiles (ledger_id, account_number, locale)
          SELECT h.ledger_id, u.account_number, u.value
            FROM ledger_heads h, unnest($2::int8[], $3::text[]) AS u (account_number, value)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, account_number) DO UPDATE SET locale = excluded.locale",
    parameters: &[Type::INT8, Type::INT8_ARRAY, Type::TEXT_ARRAY],
};

static WRITE_METADATA: Statement = Statement {
    name: "write_metadata",
    sql: "INSERT INTO profiles (ledger_id, account_number, metadata)
          SELECT h.ledger_id, u.account_number, u.value::jsonb
            FROM ledger_heads h, unnest($2::int8[], $3::text[]) AS u (account_number, value)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, account_number) DO UPDATE SET metadata = excluded.metadata",
    parameters: &[Type::INT8, Type::INT8_ARRAY, Type::TEXT_ARRAY],
};

/// What the batch writes of it.
#[derive(Default)]
pub(super) struct PrivateColumns {
    ledger: i64,
    erased: Vec<i64>,
    notes: NoteColumns,
    new_profiles: ProfileColumns,
    emails: FieldColumns,
    names: FieldColumns,
    locales: FieldColumns,
    metadata: FieldColumns,
}

struct NewNote<'a> {
    account: Option<AccountNumber>,
    salt: &'a [u8; 16],
    content: &'a Note,
}

impl PrivateColumns {
    pub(super) fn new(changes: &Changes<'_>) -> serde_json::Result<Self> {
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        let mut notes: BTreeMap<Position, NewNote<'_>> = BTreeMap::new();
        let mut profiles: BTreeMap<AccountNumber, ProfileChange> = BTreeMap::new();
        for private in &changes.private {
            match private {
                Private::Note { position, account, salt, content } => {
                    notes.insert(*position, NewNote { account: *account, salt, content });
                }
                Private::Opened { account, profile, .. } | Private::Profile { account, profile } => {
                    merge(profiles.entry(*account).or_default(), profile);
                }
                Private::Erased { account, .. } => {
                    columns.erased.push(account.0);
                    notes.retain(|_, note| note.account != Some(*account));
                    profiles.insert(*account, nothing_known());
                }
                // Erased with the account by `orders` and `checkout_links`.
                Private::Ordered { .. } | Private::Session { .. } | Private::Linked { .. } => {}
                Private::KeySecret { .. } => {}
            }
        }
        for (position, note) in &notes {
            columns.notes.add(*position, note)?;
        }
        for (account, profile) in profiles {
            if changes.versions.contains_key(&account) {
                columns.change_profile(account, profile)?;
            } else {
                columns.new_profiles.add(account, profile)?;
            }
        }
        Ok(columns)
    }

    fn change_profile(&mut self, account: AccountNumber, profile: ProfileChange) -> serde_json::Result<()> {
        let ProfileChange { email, name, locale, metadata } = profile;
        let metadata = metadata.map(|metadata| serde_json::to_string(&metadata)).transpose()?;
        self.emails.add(account, email);
        self.names.add(account, name);
        self.locales.add(account, locale);
        self.metadata.add(account, metadata.map(Some));
        Ok(())
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        for account in &self.erased {
            pipeline.rows(session, &DELETE_NOTES, vec![&self.ledger, account]);
        }
        let notes = &self.notes;
        if !notes.positions.is_empty() {
            let values: Vec<Value<'_>> =
                vec![&self.ledger, &notes.positions, &notes.accounts, &notes.salts, &notes.contents];
            pipeline.rows(session, &INSERT_NOTES, values);
        }
        let new = &self.new_profiles;
        if !new.accounts.is_empty() {
            let values: Vec<Value<'_>> =
                vec![&self.ledger, &new.accounts, &new.emails, &new.names, &new.locales, &new.metadata];
            pipeline.rows(session, &INSERT_PROFILES, values);
        }
        for (statement, field) in [
            (&WRITE_EMAIL, &self.emails),
            (&WRITE_NAME, &self.names),
            (&WRITE_LOCALE, &self.locales),
            (&WRITE_METADATA, &self.metadata),
        ] {
            if !field.accounts.is_empty() {
                pipeline.rows(session, statement, vec![&self.ledger, &field.accounts, &field.values]);
            }
        }
    }
}

#[derive(Default)]
struct NoteColumns {
    positions: Vec<i64>,
    accounts: Vec<Option<i64>>,
    salts: Vec<Vec<u8>>,
    contents: Vec<String>,
}

impl NoteColumns {
    fn add(&mut self, position: Position, note: &NewNote<'_>) -> serde_json::Result<()> {
        self.positions.push(position.0);
        self.accounts.push(note.account.map(|account| account.0));
        self.salts.push(note.salt.to_vec());
        self.contents.push(serde_json::to_string(note.content)?);
        Ok(())
    }
}

/// Profiles of new accounts.
#[derive(Default)]
struct ProfileColumns {
    accounts: Vec<i64>,
    emails: Vec<Option<String>>,
    names: Vec<Option<String>>,
    locales: Vec<Option<String>>,
    metadata: Vec<Option<String>>,
}

impl ProfileColumns {
    fn add(&mut self, account: AccountNumber, profile: ProfileChange) -> serde_json::Result<()> {
        self.accounts.push(account.0);
        self.emails.push(profile.email.flatten());
        self.names.push(profile.name.flatten());
        self.locales.push(profile.locale.flatten());
        self.metadata.push(profile.metadata.as_ref().map(serde_json::to_string).transpose()?);
        Ok(())
    }
}

/// New values of one field of known profiles.
#[derive(Default)]
struct FieldColumns {
    accounts: Vec<i64>,
    values: Vec<Option<String>>,
}

impl FieldColumns {
    /// Adds a value, or its removal; without either the field stays as it is.
    fn add(&mut self, account: AccountNumber, value: Option<Option<String>>) {
        if let Some(value) = value {
            self.accounts.push(account.0);
            self.values.push(value);
        }
    }
}

fn nothing_known() -> ProfileChange {
    ProfileChange { email: Some(None), name: Some(None), locale: Some(None), metadata: Some(Note::new()) }
}

/// Lets the later of two changes win, field by field.
fn merge(earlier: &mut ProfileChange, later: &ProfileChange) {
    fn win<T: Clone>(earlier: &mut Option<T>, later: &Option<T>) {
        if later.is_some() {
            earlier.clone_from(later);
        }
    }
    win(&mut earlier.email, &later.email);
    win(&mut earlier.name, &later.name);
    win(&mut earlier.locale, &later.locale);
    win(&mut earlier.metadata, &later.metadata);
}
