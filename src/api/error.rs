//! Every way in which a request can fail: the one place that knows status codes.
//!
//! A failure is a [`Code`] from a closed list, a message for people and a detail for programs. Each code has exactly one
//! status. Internal causes are logged where they are handled and never stand here.

mod causes;

use std::{borrow::Cow, error::Error as StdError, fmt, marker::PhantomData};

use poem::{
    Response, ResponseBuilder,
    error::{MethodNotAllowedError, NotFoundError, ParsePathError, ParseQueryError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Enum, Object,
    error::{AuthorizationError, ContentTypeError},
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ToJSON, Type},
};

use super::{json::InvalidField, payload::Json};
use crate::{domain::ids::RequestId, service::ServiceError};

/// The status of an answer to a request that made something.
pub(super) const CREATED: StatusCode = StatusCode::CREATED;
/// The status of an answer to a request whose work goes on.
pub const BEGUN: StatusCode = StatusCode::ACCEPTED;
/// The status of a page as it was asked for.
pub const SHOWN: StatusCode = StatusCode::OK;
/// The status of an answer that sends a browser on, to be fetched with GET.
pub const ELSEWHERE: StatusCode = StatusCode::SEE_OTHER;

/// After how many seconds a request that was refused for the moment may come again.
const RETRY_AFTER_SECONDS: u64 = 1;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident => $status:ident,)*) => {
        /// Says what went wrong, for programs. The list is closed: each code has one status, and none changes its meaning.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
        #[oai(rename = "ErrorCode", rename_all = "snake_case")]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// Every code with its meaning, by status.
            const ALL: &[(Self, &str)] = &[$((Self::$name, concat!($($doc),*)),)*];

            fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    /// A part of the request is not valid; `detail.field` names it.
    InvalidRequest => BAD_REQUEST,
    /// The body is no JSON; `detail.field` names where that shows.
    MalformedJson => BAD_REQUEST,
    /// The body is larger than 256 KiB.
    BodyTooLarge => BAD_REQUEST,
    /// The ledger has no such unit.
    UnknownUnit => BAD_REQUEST,
    /// The ledger has no such feature.
    UnknownFeature => BAD_REQUEST,
    /// The feature cannot be spent on.
    FeatureInactive => BAD_REQUEST,
    /// The ledger has no such price.
    UnknownPrice => BAD_REQUEST,
    /// The price cannot be bought.
    PriceInactive => BAD_REQUEST,
    /// An amount, or the sum that it would lead to, is beyond 2^53 - 1.
    AmountTooLarge => BAD_REQUEST,
    /// The expiry is not in the future.
    ExpiryNotInFuture => BAD_REQUEST,
    /// A hold lapses after 1 second to 7 days.
    LapseOutOfRange => BAD_REQUEST,
    /// There is no API key, or none that works.
    Unauthenticated => UNAUTHORIZED,
    /// The balance does not cover it; `detail` has `unit`, `available`, `spendable` and `required`.
    InsufficientCredits => PAYMENT_REQUIRED,
    /// The API key lacks the scope that `detail.scope` names.
    Forbidden => FORBIDDEN,
    /// The account is frozen.
    AccountFrozen => FORBIDDEN,
    /// The account is closed.
    AccountClosed => FORBIDDEN,
    /// This exists in test ledgers alone.
    TestModeOnly => FORBIDDEN,
    /// There is nothing at this path.
    NotFound => NOT_FOUND,
    /// There is no such account.
    AccountNotFound => NOT_FOUND,
    /// There is no such hold.
    HoldNotFound => NOT_FOUND,
    /// There is no such purchase.
    PurchaseNotFound => NOT_FOUND,
    /// There is no such order.
    OrderNotFound => NOT_FOUND,
    /// The ledger knows no such subscription.
    SubscriptionNotFound => NOT_FOUND,
    /// There is no such refund.
    RefundNotFound => NOT_FOUND,
    /// There is no such checkout link, or it was revoked or has expired.
    CheckoutLinkNotFound => NOT_FOUND,
    /// There is no such feature.
    FeatureNotFound => NOT_FOUND,
    /// There is no such price.
    PriceNotFound => NOT_FOUND,
    /// There is no such API key, or it is revoked.
    ApiKeyNotFound => NOT_FOUND,
    /// There is no such event in the inbox.
    InboxEventNotFound => NOT_FOUND,
    /// There is no such effect, or it is done.
    EffectNotFound => NOT_FOUND,
    /// There is no such run of the reconciliation, or it is no longer kept.
    ReconciliationRunNotFound => NOT_FOUND,
    /// There is no such finding of the reconciliation.
    FindingNotFound => NOT_FOUND,
    /// The ledger has no log, or nothing of it is sealed yet.
    LogNotFound => NOT_FOUND,
    /// The sealed tree has no such tile yet.
    TileNotFound => NOT_FOUND,
    /// There is no such event, or it is not sealed yet.
    EventNotSealed => NOT_FOUND,
    /// The path does not take this method.
    MethodNotAllowed => METHOD_NOT_ALLOWED,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused => CONFLICT,
    /// The account has 1,000 open lots of the unit.
    TooManyLots => CONFLICT,
    /// The hold was captured, released or has lapsed.
    HoldAlreadyResolved => CONFLICT,
    /// More is to be captured than is held.
    CaptureExceedsHold => CONFLICT,
    /// The purchase was paid through Stripe and is refunded there.
    PurchasePaidThroughStripe => CONFLICT,
    /// More is to be refunded than is left of the payment.
    RefundExceedsPayment => CONFLICT,
    /// The customer at Stripe belongs to another account.
    CustomerOfAnotherAccount => CONFLICT,
    /// The account has another customer at Stripe already.
    AccountHasCustomer => CONFLICT,
    /// The account has no customer at Stripe yet: it gets one with its first checkout.
    AccountHasNoCustomer => CONFLICT,
    /// The order is not paid.
    OrderNotPaid => CONFLICT,
    /// The subscription has ended, so that nothing about it can change.
    SubscriptionEnded => CONFLICT,
    /// Eight changes of the subscription are still to be made at Stripe.
    TooManyChanges => CONFLICT,
    /// What was paid is not what was ordered.
    OrderContradicts => CONFLICT,
    /// Two statements about the payment disagree.
    PaymentContradicts => CONFLICT,
    /// The body of the event is no longer kept, so that it cannot be replayed.
    BodyGone => CONFLICT,
    /// An event is longer than the 65,535 bytes that a bundle of entries takes.
    EntryTooLong => CONFLICT,
    /// The effect is not dead, so that there is nothing to decide.
    EffectNotDead => CONFLICT,
    /// The finding is not open, so that there is nothing to decide.
    FindingNotOpen => CONFLICT,
    /// The service has no repair for the finding.
    FindingNotRepairable => CONFLICT,
    /// The position token is of a history that was lost.
    HistoryLost => CONFLICT,
    /// The ledger has no key for Stripe that can be used; the message says what to do.
    StripeNotConfigured => CONFLICT,
    /// The service does not know where buyers reach its pages; the message says what to do.
    PublicUrlNotConfigured => CONFLICT,
    /// The body is not `application/json`.
    UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE,
    /// A defect of the service. Nothing was written.
    Internal => INTERNAL_SERVER_ERROR,
    /// Stripe refuses what the request needs. The message has its words, or `detail` its code and the effect that waits for a
    /// person.
    StripeRefused => BAD_GATEWAY,
    /// Stripe does not answer, or not as it should.
    StripeUnavailable => SERVICE_UNAVAILABLE,
    /// Too many requests are waiting. Nothing was written.
    Overloaded => SERVICE_UNAVAILABLE,
    /// The database is away. Nothing was written.
    Unavailable => SERVICE_UNAVAILABLE,
    /// It is not known whether the request was carried out: repeat it with the same key.
    OutcomeUnknown => SERVICE_UNAVAILABLE,
    /// The service's clocks disagree. Nothing was written.
    ClockSkew => SERVICE_UNAVAILABLE,
    /// A newer version of the service writes to this ledger. Nothing was written.
    NewerVersion => SERVICE_UNAVAILABLE,
    /// This process is going down. Nothing was written.
    ShuttingDown => SERVICE_UNAVAILABLE,
    /// What `min_position` asks for has not arrived in time.
    PositionNotReached => GATEWAY_TIMEOUT,
}

