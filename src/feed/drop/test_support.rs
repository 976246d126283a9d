//! For the tests of this room: a drop in a folder of this machine, with its inbox, and what is laid down there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::tz::TimeZone;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::{
    After, ArchiveLimits, DateOrder, DropFeed, DropSettings, FileFilter, Naming, Pattern, SourceSettings, SpoolStore,
};
use crate::clock::{ManualClock, UnixMs};
use crate::feed::Feed;
use crate::feed::filter::BlobTypeFilter;
use crate::inbox::ledger::{Ledger, NoticeLine, Selector};
use crate::inbox::{InboxSettings, SharedInbox, SqliteInbox};
use crate::notice::{FeedName, NoticeId};
use crate::ops::Context;
use crate::payload::ContentStore as _;

/// No test waits longer than this for what must happen.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct World {
    folder: TempDir,
    pub(super) clock: ManualClock,
    pub(super) context: Context,
    pub(super) inbox: Arc<SqliteInbox>,
    pub(super) settings: DropSettings,
}

/// A feed that runs.
pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the feed ends");
    }
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let drop = folder.path().join("drop");
        std::fs::create_dir(&drop).expect("a folder");
        // 2022-01-02, a day after the data.
        let clock = ManualClock::new(UnixMs(1_641_103_200_000));
        let inbox = InboxSettings {
            path: folder.path().join("inbox.db"),
            retention_age: Duration::ZERO,
            retention_bytes: None,
            dedupe_age: Duration::ZERO,
            commit_notices_max: 100,
            parking: crate::inbox::ParkingBounds::default(),
        };
        let inbox = SqliteInbox::open(&inbox, Arc::new(clock.clone())).expect("an inbox");
        let settings = DropSettings {
            name: FeedName::new("netcore"),
            filter: BlobTypeFilter::new(&["*".to_owned()], &["ignored*".to_owned()]).expect("globs"),
            source: SourceSettings::Directory(drop),
            spool: folder.path().join("spool/netcore"),
            files: FileFilter::new(&["*".to_owned()], &["*.part".to_owned()]).expect("globs"),
            marker: None,
            poll: Duration::from_millis(20),
            stable_for: Duration::from_millis(20),
            incomplete_for: Duration::from_secs(3_600),
            after: After::Leave,
            naming: Naming {
                pattern: Pattern::parse("{blob_type}_{date}").expect("a pattern"),
                date_order: DateOrder::DayMonthYear,
                zone: TimeZone::UTC,
            },
            expect: None,
            limits: ArchiveLimits {
                file_bytes_max: 1 << 20,
                entries_max: 1_000,
                unpacked_bytes_max: 1 << 30,
                ratio_max: 1_000,
            },
            commit_notices_max: 2,
        };
        let context = Context::new(Arc::new(clock.clone()));
        Self { folder, clock, context, inbox: Arc::new(inbox), settings }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("drop").join(name)
    }

    pub(super) fn run(&self) -> Running {
        let feed = DropFeed::new(self.settings.clone(), self.context.clone());
        let stop = CancellationToken::new();
        let (inbox, token) = (Arc::clone(&self.inbox) as SharedInbox, stop.clone());
        let task = tokio::spawn(async move { feed.run(inbox, token).await });
        Running { stop, task }
    }

    pub(super) async fn notices(&self) -> Vec<NoticeLine> {
        let mut notices = self.inbox.notices(Selector::default()).await.expect("the inbox");
        notices.reverse();
        notices
    }

    /// The notices, once there are `count`.
    pub(super) async fn heard(&self, count: usize) -> Vec<NoticeLine> {
        until(async || self.notices().await.len() >= count).await;
        let notices = self.notices().await;
        assert_eq!(notices.len(), count, "{notices:?}");
        notices
    }

    pub(super) fn counted(&self, outcome: &str) -> u64 {
        let labels = crate::ops::metrics::FeedOutcomeLabels { feed: "netcore".to_owned(), outcome: outcome.to_owned() };
        self.context.metrics.drop_files.get_or_create(&labels).get()
    }

    pub(super) async fn content(&self, notice: NoticeId) -> Vec<u8> {
        let notices = crate::inbox::Inbox::unplanned(&*self.inbox, 1_000).await.expect("the inbox");
        let notice = notices.iter().find(|found| found.id == notice).expect("a notice that goes on");
        let store = SpoolStore::new(self.settings.spool.clone());
        let content = store.open(notice, 0, None).await.expect("it is in the spool");
        let pieces: Vec<_> = content.bytes.collect().await;
        pieces.into_iter().flat_map(|piece| piece.expect("bytes")).collect()
    }

    pub(super) fn spooled(&self) -> usize {
        let names = std::fs::read_dir(&self.settings.spool).expect("the spool");
        names.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().len() == 64)).count()
    }
}

/// Waits until `is_so`.
pub(super) async fn until(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !is_so().await {
            look.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("it happens in time");
}

/// Lays down a file as a careful sender does: whole, at once.
pub(super) fn lay(path: &Path, content: &[u8]) {
    let draft = path.with_file_name(".draft");
    std::fs::write(&draft, content).expect("written");
    std::fs::rename(&draft, path).expect("renamed");
}

fn zipped(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).expect("an entry");
        std::io::Write::write_all(&mut writer, content.as_bytes()).expect("written");
    }
    writer.finish().expect("an archive").into_inner()
}

pub(super) const ZIP: &str = "Client ID_ 01012022.zip";

pub(super) fn day(price: u32) -> Vec<u8> {
    let cart = format!("eventId,Payload.price\n1,{price}\n");
    zipped(&[
        ("add to cart_01012022.csv", &cart),
        ("product purchase_01012022.csv", "eventId\n2\n"),
        ("ignored thing_01012022.csv", "eventId\n3\n"),
    ])
}
