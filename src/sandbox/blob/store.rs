//! One storage account: its blobs, its key, and the signatures that it made.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use super::content::Content;
use super::fault::{BlobFault, Faults, Hit};
use super::sas::{self, AccountKey, ContainerGrant, SasRefusal, SignedRequest};
use crate::clock::UnixMs;
use crate::sandbox::SandboxError;
use crate::sandbox::serve::lock;

/// The signatures that are remembered, so that they can be expired by hand; the oldest are forgotten first.
const ISSUED_MAX: usize = 10_000;

/// A blob as it is stored.
#[derive(Clone, Debug)]
pub(super) struct StoredBlob {
    pub(super) content: Content,
    pub(super) content_type: String,
    pub(super) md5: Option<[u8; 16]>,
    pub(super) etag: String,
    pub(super) modified: UnixMs,
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
pub(in crate::sandbox) struct BlobStore {
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
    pub(in crate::sandbox) fn new(account: &str, tls: bool) -> Self {
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
    pub(in crate::sandbox) fn put(
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
    pub(in crate::sandbox) fn remove(&self, path: &str) -> bool {
        lock(&self.blobs).remove(path).is_some()
    }

    /// The first `most` blobs, by name.
    pub(in crate::sandbox) fn list(&self, most: usize) -> Vec<BlobInfo> {
        let blobs = lock(&self.blobs);
        let infos = blobs.iter().take(most).map(|(path, blob)| BlobInfo {
            path: path.clone(),
            bytes: blob.content.len(),
            content_type: blob.content_type.clone(),
            etag: blob.etag.clone(),
        });
        infos.collect()
    }

    pub(in crate::sandbox) fn len(&self) -> usize {
        lock(&self.blobs).len()
    }

    /// A SAS that reads the container from `start` (or a little before) until `expiry`.
    pub(in crate::sandbox) fn read_sas(
        &self,
        account: &str,
        container: &str,
        mut start: UnixMs,
        expiry: UnixMs,
    ) -> String {
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
    pub(in crate::sandbox) fn set_key(&self, key: AccountKey) {
        *lock(&self.key) = key;
    }

    /// Every SAS handed out so far is refused as if its time were over.
    pub(in crate::sandbox) fn expire_tokens(&self) {
        let mut expired = lock(&self.expired);
        // Those that were expired before stay so, within the same bound.
        if expired.len() >= ISSUED_MAX {
            expired.clear();
        }
        expired.extend(lock(&self.issued).drain(..));
    }

    pub(in crate::sandbox) fn key(&self) -> AccountKey {
        lock(&self.key).clone()
    }

    pub(in crate::sandbox) fn add_fault(&self, fault: BlobFault) -> Result<(), SandboxError> {
        lock(&self.faults).add(fault)
    }

    pub(in crate::sandbox) fn clear_faults(&self) {
        lock(&self.faults).clear();
    }

    pub(in crate::sandbox) fn faults(&self) -> Vec<BlobFault> {
        lock(&self.faults).list()
    }

    fn next_etag(&self) -> String {
        format!("\"0x8DD{:012X}\"", self.writes.fetch_add(1, Ordering::SeqCst) + 1)
    }

    pub(super) fn change_etag(&self, path: &str, now: UnixMs) {
        if let Some(blob) = lock(&self.blobs).get_mut(path) {
            *blob = Arc::new(StoredBlob { etag: self.next_etag(), modified: now, ..(**blob).clone() });
        }
    }

    pub(super) fn find(&self, path: &str) -> Option<Arc<StoredBlob>> {
        lock(&self.blobs).get(path).cloned()
    }

    /// Takes the fault that is due for a request, if one is.
    pub(super) fn take_fault(&self, name: &str, with_body: bool) -> Option<Hit> {
        lock(&self.faults).take(name, with_body)
    }

    pub(super) fn tls(&self) -> bool {
        self.tls
    }

    /// Whether a request is let in by its SAS.
    pub(super) fn let_in(&self, request: &SignedRequest<'_>, now: UnixMs) -> Result<(), SasRefusal> {
        if request.account != self.account {
            return Err(SasRefusal::WrongSignature);
        }
        let by_hand = request.query.get("sig").is_some_and(|sig| lock(&self.expired).contains(sig));
        if by_hand { Err(SasRefusal::OutsideTime) } else { sas::verify(&lock(&self.key), request, now) }
    }
}

/// The decoded value of a field of a query.
fn field(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
