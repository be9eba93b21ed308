//! What an operator does at the command line without an API key: straight through the writer, recorded as `operator`.

use std::sync::Arc;

use anyhow::{Context, bail};
use secrecy::SecretString;

use crate::app;
use crate::config::DatabaseSettings;
use crate::credentials::Vault;
use crate::domain::Command;
use crate::domain::command::CreateKey;
use crate::domain::event::EventBody;
use crate::domain::ids::{Actor, Key, LedgerSlug};
use crate::domain::settings::{LedgerMode, LedgerSettings, Scope};
use crate::domain::time::Timestamp;
use crate::service::{KeySecret, KeyText};
use crate::store::ledgers::{self, CreateLedgerError, Ledger};
use crate::store::pool::Database;
use crate::store::sealing::KeyRing;
use crate::stripe::signature::SigningSecret;
use crate::writer::{Accepted, Outcome, Submission, WriterSettings, Writers};

/// A way to the ledgers of a database.
pub(super) struct Administration {
    database: Database,
    vault: Vault,
    writers: Arc<Writers>,
}

impl Administration {
    /// Connects as the service would, and checks that it may.
    pub(super) async fn connect(settings: &DatabaseSettings) -> anyhow::Result<Self> {
        let database = app::open_database(&settings.database_url, 1)?;
        app::check_database(&database).await?;
        Ok(Self::new(database))
    }

    pub(super) fn new(database: Database) -> Self {
        let writers = Writers::new(database.clone(), WriterSettings::default());
        let vault = Vault::new(database.clone(), KeyRing::default());
        Self { database, vault, writers }
    }

    /// The same, with keys to secrets.
    pub(super) fn with_keys(self, keys: KeyRing) -> Self {
        Self { vault: Vault::new(self.database.clone(), keys), ..self }
    }

    /// The secrets of the ledgers.
    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    pub(super) async fn list_ledgers(&self) -> anyhow::Result<Vec<Ledger>> {
        let client = self.database.connect().await?;
        ledgers::list_ledgers(&client).await.context("the ledgers cannot be listed")
    }

    pub(super) async fn find_ledger(&self, slug: &LedgerSlug) -> anyhow::Result<Option<Ledger>> {
        let client = self.database.connect().await?;
        ledgers::find_ledger(&client, slug).await.context("the ledger cannot be looked up")
    }

    /// Makes a ledger.
    pub(super) async fn create_ledger(
        &self,
        slug: &LedgerSlug,
        mode: LedgerMode,
        settings: LedgerSettings,
    ) -> anyhow::Result<Ledger> {
        let client = self.database.connect().await?;
        let ledger = ledgers::create_ledger(&client, slug, mode).await?;
        self.submit(&ledger, Command::ConfigureLedger(settings), None).await?;
        Ok(ledger)
    }

    /// Finds a ledger, or makes it without settings; says whether it was made.
    pub(super) async fn ensure_ledger(
        &self,
        slug: &LedgerSlug,
        mode: LedgerMode,
    ) -> anyhow::Result<(Ledger, bool)> {
        let client = self.database.connect().await?;
        match ledgers::create_ledger(&client, slug, mode).await {
            Ok(ledger) => Ok((ledger, true)),
            Err(CreateLedgerError::SlugTaken(_)) => {
                let ledger = self.find_ledger(slug).await?;
                Ok((ledger.with_context(|| format!("the ledger `{slug}` is gone"))?, false))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets Stripe's webhooks in that are signed with this secret. It is kept sealed if there is a key for it.
    pub(super) async fn add_webhook_secret(
        &self,
        ledger: &Ledger,
        secret: &SigningSecret,
    ) -> anyhow::Result<()> {
        let client = self.database.connect().await?;
        self.vault.add_webhook_secret(&client, ledger.ledger, secret).await?;
        Ok(())
    }

    /// Makes an API key and returns its text, which is nowhere else.
    pub(super) async fn create_key(
        &self,
        ledger: &Ledger,
        name: &str,
        scopes: Vec<Scope>,
        expires_at: Option<Timestamp>,
    ) -> anyhow::Result<SecretString> {
        let secret = KeySecret::generate();
        let command = CreateKey { scopes, expires_at, secret_hash: secret.hash(), name: name.to_owned() };
        let accepted = self.submit(ledger, Command::CreateKey(command), None).await?;
        let created = accepted.events.iter().find_map(|event| match &event.body {
            EventBody::KeyCreated(created) => Some(created.key),
            _ => None,
        });
        let key = created.context("the ledger recorded no key")?;
        Ok(KeyText { mode: ledger.mode, ledger: ledger.slug.clone(), key, secret }.expose())
    }

    /// Has a command carried out.
    pub(super) async fn submit(
        &self,
        ledger: &Ledger,
        command: Command,
        key: Option<Key>,
    ) -> anyhow::Result<Accepted> {
        let actor = Actor::Operator;
        let submission = Submission { command, key, fingerprint: None, actor, request_id: None };
        match self.writers.submit(ledger.ledger, submission).await? {
            Outcome::Accepted(accepted) => Ok(accepted),
            Outcome::Rejected(rejection) => bail!(rejection),
        }
    }

    /// Lets go of the ledgers.
    pub(super) async fn finish(self) {
        self.writers.drain().await;
    }
}
