//! Loads settings and catalogue: all of them at once, since they are few and change rarely.

use tokio_postgres::{Row, types::Type};

use super::{Loaded, Reader};
use crate::{
    domain::event::{FeatureSet, LedgerConfigured, PriceSet},
    store::{
        rows::{RowError, state},
        session::Statement,
    },
};

/// What settings and catalogue are read with, `$1` being the ledger.
pub(in crate::store) static CONFIGURATION: &[(&Statement, Reader)] =
    &[(&LOAD_SETTINGS, read_settings), (&LOAD_FEATURES, read_feature), (&LOAD_PRICES, read_price)];

static LOAD_SETTINGS: Statement = Statement {
    name: "load_settings",
    sql: "SELECT state_version, settings::text AS state FROM ledger_settings WHERE ledger_id = $1",
    parameters: &[Type::INT8],
};

fn read_settings(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let known = SETTINGS_STATE_VERSION;
    loaded.set.settings =
        state::<LedgerConfigured>("settings", row.try_get("state_version")?, known, row.try_get("state")?)?.0;
    Ok(())
}

static LOAD_FEATURES: Statement = Statement {
    name: "load_features",
    sql: "SELECT state_version, state::text AS state FROM features WHERE ledger_id = $1",
    parameters: &[Type::INT8],
};

fn read_feature(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let known = FEATURE_STATE_VERSION;
    let FeatureSet(feature) = state("feature", row.try_get("state_version")?, known, row.try_get("state")?)?;
    loaded.set.catalogue.features.insert(feature.feature.clone(), feature);
    Ok(())
}

static LOAD_PRICES: Statement = Statement {
    name: "load_prices",
    sql: "SELECT state_version, state::text AS state FROM prices WHERE ledger_id = $1",
    parameters: &[Type::INT8],
};

fn read_price(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let known = PRICE_STATE_VERSION;
    let PriceSet(price) = state("price", row.try_get("state_version")?, known, row.try_get("state")?)?;
    loaded.set.catalogue.prices.insert(price.price.clone(), *price);
    Ok(())
}

/// The version of the shape of stored settings, which are kept as their events have them, in any version.
pub const SETTINGS_STATE_VERSION: i16 = 2;

/// The version of the shape of stored features, which are kept as their events have them.
pub const FEATURE_STATE_VERSION: i16 = 1;

/// The version of the shape of stored prices, which are kept as their events have them, in any version.
pub const PRICE_STATE_VERSION: i16 = 3;
