//! Events: what happened, told once to the list and to every endpoint that wants it.

use serde_json::{Map, Value, json};

use super::{faults::Fate, ids, older, store::Kind, world::Transaction};

/// How long events can be read, in seconds.
pub(super) const KEPT_SECONDS: i64 = 30 * 24 * 3600;

impl Transaction<'_> {
    /// Records that something happened to `object`, as it is now.
    pub(super) fn emit(&mut self, event_type: &str, object: &Value) {
        self.emit_with(event_type, object, None);
    }

    /// Records a change: what was different before stands in the event, if anything was.
    pub(super) fn emit_change(&mut self, event_type: &str, before: &Value, after: &Value) {
        let previous = difference(before, after);
        self.emit_with(event_type, after, Some(previous));
    }

    fn emit_with(&mut self, event_type: &str, object: &Value, previous: Option<Value>) {
        let mut data = json!({ "object": object });
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        let event = json!({
            "id": ids::new(Kind::Event),
            "object": "event",
            "api_version": super::API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": false,
            "pending_webhooks": self.receivers(event_type).len(),
            "request": {
                "id": self.cause.request_id,
                "idempotency_key": self.cause.idempotency_key,
            },
            "type": event_type,
        });
        self.put(Kind::Event, &event);
        self.deliver(&event);
    }

    /// Has an event sent to everyone who wants it.
    pub(super) fn deliver(&mut self, event: &Value) {
        let event_type = event["type"].as_str().unwrap_or_default();
        for endpoint in self.receivers(event_type) {
            self.schedule(event, event_type, &endpoint);
        }
    }

    fn receivers(&self, event_type: &str) -> Vec<Value> {
        self.store
            .all(Kind::WebhookEndpoint)
            .filter(|endpoint| wants(endpoint, event_type))
            .cloned()
            .collect()
    }

    fn schedule(&mut self, event: &Value, event_type: &str, endpoint: &Value) {
        let fate = self.faults.fate_of_webhook(event_type);
        let (copies, delay_ms) = match fate {
            Fate::Arrives => (1, 0),
            Fate::Dropped => (0, 0),
            Fate::Duplicated => (2, 0),
            Fate::Delayed { milliseconds } => (1, milliseconds),
        };
        let mut delivery = json!({
            "event": event["id"],
            "type": event_type,
            "endpoint": endpoint["id"],
            "url": endpoint["url"],
            "attempts": [],
            "due_ms": self.now_ms.saturating_add(delay_ms),
            "status": "pending",
        });
        for _ in 0..copies {
            delivery["id"] = ids::new(Kind::Delivery).into();
            // It is sent even if the list of events has forgotten it by then.
            delivery["body"] = event.clone();
            self.put(Kind::Delivery, &delivery);
        }
        if copies == 0 {
            delivery["id"] = ids::new(Kind::Delivered).into();
            delivery["status"] = "dropped".into();
            self.put(Kind::Delivered, &delivery);
        }
    }
}

fn wants(endpoint: &Value, event_type: &str) -> bool {
    let is_wanted = endpoint["enabled_events"]
        .as_array()
        .is_some_and(|types| types.iter().any(|wanted| wanted == "*" || wanted == event_type));
    let version = endpoint["api_version"].as_str().unwrap_or(super::API_VERSION);
    is_wanted && endpoint["status"] == "enabled" && older::knows_event(version, event_type)
}

/// What of `before` is different in `after`: the values that were.
fn difference(before: &Value, after: &Value) -> Value {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return json!({}) };
    let mut previous = Map::new();
    for (name, value) in before {
        let now = after.get(name).unwrap_or(&Value::Null);
        if now == value {
            continue;
        }
        let is_plain_object = value.is_object() && now.is_object();
        previous.insert(name.clone(), if is_plain_object { difference(value, now) } else { value.clone() });
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        previous.insert(name.clone(), Value::Null);
    }
    Value::Object(previous)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_holds_what_was() {
        let before = json!({ "a": 1, "b": { "x": 1, "y": 2 }, "c": [1], "d": null });
        let after = json!({ "a": 1, "b": { "x": 1, "y": 3, "z": 4 }, "c": [2], "d": 5 });
        let expected = json!({ "b": { "y": 2, "z": null }, "c": [1], "d": null });
        assert_eq!(difference(&before, &after), expected);
    }
}
