//! API keys: make, list, revoke. To rotate one, make the next, move its users over, and revoke the old one.

use poem_openapi::{Object, OpenApi};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::{
    answers::{Changed, Created, Found, Written},
    auth::{Admin, Authorised},
    error::{ApiError, Failure, Reading, Writing},
    idempotency::{IdempotencyKey, fingerprint},
    params::{Path, Query},
    payload::Json,
    tags::Tag,
    wire::{Cursor, DisplayName, Limit, Nullable},
};
use crate::{
    domain::{
        Command, EventBody,
        command::{CreateKey, RevokeKey},
        ids::KeyId,
        settings::Scope,
        time::Timestamp,
    },
    service::{Accepted, Caller, KeyRow, KeySecret, KeyText},
};

/// An API key to be made.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewApiKey {
    /// What people call it.
    pub name: DisplayName,
    /// What it may do: at least one scope. `admin` includes every other.
    pub scopes: Vec<Scope>,
    /// When it stops working; never if absent.
    pub expires_at: Option<Timestamp>,
}

/// An API key that was made.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct CreatedApiKey {
    /// Which key.
    pub key_id: KeyId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it stops working; `null` if it does not.
    pub expires_at: Nullable<Timestamp>,
    /// The key itself, `cfk_…`. It is shown in this one answer and kept nowhere: the answer to a repeat has everything
    /// but this. Whoever lost it revokes the key and makes another.
    pub api_key: Option<String>,
    /// The position of the event.
    pub position: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

impl CreatedApiKey {
    fn of(
        caller: &Caller,
        name: DisplayName,
        secret: KeySecret,
        accepted: &Accepted,
    ) -> Result<Self, ApiError> {
        let (event, created) = Written::of(accepted).find(|body| match body {
            EventBody::KeyCreated(created) => Some(created),
            _ => None,
        })?;
        let text = KeyText { mode: caller.mode, ledger: caller.slug.clone(), key: created.key, secret };
        // The secret of a repeat belongs to no key.
        let api_key = (!accepted.replayed).then(|| text.expose().expose_secret().to_owned());
        Ok(Self {
            key_id: created.key,
            name: name.0,
            scopes: created.scopes.clone(),
            expires_at: Nullable(created.expires_at),
            api_key,
            position: event.position.0,
            created_at: event.recorded_at,
        })
    }
}

/// An API key.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ApiKey {
    /// Which key.
    pub key_id: KeyId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working; `null` if it does not.
    pub expires_at: Nullable<Timestamp>,
    /// When it was revoked; `null` if it was not.
    pub revoked_at: Nullable<Timestamp>,
    /// When it was last used, to the minute or so; `null` if it was not.
    pub last_used_at: Nullable<Timestamp>,
}

impl From<KeyRow> for ApiKey {
    fn from(row: KeyRow) -> Self {
        Self {
            key_id: row.key,
            name: row.name,
            scopes: row.scopes.into_iter().collect(),
            created_at: row.created_at,
            expires_at: Nullable(row.expires_at),
            revoked_at: Nullable(row.revoked_at),
            last_used_at: Nullable(row.last_used_at),
        }
    }
}

/// A page of API keys.
#[derive(Clone, Debug, Object)]
pub struct ApiKeyList {
    /// The keys, newest first; revoked ones too.
    pub items: Vec<ApiKey>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// An API key that was revoked.
#[derive(Clone, Debug, Object)]
pub struct RevokedApiKey {
    /// Which key.
    pub key_id: KeyId,
    /// The position of the event.
    pub position: i64,
    /// When it was revoked.
    pub revoked_at: Timestamp,
}

/// The resource.
pub struct ApiKeys;

#[OpenApi(tag = "Tag::ApiKeys")]
impl ApiKeys {
    /// Make an API key
    #[oai(path = "/v1/api-keys", method = "post", operation_id = "create_api_key")]
    async fn create(
        &self,
        caller: Authorised<Admin>,
        /// Marks repeats of this request: no second key is made, and the key is not shown again.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<NewApiKey>,
    ) -> Result<Created<CreatedApiKey>, Failure<Writing>> {
        let print = fingerprint("POST /v1/api-keys", &[], &body.sent);
        let NewApiKey { name, scopes, expires_at } = body.content;
        let secret = KeySecret::generate();
        let command = CreateKey { scopes, expires_at, secret_hash: secret.hash(), name: name.0.clone() };
        let accepted = caller.submit(Command::CreateKey(command), Some(key.0), print).await?;
        let created = CreatedApiKey::of(&caller.caller, name, secret, &accepted)?;
        Ok(Created::new(&accepted, created))
    }

    /// List API keys
    #[oai(path = "/v1/api-keys", method = "get", operation_id = "list_api_keys")]
    async fn list(
        &self,
        caller: Authorised<Admin>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<ApiKeyList>, Failure<Reading>> {
        let after: Option<KeyId> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let page = caller.service.keys(&caller.caller, after, limit.0.unwrap_or_default().into()).await?;
        Ok(Found(ApiKeyList {
            items: page.keys.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(page.next.map(|key| Cursor::of(&key))),
        }))
    }

    /// Revoke an API key
    ///
    /// It stops working at once in the process that answers, and within five seconds everywhere.
    #[oai(path = "/v1/api-keys/:key", method = "delete", operation_id = "revoke_api_key")]
    async fn revoke(
        &self,
        caller: Authorised<Admin>,
        /// The key.
        key: Path<KeyId>,
    ) -> Result<Changed<RevokedApiKey>, Failure<Writing>> {
        let print = fingerprint("DELETE /v1/api-keys/{key}", &[&key.0.to_string()], &Value::Null);
        let accepted = caller.submit(Command::RevokeKey(RevokeKey { key: key.0 }), None, print).await?;
        let (position, revoked_at) = Written::of(&accepted).end().ok_or_else(ApiError::internal)?;
        Ok(Changed::new(&accepted, RevokedApiKey { key_id: key.0, position, revoked_at }))
    }
}
