//! Who calls: an API key as bearer token, and the scope that an operation asks for.
//!
//! An operation names its scope by the type of its first argument, so none can be reached without one, and whoever lacks
//! it learns nothing of what the rest of the request would have led to.

use std::{marker::PhantomData, sync::Arc};

use poem::{FromRequest, Request, RequestBody, http::header, web::Data};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use super::error::ApiError;
use crate::{
    domain::{
        Command,
        ids::{Key, OrderId, RequestId},
        settings::Scope,
    },
    service::{self, Accepted, Caller, CheckedOut, Service, ServiceError},
};

/// The name of the security scheme in the specification.
pub(super) const SCHEME: &str = "api_key";

const DESCRIPTION: &str = "An API key: `Authorization: Bearer cfk_test_<ledger>_…`. Its prefix names the mode and the \
    ledger that every path below `/v1` is about. Each operation names the scope that the key must have; `admin` includes \
    every other.";

/// A scope as a type.
pub trait Needs: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! scopes {
    ($($name:ident)*) => {$(
        #[doc = concat!("Asks for the scope [`Scope::", stringify!($name), "`].")]
        #[derive(Debug)]
        pub struct $name;

        impl Needs for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}
scopes!(Read Spend Grant Billing Operate Audit Admin);

/// A caller whose key has the scope `S`.
pub struct Authorised<S> {
    /// What it may ask.
    pub service: Arc<Service>,
    /// Who calls.
    pub caller: Arc<Caller>,
    request_id: RequestId,
    scope: PhantomData<S>,
}

impl<S> Authorised<S> {
    /// The id of the request.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Has a command carried out in the name of the caller.
    ///
    /// # Errors
    /// As [`Service::submit`].
    pub async fn submit(
        &self,
        command: Command,
        key: Option<Key>,
        fingerprint: [u8; 32],
    ) -> Result<Accepted, ServiceError> {
        let request = service::Request { command, key, fingerprint, request_id: self.request_id.clone() };
        self.service.submit(&self.caller, request).await
    }
}

impl Authorised<Billing> {
    /// Has an order placed in the name of the caller, and waits for Stripe's page where it can be paid.
    ///
    /// # Errors
    /// As [`Service::check_out`].
    pub async fn check_out(
        &self,
        command: Command,
        key: Key,
        fingerprint: [u8; 32],
        placed: impl FnOnce(&Accepted) -> Option<OrderId>,
    ) -> Result<CheckedOut, ServiceError> {
        let request_id = self.request_id.clone();
        let request = service::Request { command, key: Some(key), fingerprint, request_id };
        self.service.check_out(&self.caller, request, placed).await
    }
}

impl<'a, S: Needs> ApiExtractor<'a> for Authorised<S> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some(DESCRIPTION),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("cfk"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    /// The scope's name: the specification is rewritten to one scheme with scopes, which the library cannot say.
    fn security_schemes() -> Vec<&'static str> {
        vec![S::SCOPE.as_str()]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let service = <Data<&Arc<Service>> as FromRequest>::from_request(request, body).await?;
        let request_id = <Data<&RequestId> as FromRequest>::from_request(request, body).await?;
        let token = bearer_token(request).ok_or(ApiError::from(ServiceError::Unauthenticated))?;
        let caller = service.authorise(token, S::SCOPE).await.map_err(ApiError::from)?;
        let (service, request_id) = (Arc::clone(service.0), request_id.0.clone());
        Ok(Self { service, caller, request_id, scope: PhantomData })
    }
}

/// The token of the one `Authorization` header; none if there are two, because proxies disagree on which one counts.
fn bearer_token(request: &Request) -> Option<&str> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(headers: &[&str]) -> Option<String> {
        let request = headers
            .iter()
            .fold(Request::builder(), |request, value| request.header(header::AUTHORIZATION, *value));
        bearer_token(&request.finish()).map(ToOwned::to_owned)
    }

    #[test]
    fn only_one_bearer_token_counts() {
        assert_eq!(token(&["Bearer abc"]), Some("abc".to_owned()));
        assert_eq!(token(&["bearer  abc "]), Some("abc".to_owned()));
        assert_eq!(token(&["Basic abc"]), None);
        assert_eq!(token(&["Bearer"]), None);
        assert_eq!(token(&["Bearer abc", "Bearer def"]), None);
        assert_eq!(token(&[]), None);
    }
}
