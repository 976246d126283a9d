//! The feed over a bucket that is made up: what a look stores, and what it marks.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Mutex;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::feed::store::Provider;
use crate::inbox::{InboxSettings, SqliteInbox};
use crate::ops::metrics::FeedLabels;

const DAY: Duration = Duration::from_secs(86_400);

/// Settings of a feed `fft` with plain day folders.
pub(super) fn settings() -> BucketSettings {
    BucketSettings {
        name: FeedName::new("fft"),
        filter: BlobTypeFilter::new(&["*".to_owned()], &["*.unwanted".to_owned()]).expect("globs"),
        access: BucketAccess {
            provider: Provider::Google { key_file: PathBuf::from("key.json") },
            bucket: "exports".to_owned(),
            endpoint: None,
            ca_file: None,
        },
        folder: DayFolder::parse("%F/").expect("a pattern"),
        blob_type: "fft.export".to_owned(),
        blob_type_from: BlobTypeFrom::Feed,
        envelope: EnvelopeSettings::default(),
        content_type: Some("application/x-jsonlines".to_owned()),
        poll: 600 * Duration::from_secs(1),
        overlap: 3 * DAY,
        backfill: 10 * DAY,
        retention: Some(90 * DAY),
        retention_warning: 30 * DAY,
        batch_notices_max: 3,
        page_timeout: Duration::from_secs(60),
        retry: (Duration::from_secs(1), Duration::from_secs(60)),
    }
}

/// A bucket in memory whose pages hold two objects, and that fails as it is told.
#[derive(Debug, Default)]
struct MadeUp {
    objects: Mutex<BTreeMap<String, (String, UnixMs)>>,
    /// Each page takes the first; `true` fails it.
    fails: Mutex<VecDeque<bool>>,
    asked: Mutex<Vec<String>>,
}

const PAGE: usize = 2;

impl MadeUp {
    fn put(&self, key: &str, version: &str, modified: UnixMs) {
        self.objects.lock().unwrap().insert(key.to_owned(), (version.to_owned(), modified));
    }

    fn fail(&self, fails: &[bool]) {
        self.fails.lock().unwrap().extend(fails);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Lister for MadeUp {
    async fn page(&self, prefix: &str, token: Option<String>) -> Result<Page, ListError> {
        self.asked.lock().unwrap().push(format!("{prefix}{}", token.as_deref().map_or("", |_| "+")));
        if self.fails.lock().unwrap().pop_front().unwrap_or(false) {
            return Err(ListError::Broken { prefix: prefix.to_owned(), said: "reset".to_owned() });
        }
        let objects = self.objects.lock().unwrap();
        let under: Vec<Object> = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, (version, modified))| Object {
                key: key.clone(),
                version: version.clone(),
                size: 1,
                modified: *modified,
            })
            .collect();
        let from: usize = token.map_or(0, |token| token.parse().expect("our token"));
        let next = (from + PAGE < under.len()).then(|| (from + PAGE).to_string());
        Ok(Page { objects: under.into_iter().skip(from).take(PAGE).collect(), next })
    }
}

struct World {
    bucket: MadeUp,
    inbox: Arc<SqliteInbox>,
    clock: ManualClock,
    settings: BucketSettings,
    _folder: tempfile::TempDir,
}

impl World {
    /// At noon of 24 November 2026.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let clock = ManualClock::new(days::begin_of(jiff::civil::date(2026, 11, 24)).plus(DAY / 2));
        let settings_of_inbox = InboxSettings {
            path: folder.path().join("inbox.db"),
            retention_age: 30 * DAY,
            retention_bytes: None,
            dedupe_age: 30 * DAY,
            commit_notices_max: 1_000,
            parking: crate::inbox::ParkingBounds::default(),
        };
        let inbox = SqliteInbox::open(&settings_of_inbox, Arc::new(clock.clone())).expect("inbox");
        Self { bucket: MadeUp::default(), inbox: Arc::new(inbox), clock, settings: settings(), _folder: folder }
    }

    fn looker(&self) -> Looker<'_> {
        Looker::new(&self.settings, &self.settings.access, &self.bucket, &*self.inbox, &self.clock)
    }

    async fn keys(&self) -> Vec<String> {
        let notices = self.inbox.unplanned(1_000).await.expect("readable");
        let mut keys: Vec<_> = notices.into_iter().map(|notice| notice.dedupe_key).collect();
        keys.sort_unstable();
        keys
    }

    async fn mark(&self) -> Mark {
        Mark::read(&*self.inbox, &self.settings.name).await.expect("readable")
    }
}

