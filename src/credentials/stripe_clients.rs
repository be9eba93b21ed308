//! The client of each ledger's Stripe account, made when it is first asked for.
//!
//! Invariants:
//! - credentials that were read are believed for [`BELIEVED_FOR`]; replaced ones are used after that everywhere;
//! - all clients of a ledger share one limit of rate, the replaced ones too;
//! - a ledger that cannot call Stripe says why in its log once, and once more when it can again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use secrecy::ExposeSecret;
use uuid::Uuid;

use super::Vault;
use crate::{
    domain::{
        ids::{LedgerId, LedgerSlug, StripeId},
        settings::LedgerMode,
    },
    store::{
        reads::ReadError,
        sealing::{CannotOpen, Purpose},
        stripe_credentials::{StripeCredentials, read_credentials},
    },
    stripe::client::{ApiKey, BaseUrl, ClientSettings, Connections, Limiter, NoConnections, StripeClient},
};

/// How long credentials are believed to be the ones.
const BELIEVED_FOR: Duration = Duration::from_secs(5);

/// A ledger's way to Stripe.
#[derive(Clone, Debug)]
pub struct StripeAccess {
    /// Its client.
    pub client: Arc<StripeClient>,
    /// The ledger's name, which marks what it makes.
    pub ledger: LedgerSlug,
    /// Whether its money is real.
    pub mode: LedgerMode,
    /// The Stripe account, if that was asked when the key was set.
    pub account: Option<StripeId>,
}

/// Why a ledger cannot call Stripe. What it orders waits until it can.
#[derive(Debug, thiserror::Error)]
pub enum NoStripe {
    /// Nobody has set its key.
    #[error("the ledger {0} has no key for Stripe: `counterfoil ledger stripe-key {0}` sets it")]
    NoCredentials(LedgerSlug),
    /// Its key cannot be opened.
    #[error(transparent)]
    Closed(#[from] CannotOpen),
    /// What was opened is of no use: of the other mode, or written by something else.
    #[error(
        "the key for Stripe of the ledger {0} cannot be used: `counterfoil ledger stripe-key {0}` sets another"
    )]
    Unusable(LedgerSlug),
    /// It cannot be found out.
    #[error(transparent)]
    Database(#[from] ReadError),
    /// This machine cannot make a connection.
    #[error(transparent)]
    NoConnections(#[from] NoConnections),
}

impl NoStripe {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCredentials(_) => "no_stripe_key",
            Self::Closed(error) => error.code(),
            Self::Unusable(_) => "stripe_key_unusable",
            Self::Database(_) => "database_unavailable",
            Self::NoConnections(_) => "no_https",
        }
    }

    /// Whether it stays so until a person does something.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Database(_))
    }
}

/// The clients of all ledgers.
pub struct StripeClients {
    vault: Vault,
    settings: ClientSettings,
    connections: Mutex<Option<Connections>>,
    known: Mutex<HashMap<LedgerId, Known>>,
}

#[derive(Default)]
struct Known {
    limiter: Option<Arc<Limiter>>,
    access: Option<Access>,
    /// Why there was none, the last time.
    trouble: Option<&'static str>,
}

struct Access {
    version: Uuid,
    looked_up: Instant,
    access: StripeAccess,
}

impl StripeClients {
    /// Clients with keys from `vault`.
    pub fn new(vault: Vault, settings: ClientSettings) -> Arc<Self> {
        Arc::new(Self { vault, settings, connections: Mutex::default(), known: Mutex::default() })
    }

    /// The ledger's way to Stripe.
    ///
    /// # Errors
    /// [`NoStripe`].
    pub async fn of(&self, ledger: LedgerId) -> Result<StripeAccess, NoStripe> {
        let is_fresh = |access: &&Access| access.looked_up.elapsed() < BELIEVED_FOR;
        let believed = self
            .known()
            .get(&ledger)
            .and_then(|known| known.access.as_ref())
            .filter(is_fresh)
            .map(|believed| believed.access.clone());
        if let Some(access) = believed {
            return Ok(access);
        }
        let found = self.look_up(ledger).await;
        self.tell(ledger, found.as_ref().err());
        found
    }

    async fn look_up(&self, ledger: LedgerId) -> Result<StripeAccess, NoStripe> {
        let found = read_credentials(self.vault.database(), ledger).await?;
        let (slug, mode) = (found.slug, found.mode);
        let credentials = found.credentials.ok_or_else(|| NoStripe::NoCredentials(slug.clone()))?;
        if let Some(access) = self.still_current(ledger, credentials.version) {
            return Ok(access);
        }
        let (api_key, base_url) = self.open(ledger, &slug, mode, &credentials)?;
        let (connections, limiter) = (self.connections()?, self.limiter(ledger, mode));
        let client = Arc::new(StripeClient::new(connections, base_url, api_key, limiter));
        let access = StripeAccess { client, ledger: slug, mode, account: credentials.account };
        let remembered =
            Access { version: credentials.version, looked_up: Instant::now(), access: access.clone() };
        self.known().entry(ledger).or_default().access = Some(remembered);
        Ok(access)
    }

    /// What is known, if it is of these credentials; it is believed for another while then.
    fn still_current(&self, ledger: LedgerId, version: Uuid) -> Option<StripeAccess> {
        let mut known = self.known();
        let access = known.get_mut(&ledger)?.access.as_mut().filter(|access| access.version == version)?;
        access.looked_up = Instant::now();
        Some(access.access.clone())
    }

    fn open(
        &self,
        ledger: LedgerId,
        slug: &LedgerSlug,
        mode: LedgerMode,
        credentials: &StripeCredentials,
    ) -> Result<(ApiKey, BaseUrl), NoStripe> {
        let unusable = || NoStripe::Unusable(slug.clone());
        let secret = self.vault.keys().open(Purpose::StripeApiKey, ledger, &credentials.api_key)?;
        let api_key = ApiKey::parse(secret.expose_secret()).map_err(|_| unusable())?;
        let base_url = match &credentials.base_url {
            Some(url) => BaseUrl::parse(url, mode).map_err(|_| unusable())?,
            None => BaseUrl::default(),
        };
        (api_key.mode() == mode).then_some((api_key, base_url)).ok_or_else(unusable)
    }

    /// The limit of a ledger, which outlives the credentials that it was made for.
    fn limiter(&self, ledger: LedgerId, mode: LedgerMode) -> Arc<Limiter> {
        let rate = match mode {
            LedgerMode::Test => self.settings.test_rate,
            LedgerMode::Live => self.settings.live_rate,
        };
        let make = || Arc::new(Limiter::new(rate, self.settings.turn_limit));
        Arc::clone(self.known().entry(ledger).or_default().limiter.get_or_insert_with(make))
    }

    fn connections(&self) -> Result<Connections, NoConnections> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        match &*connections {
            Some(connections) => Ok(connections.clone()),
            None => Ok(connections.insert(Connections::prepare(&self.settings)?).clone()),
        }
    }

    /// Logs that a ledger cannot call Stripe, or can again, when that changes.
    fn tell(&self, ledger: LedgerId, error: Option<&NoStripe>) {
        let trouble = error.map(NoStripe::code);
        let before = std::mem::replace(&mut self.known().entry(ledger).or_default().trouble, trouble);
        match error {
            _ if trouble == before => {}
            Some(error) => tracing::warn!(%ledger, %error, "a ledger cannot call Stripe"),
            None => tracing::info!(%ledger, "a ledger can call Stripe again"),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<LedgerId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
