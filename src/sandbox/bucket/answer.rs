//! What the store answers: errors in the words of either interface, and an object with its headers.

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use futures::stream::{self, StreamExt as _};
use serde_json::json;

use super::objects::Object;
use crate::sandbox::blob::fault::{Hit, spoil};

/// Which of the store's two interfaces a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// `/BUCKET/KEY`, as `object_store` speaks.
    Xml,
    /// `/storage/v1/b/BUCKET/o/KEY`, as Google's own libraries speak.
    Json,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<u32>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    pub(super) fn unauthorized(why: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "AuthenticationRequired", format!("Invalid Credentials: {why}"))
    }

    pub(super) fn no_bucket() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist.")
    }

    pub(super) fn no_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
    }

    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    pub(super) fn condition() -> Self {
        let message = "At least one of the pre-conditions you specified did not hold.";
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
    }

    pub(super) fn not_modified() -> Self {
        Self::new(StatusCode::NOT_MODIFIED, "NotModified", "")
    }

    /// The error that goes with a status, for faults on demand.
    pub(super) fn of_status(status: u16, retry_after: Option<u32>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = match status.as_u16() {
            401 => "AuthenticationRequired",
            403 => "AccessDenied",
            429 => "SlowDown",
            503 => "ServiceUnavailable",
            _ => "InternalError",
        };
        Self { retry_after, ..Self::new(status, code, "The sandbox was asked to fail this request.") }
    }

    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    pub(super) fn answer(self, face: Face) -> Response<Body> {
        let (content_type, text) = match face {
            Face::Xml => (
                "application/xml; charset=UTF-8",
                format!(
                    "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message></Error>",
                    self.code,
                    quick_xml::escape::escape(&self.message)
                ),
            ),
            Face::Json => ("application/json; charset=UTF-8", {
                let errors = [json!({ "message": self.message, "domain": "global", "reason": self.code })];
                let code = self.status.as_u16();
                json!({ "error": { "code": code, "message": self.message, "errors": errors } }).to_string()
            }),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if self.status == StatusCode::UNAUTHORIZED {
            let realm = HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\"");
            headers.insert(header::WWW_AUTHENTICATE, realm);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An answer with the object's content, or with the part of it that is asked for.
pub(super) fn content(object: &Object, headers: &HeaderMap, fault: Option<Hit>) -> Result<Response<Body>, Refused> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_other = |wanted: &str| wanted != "*" && wanted.trim_matches('"') != object.etag().trim_matches('"');
    let generation = HeaderName::from_static("x-goog-if-generation-match");
    if text(&header::IF_MATCH).is_some_and(is_other)
        || text(&generation).is_some_and(|wanted| wanted != object.generation.to_string())
    {
        return Err(Refused::condition());
    }
    let len = object.content.len();
    let range = text(&header::RANGE).and_then(|text| part(text, len));
    let range = range.map(|range| range.ok_or_else(|| out_of_range(len))).transpose()?;
    let Range { start, end } = range.clone().unwrap_or(0..len);
    let body = stream::iter([Ok(object.content.slice(start..end))]).boxed();
    let mut response = Response::new(Body::from_stream(spoil(body, start as u64, fault)));
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::CONTENT_LENGTH, (end - start).to_string());
    set(header::CONTENT_TYPE, "application/gzip".to_owned());
    set(header::ETAG, object.etag());
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    set(header::LAST_MODIFIED, object.written.to_timestamp().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    set(HeaderName::from_static("x-goog-generation"), object.generation.to_string());
    set(HeaderName::from_static("x-goog-metageneration"), "1".to_owned());
    set(HeaderName::from_static("x-goog-stored-content-encoding"), "identity".to_owned());
    set(HeaderName::from_static("x-goog-stored-content-length"), len.to_string());
    set(
        HeaderName::from_static("x-goog-hash"),
        format!("crc32c={},md5={}", object.crc32c_base64(), object.md5_base64()),
    );
    if range.is_some() {
        set(header::CONTENT_RANGE, format!("bytes {start}-{}/{len}", end - 1));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

fn out_of_range(len: usize) -> Refused {
    let message = format!("The requested range cannot be satisfied: the object has {len} bytes.");
    Refused::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message)
}

/// What `Range` asks for of `len` bytes: `None` for what is no range, `Some(None)` for one that lies outside.
fn part(text: &str, len: usize) -> Option<Option<Range<usize>>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first, last) {
        ("", last) => (len.saturating_sub(last.parse().ok()?), len),
        (first, "") => (first.parse().ok()?, len),
        (first, last) => (first.parse().ok()?, last.parse::<usize>().ok()?.saturating_add(1).min(len)),
    };
    Some((start < end).then_some(start..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_object_and_one_behind_its_end_is_refused() {
        for (text, wanted) in [
            ("bytes=0-3", Some(Some(0..4))),
            ("bytes=6-", Some(Some(6..10))),
            ("bytes=6-99", Some(Some(6..10))),
            ("bytes=-4", Some(Some(6..10))),
            ("bytes=-40", Some(Some(0..10))),
            ("bytes=10-", Some(None)),
            ("bytes=-0", Some(None)),
            ("lines=1-2", None),
            ("bytes=a-b", None),
        ] {
            assert_eq!(part(text, 10), wanted, "{text}");
        }
    }
}
