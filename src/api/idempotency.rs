//! `Idempotency-Key`: what makes a request happen once, and the fingerprint that tells a repeat from another request.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchema, MetaSchemaRef},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::domain::ids::{Key, Namespace};

/// The name of the header.
pub(super) const HEADER: &str = "Idempotency-Key";

/// The key of a request that must have one.
pub struct IdempotencyKey(pub Key);

/// The key of a request that may have one.
pub struct OptionalIdempotencyKey(pub Option<Key>);

/// SHA-256 over the RFC 8785 JSON of `[operation, path parameters, body]`.
///
/// `operation` names method and route, e.g. `POST /v1/accounts/{account}/spends`. It is part of every stored
/// fingerprint: changing it would make repeats of old requests look like other ones.
pub fn fingerprint(operation: &str, parameters: &[&str], body: &Value) -> [u8; 32] {
    let request = json!([operation, parameters, body]);
    // A JSON value always serialises; an empty text stands in for the error that cannot be.
    let bytes = serde_json_canonicalizer::to_vec(&request).unwrap_or_default();
    Sha256::digest(bytes).into()
}

fn key_of(request: &Request) -> Result<Option<Key>, ApiError> {
    let mut values = request.headers().get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid(HEADER, "is given twice"));
    }
    let key = value.to_str().ok().and_then(|text| Key::new(Namespace::Client, text).ok());
    key.map(Some).ok_or_else(|| ApiError::invalid(HEADER, "must be 1 to 255 printable ASCII characters"))
}

fn schema() -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(MetaSchema {
        min_length: Some(1),
        max_length: Some(255),
        pattern: Some("^[ -~]+$".to_owned()),
        example: Some("order-4711".into()),
        ..MetaSchema::new("string")
    }))
}

impl<'a> ApiExtractor<'a> for IdempotencyKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let key = key_of(request)?.ok_or_else(|| ApiError::invalid(HEADER, "is missing"))?;
        Ok(Self(key))
    }
}

impl<'a> ApiExtractor<'a> for OptionalIdempotencyKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self(key_of(request)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canonical::hex;

    #[test]
    fn the_order_of_members_and_the_way_of_writing_do_not_matter() {
        let one: Value = serde_json::from_str(r#"{"unit":"credits","amount":10}"#).expect("JSON");
        let other: Value = serde_json::from_str(r#"{ "amount": 10, "unit": "cr\u0065dits" }"#).expect("JSON");
        assert_eq!(fingerprint("POST /x", &["a"], &one), fingerprint("POST /x", &["a"], &other));
    }

    #[test]
    fn anything_else_matters() {
        let body = json!({"amount": 10});
        let all = [
            fingerprint("POST /x", &["a", "b"], &body),
            fingerprint("POST /y", &["a", "b"], &body),
            fingerprint("POST /x", &["ab"], &body),
            fingerprint("POST /x", &["a", "b"], &json!({"amount": 11})),
            fingerprint("POST /x", &["a", "b"], &json!({"amount": "10"})),
            fingerprint("POST /x", &["a", "b"], &json!({"amount": 10, "more": null})),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{index}");
        }
    }

    #[test]
    fn fingerprints_on_record_stay_what_they_are() {
        let body = json!({"unit": "credits", "amount": 10, "metadata": {"job": "é"}});
        let print = fingerprint("POST /v1/accounts/{account}/spends", &["user-1"], &body);
        assert_eq!(hex(&print), "42570a91b7fbe08f11647c52099d202ba483f2f7e8923637d350ef7d4eca8c00");
    }

    #[test]
    fn a_key_is_one_header_of_printable_characters() {
        let key = |values: &[&[u8]]| {
            let request =
                values.iter().fold(Request::builder(), |request, value| request.header(HEADER, *value));
            key_of(&request.finish()).map(|key| key.map(|key| key.text().to_owned())).map_err(|_| ())
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&[b"order 1"]), Ok(Some("order 1".to_owned())));
        assert_eq!(key(&[b""]), Err(()));
        assert_eq!(key(&[b"a", b"a"]), Err(()));
        assert_eq!(key(&["é".as_bytes()]), Err(()));
        assert_eq!(key(&["k".repeat(256).as_bytes()]), Err(()));
    }
}
