//! What stands around every answer: the request's id, the one shape of errors, panics caught, failures logged.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use poem::{Endpoint, IntoResponse, Middleware, PathPattern, Request, Response, http::HeaderValue};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    error::ApiError,
    metrics::method_label,
    site_map::{Place, SiteMap},
};
use crate::domain::ids::RequestId;

/// The header with the id of a request.
const REQUEST_ID: &str = "X-Request-Id";

/// See the module.
pub struct Envelope {
    site_map: Arc<SiteMap>,
}

impl Envelope {
    /// An envelope for the paths of that map.
    pub fn new(site_map: SiteMap) -> Self {
        Self { site_map: Arc::new(site_map) }
    }
}

/// See [`Envelope`].
pub struct EnvelopeEndpoint<E> {
    inner: E,
    site_map: Arc<SiteMap>,
}

impl<E: Endpoint> Middleware<E> for Envelope {
    type Output = EnvelopeEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        EnvelopeEndpoint { inner, site_map: Arc::clone(&self.site_map) }
    }
}

impl<E: Endpoint> Endpoint for EnvelopeEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let request_id = request_id(&request);
        request.set_data(request_id.clone());
        let place = self.site_map.find(request.uri().path());
        let (method, route) =
            (method_label(request.method()), place.map(|place| Arc::clone(&place.template)));
        let span = tracing::info_span!("request", %request_id, method, route = route.as_deref());
        let mut response = match self.answer(request, place).instrument(span.clone()).await {
            Ok(response) => response,
            Err(error) => {
                log(&span, &error);
                error.into_answer(&request_id)
            }
        };
        if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        if let Some(route) = route {
            response.set_data(PathPattern(route));
        }
        Ok(response)
    }
}

impl<E: Endpoint> EnvelopeEndpoint<E> {
    async fn answer(&self, request: Request, place: Option<&Place>) -> Result<Response, ApiError> {
        if let Some(place) = place {
            place.check_query(&request)?;
        }
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind().await;
        match answer {
            Ok(Ok(response)) => Ok(response.into_response()),
            Ok(Err(error)) => Err(ApiError::of_library(&error, place.and_then(Place::allow))),
            Err(panic) => {
                tracing::error!(panic = panic_message(panic.as_ref()), "a handler panicked");
                Err(ApiError::internal())
            }
        }
    }
}

/// The client's id of the request, if it is one that may stand in a log; else one of ours.
fn request_id(request: &Request) -> RequestId {
    let given = request.header(REQUEST_ID).and_then(|text| RequestId::parse(text).ok());
    given.unwrap_or_else(|| RequestId::from_bits(Uuid::new_v4().as_u128()))
}

/// What the client is told of is logged by its code alone: the message may quote what the client sent.
fn log(span: &tracing::Span, error: &ApiError) {
    let code = error.code();
    span.in_scope(|| {
        if error.is_ours() {
            tracing::warn!(code, "a request was not carried out");
        } else {
            tracing::info!(code, "a request was refused");
        }
    });
}

/// The words of a panic of ours: literals without values, or they could not be logged.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("with values, which are not logged")
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, Route, endpoint::make_sync, get};

    use super::*;

    async fn answer(request: Request) -> (u16, String, String) {
        let panicking = make_sync(|_| -> Response { panic!("on purpose") });
        let site = Route::new().at("/panic", get(panicking)).at("/fine", get(make_sync(|_| "fine")));
        let site = site.with(Envelope::new(SiteMap::of(&())));
        let mut response = site.call(request).await.expect("an answer");
        let request_id = response.header(REQUEST_ID).expect("an id").to_owned();
        let body = response.take_body().into_string().await.expect("text");
        (response.status().as_u16(), request_id, body)
    }

    fn request(path: &str) -> poem::RequestBuilder {
        Request::builder().uri(path.parse().expect("a URI"))
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_like_any_other_error() {
        let (status, request_id, body) =
            answer(request("/panic").header(REQUEST_ID, "mine-1").finish()).await;
        assert_eq!((status, request_id.as_str()), (500, "mine-1"));
        assert!(body.starts_with(r#"{"request_id":"mine-1","error":{"code":"internal","#), "{body}");
    }

    #[tokio::test]
    async fn an_unknown_path_and_a_wrong_method_have_the_shape_of_errors() {
        let (status, _, body) = answer(request("/nothing").finish()).await;
        assert_eq!(status, 404);
        assert!(body.contains(r#""code":"not_found""#), "{body}");
        let (status, _, body) = answer(request("/fine").method(poem::http::Method::POST).finish()).await;
        assert_eq!(status, 405);
        assert!(body.contains(r#""code":"method_not_allowed""#), "{body}");
    }

    #[tokio::test]
    async fn an_id_that_may_not_stand_in_a_log_is_replaced() {
        for insane in ["two words", "", &"x".repeat(129), "a\u{7f}"] {
            let (status, request_id, _) = answer(request("/fine").header(REQUEST_ID, insane).finish()).await;
            assert_eq!(status, 200);
            assert_ne!(request_id, insane);
            assert!(RequestId::parse(&request_id).is_ok());
        }
    }
}
