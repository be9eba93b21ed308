//! Folding a projection once more, and comparing every row of its tables.
//!
//! The projection's own SQL runs on temporary tables, up to where the serving build is. Then its tables are compared with
//! these page by page, by primary key, each page in the transaction that folds what has come meanwhile: the service may go
//! on writing.

use tokio_postgres::{Client, Error, Row, types::Type};

use super::VerifyError;
use crate::{
    domain::ids::{LedgerId, Position},
    store::{
        pool::Database,
        projections::{
            definition::Definition,
            fold::{Deadline, is_of_the_events, is_out_of_time, page_settings},
            read::{Halt, Serving, serving},
        },
        scope::{self, Parameter},
    },
};

/// Events in a page, and rows of a table that are compared at a time.
const EVENTS: i64 = 5_000;
const ROWS: i64 = 2_000;

/// How often a page of a table is compared at most, when the service goes on writing and that takes too long.
const ATTEMPTS: u32 = 8;

/// How many seconds the projectors may take to begin with a ledger or a build, or to go on: they look around every second,
/// and take longer only where there are very many ledgers.
const LOOK_AROUND_SECONDS: f64 = 60.0;

/// A session in which projections are folded once more, one after another.
pub struct Refolder(Client);

/// One projection of one ledger that is folded once more.
pub struct Refolding<'a> {
    client: &'a Client,
    definition: &'a Definition,
    ledger: LedgerId,
    tables: Vec<Table>,
    /// How far it is folded.
    position: i64,
    /// Events in the next page.
    size: i64,
}

/// A table of the projection.
struct Table {
    name: String,
    columns: Vec<String>,
    /// The columns of its primary key after `ledger_id`, and their types.
    key: Vec<(String, String)>,
}

/// How the serving build is before it is compared.
pub enum Served {
    /// Nothing serves the ledger, which has no events.
    Empty,
    /// There is no build of it.
    NotInstalled,
    /// Nothing serves the ledger yet, which is young, or the build is.
    NotYet,
    /// Nothing serves the ledger, and something must: ledger and build have been there for long.
    Lost,
    /// It is of another version than the SQL at hand.
    OtherVersion(String),
    /// It can be compared.
    Comparable {
        /// How far it is.
        position: i64,
        /// The ledger's last position.
        head: i64,
        /// Whether it should have come further: the next event has been there for long.
        is_late: bool,
    },
}

/// Where the comparison of a table goes on: the primary key of the last row, as text.
pub type After = Option<Vec<String>>;

/// What came of comparing a page of a table.
pub enum RowsCompared {
    /// Its rows were compared.
    Rows(ComparedRows),
    /// What served is of this version no more.
    TakenOver,
    /// The event at this position, which has come meanwhile, cannot be folded.
    Poison(Position, String),
}

/// A page of a table that was compared.
pub struct ComparedRows {
    /// How many rows either side has.
    pub rows: usize,
    /// The primary keys of rows that differ, or that only one side has.
    pub differing: Vec<String>,
    /// Where the next page begins; none after the last one.
    pub next: After,
}

/// What came of folding one page.
pub enum Refolded {
    /// Everything is folded up to this position, which may be short of the goal.
    Until(i64),
    /// The event at this position cannot be folded.
    Poison(Position, String),
}

