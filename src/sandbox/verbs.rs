//! What can be done to the vendor's side while it runs. The control API, the tests and the demo all use these.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use url::Url;

use super::blob::BlobInfo;
use super::blob::content::Content;
use super::blob::fault::BlobFault;
use super::blob::sas::AccountKey;
use super::broker::{Broker, BrokerState};
use super::bucket::BucketState;
use super::core::VendorState;
use super::drop::DropState;
use super::fft::FftState;
use super::pki::{ClientCertificate, write_private};
use super::serve::lock;
use super::tenant::TenantFault;
use super::webhook::WebhookState;
use super::{Sandbox, SandboxError};
use crate::clock::UnixMs;
use crate::secret::Secret;

/// Everything that can be asked about the sandbox.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SandboxState {
    /// Authority, TenantService and blob store.
    pub vendor: VendorState,
    /// The broker.
    pub broker: BrokerState,
    /// Faults of the blob store that are still in force.
    pub blob_faults: Vec<BlobFault>,
    /// Faults of TenantService that are still in force.
    pub tenant_faults: Vec<TenantFault>,
    /// The bucket of day folders.
    pub bucket: BucketState,
    /// fulfillmenttools' API of subscriptions.
    pub fft: FftState,
    /// The webhook's sender.
    pub webhook: WebhookState,
    /// The daily zips.
    pub drop: DropState,
}

/// Identity.
impl Sandbox {
    /// Makes a client certificate in the folder, in place of one of this name, and returns its file (certificate and
    /// key). Only when `registered` does the authority know it.
    ///
    /// # Errors
    /// When the name is no file name, or the file cannot be written.
    pub fn new_certificate(&self, name: &str, valid: Duration, registered: bool) -> Result<PathBuf, SandboxError> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            return Err(SandboxError::Request(format!(
                "a certificate named {name:?}: only letters, digits, - and _ are allowed"
            )));
        }
        let certificate = ClientCertificate::generate(name, self.core.now(), valid)?;
        let path = write_private(&self.certificates().join(format!("{name}.pem")), certificate.pem.as_bytes())?;
        if registered {
            self.core.register(name, certificate.der);
        } else {
            self.core.unregister(name);
        }
        Ok(path)
    }

    /// Makes the authority forget a certificate; its file stays. `false` when it was not registered.
    #[must_use]
    pub fn unregister_certificate(&self, name: &str) -> bool {
        self.core.unregister(name)
    }

    /// Makes every access token that the authority gave so far worthless.
    pub fn expire_access_tokens(&self) {
        self.core.tokens.expire_all();
    }

    /// Makes TenantService answer with `fault`, after those that it was given before.
    pub fn add_tenant_fault(&self, fault: TenantFault) {
        lock(&self.core.tenant_faults).push(fault);
    }

    /// TenantService works again.
    pub fn clear_tenant_faults(&self) {
        lock(&self.core.tenant_faults).clear();
    }
}

/// Service Bus.
impl Sandbox {
    /// The broker, with verbs of its own: detach, drop, stall, duplicate, server-busy, redirect.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.core.broker
    }

    /// The subscription that TenantService hands out, as the broker names it.
    #[must_use]
    pub fn subscription_path(&self) -> String {
        format!("{}/Subscriptions/{}", self.settings().topic, self.settings().subscription)
    }

    /// Gives the Service Bus policy a new key: tokens handed out so far are refused, and what they opened is detached.
    pub fn rotate_service_bus_key(&self) {
        self.core.broker.rotate_key();
    }

    /// Gives both the Service Bus policy and the storage account a new key, as the vendor does every so often.
    pub fn rotate_keys(&self) {
        self.rotate_service_bus_key();
        self.rotate_blob_key();
    }

    /// The next `count` announcements are delivered twice.
    ///
    /// # Errors
    /// Never, as long as the subscription is there.
    pub fn duplicate_next(&self, count: u32) -> Result<(), SandboxError> {
        Ok(self.core.broker.duplicate_next(&self.subscription_path(), count)?)
    }
}

/// Blobs.
impl Sandbox {
    fn container(&self) -> &str {
        self.core.settings.containers.first().map_or("", String::as_str)
    }

    /// The URI of a blob in the first container, without a token.
    pub(super) fn blob_uri(&self, name: &str) -> Url {
        let mut uri = self.blob_base.clone();
        uri.path_segments_mut().expect("an http URL has a path").push(self.container()).extend(name.split('/'));
        uri
    }

