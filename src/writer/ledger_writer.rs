//! The task that writes one ledger for this process: takes what waits, tries it as one batch, and sees to it that every
//! caller learns the truth when that fails.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    Shared, WriterSettings,
    barrier::{Found, check_timeline, cross},
    batch::Attempt,
    cache::Cache,
    decisions::Verdict,
    interface::SubmitError,
    places::Connection,
    queue::{Pending, answer_all},
    transaction::{Failure, within},
};
use crate::{
    domain::ids::LedgerId,
    store::{errors::ErrorClass, heads::Head, session::Session},
    telemetry::metrics as series,
};

/// How often a command is tried that fails through no fault of its own.
const MOST_ATTEMPTS: u8 = 4;

/// A batch of which the server did not tell whether it is written.
struct Doubt {
    /// The head, if it is.
    after: Head,
    decided: Vec<(Pending, Verdict)>,
    since: Instant,
}

/// See the module.
pub(super) struct LedgerWriter {
    pub(super) ledger: LedgerId,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Pending>,
    /// What has to be tried again, before anything else.
    again: VecDeque<Vec<Pending>>,
    connection: Option<Connection>,
    doubt: Option<Doubt>,
    /// The head as of which the cache is true, and the last that this process saw committed.
    pub(super) known: Option<Head>,
    pub(super) cache: Cache,
}

impl LedgerWriter {
    pub(super) fn new(ledger: LedgerId, shared: Arc<Shared>, queue: mpsc::Receiver<Pending>) -> Self {
        let cache = Cache::new(shared.settings.cached_accounts);
        Self {
            ledger,
            shared,
            queue,
            again: VecDeque::new(),
            connection: None,
            doubt: None,
            known: None,
            cache,
        }
    }

    pub(super) fn settings(&self) -> &WriterSettings {
        &self.shared.settings
    }

    /// Writes until nobody can submit any more and everything is answered.
    pub(super) async fn run(mut self) {
        loop {
            if self.doubt.is_some() {
                self.settle_doubt().await;
                continue;
            }
            // What is tried again stays as it is: a culprit is searched for in it.
            let (mut batch, may_grow) = match self.again.pop_front() {
                Some(batch) => (batch, false),
                None => match self.receive().await {
                    Some(batch) => (batch, true),
                    None => break,
                },
            };
            batch.retain(|command| !command.is_abandoned());
            if !batch.is_empty() {
                self.write(batch, may_grow).await;
            }
        }
    }

    /// Waits for commands, and takes all that are there. A connection that has had nothing to do for long, or that another
    /// ledger needs, is closed.
    async fn receive(&mut self) -> Option<Vec<Pending>> {
        let (limit, idle) = (self.settings().batch_limit, self.settings().idle_connection);
        let mut batch = Vec::new();
        let places = &self.shared.places;
        self.connection.take_if(|connection| places.is_turn_over(connection));
        let is_received = tokio::select! {
            biased;
            _ = self.queue.recv_many(&mut batch, limit) => true,
            () = sleep(idle) => false,
            () = places.wanted(), if self.connection.is_some() => false,
        };
        if !is_received {
            self.connection = None;
            self.queue.recv_many(&mut batch, limit).await;
        }
        metrics::gauge!(series::WRITER_QUEUE_DEPTH).decrement(batch.len() as f64);
        (!batch.is_empty()).then_some(batch)
    }

    /// Adds those who have come since the batch was taken, and would have to wait for its end otherwise.
    pub(super) fn take_latecomers(&mut self, batch: &mut Vec<Pending>) {
        while batch.len() < self.settings().batch_limit
            && let Ok(command) = self.queue.try_recv()
        {
            metrics::gauge!(series::WRITER_QUEUE_DEPTH).decrement(1.0);
            if !command.is_abandoned() {
                batch.push(command);
            }
        }
    }

    async fn write(&mut self, mut commands: Vec<Pending>, may_grow: bool) {
        let open = self.connection.take().filter(|connection| !connection.session.is_closed());
        let connection = match open {
            Some(connection) => connection,
            None => match self.connect().await {
                Ok(connection) => connection,
                Err(failure) => return self.refuse_waiting(commands, &failure),
            },
        };
        match self.attempt(&connection.session, &mut commands, may_grow).await {
            Ok(Attempt::Settled(head, verdicts)) => {
                self.connection = Some(connection);
                for (command, verdict) in commands.into_iter().zip(verdicts) {
                    command.answer(verdict.answer(&head));
                }
            }
            Ok(Attempt::Unknown(after, verdicts)) => {
                tracing::warn!(ledger = %self.ledger, "it is not known whether a batch was written: asking again");
                let decided = commands.into_iter().zip(verdicts).collect();
                self.doubt = Some(Doubt { after, decided, since: Instant::now() });
            }
            Err(failure) => {
                let limit = self.settings().step_limit;
                let is_usable = !matches!(failure, Failure::Disconnected(_));
                if is_usable && within(limit, connection.session.roll_back()).await.is_ok() {
                    self.connection = Some(connection);
                }
                self.follow_up(commands, failure);
            }
        }
    }

    /// Connects, makes sure that nothing sent before can still be written, and settles a doubt if there is one.
    async fn connect(&mut self) -> Result<Connection, Failure> {
        let limit = self.settings().step_limit;
        let place = timeout(limit, self.shared.places.take()).await.ok().flatten();
        let place = place.ok_or_else(|| {
            Failure::Disconnected(format!("no other ledger gave its connection up within {limit:?}"))
        })?;
        let session = Session::open(&self.shared.database, limit)
            .await
            .map_err(|error| Failure::Disconnected(error.to_string()))?;
        check_timeline(&session, &self.shared.newest_timeline, limit).await?;
        let doubtful = self.doubt.as_ref().map(|doubt| &doubt.after);
        let clock = self.settings().process_clock;
        let found = cross(&session, self.ledger, doubtful, clock, limit).await?;
        if let Some(doubt) = self.doubt.take() {
            self.settle(doubt, found);
        }
        Ok(Connection::new(session, place))
    }

