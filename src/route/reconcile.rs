//! Reconciling: what an export holds and a webhook did not bring.
//!
//! What always holds:
//!
//! 1. An event is known once the notice that carries it is stored: its key is written down in that very commit. From
//!    then on the inbox answers for it, whether it is delivered by now, waits or is set aside. Were it known only once
//!    it is delivered, the export would double all that waits for a sink that is down.
//! 2. The export's files are ordinary notices and go the ordinary way. Of their records, those whose event is known are
//!    left out and counted as filtered; what is left is missing, and is delivered.
//! 3. A file is looked at only after it has settled for a while: an event that is still on its way is not missing.
//! 4. What was missing and was confirmed by a sink is known to that sink on that route, by the same machinery as
//!    parents are, so that an export that is written anew, or a crash, doubles nothing. A replay by hand delivers again.
//!
//! The two feeds' ids are not documented to be equal. What names an event is the export's own name of it (by a
//! configured map from the webhook's, without a version at its end), the payload's id, and the payload's version where
//! it has one. What has no id cannot be compared: it is delivered (`nameless`), and counted apart from what is missing.
//!
//! ```text
//! webhook ─> notice + key ─> inbox                                       known ──> filtered
//!                              ^                                           │
//! export  ─> notice ─ settled ─┴─ records ─ own type in the map ─ key ─ asked ─ not known ──> delivered, and known
//!                                                │ no
//!                                                └─> filtered: this map says nothing about it
//! ```

use std::collections::HashMap;
use std::time::Duration;

use crate::inbox::{EntityKey, EventIdentity};
use crate::notice::{EntityName, FeedName, HeardNotice, RouteName, Verdict};
use crate::pointer::PointerError;
use crate::route::keys::Key;
use crate::route::{KeySettings, envelope};

/// What an export is compared with, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileSettings {
    /// The feed whose records are compared; each has a blob type of its own.
    pub export: FeedName,
    /// The feed that should have brought the same events.
    pub webhook: FeedName,
    /// The webhook's blob types, and what the export calls the same events, without a version.
    pub names: Vec<(String, String)>,
    /// JSON pointer to a payload's id.
    pub id: String,
    /// JSON pointer to a payload's version.
    pub version: String,
    /// How long after it was written an export is looked at.
    pub settle: Duration,
    /// How long an event is known.
    pub remember: Duration,
    /// What becomes of an event that has no id.
    pub nameless: Nameless,
}

/// What becomes of an event of an export that cannot be compared, since it has no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nameless {
    /// It is delivered, also if the webhook brought it: twice is better than never.
    Deliver,
    /// It is left out, also if the webhook did not bring it.
    LeaveOut,
}

/// The same, ready for use.
#[derive(Clone, Debug)]
pub struct Reconcile {
    settings: ReconcileSettings,
    /// By the export's name, in lower case.
    events: HashMap<String, EventKeys>,
    /// From the webhook's blob type to the export's name, both in lower case.
    names: HashMap<String, String>,
}

/// The ways to name one event, the first that can be read from a payload counts.
#[derive(Clone, Debug)]
struct EventKeys([Key; 3]);

impl EventKeys {
    fn new(name: &str, settings: &ReconcileSettings) -> Result<Self, PointerError> {
        let key = |pointers: &[&str]| {
            let pointers = pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
            Key::new(&KeySettings { name: name.to_owned(), pointers })
        };
        // A payload may be a bare id.
        Ok(Self([key(&[&settings.id, &settings.version])?, key(&[&settings.id])?, key(&[""])?]))
    }

    fn of(&self, payload: &[u8]) -> Option<EntityKey> {
        let scratch = &mut Vec::new();
        self.0.iter().find_map(|key| key.of(payload, scratch))
    }
}

/// What is said about a record of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// It is this event.
    Event(EntityKey),
    /// It has no id.
    Nameless,
    /// The map does not name it.
    Elsewhere,
}

impl Reconcile {
    /// Makes it ready.
    ///
    /// # Errors
    /// When a pointer is none.
    pub fn new(settings: ReconcileSettings) -> Result<Self, PointerError> {
        let mut events = HashMap::new();
        let mut names = HashMap::new();
        for (webhook, export) in &settings.names {
            let export = export.to_lowercase();
            events.insert(export.clone(), EventKeys::new(&export, &settings)?);
            names.insert(webhook.to_lowercase(), export);
        }
        Ok(Self { settings, events, names })
    }

    /// What the configuration says of it.
    #[must_use]
    pub fn settings(&self) -> &ReconcileSettings {
        &self.settings
    }

    /// What a record of the export is, by its own blob type.
    #[must_use]
    pub fn record(&self, blob_type: &str, payload: &[u8]) -> Compared {
        let name = blob_type.to_lowercase();
        let event = self.events.get(&name).or_else(|| self.events.get(envelope::without_version(&name)?));
        match event.map(|event| event.of(payload)) {
            None => Compared::Elsewhere,
            Some(None) => Compared::Nameless,
            Some(Some(key)) => Compared::Event(key),
        }
    }

