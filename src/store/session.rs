//! A connection of a writer's own, and the statements that it runs.
//!
//! Statements are prepared once for each connection; behind a pooler in transaction mode they travel unnamed with their
//! types instead. Several are sent together by polling their futures together: [`Pipeline`].

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::time::timeout;
use tokio_postgres::{
    Client, Error, Row,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{
    changes, heads,
    pool::{ConnectError, Database},
    working_set,
};

/// SQL with the types of its parameters. Its name is unique.
pub struct Statement {
    /// What it is called in logs and tests.
    pub name: &'static str,
    /// The text.
    pub sql: &'static str,
    /// The types of `$1`, `$2` …
    pub parameters: &'static [Type],
}

/// The value of a parameter.
pub type Value<'a> = &'a (dyn ToSql + Sync);

/// A connection of a writer's own.
pub struct Session {
    client: Client,
    /// By name; empty behind a pooler.
    prepared: HashMap<&'static str, tokio_postgres::Statement>,
}

impl Session {
    /// Connects, and prepares all [`statements`] within `limit`, unless a pooler stands between.
    ///
    /// # Errors
    /// When the database cannot be reached or does not answer in time, or a statement does not fit its schema.
    pub async fn open(database: &Database, limit: Duration) -> Result<Self, ConnectError> {
        let client = database.connect().await?;
        let mut prepared = HashMap::new();
        if !database.pgbouncer() {
            let statements: Vec<_> = statements().collect();
            let answers =
                statements.iter().map(|statement| client.prepare_typed(statement.sql, statement.parameters));
            let answers = timeout(limit, try_join_all(answers));
            let answers = answers.await.map_err(|_| ConnectError::TimedOut(limit))??;
            prepared.extend(statements.iter().map(|statement| statement.name).zip(answers));
        }
        Ok(Self { client, prepared })
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn rows(&self, statement: &'static Statement, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        match self.prepared.get(statement.name) {
            Some(prepared) => self.client.query(prepared, values).await,
            None => {
                let typed: Vec<_> =
                    values.iter().copied().zip(statement.parameters.iter().cloned()).collect();
                self.client.query_typed(statement.sql, &typed).await
            }
        }
    }

    /// Runs SQL without parameters and results, several statements if separated by semicolons.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// Ends the transaction without effect.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn roll_back(&self) -> Result<(), Error> {
        self.execute("ROLLBACK").await
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// Every statement of the write path.
pub fn statements() -> impl Iterator<Item = &'static Statement> {
    heads::STATEMENTS.iter().copied().chain(working_set::statements()).chain(changes::statements())
}

/// A statement of a pipeline: sent when it is first polled.
enum Step<'a> {
    Waits(Pin<Box<dyn Future<Output = Answer> + Send + 'a>>),
    Answered(Answer),
}

type Answer = Result<Vec<Row>, Error>;

impl Step<'_> {
    /// Whether the answer is there.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if let Self::Waits(step) = self
            && let Poll::Ready(answer) = step.as_mut().poll(context)
        {
            *self = Self::Answered(answer);
        }
        matches!(self, Self::Answered(_))
    }
}

/// Statements that are sent together and answered together, in order: one round trip. Those that are there can be sent
/// while others are still being made, so that the server has something to do meanwhile.
#[derive(Default)]
pub struct Pipeline<'a> {
    steps: Vec<Step<'a>>,
    /// How many were sent, or failed to be.
    sent: usize,
}

impl<'a> Pipeline<'a> {
    /// Adds SQL without parameters.
    pub fn execute(&mut self, session: &'a Session, sql: &'a str) {
        self.push(async move { session.execute(sql).await.map(|()| Vec::new()) });
    }

    /// Adds a statement.
    pub fn rows(&mut self, session: &'a Session, statement: &'static Statement, values: Vec<Value<'a>>) {
        self.push(async move { session.rows(statement, &values).await });
    }

    /// Adds what sends one statement when it is first polled, and waits for its rows.
    pub(super) fn push(&mut self, step: impl Future<Output = Answer> + Send + 'a) {
        self.steps.push(Step::Waits(Box::pin(step)));
    }

    /// Sends what was added since it last sent something. Waits for no answer.
    pub async fn send(&mut self) {
        let unsent = &mut self.steps[self.sent..];
        poll_fn(|context| {
            for step in unsent.iter_mut() {
                step.poll(context);
            }
            Poll::Ready(())
        })
        .await;
        self.sent = self.steps.len();
    }

    /// Sends everything and reads every answer to its end.
    ///
    /// # Errors
    /// The first error; not one that only says that the transaction had failed before.
    pub async fn run(self) -> Result<Vec<Vec<Row>>, Error> {
        first_cause(self.answers().await)
    }

    /// Sends everything with a COMMIT behind it, and `verify` behind that, which must be good even if others fail.
    ///
    /// A statement that fails on this side is not sent at all, and a COMMIT behind it would commit the others: it is
    /// replaced by a ROLLBACK then.
    ///
    /// Returns the first error, if there was one, and the rows of `verify`.
    pub async fn commit(
        mut self,
        session: &'a Session,
        verify: &'static Statement,
        values: Vec<Value<'a>>,
    ) -> (Result<(), Error>, Result<Vec<Row>, Error>) {
        self.send().await;
        let has_failed = self.steps.iter().any(|step| matches!(step, Step::Answered(Err(_))));
        self.execute(session, if has_failed { "ROLLBACK" } else { "COMMIT" });
        self.rows(session, verify, values);
        let mut answers = self.answers().await;
        let verified = answers.pop().unwrap_or_else(|| Ok(Vec::new()));
        (first_cause(answers).map(|_| ()), verified)
    }

    /// Waits for all steps. The first time they are polled in their order, which is the order in which they are sent.
    async fn answers(mut self) -> Vec<Answer> {
        poll_fn(|context| {
            // Every step is polled, also behind one that waits.
            let waiting = self.steps.iter_mut().filter_map(|step| (!step.poll(context)).then_some(()));
            if waiting.count() > 0 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        let answer = |step| match step {
            Step::Answered(answer) => Some(answer),
            Step::Waits(_) => None,
        };
        self.steps.into_iter().filter_map(answer).collect()
    }
}

fn first_cause(answers: Vec<Answer>) -> Result<Vec<Vec<Row>>, Error> {
    let is_consequence = |error: &Error| error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    let mut rows = Vec::with_capacity(answers.len());
    let mut consequence = None;
    for answer in answers {
        match answer {
            Ok(answer) => rows.push(answer),
            Err(error) if is_consequence(&error) => consequence = consequence.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    consequence.map_or(Ok(rows), Err)
}
