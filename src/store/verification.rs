//! Reading a ledger as an auditor does: every event, and every balance counted once more.
//!
//! The balances are recounted by the `balances` projection's own SQL, run on temporary tables of a session of its own:
//! nothing that the service has written is trusted, and nothing is written. The state that commands are decided on is made
//! again from the events by the rules, on temporary tables as well. All transactions are short and read one
//! page each; a page of accounts is compared in the transaction that recounts the last events, so that a ledger can be
//! verified while it is written to.

mod accounts;
mod configuration;
mod notes;
mod projections;
mod replay;
mod requests;
mod state;

pub use accounts::{AccountPage, RecountedAccount, StoredAccount};
pub use projections::{Refolded, Refolder, RowsCompared, Served};
pub use requests::ComparedRequests;
pub use state::{Compared, ComparedPage, Differing};

use time::OffsetDateTime;
use tokio_postgres::{Client, Error, Row, types::Type};
use uuid::Uuid;

use super::{
    events::{event_columns, event_from_row},
    pool::{ConnectError, Database},
    projections::{
        definition::Definition,
        read::{Serving, serving},
    },
    rows::RowError,
    scope::{self, Parameter},
};
use crate::domain::{
    Event,
    command::Note,
    ids::{LedgerId, Position},
};

/// A session in which balances are recounted.
pub struct Recount {
    client: Client,
    balances: Definition,
    /// The ledger in which an event could not be played: those after it are not played either.
    stuck: Option<LedgerId>,
}

