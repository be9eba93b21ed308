//! Faults to order: what goes wrong with the next webhooks or answers, how often, and with which seed.
//!
//! A fault is ordered for the next so many that it fits, or with a probability, or for good. Chance comes from a seed, so
//! that the same requests in the same order meet the same faults.

use serde_json::{Value, json};

use super::answer::Failure;

/// All that were ordered, oldest first. The first that fits is the one that happens.
#[derive(Default)]
pub(super) struct Faults {
    ordered: Vec<Fault>,
    chance: Chance,
    next_id: u64,
}

struct Fault {
    id: u64,
    target: Target,
    often: Often,
    hits: u64,
}

enum Target {
    Webhooks { what: WebhookFault, types: Vec<String>, milliseconds: i64 },
    Api { what: ApiFault, method: Option<String>, path: Option<String> },
}

#[derive(Clone, Copy, PartialEq)]
enum Often {
    Next(u64),
    Probability(f64),
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WebhookFault {
    Duplicate,
    Reorder,
    Delay,
    Drop,
}

/// What becomes of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    Duplicated,
    Delayed { milliseconds: i64 },
    Dropped,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ApiFault {
    pub kind: ApiFaultKind,
    /// For `hang`, `slow` and `Retry-After`.
    pub seconds: f64,
    /// Whether the request is carried out all the same.
    pub is_committed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiFaultKind {
    RateLimit,
    Conflict,
    Forbidden,
    ServerError,
    BadGateway,
    Garbage,
    Hang,
    Cut,
    Down,
    Slow,
}

const WEBHOOK_FAULTS: &[(&str, WebhookFault)] = &[
    ("duplicate", WebhookFault::Duplicate),
    ("reorder", WebhookFault::Reorder),
    ("delay", WebhookFault::Delay),
    ("drop", WebhookFault::Drop),
];

const API_FAULTS: &[(&str, ApiFaultKind)] = &[
    ("rate_limit", ApiFaultKind::RateLimit),
    ("conflict", ApiFaultKind::Conflict),
    ("forbidden", ApiFaultKind::Forbidden),
    ("server_error", ApiFaultKind::ServerError),
    ("bad_gateway", ApiFaultKind::BadGateway),
    ("garbage", ApiFaultKind::Garbage),
    ("hang", ApiFaultKind::Hang),
    ("cut", ApiFaultKind::Cut),
    ("down", ApiFaultKind::Down),
    ("slow", ApiFaultKind::Slow),
];

impl Faults {
    /// Takes an order.
    ///
    /// # Errors
    /// Says which part of the order makes no sense.
    pub(super) fn order(&mut self, order: &Value) -> Result<Value, Failure> {
        const KEYS: &[&str] = &[
            "webhooks",
            "types",
            "api",
            "method",
            "path",
            "next",
            "probability",
            "seconds",
            "committed",
            "seed",
        ];
        let fields = order.as_object().ok_or_else(|| Failure::parameters("A fault is a JSON object."))?;
        if let Some(unknown) = fields.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(Failure::parameters(format!("A fault has no `{unknown}`.")).of(unknown.clone()));
        }
        let target = target(order)?;
        let often = often(order)?;
        if let Some(seed) = order.get("seed") {
            let seed = seed.as_u64().ok_or_else(|| Failure::parameters("`seed` is a number.").of("seed"))?;
            self.chance = Chance(seed);
        }
        let Some(target) = target else {
            return if order.get("seed").is_some() {
                Ok(self.list())
            } else {
                Err(Failure::parameters("A fault says `webhooks` or `api`."))
            };
        };
        self.next_id += 1;
        self.ordered.push(Fault { id: self.next_id, target, often, hits: 0 });
        Ok(self.ordered.last().map_or(Value::Null, Fault::shown))
    }

    pub(super) fn list(&self) -> Value {
        json!({ "faults": self.ordered.iter().map(Fault::shown).collect::<Vec<_>>() })
    }

    pub(super) fn clear(&mut self) {
        self.ordered.clear();
    }

    /// Takes one order back; says whether it was there.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let before = self.ordered.len();
        self.ordered.retain(|fault| fault.id != id);
        self.ordered.len() < before
    }

