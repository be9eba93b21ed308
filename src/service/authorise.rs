//! From the text of an API key to who calls and what he may do.
//!
//! A key that was found to work is believed for a few seconds, because every request comes with one: a key that was
//! revoked elsewhere stops working within [`BELIEVED_FOR`]; one that was revoked through this process stops at once.
//! Only one request at a time looks a known key up again; the others go on with what is known until it is too old.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{KeyText, Service, ServiceError};
use crate::{
    domain::{
        ids::{KeyId, LedgerId, LedgerSlug},
        settings::{LedgerMode, Scope},
    },
    store::reads,
};

/// How long a key that worked is believed to work.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// After how long one request looks it up again.
const LOOKED_UP_AFTER: Duration = Duration::from_secs(3);
/// How many keys are remembered; when more come, all are looked up anew.
const MOST_KEYS: usize = 10_000;
/// How often it is recorded which keys were used.
const RECORD_INTERVAL: Duration = Duration::from_secs(15);

/// Somebody who was authorised.
#[derive(Clone, Debug)]
pub struct Caller {
    /// His key.
    pub key: KeyId,
    /// The mode of the ledger.
    pub mode: LedgerMode,
    /// The ledger's name.
    pub slug: LedgerSlug,
    pub(super) ledger: LedgerId,
    pub(super) buy_url: Option<Arc<str>>,
    /// When the key ends, if it does.
    pub(super) works_until: Option<Instant>,
    scopes: BTreeSet<Scope>,
}

impl Caller {
    fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// Keys that worked a moment ago.
#[derive(Default)]
pub(super) struct KeyCache(RwLock<KnownKeys>);

#[derive(Default)]
struct KnownKeys {
    /// By SHA-256 of their text.
    by_digest: HashMap<[u8; 32], Arc<KnownKey>>,
    /// How many keys were revoked through this process.
    revocations: u64,
}

struct KnownKey {
    caller: Arc<Caller>,
    looked_up: Instant,
    believed_until: Instant,
    is_being_looked_up: AtomicBool,
    was_used: AtomicBool,
}

impl KeyCache {
    fn get(&self, digest: &[u8; 32]) -> Option<Arc<KnownKey>> {
        self.0.read().ok()?.by_digest.get(digest).cloned()
    }

    /// What [`Self::put`] wants to know of the moment before a key was looked up.
    fn revocations(&self) -> u64 {
        self.0.read().map_or(0, |keys| keys.revocations)
    }

    /// Believes in a key, unless one was revoked since it was looked up: it may be this one.
    fn put(&self, digest: [u8; 32], known: KnownKey, revocations: u64) {
        let Ok(mut keys) = self.0.write() else { return };
        if keys.revocations != revocations {
            return;
        }
        if keys.by_digest.len() >= MOST_KEYS {
            keys.by_digest.clear();
        }
        keys.by_digest.insert(digest, Arc::new(known));
    }

    fn remove(&self, digest: &[u8; 32]) {
        if let Ok(mut keys) = self.0.write() {
            keys.by_digest.remove(digest);
        }
    }

    /// No longer believes in a key that was revoked.
    pub(super) fn forget(&self, key: KeyId) {
        if let Ok(mut keys) = self.0.write() {
            keys.revocations += 1;
            keys.by_digest.retain(|_, known| known.caller.key != key);
        }
    }

    /// The keys that were used since the last time, by ledger; forgets those that are too old to be believed.
    fn take_used(&self) -> BTreeMap<LedgerId, Vec<KeyId>> {
        let mut used: BTreeMap<LedgerId, Vec<KeyId>> = BTreeMap::new();
        let Ok(mut keys) = self.0.write() else { return used };
        let now = Instant::now();
        keys.by_digest.retain(|_, known| {
            if known.was_used.swap(false, Ordering::Relaxed) {
                used.entry(known.caller.ledger).or_default().push(known.caller.key);
            }
            known.believed_until > now
        });
        used
    }
}

impl KnownKey {
    /// Whether this request is the one that looks the key up again.
    fn is_due(&self) -> bool {
        self.looked_up.elapsed() >= LOOKED_UP_AFTER && !self.is_being_looked_up.swap(true, Ordering::Relaxed)
    }
}

impl Service {
    /// Finds out whose key it is and whether it has the scope.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`] if no key that works has this text, [`ServiceError::Forbidden`] if it lacks the
    /// scope, [`ServiceError::Failed`] if that cannot be found out.
    pub async fn authorise(&self, text: &str, scope: Scope) -> Result<Arc<Caller>, ServiceError> {
        let digest: [u8; 32] = Sha256::digest(text).into();
        let caller = match self.keys.get(&digest) {
            Some(known) if known.believed_until > Instant::now() && !known.is_due() => {
                known.was_used.store(true, Ordering::Relaxed);
                Arc::clone(&known.caller)
            }
            _ => self.look_up(digest, text).await?,
        };
        if caller.may(scope) { Ok(caller) } else { Err(ServiceError::Forbidden { scope }) }
    }

