//! Settings, features, prices and API keys: as the batch's last events on each leave them.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Changes;
use crate::{
    domain::{
        EventBody, Private,
        catalogue::{Feature, Price},
        ids::{FeatureKey, KeyId, Position, PriceId},
        settings::{LedgerSettings, Scope},
    },
    store::{
        session::{Pipeline, Session, Statement, Value},
        working_set::{FEATURE_STATE_VERSION, PRICE_STATE_VERSION, SETTINGS_STATE_VERSION},
    },
};

pub(super) static STATEMENTS: &[&Statement] =
    &[&WRITE_SETTINGS, &WRITE_FEATURES, &WRITE_PRICES, &INSERT_API_KEYS, &REVOKE_API_KEYS];

static WRITE_SETTINGS: Statement = Statement {
    name: "write_settings",
    sql: "INSERT INTO ledger_settings (ledger_id, state_version, settings)
          SELECT h.ledger_id, $2, $3::text::jsonb FROM ledger_heads h WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id) DO UPDATE
             SET state_version = excluded.state_version, settings = excluded.settings",
    parameters: &[Type::INT8, Type::INT2, Type::TEXT],
};

static WRITE_FEATURES: Statement = Statement {
    name: "write_features",
    sql: "INSERT INTO features (ledger_id, feature, version, state_version, state)
          SELECT h.ledger_id, u.feature, u.version, $2, u.state::jsonb
            FROM ledger_heads h, unnest($3::text[], $4::int8[], $5::text[]) AS u (feature, version, state)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, feature) DO UPDATE
             SET version = excluded.version, state_version = excluded.state_version, state = excluded.state",
    parameters: &[Type::INT8, Type::INT2, Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
};

static WRITE_PRICES: Statement = Statement {
    name: "write_prices",
    sql: "INSERT INTO prices (ledger_id, price, version, state_version, state)
          SELECT h.ledger_id, u.price, u.version, $2, u.state::jsonb
            FROM ledger_heads h, unnest($3::text[], $4::int8[], $5::text[]) AS u (price, version, state)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, price) DO UPDATE
             SET version = excluded.version, state_version = excluded.state_version, state = excluded.state",
    parameters: &[Type::INT8, Type::INT2, Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
};

static INSERT_API_KEYS: Statement = Statement {
    name: "insert_api_keys",
    sql: "INSERT INTO api_keys (ledger_id, key_id, secret_hash, name, scopes, created_at, expires_at)
          SELECT h.ledger_id, u.key_id, u.secret_hash, u.name, u.scopes::text[], u.created_at, u.expires_at
            FROM ledger_heads h,
                 unnest($2::uuid[], $3::bytea[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[])
                 AS u (key_id, secret_hash, name, scopes, created_at, expires_at)
           WHERE h.ledger_id = $1",
    parameters: &[
        Type::INT8,
        Type::UUID_ARRAY,
        Type::BYTEA_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
    ],
};

static REVOKE_API_KEYS: Statement = Statement {
    name: "revoke_api_keys",
    sql: "UPDATE api_keys k SET revoked_at = u.revoked_at
            FROM unnest($2::uuid[], $3::timestamptz[]) u (key_id, revoked_at)
           WHERE k.ledger_id = $1 AND k.key_id = u.key_id",
    parameters: &[Type::INT8, Type::UUID_ARRAY, Type::TIMESTAMPTZ_ARRAY],
};

/// What the batch's events on configuration lead to.
#[derive(Default)]
pub(super) struct ConfigurationColumns<'a> {
    ledger: i64,
    settings: Option<String>,
    features: NamedColumns<'a>,
    prices: NamedColumns<'a>,
    keys: KeyColumns<'a>,
    revoked: Vec<Uuid>,
    revoked_at: Vec<OffsetDateTime>,
}

/// State that is found by a name.
#[derive(Default)]
struct NamedColumns<'a> {
    names: Vec<&'a str>,
    versions: Vec<i64>,
    states: Vec<String>,
}

#[derive(Default)]
struct KeyColumns<'a> {
    ids: Vec<Uuid>,
    secret_hashes: Vec<&'a [u8]>,
    names: Vec<&'a str>,
    scopes: Vec<String>,
    created_at: Vec<OffsetDateTime>,
    expires_at: Vec<Option<OffsetDateTime>>,
}

