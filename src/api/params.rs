//! Parameters in paths and queries. Each is parsed into a type of the domain; a problem names the parameter.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchemaRef, Registry},
    types::Type,
};

use super::error::ApiError;
use crate::domain::ids::InvalidName;

/// A value that stands in a path or a query.
pub trait Parameter: Type + Sized {
    /// Reads the text, percent-decoded.
    ///
    /// # Errors
    /// What a valid text looks like.
    fn parse(text: &str) -> Result<Self, InvalidName>;
}

/// A value that names a thing in a path.
pub trait PathParameter: Parameter {
    /// What it is called in the path.
    const NAME: &'static str;
}

/// A parameter in the path.
pub struct Path<T>(pub T);

/// A parameter in the query, which may always be absent.
pub struct Query<T>(pub Option<T>);

impl<'a, T: PathParameter> ApiExtractor<'a> for Path<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = T;
    type ParamRawType = T::RawValueType;

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let text = request.raw_path_param(options.name).unwrap_or_default();
        let parsed = T::parse(text).map_err(|invalid| ApiError::invalid(T::NAME, invalid.to_string()))?;
        Ok(Self(parsed))
    }
}

impl<'a, T: Parameter> ApiExtractor<'a> for Query<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = T;
    type ParamRawType = T::RawValueType;

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let pairs: Vec<(String, String)> = request.params()?;
        let mut values = pairs.iter().filter(|(name, _)| name == options.name).map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() {
            return Err(ApiError::invalid(options.name, "is given twice").into());
        }
        let parsed = value.map(|text| T::parse(text)).transpose();
        Ok(Self(parsed.map_err(|invalid| ApiError::invalid(options.name, invalid.to_string()))?))
    }
}