impl Refolder {
    /// Opens the session.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn open(database: &Database) -> Result<Self, VerifyError> {
        let client = database.connect().await?;
        let path = "SELECT set_config('search_path', 'pg_temp, ' || current_setting('search_path'), false)";
        client.batch_execute(path).await?;
        Ok(Self(client))
    }

    /// Makes temporary tables as the projection makes them, in place of those of the projection before.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn refold<'a>(
        &'a mut self,
        definition: &'a Definition,
        ledger: LedgerId,
    ) -> Result<Refolding<'a>, VerifyError> {
        let client = &self.0;
        client.batch_execute("DISCARD TEMP").await?;
        for statement in &definition.tables {
            client.batch_execute(statement).await?;
        }
        let tables = tables(client).await?;
        Ok(Refolding { client, definition, ledger, tables, position: 0, size: EVENTS })
    }

    /// How the serving build of a projection is.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn served(&self, definition: &Definition, ledger: LedgerId) -> Result<Served, VerifyError> {
        let client = &self.0;
        client.batch_execute(&scope::begin_reading(ledger)).await?;
        let serving = serving(client, ledger, &definition.name).await?;
        let parameters: [Parameter<'_>; 4] = [
            (&ledger.0, Type::INT8),
            (&definition.name, Type::TEXT),
            (&LOOK_AROUND_SECONDS, Type::FLOAT8),
            (&serving.as_ref().map_or(0, |serving| serving.position.0), Type::INT8),
        ];
        let row = client.query_typed_opt(SURROUNDINGS, &parameters).await?;
        client.batch_execute("COMMIT").await?;
        let Some(row) = row else { return Ok(Served::Empty) };
        let head: i64 = row.try_get("head")?;
        Ok(match serving {
            None if head == 0 => Served::Empty,
            None if !row.try_get::<_, bool>("is_installed")? => Served::NotInstalled,
            None if row.try_get("is_overdue")? => Served::Lost,
            None => Served::NotYet,
            Some(serving) if serving.version != definition.version => Served::OtherVersion(serving.version),
            Some(serving) => {
                Served::Comparable { position: serving.position.0, head, is_late: row.try_get("is_late")? }
            }
        })
    }

    /// Which projections have stopped in the ledger, whether their SQL is at hand or not.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn halted(&self, ledger: LedgerId) -> Result<Vec<(String, Halt)>, VerifyError> {
        let statement = "
            SELECT projection, halted_position, halted_category, halted_reason FROM projection_cursors
             WHERE ledger_id = $1 AND is_serving AND halted_at IS NOT NULL ORDER BY projection";
        let begin = scope::begin_reading(ledger);
        let parameters: [Parameter<'_>; 1] = [(&ledger.0, Type::INT8)];
        let rows = scope::within(&self.0, &begin, self.0.query_typed(statement, &parameters)).await?;
        let halted = |row: &Row| {
            let halt = Halt {
                position: Position(row.try_get("halted_position")?),
                category: row.try_get("halted_category")?,
                reason: row.try_get("halted_reason")?,
            };
            Ok((row.try_get("projection")?, halt))
        };
        rows.iter().map(halted).collect()
    }

    /// The projections that the database follows and that are none of these.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn others(&self, definitions: &[&Definition]) -> Result<Vec<String>, VerifyError> {
        let known: Vec<&str> = definitions.iter().map(|definition| definition.name.as_str()).collect();
        let statement = "SELECT DISTINCT projection FROM projection_versions
                          WHERE projection <> ALL ($1) AND retired_at IS NULL ORDER BY 1";
        let rows = self.0.query_typed(statement, &[(&known, Type::TEXT_ARRAY)]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>()?)
    }
}

/// What tells whether the projection `$2` has to serve the ledger by now, and to be beyond position `$4`. That is seen by
/// the ledger's own age: the clock of a test ledger may be ahead.
const SURROUNDINGS: &str = "
    SELECT GREATEST(h.position, (SELECT max(e.position) FROM events e WHERE e.ledger_id = $1)) AS head, v.made_at IS NOT NULL AS is_installed,
           COALESCE(GREATEST(l.created_at, v.made_at) < o.at, false) AS is_overdue,
           EXISTS (SELECT FROM events e WHERE e.ledger_id = $1 AND e.position = $4 + 1 AND e.recorded_at < o.at) AS is_late
      FROM ledgers l JOIN ledger_heads h ON h.ledger_id = l.ledger_id,
           LATERAL (SELECT min(v.made_at) AS made_at FROM projection_versions v
                     WHERE v.projection = $2 AND v.for_all) v,
           LATERAL (SELECT clock_timestamp() - make_interval(secs => $3) AS at) o
     WHERE l.ledger_id = $1 AND h.ledger_id = $1";