impl Code {
    /// The name in answers.
    fn name(self) -> String {
        match self.to_json() {
            Some(serde_json::Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

/// What programs may want to know; which members are there depends on the code.
#[derive(Clone, PartialEq, Eq, Debug, Default, Object)]
#[oai(rename = "ErrorDetail", skip_serializing_if_is_none)]
pub struct Detail {
    /// The part of the request that is not valid: a path into the body (`money.amount`, `grants[0].unit`; `body` for
    /// all of it), a parameter or a header.
    pub field: Option<String>,
    /// The unit of the amounts beside it.
    pub unit: Option<String>,
    /// What usable lots have left.
    pub available: Option<i64>,
    /// What the request could have taken.
    pub spendable: Option<i64>,
    /// What the request asked for.
    pub required: Option<i64>,
    /// What can still be refunded, in the smallest part of the payment's currency.
    pub refundable: Option<i64>,
    /// Stripe's own code of what it refuses.
    pub stripe_code: Option<String>,
    /// The effect of the outbox that waits for a person.
    pub effect_id: Option<String>,
    /// The scope that the API key lacks.
    pub scope: Option<String>,
    /// Where the user can buy credits, if the ledger is configured so.
    pub buy_url: Option<String>,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug, Object)]
#[oai(rename = "Error")]
pub struct ErrorBody {
    /// For programs.
    pub code: Code,
    /// For people; its words may change.
    pub message: String,
    /// More for programs.
    pub detail: Detail,
}

/// The body of every answer that is not a success.
#[derive(Clone, PartialEq, Eq, Debug, Object)]
#[oai(rename = "ErrorAnswer")]
pub struct ErrorAnswer {
    /// The id of the request, as in the service's logs.
    pub request_id: String,
    /// What went wrong.
    pub error: ErrorBody,
}

/// A request that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    code: Code,
    message: Cow<'static, str>,
    detail: Box<Detail>,
    allow: Option<HeaderValue>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.code.name())
    }
}

