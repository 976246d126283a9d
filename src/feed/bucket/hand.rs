//! A bucket by hand: what it holds beside what the inbox has of it, and one object taken whatever the window.

use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::BucketSettings;
use super::days::day_of;
use super::list::{ListError, Lister as _, Object, StoreLister};
use super::notices::{dedupe_key, notice};
use crate::clock::UnixMs;
use crate::feed::store::Connection;
use crate::notice::{HeardNotice, Verdict};

/// How far back an object's day is looked for by its name.
const DAYS_BACK: i64 = 1_000;

/// A bucket, for people.
pub struct Bucket {
    settings: BucketSettings,
    connection: Arc<Connection>,
    lister: StoreLister,
}

/// An object, and the key under which its notice is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The object.
    pub object: Object,
    /// What the inbox knows this version by.
    pub dedupe_key: String,
}

impl Bucket {
    /// The bucket of a feed. Nothing is connected yet.
    #[must_use]
    pub fn new(settings: BucketSettings, connection: Arc<Connection>) -> Self {
        let lister = StoreLister::new(Arc::clone(&connection), settings.page_timeout);
        Self { settings, connection, lister }
    }

    /// The folders of the last `days` days and of the day ahead, the latest first; one, where days have none.
    #[must_use]
    pub fn days(&self, now: UnixMs, days: u16) -> Vec<Date> {
        let today = day_of(now);
        if !self.settings.folder.is_dated() {
            return vec![today];
        }
        (-1..i64::from(days)).map(|back| today.saturating_sub(back.days())).collect()
    }

    /// What the objects of a day begin with.
    #[must_use]
    pub fn folder(&self, day: Date) -> String {
        self.settings.folder.prefix(day)
    }

    /// The objects of a day in the order of the store.
    ///
    /// # Errors
    /// Why a page cannot be had.
    pub async fn day(&self, day: Date) -> Result<Vec<Held>, ListError> {
        let prefix = self.settings.folder.prefix(day);
        let mut held = Vec::new();
        let mut token = None;
        loop {
            let page = self.lister.page(&prefix, token).await?;
            held.extend(page.objects.into_iter().map(|object| Held { dedupe_key: dedupe_key(&object), object }));
            match page.next {
                Some(next) => token = Some(next),
                None => return Ok(held),
            }
        }
    }

    /// The notice of the object called `key`, wherever it lies, and its size in bytes. It is wanted, whatever the feed's filter says: a person
    /// asked for it. `again` makes it another notice than the one that may be there.
    ///
    /// # Errors
    /// When there is no such object, or it cannot be asked for.
    pub async fn notice(&self, key: &str, now: UnixMs, again: bool) -> Result<(HeardNotice, u64), ListError> {
        let object = self.find(key).await?.ok_or_else(|| ListError::NoObject { key: key.to_owned() })?;
        let day = self.day_in(key, now).unwrap_or_else(|| day_of(now));
        let uri = self.connection.access().uri(key);
        let mut heard = notice(&self.settings, uri, day, &object);
        heard.verdict = Verdict::Accepted;
        if again {
            heard.dedupe_key = format!("{}#again-{now}", heard.dedupe_key);
        }
        Ok((heard, object.size))
    }

    /// The object as a listing tells it, so that its version is the one by which a look knows it.
    async fn find(&self, key: &str) -> Result<Option<Object>, ListError> {
        let last = key.char_indices().next_back().map_or(0, |(at, _)| at);
        let mut token = None;
        loop {
            let page = self.lister.page(&key[..last], token).await?;
            // Stores list in the order of names.
            let is_behind = page.objects.last().is_some_and(|object| object.key.as_str() > key);
            let found = page.objects.into_iter().find(|object| object.key == key);
            match page.next {
                Some(next) if found.is_none() && !is_behind => token = Some(next),
                _ => return Ok(found),
            }
        }
    }

    /// The day in whose folder an object of that name lies.
    fn day_in(&self, key: &str, now: UnixMs) -> Option<Date> {
        let today = day_of(now);
        let days = (-1..DAYS_BACK).map(|back| today.saturating_sub(back.days()));
        days.into_iter().find(|day| key.starts_with(&self.settings.folder.prefix(*day)))
    }
}
