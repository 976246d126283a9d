//! The store's one page.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::answer::StorageError;
use super::fault::{self, FaultKind};
use super::range::{self, text_of};
use super::sas::SignedRequest;
use super::store::StoredBlob;
use crate::clock::UnixMs;
use crate::sandbox::core::Core;

/// The page.
pub(in crate::sandbox) fn router(core: Arc<Core>) -> Router {
    Router::new().fallback(serve).with_state(core)
}

async fn serve(State(core): State<Arc<Core>>, request: Request) -> Response<Body> {
    let request_id = uuid::Uuid::new_v4().to_string();
    let now = core.now();
    let with_body = request.method() != Method::HEAD;
    let mut response = answer(&core, &request, now).unwrap_or_else(|error| {
        core.count(|state| state.blob_requests_refused += 1);
        error.answer(&request_id, now, with_body)
    });
    core.count(|state| state.blob_requests += 1);
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"));
    headers.insert("x-ms-version", HeaderValue::from_static("2021-12-02"));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-ms-request-id", id);
    }
    response
}

fn answer(core: &Core, request: &Request, now: UnixMs) -> Result<Response<Body>, StorageError> {
    let store = &core.blobs;
    let with_body = match *request.method() {
        Method::GET => true,
        Method::HEAD => false,
        _ => return Err(StorageError::VERB),
    };
    let path = percent_decode_str(request.uri().path()).decode_utf8().map_err(|_| StorageError::URI)?;
    let mut parts = path.trim_start_matches('/').splitn(3, '/');
    let (Some(account), Some(container), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(StorageError::URI);
    };
    let fault = store.take_fault(name, with_body);
    if let Some(FaultKind::Status { status, retry_after }) = fault.as_ref().map(|fault| &fault.kind) {
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Err(StorageError::of_status(status, *retry_after));
    }
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let signed = SignedRequest { query: &query, account, container, blob: name, permission: 'r', tls: store.tls() };
    store.let_in(&signed, now).map_err(|refusal| {
        core.count(|state| state.blob_requests_unauthorized += 1);
        StorageError::refused(refusal)
    })?;

    let path = format!("{container}/{name}");
    let blob = store.find(&path).ok_or(StorageError::NOT_FOUND)?;
    let headers = request.headers();
    if let Some(wanted) = text_of(headers, &header::IF_MATCH)
        && wanted != "*"
        && wanted != blob.etag
    {
        return Err(StorageError::CONDITION);
    }
    let len = blob.content.len();
    let range = range::wanted(headers, len)?;
    let (start, end) = range.clone().map_or((0, len), |range| (range.start, range.end));
    let changes_etag = matches!(fault.as_ref().map(|fault| &fault.kind), Some(FaultKind::ChangeEtag { .. }));
    let mut response = Response::new(if with_body {
        let body = fault::spoil(blob.content.read(start..end), start, fault);
        Body::from_stream(body)
    } else {
        Body::empty()
    });
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    describe(response.headers_mut(), &blob, range.is_some().then_some((start, end, len)), end - start);
    if changes_etag {
        store.change_etag(&path, now);
    }
    core.count(|state| state.blob_downloads += u64::from(with_body));
    Ok(response)
}

/// The headers of a blob. `part` is `(start, end, length of the blob)` for an answer of a range.
fn describe(headers: &mut HeaderMap, blob: &StoredBlob, part: Option<(u64, u64, u64)>, length: u64) {
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_LENGTH, length.to_string());
    set(header::CONTENT_TYPE, blob.content_type.clone());
    set(header::ETAG, blob.etag.clone());
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    set(header::LAST_MODIFIED, blob.modified.to_timestamp().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    if let Some((start, end, len)) = part {
        set(header::CONTENT_RANGE, format!("bytes {start}-{}/{len}", end - 1));
    }
    if let Some(md5) = blob.md5 {
        // In the answer to a range, the MD5 of the whole goes by another name.
        let name = match part {
            None => HeaderName::from_static("content-md5"),
            Some(_) => HeaderName::from_static("x-ms-blob-content-md5"),
        };
        set(name, STANDARD.encode(md5));
    }
    set(HeaderName::from_static("x-ms-blob-type"), "BlockBlob".to_owned());
    set(HeaderName::from_static("x-ms-lease-state"), "available".to_owned());
    set(HeaderName::from_static("x-ms-server-encrypted"), "true".to_owned());
}