    fn settle(&mut self, doubt: Doubt, found: Found) {
        match found {
            Found::Committed => {
                for (command, verdict) in doubt.decided {
                    command.answer(verdict.answer(&doubt.after));
                }
                self.announce(&doubt.after);
            }
            Found::Absent => self.try_again(doubt.decided.into_iter().map(|(command, _)| command).collect()),
        }
    }

    async fn settle_doubt(&mut self) {
        match self.connect().await {
            Ok(connection) => self.connection = Some(connection),
            Err(failure) => {
                self.refuse_waiting(Vec::new(), &failure);
                let patience = self.settings().doubt_limit;
                if let Some(doubt) = self.doubt.take_if(|doubt| doubt.since.elapsed() > patience) {
                    let commands = doubt.decided.into_iter().map(|(command, _)| command);
                    answer_all(commands, SubmitError::OutcomeUnknown);
                    return;
                }
                sleep(self.settings().reconnect_pause).await;
            }
        }
    }

    /// The database cannot be worked with: nobody who waits now is helped by waiting longer.
    fn refuse_waiting(&mut self, commands: Vec<Pending>, failure: &Failure) {
        tracing::warn!(ledger = %self.ledger, error = %failure, "the ledger cannot be written to");
        let error = match failure {
            Failure::UnknownLedger => SubmitError::UnknownLedger,
            _ => SubmitError::Unavailable,
        };
        answer_all(commands, error);
        answer_all(self.again.drain(..).flatten(), error);
        while let Ok(command) = self.queue.try_recv() {
            metrics::gauge!(series::WRITER_QUEUE_DEPTH).decrement(1.0);
            command.answer(Err(error));
        }
    }

    /// What is to be done about commands of which nothing was written.
    fn follow_up(&mut self, mut commands: Vec<Pending>, failure: Failure) {
        match failure {
            Failure::Disconnected(_) | Failure::Refused(ErrorClass::Retry | ErrorClass::Connection, _) => {
                self.try_again(commands);
            }
            Failure::Refused(ErrorClass::Conflict, reason) => {
                tracing::warn!(ledger = %self.ledger, reason, "something was not as remembered: reading it again");
                self.cache.clear();
                if commands.iter().all(|command| command.attempts < MOST_ATTEMPTS) {
                    self.try_again(commands);
                } else {
                    self.isolate(commands, ErrorClass::Conflict, &reason);
                }
            }
            Failure::Refused(ErrorClass::Data, reason) => self.isolate(commands, ErrorClass::Data, &reason),
            Failure::Refused(ErrorClass::Resources, reason) => {
                tracing::warn!(ledger = %self.ledger, reason, "the database refuses work");
                answer_all(commands, SubmitError::Unavailable);
            }
            Failure::UnknownLedger => answer_all(commands, SubmitError::UnknownLedger),
            Failure::ClockSkew(clocks) => {
                tracing::error!(ledger = %self.ledger, ?clocks, "clocks are too far apart: nothing is written");
                answer_all(commands, SubmitError::ClockSkew);
            }
            Failure::NewerVersion(what) => {
                tracing::error!(ledger = %self.ledger, what, "a newer version has written: this one writes no more");
                self.shared.note_newer_version();
                answer_all(commands, SubmitError::NewerVersion);
            }
            Failure::Poisoned(index) => {
                commands.remove(index).answer(Err(SubmitError::Internal));
                self.again.push_front(commands);
            }
        }
    }

    /// Tries commands again before all others, unless that has been done often enough.
    fn try_again(&mut self, mut commands: Vec<Pending>) {
        for command in &mut commands {
            command.attempts += 1;
        }
        let (tired, others): (Vec<_>, Vec<_>) =
            commands.into_iter().partition(|command| command.attempts > MOST_ATTEMPTS);
        answer_all(tired, SubmitError::Unavailable);
        if !others.is_empty() {
            self.again.push_front(others);
        }
    }

    /// One of these commands cannot be written. The halves are tried apart, until it is alone.
    fn isolate(&mut self, mut commands: Vec<Pending>, class: ErrorClass, reason: &str) {
        if commands.len() == 1 {
            let class = class.as_str();
            tracing::error!(ledger = %self.ledger, class, reason, "the database refuses what a command leads to");
            return answer_all(commands, SubmitError::Internal);
        }
        let second = commands.split_off(commands.len() / 2);
        self.again.push_front(second);
        self.again.push_front(commands);
    }

    /// The head has moved, by a batch of this writer.
    pub(super) fn moved_to(&mut self, head: Head) {
        self.known = Some(head);
        self.announce(&head);
    }

    /// Tells the workers of this process.
    fn announce(&self, head: &Head) {
        let (ledger, position) = (self.ledger, head.position);
        self.shared.heads.send_modify(|heads| {
            heads.insert(ledger, position);
        });
    }

    /// Tells those who carry out effects that this batch ordered some.
    pub(super) fn announce_orders(&self, head: &Head) {
        let (ledger, position) = (self.ledger, head.position);
        self.shared.orders.send_modify(|orders| {
            orders.insert(ledger, position);
        });
    }
}
