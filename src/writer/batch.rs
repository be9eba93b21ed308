//! One batch: lock the head, load, decide, write and commit. Three round trips for any number of commands; one more
//! when others have written to the ledger in the meantime.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
        account::Lot,
        command::RecordLostHistory,
        ids::{AccountId, AccountNumber, Actor, LotId, Position},
        time::Timestamp,
    },
    store::{
        changes::{Changes, Saved, save},
        errors::ErrorClass,
        heads::{Head, Incarnation},
        scope,
        session::Session,
        working_set::{StoredCommand, Wanted, load},
    },
    telemetry::metrics as series,
};

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

impl LedgerWriter {
    /// Tries to carry out a batch.
    ///
    /// # Errors
    /// [`Failure`]: nothing of it is written.
    pub(super) async fn attempt(
        &mut self,
        session: &Session,
        commands: &[Pending],
    ) -> Result<Attempt, Failure> {
        let limit = self.settings().step_limit;
        let begun = Instant::now();
        let begin = scope::begin_writing(self.ledger);
        let clock = self.settings().process_clock;
        let locked = within(limit, lock_head(session, self.ledger, &begin, clock)).await?;
        let lost = self.look_back(session, &locked).await?;
        let now = locked.clocks.ledger_time().map_err(|_| Failure::ClockSkew(locked.clocks))?;

        let Basis { mut set, mut names, versions, lot_rows, stored } = self.basis(session, commands).await?;
        set.clock_ahead = locked.head.clock_ahead;
        let mut decisions = Decisions::new(set, stored, self.settings().decide, now, locked.head.position);
        let verdicts = decide_all(&mut decisions, commands, lost)?;
        if decisions.written.is_empty() {
            within(limit, session.roll_back()).await?;
            self.remember(decisions.set, names);
            return Ok(Attempt::Settled(locked.head, verdicts));
        }

        for written in &decisions.written {
            rename(&mut names, &written.private);
        }
        let after = head_after(&locked.head, &decisions, now, lost.is_some());
        let changes = Changes {
            ledger: self.ledger,
            before: locked.head,
            after,
            commands: decisions.written.iter().map(Written::command_events).collect(),
            private: decisions.written.iter().flat_map(|written| &written.private).collect(),
            set: &decisions.set,
            names: &names,
            versions: &versions,
            lot_rows: &lot_rows,
        };
        match timeout(limit, save(session, &changes, &locked.transaction)).await {
            Ok(Ok(Saved::Committed)) => {}
            Ok(Ok(Saved::RolledBack(error))) => return Err(error.into()),
            Ok(Err(error)) => return Err(Failure::Refused(ErrorClass::Data, error.to_string())),
            Ok(Ok(Saved::Unknown(_))) | Err(_) => return Ok(Attempt::Unknown(after, verdicts)),
        }
        metrics::histogram!(series::WRITER_COMMIT).record(begun.elapsed());
        count_events(decisions.written.iter().flat_map(|written| &*written.events));
        self.remember(decisions.set, names);
        self.moved_to(after);
        Ok(Attempt::Settled(after, verdicts))
    }

    /// Brings what this writer knows up to the head. Answers with the last position known before, if that is lost.
    async fn look_back(&mut self, session: &Session, locked: &Locked) -> Result<Option<Position>, Failure> {
        let limit = self.settings().step_limit;
        if let Some(known) = self.known {
            let past = catch_up(session, self.ledger, &known, &locked.head, &mut self.cache);
            if within(limit, past).await? == Past::Lost {
                tracing::error!(
                    ledger = %self.ledger, last_seen = %known.position, head = %locked.head.position,
                    "history was lost: events that were committed are gone"
                );
                self.cache.clear();
                return Ok(Some(known.position));
            }
        }
        self.known = Some(locked.head);
        Ok(None)
    }

