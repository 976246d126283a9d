//! The configuration: one TOML file, read once, at the edge.
//!
//! What always holds:
//!
//! 1. A [`Config`] is complete and consistent: every reference leads somewhere, every bound is in force. Nothing
//!    downstream checks again.
//! 2. A wrong file is told all at once: each error with its line and column, what was written, what is allowed, and the
//!    nearest key or name that is known. An unknown key is an error.
//! 3. No secret stands in the file, and one that was typed there all the same is not shown.
//!
//! ```text
//! text ──toml──> spanned tree ──reader──> written::Document ──meaning──> Config
//!                                 └────────── Problems ──────────┘──> ConfigError::Wrong
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use crate::access::{IdentitySettings, StaticSettings, TenantServiceSettings};
use crate::blob_type::BlobTypeFilter;
use crate::feed::bucket::BucketSettings;
use crate::feed::drop::DropSettings;
use crate::feed::service_bus::ServiceBusSettings;
use crate::feed::webhook::WebhookSettings;
use crate::inbox::InboxSettings;
use crate::notice::FeedName;
use crate::ops::OpsSettings;
use crate::payload::{FetchSettings, PayloadLimits};
use crate::route::{EntitySettings, Match, ReconcileSettings, RouteSettings};
use crate::sink::SinkSettings;
use crate::worker::WorkSettings;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod keys;
mod log;
mod meaning;
mod names;
mod problem;
mod reader;
mod value;
mod written;

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod parents_tests;
#[cfg(test)]
mod tests;

pub use keys::UNNAMED as UNNAMED_KEY;
pub use log::{LogFormat, LogSettings, log_filter};
pub use meaning::{Files, Surroundings};
pub use problem::{ConfigError, Findings, Look, Problem};
pub use value::{show_size, show_time};

/// What a configuration file means: every room's settings, complete and consistent.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The feeds, in the order of the file.
    pub feeds: Vec<FeedConfig>,
    /// What records are about, in the order of the file.
    pub entities: Vec<EntitySettings>,
    /// The exports that are compared with webhooks, in the order of the file.
    pub reconciles: Vec<ReconcileSettings>,
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
    /// Values that differ from what holds without them.
    pub changed: Vec<Changed>,
    /// What is not wrong but worth a look.
    pub warnings: Option<Findings>,
}

/// A value that differs from what holds without it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Changed {
    /// Such as `work.workers`.
    pub key: String,
    /// As it would be written.
    pub value: String,
    /// What holds without it.
    pub default: String,
}

/// A feed.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// Its name.
    pub name: FeedName,
    /// Which blob types it hears.
    pub filter: BlobTypeFilter,
    /// Globs of the blob types that it wants, as they were written.
    pub include: Vec<String>,
    /// Globs of the blob types that it does not want, as they were written.
    pub exclude: Vec<String>,
    /// Its source, and what goes with that.
    pub kind: FeedKind,
}

/// The source of a feed, by the `type` in the file.
#[derive(Clone, Debug)]
pub enum FeedKind {
    /// A Service Bus subscription that announces blobs.
    ServiceBus {
        /// The subscription.
        settings: Box<ServiceBusSettings>,
        /// Where its tokens come from.
        access: AccessConfig,
    },
    /// A place where files are dropped.
    Drop {
        /// The place, and how its files are taken.
        settings: Box<DropSettings>,
    },
    /// A bucket of day folders.
    Bucket {
        /// The bucket.
        settings: Box<BucketSettings>,
    },
    /// A webhook that senders post events to.
    Webhook {
        /// Where, and who may.
        settings: Box<WebhookSettings>,
    },
}

impl FeedConfig {
    /// Where the feed's tokens come from; `None` for a source that takes none of the vendor's.
    #[must_use]
    pub fn access(&self) -> Option<&AccessConfig> {
        match &self.kind {
            FeedKind::ServiceBus { access, .. } => Some(access),
            FeedKind::Drop { .. } | FeedKind::Bucket { .. } | FeedKind::Webhook { .. } => None,
        }
    }
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
    Files(StaticSettings),
}

/// The largest configuration file that is read; anything larger was named by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Reads a file. Relative paths in it start from its own folder.
    ///
    /// # Errors
    /// When the file cannot be read, or everything that is wrong with it.
    pub fn load(path: &Path, files: Files) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), reason: Arc::new(source) };
        let whole_path = std::path::absolute(path).map_err(unreadable)?;
        let no_text = |reason: String| ConfigError::NoText { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > FILE_BYTES_MAX {
            return Err(no_text(format!("is larger than {}", show_size(FILE_BYTES_MAX))));
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes)
            .map_err(|error| no_text(format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to())))?;
        let surroundings = Surroundings {
            folder: whole_path.parent().unwrap_or(&whole_path).to_owned(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            files,
        };
        Self::parse(path, &text, &surroundings)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, text: &str, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        // A byte order mark is no part of the text; without it columns are those that an editor shows.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut problems = problem::Problems::new(text);
        let config = read(path, text, surroundings, &mut problems);
        let findings = (!problems.is_empty()).then(|| problems.into_findings(path));
        match (config, findings) {
            (Some(config), warnings) => Ok(Self { warnings, ..config }),
            (None, Some(findings)) => Err(ConfigError::Wrong(Box::new(findings))),
            (None, None) => unreachable!("no configuration without a reason"),
        }
    }
}

fn read(path: &Path, text: &str, surroundings: &Surroundings, problems: &mut problem::Problems<'_>) -> Option<Config> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            problems.add(Problem::new(error.span().unwrap_or_default(), "this is not TOML", error.message()));
        }
        // What the parser guessed after an error would only lead to further ones that are none.
        return None;
    }
    let document = <written::Document as reader::Section>::read_table("", tree.get_ref(), problems);
    meaning::resolve(path.to_owned(), &document, surroundings, problems)
}
