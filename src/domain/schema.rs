//! The JSON Schemas of the texts and numbers that events are made of. What is made of these derives its own.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    amount::{Amount, Currency},
    ids::{
        CheckoutLinkId, DebtId, FeatureKey, HoldId, KeyId, LotId, OrderId, PaymentReference, PriceId,
        PurchaseId, RefundRequestId, SpendId, StripeId, SubscriptionChangeId, TransferId, Unit,
    },
    time::Timestamp,
};

macro_rules! schemas {
    ($($name:ident: $schema:tt;)+) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}
schemas! {
    Amount: {"type": "integer", "minimum": 1, "maximum": 9_007_199_254_740_991_i64};
    Currency: {"type": "string", "pattern": "^[a-z]{3}$"};
    Timestamp: {"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z$"};
    Unit: {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$"};
    FeatureKey: {"type": "string", "pattern": "^[a-z][a-z0-9_.-]{0,63}$"};
    PriceId: {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"};
    StripeId: {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$"};
    PaymentReference: {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$"};
    LotId: {"type": "string", "pattern": "^lot_[0-9a-f]{32}$"};
    SpendId: {"type": "string", "pattern": "^spd_[0-9a-f]{32}$"};
    HoldId: {"type": "string", "pattern": "^hld_[0-9a-f]{32}$"};
    PurchaseId: {"type": "string", "pattern": "^pur_[0-9a-f]{32}$"};
    TransferId: {"type": "string", "pattern": "^trf_[0-9a-f]{32}$"};
    OrderId: {"type": "string", "pattern": "^ord_[0-9a-f]{32}$"};
    RefundRequestId: {"type": "string", "pattern": "^rfd_[0-9a-f]{32}$"};
    SubscriptionChangeId: {"type": "string", "pattern": "^sch_[0-9a-f]{32}$"};
    DebtId: {"type": "string", "pattern": "^dbt_[0-9a-f]{32}$"};
    KeyId: {"type": "string", "pattern": "^key_[0-9a-f]{32}$"};
    CheckoutLinkId: {"type": "string", "pattern": "^lnk_[0-9a-f]{32}$"};
}
