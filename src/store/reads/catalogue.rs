//! Features and prices as they are set.

use tokio_postgres::{Row, types::Type};

use super::{ReadError, read};
use crate::{
    domain::{
        catalogue::{Feature, Price},
        ids::{FeatureKey, LedgerId, PriceId},
    },
    store::{pool::Database, rows::RowError, session::Statement},
};

macro_rules! page_of {
    ($table:literal, $key:literal) => {
        concat!(
            "SELECT state::text AS state FROM ",
            $table,
            " WHERE ledger_id = $1 AND ",
            $key,
            " COLLATE \"C\" > $2 ORDER BY ",
            $key,
            " COLLATE \"C\" LIMIT $3"
        )
    };
}

static LIST_FEATURES: Statement = Statement {
    name: "list_features",
    sql: page_of!("features", "feature"),
    parameters: &[Type::INT8, Type::TEXT, Type::INT8],
};

static LIST_PRICES: Statement = Statement {
    name: "list_prices",
    sql: page_of!("prices", "price"),
    parameters: &[Type::INT8, Type::TEXT, Type::INT8],
};

static READ_FEATURE: Statement = Statement {
    name: "read_feature",
    sql: "SELECT state::text AS state FROM features WHERE ledger_id = $1 AND feature = $2",
    parameters: &[Type::INT8, Type::TEXT],
};

static READ_PRICE: Statement = Statement {
    name: "read_price",
    sql: "SELECT state::text AS state FROM prices WHERE ledger_id = $1 AND price = $2",
    parameters: &[Type::INT8, Type::TEXT],
};

/// Up to `limit` features by name, of those after `after`.
///
/// # Errors
/// [`ReadError`].
pub async fn list_features(
    database: &Database,
    ledger: LedgerId,
    after: Option<&FeatureKey>,
    limit: i64,
) -> Result<Vec<Feature>, ReadError> {
    let after = after.map_or("", FeatureKey::as_str);
    let answers = read(database, ledger, &[(&LIST_FEATURES, &[&ledger.0, &after, &limit])]).await?;
    Ok(answers[0].iter().map(from_row).collect::<Result<_, _>>()?)
}

/// Up to `limit` prices by id, of those after `after`.
///
/// # Errors
/// [`ReadError`].
pub async fn list_prices(
    database: &Database,
    ledger: LedgerId,
    after: Option<&PriceId>,
    limit: i64,
) -> Result<Vec<Price>, ReadError> {
    let after = after.map_or("", PriceId::as_str);
    let answers = read(database, ledger, &[(&LIST_PRICES, &[&ledger.0, &after, &limit])]).await?;
    Ok(answers[0].iter().map(from_row).collect::<Result<_, _>>()?)
}

/// One feature.
///
/// # Errors
/// [`ReadError`].
pub async fn find_feature(
    database: &Database,
    ledger: LedgerId,
    feature: &FeatureKey,
) -> Result<Option<Feature>, ReadError> {
    let answers = read(database, ledger, &[(&READ_FEATURE, &[&ledger.0, &feature.as_str()])]).await?;
    Ok(answers[0].first().map(from_row).transpose()?)
}

/// One price.
///
/// # Errors
/// [`ReadError`].
pub async fn find_price(
    database: &Database,
    ledger: LedgerId,
    price: &PriceId,
) -> Result<Option<Price>, ReadError> {
    let answers = read(database, ledger, &[(&READ_PRICE, &[&ledger.0, &price.as_str()])]).await?;
    Ok(answers[0].first().map(from_row).transpose()?)
}

fn from_row<T: serde::de::DeserializeOwned>(row: &Row) -> Result<T, RowError> {
    serde_json::from_str(row.try_get("state")?)
        .map_err(|error| RowError::State { what: "catalogue", reason: error.to_string() })
}

pub(super) static STATEMENTS: &[&Statement] = &[&LIST_FEATURES, &LIST_PRICES, &READ_FEATURE, &READ_PRICE];