impl StdError for ApiError {}

impl ApiError {
    fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), detail: Box::default(), allow: None }
    }

    /// A field, parameter or header that is not valid.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        InvalidField::new(field, problem).into()
    }

    /// The body is larger than `limit` bytes.
    pub fn body_too_large(limit: usize) -> Self {
        Self::new(Code::BodyTooLarge, format!("the body is larger than {limit} bytes")).with_field("body")
    }

    /// A defect, already logged.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "the request could not be carried out; nothing was written")
    }

    /// The path knows other methods, which `allow` lists.
    pub fn method_not_allowed(allow: Option<HeaderValue>) -> Self {
        Self { allow, ..Self::new(Code::MethodNotAllowed, "the path does not take this method") }
    }

    /// The same for a request that has no field `amount`: what it is about instead, if it has that.
    pub fn about(mut self, given: Option<&str>) -> Self {
        if self.detail.field.as_deref() == Some("amount") {
            self.detail.field = given.map(str::to_owned);
        }
        self
    }

    fn with_field(mut self, field: impl Into<String>) -> Self {
        self.detail.field = Some(field.into());
        self
    }

    /// Reads what the HTTP library raised; `allow` lists the methods of the path.
    pub fn of_library(error: &poem::Error, allow: Option<HeaderValue>) -> Self {
        if let Some(error) = error.downcast_ref::<Self>() {
            return error.clone();
        }
        if error.is::<NotFoundError>() {
            return Self::new(Code::NotFound, "there is nothing at this path");
        }
        if error.is::<ParsePathError>() {
            return Self::invalid("path", "must be UTF-8 once it is decoded");
        }
        if error.is::<MethodNotAllowedError>() {
            return Self::method_not_allowed(allow);
        }
        if error.is::<ContentTypeError>() {
            let message = "the body must be JSON, and its Content-Type `application/json`";
            return Self::new(Code::UnsupportedMediaType, message).with_field("Content-Type");
        }
        if error.is::<AuthorizationError>() {
            return ServiceError::Unauthenticated.into();
        }
        if error.is::<ParseQueryError>() {
            return Self::invalid("query", "the query string cannot be read");
        }
        tracing::error!(error = %error.status(), "the HTTP library refused a request in a way that is not known here");
        Self::internal()
    }

    /// Whether the service is at fault, not the client.
    pub fn is_ours(&self) -> bool {
        self.code.status().is_server_error()
    }

    /// The code's name.
    pub fn code(&self) -> String {
        self.code.name()
    }

    /// The answer to the request of that id.
    pub fn into_answer(self, request_id: &RequestId) -> Response {
        let (code, message) = (self.code, self.message.clone().into_owned());
        let body = ErrorAnswer {
            request_id: request_id.to_string(),
            error: ErrorBody { code, message, detail: (*self.detail).clone() },
        };
        self.begin_answer().content_type("application/json").body(body.to_json_string())
    }

    /// The answer to somebody who asked for a page: nothing of the message and the detail, which are for clients, goes in.
    pub fn into_page(self, page: impl FnOnce(Code) -> String) -> Response {
        let html = page(self.code);
        self.begin_answer().content_type("text/html; charset=utf-8").body(html)
    }

    /// Status and headers.
    fn begin_answer(self) -> ResponseBuilder {
        let status = self.code.status();
        let mut builder = Response::builder().status(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            builder = builder.header(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if status == StatusCode::UNAUTHORIZED {
            builder = builder.header(header::WWW_AUTHENTICATE, "Bearer");
        }
        if let Some(allow) = self.allow {
            builder = builder.header(header::ALLOW, allow);
        }
        builder
    }
}

impl From<InvalidField> for ApiError {
    fn from(invalid: InvalidField) -> Self {
        let code = if invalid.is_malformed { Code::MalformedJson } else { Code::InvalidRequest };
        Self::new(code, invalid.to_string()).with_field(invalid.field)
    }
}

/// Which statuses an operation may answer with when it fails: what its part of the specification lists.
pub trait Statuses: Send + Sync + 'static {
    /// In ascending order.
    const LIST: &'static [u16];
}

