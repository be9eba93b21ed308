//! From what the use cases say to what the client is told: an exhaustive match for each.

use super::{ApiError, Code, Detail};
use crate::{
    domain::Rejection,
    service::{NotFound, ServiceError, StripeFailure, SubmitError, webhooks::WebhookError},
};

impl From<ServiceError> for ApiError {
    fn from(failure: ServiceError) -> Self {
        match failure {
            ServiceError::Unauthenticated => {
                Self::new(Code::Unauthenticated, "send an API key that works: `Authorization: Bearer cfk_…`")
            }
            ServiceError::Forbidden { scope } => {
                let message = format!("the API key lacks the scope `{}`", scope.as_str());
                let mut error = Self::new(Code::Forbidden, message);
                error.detail.scope = Some(scope.as_str().to_owned());
                error
            }
            ServiceError::Rejected { rejection, buy_url } => {
                let mut error = Self::from(rejection);
                error.detail.buy_url = buy_url.map(|url| url.to_string());
                error
            }
            ServiceError::Failed(error) => error.into(),
            ServiceError::Stripe(failure) => failure.into(),
            ServiceError::NotFound(what) => what.into(),
            ServiceError::StripeRefused { code, effect } => {
                let message = "Stripe refuses to make the checkout: an operator has to look at the outbox";
                let mut error = Self::new(Code::StripeRefused, message);
                (error.detail.stripe_code, error.detail.effect_id) = (Some(code), Some(effect.to_string()));
                error
            }
            ServiceError::NoCustomer => Self::new(
                Code::AccountHasNoCustomer,
                "the account has no customer at Stripe yet: it gets one with its first checkout",
            ),
            ServiceError::NoPublicUrl { .. } => Self::new(Code::PublicUrlNotConfigured, failure.to_string()),
            ServiceError::EntryTooLong { position } => {
                let message = format!(
                    "event {position} is longer than the 65535 bytes that a bundle takes: read it from /v1/audit/events"
                );
                Self::new(Code::EntryTooLong, message)
            }
            ServiceError::BodyGone => Self::new(Code::BodyGone, "the body of the event is no longer kept"),
            ServiceError::EffectNotDead => {
                Self::new(Code::EffectNotDead, "the effect is not dead: there is nothing to decide")
            }
            ServiceError::FindingNotOpen => {
                Self::new(Code::FindingNotOpen, "the finding is not open: there is nothing to decide")
            }
            ServiceError::FindingNotRepairable => Self::new(
                Code::FindingNotRepairable,
                "a person has to put it right; the finding vanishes with that, or can be dismissed",
            ),
            ServiceError::HistoryLost => Self::new(
                Code::HistoryLost,
                "the position token is of a history that was lost: read again without it",
            )
            .with_field("min_position"),
            ServiceError::PositionNotReached => {
                Self::new(Code::PositionNotReached, "the position has not been reached in time: try again")
                    .with_field("min_position")
            }
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::UnknownLedger => Self::new(Code::NotFound, "there is no such ledger"),
            WebhookError::Signature(error) => Self::invalid("Stripe-Signature", error.to_string()),
            WebhookError::Unavailable => SubmitError::Unavailable.into(),
        }
    }
}

impl From<StripeFailure> for ApiError {
    fn from(failure: StripeFailure) -> Self {
        let code = match &failure {
            StripeFailure::NoAccess(_) => Code::StripeNotConfigured,
            StripeFailure::Refused(_) => Code::StripeRefused,
            StripeFailure::Unavailable(_) => Code::StripeUnavailable,
        };
        Self::new(code, failure.to_string())
    }
}