impl<'a> ConfigurationColumns<'a> {
    pub(super) fn new(changes: &Changes<'a>) -> serde_json::Result<Self> {
        let secrets = key_secrets(changes);
        let mut settings: Option<&LedgerSettings> = None;
        let mut features: BTreeMap<&FeatureKey, (Position, &Feature)> = BTreeMap::new();
        let mut prices: BTreeMap<&PriceId, (Position, &Price)> = BTreeMap::new();
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        for event in changes.events() {
            match &event.body {
                EventBody::LedgerConfigured(body) => settings = Some(&body.0),
                EventBody::FeatureSet(body) => {
                    features.insert(&body.0.feature, (event.position, &body.0));
                }
                EventBody::PriceSet(body) => {
                    prices.insert(&body.0.price, (event.position, &*body.0));
                }
                EventBody::KeyCreated(body) => {
                    let Some((secret_hash, name)) = secrets.get(&body.key) else { continue };
                    let scopes: Vec<&str> = body.scopes.iter().copied().map(Scope::as_str).collect();
                    columns.keys.ids.push(Uuid::from_u128(body.key.to_bits()));
                    columns.keys.secret_hashes.push(secret_hash.as_slice());
                    columns.keys.names.push(name);
                    columns.keys.scopes.push(format!("{{{}}}", scopes.join(",")));
                    columns.keys.created_at.push(event.recorded_at.to_datetime());
                    columns.keys.expires_at.push(body.expires_at.map(|moment| moment.to_datetime()));
                }
                EventBody::KeyRevoked(body) => {
                    columns.revoked.push(Uuid::from_u128(body.key.to_bits()));
                    columns.revoked_at.push(event.recorded_at.to_datetime());
                }
                _ => {}
            }
        }
        columns.settings = settings.map(serde_json::to_string).transpose()?;
        for (name, (version, feature)) in features {
            columns.features.add(name.as_str(), version, serde_json::to_string(feature)?);
        }
        for (name, (version, price)) in prices {
            columns.prices.add(name.as_str(), version, serde_json::to_string(price)?);
        }
        Ok(columns)
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if let Some(settings) = &self.settings {
            let values: Vec<Value<'_>> = vec![&self.ledger, &SETTINGS_STATE_VERSION, settings];
            pipeline.rows(session, &WRITE_SETTINGS, values);
        }
        for (statement, version, named) in [
            (&WRITE_FEATURES, &FEATURE_STATE_VERSION, &self.features),
            (&WRITE_PRICES, &PRICE_STATE_VERSION, &self.prices),
        ] {
            if !named.names.is_empty() {
                let values: Vec<Value<'_>> =
                    vec![&self.ledger, version, &named.names, &named.versions, &named.states];
                pipeline.rows(session, statement, values);
            }
        }
        let keys = &self.keys;
        if !keys.ids.is_empty() {
            let values: Vec<Value<'_>> = vec![
                &self.ledger,
                &keys.ids,
                &keys.secret_hashes,
                &keys.names,
                &keys.scopes,
                &keys.created_at,
                &keys.expires_at,
            ];
            pipeline.rows(session, &INSERT_API_KEYS, values);
        }
        if !self.revoked.is_empty() {
            let values: Vec<Value<'_>> = vec![&self.ledger, &self.revoked, &self.revoked_at];
            pipeline.rows(session, &REVOKE_API_KEYS, values);
        }
    }
}

impl<'a> NamedColumns<'a> {
    fn add(&mut self, name: &'a str, version: Position, state: String) {
        self.names.push(name);
        self.versions.push(version.0);
        self.states.push(state);
    }
}

/// Hash and name of each new key's secret.
fn key_secrets<'a>(changes: &Changes<'a>) -> BTreeMap<KeyId, (&'a [u8; 32], &'a str)> {
    let secret = |private: &&'a Private| match private {
        Private::KeySecret { key, secret_hash, name } => Some((*key, (secret_hash, name.as_str()))),
        _ => None,
    };
    changes.private.iter().filter_map(secret).collect()
}
