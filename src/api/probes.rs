//! What machines ask: is the process alive, can it serve, what has it measured.

use std::sync::Arc;

use poem::{Endpoint, Response, endpoint::make, endpoint::make_sync};

use super::error::ApiError;
use crate::{service::Service, telemetry::metrics::Metrics};

/// The media type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/healthz`: the process answers. Nothing else is looked at, because restarting it helps against nothing else.
pub fn health() -> impl Endpoint {
    make_sync(|_| "ok\n")
}

/// `/readyz`: requests can be served: the database answers, the process is not going down, and it is not too old for what
/// a newer one has written.
pub fn readiness(service: Arc<Service>) -> impl Endpoint {
    make(move |_| {
        let service = Arc::clone(&service);
        async move {
            service.check_readiness().await.map_err(ApiError::from)?;
            Ok::<_, poem::Error>("ready\n")
        }
    })
}

/// `/metrics`: everything measured so far.
pub fn metrics(metrics: Arc<Metrics>) -> impl Endpoint {
    make_sync(move |_| Response::builder().content_type(METRICS_TYPE).body(metrics.render()))
}
