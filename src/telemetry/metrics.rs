//! What this process counts and measures, for Prometheus.
//!
//! Every series is declared here, with its help and its buckets, and named by a constant: whoever emits one names the
//! constant. Names follow Prometheus' conventions (base units, `_total` for counters). Labels are bounded: a route's
//! pattern, a method, a status, an event's type, a projection's name; never an account, a ledger, an id or a text that
//! a client chose.

use std::time::Duration;

use metrics::{
    SetRecorderError, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

/// Counter: requests answered, by `method`, `route` and `status`.
pub const HTTP_REQUESTS: &str = "counterfoil_http_requests_total";
/// Histogram: seconds until an answer began, by `method`, `route` and `status`.
pub const HTTP_REQUEST_DURATION: &str = "counterfoil_http_request_duration_seconds";
/// Histogram: commands decided in one batch.
pub const WRITER_BATCH_COMMANDS: &str = "counterfoil_writer_batch_commands";
/// Histogram: seconds that one batch took from taking the head's lock to the answer to COMMIT.
pub const WRITER_COMMIT: &str = "counterfoil_writer_commit_seconds";
/// Gauge: commands that wait for a batch, over all ledgers of this process.
pub const WRITER_QUEUE_DEPTH: &str = "counterfoil_writer_queue_depth";
/// Counter: events committed by this process, by `type`.
pub const EVENTS: &str = "counterfoil_events_total";
/// Counter: webhooks that were not believed, by `reason`.
pub const WEBHOOKS_REFUSED: &str = "counterfoil_webhooks_refused_total";
/// Gauge: stored webhooks that are not done, by `status`.
pub const INBOX_EVENTS: &str = "counterfoil_inbox_events";
/// Counter: stored webhooks that this process has done, by `status`.
pub const INBOX_DONE: &str = "counterfoil_inbox_done_total";
/// Counter: orders that were paid although they had been paid before.
pub const ORDERS_PAID_AGAIN: &str = "counterfoil_orders_paid_again_total";
/// Gauge: effects in the outbox, by `state` and `kind`.
pub const OUTBOX_EFFECTS: &str = "counterfoil_outbox_effects";
/// Gauge: age of the oldest effect, by `state`; 0 if there is none.
pub const OUTBOX_OLDEST_SECONDS: &str = "counterfoil_outbox_oldest_seconds";
/// Counter: attempts at effects by this process, by `kind` and `outcome`.
pub const OUTBOX_ATTEMPTS: &str = "counterfoil_outbox_attempts_total";
/// Gauge: ledgers for which this process leaves a destination alone, by `destination`.
pub const OUTBOX_BREAKERS_OPEN: &str = "counterfoil_outbox_breakers_open";
/// Counter: runs of the reconciliation with Stripe that this process ended, by `kind` and `outcome`.
pub const RECONCILIATION_RUNS: &str = "counterfoil_reconciliation_runs_total";
/// Counter: events of Stripe's that no webhook had brought, taken in by this process.
pub const RECONCILIATION_EVENTS: &str = "counterfoil_reconciliation_events_total";
/// Gauge: differences between Stripe and the ledgers that nobody has settled, by `kind`.
pub const RECONCILIATION_FINDINGS: &str = "counterfoil_reconciliation_findings";
/// Gauge: seconds since Stripe's events were last read, of the ledger for which that is longest ago.
pub const RECONCILIATION_LAG_SECONDS: &str = "counterfoil_reconciliation_lag_seconds";
/// Gauge: ledgers whose effects wait because they may lack what Stripe knows.
pub const RECONCILIATION_PAUSED: &str = "counterfoil_reconciliation_paused_ledgers";
/// Counter: events folded by this process, by `projection`.
pub const PROJECTOR_EVENTS: &str = "counterfoil_projector_events_total";
/// Gauge: events that the ledger furthest behind has not folded yet, by `projection`.
pub const PROJECTOR_LAG_EVENTS: &str = "counterfoil_projector_lag_events";
/// Gauge: age of the oldest event not folded yet in any ledger, by `projection`; 0 if there is none.
pub const PROJECTOR_LAG_SECONDS: &str = "counterfoil_projector_lag_seconds";
/// Gauge: ledgers that an unreadable event has stopped, by `projection`.
pub const PROJECTOR_HALTED: &str = "counterfoil_projector_halted_ledgers";
/// Gauge: events that a projection of statistics has passed over, by `projection`.
pub const PROJECTOR_PARKED: &str = "counterfoil_projector_parked_events";
/// Counter: events sealed by this process.
pub const SEALER_EVENTS: &str = "counterfoil_sealer_events_total";
/// Gauge: events that the log furthest behind does not cover yet.
pub const SEALER_LAG_EVENTS: &str = "counterfoil_sealer_lag_events";
/// Gauge: age of the oldest event that no log covers yet; 0 if there is none.
pub const SEALER_LAG_SECONDS: &str = "counterfoil_sealer_lag_seconds";
/// Gauge: ledgers whose log is halted.
pub const SEALER_HALTED: &str = "counterfoil_sealer_halted_ledgers";
/// Gauge: events that are sealed and whose checkpoint does not stand outside yet, of the log with most of them.
pub const SEALER_UNPUBLISHED: &str = "counterfoil_sealer_unpublished_events";
/// Gauge: always 1; its label `version` says what runs.
pub const BUILD_INFO: &str = "counterfoil_build_info";

/// What a series measures, and how.
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// One line for people.
    pub help: &'static str,
}

