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
/// Numbers of items that are registered by their records, beyond all that are imported.
const NEW_ITEMS: u64 = 1_000_000_000;
/// Keys in one commit, as `longshore entities import` does it.
const IMPORT_KEYS: usize = 50_000;

/// Whether parents count for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Records are only records.
    Off,
    /// Prices wait for their items, and items are registered.
    On,
}

/// What is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Prices of items that no other file names: the index is asked for each.
    Prices,
    /// Prices of the items of the file before, as for one store group after the other.
    PricesAgain,
    /// Items that were not known.
    Items,
}

/// What a delivery took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Records per second, from the stored notice to the confirmed end.
    pub per_s: f64,
    /// The process's time on processors, in microseconds a record.
    pub cpu_us: f64,
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
    records: AtomicU64,
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
            records: AtomicU64::new(0),
        })
    }

    /// Makes items known to the sink, as `longshore entities import` does.
    pub async fn import(&self, items: Range<u64>) -> anyhow::Result<()> {
        let mut sorter = self.inbox.sorter();
        let mut at = items.start;
        while at < items.end {
            let end = items.end.min(at + IMPORT_KEYS as u64);
            sorter.add((at..end).map(key_of))?;
            at = end;
        }
        let mut sorted = sorter.sorted()?;
        let mut registered = 0;
        loop {
            let keys = sorted.take(IMPORT_KEYS)?;
            if keys.is_empty() {
                break;
            }
            registered += self.inbox.entities_import(SinkName::new(SINK), EntityName::new(ENTITY), keys).await?;
        }
        let expected = items.end - items.start;
        ensure!(registered == expected, "{registered} of {expected} keys were new");
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

    /// Delivers `records` records to the sink; prices are of items below `known`.
    pub async fn deliver(&self, load: Load, to: To, check: Check, known: u64, records: u64) -> anyhow::Result<Took> {
        let first = self.records.fetch_add(records, Ordering::Relaxed);
        let (kind, spec) = match load {
            Load::Prices => {
                (Kind::Prices, SampleSpec { first, parents: Some(known), ..SampleSpec::new(Kind::Prices, records) })
            }
            Load::PricesAgain => {
                (Kind::Prices, SampleSpec { first, parents: Some(records), ..SampleSpec::new(Kind::Prices, records) })
            }
            Load::Items => {
                (Kind::Items, SampleSpec { first: NEW_ITEMS + first, ..SampleSpec::new(Kind::Items, records) })
            }
        };
        let spec = SampleSpec { compression: Compression::None, ..spec };
        *self.payload.0.lock().expect("nothing panics under this lock") = spec.write_to(Vec::new())?.into();
        let workers = self.workers(kind, to, check)?;
        let number = self.notices.fetch_add(1, Ordering::Relaxed);
        let heard = HeardNotice {
            feed: FeedName::new(FEED),
            dedupe_key: number.to_string(),
            metadata: Metadata {
                blob_type: kind.blob_type().to_owned(),
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
        let (started, busy) = (Instant::now(), processor_time());
        workers.run(Until::Empty, CancellationToken::new()).await;
        let (took, busy) = (started.elapsed(), processor_time() - busy);
        let story = self.inbox.story(notice).await?.context("the notice is stored")?;
        ensure!(story.state == NoticeState::Finished, "the notice ended as {:?}", story.state);
        let counts = story.deliveries[0].progress.counts;
        ensure!(counts.delivered == records, "{counts:?}");
        Ok(Took { per_s: records as f64 / took.as_secs_f64(), cpu_us: busy * 1e6 / records as f64 })
    }

    fn workers(&self, kind: Kind, to: To, check: Check) -> anyhow::Result<Workers> {
        let route = RouteSettings {
            name: RouteName::new("prices"),
            blob_types: vec!["*".to_owned()],
            exclude: Vec::new(),
            feeds: Vec::new(),
            sinks: vec![SinkName::new(SINK)],
            only: Vec::new(),
            format: FormatHints::default(),
            parents: match (kind, check) {
                (Kind::Prices, Check::On) => {
                    vec![ParentSettings { entity: EntityName::new(ENTITY), keys: keys("/itemIdentifier/sku") }]
                }
                _ => Vec::new(),
            },
            parking: ParkingSettings::default(),
        };
        let item = EntitySettings {
            name: EntityName::new(ENTITY),
            blob_types: match check {
                Check::Off => vec!["none".to_owned()],
                Check::On => vec![Kind::Items.blob_type().to_owned()],
            },
            keys: keys("/identifier/sku"),
            deleted: None,
        };
        let sinks = longshore::sink::build(
            vec![sink(kind, to, self.folder.path())],
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

fn sink(kind: Kind, to: To, folder: &Path) -> SinkSettings {
    let (batch, kind) = match to {
        To::Sqlite => {
            let key = if kind == Kind::Items { "/identifier/sku" } else { "/priceGuid" };
            let settings = SqliteSettings {
                path: folder.join("table.db"),
                table: kind.blob_type().to_owned(),
                key: TableKey::Same(vec![key.to_owned()]),
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

/// Seconds that this process has spent on processors.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Peak memory in MiB since the last call, where the system tells it.
pub fn peak_memory() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM in /proc/self/status")?;
    let kib: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    std::fs::write("/proc/self/clear_refs", "5")?;
    Ok(kib / 1024.0)
}
