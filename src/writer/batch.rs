//! One batch: lock the head, load, decide, write and commit. Two round trips for the commands that are there when the
//! lock is asked for, three with those that come while it is waited for, whatever their number; one or two more when
//! others have written to the ledger in the meantime.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use tokio::time::timeout;
use uuid::Uuid;

use super::{
    decisions::{Decisions, Poisoned, Verdict, Written},
    interface::Submission,
    ledger_writer::LedgerWriter,
    queue::Pending,
    transaction::{Failure, Locked, Past, catch_up, lock_head, within},
};
use crate::{
    domain::{
        Command, Event, Needs, Private, WorkingSet,
        account::{Account, Lot},
        command::RecordLostHistory,
        effects::effects_of,
        ids::{AccountId, AccountNumber, Actor, Key, LotId, Position},
        time::Timestamp,
    },
    store::{
        changes::{Changes, Saved, Writing},
        errors::ErrorClass,
        heads::{Head, Incarnation},
        scope,
        session::Session,
        working_set::{Loaded, StoredCommand, Wanted, load},
    },
    telemetry::metrics as series,
};

/// Of how many commands the events are sent while others are being decided: enough to keep the server busy meanwhile.
const SENT_AT_ONCE: usize = 128;

/// What a batch came to.
pub(super) enum Attempt {
    /// It is written, or nothing was to be written: the head is this one.
    Settled(Head, Vec<Verdict>),
    /// It was sent, and the server did not tell what became of it. The head is this one if it is written.
    Unknown(Head, Vec<Verdict>),
}

/// What a batch is decided on, and what is needed to write the difference.
struct Basis {
    set: WorkingSet,
    names: BTreeMap<AccountNumber, AccountId>,
    versions: HashMap<AccountNumber, Position>,
    lot_rows: BTreeMap<LotId, Lot>,
    stored: Vec<StoredCommand>,
}

/// What was found behind the last head that this writer knew.
struct LookBack {
    /// Whether the head is that one: nobody else has written.
    is_known: bool,
    /// The last position known before, if it is no longer part of the ledger.
    lost: Option<Position>,
}

impl LedgerWriter {
    /// Tries to carry out a batch; `may_grow` says whether those who come while the lock is waited for may join it.
    ///
    /// # Errors
    /// [`Failure`]: nothing of it is written.
    pub(super) async fn attempt(
        &mut self,
        session: &Session,
        commands: &mut Vec<Pending>,
        may_grow: bool,
    ) -> Result<Attempt, Failure> {
        let limit = self.settings().step_limit;
        let begun = Instant::now();
        let begin = scope::begin_writing(self.ledger);
        let clock = self.settings().process_clock;
        let wanted = self.wanted(commands);
        let lock = lock_head(session, self.ledger, &begin, clock, &wanted);
        let mut locked = within(limit, lock).await?;
        let past = self.look_back(session, &locked).await?;
        let now = locked.clocks.ledger_time().map_err(|_| Failure::ClockSkew(locked.clocks))?;

        // What others changed is no longer cached, whoever needs it.
        let asked = if past.is_known { commands.len() } else { 0 };
        if may_grow {
            self.take_latecomers(commands);
        }
        let wanted = self.wanted(&commands[asked..]);
        if !wanted.is_empty() {
            within(limit, load(session, self.ledger, &wanted, &mut locked.loaded)).await?;
        }
        let Basis { mut set, mut names, versions, lot_rows, stored } = self.basis(commands, locked.loaded);
        set.clock_ahead = locked.head.clock_ahead;
        let mut decisions = Decisions::new(set, stored, self.settings().decide, now, locked.head.position);
        let mut writing = Writing::new(session, self.ledger, locked.head, now);
        let verdicts = decide_all(&mut decisions, commands, past.lost, &mut writing).await?;
        if decisions.written.is_empty() && decisions.idle_keys.is_empty() {
            within(limit, session.roll_back()).await?;
            self.remember(decisions.set, names);
            return Ok(Attempt::Settled(locked.head, verdicts));
        }

        for written in &decisions.written {
            rename(&mut names, &written.private);
        }
        let after = head_after(&locked.head, &decisions, now, past.lost.is_some());
        let changes = Changes {
            ledger: self.ledger,
            before: locked.head,
            after,
            commands: decisions.written.iter().map(Written::command_events).collect(),
            idle_keys: &decisions.idle_keys,
            private: decisions.written.iter().flat_map(|written| &written.private).collect(),
            set: &decisions.set,
            names: &names,
            versions: &versions,
            lot_rows: &lot_rows,
        };
        match timeout(limit, writing.save(&changes, &locked.transaction)).await {
            Ok(Ok(Saved::Committed)) => {}
            Ok(Ok(Saved::RolledBack(error))) => return Err(error.into()),
            Ok(Err(error)) => return Err(error.into()),
            // No event tells, and none has to: decided again, the commands find their keys, or nothing to change.
            Ok(Ok(Saved::Unknown(_))) | Err(_) if decisions.written.is_empty() => {
                return Err(Failure::Disconnected("keys may not have been kept".to_owned()));
            }
            Ok(Ok(Saved::Unknown(_))) | Err(_) => return Ok(Attempt::Unknown(after, verdicts)),
        }
        metrics::histogram!(series::WRITER_COMMIT).record(begun.elapsed());
        let events = || decisions.written.iter().flat_map(|written| &*written.events);
        count_events(events());
        if events().any(|event| !effects_of(event).is_empty()) {
            self.announce_orders(&after);
        }
        self.remember(decisions.set, names);
        self.moved_to(after);
        Ok(Attempt::Settled(after, verdicts))
    }