/// How the values of a series behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// Every series that there is.
pub const SERIES: &[Series] = &[
    counter(HTTP_REQUESTS, "Requests answered."),
    histogram(HTTP_REQUEST_DURATION, Unit::Seconds, "Time from a request to the start of its answer."),
    histogram(WRITER_BATCH_COMMANDS, Unit::Count, "Commands decided in one batch."),
    histogram(WRITER_COMMIT, Unit::Seconds, "Time that one batch took in the database."),
    gauge(WRITER_QUEUE_DEPTH, Unit::Count, "Commands that wait for a batch."),
    counter(EVENTS, "Events committed."),
    counter(WEBHOOKS_REFUSED, "Webhooks whose signature was bad, old or missing."),
    gauge(INBOX_EVENTS, Unit::Count, "Stored webhooks that wait, fail or are quarantined."),
    counter(INBOX_DONE, "Stored webhooks done: processed or ignored."),
    counter(ORDERS_PAID_AGAIN, "Orders paid that had been paid before: somebody paid twice."),
    gauge(OUTBOX_EFFECTS, Unit::Count, "Effects that wait, back off, are held behind others, or are dead."),
    gauge(OUTBOX_OLDEST_SECONDS, Unit::Seconds, "Age of the oldest effect that is not done."),
    counter(OUTBOX_ATTEMPTS, "Attempts at effects."),
    gauge(OUTBOX_BREAKERS_OPEN, Unit::Count, "Ledgers for which a destination of effects is left alone."),
    counter(RECONCILIATION_RUNS, "Runs of the reconciliation with Stripe."),
    counter(RECONCILIATION_EVENTS, "Events of Stripe's that no webhook had brought."),
    gauge(RECONCILIATION_FINDINGS, Unit::Count, "Differences between Stripe and the ledgers."),
    gauge(RECONCILIATION_LAG_SECONDS, Unit::Seconds, "Time since Stripe's events were last read."),
    gauge(RECONCILIATION_PAUSED, Unit::Count, "Ledgers whose effects wait until Stripe was asked."),
    counter(PROJECTOR_EVENTS, "Events folded into a projection."),
    gauge(PROJECTOR_LAG_EVENTS, Unit::Count, "Events that the ledger furthest behind has yet to fold."),
    gauge(PROJECTOR_LAG_SECONDS, Unit::Seconds, "Age of the oldest event that is yet to be folded."),
    gauge(PROJECTOR_HALTED, Unit::Count, "Ledgers that an unreadable event has stopped."),
    gauge(PROJECTOR_PARKED, Unit::Count, "Events that statistics have passed over."),
    counter(SEALER_EVENTS, "Events sealed."),
    gauge(SEALER_LAG_EVENTS, Unit::Count, "Events that the log furthest behind does not cover yet."),
    gauge(SEALER_LAG_SECONDS, Unit::Seconds, "Age of the oldest event that its log does not cover yet."),
    gauge(SEALER_HALTED, Unit::Count, "Ledgers whose log is halted."),
    gauge(SEALER_UNPUBLISHED, Unit::Count, "Events whose checkpoint does not stand outside yet."),
    gauge(BUILD_INFO, Unit::Count, "What runs; always 1."),
];