    /// Takes what the commands need out of the cache, and loads the rest: one round trip.
    async fn basis(&mut self, session: &Session, commands: &[Pending]) -> Result<Basis, Failure> {
        let mut set = WorkingSet::default();
        let mut names = BTreeMap::new();
        let mut wanted = Wanted {
            key_hashes: commands
                .iter()
                .filter_map(|command| command.submission.key.as_ref())
                .map(|key| key.hash())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(Vec::from)
                .collect(),
            ..Wanted::default()
        };
        match self.cache.take_configuration() {
            Some((settings, catalogue)) => (set.settings, set.catalogue) = (settings, catalogue),
            None => wanted.configuration = true,
        }
        let mut needs = Needs::default();
        for command in commands {
            add_needs(&mut needs, command.submission.command.needs());
        }
        for name in std::mem::take(&mut needs.accounts).into_iter().collect::<BTreeSet<_>>() {
            match self.cache.take_named(&name) {
                Some(account) => add_account(&mut set, &mut names, name, account),
                None => needs.accounts.push(name),
            }
        }
        for number in std::mem::take(&mut needs.account_numbers).into_iter().collect::<BTreeSet<_>>() {
            match self.cache.take(number) {
                Some((name, account)) => add_account(&mut set, &mut names, name, account),
                None if set.accounts.contains_key(&number) => {}
                None => needs.account_numbers.push(number),
            }
        }
        wanted.needs = needs;
        let loaded = within(self.settings().step_limit, load(session, self.ledger, &wanted)).await?;
        let mut lot_rows: BTreeMap<LotId, Lot> =
            lots(&set).filter(|lot| lot.spilled).map(|lot| (lot.id, lot.clone())).collect();
        lot_rows.extend(loaded.lot_rows);
        names.extend(loaded.names);
        if wanted.configuration {
            (set.settings, set.catalogue) = (loaded.set.settings, loaded.set.catalogue);
        }
        // What was loaded has closed lots that the cache does not have.
        set.account_numbers.extend(loaded.set.account_numbers);
        set.accounts.extend(loaded.set.accounts);
        set.purchases = loaded.set.purchases;
        set.payments = loaded.set.payments;
        set.keys = loaded.set.keys;
        set.accounts_of_events = loaded.set.accounts_of_events;
        let versions = set.accounts.values().map(|account| (account.number, account.version)).collect();
        Ok(Basis { set, names, versions, lot_rows, stored: loaded.commands })
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
    all.keys.extend(more.keys);
}

fn add_account(
    set: &mut WorkingSet,
    names: &mut BTreeMap<AccountNumber, AccountId>,
    name: AccountId,
    account: crate::domain::account::Account,
) {
    set.account_numbers.insert(name.clone(), account.number);
    names.insert(account.number, name);
    set.accounts.insert(account.number, account);
}

fn lots(set: &WorkingSet) -> impl Iterator<Item = &Lot> {
    set.accounts.values().flat_map(|account| account.books.values()).flat_map(|book| book.lots.values())
}

/// Decides the commands in order; before them, that history was lost, if it was.
fn decide_all(
    decisions: &mut Decisions,
    commands: &[Pending],
    lost: Option<Position>,
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
    let decide = |(index, command): (usize, &Pending)| {
        decisions.decide(&command.submission).map_err(|Poisoned| Failure::Poisoned(index))
    };
    metrics::histogram!(series::WRITER_BATCH_COMMANDS).record(commands.len() as f64);
    commands.iter().enumerate().map(decide).collect()
}

/// The head that the decisions lead to. Whoever waits for a position of a lost history must be told.
fn head_after(before: &Head, decisions: &Decisions, now: Timestamp, is_history_lost: bool) -> Head {
    Head {
        position: decisions.position(),
        batch_id: Uuid::new_v4(),
        recorded_at: now,
        fence: before.fence,
        incarnation: if is_history_lost { Incarnation(Uuid::new_v4()) } else { before.incarnation },
        clock_ahead: decisions.set.clock_ahead,
    }
}

/// Follows what the batch did to accounts' names.
fn rename(names: &mut BTreeMap<AccountNumber, AccountId>, private: &[Private]) {
    for private in private {
        match private {
            Private::Opened { account, account_id, .. } => names.insert(*account, account_id.clone()),
            Private::Erased { account, replacement, .. } => names.insert(*account, replacement.clone()),
            Private::Note { .. } | Private::Profile { .. } | Private::KeySecret { .. } => None,
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
