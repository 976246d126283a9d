//! Which events the vendor sends us: its subscriptions, held against those that the configuration wants.
//!
//! What always holds:
//!
//! 1. Only what is ours is changed: a subscription that delivers to our address (or to one that was ours) under a name
//!    that begins with ours. All others are counted, and shown, and left alone.
//! 2. The new comes before the old goes. A change that is cut off leaves an event delivered twice, which the listener's
//!    memory of ids bears, and never one that nobody delivers. The next plan finds what was left, and ends it.
//! 3. The vendor has no way to change a subscription, so that another secret or address is a new subscription.
//!
//! ```text
//! configuration ──> wanted ──┐
//!                            ├──> Plan (keep, create, replace, delete) ──> steps, in order ──> the vendor
//! the vendor ──list──> told ─┘
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::access::{AccessError, IdentityToolkitSettings};
use crate::clock::Clock;
use crate::error::Class;
use crate::secret::Secret;

use super::{SharedSecret, secrets};

mod api;
mod apply;
mod plan;
mod probe;
mod told;

#[cfg(test)]
mod plan_tests;

pub use api::Api;
pub use apply::{Done, apply};
pub use plan::{Action, Choices, Line, Note, Plan, Step, Whose};
pub(super) use probe::walk as probe;
pub use told::Told;

/// The vendor takes no more subscriptions of one event.
pub const SUBSCRIPTIONS_OF_EVENT_MAX: usize = 5;

/// The subscriptions of a webhook.
#[derive(Clone, Debug)]
pub struct SubscriptionsSettings {
    /// The vendor's API, such as `https://ocff-example-pre.api.fulfillmenttools.com`.
    pub api: Url,
    /// Where the vendor is to deliver: the listener as it is seen from outside.
    pub target: Url,
    /// Where it was to deliver before; subscriptions there are ours as well.
    pub former_targets: Vec<Url>,
    /// What the names of our subscriptions begin with.
    pub name: String,
    /// What is wanted.
    pub wanted: Vec<Wanted>,
    /// Who we are to the API.
    pub identity: IdentityToolkitSettings,
    /// A CA file to trust besides the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// A subscription that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Wanted {
    /// The event's name.
    pub event: String,
    /// Only events of these; all must hold.
    pub contexts: Vec<EventContext>,
}

/// Where an event has to come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventContext {
    /// What kind of place.
    #[serde(rename = "type")]
    pub kind: String,
    /// One of these.
    #[serde(default)]
    pub values: Vec<String>,
}

/// The facility of an event; stands once in a subscription at most.
pub const FACILITY: &str = "FACILITY";
/// A group of facilities; may stand several times.
pub const FACILITY_GROUP: &str = "FACILITY_GROUP";

impl Wanted {
    /// The same, written in the one way in which it is compared: what order contexts and values stand in means nothing.
    #[must_use]
    pub fn new(event: &str, mut contexts: Vec<EventContext>) -> Self {
        for context in &mut contexts {
            context.values.sort();
            context.values.dedup();
        }
        contexts.sort();
        Self { event: event.to_owned(), contexts }
    }

    /// The contexts in a few words; nothing for none.
    #[must_use]
    pub fn contexts_text(&self) -> String {
        let each = self.contexts.iter().map(|context| format!("{} {}", context.kind, context.values.join(", ")));
        each.collect::<Vec<_>>().join(" and ")
    }
}

/// What a new subscription is to carry besides its event.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where to deliver.
    pub target: Url,
    /// Addresses that were ours.
    pub former_targets: Vec<Url>,
    /// What its name begins with.
    pub name: String,
    /// The header that the listener asks for, and the value that is shown from now on.
    pub header: Option<(HeaderName, Secret)>,
}

impl Terms {
    /// Reads the secret that senders are to show: the first line of the listener's own file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(settings: &SubscriptionsSettings, secret: Option<&SharedSecret>) -> Result<Self, AccessError> {
        let header = match secret {
            None => None,
            Some(secret) => {
                let values = secrets::read(&secret.file).map_err(|reason| {
                    AccessError::new(Class::Permanent, reason)
                        .with_remedy("write the accepted values into it, one a line")
                })?;
                values.into_iter().next().map(|value| (secret.header.clone(), value))
            }
        };
        Ok(Self {
            target: settings.target.clone(),
            former_targets: settings.former_targets.clone(),
            name: settings.name.clone(),
            header,
        })
    }
}

/// The vendor's API, as these settings reach it.
///
/// # Errors
/// When no client can be made, as for a CA file that cannot be read.
pub fn api(settings: &SubscriptionsSettings, clock: Arc<dyn Clock>) -> Result<Api, crate::net::NetError> {
    let client = crate::net::http_client(settings.ca_file.as_deref(), crate::net::HttpLimits::default())?;
    Ok(Api::new(settings, client, clock))
}
