//! What a spend or hold costs.

use crate::domain::{
    amount::Amount,
    command::Charge,
    decide::Draft,
    ids::{FeatureKey, Unit},
    rejection::Rejection,
};

/// A charge in credits.
pub(super) struct Cost {
    pub(super) unit: Unit,
    pub(super) amount: Amount,
    pub(super) feature: Option<FeatureKey>,
    pub(super) quantity: Option<i64>,
}

/// Looks the charge up. Checks: the feature exists; is active; or the unit exists; the cost is within bounds.
pub(super) fn cost(draft: &Draft<'_>, charge: &Charge) -> Result<Cost, Rejection> {
    match charge {
        Charge::Credits { unit, amount } => {
            draft.check_unit(unit)?;
            Ok(Cost { unit: unit.clone(), amount: *amount, feature: None, quantity: None })
        }
        Charge::Feature { feature, quantity } => {
            let known = draft.base().catalogue.features.get(feature);
            let known = known.ok_or_else(|| Rejection::UnknownFeature { feature: feature.clone() })?;
            if !known.active {
                return Err(Rejection::FeatureInactive { feature: feature.clone() });
            }
            let too_large = || Rejection::AmountTooLarge { unit: known.unit.clone() };
            let amount = known.cost.times(*quantity).ok_or_else(too_large)?;
            let (feature, quantity) = (Some(feature.clone()), Some(quantity.get()));
            Ok(Cost { unit: known.unit.clone(), amount, feature, quantity })
        }
    }
}
