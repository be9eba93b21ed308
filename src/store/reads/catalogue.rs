//! Features and prices as they are set.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Row, types::Type};

use super::{ReadError, read};
use crate::{
    domain::{
        amount::Currency,
        catalogue::{Feature, Price},
        ids::{FeatureKey, LedgerId, PriceId},
        settings::LedgerSettings,
    },
    store::{
        pool::Database,
        rows::RowError,
        session::{Statement, Value},
    },
};

static LIST_FEATURES: Statement = Statement {
    name: "list_features",
    sql: "SELECT state::text AS state FROM features
           WHERE ledger_id = $1 AND feature COLLATE \"C\" > $2
           ORDER BY feature COLLATE \"C\" LIMIT $3",
    parameters: &[Type::INT8, Type::TEXT, Type::INT8],
};

// A ledger has few prices: all are read and sorted.
static LIST_PRICES: Statement = Statement {
    name: "list_prices",
    sql: "SELECT p.state::text AS state
            FROM prices p,
                 LATERAL (SELECT (p.state->>'display_order')::int4, (p.state->>'money')::int8, p.price COLLATE \"C\")
                      AS place (display_order, money, price)
           WHERE p.ledger_id = $1
             AND ($2::bool IS NULL OR (p.state->>'active')::bool = $2)
             AND ($3::text IS NULL OR p.state->>'currency' = $3)
             AND ($4::int4 IS NULL OR (place.display_order, place.money, place.price) > ($4, $5, $6))
           ORDER BY place.display_order, place.money, place.price LIMIT $7",
    parameters: &[Type::INT8, Type::BOOL, Type::TEXT, Type::INT4, Type::INT8, Type::TEXT, Type::INT8],
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

static READ_SETTINGS: Statement = Statement {
    name: "read_ledger_settings",
    sql: "SELECT settings::text AS settings FROM ledger_settings WHERE ledger_id = $1",
    parameters: &[Type::INT8],
};

/// The ledger's settings; those of a new one if nothing was set yet.
///
/// # Errors
/// [`ReadError`].
pub async fn read_settings(database: &Database, ledger: LedgerId) -> Result<LedgerSettings, ReadError> {
    let answers = read(database, ledger, &[(&READ_SETTINGS, &[&ledger.0])]).await?;
    let Some(row) = answers[0].first() else { return Ok(LedgerSettings::default()) };
    let text: &str = row.try_get("settings").map_err(RowError::from)?;
    serde_json::from_str(text)
        .map_err(|error| RowError::State { what: "settings", reason: error.to_string() }.into())
}

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

/// Which prices are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PriceFilter {
    /// Only those that can be bought, or only those that cannot.
    pub active: Option<bool>,
    /// Only those of this currency.
    pub currency: Option<Currency>,
}

/// Where a price stands in a shop's list: by display order, then by what it costs, then by id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PricePlace(pub i32, pub i64, pub PriceId);

impl PricePlace {
    /// The place of a price.
    pub fn of(price: &Price) -> Self {
        Self(price.display_order, price.money, price.price.clone())
    }
}

/// Up to `limit` prices as a shop lists them, of those after `after`.
///
/// # Errors
/// [`ReadError`].
pub async fn list_prices(
    database: &Database,
    ledger: LedgerId,
    filter: PriceFilter,
    after: Option<&PricePlace>,
    limit: i64,
) -> Result<Vec<Price>, ReadError> {
    let currency = filter.currency.as_ref().map(Currency::as_str);
    let order = after.map(|PricePlace(order, ..)| *order);
    let money = after.map(|PricePlace(_, money, _)| *money);
    let price = after.map(|PricePlace(.., price)| price.as_str());
    let values: &[Value<'_>] = &[&ledger.0, &filter.active, &currency, &order, &money, &price, &limit];
    let answers = read(database, ledger, &[(&LIST_PRICES, values)]).await?;
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

pub(super) static STATEMENTS: &[&Statement] =
    &[&READ_SETTINGS, &LIST_FEATURES, &LIST_PRICES, &READ_FEATURE, &READ_PRICE];