/// Of operations that read.
#[derive(Debug)]
pub struct Reading;
/// Of operations that write.
#[derive(Debug)]
pub struct Writing;
/// Of operations that write what a balance may not cover.
#[derive(Debug)]
pub struct Taking;

/// Of operations that write and then wait for Stripe.
#[derive(Debug)]
pub struct Selling;

impl Statuses for Selling {
    const LIST: &'static [u16] = &[400, 401, 403, 404, 409, 415, 500, 502, 503];
}

/// Of operations that ask Stripe.
#[derive(Debug)]
pub struct AskingStripe;

impl Statuses for AskingStripe {
    const LIST: &'static [u16] = &[400, 401, 403, 409, 500, 502, 503];
}

impl Statuses for Reading {
    const LIST: &'static [u16] = &[400, 401, 403, 404, 409, 500, 503, 504];
}

impl Statuses for Writing {
    const LIST: &'static [u16] = &[400, 401, 403, 404, 409, 415, 500, 503];
}

impl Statuses for Taking {
    const LIST: &'static [u16] = &[400, 401, 402, 403, 404, 409, 415, 500, 503];
}

/// How an operation fails that may answer with the statuses `S`.
#[derive(Debug)]
pub struct Failure<S: Statuses>(ApiError, PhantomData<S>);

impl<S: Statuses, E: Into<ApiError>> From<E> for Failure<S> {
    fn from(error: E) -> Self {
        Self(error.into(), PhantomData)
    }
}

