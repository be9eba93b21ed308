//! Names are the same in Rust, in JSON and in storage, and each name reads back as what it was written for.

use serde::Serialize;

use crate::domain::{
    account::AccountStatus,
    ids::{Namespace, Position},
    payment::RefundStatus,
    settings::{LedgerMode, Scope},
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
    }
    for status in
        [RefundStatus::Pending, RefundStatus::Succeeded, RefundStatus::Failed, RefundStatus::Cancelled]
    {
        assert_eq!(status.as_str(), written(status));
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
