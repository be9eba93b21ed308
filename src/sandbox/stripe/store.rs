//! Everything the simulator knows: objects by kind and id, in the order in which they were made.
//!
//! Objects are kept as the JSON that the API shows, in the pinned version. Invariants:
//! - one transaction at a time; an undone transaction leaves nothing behind;
//! - what a transaction changed is known by kind and id, so that it can be written down in one line;
//! - what time still changes is known without a look at what it does not, which is most of it after a while.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::due;

macro_rules! kinds {
    ($($kind:ident = $name:literal, $prefix:literal;)*) => {
        /// What kinds of things are kept. Those that Stripe has are named as in its `object` key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Kind { $($kind,)* }

        impl Kind {
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Stripe's name, the value of the `object` key.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What ids begin with.
            pub(super) const fn prefix(self) -> &'static str {
                match self { $(Self::$kind => $prefix,)* }
            }
        }
    };
}

kinds! {
    BalanceTransaction = "balance_transaction", "txn_3";
    Charge = "charge", "ch_3";
    CheckoutSession = "checkout.session", "cs_test_a1";
    Coupon = "coupon", "";
    CreditNote = "credit_note", "cn_1";
    Customer = "customer", "cus_";
    CustomerBalanceTransaction = "customer_balance_transaction", "cbtxn_1";
    Dispute = "dispute", "du_1";
    Event = "event", "evt_1";
    Invoice = "invoice", "in_1";
    InvoicePayment = "invoice_payment", "inpay_1";
    PaymentIntent = "payment_intent", "pi_3";
    PaymentMethod = "payment_method", "pm_1";
    PortalSession = "billing_portal.session", "bps_1";
    Price = "price", "price_1";
    Product = "product", "prod_";
    PromotionCode = "promotion_code", "promo_1";
    Refund = "refund", "re_3";
    SetupIntent = "setup_intent", "seti_1";
    Subscription = "subscription", "sub_1";
    SubscriptionItem = "subscription_item", "si_";
    WebhookEndpoint = "webhook_endpoint", "we_1";
    // The simulator's own.
    Delivery = "_delivery", "whd_";
    Delivered = "_delivered", "whd_";
    Hidden = "_hidden", "";
    IdempotentRequest = "_idempotent_request", "";
    Setting = "_setting", "";
}

impl Kind {
    /// The kind whose objects say this in `object`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

#[derive(Default)]
struct Collection {
    places: HashMap<String, u64>,
    objects: BTreeMap<u64, (String, Value)>,
    /// The places of those that wait for their time.
    waiting: BTreeSet<u64>,
}

impl Collection {
    fn get(&self, id: &str) -> Option<&Value> {
        self.objects.get(self.places.get(id)?).map(|(_, value)| value)
    }

    fn put(&mut self, place: u64, kind: Kind, id: &str, value: Value) {
        let place = *self.places.entry(id.to_owned()).or_insert(place);
        if due::waits(kind, &value) {
            self.waiting.insert(place);
        } else {
            self.waiting.remove(&place);
        }
        self.objects.insert(place, (id.to_owned(), value));
    }

    fn remove(&mut self, id: &str) {
        if let Some(place) = self.places.remove(id) {
            self.objects.remove(&place);
            self.waiting.remove(&place);
        }
    }
}

/// One change: what the object was before, `None` if it was not there, and its place if it was.
struct Change {
    kind: Kind,
    id: String,
    before: Option<(u64, Value)>,
}

/// All objects, and what the running transaction has changed.
#[derive(Default)]
pub(super) struct Store {
    collections: HashMap<Kind, Collection>,
    next_place: u64,
    changes: Vec<Change>,
}

impl Store {
    pub(super) fn get(&self, kind: Kind, id: &str) -> Option<&Value> {
        self.collections.get(&kind)?.get(id)
    }

    /// In the order in which they were made.
    pub(super) fn all(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Value> {
        self.collections
            .get(&kind)
            .into_iter()
            .flat_map(|collection| collection.objects.values().map(|(_, value)| value))
    }

    /// How many there are.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.collections.get(&kind).map_or(0, |collection| collection.objects.len())
    }

    /// With their ids, in the order in which they were made.
    pub(super) fn entries(&self, kind: Kind) -> impl DoubleEndedIterator<Item = (&str, &Value)> {
        self.collections
            .get(&kind)
            .into_iter()
            .flat_map(|collection| collection.objects.values().map(|(id, value)| (id.as_str(), value)))
    }

