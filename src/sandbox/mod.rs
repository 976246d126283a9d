//! The sandbox: the vendor's side on loopback, on real wire protocols.
//!
//! Whatever the daemon meets here it meets at the vendor: assertions, tokens and signatures are verified, not waved
//! through. Nothing listens on any other address than loopback.
//!
//! ```text
//!             assertion                bearer token
//!  daemon ──────────────> Entra   ┌──────────────────> TenantService ── signs ──┐
//!    │    <────────────── authority                         │                   │
//!    │       bearer token                    SAS for both <─┘                   v
//!    ├──────────── SAS, AMQP ────────────────────────────────────────> Service Bus broker
//!    └──────────── SAS, HTTP ────────────────────────────────────────> blob store
//!                                                                          ^
//!  a person, a test, the demo ──> control API ──> Sandbox (the handle) ────┘ publish, rotate, expire, faults
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

mod blob;
pub mod broker;
mod core;
mod entra;
mod pki;
pub mod sample;
pub mod sas;
mod serve;
mod settings;
mod tenant;
#[cfg(test)]
mod vendor_tests;

pub use blob::content::Content;
pub use blob::fault::{BlobFault, FaultKind};
pub use blob::sas::{AccountKey, ContainerGrant, container_sas};
pub use core::VendorState;
pub use settings::SandboxSettings;
pub use tenant::TenantFault;

use crate::access::{IdentitySettings, TenantServiceSettings};
use crate::clock::{Clock as _, SystemClock};
use core::Core;
use pki::{ClientCertificate, ServerIdentity, write_private};
use serve::lock;

