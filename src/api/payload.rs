//! JSON bodies: `application/json`, at most 256 KiB, every problem told by the name of the field.
//!
//! The library's own payload has another media type, no limit, and errors that name no field.

use poem::{Request, RequestBody, error::ReadBodyError};
use poem_openapi::{
    impl_apirequest_for_payload,
    payload::{ParsePayload, Payload},
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{error::ApiError, json};

/// The largest body of a request, in bytes.
pub const BODY_LIMIT: usize = 256 * 1024;

/// A JSON body.
pub struct Json<T> {
    /// What it says.
    pub content: T,
    /// The same as it was sent, for the fingerprint of the request.
    pub sent: Value,
}

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned> ParsePayload for Json<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(_: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let body = body.take().map_err(|_| ApiError::internal())?;
        let bytes = body.into_bytes_limit(BODY_LIMIT).await.map_err(|error| match error {
            ReadBodyError::PayloadTooLarge => ApiError::body_too_large(BODY_LIMIT),
            // The connection broke: nobody is there to read the answer.
            _ => ApiError::invalid("body", "cannot be read to its end"),
        })?;
        let sent = json::read(&bytes).map_err(ApiError::from)?;
        let content = json::decode(&sent).map_err(ApiError::from)?;
        Ok(Self { content, sent })
    }
}

impl_apirequest_for_payload!(Json<T>, T: Type + DeserializeOwned);
