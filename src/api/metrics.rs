//! Counts and times every request, by the pattern of its route.
//!
//! A path holds what clients chose, so it never becomes a label: requests that no route matched share one, and so do
//! methods that nobody defined. The time is that until the answer begins; what is streamed afterwards is not in it.

use std::time::Instant;

use poem::{Endpoint, IntoResponse, Middleware, PathPattern, Request, Response, http::Method};

use crate::telemetry::metrics::record_request;

/// The label of requests for paths that do not exist.
const UNKNOWN_ROUTE: &str = "unknown";

/// Measures what it is put around. It stands outside of everything that turns a failure into an answer, so that it sees
/// the answer that the client gets.
pub struct RequestMetrics;

/// See [`RequestMetrics`].
pub struct RequestMetricsEndpoint<E> {
    inner: E,
}

impl<E: Endpoint> Middleware<E> for RequestMetrics {
    type Output = RequestMetricsEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        RequestMetricsEndpoint { inner }
    }
}

impl<E: Endpoint> Endpoint for RequestMetricsEndpoint<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let method = method_label(request.method());
        let started = Instant::now();
        let response = match self.inner.call(request).await {
            Ok(response) => response.into_response(),
            Err(error) => error.into_response(),
        };
        let route = response.data::<PathPattern>().map_or("", |pattern| &pattern.0);
        record_request(method, route_label(route), response.status().as_u16(), started.elapsed());
        Ok(response)
    }
}

/// The method, if it is one that somebody defined.
pub(super) fn method_label(method: &Method) -> &'static str {
    const KNOWN: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN.iter().find(|known| **known == method.as_str()).copied().unwrap_or("other")
}

/// A part of the site that was mounted as a whole reports its mount point for paths that it does not know.
fn route_label(pattern: &str) -> &str {
    let is_mount_point = matches!(pattern, "" | "/" | "/v1" | "/v1/");
    if is_mount_point { UNKNOWN_ROUTE } else { pattern }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_make_up_shares_one_label() {
        assert_eq!(method_label(&Method::GET), "GET");
        assert_eq!(method_label(&Method::from_bytes(b"BREW").expect("a method")), "other");
        assert_eq!(route_label("/v1/accounts/:account/spends"), "/v1/accounts/:account/spends");
        assert_eq!(route_label(""), "unknown");
    }
}
