//! A report in the form that was asked for: as JSON, or as text.

use poem::{Body, IntoResponse, Response};
use poem_openapi::{
    ApiResponse,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};

use super::formats;
use crate::api::{answers::Found, payload::Json};

/// A report in the form that was asked for.
pub enum Answer<T> {
    /// As JSON.
    Json(T),
    /// As text of that media type.
    Text(&'static str, Body),
}

impl<T> Answer<T> {
    /// A report as comma-separated values.
    pub fn csv(text: String) -> Self {
        Self::Text(formats::CSV, Body::from_string(text))
    }
}

impl<T: ToJSON> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self {
            Self::Json(body) => Found(body).into_response(),
            Self::Text(media_type, body) => Response::builder().content_type(media_type).body(body),
        }
    }
}

impl<T: ToJSON> ApiResponse for Answer<T> {
    fn meta() -> MetaResponses {
        let text = |content_type| MetaMediaType {
            content_type,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
                description: Some("As `format` asks for it."),
                ..MetaSchema::new("string")
            })),
        };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The report.",
                status: Some(200),
                status_range: None,
                content: vec![
                    MetaMediaType {
                        content_type: Json::<T>::CONTENT_TYPE,
                        schema: <T as Type>::schema_ref(),
                    },
                    text(formats::CSV),
                    text(formats::PLAIN),
                ],
                headers: Vec::new(),
            }],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