    /// Under which name it is written down what a route has delivered from the export. No entity is called so.
    #[must_use]
    pub fn delivered_by(&self, route: &RouteName) -> EntityName {
        EntityName::new(format!("{}/{route}", self.settings.export))
    }

    fn event(&self, heard: &HeardNotice) -> Option<EntityKey> {
        if matches!(heard.verdict, Verdict::Unreadable(_)) {
            return None;
        }
        let name = self.names.get(&heard.metadata.blob_type.to_lowercase())?;
        self.events.get(name)?.of(heard.body.as_deref()?)
    }
}

/// All that is reconciled, as the inbox asks it.
#[derive(Clone, Debug, Default)]
pub struct Reconciles(HashMap<FeedName, Reconcile>);

impl Reconciles {
    /// Of these; each webhook is compared once.
    #[must_use]
    pub fn new(all: &[Reconcile]) -> Self {
        Self(all.iter().map(|one| (one.settings.webhook.clone(), one.clone())).collect())
    }
}

impl EventIdentity for Reconciles {
    fn key(&self, heard: &HeardNotice) -> Option<EntityKey> {
        self.0.get(&heard.feed)?.event(heard)
    }

    fn remember(&self) -> Option<Duration> {
        self.0.values().map(|one| one.settings.remember).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::notice::Metadata;

    fn reconcile() -> Reconcile {
        Reconcile::new(ReconcileSettings {
            export: FeedName::new("export"),
            webhook: FeedName::new("webhook"),
            names: vec![
                ("ORDER_CREATED".to_owned(), "order-created_event".to_owned()),
                ("FACILITY_DELETED".to_owned(), "facility-deleted_event".to_owned()),
            ],
            id: "/id".to_owned(),
            version: "/version".to_owned(),
            settle: Duration::ZERO,
            remember: Duration::from_secs(60),
            nameless: Nameless::Deliver,
        })
        .expect("pointers")
    }

    fn heard(blob_type: &str, body: &str) -> HeardNotice {
        HeardNotice {
            feed: FeedName::new("webhook"),
            dedupe_key: "e".to_owned(),
            metadata: Metadata { blob_type: blob_type.to_owned(), ..Metadata::default() },
            body: Some(bytes::Bytes::copy_from_slice(body.as_bytes())),
            published: UnixMs(0),
            sequence: 0,
            delivery_count: 0,
            verdict: Verdict::Accepted,
        }
    }

    #[test]
    fn an_event_is_the_same_whatever_each_side_calls_it() {
        let reconcile = reconcile();
        let sides = Reconciles::new(std::slice::from_ref(&reconcile));
        let of_webhook = |name: &str, body: &str| sides.key(&heard(name, body));
        let of_export = |name: &str, body: &str| reconcile.record(name, body.as_bytes());
        let first = of_webhook("ORDER_CREATED", r#"{"id":"o1","version":1,"more":[]}"#).expect("a key");
        assert_eq!(of_export("order-created_event-v1", r#"{"version":"1","id":"o1"}"#), Compared::Event(first));
        assert_eq!(of_export("Order-Created_event", r#"{"version":1,"id":"o1"}"#), Compared::Event(first));
        assert_ne!(of_export("order-created_event", r#"{"version":2,"id":"o1"}"#), Compared::Event(first));
        assert_ne!(of_export("facility-deleted_event", r#"{"version":1,"id":"o1"}"#), Compared::Event(first));
        let bare = of_webhook("FACILITY_DELETED", r#""f1""#).expect("a key");
        assert_eq!(of_export("facility-deleted_event-v2", r#""f1""#), Compared::Event(bare));
        let without = of_webhook("ORDER_CREATED", r#"{"id":"o1"}"#).expect("a key");
        assert_ne!(without, first, "without a version it is another one");
    }

    #[test]
    fn what_cannot_be_compared_is_told_from_what_is_not_to_be() {
        let reconcile = reconcile();
        for body in ["[1,2]", "{}", r#"{"id":null}"#] {
            assert_eq!(reconcile.record("order-created_event-v1", body.as_bytes()), Compared::Nameless, "{body}");
        }
        assert_eq!(reconcile.record("stow-job-created_event-v1", br#"{"id":"1"}"#), Compared::Elsewhere);
        let sides = Reconciles::new(&[reconcile]);
        assert_eq!(sides.key(&heard("ORDER_CREATED", "[1]")), None);
        assert_eq!(sides.key(&heard("SOMETHING", r#"{"id":"1"}"#)), None);
        let unreadable =
            HeardNotice { verdict: Verdict::Unreadable("no JSON".to_owned()), ..heard("ORDER_CREATED", "1") };
        assert_eq!(sides.key(&unreadable), None);
    }
}