    pub(super) fn fate_of_webhook(&mut self, event_type: &str) -> Fate {
        for fault in &mut self.ordered {
            let Target::Webhooks { what, types, milliseconds } = &fault.target else { continue };
            let (what, milliseconds) = (*what, *milliseconds);
            if !types.is_empty() && !types.iter().any(|pattern| matches(pattern, event_type)) {
                continue;
            }
            if !fault.often.happens(&mut self.chance) {
                continue;
            }
            fault.hits += 1;
            return match what {
                WebhookFault::Duplicate => Fate::Duplicated,
                WebhookFault::Drop => Fate::Dropped,
                WebhookFault::Delay => Fate::Delayed { milliseconds },
                WebhookFault::Reorder => Fate::Delayed { milliseconds: self.chance.below(milliseconds) },
            };
        }
        Fate::Arrives
    }

    pub(super) fn fate_of_request(&mut self, method: &str, path: &str) -> Option<ApiFault> {
        for fault in &mut self.ordered {
            let Target::Api { what, method: only, path: under } = &fault.target else { continue };
            let what = *what;
            let is_meant = only.as_deref().is_none_or(|only| only.eq_ignore_ascii_case(method))
                && under.as_deref().is_none_or(|under| path.starts_with(under));
            if is_meant && fault.often.happens(&mut self.chance) {
                fault.hits += 1;
                return Some(what);
            }
        }
        None
    }
}

impl Fault {
    fn shown(&self) -> Value {
        let mut shown = json!({ "id": self.id, "hits": self.hits });
        match &self.target {
            Target::Webhooks { what, types, milliseconds } => {
                shown["webhooks"] = name_of(WEBHOOK_FAULTS, *what).into();
                shown["types"] = types.clone().into();
                shown["seconds"] = (*milliseconds / 1000).into();
            }
            Target::Api { what, method, path } => {
                shown["api"] = name_of(API_FAULTS, what.kind).into();
                shown["method"] = method.clone().into();
                shown["path"] = path.clone().into();
                shown["seconds"] = what.seconds.into();
                shown["committed"] = what.is_committed.into();
            }
        }
        match self.often {
            Often::Next(left) => shown["next"] = left.into(),
            Often::Probability(probability) => shown["probability"] = probability.into(),
            Often::Always => {}
        }
        shown
    }
}

impl Often {
    fn happens(&mut self, chance: &mut Chance) -> bool {
        match self {
            Self::Next(0) => false,
            Self::Next(left) => {
                *left -= 1;
                true
            }
            Self::Probability(probability) => chance.happens(*probability),
            Self::Always => true,
        }
    }
}

fn target(order: &Value) -> Result<Option<Target>, Failure> {
    let seconds = match order.get("seconds") {
        None => None,
        Some(seconds) => match seconds.as_f64() {
            Some(seconds) if (0.0..=86_400.0).contains(&seconds) => Some(seconds),
            _ => return Err(Failure::parameters("`seconds` is a number from 0 to 86400.").of("seconds")),
        },
    };
    match (order.get("webhooks"), order.get("api")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Failure::parameters("A fault is of `webhooks` or of `api`, not of both.")),
        (Some(name), None) => {
            let what = named(WEBHOOK_FAULTS, name, "webhooks")?;
            let types = order.get("types").and_then(Value::as_array).cloned().unwrap_or_default();
            let types = types.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            #[expect(clippy::cast_possible_truncation, reason = "at most a day, as checked above")]
            let milliseconds = (seconds.unwrap_or(1.0) * 1000.0) as i64;
            Ok(Some(Target::Webhooks { what, types, milliseconds }))
        }
        (None, Some(name)) => {
            let kind = named(API_FAULTS, name, "api")?;
            let usually_committed =
                matches!(kind, ApiFaultKind::Hang | ApiFaultKind::Cut | ApiFaultKind::Garbage);
            let is_committed = match kind {
                ApiFaultKind::RateLimit
                | ApiFaultKind::Conflict
                | ApiFaultKind::Forbidden
                | ApiFaultKind::Down => false,
                ApiFaultKind::Slow => true,
                _ => order.get("committed").and_then(Value::as_bool).unwrap_or(usually_committed),
            };
            let text = |name: &str| order.get(name).and_then(Value::as_str).map(str::to_owned);
            let what = ApiFault { kind, seconds: seconds.unwrap_or(1.0), is_committed };
            Ok(Some(Target::Api { what, method: text("method"), path: text("path") }))
        }
    }
}

