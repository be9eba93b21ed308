//! Which paths there are, which methods they take, and which query parameters: taken from the same declarations as the
//! specification.
//!
//! The router answers without saying which methods a path does take, and handlers look at no parameter that they do not
//! know. Both are told here: a mistyped parameter must not pass for a request without it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use poem::{
    Request,
    http::{Method, header::HeaderValue},
};
use poem_openapi::{OpenApi, registry::MetaParamIn};

use super::error::ApiError;

/// The paths of the interface.
pub struct SiteMap {
    places: Vec<Place>,
}

/// A path and what it takes.
pub struct Place {
    /// As the specification writes it, e.g. `/v1/accounts/{account}/balance`.
    pub template: Arc<str>,
    segments: Vec<Option<String>>,
    operations: BTreeMap<String, BTreeSet<String>>,
    /// Whether query parameters mean anything there, known or not.
    looks_at_query: bool,
}

impl SiteMap {
    /// The paths that the resources declare.
    pub fn of<T: OpenApi>(_resources: &T) -> Self {
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for path in T::meta().into_iter().flat_map(|api| api.paths) {
            let place = places.entry(path.path.clone()).or_insert_with(|| Place::new(path.path));
            for operation in path.operations {
                let in_query =
                    operation.params.into_iter().filter(|param| param.in_type == MetaParamIn::Query);
                let names = in_query.map(|param| param.name).collect();
                place.operations.insert(operation.method.to_string(), names);
            }
        }
        Self { places: places.into_values().collect() }
    }

    /// The same with a path that is no part of the specification and takes POST, without query parameters.
    pub fn with_post(mut self, template: &str) -> Self {
        let mut place = Place::new(template.to_owned());
        place.operations.insert(Method::POST.to_string(), BTreeSet::new());
        self.places.push(place);
        self
    }

    /// The same with paths that are no part of the specification, take GET, and look at no query parameters: what probes
    /// and browsers add to them is passed over.
    pub fn with_texts(mut self, templates: &[&str]) -> Self {
        for template in templates {
            let mut place = Place::new((*template).to_owned());
            place.operations.insert(Method::GET.to_string(), BTreeSet::new());
            place.looks_at_query = false;
            self.places.push(place);
        }
        self
    }

    /// The same with pages for browsers. They look at no query parameters, and say themselves which methods they take.
    pub fn with_pages(mut self, templates: &[&str]) -> Self {
        self.places.extend(templates.iter().map(|template| Place::new((*template).to_owned())));
        self
    }

    /// The place of a path, if it is one of ours.
    pub fn find(&self, path: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.matches(path))
    }
}

impl Place {
    fn new(template: String) -> Self {
        let segment = |segment: &str| (!segment.starts_with('{')).then(|| segment.to_owned());
        let segments = template.split('/').map(segment).collect();
        Self { template: template.into(), segments, operations: BTreeMap::new(), looks_at_query: true }
    }

    fn matches(&self, path: &str) -> bool {
        let mut given = path.split('/');
        let fits = |segment: &Option<String>| {
            given.next().is_some_and(|given| segment.as_ref().is_none_or(|fixed| fixed == given))
        };
        self.segments.iter().all(fits) && given.next().is_none()
    }

    /// The methods that the path takes, for the header `Allow`.
    pub fn allow(&self) -> Option<HeaderValue> {
        let mut methods: BTreeSet<&str> = self.operations.keys().map(String::as_str).collect();
        if methods.contains(Method::GET.as_str()) {
            methods.insert(Method::HEAD.as_str());
        }
        HeaderValue::from_str(&methods.into_iter().collect::<Vec<_>>().join(", ")).ok()
    }

    /// Checks that the operation knows every query parameter of the request.
    ///
    /// # Errors
    /// One that names the first parameter that it does not know.
    pub fn check_query(&self, request: &Request) -> Result<(), ApiError> {
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let Some(known) = self.operations.get(method.as_str()) else { return Ok(()) };
        if !self.looks_at_query || request.uri().query().is_none_or(str::is_empty) {
            return Ok(());
        }
        let given: Vec<(String, String)> =
            request.params().map_err(|_| ApiError::invalid("query", "cannot be read"))?;
        match given.into_iter().find(|(name, _)| !known.contains(name)) {
            None => Ok(()),
            Some((name, _)) => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let problem = match known.as_slice() {
                    [] => "there are no parameters".to_owned(),
                    known => format!("there is no such parameter; there are: {}", known.join(", ")),
                };
                Err(ApiError::invalid(name, problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Resource;

    #[OpenApi]
    impl Resource {
        #[oai(path = "/things/:thing/parts", method = "get")]
        async fn parts(&self, #[oai(name = "limit")] _limit: poem_openapi::param::Query<Option<u8>>) {}

        #[oai(path = "/things/:thing/parts", method = "post")]
        async fn add(&self) {}
    }

    fn checked(uri: &str) -> Result<(), ApiError> {
        let map = SiteMap::of(&Resource);
        let request = Request::builder().uri(uri.parse().expect("a URI")).finish();
        map.find(request.uri().path()).expect("a place").check_query(&request)
    }

    #[test]
    fn paths_are_found_by_their_segments() {
        let map = SiteMap::of(&Resource);
        let place = map.find("/things/7/parts").expect("a place");
        assert_eq!(&*place.template, "/things/{thing}/parts");
        assert_eq!(place.allow().expect("methods"), "GET, HEAD, POST");
        assert!(map.find("/things//parts").is_some());
        for unknown in ["/things/7", "/things/7/parts/", "/", ""] {
            assert!(map.find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_path_outside_of_the_specification_has_a_place() {
        let map = SiteMap::of(&Resource).with_post("/hooks/{thing}");
        let place = map.find("/hooks/7").expect("a place");
        assert_eq!(
            (&*place.template, place.allow().expect("methods")),
            ("/hooks/{thing}", HeaderValue::from_static("POST"))
        );
    }

    #[test]
    fn a_mistyped_parameter_is_refused_by_its_name() {
        assert_eq!(checked("/things/7/parts"), Ok(()));
        assert_eq!(checked("/things/7/parts?"), Ok(()));
        assert_eq!(checked("/things/7/parts?limit=5"), Ok(()));
        let problem = "there is no such parameter; there are: limit";
        assert_eq!(checked("/things/7/parts?limit=5&limt=5"), Err(ApiError::invalid("limt", problem)));
    }
}
