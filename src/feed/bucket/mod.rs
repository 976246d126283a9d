//! The bucket feed: objects in day folders of any object store.
//!
//! What always holds:
//!
//! 1. The mark, the day up to which every day has been listed, moves over a day only after its last page was listed and
//!    every object on all its pages is stored. A page that cannot be had ends the look; the next one begins the day anew.
//! 2. A version of an object is one notice: name, version and size are its key. A rewritten object is a new notice, and
//!    the old one, if it was not delivered yet, ends as superseded; the two contents are never put together.
//! 3. Only the prefixes of the days in the window are listed, never the whole bucket: the days since the mark, and an
//!    overlap before it in which late and rewritten objects are looked for.
//! 4. What the vendor deletes before we have it is said long before.
//!
//! Days are listed by prefix and from their beginning: an object that came late or was rewritten may stand anywhere in
//! its day, so a listing that starts after the last name seen would pass it over. The price is one request for each day
//! of the overlap and each thousand objects in them, at every look.
//!
//! ```text
//! look:  mark ─> window ─> day by day: page ─store─> page ─store─> last page ─> mark moved ─> wait ─┐
//!         ^                                                                                          │
//!         └──────────────────────────────────────────────────────────────────────────────────────────┘
//! fetch (a worker): GET ─ the version that was listed ─> bytes      another one ─> heard, old one superseded
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::clock::UnixMs;
use crate::error::{Class, Classify};
use crate::feed::Feed;
use crate::feed::counters::Counters;
use crate::feed::filter::BlobTypeFilter;
use crate::feed::store::{BucketAccess, Connection};
use crate::inbox::{Inbox, SharedInbox};
use crate::notice::FeedName;
use crate::ops::metrics::ComputedGauge;
use crate::ops::{Condition, Context};
use crate::probe::{Finding, Step};
use crate::route::EnvelopeSettings;

mod content;
mod days;
mod hand;
mod list;
mod look;
mod notices;
mod versions;
mod watch;

#[cfg(test)]
mod tests;

pub use content::BucketContent;
pub use days::DayFolder;
pub use hand::{Bucket, Held};
pub use list::{ListError, Lister, Object, Page, StoreLister};
pub use notices::NamePattern;

use days::{Reach, Window};
use look::{Fault, Looked, Looker, Mark};
use watch::{Limits, Standing};

/// The loop promises a sign of life at least this often.
const HEARTBEAT_MAX: Duration = Duration::from_secs(120);

/// What stands for "nothing to tell" in the gauge of the time that is left.
const NOT_KNOWN: i64 = i64::MIN;

/// A bucket to look into.
#[derive(Clone, Debug)]
pub struct BucketSettings {
    /// The feed's name in the configuration.
    pub name: FeedName,
    /// Which blob types are wanted; others are stored as skipped.
    pub filter: BlobTypeFilter,
    /// The bucket.
    pub access: BucketAccess,
    /// Where a day's objects lie.
    pub folder: DayFolder,
    /// The blob type of objects whose own is not told from their name, and of all where that is not asked for.
    pub blob_type: String,
    /// Where an object's blob type comes from.
    pub blob_type_from: BlobTypeFrom,
    /// How the records of its files are wrapped.
    pub envelope: EnvelopeSettings,
    /// The content type of every object; `None`: by its name's suffix.
    pub content_type: Option<String>,
    /// How long is waited between two looks.
    pub poll: Duration,
    /// How many days before the mark are listed again at every look, for late and rewritten objects.
    pub overlap: Duration,
    /// How far a first look goes back.
    pub backfill: Duration,
    /// After how long the vendor deletes an object; `None`: never.
    pub retention: Option<Duration>,
    /// How long before that a person hears of what is not delivered.
    pub retention_warning: Duration,
    /// The largest number of notices that are stored in one commit.
    pub batch_notices_max: usize,
    /// How long a page of a listing may take.
    pub page_timeout: Duration,
    /// Back-off after a look that failed: first and longest wait.
    pub retry: (Duration, Duration),
}

/// Where an object's blob type comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobTypeFrom {
    /// All are of the feed's blob type.
    Feed,
    /// The folder that the object lies in, other than the day's.
    Folder,
    /// A part of its name.
    Name(NamePattern),
    /// Each record has its own; the object's is the feed's.
    Record,
}

impl BucketSettings {
    fn reach(&self) -> Reach {
        Reach { backfill: self.backfill, overlap: self.overlap, retention: self.retention }
    }

    /// How many LIST requests a day this takes at least, with no more than a page of objects in each day folder.
    #[must_use]
    pub fn lists_a_day(&self) -> u64 {
        let days = if self.folder.is_dated() {
            let now = UnixMs(0);
            Window::new(now, Some(days::day_of(now)), self.reach()).len()
        } else {
            1
        };
        days * (86_400 / self.poll.as_secs().max(1)).max(1)
    }
}

/// The feed.
pub struct BucketFeed {
    settings: BucketSettings,
    lister: Arc<dyn Lister>,
    context: Context,
    /// Seconds until the vendor deletes something that we have not.
    left_seconds: Arc<AtomicI64>,
}

impl BucketFeed {
    /// A feed that looks into the bucket that `connection` leads to. Nothing is connected before [`Feed::run`].
    #[must_use]
    pub fn new(settings: BucketSettings, connection: &Arc<Connection>, context: Context) -> Self {
        let lister = StoreLister::new(Arc::clone(connection), settings.page_timeout);
        Self::with_lister(settings, Arc::new(lister), context)
    }

