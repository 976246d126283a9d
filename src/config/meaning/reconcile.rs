//! The meaning of `[[reconcile]]`.

use std::time::Duration;

use toml::Spanned;

use super::entities::takes_payloads_whole;
use super::{Rules, each};
use crate::config::problem::Problem;
use crate::config::value::{OneOf, Pointer, Time};
use crate::config::written::{Document, Reconcile};
use crate::config::{FeedConfig, FeedKind, show_time};
use crate::feed::bucket::BlobTypeFrom;
use crate::notice::FeedName;
use crate::route::{Nameless, ReconcileSettings};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// A webhook's sender tries for seven days; only then an event is lost.
const SETTLE: Duration = Duration::from_secs(8 * 24 * 3_600);
/// A month, as notices are kept.
const REMEMBER: Duration = Duration::from_secs(30 * 24 * 3_600);

impl Rules<'_, '_> {
    pub(super) fn reconciles(&mut self, document: &Document, feeds: &[FeedConfig]) -> Vec<ReconcileSettings> {
        let mut found: Vec<ReconcileSettings> = Vec::new();
        for written in each(&document.reconcile) {
            let Some(one) = self.reconcile(written, feeds) else { continue };
            if let Some(export) = written.get_ref().export.spanned() {
                self.compared_sinks(export, document);
            }
            if found.iter().any(|other| other.export == one.export || other.webhook == one.webhook) {
                let problem = Problem::new(written.span(), "a feed is reconciled twice", "the second time");
                self.problems.add(problem.help("name all its events in one [[reconcile]]"));
            }
            found.push(one);
        }
        found
    }

    fn reconcile(&mut self, written: &Spanned<Reconcile>, feeds: &[FeedConfig]) -> Option<ReconcileSettings> {
        let (reconcile, span) = (written.get_ref(), written.span());
        let export = self.required("[[reconcile]]", span.clone(), "export", &reconcile.export, "\"fft-export\"");
        let webhook = self.required("[[reconcile]]", span.clone(), "webhook", &reconcile.webhook, "\"fft\"");
        let example = "{ ORDER_CREATED = \"order-created_event\" }";
        let names = self.required("[[reconcile]]", span, "names", &reconcile.names, example);
        let id = self.or("reconcile.id", &reconcile.id, Pointer("/id".to_owned())).0;
        let version = self.or("reconcile.version", &reconcile.version, Pointer("/version".to_owned())).0;
        let settle = self.or("reconcile.settle_after", &reconcile.settle_after, Time(SETTLE)).0;
        let remember = self.or("reconcile.remember_for", &reconcile.remember_for, Time(REMEMBER)).0;
        let nameless = self.or("reconcile.nameless", &reconcile.nameless, OneOf(Nameless::Deliver)).0;
        let (export, webhook, names) = (export?, webhook?, names?);
        let overlap = self.compared_feed(
            "reconcile.export",
            export,
            feeds,
            "a bucket with blob_type_from = \"record\"",
            |kind| match kind {
                FeedKind::Bucket { settings } if settings.blob_type_from == BlobTypeFrom::Record => {
                    Some(settings.overlap)
                }
                _ => None,
            },
        );
        self.compared_feed("reconcile.webhook", webhook, feeds, "a webhook", |kind| match kind {
            FeedKind::Webhook { .. } => Some(Duration::ZERO),
            _ => None,
        });
        // Days are whole ones, and an export may be written a day after what it tells of.
        let needed = overlap? + settle + 3 * DAY;
        if remember < needed {
            let at = reconcile.remember_for.spanned().map(Spanned::span);
            self.problems.add(
                Problem::new(
                    at.unwrap_or(export.span()),
                    "events are forgotten while the export is still compared, and would be delivered twice",
                    format!("remembered for {}", show_time(remember)),
                )
                .help(format!("set remember_for to {} or more", show_time(needed))),
            );
        }
        Some(ReconcileSettings {
            export: FeedName::new(export.get_ref()),
            webhook: FeedName::new(webhook.get_ref()),
            names: names.get_ref().0.clone(),
            id,
            version,
            settle,
            remember,
            nameless,
        })
    }

    /// A file that goes to a sink as it came cannot be left out in parts. Every route that hears the export has to look into
    /// it.
    fn compared_sinks(&mut self, export: &Spanned<String>, document: &Document) {
        let routes = each(&document.route).iter().map(Spanned::get_ref);
        for route in routes {
            let feeds = each(&route.feeds);
            if !feeds.is_empty() && !feeds.iter().any(|feed| feed.get_ref() == export.get_ref()) {
                continue;
            }
            for sink in each(&route.sinks).iter().filter(|sink| takes_payloads_whole(document, sink.get_ref())) {
                let message = format!(
                    "nothing can be left out of the files of {:?} on this route: the sink {:?} takes payloads whole",
                    export.get_ref(),
                    sink.get_ref()
                );
                self.problems.add(
                    Problem::new(sink.span(), message, "has format = \"raw\"")
                        .also(export.span(), "what is compared")
                        .help("choose another format for the sink, or name the other feeds in the route's `feeds`"),
                );
            }
        }
    }

    /// What `look` says of the feed that is named; reported if it is not of the right kind.
    fn compared_feed(
        &mut self,
        key: &str,
        name: &Spanned<String>,
        feeds: &[FeedConfig],
        must: &str,
        look: impl Fn(&FeedKind) -> Option<Duration>,
    ) -> Option<Duration> {
        let found = feeds.iter().find(|feed| feed.name.as_str() == name.get_ref());
        let seen = found.and_then(|feed| look(&feed.kind));
        if seen.is_none() {
            let message = format!("`{key}` names {:?}", name.get_ref());
            self.problems.add(Problem::new(name.span(), message, format!("must be the name of a feed: {must}")));
        }
        seen
    }
}
