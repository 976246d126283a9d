//! Finds the routes of a notice.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::blob_type::BlobTypeFilter;
use crate::inbox::{Plan, Target};
use crate::notice::{EntityName, FeedName, Notice, RouteName};
use crate::pointer::PointerError;
use crate::record::RecordBatch;
use crate::route::entity::{self, Entity, Parent};
use crate::route::{EntitySettings, Envelope, Match, Reconcile, RecordFilter, RouteSettings, Unwrapped, envelope};

/// How many characters of a blob type are shown in a reason; a source can send any text.
const BLOB_TYPE_SHOWN_CHARS: usize = 200;

/// Why routes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// A glob of blob types cannot be understood.
    #[error("a blob type glob of route {route} cannot be understood: {reason}")]
    Glob {
        /// The route.
        route: RouteName,
        /// What is wrong with it.
        reason: String,
    },
    /// A pointer of the record filter is not one.
    #[error("the record filter of route {route}: {reason}")]
    Pointer {
        /// The route.
        route: RouteName,
        /// What is wrong with it.
        reason: PointerError,
    },
    /// A blob-type glob of an entity cannot be understood.
    #[error("a blob type glob of entity {entity} cannot be understood: {reason}")]
    EntityGlob {
        /// The entity.
        entity: EntityName,
        /// What is wrong with it.
        reason: String,
    },
    /// A pointer of an entity is not one.
    #[error("a key or condition of entity {entity}: {reason}")]
    EntityPointer {
        /// The entity.
        entity: EntityName,
        /// What is wrong with it.
        reason: PointerError,
    },
    /// Two entities have one name.
    #[error("there are two entities named {0}: give one of them another name")]
    SameEntity(EntityName),
    /// A route names a parent that is not configured.
    #[error("route {route} names the parent {entity}, which is no entity: add it, or name another")]
    UnknownEntity {
        /// The route.
        route: RouteName,
        /// What it names.
        entity: EntityName,
    },
    /// A route names its parent by a key that the entity does not have.
    #[error(
        "route {route} names its parent {entity} by the key {key}, which that entity does not have with as many values: its records would wait for ever"
    )]
    UnknownKey {
        /// The route.
        route: RouteName,
        /// The entity.
        entity: EntityName,
        /// The key.
        key: String,
    },
    /// A pointer of a reference is not one.
    #[error("a key of the parent {entity} of route {route}: {reason}")]
    ParentPointer {
        /// The route.
        route: RouteName,
        /// The entity.
        entity: EntityName,
        /// What is wrong with it.
        reason: PointerError,
    },
    /// A pointer into a feed's wrapped records is not one.
    #[error("the records of a feed cannot be unwrapped: {0}")]
    Envelope(PointerError),
    /// A pointer of what is reconciled is not one.
    #[error("the events of a feed cannot be compared: {0}")]
    Reconcile(PointerError),
    /// Two routes have one name.
    #[error("there are two routes named {0}: give one of them another name")]
    SameName(RouteName),
}

/// A route, ready for use.
#[derive(Clone, Debug)]
pub struct Route {
    settings: RouteSettings,
    blob_types: BlobTypeFilter,
    filter: RecordFilter,
    parents: Vec<Parent>,
}

impl Route {
    fn new(settings: RouteSettings, entities: &[Entity]) -> Result<Self, RouteError> {
        let blob_types = BlobTypeFilter::new(&settings.blob_types, &settings.exclude)
            .map_err(|e| RouteError::Glob { route: settings.name.clone(), reason: e.to_string() })?;
        let filter = RecordFilter::new(&settings.only)
            .map_err(|reason| RouteError::Pointer { route: settings.name.clone(), reason })?;
        let parents = entity::parents(&settings, entities)?;
        Ok(Self { settings, blob_types, filter, parents })
    }

    /// What the configuration says of it.
    #[must_use]
    pub fn settings(&self) -> &RouteSettings {
        &self.settings
    }

    /// Which of its records are delivered.
    #[must_use]
    pub fn filter(&self) -> &RecordFilter {
        &self.filter
    }

    /// What its records refer to; all of it must be known to the sink.
    #[must_use]
    pub fn parents(&self) -> &[Parent] {
        &self.parents
    }

    /// Whether it takes the notice.
    #[must_use]
    pub fn takes(&self, notice: &Notice) -> bool {
        self.hears(&notice.feed) && self.blob_types.wants(&notice.metadata.blob_type)
    }

    fn hears(&self, feed: &FeedName) -> bool {
        self.settings.feeds.is_empty() || self.settings.feeds.contains(feed)
    }
}