impl Refolding<'_> {
    /// How far it is folded.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The names of its tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| table.name.as_str())
    }

    /// Folds a page of the events up to `goal`. As in the service, an event that cannot be folded is searched by halving
    /// the page, and passed over by statistics; pages that take too long are halved too.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn advance(&mut self, goal: i64) -> Result<Refolded, VerifyError> {
        while self.position < goal {
            let until = goal.min(self.position + self.size);
            let deadline = Deadline::of_a_page();
            self.begin().await?;
            match self.fold(until, deadline).await {
                Ok(()) => {
                    self.end().await?;
                    self.position = until;
                    self.size = (self.size * 2).min(EVENTS);
                    break;
                }
                Err(error) if is_of_the_events(&error) || is_out_of_time(&error) => {
                    self.client.batch_execute("ROLLBACK").await?;
                    if until > self.position + 1 {
                        self.size = (until - self.position) / 2;
                    } else if is_out_of_time(&error) {
                        return Err(VerifyError::TooLong { position: Position(until), source: error });
                    } else if self.definition.parks {
                        self.position = until;
                        break;
                    } else {
                        let reason = error.as_db_error().map_or("unknown", |refusal| refusal.message());
                        return Ok(Refolded::Poison(Position(until), reason.to_owned()));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Refolded::Until(self.position))
    }

    /// Compares the rows of a table after a key, having folded what has come meanwhile. The last page of that is folded in
    /// the transaction that compares; what is more than a page, or takes too long there, is folded in pages before.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn compare(&mut self, table: usize, after: &After) -> Result<RowsCompared, VerifyError> {
        let mut attempts = 1;
        loop {
            let deadline = Deadline::of_a_page();
            self.begin().await?;
            let serving = serving(self.client, self.ledger, &self.definition.name).await?;
            let Some(serving) = serving.filter(|serving| serving.version == self.definition.version) else {
                self.end().await?;
                return Ok(RowsCompared::TakenOver);
            };
            let goal = serving.position.0;
            let come = goal - self.position;
            if come <= self.size {
                match self.compare_at(&serving, deadline, table, after).await {
                    Ok(rows) => {
                        self.end().await?;
                        self.position = self.position.max(goal);
                        return self.tables[table].compared(&rows).map(RowsCompared::Rows);
                    }
                    // With nothing to fold in between the next attempt may keep to the time, unless it never does.
                    Err(error)
                        if come > 0
                            && attempts < ATTEMPTS
                            && (is_of_the_events(&error) || is_out_of_time(&error)) =>
                    {
                        attempts += 1;
                        self.size = (come / 2).max(1);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            self.client.batch_execute("ROLLBACK").await?;
            while self.position < goal {
                if let Refolded::Poison(position, reason) = self.advance(goal).await? {
                    return Ok(RowsCompared::Poison(position, reason));
                }
            }
        }
    }

    /// The first rows of a table after a key on both sides, once everything is folded that the serving build has.
    async fn compare_at(
        &self,
        serving: &Serving,
        deadline: Deadline,
        table: usize,
        after: &After,
    ) -> Result<Vec<Row>, Error> {
        self.fold(serving.position.0, deadline).await?;
        let table = &self.tables[table];
        let statement = table.comparison(&serving.schema, after.is_some());
        let no_key = Vec::new();
        let key = after.as_ref().unwrap_or(&no_key);
        let parameters: [Parameter<'_>; 3] =
            [(&self.ledger.0, Type::INT8), (key, Type::TEXT_ARRAY), (&ROWS, Type::INT8)];
        deadline.keep(self.client, self.client.query_typed(&statement, &parameters)).await
    }

    async fn begin(&self) -> Result<(), Error> {
        let begin = format!("{}; {}", scope::begin_reading(self.ledger), page_settings());
        self.client.batch_execute(&begin).await
    }

    async fn end(&self) -> Result<(), Error> {
        self.client.batch_execute("COMMIT").await
    }

    async fn fold(&self, until: i64, deadline: Deadline) -> Result<(), Error> {
        if until > self.position {
            let parameters: [Parameter<'_>; 3] =
                [(&self.ledger.0, Type::INT8), (&self.position, Type::INT8), (&until, Type::INT8)];
            for statement in &self.definition.apply {
                deadline.keep(self.client, self.client.execute_typed(statement, &parameters)).await?;
            }
        }
        Ok(())
    }
}

impl Table {
    /// The first rows after a key that either side has, in the key's order, and whether they differ.
    fn comparison(&self, schema: &str, goes_on: bool) -> String {
        let Self { name, columns, key } = self;
        let columns = columns.join(", ");
        let names: Vec<&str> = key.iter().map(|(column, _)| column.as_str()).collect();
        let order = ["ledger_id"].into_iter().chain(names.iter().copied()).collect::<Vec<_>>().join(", ");
        let given = key.iter().enumerate();
        let given: Vec<String> =
            given.map(|(place, (_, kind))| format!("($2)[{}]::{kind}", place + 1)).collect();
        let after = if goes_on && !key.is_empty() {
            format!("AND ({}) > ({})", names.join(", "), given.join(", "))
        } else {
            String::new()
        };
        let texts: Vec<String> = names.iter().map(|column| format!("{column}::text")).collect();
        let part = |schema: &str| {
            format!(
                "(SELECT {columns} FROM {schema}.{name} WHERE ledger_id = $1 {after} ORDER BY {order} LIMIT $3)"
            )
        };
        format!(
            "SELECT ARRAY[{}]::text[] AS key, p::text IS DISTINCT FROM r::text AS differs
               FROM {} p FULL JOIN {} r USING ({order})
              ORDER BY {order} LIMIT $3",
            texts.join(", "),
            part(schema),
            part("pg_temp"),
        )
    }

    fn compared(&self, rows: &[Row]) -> Result<ComparedRows, VerifyError> {
        let mut differing = Vec::new();
        let mut last = None;
        for row in rows {
            let key: Vec<String> = row.try_get("key")?;
            if row.try_get("differs")? {
                let parts = self.key.iter().zip(&key);
                let parts = parts.map(|((column, _), value)| format!("{} {value}", column.trim_matches('"')));
                differing.push(parts.collect::<Vec<_>>().join(", "));
            }
            last = Some(key);
        }
        let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= ROWS) && !self.key.is_empty();
        Ok(ComparedRows { rows: rows.len(), differing, next: last.filter(|_| is_full) })
    }
}

/// The temporary tables, all of them the projection's.
async fn tables(client: &Client) -> Result<Vec<Table>, Error> {
    let statement = "
        SELECT quote_ident(c.relname) AS name,
               ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
               ARRAY(SELECT quote_ident(a.attname) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (column_number, place)
                       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.column_number
                      WHERE a.attname <> 'ledger_id' ORDER BY k.place) AS key,
               ARRAY(SELECT format_type(a.atttypid, a.atttypmod)
                       FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (column_number, place)
                       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.column_number
                      WHERE a.attname <> 'ledger_id' ORDER BY k.place) AS types
          FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
         WHERE c.relnamespace = pg_my_temp_schema() AND c.relkind = 'r' ORDER BY c.relname";
    let rows = client.query_typed(statement, &[]).await?;
    let table = |row: &Row| {
        let (names, types): (Vec<String>, Vec<String>) = (row.try_get("key")?, row.try_get("types")?);
        Ok(Table {
            name: row.try_get("name")?,
            columns: row.try_get("columns")?,
            key: names.into_iter().zip(types).collect(),
        })
    };
    rows.iter().map(table).collect()
}