    /// Brings what this writer knows up to the head.
    async fn look_back(&mut self, session: &Session, locked: &Locked) -> Result<LookBack, Failure> {
        let limit = self.settings().step_limit;
        let mut is_known = true;
        if let Some(known) = self.known {
            is_known = known.is_same_place(&locked.head);
            let past = catch_up(session, self.ledger, &known, &locked.head, &mut self.cache);
            if within(limit, past).await? == Past::Lost {
                self.cache.clear();
                // Recorded once: by another process, or by a batch of this one that was in doubt.
                if !locked.head.has_recorded_loss_of(&known) {
                    tracing::error!(
                        ledger = %self.ledger, last_seen = %known.position, head = %locked.head.position,
                        "history was lost: events that were committed are gone"
                    );
                    return Ok(LookBack { is_known, lost: Some(known.position) });
                }
            }
        }
        self.known = Some(locked.head);
        Ok(LookBack { is_known, lost: None })
    }

    /// What the commands need and the cache does not have.
    fn wanted(&self, commands: &[Pending]) -> Wanted {
        let keys = commands.iter().filter_map(|command| command.submission.key.as_ref());
        let mut key_hashes: Vec<[u8; 16]> = keys.map(Key::hash).collect();
        key_hashes.sort_unstable();
        key_hashes.dedup();
        let mut needs = Needs::default();
        for command in commands {
            add_needs(&mut needs, command.submission.command.needs());
        }
        needs.accounts.retain(|name| !self.cache.has_named(name));
        needs.accounts.sort_unstable();
        needs.accounts.dedup();
        needs.account_numbers.retain(|number| !self.cache.has(*number));
        needs.account_numbers.sort_unstable();
        needs.account_numbers.dedup();
        Wanted { needs, key_hashes, configuration: !commands.is_empty() && !self.cache.has_configuration() }
    }

    /// Takes what the commands need out of the cache, and joins it with what was loaded.
    fn basis(&mut self, commands: &[Pending], loaded: Loaded) -> Basis {
        let Loaded { mut set, mut names, lot_rows: loaded_rows, commands: stored } = loaded;
        if let Some((settings, catalogue)) = self.cache.take_configuration() {
            (set.settings, set.catalogue) = (settings, catalogue);
        }
        let mut cached = Vec::new();
        for command in commands {
            let needs = command.submission.command.needs();
            let numbers = needs.accounts.iter().filter_map(|name| self.cache.number_of(name));
            let numbers: Vec<AccountNumber> = numbers.chain(needs.account_numbers.iter().copied()).collect();
            cached.extend(numbers.into_iter().filter_map(|number| self.cache.take(number)));
        }
        let spilled = |account: &Account| {
            let lots = account.books.values().flat_map(|book| book.lots.values());
            lots.filter(|lot| lot.spilled).map(|lot| (lot.id, lot.clone())).collect::<Vec<_>>()
        };
        let mut lot_rows: BTreeMap<LotId, Lot> =
            cached.iter().flat_map(|(_, account)| spilled(account)).collect();
        lot_rows.extend(loaded_rows);
        for (name, account) in cached {
            set.account_numbers.insert(name.clone(), account.number);
            names.insert(account.number, name);
            // What was loaded has closed lots that the cache does not have.
            set.accounts.entry(account.number).or_insert(account);
        }
        let versions = set.accounts.values().map(|account| (account.number, account.version)).collect();
        Basis { set, names, versions, lot_rows, stored }
    }