    async fn look_up(&self, digest: [u8; 32], text: &str) -> Result<Arc<Caller>, ServiceError> {
        let (looked_up, revocations) = (Instant::now(), self.keys.revocations());
        let Some((caller, expires_in)) = self.find_caller(text).await? else {
            self.keys.remove(&digest);
            return Err(ServiceError::Unauthenticated);
        };
        let caller = Arc::new(caller);
        let believed_for = expires_in.map_or(BELIEVED_FOR, |rest| rest.min(BELIEVED_FOR));
        self.keys.put(
            digest,
            KnownKey {
                caller: Arc::clone(&caller),
                looked_up,
                believed_until: looked_up + believed_for,
                is_being_looked_up: AtomicBool::new(false),
                was_used: AtomicBool::new(true),
            },
            revocations,
        );
        Ok(caller)
    }

    async fn find_caller(&self, text: &str) -> Result<Option<(Caller, Option<Duration>)>, ServiceError> {
        let Some(text) = KeyText::parse(text) else { return Ok(None) };
        let Some(ledger) = reads::keys::find_ledger(&self.database, &text.ledger).await? else {
            return Ok(None);
        };
        if ledger.mode != text.mode {
            return Ok(None);
        }
        let known = reads::keys::find_working_key(&self.database, ledger.ledger, text.key).await?;
        let proven = known.filter(|known| bool::from(known.secret_hash.ct_eq(&text.secret.hash())));
        Ok(proven.map(|known| {
            let caller = Caller {
                key: text.key,
                mode: text.mode,
                slug: text.ledger,
                ledger: ledger.ledger,
                buy_url: known.buy_url.map(Into::into),
                works_until: known.expires_in.map(|rest| Instant::now() + rest),
                scopes: known.scopes,
            };
            (caller, known.expires_in)
        }))
    }

    /// Records from time to time which keys were used; never ends. To be run beside the rest of the process.
    pub async fn record_uses_of_keys(&self) {
        let mut moments = tokio::time::interval(RECORD_INTERVAL);
        loop {
            moments.tick().await;
            for (ledger, keys) in self.keys.take_used() {
                if let Err(error) = reads::keys::record_uses(&self.database, ledger, &keys).await {
                    tracing::warn!(%error, %ledger, "the use of API keys could not be recorded");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(key: u128) -> KnownKey {
        let now = Instant::now();
        KnownKey {
            caller: Arc::new(Caller {
                key: KeyId::from_bits(key),
                mode: LedgerMode::Test,
                slug: LedgerSlug::parse("book").expect("a slug"),
                ledger: LedgerId(1),
                buy_url: None,
                works_until: None,
                scopes: BTreeSet::new(),
            }),
            looked_up: now,
            believed_until: now + BELIEVED_FOR,
            is_being_looked_up: AtomicBool::new(false),
            was_used: AtomicBool::new(false),
        }
    }

    #[test]
    fn a_key_that_is_revoked_while_it_is_looked_up_is_not_believed() {
        let keys = KeyCache::default();
        let before = keys.revocations();
        keys.forget(KeyId::from_bits(7));
        keys.put([0; 32], known(7), before);
        assert!(keys.get(&[0; 32]).is_none());
        keys.put([0; 32], known(7), keys.revocations());
        assert!(keys.get(&[0; 32]).is_some());
        keys.forget(KeyId::from_bits(7));
        assert!(keys.get(&[0; 32]).is_none());
    }
}