    /// A feed over any lister.
    #[must_use]
    pub fn with_lister(settings: BucketSettings, lister: Arc<dyn Lister>, context: Context) -> Self {
        Self { settings, lister, context, left_seconds: Arc::new(AtomicI64::new(NOT_KNOWN)) }
    }

    fn part(&self) -> String {
        format!("feed {}", self.settings.name)
    }

    fn say(&self, condition: Condition) {
        self.context.health.set(&self.part(), condition);
    }

    /// Says how a look ended, and what the vendor is about to delete.
    async fn report(&self, inbox: &dyn Inbox, looked: &Looked, fault: Option<&Fault>, wait: Duration) {
        let again = format!("looking again in {}", show_wait(wait));
        let at_risk = self.at_risk(inbox).await;
        let lost = (looked.lost_days > 0).then(|| {
            format!(
                "{} days were never listed before the vendor deleted them; ask the vendor for them, they are lost to us",
                looked.lost_days
            )
        });
        if let Some(lost) = &lost {
            tracing::error!(lost, "days of the bucket are lost");
        }
        if let Some(fault) = fault {
            tracing::warn!(%fault, class = %fault.class(), again, "the look broke off");
            let reason =
                [Some(format!("{fault}; {again}")), at_risk].into_iter().flatten().collect::<Vec<_>>().join("; ");
            return self.say(Condition::Degraded { reason });
        }
        if let Some(reason) = lost.or(at_risk) {
            return self.say(Condition::Degraded { reason });
        }
        let note = format!("{} new of {} objects in {} pages; {again}", looked.stored, looked.objects, looked.pages);
        self.say(Condition::Good { note });
    }

    async fn at_risk(&self, inbox: &dyn Inbox) -> Option<String> {
        let retention = self.settings.retention?;
        let feed = &self.settings.name;
        let listed = Mark::read(inbox, feed).await.ok()?.listed;
        let oldest_unfinished = inbox.oldest_unfinished(feed).await.ok()?;
        let standing = Standing { now: self.context.clock.now(), listed, oldest_unfinished };
        let limits = Limits { retention, warning: self.settings.retention_warning };
        self.left_seconds.store(standing.left_seconds(limits).unwrap_or(NOT_KNOWN), Ordering::Relaxed);
        standing.warning(limits)
    }

    fn register_gauge(&self) {
        let left = Arc::clone(&self.left_seconds);
        self.context.metrics.computed_gauge(
            ComputedGauge::RetentionLeftSeconds,
            self.settings.name.as_str(),
            move || Some(left.load(Ordering::Relaxed)).filter(|left| *left != NOT_KNOWN),
        );
    }
}

#[async_trait]
impl Feed for BucketFeed {
    fn name(&self) -> &FeedName {
        &self.settings.name
    }

    async fn run(&self, inbox: SharedInbox, stop: CancellationToken) {
        let hearing = async {
            let heartbeat = self.context.heartbeats.register(&self.part(), HEARTBEAT_MAX);
            let metrics = &self.context.metrics;
            let counters = Counters::new(&self.settings.name, metrics, &metrics.feed_lists);
            self.register_gauge();
            self.say(Condition::Starting);
            let BucketSettings { access, .. } = &self.settings;
            let mut looker = Looker::new(&self.settings, access, &*self.lister, &*inbox, &*self.context.clock);
            let mut failures = 0;
            loop {
                let mut looked = Looked::default();
                let look = heartbeat.during(HEARTBEAT_MAX / 10, looker.look(&mut looked));
                let fault = tokio::select! {
                    () = stop.cancelled() => break,
                    ended = look => ended.err(),
                };
                counters.count_stored(looked.stored + looked.duplicates, looked.duplicates);
                counters.count_settled(looked.stored + looked.duplicates);
                counters.count_asked(looked.pages);
                failures = if fault.is_some() { failures + 1 } else { 0 };
                let wait = match &fault {
                    None => self.settings.poll,
                    Some(_) => crate::worker::backoff(self.settings.retry, failures, fastrand::f64()),
                };
                self.report(&*inbox, &looked, fault.as_ref(), wait).await;
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = heartbeat.during(HEARTBEAT_MAX / 10, tokio::time::sleep(wait)) => {}
                }
            }
            self.say(Condition::Good { note: "stopped".to_owned() });
            tracing::info!("stopped");
        };
        hearing.instrument(tracing::info_span!("feed", feed = %self.settings.name)).await;
    }

    async fn probe(&self) -> Vec<Step> {
        let begun = tokio::time::Instant::now();
        let now = self.context.clock.now();
        let prefix = self.settings.folder.prefix(days::day_of(now));
        let listed = self.lister.page(&prefix, None).await;
        let finding = match listed {
            Ok(page) => Finding::Good {
                seen: format!(
                    "{} answers; {}{} objects under {prefix}",
                    self.settings.access,
                    page.objects.len(),
                    if page.next.is_some() { "+" } else { "" }
                ),
            },
            Err(error) => Finding::Bad { remedy: remedy(&error).to_owned(), error: error.to_string() },
        };
        vec![Step { name: "the bucket can be listed".to_owned(), took: begun.elapsed(), finding }]
    }
}

fn remedy(error: &ListError) -> &'static str {
    match error.class() {
        Class::Unauthorized => "look at the key's file, and whether it may list the bucket",
        Class::Permanent => "look at the settings of the feed",
        _ => "look at the network, and try again",
    }
}

fn show_wait(wait: Duration) -> String {
    match wait.as_secs() {
        0 => format!("{} ms", wait.as_millis()),
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