    /// Those that time still changes, with their ids, in the order in which they were made.
    pub(super) fn waiting(&self, kind: Kind) -> impl Iterator<Item = (&str, &Value)> {
        self.collections.get(&kind).into_iter().flat_map(|collection| {
            let waiting = collection.waiting.iter().filter_map(|place| collection.objects.get(place));
            waiting.map(|(id, value)| (id.as_str(), value))
        })
    }

    pub(super) fn put(&mut self, kind: Kind, id: &str, value: Value) {
        self.remember(kind, id);
        self.next_place += 1;
        self.collections.entry(kind).or_default().put(self.next_place, kind, id, value);
    }

    pub(super) fn remove(&mut self, kind: Kind, id: &str) {
        self.remember(kind, id);
        self.collections.entry(kind).or_default().remove(id);
    }

    fn remember(&mut self, kind: Kind, id: &str) {
        let collection = self.collections.entry(kind).or_default();
        let before = collection
            .places
            .get(id)
            .and_then(|place| collection.objects.get(place).map(|(_, value)| (*place, value.clone())));
        self.changes.push(Change { kind, id: id.to_owned(), before });
    }

    /// Forgets what the transaction changed, as if it had not been.
    pub(super) fn undo(&mut self) {
        while let Some(Change { kind, id, before }) = self.changes.pop() {
            let collection = self.collections.entry(kind).or_default();
            collection.remove(&id);
            if let Some((place, value)) = before {
                collection.put(place, kind, &id, value);
            }
        }
    }

    /// Ends the transaction: what it changed, each once, with what it is now; `None` if it is gone.
    pub(super) fn commit(&mut self) -> Vec<(Kind, String, Option<Value>)> {
        let mut changed: Vec<(Kind, String, Option<Value>)> = Vec::new();
        let mut seen = HashMap::new();
        for Change { kind, id, .. } in std::mem::take(&mut self.changes) {
            if seen.insert((kind, id.clone()), ()).is_none() {
                let now = self.get(kind, &id).cloned();
                changed.push((kind, id, now));
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(store: &Store) -> Vec<&str> {
        store.entries(Kind::Customer).map(|(id, _)| id).collect()
    }

    #[test]
    fn what_is_undone_was_never_there() {
        let mut store = Store::default();
        store.put(Kind::Customer, "a", json!(1));
        store.put(Kind::Customer, "b", json!(2));
        store.commit();
        store.put(Kind::Customer, "a", json!(3));
        store.remove(Kind::Customer, "a");
        store.put(Kind::Customer, "c", json!(4));
        store.undo();
        assert_eq!(ids(&store), ["a", "b"]);
        assert_eq!(store.get(Kind::Customer, "a"), Some(&json!(1)));
    }

    #[test]
    fn a_commit_names_each_change_once() {
        let mut store = Store::default();
        store.put(Kind::Customer, "a", json!(1));
        store.put(Kind::Customer, "a", json!(2));
        store.put(Kind::Customer, "b", json!(3));
        store.remove(Kind::Customer, "b");
        let expected =
            vec![(Kind::Customer, "a".to_owned(), Some(json!(2))), (Kind::Customer, "b".to_owned(), None)];
        assert_eq!(store.commit(), expected);
        assert_eq!(store.commit(), []);
    }

    #[test]
    fn a_changed_object_keeps_its_place() {
        let mut store = Store::default();
        for id in ["a", "b", "a"] {
            store.put(Kind::Customer, id, json!(id));
        }
        assert_eq!(ids(&store), ["a", "b"]);
    }

    #[test]
    fn what_time_still_changes_is_known_whatever_was_undone() {
        let mut store = Store::default();
        let waiting = |store: &Store| {
            store.waiting(Kind::CheckoutSession).map(|(id, _)| id.to_owned()).collect::<Vec<_>>()
        };
        for (id, status) in [("a", "open"), ("b", "complete"), ("c", "open")] {
            store.put(Kind::CheckoutSession, id, json!({ "status": status }));
        }
        store.commit();
        assert_eq!(waiting(&store), ["a", "c"]);
        store.put(Kind::CheckoutSession, "a", json!({ "status": "complete" }));
        store.remove(Kind::CheckoutSession, "c");
        assert_eq!(waiting(&store), [""; 0]);
        store.undo();
        assert_eq!(waiting(&store), ["a", "c"]);
    }

    #[test]
    fn names_lead_back_to_kinds() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(*kind));
        }
    }
}
