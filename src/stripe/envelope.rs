//! The envelope that every webhook comes in, in any API version.
//!
//! A snapshot event carries the object as it was when the event happened; a thin one only names it.
//!
//! Invariant: the envelope alone says which mode (test or live) and which Stripe account an event is of.

use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{self, origin},
    fields::Fields,
    invoice, json,
    no_fact::{Nonsense, Problem},
    object::StripeObject,
};
use crate::domain::{ids::StripeId, time::Timestamp};

/// The longest type of an event that is stored, in characters; Stripe's are half as long.
const LONGEST_TYPE: usize = 128;

/// What the type of a thin event has before the type of the snapshot event that it stands for.
pub(super) const THIN_PREFIX: &str = "v1.";

/// What an event is called where it is stored, read without judging the rest of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The event's id, `evt_…`.
    pub id: StripeId,
    /// Its type, such as `checkout.session.completed`.
    pub kind: String,
}

impl Identity {
    /// Reads id and type; `None` if the body does not give both.
    #[must_use]
    pub fn of(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Named<'body> {
            id: std::borrow::Cow<'body, str>,
            #[serde(rename = "type")]
            kind: std::borrow::Cow<'body, str>,
        }
        let named: Named<'_> = serde_json::from_slice(body).ok()?;
        let is_type = (1..=LONGEST_TYPE).contains(&named.kind.len())
            && named.kind.bytes().all(|byte| byte.is_ascii_graphic());
        is_type.then_some(())?;
        Some(Self { id: StripeId::parse(&named.id).ok()?, kind: named.kind.into_owned() })
    }
}

/// What a webhook would hold that tells how an object is now. It is no event of Stripe's and has an id of its own.
#[must_use]
pub fn event_about(id: &str, kind: &str, object: &Value, livemode: bool, created: Timestamp) -> Vec<u8> {
    let event = serde_json::json!({
        "id": id,
        "object": "event",
        "type": kind,
        "created": created.unix_seconds(),
        "livemode": livemode,
        "api_version": client::api_version(),
        "data": { "object": object },
    });
    event.to_string().into_bytes()
}

/// An event as Stripe sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The event's id, `evt_…`; the same in every delivery of it.
    pub id: StripeId,
    /// Its type, such as `checkout.session.completed`.
    pub kind: String,
    /// When what it tells of happened, by Stripe's clock; snapshot events tell whole seconds.
    pub created: Option<Timestamp>,
    /// The API version that shaped the object; thin events have none.
    pub api_version: Option<String>,
    /// Whether real money is concerned.
    pub livemode: bool,
    /// The connected account that the event is of; none for the account that owns the endpoint.
    pub account: Option<String>,
    /// What the event is about.
    pub payload: Payload,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// The object itself, as it was at the event's time.
    Snapshot(Value),
    /// The id of an object, to be fetched.
    Thin(StripeId),
}

impl Event {
    /// Parses a body whose signature has been verified.
    ///
    /// # Errors
    /// [`Nonsense`] if the body is no event of Stripe's.
    pub fn parse(body: &[u8]) -> Result<Self, Nonsense> {
        let value = json::parse(body)
            .map_err(|error| Nonsense { field: "body".to_owned(), problem: Problem::Unreadable(error) })?;
        if !value.is_object() {
            return Err(Nonsense { field: "body".to_owned(), problem: Problem::NotAnObject });
        }
        let event = Fields::of("", &value)?;
        let missing = |name| event.nonsense(name, Problem::Missing);
        let payload = match event.text("object")? {
            Some("v2.core.event") => Payload::Thin(related_object(&event)?),
            Some("event") => Payload::Snapshot(snapshot(&event)?),
            _ => return Err(event.nonsense("object", Problem::Unknown)),
        };
        Ok(Self {
            id: event.own_id()?,
            kind: event.text("type")?.ok_or_else(|| missing("type"))?.to_owned(),
            created: created(&event)?,
            api_version: event.text("api_version")?.map(str::to_owned),
            livemode: event.flag("livemode")?.ok_or_else(|| missing("livemode"))?,
            account: account(&event)?,
            payload,
        })
    }

    /// The name of the ledger that had its object made, if the object carries our mark.
    #[must_use]
    pub fn ledger(&self) -> Option<&str> {
        match &self.payload {
            Payload::Snapshot(object) => {
                let own = object.get("metadata").and_then(|marks| marks.get(origin::LEDGER));
                let of_subscription = || invoice::marks_of(object)?.get(origin::LEDGER);
                // A credit note that was fetched comes with its invoice.
                let of_invoice = || invoice::marks_of(object.get("invoice")?)?.get(origin::LEDGER);
                own.or_else(of_subscription).or_else(of_invoice)?.as_str()
            }
            Payload::Thin(_) => None,
        }
    }

    /// The same event about an object that was fetched: what a thin event only names, or one with more fields than
    /// the event carried.
    #[must_use]
    pub fn with_object(mut self, object: StripeObject) -> Self {
        if let (Payload::Thin(_), Some(kind)) = (&self.payload, self.kind.strip_prefix(THIN_PREFIX)) {
            self.kind = kind.to_owned();
        }
        self.payload = Payload::Snapshot(object.into_json());
        self
    }
}

/// Snapshot events tell seconds since 1970, thin ones a text.
fn created(event: &Fields<'_>) -> Result<Option<Timestamp>, Nonsense> {
    let moment = match event.value("created") {
        None => return Ok(None),
        Some(Value::String(text)) => Timestamp::parse(text),
        Some(_) => event.count("created")?.and_then(Timestamp::from_unix_seconds),
    };
    moment.map(Some).ok_or_else(|| event.nonsense("created", Problem::OutOfRange))
}

