//! Azure's error answers: a status, `x-ms-error-code`, and XML.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use super::sas::SasRefusal;
use crate::clock::UnixMs;

/// One of Azure's errors.
pub(super) struct StorageError {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    detail: Option<&'static str>,
    retry_after: Option<u32>,
}

impl StorageError {
    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, detail: None, retry_after: None }
    }

    pub(super) const NOT_FOUND: Self =
        Self::new(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.");
    pub(super) const CONDITION: Self = Self::new(
        StatusCode::PRECONDITION_FAILED,
        "ConditionNotMet",
        "The condition specified using HTTP conditional header(s) is not met.",
    );
    pub(super) const RANGE: Self = Self::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "InvalidRange",
        "The range specified is invalid for the current size of the resource.",
    );
    pub(super) const VERB: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "UnsupportedHttpVerb",
        "The resource doesn't support specified Http Verb.",
    );
    pub(super) const URI: Self =
        Self::new(StatusCode::BAD_REQUEST, "InvalidUri", "The requested URI does not represent any resource.");
    pub(super) const INTERNAL: Self = Self::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "The server encountered an internal error. Please retry the request.",
    );

    /// What Azure answers when it does not let a request in.
    pub(super) const fn refused(refusal: SasRefusal) -> Self {
        let mut error = Self::new(
            StatusCode::FORBIDDEN,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Make sure the value of Authorization header is formed \
             correctly including the signature.",
        );
        match refusal {
            SasRefusal::Missing => {
                error.status = StatusCode::UNAUTHORIZED;
                error.code = "NoAuthenticationInformation";
                error.message = "Server failed to authenticate the request. Please refer to the information in the \
                                 www-authenticate header.";
            }
            SasRefusal::Malformed => error.detail = Some("A field of the signature is missing or cannot be read."),
            SasRefusal::WrongSignature => error.detail = Some("Signature did not match."),
            SasRefusal::OutsideTime => error.detail = Some("Signature not valid in the specified time frame."),
            SasRefusal::WrongPermission => {
                error.code = "AuthorizationPermissionMismatch";
                error.message = "This request is not authorized to perform this operation using this permission.";
            }
            SasRefusal::WrongProtocol => {
                error.code = "AuthorizationProtocolMismatch";
                error.message = "This request is not authorized to perform this operation using this protocol.";
            }
        }
        error
    }

    /// The error that goes with a status, for faults on demand.
    pub(super) const fn of_status(status: StatusCode, retry_after: Option<u32>) -> Self {
        let mut error = match status.as_u16() {
            403 => Self::refused(SasRefusal::WrongSignature),
            404 => Self::NOT_FOUND,
            429 => Self::new(status, "TooManyRequests", "Too many requests."),
            503 => Self::new(status, "ServerBusy", "The server is currently unable to receive requests."),
            _ => Self::INTERNAL,
        };
        error.status = status;
        error.retry_after = retry_after;
        error
    }

    /// The answer; one to HEAD has no body.
    pub(super) fn answer(self, request_id: &str, now: UnixMs, with_body: bool) -> Response<Body> {
        let detail = self
            .detail
            .map(|d| format!("<AuthenticationErrorDetail>{d}</AuthenticationErrorDetail>"))
            .unwrap_or_default();
        let xml = format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}\nRequestId:{request_id}\n\
             Time:{now}</Message>{detail}</Error>",
            self.code, self.message
        );
        let mut response = Response::new(if with_body { Body::from(xml) } else { Body::empty() });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        headers.insert("x-ms-error-code", HeaderValue::from_static(self.code));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer authorization_uri=https://login.microsoftonline.com/common"),
            );
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
