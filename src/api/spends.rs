//! Spends: credits are used, all or nothing.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Created, LotDraw, UnitBalance, Written, unit_of},
    auth::{Authorised, Spend as MaySpend},
    error::{ApiError, Failure, Taking},
    idempotency::{IdempotencyKey, fingerprint},
    notes,
    params::Path,
    payload::Json,
    tags::Tag,
    wire::{Metadata, Nullable, Reason},
};
use crate::{
    domain::{
        Command, EventBody,
        amount::Amount,
        command::{Charge, SpendCredits},
        ids::{AccountId, FeatureKey, SpendId, Unit},
        time::Timestamp,
    },
    service::Accepted,
};

/// What is to be spent: so many of a feature at its cost (`feature`, `quantity`), or so many credits (`unit`, `amount`).
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewSpend {
    /// The feature.
    pub feature: Option<FeatureKey>,
    /// How many of the feature; 1 if absent.
    pub quantity: Option<Amount>,
    /// The unit, instead of a feature.
    pub unit: Option<Unit>,
    /// How many credits, with a unit.
    pub amount: Option<Amount>,
    /// What for, for people.
    pub reason: Option<Reason>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

impl NewSpend {
    /// What it asks for; an error names the field that is missing or too many.
    pub(super) fn charge(&self) -> Result<Charge, ApiError> {
        let not_both = |field| Err(ApiError::invalid(field, "must not be given with `feature`"));
        match (&self.feature, &self.unit, self.amount) {
            (Some(_), Some(_), _) => not_both("unit"),
            (Some(_), None, Some(_)) => not_both("amount"),
            (Some(feature), None, None) => Ok(Charge::Feature {
                feature: feature.clone(),
                quantity: self.quantity.unwrap_or(Amount::ONE),
            }),
            (None, _, _) if self.quantity.is_some() => {
                Err(ApiError::invalid("quantity", "must not be given without `feature`"))
            }
            (None, Some(unit), Some(amount)) => Ok(Charge::Credits { unit: unit.clone(), amount }),
            (None, Some(_), None) => Err(ApiError::invalid("amount", "is missing")),
            (None, None, Some(_)) => Err(ApiError::invalid("unit", "is missing")),
            (None, None, None) => {
                Err(ApiError::invalid("feature", "is missing; `unit` and `amount` may be given instead"))
            }
        }
    }
}

/// Credits that were used.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Spend {
    /// Which spend.
    pub spend_id: SpendId,
    /// Whose credits.
    pub account_id: AccountId,
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: i64,
    /// The feature; `null` if credits were named.
    pub feature: Nullable<FeatureKey>,
    /// How many of the feature; `null` if credits were named.
    pub quantity: Nullable<i64>,
    /// From which lots.
    pub draws: Vec<LotDraw>,
    /// What was spent beyond the lots, within the overdraft limit; absent if nothing was.
    pub overdraft: Option<i64>,
    /// What the account had of the unit then.
    pub balance: UnitBalance,
    /// The position of the event.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Spend {
    fn of(account: AccountId, accepted: &Accepted) -> Result<Self, ApiError> {
        let written = Written::of(accepted);
        let (event, spent) = written.find(|body| match body {
            EventBody::CreditsSpent(spent) => Some(spent),
            _ => None,
        })?;
        let unit = unit_of(event)?;
        Ok(Self {
            spend_id: spent.spend,
            account_id: account,
            unit: unit.clone(),
            amount: spent.spent,
            feature: Nullable(spent.feature.clone()),
            quantity: Nullable(spent.quantity),
            draws: spent.draws.iter().map(Into::into).collect(),
            overdraft: spent.overdraft.map(|overdraft| overdraft.amount),
            balance: written.balance(unit)?,
            position: event.position.0,
            recorded_at: event.recorded_at,
        })
    }
}

/// The resource.
pub struct Spends;

#[OpenApi(tag = "Tag::Spends")]
impl Spends {
    /// Spend credits
    ///
    /// All or nothing: what the balance does not cover is refused with 402 and changes nothing.
    #[oai(path = "/v1/accounts/:account/spends", method = "post", operation_id = "spend_credits")]
    async fn spend(
        &self,
        caller: Authorised<MaySpend>,
        /// Marks repeats of this request: they are answered as it was, and nothing is spent twice.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The account.
        account: Path<AccountId>,
        body: Json<NewSpend>,
    ) -> Result<Created<Spend>, Failure<Taking>> {
        let print = fingerprint("POST /v1/accounts/{account}/spends", &[account.0.as_str()], &body.sent);
        let charge = body.content.charge()?;
        let asked_by = if body.content.amount.is_some() { "amount" } else { "quantity" };
        let note = notes::note(body.content.reason, body.content.metadata);
        let command = Command::SpendCredits(SpendCredits { account: account.0.clone(), charge, note });
        let accepted = caller.submit(command, Some(key.0), print).await;
        let accepted = accepted.map_err(|error| ApiError::from(error).about(Some(asked_by)))?;
        Ok(Created::new(&accepted, Spend::of(account.0, &accepted)?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::json::decode;

    #[test]
    fn a_spend_names_a_feature_or_credits() {
        let charge = |body: Value| decode::<NewSpend>(&body).expect("valid fields").charge();
        let refused = |body: Value| {
            let request_id = crate::domain::ids::RequestId::parse("r").expect("valid");
            let answer = charge(body).expect_err("refused").into_answer(&request_id);
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let text = runtime.block_on(answer.into_body().into_string()).expect("text");
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            answer["error"]["detail"]["field"].as_str().expect("a field").to_owned()
        };
        let amount = |number| Amount::new(number).expect("valid");
        let feature = FeatureKey::parse("job_match").expect("valid");
        let unit = Unit::parse("credits").expect("valid");
        assert_eq!(
            charge(json!({"feature": "job_match"})),
            Ok(Charge::Feature { feature: feature.clone(), quantity: amount(1) })
        );
        assert_eq!(
            charge(json!({"feature": "job_match", "quantity": 3})),
            Ok(Charge::Feature { feature, quantity: amount(3) })
        );
        assert_eq!(
            charge(json!({"unit": "credits", "amount": 7})),
            Ok(Charge::Credits { unit, amount: amount(7) })
        );
        for (field, body) in [
            ("feature", json!({})),
            ("feature", json!({"reason": "none"})),
            ("amount", json!({"unit": "credits"})),
            ("unit", json!({"amount": 7})),
            ("quantity", json!({"quantity": 7})),
            ("quantity", json!({"unit": "credits", "amount": 7, "quantity": 1})),
            ("unit", json!({"feature": "a", "unit": "credits", "amount": 7})),
            ("amount", json!({"feature": "a", "amount": 7})),
        ] {
            assert_eq!(refused(body.clone()), field, "{body}");
        }
    }
}