/// Why a ledger cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No session.
    #[error("the database cannot be reached")]
    Connect(#[from] ConnectError),
    /// The database refused.
    #[error("the database refused a step of the verification")]
    Database(#[from] Error),
    /// What a step has kept for the next one cannot be read.
    #[error("the state that events lead to cannot be kept")]
    State(#[from] RowError),
    /// A statement over this event alone was ended by its time limit.
    #[error("to fold the event at position {position} takes too long")]
    TooLong {
        /// The event.
        position: Position,
        /// The statement's end.
        source: Error,
    },
    /// Temporary tables need a session of one's own.
    #[error("verifying needs a direct connection, not one through PgBouncer: set DATABASE_DIRECT_URL")]
    Pooled,
}

/// A page of events with everything that is stored beside them. Positions run from `after + 1` to `until`.
#[derive(Default)]
pub struct EventPage {
    /// The events that there are.
    pub events: Vec<StoredEvent>,
    /// Their notes, those of erased accounts excepted.
    pub notes: Vec<StoredNote>,
    /// Events whose balance is not the one before plus their amount.
    pub wrong_balances: Vec<Position>,
    /// Events whose key another event has as well.
    pub shared_keys: Vec<Position>,
    /// The event that cannot follow from those before it: neither it nor those after it are in the state.
    pub stuck: Option<Position>,
    /// The last position of the page, whether there is an event or not.
    pub until: i64,
    /// The ledger's last position, by its head.
    pub head: i64,
}

/// An event as it is stored.
pub struct StoredEvent {
    /// Its place.
    pub position: i64,
    /// The event, if this version can read it.
    pub event: Result<Event, RowError>,
    /// How many events its command has, on the command's first.
    pub command_size: Option<i32>,
    /// The hash that its key is found by.
    pub key_hash: Option<Vec<u8>>,
    /// Whether the request that the key came with is recorded.
    pub has_fingerprint: bool,
}

/// A note as it is stored.
pub struct StoredNote {
    /// Its event.
    pub position: i64,
    /// What makes its hash unguessable.
    pub salt: Vec<u8>,
    /// The text, if it is readable.
    pub content: Result<Note, RowError>,
}

/// The end of a ledger, by its head and by its events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The head's position.
    pub head: i64,
    /// The head's batch.
    pub head_batch: Uuid,
    /// The head's moment.
    pub head_recorded_at: OffsetDateTime,
    /// The last event's position; 0 without any.
    pub last: i64,
    /// The last event's batch.
    pub last_batch: Option<Uuid>,
    /// The last event's moment.
    pub last_recorded_at: Option<OffsetDateTime>,
    /// How far the ledger's clock is ahead, in seconds; none if it cannot be moved.
    pub clock_ahead: Option<i64>,
    /// Whether the index that keeps keys unique is in order.
    pub key_index_is_valid: bool,
}

/// What is compared at the end.
pub struct Rest {
    /// Which of the settings, features, prices and API keys are not what their events say.
    pub configuration: Vec<String>,
    /// The first note of each account that is gone although the account was not erased after it, and how many are.
    pub missing_notes: Vec<(Position, i64)>,
}

/// What became of comparing a part of the projection.
pub enum ProjectionPage {
    /// What served is of this version no more, or nothing serves at all.
    Gone,
    /// It was compared.
    Compared {
        /// How many rows.
        rows: i64,
        /// Account and unit of rows that differ, or that only one side has.
        differing: Vec<(i64, String)>,
        /// How far the projection is.
        position: i64,
    },
}

impl Recount {
    /// Opens a session with temporary tables as the projection makes them.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn open(database: &Database, balances: Definition) -> Result<Self, VerifyError> {
        if database.pgbouncer() {
            return Err(VerifyError::Pooled);
        }
        let client = database.connect().await?;
        let path = "SELECT set_config('search_path', 'pg_temp, ' || current_setting('search_path'), false)";
        client.batch_execute(path).await?;
        for statement in &balances.tables {
            client.batch_execute(statement).await?;
        }
        for tables in
            [accounts::TABLES, requests::TABLES, configuration::TABLES, notes::TABLES, replay::TABLES]
        {
            client.batch_execute(tables).await?;
        }
        Ok(Self { client, balances, stuck: None })
    }

    /// Reads and recounts the next events after `after`: at most `limit`.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn advance(
        &mut self,
        ledger: LedgerId,
        after: i64,
        limit: i64,
    ) -> Result<EventPage, VerifyError> {
        self.begin(ledger).await?;
        let head = self.head(ledger).await?;
        let page = self.recount(ledger, after, head.min(after + limit), head).await?;
        self.end().await?;
        Ok(page)
    }

    /// Reads the head and the last event, as of one moment.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn ends(&self, ledger: LedgerId) -> Result<Ends, VerifyError> {
        let statement = "
            SELECT h.position, h.batch_id, h.recorded_at, h.clock_ahead,
                   COALESCE(e.position, 0) AS last, e.batch_id AS last_batch, e.recorded_at AS last_recorded_at,
                   COALESCE((SELECT i.indisunique AND i.indisvalid AND i.indisready FROM pg_index i
                              WHERE i.indexrelid = to_regclass('events_key')), false) AS key_index_is_valid
              FROM ledger_heads h
              LEFT JOIN LATERAL (SELECT e.position, e.batch_id, e.recorded_at FROM events e
                                  WHERE e.ledger_id = $1 ORDER BY e.position DESC LIMIT 1) e ON true
             WHERE h.ledger_id = $1";
        self.begin(ledger).await?;
        let row = self.client.query_typed_one(statement, &[(&ledger.0, Type::INT8)]).await?;
        self.end().await?;
        Ok(Ends {
            head: row.try_get("position")?,
            head_batch: row.try_get("batch_id")?,
            head_recorded_at: row.try_get("recorded_at")?,
            last: row.try_get("last")?,
            last_batch: row.try_get("last_batch")?,
            last_recorded_at: row.try_get("last_recorded_at")?,
            clock_ahead: row.try_get("clock_ahead")?,
            key_index_is_valid: row.try_get("key_index_is_valid")?,
        })
    }

    /// How far the serving `balances` are; 0 if nothing serves.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn projected(&self, ledger: LedgerId) -> Result<i64, VerifyError> {
        self.begin(ledger).await?;
        let serving = serving(&self.client, ledger, &self.balances.name).await?;
        self.end().await?;
        Ok(serving.map_or(0, |serving| serving.position.0))
    }

    /// Compares the serving `balances` of the accounts numbered in `(from, to]` with the recount. `after` is how far
    /// the recount is, which is taken to where the projection is; the events on the way are returned.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn compare_projection(
        &mut self,
        ledger: LedgerId,
        after: i64,
        (from, to): (i64, i64),
    ) -> Result<(EventPage, ProjectionPage), VerifyError> {
        self.begin(ledger).await?;
        let head = self.head(ledger).await?;
        let compared = match serving(&self.client, ledger, &self.balances.name).await? {
            Some(serving) if serving.version == self.balances.version => {
                let page = self.recount(ledger, after, serving.position.0.max(after), head).await?;
                (page, self.differing_rows(ledger, &serving, from, to).await?)
            }
            _ => (self.recount(ledger, after, after, head).await?, ProjectionPage::Gone),
        };
        self.end().await?;
        Ok(compared)
    }

    /// Reads the next accounts, and what was recounted of them, as of one moment. `after` is how far the recount is,
    /// which is taken to the head; the events on the way are returned.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn accounts(
        &mut self,
        ledger: LedgerId,
        after: i64,
        after_number: i64,
        limit: i64,
    ) -> Result<(EventPage, AccountPage), VerifyError> {
        let events = self.recount_to_head(ledger, after).await?;
        let page = accounts::page(&self.client, ledger.0, after_number, limit).await?;
        self.end().await?;
        Ok((events, page))
    }

    /// Compares the payments behind one with what the events say, in their order; otherwise as [`Self::accounts`].
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn payments(
        &mut self,
        ledger: LedgerId,
        after: i64,
        after_payment: &str,
    ) -> Result<(EventPage, ComparedPage<String>), VerifyError> {
        let events = self.recount_to_head(ledger, after).await?;
        let page = state::payments(&self.client, ledger.0, after_payment).await?;
        self.end().await?;
        Ok((events, page))
    }

    /// Compares the lots with rows of their own behind one with what the events say, in their order; otherwise as
    /// [`Self::accounts`].
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn lots(
        &mut self,
        ledger: LedgerId,
        after: i64,
        after_lot: Uuid,
    ) -> Result<(EventPage, ComparedPage<Uuid>), VerifyError> {
        let events = self.recount_to_head(ledger, after).await?;
        let page = state::lots(&self.client, ledger.0, after_lot).await?;
        self.end().await?;
        Ok((events, page))
    }

    /// Looks at what is left: which of the settings, features, prices and API keys are not what their events say, and
    /// which notes are gone; otherwise as [`Self::accounts`].
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn rest(&mut self, ledger: LedgerId, after: i64) -> Result<(EventPage, Rest), VerifyError> {
        let events = self.recount_to_head(ledger, after).await?;
        let configuration = configuration::differing(&self.client, ledger.0).await?;
        let missing_notes = notes::missing(&self.client, ledger.0).await?;
        self.end().await?;
        Ok((events, Rest { configuration, missing_notes }))
    }

    /// Begins a transaction and takes the recount, which is at `after`, to the head in it.
    async fn recount_to_head(&mut self, ledger: LedgerId, after: i64) -> Result<EventPage, VerifyError> {
        self.begin(ledger).await?;
        let head = self.head(ledger).await?;
        self.recount(ledger, after, head, head).await
    }

    async fn begin(&self, ledger: LedgerId) -> Result<(), Error> {
        self.client.batch_execute(&scope::begin_reading(ledger)).await
    }

    async fn end(&self) -> Result<(), Error> {
        self.client.batch_execute("COMMIT").await
    }

    async fn rows(&self, statement: &str, ledger: LedgerId, range: [i64; 2]) -> Result<Vec<Row>, Error> {
        rows(&self.client, statement, ledger.0, range).await
    }

    async fn head(&self, ledger: LedgerId) -> Result<i64, Error> {
        let statement = "SELECT position FROM ledger_heads WHERE ledger_id = $1";
        let row = self.client.query_typed_opt(statement, &[(&ledger.0, Type::INT8)]).await?;
        row.map_or(Ok(0), |row| row.try_get(0))
    }

    /// Reads the events in `(after, until]` and folds them into the temporary tables.
    async fn recount(
        &mut self,
        ledger: LedgerId,
        after: i64,
        until: i64,
        head: i64,
    ) -> Result<EventPage, VerifyError> {
        let mut page = EventPage { until, head, ..EventPage::default() };
        if until <= after {
            return Ok(page);
        }
        let range = [after, until];
        page.events = collect(self.rows(EVENTS, ledger, range).await?, StoredEvent::from_row)?;
        page.notes = collect(self.rows(NOTES, ledger, range).await?, StoredNote::from_row)?;
        page.shared_keys = collect(self.rows(SHARED_KEYS, ledger, range).await?, position)?;
        page.wrong_balances = collect(self.rows(WRONG_BALANCES, ledger, range).await?, position)?;
        if page.wrong_balances.is_empty() {
            let apply = self.balances.apply.iter().map(String::as_str).chain([accounts::COUNT]);
            for statement in apply.chain(requests::COUNT).chain(configuration::COUNT).chain(notes::COUNT) {
                self.rows(statement, ledger, range).await?;
            }
            if self.stuck != Some(ledger) {
                page.stuck = replay::play(&self.client, ledger.0, &page.events).await?;
                self.stuck = page.stuck.map(|_| ledger);
            }
        }
        Ok(page)
    }

    async fn differing_rows(
        &self,
        ledger: LedgerId,
        serving: &Serving,
        from: i64,
        to: i64,
    ) -> Result<ProjectionPage, Error> {
        let columns = "account_number, unit, net, held, disputed, position";
        let part = "WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3";
        let statement = format!(
            "SELECT account_number, unit,
                    (p.net, p.held, p.disputed, p.position) IS DISTINCT FROM (r.net, r.held, r.disputed, r.position)
               FROM (SELECT {columns} FROM {}.balances {part}) p
               FULL JOIN (SELECT {columns} FROM pg_temp.balances {part}) r USING (account_number, unit)
              ORDER BY account_number, unit",
            serving.schema
        );
        let rows = self.rows(&statement, ledger, [from, to]).await?;
        let mut differing = Vec::new();
        for row in &rows {
            if row.try_get(2)? {
                differing.push((row.try_get(0)?, row.try_get(1)?));
            }
        }
        let position = serving.position.0;
        Ok(ProjectionPage::Compared { rows: rows.len() as i64, differing, position })
    }
}

