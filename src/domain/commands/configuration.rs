//! What an operator sets for the whole ledger: settings, features, keys. Setting what is set already changes nothing.

use std::collections::BTreeSet;

use super::grant_credits::LAST_PRIORITY;
use crate::domain::{
    catalogue::Feature,
    command::{CreateKey, RevokeKey},
    decide::Draft,
    event::{FeatureSet, KeyCreated, KeyRevoked, LedgerConfigured},
    ids::KeyId,
    redirect,
    rejection::Rejection,
    settings::{CheckoutSettings, LedgerRules, LedgerSettings, SubscriptionRules},
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

/// Checks: scales; that every unit stays as it is, because amounts of it are on record; those of [`check_rules`].
pub(super) fn configure_ledger(draft: &mut Draft<'_>, settings: &LedgerSettings) -> Result<(), Rejection> {
    let invalid = |problem| Err(Rejection::InvalidConfiguration { field: "units", problem });
    if settings.units.values().any(|unit| unit.scale > LARGEST_SCALE) {
        return invalid("a scale must be 0 to 9");
    }
    let known = &draft.base().settings;
    if known.units.iter().any(|(unit, unit_settings)| settings.units.get(unit) != Some(unit_settings)) {
        return invalid("a unit can neither be removed nor get another scale");
    }
    check_rules(settings)?;
    // Point of no return.
    if known != settings {
        draft.emit(None, None, LedgerConfigured(settings.clone()));
    }
    Ok(())
}

/// Checks: those of [`check_rules`].
pub(super) fn configure_rules(draft: &mut Draft<'_>, rules: &LedgerRules) -> Result<(), Rejection> {
    let known = &draft.base().settings;
    let settings = known.clone().with_rules(rules.clone());
    check_rules(&settings)?;
    // Point of no return.
    if *known != settings {
        draft.emit(None, None, LedgerConfigured(settings));
    }
    Ok(())
}

/// Checks, in this order: the days of grace; what trials grant, by unit; what sign-ups grant: the unit, that each comes
/// once, the priority, the expiry.
fn check_rules(settings: &LedgerSettings) -> Result<(), Rejection> {
    let invalid = |field, problem| Err(Rejection::InvalidConfiguration { field, problem });
    let subscriptions = &settings.subscriptions;
    if subscriptions.renewal_grace_days > SubscriptionRules::LONGEST_GRACE_DAYS {
        return invalid("renewal_grace_days", "must be 0 to 90");
    }
    let units =
        subscriptions.trial_credits.keys().chain(settings.signup_grants.iter().map(|grant| &grant.unit));
    for unit in units {
        if !settings.units.contains_key(unit) {
            return Err(Rejection::UnknownUnit { unit: unit.clone() });
        }
    }
    let mut seen = BTreeSet::new();
    for grant in &settings.signup_grants {
        if !seen.insert(&grant.unit) {
            return invalid("signup_grants", "each unit is granted once");
        }
        if grant.priority > LAST_PRIORITY {
            return invalid("signup_grants", "a priority must be 0 to 100");
        }
        if grant.expires_days == Some(0) {
            return invalid("signup_grants", "credits last for a day at least");
        }
    }
    Ok(())
}

/// Checks: each address, against the hosts beside it.
pub(super) fn configure_checkout(
    draft: &mut Draft<'_>,
    checkout: &CheckoutSettings,
) -> Result<(), Rejection> {
    for (field, address) in [("success_url", &checkout.success_url), ("cancel_url", &checkout.cancel_url)] {
        if let Some(address) = address {
            redirect::check(address, &checkout.redirect_hosts)
                .map_err(|problem| Rejection::InvalidConfiguration { field, problem })?;
        }
    }
    // Point of no return.
    let known = &draft.base().settings;
    if known.checkout != *checkout {
        draft.emit(
            None,
            None,
            LedgerConfigured(LedgerSettings { checkout: checkout.clone(), ..known.clone() }),
        );
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