fn often(order: &Value) -> Result<Often, Failure> {
    match (order.get("next"), order.get("probability")) {
        (None, None) => Ok(Often::Always),
        (Some(next), None) => next
            .as_u64()
            .map(Often::Next)
            .ok_or_else(|| Failure::parameters("`next` is a whole number.").of("next")),
        (None, Some(probability)) => match probability.as_f64() {
            Some(probability) if (0.0..=1.0).contains(&probability) => Ok(Often::Probability(probability)),
            _ => Err(Failure::parameters("`probability` is a number from 0 to 1.").of("probability")),
        },
        (Some(_), Some(_)) => Err(Failure::parameters("A fault says `next` or `probability`, not both.")),
    }
}

fn named<T: Copy>(table: &[(&str, T)], name: &Value, param: &str) -> Result<T, Failure> {
    table.iter().find(|(known, _)| name == known).map(|(_, what)| *what).ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|(known, _)| *known).collect();
        Failure::parameters(format!("`{param}` is one of {}.", known.join(", "))).of(param)
    })
}

fn name_of<T: PartialEq>(table: &[(&'static str, T)], what: T) -> &'static str {
    table.iter().find(|(_, known)| *known == what).map_or("", |(name, _)| name)
}

/// `charge.*` matches all that begins with `charge.`.
fn matches(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => event_type.starts_with(beginning),
        None => pattern == event_type,
    }
}

/// Chance with a seed: splitmix64.
struct Chance(u64);

impl Default for Chance {
    fn default() -> Self {
        Self(rand::random())
    }
}

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits of chance are enough")]
    fn happens(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / ((1_u64 << 53) as f64) < probability
    }

    fn below(&mut self, limit: i64) -> i64 {
        let limit = u64::try_from(limit).unwrap_or(0).max(1);
        i64::try_from(self.next() % limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_so_many_that_fit_are_hit() {
        let mut faults = Faults::default();
        let order = json!({ "api": "rate_limit", "method": "POST", "path": "/v1/refunds", "next": 2 });
        faults.order(&order).expect("a fault");
        assert!(faults.fate_of_request("GET", "/v1/refunds").is_none());
        assert!(faults.fate_of_request("POST", "/v1/customers").is_none());
        for _ in 0..2 {
            let fate = faults.fate_of_request("POST", "/v1/refunds").map(|fault| fault.kind);
            assert_eq!(fate, Some(ApiFaultKind::RateLimit));
        }
        assert!(faults.fate_of_request("POST", "/v1/refunds").is_none());
        assert_eq!(faults.list()["faults"][0]["hits"], 2);
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let run = || {
            let mut faults = Faults::default();
            let order = json!({ "webhooks": "drop", "types": ["charge.*"], "probability": 0.5, "seed": 7 });
            faults.order(&order).expect("a fault");
            (0..64).map(|_| faults.fate_of_webhook("charge.succeeded")).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        assert!(run().contains(&Fate::Dropped) && run().contains(&Fate::Arrives));
    }

    #[test]
    fn an_order_that_makes_no_sense_is_refused() {
        let mut faults = Faults::default();
        for order in [
            json!({}),
            json!([]),
            json!({ "api": "explode" }),
            json!({ "api": "down", "webhooks": "drop" }),
            json!({ "api": "down", "next": 1, "probability": 0.5 }),
            json!({ "api": "down", "probability": 2 }),
            json!({ "api": "down", "often": 1 }),
        ] {
            assert!(faults.order(&order).is_err(), "{order}");
        }
        assert_eq!(faults.list(), json!({ "faults": [] }));
    }
}
