//! Everything that can be erased: notes, profiles, names.
//!
//! An erasure reaches what the same batch wrote before it, and nothing that comes after it.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

use super::Changes;
use crate::{
    domain::{
        Private,
        command::{Note, ProfileChange},
        ids::{AccountId, AccountNumber, Position},
    },
    store::session::{Pipeline, Session, Statement, Value},
};

pub(super) static STATEMENTS: &[&Statement] =
    &[&DELETE_NOTES, &INSERT_NOTES, &INSERT_PROFILES, &UPDATE_PROFILES];

/// Before any insert: what the batch adds after an erasure stays.
static DELETE_NOTES: Statement = Statement {
    name: "delete_notes",
    sql: "DELETE FROM event_notes WHERE ledger_id = $1 AND account_number = ANY($2)",
    parameters: &[Type::INT8, Type::INT8_ARRAY],
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

static UPDATE_PROFILES: Statement = Statement {
    name: "update_profiles",
    sql: "UPDATE profiles p
             SET email = CASE WHEN u.sets_email THEN u.email ELSE p.email END,
                 name = CASE WHEN u.sets_name THEN u.name ELSE p.name END,
                 locale = CASE WHEN u.sets_locale THEN u.locale ELSE p.locale END,
                 metadata = COALESCE(u.metadata::jsonb, p.metadata)
            FROM unnest($2::int8[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bool[], $8::bool[], $9::bool[])
                 AS u (account_number, email, name, locale, metadata, sets_email, sets_name, sets_locale)
           WHERE p.ledger_id = $1 AND p.account_number = u.account_number",
    parameters: &[
        Type::INT8,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::BOOL_ARRAY,
        Type::BOOL_ARRAY,
        Type::BOOL_ARRAY,
    ],
};

/// What the batch writes of it.
#[derive(Default)]
pub(super) struct PrivateColumns<'a> {
    ledger: i64,
    /// Names that accounts get: new ones, and those whose own was erased.
    names: BTreeMap<AccountNumber, &'a AccountId>,
    erased: Vec<i64>,
    notes: NoteColumns,
    new_profiles: ProfileColumns,
    changed_profiles: ProfileColumns,
}

struct NewNote<'a> {
    account: Option<AccountNumber>,
    salt: &'a [u8; 16],
    content: &'a Note,
}

impl<'a> PrivateColumns<'a> {
    pub(super) fn new(changes: &Changes<'a>) -> serde_json::Result<Self> {
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        let mut notes: BTreeMap<Position, NewNote<'_>> = BTreeMap::new();
        let mut profiles: BTreeMap<AccountNumber, ProfileChange> = BTreeMap::new();
        for private in &changes.private {
            match private {
                Private::Note { position, account, salt, content } => {
                    notes.insert(*position, NewNote { account: *account, salt, content });
                }
                Private::Opened { account, account_id, profile } => {
                    columns.names.insert(*account, account_id);
                    merge(profiles.entry(*account).or_default(), profile);
                }
                Private::Profile { account, profile } => {
                    merge(profiles.entry(*account).or_default(), profile)
                }
                Private::Erased { account, replacement, .. } => {
                    columns.names.insert(*account, replacement);
                    columns.erased.push(account.0);
                    notes.retain(|_, note| note.account != Some(*account));
                    profiles.insert(*account, nothing_known());
                }
                Private::KeySecret { .. } => {}
            }
        }
        for (position, note) in &notes {
            columns.notes.add(*position, note)?;
        }
        for (account, profile) in &profiles {
            if changes.versions.contains_key(account) {
                columns.changed_profiles.add(*account, profile)?;
            } else {
                columns.new_profiles.add(*account, profile)?;
            }
        }
        Ok(columns)
    }

    /// Names that accounts get: new ones, and those whose own was erased.
    pub(super) fn names(&self) -> &BTreeMap<AccountNumber, &'a AccountId> {
        &self.names
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if !self.erased.is_empty() {
            pipeline.rows(session, &DELETE_NOTES, vec![&self.ledger, &self.erased]);
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
        let changed = &self.changed_profiles;
        if !changed.accounts.is_empty() {
            pipeline.rows(
                session,
                &UPDATE_PROFILES,
                vec![
                    &self.ledger,
                    &changed.accounts,
                    &changed.emails,
                    &changed.names,
                    &changed.locales,
                    &changed.metadata,
                    &changed.sets_email,
                    &changed.sets_name,
                    &changed.sets_locale,
                ],
            );
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

#[derive(Default)]
struct ProfileColumns {
    accounts: Vec<i64>,
    emails: Vec<Option<String>>,
    names: Vec<Option<String>>,
    locales: Vec<Option<String>>,
    /// All of it; absent if it stays as it is.
    metadata: Vec<Option<String>>,
    sets_email: Vec<bool>,
    sets_name: Vec<bool>,
    sets_locale: Vec<bool>,
}

impl ProfileColumns {
    fn add(&mut self, account: AccountNumber, profile: &ProfileChange) -> serde_json::Result<()> {
        self.accounts.push(account.0);
        self.emails.push(profile.email.clone().flatten());
        self.names.push(profile.name.clone().flatten());
        self.locales.push(profile.locale.clone().flatten());
        self.metadata.push(profile.metadata.as_ref().map(serde_json::to_string).transpose()?);
        self.sets_email.push(profile.email.is_some());
        self.sets_name.push(profile.name.is_some());
        self.sets_locale.push(profile.locale.is_some());
        Ok(())
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
