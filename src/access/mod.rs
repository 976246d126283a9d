//! Access: who we are to the vendor. Certificate, Entra token, TenantService, SAS tokens and their refresh.
//!
//! What always holds:
//!
//! 1. One token source for the daemon; a refresh is asked for once, however many ask at the same time.
//! 2. The last good tokens keep working while a refresh fails.
//! 3. A SAS token goes only to the scheme, host and whole path segments that the vendor named for it, over TLS
//!    (plain connections only to loopback), and never into a log, an error or the database.
//!
//! ```text
//! certificate ─> assertion ─> Entra token ─> TenantService ─> TokenSet { service bus SAS, blob SAS per container }
//!                                                               ^ refresh: ahead of `se`, or when refused
//! ```
//!
//! Two sources, one keeper; imports go to the right:
//!
//! ```text
//! vendor ────────┬─> keeper ─> refresh ─> origin
//! static_tokens ─┘
//! vendor ─> probe ─> chain ─> certificates, entra, tenant_service
//! ```

mod address;
mod assertion;
mod backoff;
mod blob_access;
mod certificates;
mod chain;
mod connection_string;
mod entra;
mod entra_transport;
mod error;
#[cfg(test)]
mod fakes;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod identity_toolkit;
mod keeper;
mod origin;
mod patience;
mod probe;
mod refresh;
mod sas;
mod skew;
mod static_tokens;
mod temporary_endpoints;
mod tenant_service;
mod vendor;

pub use address::{AddressError, Refusal, read_address};
pub use connection_string::ConnectionString;
pub use error::AccessError;
pub use identity_toolkit::{ApiKey, IdentityToolkit, IdentityToolkitSettings};
pub use keeper::Keeper;
pub use patience::Patience;
pub use probe::look_at_certificates;
pub use skew::Skew;
pub use static_tokens::{StaticSettings, static_tokens};
pub use vendor::vendor_tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use crate::clock::UnixMs;
use crate::probe::Step;
use crate::secret::Secret;

/// Who we are to the vendor's Entra ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// The authority with its tenant, such as `https://login.microsoftonline.com/contoso.onmicrosoft.com`.
    pub authority: Url,
    /// The application's id.
    pub client_id: String,
    /// The scope of the token, such as `<resource id>/.default`.
    pub scope: String,
    /// A PEM file with a certificate and its private key, or a folder of such files.
    pub certificates: PathBuf,
    /// Warn when the last certificate expires within this time.
    pub certificate_warning: Duration,
    /// A CA file to trust besides the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// Where the vendor hands out its temporary tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantServiceSettings {
    /// The service's base address, such as `https://tenantservice.egretail.cloud`.
    pub url: Url,
    /// The unique name of this integration in the tenant.
    pub integration_name: String,
    /// Tokens are refreshed this long before the earliest of them expires.
    pub refresh_ahead: Duration,
    /// No second successful refresh within this time, unless the fresh token is itself refused.
    pub refresh_interval_min: Duration,
}

/// How to reach the Service Bus subscription.
#[derive(Clone, Debug)]
pub struct ServiceBusAccess {
    /// The namespace's host name.
    pub host: String,
    /// The port, where the connection string names one.
    pub port: Option<u16>,
    /// Plain AMQP: `UseDevelopmentEmulator=true`, allowed for a loopback host only.
    pub development_emulator: bool,
    /// The topic.
    pub topic: String,
    /// The subscription.
    pub subscription: String,
    /// The ready-made token, `SharedAccessSignature sr=…&sig=…&se=…&skn=…`.
    pub sas: Secret,
    /// What the token is for: its `sr`, decoded.
    pub audience: String,
    /// When it expires: its `se`.
    pub expires: Option<UnixMs>,
}

/// Access to one container (or any other prefix) of a blob store.
#[derive(Clone, Debug)]
pub struct BlobAccess {
    /// Scheme, host, port and path; no query.
    pub base: Url,
    /// The query that carries the token, `sv=…&sig=…`, exactly as the vendor wrote it.
    pub sas: Secret,
    /// When it expires: its `se`.
    pub expires: Option<UnixMs>,
}

/// One answer of the token service: everything that is needed to hear and to fetch.
#[derive(Clone, Debug)]
pub struct TokenSet {
    /// Counts the answers; whoever finds a token refused says which generation it was.
    pub generation: u64,
    /// When it was obtained.
    pub obtained: UnixMs,
    /// How to hear.
    pub service_bus: ServiceBusAccess,
    /// How to fetch.
    pub blobs: Vec<BlobAccess>,
}

impl TokenSet {
    /// When the first of the tokens expires; `None` where none says so.
    #[must_use]
    pub fn expires(&self) -> Option<UnixMs> {
        self.blobs.iter().filter_map(|blob| blob.expires).chain(self.service_bus.expires).min()
    }
}

/// The daemon's one source of the vendor's tokens.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// The tokens in force; fetched first if there are none. Old tokens are returned while a refresh fails.
    ///
    /// Every error, here and in [`TokenSource::refused`], is of class [`Class::Unauthorized`](crate::error::Class::Unauthorized): there is no access for
    /// now, which uses up no attempt of a notice. `retry_after` says when the next refresh is due.
    async fn current(&self) -> Result<Arc<TokenSet>, AccessError>;

    /// Tells that a token of `generation` was refused, and returns newer ones. Waits out the minimum interval and the
    /// back-off; many callers share one refresh. An error here means that no newer tokens could be had for now.
    async fn refused(&self, generation: u64) -> Result<Arc<TokenSet>, AccessError>;

    /// Follows the tokens: the value changes at every refresh; `None` until there are any.
    fn watch(&self) -> tokio::sync::watch::Receiver<Option<Arc<TokenSet>>>;

    /// Walks the chain from certificate to tokens, reporting each step; changes nothing on the vendor's side.
    async fn probe(&self) -> Vec<Step>;
}
