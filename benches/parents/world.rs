//! An inbox that knows many items, and prices that are delivered through a worker.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use longshore::clock::{Clock, SystemClock};
use longshore::inbox::ledger::{Ledger, NoticeState};
use longshore::inbox::{EntityKey, Inbox, InboxSettings, Lookup, ParkingBounds, SqliteInbox};
use longshore::notice::{EntityName, FeedName, HeardNotice, Metadata, Notice, RouteName, SinkName, Verdict};
use longshore::ops::Context;
use longshore::payload::{Content, ContentStore, FetchSettings, PayloadError, PayloadLimits, PayloadOpener};
use longshore::route::{
    EntitySettings, FormatHints, KeySettings, Match, ParentSettings, ParkingSettings, RouteSettings, Router,
};
use longshore::sandbox::sample::{Compression, Kind, SampleSpec};
use longshore::sink::{
    DirectoryFormat, DirectorySettings, SinkContext, SinkKind, SinkSettings, SqliteSettings, TableKey, directory,
    sqlite,
};
use longshore::worker::{Openers, Until, WorkSettings, Workers};
use tokio_util::sync::CancellationToken;

const FEED: &str = "bench";
const SINK: &str = "out";
const ENTITY: &str = "item";
const KEY: &str = "sku";
/// As `longshore entities import` does it.
const IMPORT_KEYS: usize = 100_000;

/// Whether records wait for their parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// They do not.
    Off,
    /// They do.
    On,
}

/// What kind of sink gets the prices. The keys are known under its name, whatever its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Rows, fsynced with their progress.
    Sqlite,
    /// Lines of a file.
    Directory,
}

pub struct World {
    folder: tempfile::TempDir,
    inbox: Arc<SqliteInbox>,
    context: Context,
    payload: Arc<Memory>,
    notices: AtomicI64,
    prices: AtomicU64,
}

/// The payload of the next notice.
#[derive(Debug, Default)]
struct Memory(std::sync::Mutex<Bytes>);

#[async_trait]
impl ContentStore for Memory {
    async fn open(&self, _notice: &Notice, _from: u64, _version: Option<&str>) -> Result<Content, PayloadError> {
        let bytes = self.0.lock().expect("nothing panics under this lock").clone();
        let length = Some(bytes.len() as u64);
        Ok(Content { version: None, length, md5: None, bytes: futures::stream::iter([Ok(bytes)]).boxed() })
    }
}

