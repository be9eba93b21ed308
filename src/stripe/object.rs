//! Objects as Stripe answers with them: a few fields read, the rest kept as it came.
//!
//! Invariants:
//! - only what a caller cannot do without is required; Stripe adds and drops everything else as it likes;
//! - an object may hold personal data, so `Debug` shows its kind and id alone;
//! - a fetched object is read by the same readers as one that a webhook carries: see [`super::Event::with_object`].

use std::fmt;

use serde_json::Value;

use super::{
    fields::Fields,
    no_fact::{Nonsense, Problem},
};
use crate::domain::{ids::StripeId, time::Timestamp};

/// An object of Stripe's, whole.
#[derive(Clone, PartialEq)]
pub struct StripeObject {
    id: StripeId,
    json: Value,
}

impl StripeObject {
    /// Takes an object of the given kind. One that does not say its kind is believed.
    ///
    /// # Errors
    /// [`Nonsense`] if it has no id or says to be of another kind.
    pub fn read(kind: &str, json: Value) -> Result<Self, Nonsense> {
        let fields = Fields::of(kind, &json)?;
        fields.expect_kind(kind)?;
        Ok(Self { id: fields.own_id()?, json })
    }

    /// Its id.
    pub fn id(&self) -> &StripeId {
        &self.id
    }

    /// All of it, as Stripe sent it.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// All of it, as Stripe sent it.
    pub fn into_json(self) -> Value {
        self.json
    }

    /// A text of its metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.json.get("metadata")?.get(key)?.as_str()
    }

    /// Its kind, as it says itself.
    pub fn kind(&self) -> Option<&str> {
        self.json.get("object")?.as_str()
    }

    pub(super) fn fields(&self) -> Result<Fields<'_>, Nonsense> {
        Fields::of(self.kind().unwrap_or("object"), &self.json)
    }
}

impl fmt::Debug for StripeObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind().unwrap_or("object"), self.id)
    }
}

/// Objects of a list, and whether there are more behind them.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// In Stripe's order, the newest first where they have a time.
    pub objects: Vec<StripeObject>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Page {
    /// Reads a list of objects of the given kind.
    ///
    /// # Errors
    /// [`Nonsense`] if it is no list, or one of its objects cannot be.
    pub fn read(kind: &str, list: &Value) -> Result<Self, Nonsense> {
        let fields = Fields::of("list", list)?;
        fields.expect_kind("list")?;
        let data = fields.list("data")?.ok_or_else(|| fields.nonsense("data", Problem::Missing))?;
        let objects: Result<_, _> =
            data.iter().map(|object| StripeObject::read(kind, object.clone())).collect();
        Ok(Self { objects: objects?, has_more: fields.flag("has_more")?.unwrap_or(false) })
    }

    /// What the next page begins after.
    pub fn next(&self) -> Option<StripeId> {
        self.objects.last().filter(|_| self.has_more).map(|last| last.id().clone())
    }
}

/// Prices of a list, as they came. Prices that were plans once may have ids of any form, so none is read here.
#[derive(Clone, PartialEq, Debug)]
pub struct PricePage {
    /// The prices.
    pub prices: Vec<Value>,
    /// What the next page begins after, if there is one.
    pub next: Option<String>,
}

impl PricePage {
    /// Reads a list of prices.
    ///
    /// # Errors
    /// [`Nonsense`] if it is no list, or if it has a next page and does not say after what.
    pub fn read(list: &Value) -> Result<Self, Nonsense> {
        let fields = Fields::of("list", list)?;
        fields.expect_kind("list")?;
        let prices = fields.list("data")?.ok_or_else(|| fields.nonsense("data", Problem::Missing))?;
        let next = match fields.flag("has_more")? {
            Some(true) => {
                let last = prices.last().and_then(|price| price.get("id")).and_then(Value::as_str);
                Some(last.ok_or_else(|| fields.nonsense("data", Problem::NotAnId))?.to_owned())
            }
            _ => None,
        };
        Ok(Self { prices: prices.clone(), next })
    }
}

/// A customer.
#[derive(Clone, PartialEq, Debug)]
pub struct Customer {
    /// Its id, `cus_…`.
    pub id: StripeId,
    /// Whether it is only the shell that is left of a deleted one.
    pub is_deleted: bool,
    /// All of it.
    pub object: StripeObject,
}

impl Customer {
    /// Reads one.
    ///
    /// # Errors
    /// [`Nonsense`] that names the field.
    pub fn read(json: Value) -> Result<Self, Nonsense> {
        Self::of(StripeObject::read("customer", json)?)
    }

    pub(super) fn of(object: StripeObject) -> Result<Self, Nonsense> {
        let is_deleted = object.fields()?.flag("deleted")?.unwrap_or(false);
        Ok(Self { id: object.id().clone(), is_deleted, object })
    }
}

