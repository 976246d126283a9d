//! What can be set about the sandbox.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};

/// The sandbox's settings; the default starts everything on free ports in a temporary folder.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// Where certificates and the configuration are written; `None` for a temporary folder that goes with the sandbox.
    pub dir: Option<PathBuf>,
    /// Where the time of day comes from: certificates, assertions and tokens are checked by it.
    pub clock: Arc<dyn Clock>,
    /// The port of the Entra authority; 0 for a free one, as with all ports.
    pub authority_port: u16,
    /// The port of TenantService.
    pub tenant_port: u16,
    /// The port of the blob store.
    pub blob_port: u16,
    /// The port of the Service Bus broker.
    pub broker_port: u16,
    /// The port of the store that the bucket of day folders lies in.
    pub bucket_port: u16,
    /// The port of fulfillmenttools' API, where its events are subscribed to.
    pub fft_port: u16,
    /// The port that the daemon is to listen on for the webhook's events.
    pub webhook_port: u16,
    /// How many times faster than the vendor's the time of the webhook's sender goes.
    pub webhook_speed: f64,
    /// Where TenantService says that the blob store is, when something stands before it, such as a proxy that breaks
    /// connections; `None` for where it listens.
    pub blob_seen_at: Option<SocketAddr>,
    /// Where TenantService says that the broker is, when something stands before it.
    pub broker_seen_at: Option<SocketAddr>,
    /// The Entra tenant.
    pub tenant: String,
    /// The application's id.
    pub client_id: String,
    /// The scope that the authority grants.
    pub scope: String,
    /// How long an access token is good.
    pub access_token_lifetime: Duration,
    /// The integration that TenantService knows.
    pub integration_name: String,
    /// How long the Service Bus token and the blob tokens are good.
    pub sas_lifetime: Duration,
    /// The storage account.
    pub account: String,
    /// The containers that TenantService hands tokens out for; blobs are published into the first.
    pub containers: Vec<String>,
    /// Whether the blob store serves HTTPS; plain HTTP otherwise.
    pub blob_tls: bool,
    /// Whether the broker serves AMQP over TLS; plain AMQP otherwise, with `UseDevelopmentEmulator=true`.
    pub broker_tls: bool,
    /// How long the broker keeps a message locked for a receiver.
    pub lock_duration: Duration,
    /// A message that was delivered in vain this often goes to the dead letters.
    pub delivery_count_max: u32,
    /// The bucket of day folders.
    pub bucket: String,
    /// The most objects that one page of its listing shows; at most 1000.
    pub bucket_page_max: usize,
    /// The Service Bus topic.
    pub topic: String,
    /// The topic's subscription.
    pub subscription: String,
}

impl SandboxSettings {
    /// Everything on free ports, in the folder `dir`, which stays.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), ..Self::default() }
    }
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            dir: None,
            clock: Arc::new(SystemClock),
            authority_port: 0,
            tenant_port: 0,
            blob_port: 0,
            broker_port: 0,
            bucket_port: 0,
            fft_port: 0,
            webhook_port: 0,
            webhook_speed: 1.0,
            blob_seen_at: None,
            broker_seen_at: None,
            tenant: "sandbox.onmicrosoft.com".to_owned(),
            client_id: "6f1a2b3c-0000-4000-8000-5a4d9b0c1e2f".to_owned(),
            scope: "3c9d8e7f-0000-4000-8000-1b2a3c4d5e6f/.default".to_owned(),
            access_token_lifetime: Duration::from_secs(3599),
            integration_name: "longshore".to_owned(),
            sas_lifetime: Duration::from_secs(3600),
            account: "sandboxaccount".to_owned(),
            containers: vec!["batchtoprocess".to_owned()],
            blob_tls: false,
            broker_tls: false,
            lock_duration: Duration::from_secs(30),
            delivery_count_max: 10,
            bucket: "ocff-sandbox-pre-public-events-export-bucket".to_owned(),
            bucket_page_max: 1_000,
            topic: "fileexport".to_owned(),
            subscription: "longshore".to_owned(),
        }
    }
}