impl World {
    pub async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).context("a folder on a real disk")?;
        let settings = InboxSettings {
            path: folder.path().join("inbox.db"),
            retention_age: std::time::Duration::from_secs(3_600),
            retention_bytes: None,
            dedupe_age: std::time::Duration::from_secs(3_600),
            commit_notices_max: 1_000,
            parking: ParkingBounds::default(),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(Self {
            inbox: Arc::new(SqliteInbox::open(&settings, Arc::clone(&clock))?),
            folder,
            context: Context::new(clock),
            payload: Arc::default(),
            notices: AtomicI64::new(0),
            prices: AtomicU64::new(0),
        })
    }

    /// Makes items known to the sink, as `longshore entities import` does.
    pub async fn import(&self, items: Range<u64>) -> anyhow::Result<()> {
        let mut at = items.start;
        while at < items.end {
            let end = items.end.min(at + IMPORT_KEYS as u64);
            let mut keys: Vec<EntityKey> = (at..end).map(key_of).collect();
            keys.sort_unstable();
            let new = self.inbox.entities_import(SinkName::new(SINK), EntityName::new(ENTITY), keys).await?;
            ensure!(new == end - at, "{new} of {} keys were new", end - at);
            at = end;
        }
        Ok(())
    }

    /// The bytes of disk that the index takes, and with it all else that the inbox holds by then.
    pub fn index_bytes(&self) -> anyhow::Result<u64> {
        let database = rusqlite::Connection::open(self.folder.path().join("inbox.db"))?;
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(std::fs::metadata(self.folder.path().join("inbox.db"))?.len())
    }

    /// Lookups per second of the index alone.
    pub async fn lookups(&self, known: u64, keys: u64, batches: u64) -> anyhow::Result<f64> {
        let lists: Vec<Vec<EntityKey>> =
            (0..batches).map(|batch| (0..keys).map(|at| key_of(spread(batch * keys + at, known))).collect()).collect();
        let started = Instant::now();
        for keys in lists {
            let count = keys.len();
            let lookup = Lookup { entity: EntityName::new(ENTITY), keys };
            let found = self.inbox.known(SinkName::new(SINK), vec![lookup]).await?;
            ensure!(found[0].iter().filter(|known| **known).count() == count, "every item is known");
        }
        Ok((batches * keys) as f64 / started.elapsed().as_secs_f64())
    }

    /// Delivers `records` new prices of items below `known` to the sink; returns records per second, from the stored
    /// notice to the confirmed end.
    pub async fn deliver(&self, to: To, check: Check, known: u64, records: u64) -> anyhow::Result<f64> {
        let first = self.prices.fetch_add(records, Ordering::Relaxed);
        *self.payload.0.lock().expect("nothing panics under this lock") = prices(first, records, known)?;
        let workers = self.workers(to, check)?;
        let number = self.notices.fetch_add(1, Ordering::Relaxed);
        let heard = HeardNotice {
            feed: FeedName::new(FEED),
            dedupe_key: number.to_string(),
            metadata: Metadata {
                blob_type: Kind::Prices.blob_type().to_owned(),
                uri: Some("memory:prices.jsonl".to_owned()),
                content_type: Some("application/x-jsonlines".to_owned()),
                ..Metadata::default()
            },
            body: None,
            published: self.context.clock.now(),
            sequence: number,
            delivery_count: 0,
            verdict: Verdict::Accepted,
        };
        let notice = self.inbox.store(vec![heard]).await?[0].notice();
        let started = Instant::now();
        workers.run(Until::Empty, CancellationToken::new()).await;
        let took = started.elapsed();
        let story = self.inbox.story(notice).await?.context("the notice is stored")?;
        ensure!(story.state == NoticeState::Finished, "the notice ended as {:?}", story.state);
        let counts = story.deliveries[0].progress.counts;
        ensure!(counts.delivered == records, "{counts:?}");
        Ok(records as f64 / took.as_secs_f64())
    }

    fn workers(&self, to: To, check: Check) -> anyhow::Result<Workers> {
        let route = RouteSettings {
            name: RouteName::new("prices"),
            blob_types: vec!["*".to_owned()],
            exclude: Vec::new(),
            feeds: Vec::new(),
            sinks: vec![SinkName::new(SINK)],
            only: Vec::new(),
            format: FormatHints::default(),
            parents: match check {
                Check::Off => Vec::new(),
                Check::On => {
                    vec![ParentSettings { entity: EntityName::new(ENTITY), keys: keys("/itemIdentifier/sku") }]
                }
            },
            parking: ParkingSettings::default(),
        };
        let item = EntitySettings {
            name: EntityName::new(ENTITY),
            blob_types: vec![Kind::Items.blob_type().to_owned()],
            keys: keys("/identifier/sku"),
            deleted: None,
        };
        let sinks = longshore::sink::build(
            vec![sink(to, self.folder.path())],
            &SinkContext { clock: Arc::clone(&self.context.clock) },
        )?;
        let (fetch, limits) = (FetchSettings::default(), PayloadLimits::default());
        let store = Arc::clone(&self.payload) as Arc<dyn ContentStore>;
        let opener = PayloadOpener::of_store(fetch.clone(), limits.clone(), store, self.context.clone());
        let openers = Openers {
            of_feeds: HashMap::from([(FeedName::new(FEED), Arc::new(opener))]),
            bodies: PayloadOpener::of_bodies(fetch, limits, self.context.clone()),
        };
        Ok(Workers::new(
            WorkSettings { workers: 1, ..WorkSettings::default() },
            Arc::clone(&self.inbox) as Arc<dyn Inbox>,
            Arc::new(Router::new(vec![route], Match::First, &[item])?),
            sinks,
            openers,
            self.context.clone(),
        ))
    }
}

fn sink(to: To, folder: &Path) -> SinkSettings {
    let (batch, kind) = match to {
        To::Sqlite => {
            let settings = SqliteSettings {
                path: folder.join("table.db"),
                table: "{route}".to_owned(),
                key: TableKey::Same(vec!["/priceGuid".to_owned()]),
                version: None,
            };
            (sqlite::DEFAULT_BATCH, SinkKind::Sqlite(settings))
        }
        To::Directory => {
            let settings = DirectorySettings {
                path: folder.join("files"),
                format: DirectoryFormat::JsonLines,
                name: "{notice}.jsonl".to_owned(),
            };
            (directory::DEFAULT_BATCH, SinkKind::Directory(settings))
        }
    };
    SinkSettings { name: SinkName::new(SINK), batch, kind }
}

fn keys(pointer: &str) -> Vec<KeySettings> {
    vec![KeySettings { name: KEY.to_owned(), pointers: vec![pointer.to_owned()] }]
}

/// The key of an item of the samples.
fn key_of(item: u64) -> EntityKey {
    EntityKey::of(&mut Vec::new(), KEY, [(10_000_000 + item).to_string().as_str()])
}

/// A number below `known`, all over them: what is asked for together lies together nowhere.
fn spread(number: u64, known: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % known
}

/// Prices of items below `known`, as JSON lines.
fn prices(first: u64, records: u64, known: u64) -> anyhow::Result<Bytes> {
    let spec = SampleSpec {
        first,
        parents: Some(known),
        compression: Compression::None,
        ..SampleSpec::new(Kind::Prices, records)
    };
    Ok(spec.write_to(Vec::new())?.into())
}
