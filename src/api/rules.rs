//! The rules of a ledger: what becomes of credits when money goes back, stays away or comes again, and what comes for
//! free.

use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Changed, Found, Written},
    auth::{Admin, Authorised, Operate},
    error::{ApiError, Failure, Reading, Writing},
    idempotency::{OptionalIdempotencyKey, fingerprint},
    payload::Json,
    tags::Tag,
    wire::{Days, GraceDays, Nullable, Priority},
};
use crate::domain::{
    Command,
    amount::Amount,
    ids::Unit,
    settings::{self, SubscriptionRules},
};

/// Where credits come from that a refund takes back and that the buyer has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum, Deserialize)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum ClawbackPolicy {
    /// From the account's other credits, then as debt.
    Debt,
    /// From nowhere: it is written off.
    LotOnly,
}

/// What a renewal moves into the new period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum, Deserialize)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum RolloverKind {
    /// Nothing: what is left expires.
    None,
    /// Everything that is left.
    All,
    /// At most `amount` of each unit.
    Capped,
}

/// What a renewal moves into the new period of what is left of the old one.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewRollover {
    /// Which of the three.
    pub kind: RolloverKind,
    /// How many credits of each unit at most: with `capped` only.
    pub amount: Option<Amount>,
}

impl NewRollover {
    /// The rule; or what of it cannot be.
    pub(super) fn into_rule(self) -> Result<settings::Rollover, ApiError> {
        match (self.kind, self.amount) {
            (RolloverKind::None, None) => Ok(settings::Rollover::None),
            (RolloverKind::All, None) => Ok(settings::Rollover::All),
            (RolloverKind::Capped, Some(amount)) => Ok(settings::Rollover::Capped(amount)),
            (RolloverKind::Capped, None) => Err(ApiError::invalid("rollover.amount", "is missing")),
            (_, Some(_)) => Err(ApiError::invalid("rollover.amount", "must be given with `capped` only")),
        }
    }
}

/// Credits of one unit that a trial grants.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewTrialCredits {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
}

/// Credits of one unit that each new account gets.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewSignupGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
    /// After how many days they expire; never if absent.
    pub expires_days: Option<Days>,
    /// Spending priority, 0 (first) to 100; 50 if absent.
    pub priority: Option<Priority>,
}

/// All rules of the ledger. What is absent is as in a new ledger.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewRules {
    /// Where credits come from that a refund takes back and that the buyer has used; `debt` if absent.
    pub clawback_policy: Option<ClawbackPolicy>,
    /// Whether a pending refund counts like one that succeeded; not if absent.
    pub claw_on_pending: Option<bool>,
    /// Whether an open dispute freezes the account until an operator unfreezes it; not if absent.
    pub freeze_on_dispute: Option<bool>,
    /// For how many days after a subscription's period its credits can still be used; 3 if absent.
    pub renewal_grace_days: Option<GraceDays>,
    /// What a renewal moves into the new period; nothing if absent.
    pub rollover: Option<NewRollover>,
    /// What a trial grants, each unit at most once, and once for each account.
    pub trial_credits: Option<Vec<NewTrialCredits>>,
    /// What each account gets that is opened from now on, each unit at most once.
    pub signup_grants: Option<Vec<NewSignupGrant>>,
}

impl NewRules {
    fn into_rules(self) -> Result<settings::LedgerRules, ApiError> {
        let of_new = SubscriptionRules::default();
        let mut subscriptions = SubscriptionRules {
            renewal_grace_days: self.renewal_grace_days.map_or(of_new.renewal_grace_days, GraceDays::get),
            rollover: self.rollover.map_or(Ok(of_new.rollover), NewRollover::into_rule)?,
            ..of_new
        };
        for trial in self.trial_credits.into_iter().flatten() {
            if subscriptions.trial_credits.insert(trial.unit, trial.amount).is_some() {
                return Err(ApiError::invalid("trial_credits", "each unit is granted once"));
            }
        }
        let signup_grants = self.signup_grants.into_iter().flatten().map(|grant| settings::SignupGrant {
            unit: grant.unit,
            amount: grant.amount,
            expires_days: grant.expires_days.map(Days::get),
            priority: grant.priority.unwrap_or_default().get(),
        });
        Ok(settings::LedgerRules {
            clawback_policy: match self.clawback_policy {
                None | Some(ClawbackPolicy::Debt) => settings::ClawbackPolicy::Debt,
                Some(ClawbackPolicy::LotOnly) => settings::ClawbackPolicy::LotOnly,
            },
            claw_on_pending: self.claw_on_pending.unwrap_or_default(),
            freeze_on_dispute: self.freeze_on_dispute.unwrap_or_default(),
            subscriptions,
            signup_grants: signup_grants.collect(),
        })
    }
}

