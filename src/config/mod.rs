//! The configuration.

use std::path::PathBuf;

use crate::access::{IdentitySettings, TenantServiceSettings};
use crate::feed::service_bus::ServiceBusSettings;
use crate::inbox::InboxSettings;
use crate::ops::OpsSettings;
use crate::payload::{FetchSettings, PayloadLimits};
use crate::route::{Match, RouteSettings};
use crate::sink::SinkSettings;
use crate::worker::WorkSettings;

/// What a configuration file means: every room's settings, complete and consistent.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The feeds, in the order of the file.
    pub feeds: Vec<FeedConfig>,
    /// The routes, in the order of the file.
    pub routes: Vec<RouteSettings>,
    /// Whether a notice goes to the first route that takes it, or to all.
    pub route_match: Match,
    /// The sinks, in the order of the file.
    pub sinks: Vec<SinkSettings>,
    /// The inbox.
    pub inbox: InboxSettings,
    /// How stored notices are worked off.
    pub work: WorkSettings,
    /// Bounds of what a payload may be.
    pub limits: PayloadLimits,
    /// How payloads are fetched.
    pub fetch: FetchSettings,
    /// The log.
    pub log: LogSettings,
    /// Health and metrics.
    pub ops: OpsSettings,
    /// Worker threads of the runtime.
    pub threads: usize,
}

/// A feed, and how it gets access.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The feed.
    pub service_bus: ServiceBusSettings,
    /// Where its tokens come from.
    pub access: AccessConfig,
}

/// Where tokens come from. Feeds with equal access share one token source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessConfig {
    /// The vendor's token service, to which an identity is shown.
    TenantService {
        /// Who we are.
        identity: Box<IdentitySettings>,
        /// Where tokens are handed out.
        service: TenantServiceSettings,
    },
    /// Files with ready-made tokens, for a broker and a blob store without a token service.
    Files {
        /// Holds the connection string of the subscription.
        connection_string: PathBuf,
        /// Holds the addresses of containers with their tokens, one a line.
        blob_urls: PathBuf,
    },
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text, or lines with a priority where standard error leads to the system's journal.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
    /// In the system's journal, with fields of its own.
    Journald,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How it is written.
    pub format: LogFormat,
    /// How much: `info`, or more exactly `info,fe2o3_amqp=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}
