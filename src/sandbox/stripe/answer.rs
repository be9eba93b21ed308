//! What the simulated Stripe answers: the one place that knows its status codes and the shape of its errors.

use poem::{
    Response,
    http::{StatusCode, header},
};
use serde_json::{Map, Value, json};

use super::cards::Decline;

/// Why a request was refused, in Stripe's terms.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub class: Class,
    pub code: Option<&'static str>,
    pub decline_code: Option<&'static str>,
    pub message: String,
    pub param: Option<String>,
    /// Further keys of the error, such as the payment intent of a declined card.
    pub more: Box<Map<String, Value>>,
}

/// What kind of refusal it is; each has one status code and one `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The parameters cannot be right, whatever the state: nothing was begun, so the key stays free.
    Parameters,
    /// The state does not allow it.
    State,
    /// The path names something that is not there.
    Missing,
    /// No key, or a wrong one.
    Unauthorized,
    /// The key is restricted, and may not do this.
    Forbidden,
    /// The bank said no. What led there stays recorded.
    Declined,
    /// The key was used for something else.
    KeyReused,
    /// Another request with the key is still running, or something is locked.
    Conflict,
    /// Too many requests.
    RateLimited,
    /// Something broke at Stripe.
    Broken,
}

impl Class {
    const fn status_code(self) -> StatusCode {
        match self {
            Self::Parameters | Self::State | Self::KeyReused => StatusCode::BAD_REQUEST,
            Self::Missing => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Declined => StatusCode::PAYMENT_REQUIRED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn error_type(self) -> &'static str {
        match self {
            Self::Declined => "card_error",
            Self::KeyReused => "idempotency_error",
            Self::Broken => "api_error",
            _ => "invalid_request_error",
        }
    }

    /// Whether the same key gets this answer again.
    pub(super) const fn is_kept(self) -> bool {
        matches!(self, Self::State | Self::Missing | Self::Declined | Self::Broken)
    }
}

impl Failure {
    pub(super) fn new(class: Class, message: impl Into<String>) -> Self {
        let (code, decline_code, param) = (None, None, None);
        Self { class, code, decline_code, message: message.into(), param, more: Box::default() }
    }

    pub(super) fn parameters(message: impl Into<String>) -> Self {
        Self::new(Class::Parameters, message)
    }

    pub(super) fn state(message: impl Into<String>) -> Self {
        Self::new(Class::State, message)
    }

    /// Names the parameter that is at fault.
    #[must_use]
    pub(super) fn of(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    #[must_use]
    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// What the bank said.
    pub(super) fn declined(why: &Decline) -> Self {
        let mut failure = Self::new(Class::Declined, why.message).code(why.code);
        failure.decline_code = why.decline_code;
        failure
    }

    /// A path that names nothing.
    pub(super) fn no_such(what: &str, id: &str) -> Self {
        Self::new(Class::Missing, format!("No such {what}: '{id}'")).code("resource_missing").of("id")
    }

    /// A parameter that names nothing.
    pub(super) fn no_such_in(param: &str, what: &str, id: &str) -> Self {
        Self::state(format!("No such {what}: '{id}'")).code("resource_missing").of(param)
    }

    /// The answer's status and body.
    pub(super) fn render(&self, request_id: &str) -> Rendered {
        let mut error = Map::new();
        if let Some(code) = self.code {
            error.insert("code".into(), code.into());
        }
        if let Some(decline_code) = self.decline_code {
            error.insert("decline_code".into(), decline_code.into());
        }
        if let Some(code) = self.code {
            let address = format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-"));
            error.insert("doc_url".into(), address.into());
        }
        error.insert("message".into(), self.message.clone().into());
        if let Some(param) = &self.param {
            error.insert("param".into(), param.clone().into());
        }
        error.extend((*self.more).clone());
        if self.class != Class::Unauthorized {
            let address = format!("https://dashboard.stripe.com/test/workbench/logs?object={request_id}");
            error.insert("request_log_url".into(), address.into());
        }
        error.insert("type".into(), self.class.error_type().into());
        let should_retry = match self.class {
            Class::Conflict => Some(true),
            Class::Broken | Class::Declined => Some(false),
            _ => None,
        };
        Rendered {
            status: self.class.status_code().as_u16(),
            body: json!({ "error": error }).to_string(),
            content_type: JSON,
            should_retry,
        }
    }
}

const JSON: &str = "application/json";

/// An answer before it is sent, without the headers that belong to the request.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub status: u16,
    pub body: String,
    pub content_type: &'static str,
    pub should_retry: Option<bool>,
}

impl Rendered {
    pub(super) fn success(object: &Value) -> Self {
        Self::replay(StatusCode::OK.as_u16(), object.to_string())
    }

    /// An answer that was given before.
    pub(super) fn replay(status: u16, body: String) -> Self {
        Self { status, body, content_type: JSON, should_retry: None }
    }

    /// What a proxy in front of Stripe says.
    pub(super) fn bad_gateway() -> Self {
        let body = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
        Self {
            status: StatusCode::BAD_GATEWAY.as_u16(),
            body: body.to_owned(),
            content_type: "text/html",
            should_retry: None,
        }
    }

    /// An answer that says it is good and cannot be read.
    pub(super) fn garbage() -> Self {
        Self::replay(StatusCode::OK.as_u16(), "{\"id\": \"re_3".to_owned())
    }

    pub(super) fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, self.content_type)
            .header(header::CACHE_CONTROL, "no-cache, no-store")
            .body(self.body)
    }
}

/// A page for a browser; `is_found` is false for addresses that lead nowhere.
pub(super) fn page(html: String, is_found: bool) -> Response {
    Response::builder()
        .status(if is_found { StatusCode::OK } else { StatusCode::NOT_FOUND })
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'",
        )
        .body(html)
}

/// Sends a browser on, after a form or a payment, to be fetched with GET.
pub(super) fn redirect(address: &str) -> Response {
    Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, address).finish()
}