    /// Puts a working set into the cache that is true as of the head.
    fn remember(&mut self, set: WorkingSet, mut names: BTreeMap<AccountNumber, AccountId>) {
        self.cache.put_configuration(set.settings, set.catalogue);
        for (number, account) in set.accounts {
            if let Some(name) = names.remove(&number) {
                self.cache.put(name, account);
            }
        }
    }
}

fn add_needs(all: &mut Needs, more: Needs) {
    all.accounts.extend(more.accounts);
    all.account_numbers.extend(more.account_numbers);
    all.accounts_of_events.extend(more.accounts_of_events);
    all.payments.extend(more.payments);
    all.purchases.extend(more.purchases);
    all.orders.extend(more.orders);
    all.purchases_of_orders.extend(more.purchases_of_orders);
    all.customers.extend(more.customers);
    all.subscriptions.extend(more.subscriptions);
    all.keys.extend(more.keys);
    all.links.extend(more.links);
}

/// Decides the commands in order; before them, that history was lost, if it was. Sends the events of a large batch as they
/// come, except for the last.
async fn decide_all(
    decisions: &mut Decisions,
    commands: &[Pending],
    lost: Option<Position>,
    writing: &mut Writing<'_>,
) -> Result<Vec<Verdict>, Failure> {
    if let Some(last_seen) = lost {
        let submission = Submission {
            command: Command::RecordLostHistory(RecordLostHistory { last_seen }),
            key: None,
            fingerprint: None,
            actor: Actor::System,
            request_id: None,
        };
        let verdict = decisions.decide(&submission);
        if !matches!(verdict, Ok(Verdict::Accepted { .. })) {
            return Err(Failure::Refused(ErrorClass::Data, "lost history could not be recorded".to_owned()));
        }
    }
    metrics::histogram!(series::WRITER_BATCH_COMMANDS).record(commands.len() as f64);
    let mut verdicts = Vec::with_capacity(commands.len());
    for (index, command) in commands.iter().enumerate() {
        let verdict = decisions.decide(&command.submission);
        verdicts.push(verdict.map_err(|Poisoned| Failure::Poisoned(index))?);
        let unsent = &decisions.written[writing.commands()..];
        if unsent.len() > SENT_AT_ONCE {
            let ready: Vec<_> = unsent[..SENT_AT_ONCE].iter().map(Written::command_events).collect();
            writing.send(&ready).await?;
        }
    }
    Ok(verdicts)
}

/// The head that the decisions lead to: the same one, if they led to no event. Whoever waits for a position of a lost
/// history must be told.
fn head_after(before: &Head, decisions: &Decisions, now: Timestamp, is_history_lost: bool) -> Head {
    if decisions.written.is_empty() {
        return *before;
    }
    let (incarnation, lost_at) = if is_history_lost {
        (Incarnation(Uuid::new_v4()), Some(now))
    } else {
        (before.incarnation, before.lost_at)
    };
    Head {
        position: decisions.position(),
        batch_id: Uuid::new_v4(),
        recorded_at: now,
        fence: before.fence,
        incarnation,
        lost_at,
        clock_ahead: decisions.set.clock_ahead,
    }
}

/// Follows what the batch did to accounts' names.
fn rename(names: &mut BTreeMap<AccountNumber, AccountId>, private: &[Private]) {
    for private in private {
        match private {
            Private::Opened { account, account_id, .. } => names.insert(*account, account_id.clone()),
            Private::Erased { account, replacement, .. } => names.insert(*account, replacement.clone()),
            Private::Note { .. }
            | Private::Profile { .. }
            | Private::Ordered { .. }
            | Private::Session { .. }
            | Private::Linked { .. }
            | Private::KeySecret { .. } => None,
        };
    }
}

fn count_events<'a>(events: impl Iterator<Item = &'a Event>) {
    let mut by_type: HashMap<&'static str, u64> = HashMap::new();
    for event in events {
        *by_type.entry(event.body.type_name()).or_default() += 1;
    }
    for (type_name, count) in by_type {
        metrics::counter!(series::EVENTS, "type" => type_name).increment(count);
    }
}