async fn look(looker: &mut Looker<'_>) -> (Looked, Option<Fault>) {
    let mut looked = Looked::default();
    let fault = looker.look(&mut looked).await.err();
    (looked, fault)
}

#[tokio::test]
async fn a_first_look_takes_all_that_is_there_and_a_later_one_only_what_is_new() {
    let world = World::new();
    for n in 0..5 {
        world.bucket.put(&format!("2026-11-20/{n}.gz"), "v1", UnixMs(n));
    }
    world.bucket.put("2026-11-14/old.gz", "v1", UnixMs(0));
    world.bucket.put("2026-11-13/too-old.gz", "v1", UnixMs(0));
    world.bucket.put("other/2026-11-20/x.gz", "v1", UnixMs(0));
    let mut looker = world.looker();
    let (looked, fault) = look(&mut looker).await;
    assert!(fault.is_none());
    assert_eq!((looked.stored, looked.duplicates), (6, 0));
    let asked = world.bucket.asked();
    assert_eq!(asked.len(), 12 + 2, "twelve days, and two further pages of one: {asked:?}");
    assert!(asked.iter().all(|prefix| prefix.starts_with("2026-11-")), "never the whole bucket: {asked:?}");
    assert_eq!(world.mark().await.day, Some(jiff::civil::date(2026, 11, 24)));
    let (looked, _) = look(&mut looker).await;
    assert_eq!((looked.stored, looked.duplicates, looked.objects), (0, 0, 0), "20 November is behind the overlap");
    assert_eq!(world.bucket.asked().len(), 5);
}

#[tokio::test]
async fn late_and_rewritten_objects_are_found_in_the_overlap() {
    let world = World::new();
    world.bucket.put("2026-11-22/a.gz", "v1", UnixMs(1));
    let mut looker = world.looker();
    look(&mut looker).await;
    world.bucket.put("2026-11-21/late.gz", "v1", UnixMs(2));
    world.bucket.put("2026-11-22/a.gz", "v2", UnixMs(3));
    world.bucket.put("2026-11-25/ahead-of-utc.gz", "v1", UnixMs(4));
    let (looked, _) = look(&mut looker).await;
    assert_eq!((looked.stored, looked.duplicates), (3, 0));
    let keys =
        ["2026-11-21/late.gz#v1:1", "2026-11-22/a.gz#v1:1", "2026-11-22/a.gz#v2:1", "2026-11-25/ahead-of-utc.gz#v1:1"];
    assert_eq!(world.keys().await, keys);
}

#[tokio::test]
async fn content_that_comes_back_is_a_version_of_its_own_and_a_mere_touch_is_none() {
    let world = World::new();
    let key = "2026-11-22/a.gz";
    let mut looker = world.looker();
    let mut stored = Vec::new();
    // A, B, A, touched, B, A; other objects of names that go on like it lie beside it.
    world.bucket.put("2026-11-22/a.gz#b", "v9", UnixMs(90_000));
    for (version, second) in [("A", 1), ("B", 2), ("A", 3), ("A", 4), ("B", 5), ("A", 6), ("A", 6)] {
        world.bucket.put(key, version, UnixMs(second * 1_000));
        // Whether this process remembers, or the inbox alone.
        if second % 2 == 0 {
            looker = world.looker();
        }
        stored.push(look(&mut looker).await.0.stored);
    }
    assert_eq!(stored, [2, 1, 1, 0, 1, 1, 0]);
    let ours = world.keys().await.into_iter().filter(|held| !held.contains("v9"));
    assert_eq!(ours.collect::<Vec<_>>(), ["A:1", "A:1@3", "A:1@6", "B:1", "B:1@5"].map(|one| format!("{key}#{one}")));
    // A page that was listed before the latest version was written tells of an older one.
    world.bucket.put(key, "B", UnixMs(5_000));
    assert_eq!(look(&mut world.looker()).await.0.stored, 0);
}

#[tokio::test]
async fn a_listing_that_breaks_in_mid_page_loses_nothing_and_marks_nothing() {
    let world = World::new();
    for n in 0..5 {
        world.bucket.put(&format!("2026-11-14/{n}.gz"), "v1", UnixMs(n));
    }
    // The window begins on 14 November; the second of its three pages fails.
    world.bucket.fail(&[false, true]);
    let mut looker = world.looker();
    let (looked, fault) = look(&mut looker).await;
    assert!(matches!(fault, Some(Fault::List(ListError::Broken { .. }))), "{fault:?}");
    assert_eq!(looked.stored, 2);
    assert_eq!(world.mark().await, Mark::default(), "no day was listed to its end");
    // Another process goes on: it remembers nothing but what the inbox holds.
    let mut looker = world.looker();
    let (looked, fault) = look(&mut looker).await;
    assert!(fault.is_none());
    assert_eq!((looked.stored, looked.duplicates), (3, 2));
    assert_eq!(world.keys().await.len(), 5);
}