    /// Stores a blob in the first container, in place of one of that name, and returns its URI without a token.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn put_blob(&self, name: &str, content: Content, content_type: &str) -> Result<Url, SandboxError> {
        let path = format!("{}/{name}", self.container());
        self.core.blobs.put(path, content, content_type, self.core.now())?;
        // So that a waiter sees the blob in the state.
        self.core.count(|_| ());
        Ok(self.blob_uri(name))
    }

    /// The first `most` blobs, by name.
    #[must_use]
    pub fn blobs(&self, most: usize) -> Vec<BlobInfo> {
        self.core.blobs.list(most)
    }

    /// Takes a blob of the first container away; `false` when there is none.
    pub fn remove_blob(&self, name: &str) -> bool {
        self.core.blobs.remove(&format!("{}/{name}", self.container()))
    }

    /// A query that reads the first container from a minute ago until `expiry`, signed with the account's present key.
    #[must_use]
    pub fn blob_sas(&self, expiry: UnixMs) -> Secret {
        let start = self.core.now().minus(Duration::from_secs(60));
        Secret::new(self.core.blobs.read_sas(&self.core.settings.account, self.container(), start, expiry))
    }

    /// The storage account's present key.
    #[must_use]
    pub fn account_key(&self) -> AccountKey {
        self.core.blobs.key()
    }

    /// Gives the storage account a new key: every blob token handed out so far is refused.
    pub fn rotate_blob_key(&self) {
        self.core.blobs.set_key(AccountKey::generate());
    }

    /// From now on TenantService hands out tokens for another blob store, which signs with `key`; `base` is its
    /// address with the account, such as `http://127.0.0.1:10000/devstoreaccount1`.
    pub fn hand_out_blob_store(&self, base: &Url, key: AccountKey) {
        *lock(&self.core.blob_base) = base.as_str().trim_end_matches('/').to_owned();
        self.core.blobs.set_key(key);
    }

    /// Makes the blob store refuse every token handed out so far, as if its time were over.
    pub fn expire_blob_tokens(&self) {
        self.core.blobs.expire_tokens();
    }

    /// Lets downloads go wrong.
    ///
    /// # Errors
    /// When there are too many faults already, or its time makes no sense.
    pub fn add_blob_fault(&self, fault: BlobFault) -> Result<(), SandboxError> {
        self.core.blobs.add_fault(fault)
    }

    /// Downloads work again.
    pub fn clear_blob_faults(&self) {
        self.core.blobs.clear_faults();
    }

    /// The faults of the blob store that are still in force.
    #[must_use]
    pub fn blob_faults(&self) -> Vec<BlobFault> {
        self.core.blobs.faults()
    }
}

/// What happened.
impl Sandbox {
    /// The day before today, in UTC.
    pub(super) fn yesterday(&self) -> jiff::civil::Date {
        let today = self.core.now().to_timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
        today.yesterday().unwrap_or(today)
    }

    /// What happened so far at the authority, TenantService and the blob store.
    #[must_use]
    pub fn vendor_state(&self) -> VendorState {
        self.core.state()
    }

    /// Everything that can be asked.
    #[must_use]
    pub fn state(&self) -> SandboxState {
        SandboxState {
            vendor: self.core.state(),
            broker: self.core.broker.state(),
            blob_faults: self.core.blobs.faults(),
            tenant_faults: lock(&self.core.tenant_faults).clone(),
            bucket: self.core.bucket.state(),
            fft: self.fft.state(),
            webhook: self.webhook.state(),
            drop: lock(&self.core.drop).clone(),
        }
    }

    /// Waits until `reached` holds of the vendor's state, at most for `limit`, and returns the state. The broker has
    /// [`Broker::wait_until`].
    ///
    /// # Errors
    /// When the limit is over.
    pub async fn wait_until(
        &self,
        limit: Duration,
        mut reached: impl FnMut(&VendorState) -> bool,
    ) -> Result<VendorState, SandboxError> {
        let mut states = self.core.watch();
        match tokio::time::timeout(limit, states.wait_for(|state| reached(state))).await {
            Ok(Ok(state)) => Ok(state.clone()),
            // The sender lives in `self.core`, so this is the time-out.
            Ok(Err(_)) | Err(_) => Err(SandboxError::Waited(limit, format!("{:?}", self.core.state()))),
        }
    }
}