impl From<NotFound> for ApiError {
    fn from(what: NotFound) -> Self {
        match what {
            NotFound::Account => Self::new(Code::AccountNotFound, "there is no such account"),
            NotFound::Feature => Self::new(Code::FeatureNotFound, "there is no such feature"),
            NotFound::Price => Self::new(Code::PriceNotFound, "there is no such price"),
            NotFound::Reconciliation => {
                Self::new(Code::ReconciliationRunNotFound, "there is no such run, or it is no longer kept")
            }
            NotFound::Finding => Self::new(Code::FindingNotFound, "there is no such finding"),
            NotFound::Effect => Self::new(Code::EffectNotFound, "there is no such effect, or it is done"),
            NotFound::Log => Self::new(Code::LogNotFound, "the ledger has no log, or nothing is sealed yet"),
            NotFound::Tile => Self::new(Code::TileNotFound, "the sealed tree has no such tile yet"),
            NotFound::SealedEvent => {
                Self::new(Code::EventNotSealed, "there is no such event, or it is not sealed yet")
            }
            NotFound::Order => Self::new(Code::OrderNotFound, "there is no such order"),
            NotFound::CheckoutLink => Rejection::CheckoutLinkNotFound.into(),
            NotFound::Subscription => {
                Self::new(Code::SubscriptionNotFound, "the ledger knows no such subscription")
            }
            NotFound::InboxEvent => {
                Self::new(Code::InboxEventNotFound, "there is no such event in the inbox")
            }
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::UnknownLedger => ServiceError::Unauthenticated.into(),
            SubmitError::Overloaded => {
                Self::new(Code::Overloaded, "too many requests are waiting; nothing was written: try again")
            }
            SubmitError::Unavailable => {
                Self::new(Code::Unavailable, "the database is away; nothing was written: try again")
            }
            SubmitError::OutcomeUnknown => Self::new(
                Code::OutcomeUnknown,
                "it is not known whether this was carried out: repeat it with the same Idempotency-Key",
            ),
            SubmitError::ClockSkew => {
                Self::new(Code::ClockSkew, "the service's clocks disagree; nothing was written")
            }
            SubmitError::NewerVersion => Self::new(
                Code::NewerVersion,
                "a newer version of the service writes to this ledger; nothing was written: try again",
            ),
            SubmitError::ShuttingDown => {
                Self::new(Code::ShuttingDown, "this process is going down; nothing was written: try again")
            }
            SubmitError::Internal => Self::internal(),
        }
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let message = rejection.to_string();
        let plain = |code| Self::new(code, message.clone());
        match rejection {
            Rejection::AccountNotFound => plain(Code::AccountNotFound),
            Rejection::AccountFrozen => plain(Code::AccountFrozen),
            Rejection::AccountClosed => plain(Code::AccountClosed),
            Rejection::RecipientNotFound => plain(Code::AccountNotFound).with_field("to_account_id"),
            Rejection::RecipientFrozen => plain(Code::AccountFrozen).with_field("to_account_id"),
            Rejection::RecipientClosed => plain(Code::AccountClosed).with_field("to_account_id"),
            Rejection::TransferToItself => Self::invalid("to_account_id", message),
            Rejection::UnknownUnit { unit } => {
                let mut error = plain(Code::UnknownUnit).with_field("unit");
                error.detail.unit = Some(unit.to_string());
                error
            }
            Rejection::UnknownFeature { .. } => plain(Code::UnknownFeature).with_field("feature"),
            Rejection::FeatureInactive { .. } => plain(Code::FeatureInactive).with_field("feature"),
            Rejection::UnknownPrice { .. } => plain(Code::UnknownPrice).with_field("price_id"),
            Rejection::PriceGrantsNothing { .. } | Rejection::PriceWithoutUnit { .. } => {
                Self::invalid("grants", message)
            }
            Rejection::PriceInactive { .. } => plain(Code::PriceInactive).with_field("price_id"),
            Rejection::CustomerOfAnotherAccount { .. } => {
                plain(Code::CustomerOfAnotherAccount).with_field("stripe_customer_id")
            }
            Rejection::AccountHasCustomer { .. } => {
                plain(Code::AccountHasCustomer).with_field("stripe_customer_id")
            }
            Rejection::CheckoutLinkNotFound => plain(Code::CheckoutLinkNotFound),
            Rejection::SubscriptionNotFound => plain(Code::SubscriptionNotFound),
            Rejection::SubscriptionEnded { .. } => plain(Code::SubscriptionEnded),
            Rejection::TooManyChanges { .. } => plain(Code::TooManyChanges),
            Rejection::SubscriptionChangeNotFound { .. } => plain(Code::SubscriptionNotFound),
            Rejection::OrderNotFound => plain(Code::OrderNotFound),
            Rejection::OrderNotPaid { .. } => plain(Code::OrderNotPaid),
            Rejection::OrderContradicts { .. } => plain(Code::OrderContradicts),
            Rejection::RefundNotFound { .. } => plain(Code::RefundNotFound),
            Rejection::InsufficientCredits { unit, available, spendable, required } => {
                let mut error = plain(Code::InsufficientCredits);
                *error.detail = Detail {
                    unit: Some(unit.to_string()),
                    available: Some(available),
                    spendable: Some(spendable),
                    required: Some(required),
                    ..Detail::default()
                };
                error
            }
            Rejection::AmountTooLarge { unit } => {
                let mut error = plain(Code::AmountTooLarge).with_field("amount");
                error.detail.unit = Some(unit.to_string());
                error
            }
            Rejection::TooManyLots { unit } => {
                let mut error = plain(Code::TooManyLots);
                error.detail.unit = Some(unit.to_string());
                error
            }
            Rejection::ExpiryNotInFuture => plain(Code::ExpiryNotInFuture).with_field("expires_at"),
            Rejection::LapseOutOfRange => plain(Code::LapseOutOfRange).with_field("lapses_after"),
            Rejection::HoldNotFound => plain(Code::HoldNotFound),
            Rejection::HoldAlreadyResolved { .. } => plain(Code::HoldAlreadyResolved),
            Rejection::CaptureExceedsHold { captured, held } => {
                let mut error = plain(Code::CaptureExceedsHold).with_field("amount");
                (error.detail.required, error.detail.spendable) = (Some(captured), Some(held));
                error
            }
            Rejection::PurchaseNotFound => plain(Code::PurchaseNotFound),
            Rejection::PurchasePaidThroughStripe { .. } => plain(Code::PurchasePaidThroughStripe),
            Rejection::RefundExceedsPayment { requested, refundable } => {
                let mut error = plain(Code::RefundExceedsPayment).with_field("amount");
                (error.detail.required, error.detail.refundable) = (Some(requested), Some(refundable));
                error
            }
            Rejection::PaymentContradicts { .. } | Rejection::SubscriptionOfAnotherAccount { .. } => {
                plain(Code::PaymentContradicts)
            }
            Rejection::InvalidConfiguration { field, problem } => Self::invalid(field, problem),
            Rejection::KeyNotFound { .. } => plain(Code::ApiKeyNotFound),
            Rejection::ClockOfLiveLedger => plain(Code::TestModeOnly),
            Rejection::IdempotencyKeyReused => {
                plain(Code::IdempotencyKeyReused).with_field("Idempotency-Key")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::Scope;

    #[test]
    fn what_keeps_a_request_from_being_carried_out_has_a_status_that_says_whether_to_come_again() {
        for (status, code, error) in [
            (401, "unauthenticated", SubmitError::UnknownLedger),
            (503, "overloaded", SubmitError::Overloaded),
            (503, "unavailable", SubmitError::Unavailable),
            (503, "outcome_unknown", SubmitError::OutcomeUnknown),
            (503, "clock_skew", SubmitError::ClockSkew),
            (503, "newer_version", SubmitError::NewerVersion),
            (503, "shutting_down", SubmitError::ShuttingDown),
            (500, "internal", SubmitError::Internal),
        ] {
            let error = ApiError::from(ServiceError::Failed(error));
            assert_eq!((error.code.status().as_u16(), error.code().as_str()), (status, code));
        }
    }

    #[test]
    fn whoever_is_short_of_credits_is_told_where_to_buy_some() {
        let rejection = Rejection::InsufficientCredits {
            unit: crate::domain::ids::Unit::parse("credits").expect("valid"),
            available: 1,
            spendable: 1,
            required: 2,
        };
        let error =
            ServiceError::Rejected { rejection, buy_url: Some("https://shop.example/credits".into()) };
        let error = ApiError::from(error);
        assert_eq!(error.code.status().as_u16(), 402);
        assert_eq!(error.detail.buy_url.as_deref(), Some("https://shop.example/credits"));
    }

    #[test]
    fn a_missing_scope_is_named() {
        let error = ApiError::from(ServiceError::Forbidden { scope: Scope::Audit });
        assert_eq!((error.code.status().as_u16(), error.detail.scope.as_deref()), (403, Some("audit")));
    }
}
