//! The blob store: what Azure Blob Storage is to a reader, as far as the vendor's client uses it.
//!
//! ```text
//! GET /account/container/blob?sas ──> fault on demand? ──> SAS ──> found? ──> If-Match ──> range ──> body (spoilt?)
//! ```

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::SandboxError;
use super::core::Core;
use super::serve::lock;
use crate::clock::UnixMs;

mod answer;
pub mod content;
pub mod fault;
mod range;
pub mod sas;

use answer::StorageError;
use content::Content;
use fault::{BlobFault, FaultKind, Faults};
use sas::{AccountKey, ContainerGrant, SasRefusal, SignedRequest};

/// The signatures that are remembered, so that they can be expired by hand; the oldest are forgotten first.
const ISSUED_MAX: usize = 10_000;

/// A blob as it is stored.
#[derive(Clone, Debug)]
struct StoredBlob {
    content: Content,
    content_type: String,
    md5: Option<[u8; 16]>,
    etag: String,
    modified: UnixMs,
}

/// What can be told of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobInfo {
    /// Container and name.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its content type.
    pub content_type: String,
    /// Its ETag, with quotes.
    pub etag: String,
}

/// One storage account.
pub(super) struct BlobStore {
    account: String,
    tls: bool,
    key: Mutex<AccountKey>,
    blobs: Mutex<BTreeMap<String, Arc<StoredBlob>>>,
    faults: Mutex<Faults>,
    issued: Mutex<VecDeque<String>>,
    expired: Mutex<HashSet<String>>,
    writes: AtomicU64,
}

impl BlobStore {
    pub(super) fn new(account: &str, tls: bool) -> Self {
        Self {
            account: account.to_owned(),
            tls,
            key: Mutex::new(AccountKey::generate()),
            blobs: Mutex::default(),
            faults: Mutex::default(),
            issued: Mutex::default(),
            expired: Mutex::default(),
            writes: AtomicU64::new(0),
        }
    }

    /// Stores a blob under `container/name`, in place of one that is there.
    pub(super) fn put(
        &self,
        path: String,
        content: Content,
        content_type: &str,
        now: UnixMs,
    ) -> Result<(), SandboxError> {
        let md5 = content.md5().map_err(|e| SandboxError::Request(format!("the content of {path}: {e}")))?;
        let blob =
            StoredBlob { content, content_type: content_type.to_owned(), md5, etag: self.next_etag(), modified: now };
        lock(&self.blobs).insert(path, Arc::new(blob));
        Ok(())
    }

    /// Takes a blob away; `false` when there is none.
    pub(super) fn remove(&self, path: &str) -> bool {
        lock(&self.blobs).remove(path).is_some()
    }

    /// The first `most` blobs, by name.
    pub(super) fn list(&self, most: usize) -> Vec<BlobInfo> {
        let blobs = lock(&self.blobs);
        let infos = blobs.iter().take(most).map(|(path, blob)| BlobInfo {
            path: path.clone(),
            bytes: blob.content.len(),
            content_type: blob.content_type.clone(),
            etag: blob.etag.clone(),
        });
        infos.collect()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.blobs).len()
    }

    /// A SAS that reads the container from `start` (or a little before) until `expiry`.
    pub(super) fn read_sas(&self, account: &str, container: &str, mut start: UnixMs, expiry: UnixMs) -> String {
        let protocol = if self.tls { "https" } else { "https,http" };
        loop {
            let grant = ContainerGrant { account, container, permissions: "r", start, expiry, protocol };
            let query = sas::container_sas(&lock(&self.key), &grant);
            let signature = field(&query, "sig").unwrap_or_default();
            // Two tokens of the same second are the same token, and the first may have been expired by hand.
            if lock(&self.expired).contains(&signature) {
                start = start.minus(Duration::from_secs(1));
                continue;
            }
            let mut issued = lock(&self.issued);
            if issued.len() >= ISSUED_MAX {
                issued.pop_front();
            }
            issued.push_back(signature);
            return query;
        }
    }

    /// Takes another account key: every SAS made so far is refused.
    pub(super) fn set_key(&self, key: AccountKey) {
        *lock(&self.key) = key;
    }

    /// Every SAS handed out so far is refused as if its time were over.
    pub(super) fn expire_tokens(&self) {
        let mut expired = lock(&self.expired);
        // Those that were expired before stay so, within the same bound.
        if expired.len() >= ISSUED_MAX {
            expired.clear();
        }
        expired.extend(lock(&self.issued).drain(..));
    }

    pub(super) fn key(&self) -> AccountKey {
        lock(&self.key).clone()
    }

    pub(super) fn add_fault(&self, fault: BlobFault) -> Result<(), SandboxError> {
        lock(&self.faults).add(fault)
    }

    pub(super) fn clear_faults(&self) {
        lock(&self.faults).clear();
    }

    pub(super) fn faults(&self) -> Vec<BlobFault> {
        lock(&self.faults).list()
    }

    fn next_etag(&self) -> String {
        format!("\"0x8DD{:012X}\"", self.writes.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn change_etag(&self, path: &str, now: UnixMs) {
        if let Some(blob) = lock(&self.blobs).get_mut(path) {
            *blob = Arc::new(StoredBlob { etag: self.next_etag(), modified: now, ..(**blob).clone() });
        }
    }

    fn find(&self, path: &str) -> Option<Arc<StoredBlob>> {
        lock(&self.blobs).get(path).cloned()
    }

    fn let_in(&self, request: &SignedRequest<'_>, now: UnixMs) -> Result<(), SasRefusal> {
        let by_hand = request.query.get("sig").is_some_and(|sig| lock(&self.expired).contains(sig));
        if by_hand { Err(SasRefusal::OutsideTime) } else { sas::verify(&lock(&self.key), request, now) }
    }
}

/// The decoded value of a field of a query.
fn field(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The store's one page.
pub(super) fn router(core: Arc<Core>) -> Router {
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
    let fault = lock(&store.faults).take(name, with_body);
    if let Some(FaultKind::Status { status, retry_after }) = fault.as_ref().map(|fault| &fault.kind) {
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Err(StorageError::of_status(status, *retry_after));
    }
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let signed = SignedRequest { query: &query, account, container, blob: name, permission: 'r', tls: store.tls };
    let allowed = if account == store.account { store.let_in(&signed, now) } else { Err(SasRefusal::WrongSignature) };
    allowed.map_err(|refusal| {
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

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