/// How far a checkout has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckoutStatus {
    /// The buyer may still pay.
    Open,
    /// The buyer is done; the money may still be on its way.
    Complete,
    /// Nobody can pay any more.
    Expired,
    /// Something that Stripe did not have when this was written, or nothing at all.
    Other,
}

/// A checkout session.
#[derive(Clone, PartialEq, Debug)]
pub struct CheckoutSession {
    /// Its id, `cs_…`.
    pub id: StripeId,
    /// How far it has come.
    pub status: CheckoutStatus,
    /// Where the buyer pays, while it is open.
    pub url: Option<String>,
    /// Until when the buyer may pay.
    pub expires_at: Option<Timestamp>,
    /// Who buys.
    pub customer: Option<StripeId>,
    /// What pays, once that has begun.
    pub payment_intent: Option<StripeId>,
    /// All of it.
    pub object: StripeObject,
}

impl CheckoutSession {
    /// Reads one.
    ///
    /// # Errors
    /// [`Nonsense`] that names the field.
    pub fn read(json: Value) -> Result<Self, Nonsense> {
        Self::of(StripeObject::read("checkout.session", json)?)
    }

    pub(super) fn of(object: StripeObject) -> Result<Self, Nonsense> {
        let fields = object.fields()?;
        let status = match fields.text("status")? {
            Some("open") => CheckoutStatus::Open,
            Some("complete") => CheckoutStatus::Complete,
            Some("expired") => CheckoutStatus::Expired,
            _ => CheckoutStatus::Other,
        };
        Ok(Self {
            id: object.id().clone(),
            status,
            url: fields.text("url")?.map(str::to_owned),
            expires_at: fields.count("expires_at")?.and_then(Timestamp::from_unix_seconds),
            customer: fields.id("customer")?,
            payment_intent: fields.id("payment_intent")?,
            object,
        })
    }
}

/// A refund.
#[derive(Clone, PartialEq, Debug)]
pub struct Refund {
    /// Its id, `re_…` or `pyr_…`.
    pub id: StripeId,
    /// The payment that it is of.
    pub payment_intent: Option<StripeId>,
    /// All of it; [`super::extract_refund`] reads the fact.
    pub object: StripeObject,
}

impl Refund {
    /// Reads one.
    ///
    /// # Errors
    /// [`Nonsense`] that names the field.
    pub fn read(json: Value) -> Result<Self, Nonsense> {
        Self::of(StripeObject::read("refund", json)?)
    }

    pub(super) fn of(object: StripeObject) -> Result<Self, Nonsense> {
        let payment_intent = object.fields()?.id("payment_intent")?;
        Ok(Self { id: object.id().clone(), payment_intent, object })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_is_read_whatever_else_it_holds() {
        let session = CheckoutSession::read(json!({
            "id": "cs_test_1", "object": "checkout.session", "status": "open", "url": "https://pay.test/1",
            "expires_at": 1_800_000_000, "customer": {"id": "cus_1", "object": "customer", "email": "a@example.com"},
            "metadata": {"counterfoil_effect": "eff_1"}, "brand_new": [1, 2, 3],
        }))
        .expect("a session");
        assert_eq!(session.status, CheckoutStatus::Open);
        assert_eq!(session.customer.as_ref().map(StripeId::as_str), Some("cus_1"));
        assert_eq!(session.expires_at.map(Timestamp::unix_seconds), Some(1_800_000_000));
        assert_eq!(session.object.metadata("counterfoil_effect"), Some("eff_1"));
        assert!(!format!("{session:?}").contains("example.com"), "{session:?}");
        let least = CheckoutSession::read(json!({"id": "cs_1", "status": "brand_new"})).expect("a session");
        assert_eq!((least.status, least.url), (CheckoutStatus::Other, None));
    }

    #[test]
    fn what_is_left_of_a_deleted_customer_says_so() {
        let shell = json!({"id": "cus_1", "object": "customer", "deleted": true});
        assert!(Customer::read(shell).expect("a customer").is_deleted);
        assert!(!Customer::read(json!({"id": "cus_1"})).expect("a customer").is_deleted);
    }

    #[test]
    fn an_object_without_id_or_of_another_kind_is_refused() {
        assert!(Customer::read(json!({"object": "customer"})).is_err());
        assert!(Customer::read(json!({"id": "re_1", "object": "refund"})).is_err());
        assert!(Refund::read(json!([])).is_err());
    }

    #[test]
    fn a_list_says_where_it_goes_on() {
        let list = json!({"object": "list", "data": [{"id": "re_2"}, {"id": "re_1"}], "has_more": true});
        let page = Page::read("refund", &list).expect("a list");
        assert_eq!(page.next().as_ref().map(StripeId::as_str), Some("re_1"));
        let last =
            Page::read("refund", &json!({"data": [{"id": "re_1"}], "has_more": false})).expect("a list");
        assert_eq!(last.next(), None);
        assert!(Page::read("refund", &json!({"object": "list"})).is_err());
    }
}
