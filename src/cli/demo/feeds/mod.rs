//! What the demo publishes, a feed a file: an ordinary load, a few ugly things in its middle, and the names of all records
//! that must be delivered.
//!
//! ```text
//! Stage::play(feed) ──> sandbox         ──> Played: notices, and where which records must lie
//!        ^── what the inbox has of it ──┘   (for what can only be done once something has ended, such as sending it again)
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::inbox::ledger::{Ledger, NoticeLine, NoticeState, Selector};
use crate::notice::FeedName;
use crate::sandbox::Sandbox;

use super::STUCK_AFTER;
use super::account::{self, Found};
use super::screen::Screen;

mod bucket;
mod drop;
mod eg;
mod load;
mod webhook;

pub use load::UGLY_BLOB_TYPE;

/// A feed of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The export over Service Bus.
    Eg,
    /// The bucket of day folders.
    Bucket,
    /// The daily zip.
    Drop,
    /// The webhook.
    Webhook,
}

impl Feed {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eg => "eg",
            Self::Bucket => "bucket",
            Self::Drop => "drop",
            Self::Webhook => "webhook",
        }
    }
}

/// Which feeds are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// EG Retail's file export
    Eg,
    /// fulfillmenttools' daily event export
    Bucket,
    /// Netcore's daily zip
    Drop,
    /// fulfillmenttools' eventing
    Webhook,
    /// All four at once, through one inbox
    All,
}

impl Choice {
    /// The feeds.
    pub const fn feeds(self) -> &'static [Feed] {
        match self {
            Self::Eg => &[Feed::Eg],
            Self::Bucket => &[Feed::Bucket],
            Self::Drop => &[Feed::Drop],
            Self::Webhook => &[Feed::Webhook],
            Self::All => &[Feed::Eg, Feed::Bucket, Feed::Drop, Feed::Webhook],
        }
    }
}

/// What all feeds are played with.
pub struct Stage<'a> {
    pub sandbox: &'a Sandbox,
    pub ledger: &'a dyn Ledger,
    pub screen: &'a Screen,
    pub dir: &'a Path,
    /// Ordinary files of EG Retail.
    pub files: u32,
    /// Records in them together.
    pub records: u64,
}

/// What was published for a feed.
pub struct Played {
    /// The feed.
    pub feed: Feed,
    /// How many notices must be made of it.
    pub notices: u64,
    /// What went on in the middle, for people.
    pub trouble: String,
    /// Which records must lie where.
    places: Vec<Place>,
}

/// Records that must lie somewhere, each once, and no others.
struct Place {
    at: At,
    names: Vec<String>,
}

enum At {
    /// In the files below a folder.
    Folder(PathBuf),
    /// In the tables of a database.
    Tables(PathBuf, &'static [&'static str]),
}

impl Played {
    /// Holds what lies in the output against what was published.
    ///
    /// # Errors
    /// When the output cannot be read.
    pub fn found(&self) -> anyhow::Result<Found> {
        let mut all = Found::default();
        for place in &self.places {
            let names = match &place.at {
                At::Folder(folder) => account::names_in_folder(folder)?,
                At::Tables(database, tables) => {
                    let tables = tables.iter().map(|table| account::names_in_table(database, table));
                    tables.collect::<anyhow::Result<Vec<_>>>()?.concat()
                }
            };
            let found = account::compare(&place.names, names);
            all.lost += found.lost;
            all.duplicated += found.duplicated;
        }
        Ok(all)
    }
}

impl Stage<'_> {
    /// Publishes everything of `feed`; returns when nothing more comes.
    ///
    /// # Errors
    /// When the sandbox cannot do it, or the daemon stands still.
    pub async fn play(&self, feed: Feed) -> anyhow::Result<Played> {
        match feed {
            Feed::Eg => eg::play(self).await,
            Feed::Bucket => bucket::play(self).await,
            Feed::Drop => drop::play(self).await,
            Feed::Webhook => webhook::play(self).await,
        }
    }

    /// The folder with a feed's files.
    fn output(&self, feed: Feed) -> PathBuf {
        self.dir.join("output").join(feed.name())
    }

    /// Waits until `reached` holds of a feed's notices.
    async fn until(&self, feed: Feed, what: &str, reached: impl Fn(&[NoticeLine]) -> bool) -> anyhow::Result<()> {
        let selector = Selector { feeds: vec![FeedName::new(feed.name())], ..Selector::default() };
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut last_change = tokio::time::Instant::now();
        let mut last = None;
        loop {
            tick.tick().await;
            let notices = self.ledger.notices(selector.clone()).await?;
            if reached(&notices) {
                return Ok(());
            }
            let seen = (notices.len(), ended(&notices), arrivals_again(&notices));
            if last != Some(seen) {
                last = Some(seen);
                last_change = tokio::time::Instant::now();
            }
            let name = feed.name();
            anyhow::ensure!(
                last_change.elapsed() < STUCK_AFTER,
                "{what} was waited for in vain: nothing has moved at the feed {name} for {} s; `--log-level info` shows why",
                STUCK_AFTER.as_secs()
            );
        }
    }
}

/// How many of the notices have come to their end.
fn ended(notices: &[NoticeLine]) -> usize {
    let is_open = |notice: &&NoticeLine| matches!(notice.state, NoticeState::Heard | NoticeState::Open);
    notices.len() - notices.iter().filter(is_open).count()
}

/// How often one of the notices arrived again.
fn arrivals_again(notices: &[NoticeLine]) -> u64 {
    notices.iter().map(|notice| notice.seen_count.saturating_sub(1)).sum()
}