impl<S: Statuses> From<Failure<S>> for poem::Error {
    fn from(failure: Failure<S>) -> Self {
        failure.0.into()
    }
}

impl From<ApiError> for poem::Error {
    fn from(error: ApiError) -> Self {
        let status = error.code.status();
        poem::Error::new(error, status)
    }
}

impl<S: Statuses> ApiResponse for Failure<S> {
    fn meta() -> MetaResponses {
        let responses = S::LIST.iter().map(|status| MetaResponse {
            description: description(*status),
            status: Some(*status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: <Json<ErrorAnswer> as Payload>::CONTENT_TYPE,
                schema: ErrorAnswer::schema_ref(),
            }],
            headers: Vec::new(),
        });
        MetaResponses { responses: responses.collect() }
    }

    fn register(registry: &mut Registry) {
        ErrorAnswer::register(registry);
    }
}

/// The words of the specification for a status; [`codes_of`] says which codes come with it.
fn description(status: u16) -> &'static str {
    match status {
        400 => "A part of the request is not valid.",
        401 => "No API key that works came with the request.",
        402 => "The balance does not cover it.",
        403 => "The API key, or the state of the account, does not allow it.",
        404 => "It does not exist in this ledger.",
        409 => "It contradicts what is on record.",
        415 => "The body is of another type than `application/json`.",
        500 => "A defect of the service.",
        502 => "Stripe refused.",
        503 => "Not now: repeat the request with the same key.",
        _ => "Not in time: repeat the request.",
    }
}

/// The names of the codes that come with a status.
pub(super) fn codes_of(status: &str) -> Vec<String> {
    let codes = Code::ALL.iter().filter(|(code, _)| code.status().as_str() == status);
    codes.map(|(code, _)| code.name()).collect()
}

/// Every code with its status and meaning, as a table for the specification.
pub(super) fn table_of_codes() -> String {
    let line = |(code, meaning): &(Code, &str)| {
        format!("| {} | `{}` | {} |\n", code.status().as_u16(), code.name(), meaning.trim())
    };
    let lines = Code::ALL.iter().map(line);
    "| status | code | meaning |\n| --- | --- | --- |\n".to_owned() + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Rejection, service::SubmitError};

    #[test]
    fn every_status_of_a_code_is_listed_by_some_operation_or_by_the_library() {
        let listed = [Reading::LIST, Writing::LIST, Taking::LIST, Selling::LIST, AskingStripe::LIST].concat();
        for (code, _) in Code::ALL.iter().filter(|(code, _)| *code != Code::MethodNotAllowed) {
            assert!(listed.contains(&code.status().as_u16()), "{code:?}");
        }
    }

    #[test]
    fn an_answer_has_the_shape_that_every_error_has() {
        let request_id = RequestId::parse("req-1").expect("valid");
        let error = ApiError::from(Rejection::InsufficientCredits {
            unit: crate::domain::ids::Unit::parse("credits").expect("valid"),
            available: 3,
            spendable: 4,
            required: 5,
        });
        let answer = error.into_answer(&request_id);
        assert_eq!(answer.status(), StatusCode::PAYMENT_REQUIRED);
        let body = ErrorAnswer {
            request_id: "req-1".into(),
            error: ErrorBody {
                code: Code::InsufficientCredits,
                message: "5 credits are required, 4 can be spent".into(),
                detail: Detail {
                    unit: Some("credits".into()),
                    available: Some(3),
                    spendable: Some(4),
                    required: Some(5),
                    ..Detail::default()
                },
            },
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let text = runtime.block_on(answer.into_body().into_string()).expect("text");
        assert_eq!(text, body.to_json_string());
        assert!(
            text.starts_with(r#"{"request_id":"req-1","error":{"code":"insufficient_credits","message""#)
        );
    }

    #[test]
    fn whoever_may_come_again_is_told_when() {
        let request_id = RequestId::parse("req-1").expect("valid");
        let answer = ApiError::from(SubmitError::Overloaded).into_answer(&request_id);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        let answer = ApiError::from(ServiceError::Unauthenticated).into_answer(&request_id);
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
