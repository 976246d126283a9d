//! What becomes of one blob type: decided by the very code that decides for the daemon.

use std::fmt::Write as _;

use serde::Serialize;

use crate::clock::UnixMs;
use crate::config::Config;
use crate::notice::{Metadata, Notice, NoticeId};
use crate::route::{RouteError, Router};

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
        let router = Router::new(config.routes.clone(), config.route_match, &config.entities)?;
        let feeds = config
            .feeds
            .iter()
            .map(|feed| {
                let heard = feed.filter.wants(blob_type);
                let plan = router.plan(&Notice {
                    id: NoticeId(0),
                    feed: feed.name.clone(),
                    dedupe_key: String::new(),
                    metadata: Metadata { blob_type: blob_type.to_owned(), ..Metadata::default() },
                    body: None,
                    published: UnixMs(0),
                    sequence: 0,
                    stored: UnixMs(0),
                });
                let targets = plan
                    .targets
                    .iter()
                    .filter(|_| heard)
                    .map(|target| Target { route: target.route.to_string(), sink: target.sink.to_string() });
                let skipped = match (heard, plan.targets.is_empty()) {
                    (false, _) => Some(format!("the filter of feed {} leaves it out", feed.name)),
                    (true, true) => Some(plan.skip_reason),
                    (true, false) => None,
                };
                FromFeed { feed: feed.name.to_string(), heard, targets: targets.collect(), skipped }
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