/// All routes, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Router {
    routes: Vec<Route>,
    entities: Vec<Entity>,
    matching: Match,
    envelopes: HashMap<FeedName, Envelope>,
    reconciles: HashMap<FeedName, Reconcile>,
}

impl Router {
    /// Makes the routes ready, and the entities that they name as parents.
    ///
    /// # Errors
    /// A glob or a pointer that cannot be understood, a name given twice, or a parent that could never be found.
    pub fn new(settings: Vec<RouteSettings>, matching: Match, entities: &[EntitySettings]) -> Result<Self, RouteError> {
        let entities = entity::entities(entities)?;
        let mut routes: Vec<Route> = Vec::with_capacity(settings.len());
        for one in settings {
            if routes.iter().any(|route| route.settings.name == one.name) {
                return Err(RouteError::SameName(one.name));
            }
            routes.push(Route::new(one, &entities)?);
        }
        Ok(Self { routes, entities, matching, envelopes: HashMap::new(), reconciles: HashMap::new() })
    }

    /// The same routes, for feeds whose records come wrapped.
    #[must_use]
    pub fn with_envelopes(self, envelopes: HashMap<FeedName, Envelope>) -> Self {
        Self { envelopes, ..self }
    }

    /// The same routes, with exports of which only what is missing is delivered.
    #[must_use]
    pub fn with_reconciles(self, reconciles: &[Reconcile]) -> Self {
        let by_export = reconciles.iter().map(|one| (one.settings().export.clone(), one.clone()));
        Self { reconciles: by_export.collect(), ..self }
    }

    /// What the records of a feed are compared with.
    #[must_use]
    pub fn reconcile_of(&self, feed: &FeedName) -> Option<&Reconcile> {
        self.reconciles.get(feed)
    }

    /// Whether each record of the feed has a blob type of its own.
    #[must_use]
    pub fn is_typed(&self, feed: &FeedName) -> bool {
        self.envelopes.get(feed).is_some_and(Envelope::is_typed)
    }

    /// Whether records of `blob_type` go to `route`, where each record of the feed has its own.
    #[must_use]
    pub fn takes_record(&self, feed: &FeedName, route: &Route, blob_type: &str) -> bool {
        let takes = |route: &Route| route.hears(feed) && envelope::wants(&route.blob_types, blob_type);
        match self.matching {
            Match::All => takes(route),
            Match::First => {
                let first = self.routes.iter().find(|route| takes(route));
                first.is_some_and(|first| first.settings.name == route.settings.name)
            }
        }
    }

    /// Leaves out the records that are not `route`'s by their own blob type, and takes the others out of their
    /// envelope. Does nothing to other feeds, nor to a notice that carries its body: that was taken out of its envelope
    /// before.
    pub fn unwrap(&self, notice: &Notice, route: &Route, batch: &mut RecordBatch) -> Unwrapped {
        let Some(envelope) = self.envelopes.get(&notice.feed).filter(|_| notice.body.is_none()) else {
            return Unwrapped::default();
        };
        let is_ours = |blob_type: &str| self.takes_record(&notice.feed, route, blob_type);
        let (others, types) = envelope.sort(batch, &notice.metadata.blob_type, is_ours);
        Unwrapped { others, empty: envelope.open(batch), types }
    }