const fn counter(name: &'static str, help: &'static str) -> Series {
    Series { name, kind: Kind::Counter, unit: Unit::Count, help }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Series {
    Series { name, kind: Kind::Gauge, unit, help }
}

const fn histogram(name: &'static str, unit: Unit, help: &'static str) -> Series {
    Series { name, kind: Kind::Histogram, unit, help }
}

/// Seconds: from a cached read to a request that gave up.
const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Commands: a lone one up to a full batch.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// How often samples are moved into histograms: between two scrapes at the usual distance.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The series of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter refuses its settings.
    #[error("the metrics exporter refuses its settings")]
    Settings(#[from] BuildError),
    /// Another recorder is in place.
    #[error("metrics have been set up in this process before")]
    Twice(#[from] SetRecorderError<PrometheusRecorder>),
}

impl Metrics {
    /// Takes over what the macros of `metrics` emit in this process.
    ///
    /// # Errors
    /// [`MetricsError::Twice`] if something does so already.
    pub fn install() -> Result<Self, MetricsError> {
        let recorder = recorder()?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        declare();
        Ok(Self { handle })
    }

    /// Everything measured so far, in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Keeps histograms from growing without bound; never ends. To be run beside the rest of the process.
    pub async fn upkeep(&self) {
        let mut moments = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            moments.tick().await;
            self.handle.run_upkeep();
        }
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let named = |name: &str| Matcher::Full(name.to_owned());
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(named(HTTP_REQUEST_DURATION), DURATION_BUCKETS)?
        .set_buckets_for_metric(named(WRITER_COMMIT), DURATION_BUCKETS)?
        .set_buckets_for_metric(named(WRITER_BATCH_COMMANDS), BATCH_BUCKETS)?
        .build_recorder())
}

/// Describes every series, and begins those without labels at nothing, so that a rate has a start to count from.
fn declare() {
    for Series { name, kind, unit, help } in SERIES {
        match kind {
            Kind::Counter => describe_counter!(*name, *unit, *help),
            Kind::Gauge => describe_gauge!(*name, *unit, *help),
            Kind::Histogram => describe_histogram!(*name, *unit, *help),
        }
    }
    gauge!(WRITER_QUEUE_DEPTH).set(0.0);
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let (_, _) = (histogram!(WRITER_BATCH_COMMANDS), histogram!(WRITER_COMMIT));
}

/// Counts one answered request.
///
/// `method` and `route` must come from bounded sets: see [`crate`]'s HTTP layer, which alone calls this.
pub fn record_request(method: &'static str, route: &str, status: u16, duration: Duration) {
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    counter!(HTTP_REQUESTS, &labels).increment(1);
    histogram!(HTTP_REQUEST_DURATION, &labels).record(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(emit: impl FnOnce()) -> String {
        let recorder = recorder().expect("valid settings");
        metrics::with_local_recorder(&recorder, || {
            declare();
            emit();
        });
        recorder.handle().render()
    }

    #[test]
    fn a_request_is_counted_and_timed_by_route_and_status() {
        let text = measured(|| record_request("GET", "/v1/events", 200, Duration::from_millis(3)));
        for line in [
            r#"counterfoil_http_requests_total{method="GET",route="/v1/events",status="200"} 1"#,
            r#"counterfoil_http_request_duration_seconds_bucket{method="GET",route="/v1/events",status="200",le="0.0025"} 0"#,
            r#"counterfoil_http_request_duration_seconds_bucket{method="GET",route="/v1/events",status="200",le="0.005"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn series_without_labels_are_there_from_the_start() {
        let text = measured(|| {});
        for line in ["counterfoil_writer_queue_depth 0", "counterfoil_writer_batch_commands_count 0"] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
