//! The secrets that Stripe may sign a ledger's webhooks with: sealed where the process that took them had a key for it,
//! in clear where not. Several may be valid at once, while one replaces another.

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::{
    rows::RowError,
    scope::{self, Parameter},
    sealing::{Sealed, SealingKeyId},
};
use crate::domain::ids::LedgerId;

/// A secret and the form that it is kept in.
#[derive(Clone, Debug)]
pub enum KeptSecret {
    /// As it is.
    Clear(SecretString),
    /// Under a key.
    Sealed(Sealed),
}

/// A secret of a webhook endpoint.
#[derive(Clone, Debug)]
pub struct WebhookSecret {
    /// Which one.
    pub id: Uuid,
    /// The secret.
    pub secret: KeptSecret,
}

impl WebhookSecret {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let id = row.try_get("webhook_secret_id")?;
        let clear: Option<&str> = row.try_get("secret")?;
        let secret = match clear {
            Some(secret) => KeptSecret::Clear(SecretString::from(secret)),
            None => KeptSecret::Sealed(Sealed {
                key: SealingKeyId::stored(row.try_get("sealed_under")?),
                bytes: row.try_get("sealed")?,
            }),
        };
        Ok(Self { id, secret })
    }
}

/// The secrets of a ledger, oldest first.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn list_webhook_secrets(client: &Client, ledger: LedgerId) -> Result<Vec<WebhookSecret>, RowError> {
    let statement = "SELECT webhook_secret_id, secret, sealed, sealed_under FROM webhook_secrets
                      WHERE ledger_id = $1 ORDER BY created_at, webhook_secret_id";
    let parameters: [Parameter<'_>; 1] = [(&ledger.0, Type::INT8)];
    let query = client.query_typed(statement, &parameters);
    let rows = scope::within(client, &scope::begin_reading(ledger), query).await?;
    rows.iter().map(WebhookSecret::from_row).collect()
}

/// Adds a secret. One that is there in clear already stays as it is.
///
/// # Errors
/// Those of the database.
pub async fn add_webhook_secret(
    client: &Client,
    ledger: LedgerId,
    secret: &KeptSecret,
) -> Result<(), RowError> {
    let statement = "INSERT INTO webhook_secrets (ledger_id, webhook_secret_id, secret, sealed, sealed_under)
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (ledger_id, secret) DO NOTHING";
    let id = Uuid::new_v4();
    let (clear, sealed, sealed_under) = columns(secret);
    let parameters: [Parameter<'_>; 5] = [
        (&ledger.0, Type::INT8),
        (&id, Type::UUID),
        (&clear, Type::TEXT),
        (&sealed, Type::BYTEA),
        (&sealed_under, Type::TEXT),
    ];
    let insert = client.execute_typed(statement, &parameters);
    scope::within(client, &scope::begin_writing(ledger), insert).await?;
    Ok(())
}

/// Keeps the same secret in another form.
///
/// # Errors
/// Those of the database.
pub async fn keep_webhook_secret(
    client: &Client,
    ledger: LedgerId,
    id: Uuid,
    secret: &KeptSecret,
) -> Result<(), RowError> {
    let statement = "UPDATE webhook_secrets SET secret = $3, sealed = $4, sealed_under = $5
                      WHERE ledger_id = $1 AND webhook_secret_id = $2";
    let (clear, sealed, sealed_under) = columns(secret);
    let parameters: [Parameter<'_>; 5] = [
        (&ledger.0, Type::INT8),
        (&id, Type::UUID),
        (&clear, Type::TEXT),
        (&sealed, Type::BYTEA),
        (&sealed_under, Type::TEXT),
    ];
    let update = client.execute_typed(statement, &parameters);
    scope::within(client, &scope::begin_writing(ledger), update).await?;
    Ok(())
}

type Columns<'a> = (Option<&'a str>, Option<&'a [u8]>, Option<&'a str>);

fn columns(secret: &KeptSecret) -> Columns<'_> {
    match secret {
        KeptSecret::Clear(secret) => (Some(secret.expose_secret()), None, None),
        KeptSecret::Sealed(sealed) => (None, Some(&sealed.bytes), Some(sealed.key.as_str())),
    }
}
