//! What the sandbox's listeners share: settings, clock, what is registered, and the account of what happened.

use std::sync::{Arc, Mutex};

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use tokio::sync::watch;

use super::blob::BlobStore;
use super::broker::Broker;
use super::bucket::Bucket;
use super::drop::DropState;
use super::entra::token::TokenIssuer;
use super::serve::lock;
use super::settings::SandboxSettings;
use super::tenant::TenantFault;
use crate::clock::UnixMs;

/// What happened so far on the side of access and blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VendorState {
    /// Access tokens that the authority gave.
    pub access_tokens_issued: u64,
    /// Requests for one that it refused.
    pub access_tokens_refused: u64,
    /// Answers of TenantService with tokens.
    pub tenant_answers: u64,
    /// Requests that TenantService refused, for whatever reason.
    pub tenant_refusals: u64,
    /// Requests to the blob store.
    pub blob_requests: u64,
    /// Bodies that the blob store began to send.
    pub blob_downloads: u64,
    /// Requests that the blob store answered with an error.
    pub blob_requests_refused: u64,
    /// Those of them that it refused because of their SAS.
    pub blob_requests_unauthorized: u64,
    /// Blobs that lie in the store.
    pub blobs: usize,
}

/// Shared by all listeners.
pub(super) struct Core {
    pub(super) settings: SandboxSettings,
    pub(super) tokens: TokenIssuer,
    pub(super) blobs: BlobStore,
    /// The address, with its account, of the blob store that TenantService hands out; no trailing slash.
    pub(super) blob_base: Mutex<String>,
    pub(super) broker: Broker,
    pub(super) tenant_faults: Mutex<Vec<TenantFault>>,
    pub(super) bucket: Bucket,
    pub(super) drop: Mutex<DropState>,
    certificates: Mutex<Vec<(String, CertificateDer<'static>)>>,
    state: watch::Sender<VendorState>,
}

impl Core {
    pub(super) fn new(settings: SandboxSettings, blob_base: String, broker: Broker, bucket: Bucket) -> Arc<Self> {
        Arc::new(Self {
            tokens: TokenIssuer::new(),
            blobs: BlobStore::new(&settings.account, settings.blob_tls),
            blob_base: Mutex::new(blob_base),
            broker,
            tenant_faults: Mutex::default(),
            bucket,
            drop: Mutex::default(),
            certificates: Mutex::default(),
            state: watch::Sender::default(),
            settings,
        })
    }

    pub(super) fn now(&self) -> UnixMs {
        self.settings.clock.now()
    }

    pub(super) fn is_known_tenant(&self, tenant: &str) -> bool {
        tenant.eq_ignore_ascii_case(&self.settings.tenant)
    }

    pub(super) fn register(&self, name: &str, certificate: CertificateDer<'static>) {
        let mut registered = lock(&self.certificates);
        registered.retain(|(other, _)| other != name);
        registered.push((name.to_owned(), certificate));
    }

    /// Forgets a certificate; `false` when it was not registered.
    pub(super) fn unregister(&self, name: &str) -> bool {
        let mut registered = lock(&self.certificates);
        let before = registered.len();
        registered.retain(|(other, _)| other != name);
        registered.len() < before
    }

    pub(super) fn registered_certificates(&self) -> Vec<CertificateDer<'static>> {
        lock(&self.certificates).iter().map(|(_, certificate)| certificate.clone()).collect()
    }

    /// Counts something, and wakes whoever waits for it.
    pub(super) fn count(&self, change: impl FnOnce(&mut VendorState)) {
        self.state.send_modify(|state| {
            change(state);
            state.blobs = self.blobs.len();
        });
    }

    pub(super) fn state(&self) -> VendorState {
        self.state.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<VendorState> {
        self.state.subscribe()
    }
}