    /// Where the notice goes: one target for each sink of the routes that take it, or why there is none.
    #[must_use]
    pub fn plan(&self, notice: &Notice) -> Plan {
        // Which route takes what of such a file is told by its records.
        let is_typed = self.is_typed(&notice.feed);
        let limit = match self.matching {
            Match::First if !is_typed => 1,
            _ => usize::MAX,
        };
        let takes = |route: &&Route| if is_typed { route.hears(&notice.feed) } else { route.takes(notice) };
        let mut targets: Vec<Target> = Vec::new();
        let mut routes_found = 0;
        for route in self.routes.iter().filter(takes).take(limit) {
            routes_found += 1;
            for sink in &route.settings.sinks {
                let target = Target { route: route.settings.name.clone(), sink: sink.clone() };
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        let skip_reason = match (targets.is_empty(), routes_found) {
            (false, _) => String::new(),
            (true, 0) => format!("no route takes {} from feed {}", shown(&notice.metadata.blob_type), notice.feed),
            (true, _) => format!("the route that takes {} has no sink", shown(&notice.metadata.blob_type)),
        };
        Plan { notice: notice.id, targets, skip_reason }
    }

    /// The route of that name.
    #[must_use]
    pub fn route(&self, name: &RouteName) -> Option<&Route> {
        self.routes.iter().find(|route| route.settings.name == *name)
    }

    /// The entities that records of `blob_type` carry. Where each record of the feed has its own, that may end in a
    /// version which the entity does not name.
    pub fn entities_of(&self, feed: &FeedName, blob_type: &str) -> impl Iterator<Item = &Entity> {
        let is_typed = self.is_typed(feed);
        self.entities.iter().filter(move |entity| entity.is_carried_by(blob_type, is_typed))
    }

    /// All entities.
    #[must_use]
    pub fn entities(&self) -> &[Entity] {
        &self.entities
    }

    /// The entity of that name.
    #[must_use]
    pub fn entity(&self, name: &EntityName) -> Option<&Entity> {
        self.entities.iter().find(|entity| entity.name() == name)
    }

    /// All routes, in order.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn shown(blob_type: &str) -> String {
    let mut text = String::from("blob type ");
    let is_cut = blob_type.chars().nth(BLOB_TYPE_SHOWN_CHARS).is_some();
    let head: String = blob_type.chars().take(BLOB_TYPE_SHOWN_CHARS).collect();
    // Writing to a string cannot fail.
    let _ = write!(text, "{head:?}{}", if is_cut { "…" } else { "" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::notice::{FeedName, Metadata, NoticeId, SinkName};

    fn route(name: &str, blob_types: &[&str], sinks: &[&str]) -> RouteSettings {
        RouteSettings {
            name: RouteName::new(name),
            blob_types: blob_types.iter().map(|glob| (*glob).to_owned()).collect(),
            exclude: vec!["*Errors".to_owned()],
            feeds: Vec::new(),
            sinks: sinks.iter().map(SinkName::new).collect(),
            only: Vec::new(),
            format: crate::route::FormatHints::default(),
            parents: Vec::new(),
            parking: crate::route::ParkingSettings::default(),
        }
    }

    fn notice(feed: &str, blob_type: &str) -> Notice {
        Notice {
            id: NoticeId(1),
            feed: FeedName::new(feed),
            dedupe_key: "m-1".to_owned(),
            metadata: Metadata { blob_type: blob_type.to_owned(), ..Metadata::default() },
            body: None,
            published: UnixMs(0),
            sequence: 0,
            stored: UnixMs(0),
        }
    }

    fn targets(router: &Router, notice: &Notice) -> Vec<String> {
        let plan = router.plan(notice);
        assert_eq!(plan.targets.is_empty(), !plan.skip_reason.is_empty());
        plan.targets.iter().map(|target| format!("{}/{}", target.route, target.sink)).collect()
    }

    #[test]
    fn the_first_route_takes_the_notice_unless_all_shall() {
        let routes = vec![route("a", &["gateway.*"], &["x", "y", "x"]), route("b", &["*"], &["x"])];
        let first = Router::new(routes.clone(), Match::First, &[]).expect("routes");
        let all = Router::new(routes, Match::All, &[]).expect("routes");
        let item = notice("f", "Gateway.ItemChanges");
        assert_eq!(targets(&first, &item), ["a/x", "a/y"]);
        assert_eq!(targets(&all, &item), ["a/x", "a/y", "b/x"]);
        assert_eq!(targets(&first, &notice("f", "Customers")), ["b/x"]);
        assert!(first.route(&RouteName::new("b")).is_some());
        assert!(first.route(&RouteName::new("c")).is_none());
    }

    #[test]
    fn a_notice_that_no_route_takes_is_skipped_with_the_reason() {
        let mut only_one_feed = route("a", &["*"], &["x"]);
        only_one_feed.feeds = vec![FeedName::new("f")];
        let router = Router::new(vec![only_one_feed], Match::First, &[]).expect("routes");
        assert_eq!(router.plan(&notice("g", "A\nB")).skip_reason, r#"no route takes blob type "A\nB" from feed g"#);
        assert_eq!(
            router.plan(&notice("f", "ItemERRORS")).skip_reason,
            r#"no route takes blob type "ItemERRORS" from feed f"#
        );
        assert!(router.plan(&notice("g", &"x".repeat(100_000))).skip_reason.len() < 300);
    }

    #[test]
    fn routes_that_cannot_be_understood_are_refused_by_name() {
        let bad_glob = Router::new(vec![route("a", &["["], &["x"])], Match::First, &[]).expect_err("bad glob");
        assert!(bad_glob.to_string().contains("route a"), "{bad_glob}");
        let twice = Router::new(vec![route("a", &["*"], &[]), route("a", &["*"], &[])], Match::First, &[]);
        assert!(matches!(twice, Err(RouteError::SameName(_))));
    }
}
