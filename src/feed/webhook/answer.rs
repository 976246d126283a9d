//! What a request is answered. `200` is made of a receipt alone, and receipts are made by an inbox alone, after its
//! commit.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::sender::Refusal;
use crate::inbox::Receipt;

/// After how many seconds a sender that is told to come again should.
const RETRY_AFTER_SECONDS: &str = "20";

/// How a request ended.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is stored.
    Stored(Receipt),
    /// Nothing is served under its path.
    NotFound,
    /// It is no POST.
    WrongMethod,
    /// Its sender may not send.
    Refused(Refusal),
    /// Its body is larger than the bound.
    TooLarge,
    /// Its body did not come in time.
    TooSlow,
    /// Its body broke off.
    Broken,
    /// There is no room in memory for its body, or it was not stored in time.
    Busy,
    /// The inbox cannot store it.
    Unavailable,
}

/// Every way that a request can end, as metrics name it.
pub(super) const OUTCOMES: [&str; 11] = [
    "stored",
    "duplicate",
    "not-found",
    "wrong-method",
    "unauthorized",
    "forbidden",
    "too-large",
    "too-slow",
    "broken",
    "busy",
    "unavailable",
];

impl Answer {
    /// Its place in [`OUTCOMES`].
    pub(super) fn outcome(&self) -> usize {
        match self {
            Self::Stored(receipt) => usize::from(receipt.is_duplicate()),
            Self::NotFound => 2,
            Self::WrongMethod => 3,
            Self::Refused(Refusal::Secret | Refusal::Signature) => 4,
            Self::Refused(Refusal::Address) => 5,
            Self::TooLarge => 6,
            Self::TooSlow => 7,
            Self::Broken => 8,
            Self::Busy => 9,
            Self::Unavailable => 10,
        }
    }

    /// The response. Texts are for people who try the address by hand; they tell nobody what is configured.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let (status, text) = match self {
            Self::Stored(_) => (StatusCode::OK, ""),
            Self::NotFound => (StatusCode::NOT_FOUND, "nothing is here\n"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "post events here\n"),
            Self::Refused(Refusal::Address) => (StatusCode::FORBIDDEN, "this address may not send\n"),
            Self::Refused(Refusal::Secret) => (StatusCode::UNAUTHORIZED, "the secret is missing or wrong\n"),
            Self::Refused(Refusal::Signature) => (StatusCode::UNAUTHORIZED, "the signature is missing or wrong\n"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body broke off\n"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too busy: come again\n"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "cannot be stored now: come again\n"),
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if !text.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        match self {
            Self::WrongMethod => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
            Self::Busy | Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
            }
            // The rest of the body is not read.
            Self::TooLarge | Self::TooSlow | Self::Broken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
