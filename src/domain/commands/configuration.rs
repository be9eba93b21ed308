//! What an operator sets for the whole ledger: settings, catalogue, keys. Setting what is set already changes nothing.

use std::collections::BTreeSet;

use super::grant_credits::LAST_PRIORITY;
use crate::domain::{
    amount::MAX_AMOUNT,
    catalogue::{Feature, Price},
    command::{CreateKey, RevokeKey},
    decide::Draft,
    event::{FeatureSet, KeyCreated, KeyRevoked, LedgerConfigured, PriceSet},
    ids::KeyId,
    rejection::Rejection,
    settings::LedgerSettings,
    working_set::Private,
};

/// The most decimal places that a unit is shown with.
const LARGEST_SCALE: u8 = 9;

/// Checks: the unit.
pub(super) fn set_feature(draft: &mut Draft<'_>, feature: &Feature) -> Result<(), Rejection> {
    draft.check_unit(&feature.unit)?;
    // Point of no return.
    if draft.base().catalogue.features.get(&feature.feature) != Some(feature) {
        draft.emit(None, None, FeatureSet(feature.clone()));
    }
    Ok(())
}

/// Checks, in this order: the money; that something is granted; for each grant the unit, that it comes once, and the
/// priority.
pub(super) fn set_price(draft: &mut Draft<'_>, price: &Price) -> Result<(), Rejection> {
    let invalid = |field, problem| Err(Rejection::InvalidConfiguration { field, problem });
    if !(0..=MAX_AMOUNT).contains(&price.money) {
        return invalid("money", "must be 0 to 2^53 - 1");
    }
    if price.grants.is_empty() {
        return invalid("grants", "a price grants at least one unit");
    }
    let mut units = BTreeSet::new();
    for grant in &price.grants {
        draft.check_unit(&grant.unit)?;
        if !units.insert(&grant.unit) {
            return invalid("grants", "a price grants each unit once");
        }
        if grant.priority > LAST_PRIORITY {
            return invalid("priority", "must be 0 to 100");
        }
    }
    // Point of no return.
    if draft.base().catalogue.prices.get(&price.price) != Some(price) {
        draft.emit(None, None, PriceSet(price.clone()));
    }
    Ok(())
}

/// Checks: scales; that every unit stays as it is, because amounts of it are on record.
pub(super) fn configure_ledger(draft: &mut Draft<'_>, settings: &LedgerSettings) -> Result<(), Rejection> {
    let invalid = |problem| Err(Rejection::InvalidConfiguration { field: "units", problem });
    if settings.units.values().any(|unit| unit.scale > LARGEST_SCALE) {
        return invalid("a scale must be 0 to 9");
    }
    let known = &draft.base().settings;
    if known.units.iter().any(|(unit, unit_settings)| settings.units.get(unit) != Some(unit_settings)) {
        return invalid("a unit can neither be removed nor get another scale");
    }
    // Point of no return.
    if known != settings {
        draft.emit(None, None, LedgerConfigured(settings.clone()));
    }
    Ok(())
}

/// Checks, in this order: that it may do something; the expiry.
pub(super) fn create_key(draft: &mut Draft<'_>, command: &CreateKey) -> Result<(), Rejection> {
    if command.scopes.is_empty() {
        return Err(Rejection::InvalidConfiguration {
            field: "scopes",
            problem: "a key has at least one scope",
        });
    }
    if command.expires_at.is_some_and(|expires_at| expires_at <= draft.context().now) {
        return Err(Rejection::ExpiryNotInFuture);
    }
    // Point of no return.
    let key = KeyId::new(draft.next_position(), 0, &draft.context().seed);
    let scopes: BTreeSet<_> = command.scopes.iter().copied().collect();
    let body = KeyCreated { key, scopes: scopes.into_iter().collect(), expires_at: command.expires_at };
    draft.emit(None, None, body);
    draft.keep(Private::KeySecret { key, secret_hash: command.secret_hash, name: command.name.clone() });
    Ok(())
}

/// Checks: the key exists and works.
pub(super) fn revoke_key(draft: &mut Draft<'_>, command: &RevokeKey) -> Result<(), Rejection> {
    if !draft.base().keys.contains(&command.key) {
        return Err(Rejection::KeyNotFound { key: command.key });
    }
    // Point of no return.
    draft.emit(None, None, KeyRevoked { key: command.key });
    Ok(())
}