/// How long the sandbox's client certificates are valid, unless asked otherwise.
const CERTIFICATE_VALID: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a stop waits for connections that are still open.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Why the sandbox cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A port cannot be had.
    #[error(
        "the sandbox's {what} cannot listen on 127.0.0.1:{port}: {source}; choose another port, or 0 for a free one"
    )]
    Listen {
        /// Who wants to listen.
        what: &'static str,
        /// The port that was asked for.
        port: u16,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("the sandbox cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("the sandbox cannot make a certificate: {0}")]
    Certificate(String),
    /// The request makes no sense.
    #[error("{0}")]
    Request(String),
    /// What was waited for did not happen.
    #[error("the sandbox waited {0:?} in vain; its state was {1}")]
    Waited(Duration, String),
}

impl From<rcgen::Error> for SandboxError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// A running sandbox. It stops when it is dropped, or with [`Sandbox::stop`], which waits.
pub struct Sandbox {
    core: Arc<Core>,
    dir: PathBuf,
    ca_file: PathBuf,
    authority: Url,
    tenant_service: Url,
    blob_base: Url,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Removes the temporary folder with the sandbox.
    _temporary: Option<tempfile::TempDir>,
}

impl Sandbox {
    /// Starts every listener, and writes the CA and one registered client certificate into the folder.
    ///
    /// # Errors
    /// When a port is taken, or the folder cannot be written.
    pub async fn start(settings: SandboxSettings) -> Result<Self, SandboxError> {
        let (dir, temporary) = folder(&settings)?;
        // TLS libraries check the server by the machine's own clock, whatever the settings' clock shows.
        let identity = ServerIdentity::generate(SystemClock.now())?;
        let ca_file = write_private(&dir.join("ca.pem"), identity.ca_pem.as_bytes())?;

        let (authority_listener, authority_address) = serve::bind("Entra authority", settings.authority_port).await?;
        let (tenant_listener, tenant_address) = serve::bind("TenantService", settings.tenant_port).await?;
        let (blob_listener, blob_address) = serve::bind("blob store", settings.blob_port).await?;
        let blob_scheme = if settings.blob_tls { "https" } else { "http" };
        let blob_base = format!("{blob_scheme}://{blob_address}/{}", settings.account);
        let authority = url(&format!("https://{authority_address}/{}", settings.tenant))?;
        let blob_tls = settings.blob_tls.then(|| Arc::clone(&identity.tls));

        let core = Core::new(settings, blob_base.clone(), tenant::ServiceBusGrant::unreachable());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        for (listener, tls, app) in [
            (authority_listener, Some(Arc::clone(&identity.tls)), entra::router(Arc::clone(&core))),
            (tenant_listener, Some(identity.tls), tenant::router(Arc::clone(&core))),
            (blob_listener, blob_tls, blob::router(Arc::clone(&core))),
        ] {
            tasks.spawn(serve::serve(listener, tls, app, stop.clone()));
        }
        tasks.close();
        let sandbox = Self {
            core,
            dir,
            ca_file,
            authority,
            tenant_service: url(&format!("https://{tenant_address}"))?,
            blob_base: url(&blob_base)?,
            stop,
            tasks,
            _temporary: temporary,
        };
        sandbox.new_certificate("longshore", CERTIFICATE_VALID, true)?;
        Ok(sandbox)
    }

    /// Stops listening and waits, for a limited time, until the open connections are done.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("the sandbox stops with connections still open");
        }
    }

    /// The folder with `ca.pem` and `certificates/`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The CA that the sandbox's servers are to be checked against.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The folder with the client certificates and their keys.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.dir.join("certificates")
    }

    /// The Entra authority with its tenant.
    #[must_use]
    pub fn authority(&self) -> &Url {
        &self.authority
    }

    /// The base address of TenantService.
    #[must_use]
    pub fn tenant_service(&self) -> &Url {
        &self.tenant_service
    }

    /// The blob store with its account, as `http://127.0.0.1:10000/account`.
    #[must_use]
    pub fn blob_base(&self) -> &Url {
        &self.blob_base
    }

    /// The settings it was started with.
    #[must_use]
    pub fn settings(&self) -> &SandboxSettings {
        &self.core.settings
    }

    /// What the daemon's access room needs to identify itself here.
    #[must_use]
    pub fn identity_settings(&self) -> IdentitySettings {
        IdentitySettings {
            authority: self.authority.clone(),
            client_id: self.core.settings.client_id.clone(),
            scope: self.core.settings.scope.clone(),
            certificates: self.certificates(),
            certificate_warning: Duration::from_secs(30 * 24 * 60 * 60),
            ca_file: Some(self.ca_file.clone()),
        }
    }

    /// What the daemon's access room needs to get tokens here: refreshed five minutes ahead, at most every five
    /// minutes, as the vendor asks.
    #[must_use]
    pub fn tenant_service_settings(&self) -> TenantServiceSettings {
        TenantServiceSettings {
            url: self.tenant_service.clone(),
            integration_name: self.core.settings.integration_name.clone(),
            refresh_ahead: Duration::from_secs(300),
            refresh_interval_min: Duration::from_secs(300),
        }
    }

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

    /// Stores a blob in the first container, in place of one of that name, and returns its URI without a token.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn put_blob(&self, name: &str, content: Content, content_type: &str) -> Result<Url, SandboxError> {
        let container = self.core.settings.containers.first().map_or("", String::as_str);
        self.core.blobs.put(format!("{container}/{name}"), content, content_type, None, self.core.now())?;
        // So that a waiter sees the blob in the state.
        self.core.count(|_| ());
        let mut uri = self.blob_base.clone();
        uri.path_segments_mut().expect("an http URL has a path").push(container).extend(name.split('/'));
        Ok(uri)
    }

    /// Takes a blob of the first container away; `false` when there is none.
    pub fn remove_blob(&self, name: &str) -> bool {
        let container = self.core.settings.containers.first().map_or("", String::as_str);
        self.core.blobs.remove(&format!("{container}/{name}"))
    }

    /// A query that reads the first container from a minute ago until `expiry`, signed with the account's present key.
    #[must_use]
    pub fn blob_sas(&self, expiry: crate::clock::UnixMs) -> crate::secret::Secret {
        let container = self.core.settings.containers.first().map_or("", String::as_str);
        let start = self.core.now().minus(Duration::from_secs(60));
        crate::secret::Secret::new(self.core.blobs.read_sas(container, start, expiry))
    }

    /// The storage account's present key.
    #[must_use]
    pub fn account_key(&self) -> AccountKey {
        self.core.blobs.key()
    }

    /// Gives the storage account a new key: every blob token handed out so far is refused.
    pub fn rotate_blob_key(&self) {
        self.core.blobs.rotate_key();
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

    /// What happened so far.
    #[must_use]
    pub fn vendor_state(&self) -> VendorState {
        self.core.state()
    }

    /// Waits until `reached` holds of the state, at most for `limit`, and returns the state.
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

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The folder that the settings name, or a temporary one.
fn folder(settings: &SandboxSettings) -> Result<(PathBuf, Option<tempfile::TempDir>), SandboxError> {
    if let Some(dir) = &settings.dir {
        std::fs::create_dir_all(dir).map_err(|source| SandboxError::Write { path: dir.clone(), source })?;
        return Ok((dir.clone(), None));
    }
    let temporary = tempfile::Builder::new()
        .prefix("longshore-sandbox-")
        .tempdir()
        .map_err(|source| SandboxError::Write { path: std::env::temp_dir(), source })?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

fn url(text: &str) -> Result<Url, SandboxError> {
    Url::parse(text).map_err(|e| SandboxError::Request(format!("{text} is no URL: {e}")))
}