fn snapshot(event: &Fields<'_>) -> Result<Value, Nonsense> {
    let data = event.object("data")?.ok_or_else(|| event.nonsense("data", Problem::Missing))?;
    data.value("object").cloned().ok_or_else(|| data.nonsense("object", Problem::Missing))
}

fn related_object(event: &Fields<'_>) -> Result<StripeId, Nonsense> {
    event
        .object("related_object")?
        .ok_or_else(|| event.nonsense("related_object", Problem::Missing))?
        .own_id()
}

/// Snapshot events name the connected account in `account`, thin ones in `context`.
fn account(event: &Fields<'_>) -> Result<Option<String>, Nonsense> {
    let named = match event.text("account")? {
        Some(account) => Some(account),
        None => event.text("context")?,
    };
    Ok(named.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: &Value) -> Result<Event, String> {
        Event::parse(body.to_string().as_bytes()).map_err(|nonsense| nonsense.to_string())
    }

    fn snapshot_event() -> Value {
        json!({
            "id": "evt_1", "object": "event", "type": "refund.created", "livemode": false,
            "api_version": "2025-03-31.basil", "created": 1, "data": {"object": {"id": "re_1"}},
        })
    }

    #[test]
    fn a_snapshot_event_carries_its_object() {
        let event = parse(&snapshot_event()).expect("an event");
        assert_eq!(event.id.as_str(), "evt_1");
        assert_eq!(event.kind, "refund.created");
        assert_eq!(event.api_version.as_deref(), Some("2025-03-31.basil"));
        assert!(!event.livemode);
        assert_eq!(event.created, Timestamp::from_unix_seconds(1));
        assert_eq!(event.account, None);
        assert_eq!(event.payload, Payload::Snapshot(json!({"id": "re_1"})));
    }

    #[test]
    fn what_tells_how_an_object_is_reads_as_an_event() {
        let (object, moment) = (json!({"id": "re_1"}), Timestamp::from_unix_seconds(9).expect("a moment"));
        let body = event_about("evt_of_ours", "refund.updated", &object, true, moment);
        let event = Event::parse(&body).expect("an event");
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("evt_of_ours", "refund.updated"));
        assert!(event.livemode && event.created == Some(moment));
        assert_eq!(event.payload, Payload::Snapshot(object));
    }

    #[test]
    fn a_thin_event_names_its_object() {
        let event = parse(&json!({
            "id": "evt_1", "object": "v2.core.event", "type": "v1.charge.refunded", "livemode": true,
            "created": "2026-10-01T10:00:00.000Z", "context": null,
            "related_object": {"id": "ch_1", "type": "charge", "url": "/v1/charges/ch_1"},
        }))
        .expect("an event");
        assert_eq!(event.payload, Payload::Thin(StripeId::parse("ch_1").expect("an id")));
        assert!(event.livemode);
        assert_eq!(event.created, Timestamp::parse("2026-10-01T10:00:00Z"));
    }

    #[test]
    fn a_thin_event_becomes_the_one_that_it_stands_for_once_its_object_is_fetched() {
        let thin = parse(&json!({
            "id": "evt_1", "object": "v2.core.event", "type": "v1.charge.refunded", "livemode": true,
            "related_object": {"id": "ch_1", "type": "charge"},
        }));
        let charge = json!({"id": "ch_1", "object": "charge"});
        let object = StripeObject::read("charge", charge.clone()).expect("a charge");
        let event = thin.expect("an event").with_object(object);
        assert_eq!((event.kind.as_str(), event.payload), ("charge.refunded", Payload::Snapshot(charge)));
    }

    #[test]
    fn an_object_of_ours_names_the_ledger_that_it_was_made_for() {
        let mut body = snapshot_event();
        assert_eq!(parse(&body).expect("an event").ledger(), None);
        body["data"]["object"]["metadata"] = json!({"counterfoil_ledger": "shop"});
        assert_eq!(parse(&body).expect("an event").ledger(), Some("shop"));
    }

    #[test]
    fn a_connected_account_is_seen_in_either_field() {
        for field in ["account", "context"] {
            let mut body = snapshot_event();
            body[field] = json!("acct_1");
            assert_eq!(parse(&body).expect("an event").account.as_deref(), Some("acct_1"), "{field}");
        }
    }

    #[test]
    fn what_lacks_a_part_of_the_envelope_is_named() {
        for (field, message) in [
            ("id", "`id` is missing"),
            ("object", "`object` has an unknown value"),
            ("type", "`type` is missing"),
            ("livemode", "`livemode` is missing"),
            ("data", "`data` is missing"),
        ] {
            let mut body = snapshot_event();
            body.as_object_mut().expect("an object").remove(field);
            assert_eq!(parse(&body).expect_err(field), message);
        }
        assert_eq!(parse(&json!([])).expect_err("a list"), "`body` is not an object");
        let nonsense = Event::parse(b"<html>").expect_err("not JSON");
        assert!(nonsense.to_string().starts_with("`body` cannot be read: "), "{nonsense}");
    }

    #[test]
    fn an_identity_is_read_from_a_body_that_makes_no_sense_otherwise() {
        let identity = Identity::of(br#"{"type":"refund.created","data":7,"id":"evt_\u0031"}"#);
        assert_eq!(identity.map(|identity| identity.id), StripeId::parse("evt_1").ok());
        for body in
            ["", "[]", r#"{"id":"evt_1"}"#, r#"{"id":"evt\u0000","type":"a"}"#, r#"{"id":1,"type":"a"}"#]
        {
            assert_eq!(Identity::of(body.as_bytes()), None, "{body}");
        }
    }
}
