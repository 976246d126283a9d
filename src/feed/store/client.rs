//! The house's own HTTP client beneath `object_store`: no redirect is followed, no proxy is asked that nobody named, and
//! plain connections stay on this machine.

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use url::Url;

/// Gives `object_store` the house's HTTP client.
#[derive(Debug)]
pub(super) struct Connector {
    pub client: reqwest::Client,
    /// As [`Service::keeps_gzip`].
    pub keeps_gzip: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service { client: self.client.clone(), keeps_gzip: self.keeps_gzip }))
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    /// Google inflates an object that is stored as gzip for whoever does not say that it may come as it is; its length,
    /// its checksum and ranges of it are then not to be had.
    keeps_gzip: bool,
}

/// An address that the rule of the house forbids.
#[derive(Debug, thiserror::Error)]
#[error("plain http goes to this machine only; use https")]
struct PlainHttp;

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let mut url =
            Url::parse(&parts.uri.to_string()).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        // A blank is signed as `%20` and written as forms have it; what checks the signature may read the address literally.
        if let Some(query) = url.query().filter(|query| query.contains('+')) {
            let query = query.replace('+', "%20");
            url.set_query(Some(&query));
        }
        if !crate::net::is_allowed(&url) {
            return Err(HttpError::new(HttpErrorKind::Unknown, PlainHttp));
        }
        let is_object = url.query_pairs().all(|(name, _)| name != "list-type");
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        if self.keeps_gzip && is_object {
            request.headers_mut().insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("gzip"));
        }
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        let answer = self.client.execute(request).await.map_err(http_error)?;
        let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body.map_err(http_error))))
    }
}

/// A network error without the address, whose query may be a secret.
fn http_error(error: reqwest::Error) -> HttpError {
    let kind = if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_decode() || error.is_body() {
        HttpErrorKind::Interrupted
    } else {
        HttpErrorKind::Request
    };
    HttpError::new(kind, error.without_url())
}
