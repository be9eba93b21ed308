//! Names are the same in Rust, in JSON and in storage, and each name reads back as what it was written for.

use serde::Serialize;

use super::{eur, stripe};
use crate::domain::{
    account::AccountStatus,
    ids::{Namespace, Position},
    order::OrderStatus,
    payment::{DisputeStatus, PaymentFact, RefundStatus, RequestStatus},
    settings::{LedgerMode, Scope},
    subscription_change::ChangeRefusal,
};

/// The name that serde writes.
fn written(value: impl Serialize) -> String {
    let json = serde_json::to_value(value).expect("serialises");
    json.as_str().expect("a name").to_owned()
}

#[test]
fn a_status_has_one_name() {
    for status in [AccountStatus::Open, AccountStatus::Frozen, AccountStatus::Closed] {
        assert_eq!(status.as_str(), written(status));
        assert_eq!(AccountStatus::parse(status.as_str()), Some(status));
    }
    assert_eq!(AccountStatus::parse("lost"), None);
    for status in [DisputeStatus::Inquiry, DisputeStatus::Open, DisputeStatus::Won, DisputeStatus::Lost] {
        assert_eq!(status.as_str(), written(status));
    }
    for status in
        [RefundStatus::Pending, RefundStatus::Succeeded, RefundStatus::Failed, RefundStatus::Cancelled]
    {
        assert_eq!(status.as_str(), written(status));
    }
    let requests = [
        (RequestStatus::Requested, "requested"),
        (RequestStatus::Pending, "pending"),
        (RequestStatus::Succeeded, "succeeded"),
        (RequestStatus::Failed, "failed"),
        (RequestStatus::Cancelled, "cancelled"),
        (RequestStatus::Refused, "refused"),
    ];
    for (status, name) in requests {
        assert_eq!(status.as_str(), name);
    }
}

#[test]
fn why_a_change_of_a_subscription_is_not_made_has_one_name() {
    use ChangeRefusal::{GivenUp, ItemGone, PaymentFailed, Refused, SubscriptionEnded};
    for refusal in [SubscriptionEnded, PaymentFailed, ItemGone, Refused, GivenUp] {
        assert_eq!(refusal.as_str(), written(refusal));
    }
}

#[test]
fn an_orders_status_has_one_name_and_reads_back() {
    for status in [OrderStatus::Placed, OrderStatus::Paid, OrderStatus::Expired, OrderStatus::Failed] {
        assert_eq!(status.as_str(), written(status));
        assert_eq!(OrderStatus::parse(status.as_str()), Some(status));
    }
    assert_eq!(OrderStatus::parse("lost"), None);
}

#[test]
fn a_fact_about_a_payment_is_named_after_what_it_says_and_not_after_who_brings_it() {
    let currency = eur();
    let refund = PaymentFact::Refund {
        refund: stripe("re_1"),
        status: RefundStatus::Pending,
        amount: 5,
        currency,
        request: None,
    };
    assert_eq!(refund.key_text(), "refund:re_1:pending");
    let charge = PaymentFact::ChargeRefunded { charge: stripe("ch_1"), amount_refunded: 7, currency };
    assert_eq!(charge.key_text(), "charge:ch_1:7");
    let dispute =
        PaymentFact::Dispute { dispute: stripe("dp_1"), status: DisputeStatus::Won, amount: 5, currency };
    assert_eq!(dispute.key_text(), "dispute:dp_1:2");
    let warning = PaymentFact::FraudWarning { warning: stripe("issfr_1") };
    assert_eq!(warning.key_text(), "fraud_warning:issfr_1");
    for (status, key) in [
        (RefundStatus::Succeeded, "refund:cn_1:succeeded"),
        (RefundStatus::Cancelled, "refund:cn_1:cancelled"),
    ] {
        let note = PaymentFact::CreditNote { note: stripe("cn_1"), status, amount: 5, currency };
        assert_eq!(note.key_text(), key);
    }
}

#[test]
fn a_scope_has_one_name_and_reads_back() {
    for scope in Scope::ALL {
        assert_eq!(scope.as_str(), written(scope));
        assert_eq!(Scope::parse(scope.as_str()), Some(scope));
    }
    assert_eq!(Scope::parse("root"), None);
}

#[test]
fn a_mode_has_one_name_and_reads_back() {
    for mode in [LedgerMode::Live, LedgerMode::Test] {
        assert_eq!(mode.as_str(), written(mode));
        assert_eq!(LedgerMode::parse(mode.as_str()), Some(mode));
    }
    assert_eq!(LedgerMode::parse("sandbox"), None);
}

#[test]
fn a_namespace_has_one_name() {
    for namespace in [Namespace::Client, Namespace::Stripe, Namespace::System] {
        assert_eq!(namespace.as_str(), written(namespace));
    }
}

#[test]
fn positions_follow_each_other() {
    assert_eq!(Position(1).next(), Position(2));
    assert_eq!(Position(2).next(), Position(3));
}
