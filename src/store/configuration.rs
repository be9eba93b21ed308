//! A ledger's settings and catalogue, for those who do not write to it.

use futures_util::future::{join_all, join3};
use tokio_postgres::{Client, types::Type};

use super::{
    rows::RowError,
    scope,
    working_set::{CONFIGURATION, Loaded},
};
use crate::domain::{catalogue::Catalogue, ids::LedgerId, settings::LedgerSettings};

/// What operators set for a ledger.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Configuration {
    /// Its settings, units included.
    pub settings: LedgerSettings,
    /// Its features and prices.
    pub catalogue: Catalogue,
}

/// Settings and catalogue as of one moment.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn load_configuration(client: &Client, ledger: LedgerId) -> Result<Configuration, RowError> {
    let begin = scope::begin_reading(ledger);
    let statements = CONFIGURATION.iter().map(|(statement, _)| async move {
        client.query_typed(statement.sql, &[(&ledger.0, Type::INT8)]).await
    });
    let (begun, answers, ended) =
        join3(client.batch_execute(&begin), join_all(statements), client.batch_execute("COMMIT")).await;
    begun?;
    let mut loaded = Loaded::default();
    for (rows, (_, reader)) in answers.into_iter().zip(CONFIGURATION) {
        rows?.iter().try_for_each(|row| reader(&mut loaded, row))?;
    }
    ended?;
    Ok(Configuration { settings: loaded.set.settings, catalogue: loaded.set.catalogue })
}
