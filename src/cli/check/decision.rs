//! What becomes of one blob type: decided by the very code that decides for the daemon.

use std::fmt::Write as _;

use serde::Serialize;

use crate::clock::UnixMs;
use crate::config::{Config, FeedKind};
use crate::notice::{Metadata, Notice, NoticeId};
use crate::route::RouteError;

/// What becomes of a blob type, feed by feed.
#[derive(Debug, Serialize)]
pub struct Decision {
    blob_type: String,
    feeds: Vec<FromFeed>,
}

#[derive(Debug, Serialize)]
struct FromFeed {
    feed: String,
    /// Whether the feed's filter lets it through.
    heard: bool,
    /// Where it goes.
    targets: Vec<Target>,
    /// Why it goes nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
}

#[derive(Debug, Serialize)]
struct Target {
    route: String,
    sink: String,
}

impl Decision {
    /// Decides for a notice of `blob_type` from each feed.
    ///
    /// # Errors
    /// When the routes cannot be used.
    pub fn of(config: &Config, blob_type: &str) -> Result<Self, RouteError> {
        let router = crate::daemon::router(config)?;
        let feeds = config
            .feeds
            .iter()
            .map(|feed| {
                // Where each record has a type of its own, the feed's filter is about its files.
                let file = match &feed.kind {
                    FeedKind::Bucket { settings } if router.is_typed(&feed.name) => &settings.blob_type,
                    _ => blob_type,
                };
                let heard = feed.filter.wants(file);
                let plan = router.plan(&Notice {
                    id: NoticeId(0),
                    feed: feed.name.clone(),
                    dedupe_key: String::new(),
                    metadata: Metadata { blob_type: file.to_owned(), ..Metadata::default() },
                    body: None,
                    published: UnixMs(0),
                    sequence: 0,
                    stored: UnixMs(0),
                });
                let is_ours = |target: &&crate::inbox::Target| {
                    let route = router.route(&target.route);
                    !router.is_typed(&feed.name)
                        || route.is_some_and(|route| router.takes_record(&feed.name, route, blob_type))
                };
                let targets: Vec<Target> = plan
                    .targets
                    .iter()
                    .filter(|_| heard)
                    .filter(is_ours)
                    .map(|target| Target { route: target.route.to_string(), sink: target.sink.to_string() })
                    .collect();
                let skipped = match (heard, plan.targets.is_empty(), targets.is_empty()) {
                    (false, ..) => Some(format!("the filter of feed {} leaves it out", feed.name)),
                    (true, true, _) => Some(plan.skip_reason),
                    (true, false, true) => Some(format!("no route takes such records of feed {}", feed.name)),
                    (true, false, false) => None,
                };
                FromFeed { feed: feed.name.to_string(), heard, targets, skipped }
            })
            .collect();
        Ok(Self { blob_type: blob_type.to_owned(), feeds })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for feed in &self.feeds {
            let _ = writeln!(out, "{} from feed {}", self.blob_type, feed.feed);
            for target in &feed.targets {
                let _ = writeln!(out, "  goes by route {} to sink {}", target.route, target.sink);
            }
            if let Some(reason) = &feed.skipped {
                let _ = writeln!(out, "  is stored and skipped: {reason}");
            }
        }
        out
    }
}
