//! The meaning of `[[feed]]`, and of `[identity]` and `[tokens]` that some feeds use. Each kind of feed has a file of
//! its own here; what all kinds have in common is resolved in this one.

use std::ops::Range;

use toml::Spanned;

use super::{Rules, each, globs, section};
use crate::config::FeedConfig;
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::{Glob, Name};
use crate::config::written::{Document, Feed};
use crate::feed::filter::BlobTypeFilter;
use crate::notice::FeedName;

mod bucket;
mod drop;
mod drop_source;
mod identity;
mod service_bus;
mod subscriptions;
mod webhook;

/// What every kind of feed has.
struct Common {
    name: FeedName,
    filter: BlobTypeFilter,
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Rules<'_, '_> {
    pub(in crate::config::meaning) fn feeds(&mut self, document: &Document) -> Vec<FeedConfig> {
        let identity = self.identity(document);
        let tokens = self.tokens(&section(&document.tokens));
        let feeds = each(&document.feed);
        if document.feed.is_absent() {
            let problem = Problem::new(0..0, "there is no [[feed]]", "nothing to hear");
            self.problems.add(problem.help("add [[feed]] with name, type, tenant_service and integration_name"));
        }
        self.unique(
            "feed",
            feeds.iter().filter(|feed| !matches!(feed.get_ref(), Feed::Unknown(_))).filter_map(|feed| {
                feed.get_ref().name().spanned().map(|name| (name.get_ref().0.as_str(), name.span()))
            }),
        );
        let mut resolved = Vec::new();
        for feed in feeds {
            let span = feed.span();
            let config = match feed.get_ref() {
                Feed::ServiceBus(feed) => {
                    self.service_bus_feed(feed, span.clone(), document, identity.as_ref(), tokens)
                }
                Feed::Drop(feed) => self.drop_feed(feed, span.clone(), document),
                Feed::Bucket(feed) => self.bucket_feed(feed, span.clone(), document),
                Feed::Webhook(feed) => self.webhook_feed(feed, span.clone(), document),
                Feed::Unknown(_) => None,
            };
            resolved.extend(config.map(|config| (config, span)));
        }
        self.warn_of_competition(&resolved);
        self.one_listener_an_address(&resolved);
        resolved.into_iter().map(|(config, _)| config).collect()
    }

    /// The name and the filter of a feed of any kind; `example` is a name.
    fn common(
        &mut self,
        span: Range<usize>,
        name: &Written<Name>,
        example: &str,
        include: &Written<Vec<Spanned<Glob>>>,
        exclude: &Written<Vec<Spanned<Glob>>>,
    ) -> Option<Common> {
        let name = self.required("[[feed]]", span.clone(), "name", name, example);
        let globs_in = if include.is_absent() { vec!["*".to_owned()] } else { globs(include) };
        if let Some(list) = include.spanned().filter(|list| list.get_ref().is_empty()) {
            self.problems.add(
                Problem::new(list.span(), "`feed.include` is empty: every notice would be skipped", "must name a glob")
                    .help("leave it out to hear everything"),
            );
        }
        let globs_out = globs(exclude);
        let filter = BlobTypeFilter::new(&globs_in, &globs_out);
        if let Err(error) = &filter {
            // Each glob was looked at when it was read; what is left is that they are too many.
            let problem = Problem::new(span, "the globs of this [[feed]] cannot be used together", error.to_string());
            self.problems.add(problem);
        }
        let name = FeedName::new(&name?.get_ref().0);
        Some(Common { name, filter: filter.ok()?, include: globs_in, exclude: globs_out })
    }
}