#[tokio::test]
async fn a_backfill_that_was_cut_off_goes_on_where_it_was() {
    let world = World::new();
    world.bucket.put("2026-11-24/new.gz", "v1", UnixMs(0));
    world.bucket.fail(&[false, false, false, false, false, true]);
    let (_, fault) = look(&mut world.looker()).await;
    assert!(fault.is_some());
    assert_eq!(world.mark().await.day, Some(jiff::civil::date(2026, 11, 18)));
    assert_eq!(world.mark().await.listed, None);
    world.bucket.asked();
    let (looked, _) = look(&mut world.looker()).await;
    assert_eq!(world.bucket.asked().first().map(String::as_str), Some("2026-11-15/"));
    assert_eq!(looked.stored, 1);
}

#[tokio::test]
async fn days_that_nobody_listed_in_time_are_told() {
    let world = World::new();
    look(&mut world.looker()).await;
    world.clock.advance(100 * DAY);
    let (looked, _) = look(&mut world.looker()).await;
    // 25 November is listed as well; 100 days on, the vendor's 90 days begin ten days later.
    assert_eq!(looked.lost_days, 8);
    let (looked, _) = look(&mut world.looker()).await;
    assert_eq!(looked.lost_days, 0);
}

#[tokio::test]
async fn blob_types_that_are_not_wanted_are_stored_as_skipped() {
    let mut world = World::new();
    world.settings.blob_type_from = BlobTypeFrom::Folder;
    world.bucket.put("2026-11-24/a.unwanted/1.gz", "v1", UnixMs(0));
    world.bucket.put("2026-11-24/orders/1.gz", "v1", UnixMs(0));
    let (looked, _) = look(&mut world.looker()).await;
    assert_eq!(looked.stored, 2);
    assert_eq!(world.keys().await, ["2026-11-24/orders/1.gz#v1:1"]);
    let notice = world.inbox.unplanned(1).await.expect("readable").remove(0);
    assert_eq!(notice.metadata.blob_type, "orders");
    assert_eq!(notice.metadata.uri.as_deref(), Some("gs://exports/2026-11-24/orders/1.gz"));
}

#[test]
fn the_calls_a_day_are_counted() {
    assert_eq!(settings().lists_a_day(), 5 * 144);
    let undated = BucketSettings { folder: DayFolder::parse("in/").expect("a pattern"), ..settings() };
    assert_eq!(undated.lists_a_day(), 144);
}

#[tokio::test]
async fn a_feed_that_cannot_list_says_so_and_recovers() {
    let world = World::new();
    world.bucket.put("2026-11-24/a.gz", "v1", world.clock.now());
    world.bucket.fail(&[true]);
    let context = Context::new(Arc::new(world.clock.clone()));
    let settings = BucketSettings { retry: (Duration::from_millis(1), Duration::from_millis(1)), ..settings() };
    let World { bucket, inbox, .. } = world;
    let feed = BucketFeed::with_lister(settings, Arc::new(bucket), context.clone());
    let stop = CancellationToken::new();
    let mut changes = context.health.watch();
    let shared: SharedInbox = Arc::clone(&inbox) as SharedInbox;
    let running = feed.run(shared, stop.clone());
    let watching = async {
        let mut seen = Vec::new();
        loop {
            let condition = context.health.parts().into_iter().map(|part| part.condition).next();
            let is_good = matches!(condition, Some(Condition::Good { .. }));
            seen.extend(condition);
            if is_good {
                break;
            }
            changes.changed().await.expect("health lives on");
        }
        stop.cancel();
        seen
    };
    let both = async { tokio::join!(running, watching).1 };
    let seen = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it recovers");
    assert!(
        seen.iter().any(|condition| matches!(condition, Condition::Degraded { reason } if reason.contains("reset"))),
        "{seen:?}"
    );
    assert_eq!(inbox.unplanned(10).await.expect("readable").len(), 1);
    let (labels, metrics) = (FeedLabels { feed: "fft".to_owned() }, &context.metrics);
    let counts = [&metrics.notices_stored, &metrics.notices_duplicate, &metrics.notices_settled]
        .map(|counter| counter.get_or_create(&labels).get());
    assert_eq!(counts, [1, 0, 1]);
    assert_ne!(metrics.feed_lists.get_or_create(&labels).get(), 0);
}
