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
//!                                                      │
//!  daemon <── a folder <── a day's zip of CSVs ────────┤
//!    │ └── signed by the account's key ──> bucket <─────┤ day folders of gzipped JSON lines
//!    │ └── signed in, what events we want ──> fft ──┐   │
//!    └<── HTTPS, a secret, again until 200 ── sender <──┘ events
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

mod blob;
pub mod broker;
mod bucket;
pub mod control;
mod core;
mod drop;
mod entra;
pub mod fft;
mod folder;
mod pki;
mod publish;
pub mod sample;
pub mod sas;
mod serve;
mod settings;
mod tenant;
#[cfg(test)]
mod vendor_tests;
mod verbs;
mod webhook;

pub use blob::BlobInfo;
pub use blob::content::Content;
pub use blob::fault::{BlobFault, FaultKind};
pub use blob::sas::{AccountKey, ContainerGrant, container_sas};
pub use bucket::{BucketState, DayObject, ListFault, Rewrite, Written};
pub use core::VendorState;
pub use drop::{Arrival, DayFile, DaySpec, DropRequest, DropState, Dropped};
pub use publish::{FileSource, PublishRequest, Published};
pub use settings::SandboxSettings;
pub use tenant::TenantFault;
pub use verbs::SandboxState;
pub use webhook::{SendRequest, SendTo, WebhookState};

use crate::access::{IdentitySettings, TenantServiceSettings};
use crate::clock::{Clock as _, SystemClock};
use broker::{Broker, BrokerError, BrokerSettings};
use bucket::Bucket;
use core::Core;
use fft::{Fft, FftSettings};
use pki::{ServerIdentity, write_private};
use webhook::Webhook;

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
    /// The broker cannot do it.
    #[error(transparent)]
    Broker(#[from] BrokerError),
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
    blob_address: SocketAddr,
    fft: Fft,
    webhook: Webhook,
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
        let (bucket_listener, bucket_address) = serve::bind("bucket", settings.bucket_port).await?;
        let blob_scheme = if settings.blob_tls { "https" } else { "http" };
        let blob_seen_at = settings.blob_seen_at.unwrap_or(blob_address);
        let blob_base = format!("{blob_scheme}://{blob_seen_at}/{}", settings.account);
        let authority = url(&format!("https://{authority_address}/{}", settings.tenant))?;
        let blob_tls = settings.blob_tls.then(|| Arc::clone(&identity.tls));

        let broker = start_broker(&settings, &identity).await?;
        let bucket_url = url(&format!("https://{bucket_address}"))?;
        let bucket = Bucket::new(&settings.bucket, settings.bucket_page_max, bucket_url)?;
        let fft = start_fft(&settings, &identity, &dir).await?;
        let webhook = Webhook::start(&settings, &identity, &dir)?;
        let core = Core::new(settings, blob_base.clone(), broker, bucket);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        for (listener, tls, app) in [
            (authority_listener, Some(Arc::clone(&identity.tls)), entra::router(Arc::clone(&core))),
            (tenant_listener, Some(Arc::clone(&identity.tls)), tenant::router(Arc::clone(&core))),
            (bucket_listener, Some(identity.tls), bucket::router(Arc::clone(&core))),
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
            blob_address,
            fft,
            webhook,
            stop,
            tasks,
            _temporary: temporary,
        };
        let drop = sandbox.drop_folder();
        std::fs::create_dir_all(&drop).map_err(|source| SandboxError::Write { path: drop, source })?;
        sandbox.write_bucket_key()?;
        sandbox.new_certificate("longshore", CERTIFICATE_VALID, true)?;
        Ok(sandbox)
    }

    /// Stops listening and waits, for a limited time, until the open connections are done.
    pub async fn stop(&self) {
        self.stop.cancel();
        let stopped = async {
            self.tasks.wait().await;
            self.core.broker.stop().await;
        };
        if tokio::time::timeout(STOP_LIMIT, stopped).await.is_err() {
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

    /// fulfillmenttools' API, where its events are subscribed to.
    #[must_use]
    pub fn fft(&self) -> &Fft {
        &self.fft
    }

    /// The blob store with its account, as `http://127.0.0.1:10000/account`: where TenantService says that it is.
    #[must_use]
    pub fn blob_base(&self) -> &Url {
        &self.blob_base
    }

    /// Where the blob store listens.
    #[must_use]
    pub fn blob_address(&self) -> SocketAddr {
        self.blob_address
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
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The broker with the one topic and subscription that TenantService hands out.
async fn start_broker(settings: &SandboxSettings, identity: &ServerIdentity) -> Result<Broker, SandboxError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.broker_port));
    let mut broker = BrokerSettings {
        plain: (!settings.broker_tls).then_some(address),
        tls: settings.broker_tls.then(|| (address, Arc::clone(&identity.tls))),
        lock_duration: settings.lock_duration,
        delivery_count_max: settings.delivery_count_max,
        clock: Arc::clone(&settings.clock),
        ..BrokerSettings::new()
    };
    broker = broker.topic(&settings.topic, &[&settings.subscription]);
    Ok(Broker::start(broker).await?)
}

/// The vendor of the webhook's events, with a user whose password and API key are written into the folder.
async fn start_fft(settings: &SandboxSettings, identity: &ServerIdentity, dir: &Path) -> Result<Fft, SandboxError> {
    let fft = FftSettings {
        port: settings.fft_port,
        password: uuid::Uuid::new_v4().simple().to_string(),
        clock: Arc::clone(&settings.clock),
        ..FftSettings::default()
    };
    write_private(&dir.join("fft-password"), fft.password.as_bytes())?;
    write_private(&dir.join("fft-api-key"), fft.api_key.as_bytes())?;
    Fft::start_with(fft, Some(Arc::clone(&identity.tls))).await
}

/// The folder that the settings name, or a temporary one.
fn folder(settings: &SandboxSettings) -> Result<(PathBuf, Option<tempfile::TempDir>), SandboxError> {
    if let Some(dir) = &settings.dir {
        let fail = |source| SandboxError::Write { path: dir.clone(), source };
        std::fs::create_dir_all(dir).map_err(fail)?;
        // The configuration names paths in it, and whatever is relative there begins at the configuration's folder.
        return Ok((dir.canonicalize().map_err(fail)?, None));
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
