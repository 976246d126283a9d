//! One look at the bucket: each day of the window is listed to its last page, stored, and only then marked.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::BucketSettings;
use super::days::{Window, day_of};
use super::list::{ListError, Lister, Object};
use super::notices::notice;
use super::versions::{self, version_of};
use crate::clock::{Clock, UnixMs};
use crate::error::{Class, Classify};
use crate::feed::store::BucketAccess;
use crate::inbox::{Inbox, InboxError, Receipt};
use crate::notice::{FeedName, HeardNotice, NoticeId};

/// Objects that are remembered so that known objects are not offered to the inbox at every look; beyond it they are
/// offered again, and found stored. About 200 bytes each.
const KNOWN_MAX: usize = 200_000;

/// Why a look did not come to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The bucket could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// The inbox could not store.
    #[error(transparent)]
    Inbox(#[from] InboxError),
}

impl Classify for Fault {
    fn class(&self) -> Class {
        match self {
            Self::List(error) => error.class(),
            Self::Inbox(error) => error.class(),
        }
    }
}

/// How far the feed has come; kept in the inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The last day up to which every day has been listed at least once.
    pub(super) day: Option<Date>,
    /// When the whole window was last listed without an error.
    pub(super) listed: Option<UnixMs>,
}

impl Mark {
    pub(super) async fn read(inbox: &dyn Inbox, feed: &FeedName) -> Result<Self, InboxError> {
        let mark = inbox.mark(feed).await?;
        // A mark that another version wrote in other words: the backfill lists everything anew, and the inbox knows it.
        Ok(mark.and_then(|mark| serde_json::from_str(&mark).ok()).unwrap_or_default())
    }

    async fn write(&self, inbox: &dyn Inbox, feed: &FeedName) -> Result<(), InboxError> {
        inbox.set_mark(feed, serde_json::to_string(self).unwrap_or_default()).await
    }
}

/// A day whose every page was listed and whose every object is stored: what the mark may be moved for.
struct StoredDay {
    day: Date,
    receipts: Vec<Receipt>,
}

/// What a look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) pages: u64,
    pub(super) objects: u64,
    pub(super) stored: u64,
    pub(super) duplicates: u64,
    /// Days that were never listed and that the vendor has deleted by now.
    pub(super) lost_days: i64,
}

/// Looks at a bucket, over and over.
pub(super) struct Looker<'a> {
    pub(super) settings: &'a BucketSettings,
    pub(super) access: &'a BucketAccess,
    pub(super) lister: &'a dyn Lister,
    pub(super) inbox: &'a dyn Inbox,
    pub(super) clock: &'a dyn Clock,
    /// The version of each object that was seen last.
    known: BTreeMap<Date, HashMap<String, String>>,
}

impl<'a> Looker<'a> {
    pub(super) fn new(
        settings: &'a BucketSettings,
        access: &'a BucketAccess,
        lister: &'a dyn Lister,
        inbox: &'a dyn Inbox,
        clock: &'a dyn Clock,
    ) -> Self {
        Self { settings, access, lister, inbox, clock, known: BTreeMap::new() }
    }

    /// Lists and stores the days of the window. What was done before an error stays done; `looked` says how much.
    pub(super) async fn look(&mut self, looked: &mut Looked) -> Result<(), Fault> {
        let feed = &self.settings.name;
        let mut mark = Mark::read(self.inbox, feed).await?;
        let now = self.clock.now();
        let window = Window::new(now, mark.day, self.settings.reach());
        looked.lost_days = window.lost_days;
        let today = day_of(now);
        // Where days have no folders of their own, one listing is all of them.
        let days: Vec<Date> = if self.settings.folder.is_dated() { window.days().collect() } else { vec![today] };
        self.known.retain(|day, _| days.contains(day));
        for day in days {
            let stored = self.list_day(day, looked).await?;
            self.settle(stored, today, &mut mark).await?;
        }
        mark.listed = Some(now);
        mark.write(self.inbox, feed).await?;
        Ok(())
    }

    /// Lists a day from its first page to its last, and stores what is new on each before the next is asked for.
    async fn list_day(&mut self, day: Date, looked: &mut Looked) -> Result<StoredDay, Fault> {
        let prefix = self.settings.folder.prefix(day);
        let mut receipts = Vec::new();
        let mut token = None;
        loop {
            let page = self.lister.page(&prefix, token).await?;
            looked.pages += 1;
            looked.objects += page.objects.len() as u64;
            let known = self.known.entry(day).or_default();
            let new: Vec<(HeardNotice, Object)> = page
                .objects
                .into_iter()
                .filter(|object| known.get(&object.key) != Some(&version_of(object)))
                .map(|object| (notice(self.settings, self.access.uri(&object.key), day, &object), object))
                .collect();
            for batch in new.chunks(self.settings.batch_notices_max.max(1)) {
                let stored = versions::store(self.inbox, batch.to_vec()).await?;
                let duplicates = stored.iter().filter(|receipt| receipt.is_duplicate()).count() as u64;
                looked.duplicates += duplicates;
                looked.stored += stored.len() as u64 - duplicates;
                receipts.extend(stored);
                self.remember(day, batch);
            }
            match page.next {
                Some(next) => token = Some(next),
                None => return Ok(StoredDay { day, receipts }),
            }
        }
    }

    fn remember(&mut self, day: Date, stored: &[(HeardNotice, Object)]) {
        let count: usize = self.known.values().map(HashMap::len).sum();
        let has_room = count + stored.len() <= KNOWN_MAX;
        let known = self.known.entry(day).or_default();
        for (_, object) in stored {
            // What is not remembered has to be forgotten, or an object that comes back to an older version is overlooked.
            if has_room {
                known.insert(object.key.clone(), version_of(object));
            } else {
                known.remove(&object.key);
            }
        }
    }

    /// Moves the mark over a day that is stored. A day that has not begun yet everywhere is never behind us.
    async fn settle(&self, stored: StoredDay, today: Date, mark: &mut Mark) -> Result<(), InboxError> {
        let StoredDay { day, receipts } = stored;
        let day = day.min(today);
        if mark.day.is_none_or(|marked| marked < day) {
            mark.day = Some(day);
            mark.write(self.inbox, &self.settings.name).await?;
        }
        let notices: Vec<NoticeId> = receipts.iter().map(Receipt::notice).collect();
        if !notices.is_empty()
            && let Err(error) = self.inbox.settled(notices, self.clock.now()).await
        {
            tracing::warn!(%error, "the inbox could not note what was settled");
        }
        Ok(())
    }
}