/// What a renewal moves into the new period of what is left of the old one.
#[derive(Clone, Debug, Object)]
pub struct Rollover {
    /// Which of the three.
    pub kind: RolloverKind,
    /// How many credits of each unit at most; `null` unless `kind` is `capped`.
    pub amount: Nullable<Amount>,
}

impl From<settings::Rollover> for Rollover {
    fn from(rollover: settings::Rollover) -> Self {
        let (kind, amount) = match rollover {
            settings::Rollover::None => (RolloverKind::None, None),
            settings::Rollover::All => (RolloverKind::All, None),
            settings::Rollover::Capped(amount) => (RolloverKind::Capped, Some(amount)),
        };
        Self { kind, amount: Nullable(amount) }
    }
}

/// Credits of one unit that a trial grants.
#[derive(Clone, Debug, Object)]
pub struct TrialCredits {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
}

/// Credits of one unit that each new account gets.
#[derive(Clone, Debug, Object)]
pub struct SignupGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
    /// After how many days they expire; `null` if they do not.
    pub expires_days: Nullable<u32>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
}

/// All rules of the ledger.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Rules {
    /// Where credits come from that a refund takes back and that the buyer has used.
    pub clawback_policy: ClawbackPolicy,
    /// Whether a pending refund counts like one that succeeded.
    pub claw_on_pending: bool,
    /// Whether an open dispute freezes the account until an operator unfreezes it.
    pub freeze_on_dispute: bool,
    /// For how many days after a subscription's period its credits can still be used.
    pub renewal_grace_days: u32,
    /// What a renewal moves into the new period.
    pub rollover: Rollover,
    /// What a trial grants, by unit.
    pub trial_credits: Vec<TrialCredits>,
    /// What each new account gets.
    pub signup_grants: Vec<SignupGrant>,
    /// In the answer to a write: the position of the command's last event; absent if nothing had to be changed, and elsewhere.
    pub position: Option<i64>,
}

impl From<settings::LedgerRules> for Rules {
    fn from(rules: settings::LedgerRules) -> Self {
        let trials = rules.subscriptions.trial_credits.into_iter();
        let grants = rules.signup_grants.into_iter().map(|grant| SignupGrant {
            unit: grant.unit,
            amount: grant.amount,
            expires_days: Nullable(grant.expires_days),
            priority: grant.priority,
        });
        Self {
            clawback_policy: match rules.clawback_policy {
                settings::ClawbackPolicy::Debt => ClawbackPolicy::Debt,
                settings::ClawbackPolicy::LotOnly => ClawbackPolicy::LotOnly,
            },
            claw_on_pending: rules.claw_on_pending,
            freeze_on_dispute: rules.freeze_on_dispute,
            renewal_grace_days: rules.subscriptions.renewal_grace_days,
            rollover: rules.subscriptions.rollover.into(),
            trial_credits: trials.map(|(unit, amount)| TrialCredits { unit, amount }).collect(),
            signup_grants: grants.collect(),
            position: None,
        }
    }
}

/// The resource.
pub struct RulesOfLedger;

#[OpenApi(tag = "Tag::Rules")]
impl RulesOfLedger {
    /// Read the rules
    #[oai(path = "/v1/settings/rules", method = "get", operation_id = "read_rules")]
    async fn read(&self, caller: Authorised<Operate>) -> Result<Found<Rules>, Failure<Reading>> {
        Ok(Found(caller.service.rules(&caller.caller).await?.into()))
    }

    /// Set the rules
    ///
    /// All of them: what is absent is as in a new ledger. They count for everything that happens from then on; what has
    /// happened stays as it is.
    #[oai(path = "/v1/settings/rules", method = "put", operation_id = "set_rules")]
    async fn set(
        &self,
        caller: Authorised<Admin>,
        /// Marks repeats of this request.
        #[oai(name = "Idempotency-Key")]
        key: OptionalIdempotencyKey,
        body: Json<NewRules>,
    ) -> Result<Changed<Rules>, Failure<Writing>> {
        let print = fingerprint("PUT /v1/settings/rules", &[], &body.sent);
        let rules = body.content.into_rules()?;
        let accepted = caller.submit(Command::ConfigureRules(rules.clone()), key.0, print).await?;
        let position = Written::of(&accepted).position();
        Ok(Changed::new(&accepted, Rules { position, ..rules.into() }))
    }
}