const EVENTS: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", e.command_size, e.key_hash, e.fingerprint IS NOT NULL AS has_fingerprint
       FROM events e
      WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 ORDER BY e.position"
);

const NOTES: &str = "
    SELECT n.position, n.salt, n.content::text AS content FROM event_notes n
     WHERE n.ledger_id = $1 AND n.position > $2 AND n.position <= $3 ORDER BY n.position";

const SHARED_KEYS: &str = "
    SELECT DISTINCT e.position
      FROM events e JOIN events o ON o.ledger_id = e.ledger_id AND o.key_hash = e.key_hash AND o.position <> e.position
     WHERE e.ledger_id = $1 AND o.ledger_id = $1 AND e.position > $2 AND e.position <= $3
       AND e.key_hash IS NOT NULL AND o.key_hash IS NOT NULL
     ORDER BY e.position";

const WRONG_BALANCES: &str = "
    SELECT s.position
      FROM (SELECT e.position, e.account_number, e.unit, e.balance_after,
                   sum(e.amount) OVER (PARTITION BY e.account_number, e.unit ORDER BY e.position) AS moved
              FROM events e
             WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.unit IS NOT NULL) s
     WHERE s.balance_after <> s.moved
           + COALESCE((SELECT b.net FROM pg_temp.balances b
                        WHERE b.ledger_id = $1 AND b.account_number = s.account_number AND b.unit = s.unit), 0)
     ORDER BY s.position";

/// Runs a statement of the ledger `$1` and of what lies in the range from `$2`, exclusively, to `$3`.
async fn rows(client: &Client, statement: &str, ledger: i64, range: [i64; 2]) -> Result<Vec<Row>, Error> {
    let parameters: [Parameter<'_>; 3] =
        [(&ledger, Type::INT8), (&range[0], Type::INT8), (&range[1], Type::INT8)];
    client.query_typed(statement, &parameters).await
}

fn collect<T>(rows: Vec<Row>, read: impl Fn(&Row) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    rows.iter().map(read).collect()
}

fn position(row: &Row) -> Result<Position, Error> {
    Ok(Position(row.try_get(0)?))
}

impl StoredEvent {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            position: row.try_get("position")?,
            event: event_from_row(row),
            command_size: row.try_get("command_size")?,
            key_hash: row.try_get("key_hash")?,
            has_fingerprint: row.try_get("has_fingerprint")?,
        })
    }
}

impl StoredNote {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let content: &str = row.try_get("content")?;
        let content = serde_json::from_str(content)
            .map_err(|error| RowError::State { what: "note", reason: error.to_string() });
        Ok(Self { position: row.try_get("position")?, salt: row.try_get("salt")?, content })
    }
}
