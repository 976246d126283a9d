use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{ManualClock, UnixMs};
use crate::inbox::ledger::{Ledger, NoticeState, ParkedSelector};
use crate::inbox::{AtDeadline, Inbox, InboxSettings, ParkingBounds, Progress, SqliteInbox};
use crate::notice::{FeedName, HeardNotice, Metadata, NoticeId, RouteName, SinkName, Verdict};
use crate::ops::Context;
use crate::payload::{FetchSettings, PayloadLimits, PayloadOpener};
use crate::record::Counts;
use crate::route::{
    Condition, EntitySettings, FormatHints, KeySettings, Match, ParentSettings, ParkingSettings, RouteSettings, Router,
};
use crate::sink::{Accepts, BatchLimits, Delivered, DeliveryContext, Opened, Promise, Sink, SinkError, Transfer};
use crate::worker::{Openers, Until, WorkSettings, Workers};

const START: UnixMs = UnixMs(1_656_979_200_000);
/// Every wait of a test ends by then.
const LIMIT: Duration = Duration::from_secs(60);
const PARK_FOR: Duration = Duration::from_secs(3_600);

/// A sink that remembers the batches it was handed.
#[derive(Default)]
struct Recorder {
    /// Confirms at the end only.
    holds: bool,
    /// How many batches fail before the first one is taken; they are remembered too.
    failures: Mutex<usize>,
    batches: Mutex<Vec<Vec<String>>>,
}

struct Recording(Arc<Recorder>);

#[async_trait]
impl Sink for Recording {
    fn kind(&self) -> &'static str {
        "recorder"
    }

    fn accepts(&self) -> Accepts {
        Accepts::Records
    }

    fn promise(&self) -> Promise {
        Promise::SameKey
    }

    fn batch_limits(&self) -> BatchLimits {
        BatchLimits { records_max: 4, bytes_max: 1 << 20 }
    }

    async fn open(&self, _delivery: DeliveryContext, progress: Progress) -> Result<Opened, SinkError> {
        let resume_after = if self.0.holds { 0 } else { progress.confirmed };
        Ok(Opened { transfer: Box::new(Recording(Arc::clone(&self.0))), resume_after })
    }

    async fn probe(&self) -> Result<String, SinkError> {
        Ok(String::new())
    }
}

#[async_trait]
impl Transfer for Recording {
    async fn deliver(&mut self, batch: &RecordBatch) -> Result<Delivered, SinkError> {
        let bodies = batch.records().map(|record| String::from_utf8_lossy(record.body).into_owned());
        self.0.batches.lock().unwrap().push(bodies.collect());
        let mut failures = self.0.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(SinkError::new(Class::Transient, "no answer came: it may have been taken"));
        }
        Ok(Delivered { confirmed: !self.0.holds, refused: Vec::new() })
    }

    async fn deliver_bytes(&mut self, _bytes: Bytes) -> Result<(), SinkError> {
        unreachable!("it takes records")
    }

    async fn finish(self: Box<Self>) -> Result<String, SinkError> {
        Ok("here".to_owned())
    }
}

struct Bench {
    inbox: Arc<SqliteInbox>,
    clock: ManualClock,
    context: Context,
    sink: Arc<Recorder>,
    parking: ParkingSettings,
    heard: Mutex<i64>,
    _folder: tempfile::TempDir,
}

fn key(name: &str, pointer: &str) -> Vec<KeySettings> {
    vec![KeySettings { name: name.to_owned(), pointers: vec![pointer.to_owned()] }]
}

fn parent(entity: &str, pointer: &str) -> ParentSettings {
    ParentSettings { entity: EntityName::new(entity), keys: key("id", pointer) }
}

/// `Group`s have items, `Item`s have prices; a group may name a group above it.
fn entity(name: &str, blob_type: &str) -> EntitySettings {
    EntitySettings {
        name: EntityName::new(name),
        blob_types: vec![blob_type.to_owned()],
        keys: key("id", "/id"),
        deleted: Some(Condition { pointer: "/gone".to_owned(), equals: vec![serde_json::json!(true)] }),
    }
}

impl Bench {
    fn new(sink: Recorder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        let settings = InboxSettings {
            path: folder.path().join("inbox.db"),
            retention_age: Duration::from_secs(3_600),
            retention_bytes: None,
            dedupe_age: Duration::from_secs(3_600),
            commit_notices_max: 10,
            parking: ParkingBounds::default(),
        };
        Self {
            inbox: Arc::new(SqliteInbox::open(&settings, Arc::new(clock.clone())).unwrap()),
            context: Context::new(Arc::new(clock.clone())),
            clock,
            sink: Arc::new(sink),
            parking: ParkingSettings { park_for: PARK_FOR, ..ParkingSettings::default() },
            heard: Mutex::new(0),
            _folder: folder,
        }
    }

    /// Stores a file; each is published after the one before.
    async fn hear(&self, blob_type: &str, lines: &[&str]) -> NoticeId {
        let nth = {
            let mut heard = self.heard.lock().unwrap();
            *heard += 1;
            *heard
        };
        let heard = HeardNotice {
            // No feed of that name is configured: what carries its body needs none.
            feed: FeedName::new("eg"),
            dedupe_key: format!("m-{nth}"),
            metadata: Metadata {
                blob_type: blob_type.to_owned(),
                content_type: Some("application/x-jsonlines".to_owned()),
                ..Metadata::default()
            },
            body: Some(Bytes::from(lines.join("\n"))),
            published: UnixMs(START.0 + nth),
            sequence: 0,
            delivery_count: 0,
            verdict: Verdict::Accepted,
        };
        self.inbox.store(vec![heard]).await.unwrap()[0].notice()
    }

    fn router(&self) -> Router {
        let route = |blob_type: &str, parents: Vec<ParentSettings>| RouteSettings {
            name: RouteName::new(blob_type),
            blob_types: vec![blob_type.to_owned()],
            exclude: Vec::new(),
            feeds: Vec::new(),
            sinks: vec![SinkName::new("out")],
            only: vec![Condition { pointer: "/skip".to_owned(), equals: vec![serde_json::json!(null)] }],
            format: FormatHints::default(),
            parents,
            parking: self.parking.clone(),
        };
        let routes = vec![
            route("Group", vec![parent("group", "/above")]),
            route("Item", vec![parent("group", "/group")]),
            route("Price", vec![parent("item", "/item")]),
        ];
        Router::new(routes, Match::First, &[entity("group", "Group"), entity("item", "Item")]).unwrap()
    }

    /// Works until nothing is left to do.
    async fn work_off(&self) {
        let sink: Arc<dyn Sink> = Arc::new(Recording(Arc::clone(&self.sink)));
        let (limits, context) = (PayloadLimits::default(), self.context.clone());
        let bodies = PayloadOpener::of_bodies(FetchSettings::default(), limits, context);
        let settings = WorkSettings { workers: 2, retry: (Duration::ZERO, Duration::ZERO), ..WorkSettings::default() };
        let workers = Workers::new(
            settings,
            self.inbox.clone(),
            Arc::new(self.router()),
            HashMap::from([(SinkName::new("out"), sink)]),
            Openers { of_feeds: HashMap::new(), bodies },
            self.context.clone(),
        );
        tokio::time::timeout(LIMIT, workers.run(Until::Empty, CancellationToken::new())).await.unwrap();
    }

    async fn counts(&self, notice: NoticeId) -> Counts {
        let story = self.inbox.story(notice).await.unwrap().unwrap();
        assert_eq!(story.state, NoticeState::Finished);
        story.deliveries[0].progress.counts
    }

    async fn parked(&self) -> usize {
        self.inbox.parked(ParkedSelector::default()).await.unwrap().len()
    }

    fn delivered(&self) -> Vec<String> {
        self.sink.batches.lock().unwrap().concat()
    }
}

fn counts(delivered: u64, filtered: u64, parked: u64, quarantined: u64) -> Counts {
    Counts { read: delivered + filtered + parked + quarantined, delivered, filtered, parked, quarantined }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_comes_in_the_wrong_order_is_delivered_in_the_right_one() {
    let bench = Bench::new(Recorder::default());
    let price = bench.hear("Price", &[r#"{"item":1}"#, r#"{"skip":1}"#, r#"{"price":"of nothing"}"#]).await;
    bench.work_off().await;
    let item = bench.hear("Item", &[r#"{"id":"1","group":9}"#]).await;
    bench.work_off().await;
    assert_eq!((bench.counts(price).await, bench.counts(item).await), (counts(1, 1, 1, 0), counts(0, 0, 1, 0)));
    assert_eq!(bench.delivered(), [r#"{"price":"of nothing"}"#]);
    bench.hear("Group", &[r#"{"id":9}"#]).await;
    bench.work_off().await;
    assert_eq!(bench.delivered()[1..], [r#"{"id":9}"#, r#"{"id":"1","group":9}"#, r#"{"item":1}"#]);
    assert_eq!((bench.counts(price).await, bench.counts(item).await), (counts(2, 1, 0, 0), counts(1, 0, 0, 0)));
    let text = bench.context.metrics.encode().unwrap();
    for line in ["longshore_records_parked_total 2\n", "longshore_records_woken_total 2\n"] {
        assert!(text.contains(line), "{text}");
    }
}

async fn parents_inside_the_same_file(holds: bool) {
    let bench = Bench::new(Recorder { holds, ..Recorder::default() });
    // Six levels in one file and in two batches, the lowest first.
    let lines: Vec<_> = (1..=6).map(|id| format!(r#"{{"id":{id},"above":{}}}"#, id + 1)).collect();
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines[5] = r#"{"id":6}"#;
    let file = bench.hear("Group", &lines).await;
    bench.work_off().await;
    assert_eq!(bench.counts(file).await, counts(6, 0, 0, 0));
    lines.reverse();
    assert_eq!(bench.delivered(), lines);
    assert_eq!(bench.parked().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parents_inside_the_same_file_work() {
    parents_inside_the_same_file(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parents_inside_the_same_file_work_where_the_sink_confirms_at_the_end() {
    parents_inside_the_same_file(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_ends_at_the_deadline() {
    let bench = Bench::new(Recorder::default());
    let file = bench.hear("Group", &[r#"{"id":1,"above":2}"#, r#"{"id":2,"above":1}"#]).await;
    bench.work_off().await;
    assert_eq!((bench.counts(file).await, bench.parked().await), (counts(0, 0, 2, 0), 2));
    bench.clock.advance(PARK_FOR);
    bench.inbox.tend().await.unwrap();
    assert_eq!((bench.counts(file).await, bench.parked().await), (counts(0, 0, 0, 2), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_that_was_deleted_is_no_parent_any_more() {
    let bench = Bench::new(Recorder::default());
    bench.hear("Item", &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1,"gone":true}"#]).await;
    bench.work_off().await;
    let price = bench.hear("Price", &[r#"{"item":1}"#, r#"{"item":2}"#]).await;
    bench.work_off().await;
    assert_eq!(bench.counts(price).await, counts(1, 0, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_may_set_orphans_aside_or_deliver_them() {
    for (missing_parent, expected) in
        [(MissingParent::Quarantine, counts(0, 0, 0, 1)), (MissingParent::Deliver, counts(1, 0, 0, 0))]
    {
        let mut bench = Bench::new(Recorder::default());
        bench.parking.missing_parent = missing_parent;
        let price = bench.hear("Price", &[r#"{"item":1}"#]).await;
        bench.work_off().await;
        assert_eq!((bench.counts(price).await, bench.parked().await), (expected, 0));
        let bad = bench.inbox.story(price).await.unwrap().unwrap().deliveries[0].bad_records_first.clone();
        for bad in bad {
            assert_eq!((bad.number, bad.class), (1, Class::MissingParent));
            assert!(bad.reason.contains("item id=1") && bad.reason.contains("sink out"), "{}", bad.reason);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_deadline_a_record_is_delivered_without_its_parent_where_the_route_says_so() {
    let mut bench = Bench::new(Recorder::default());
    bench.parking.at_deadline = AtDeadline::Deliver;
    let price = bench.hear("Price", &[r#"{"item":1}"#]).await;
    bench.work_off().await;
    bench.clock.advance(PARK_FOR);
    bench.inbox.tend().await.unwrap();
    bench.work_off().await;
    assert_eq!((bench.counts(price).await, bench.delivered()), (counts(1, 0, 0, 0), vec![r#"{"item":1}"#.to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_may_have_been_taken_is_sent_again_with_the_same_records() {
    let bench = Bench::new(Recorder { failures: Mutex::new(1), ..Recorder::default() });
    let price = bench.hear("Price", &[r#"{"price":1}"#, r#"{"item":1}"#, r#"{"price":3}"#]).await;
    // The first attempt fails, and by the time of the second one the parent has landed.
    let importing = async {
        while bench.sink.batches.lock().unwrap().is_empty() {
            bench.inbox.changed().await;
        }
    };
    let landed = async {
        importing.await;
        let key = EntityKey::of(&mut Vec::new(), "id", ["1"]);
        bench.inbox.entities_import(SinkName::new("out"), EntityName::new("item"), vec![key]).await.unwrap();
    };
    tokio::join!(bench.work_off(), landed);
    let batches = bench.sink.batches.lock().unwrap().clone();
    assert_eq!(batches[0], [r#"{"price":1}"#, r#"{"price":3}"#]);
    assert_eq!(batches[1], batches[0], "under the key of the batch, a receiver would drop anything else");
    assert_eq!(batches[2], [r#"{"item":1}"#]);
    assert_eq!(bench.counts(price).await, counts(3, 0, 0, 0));
}

#[test]
fn of_one_key_the_last_record_holds_and_a_piece_is_no_larger_than_asked() {
    let entity = EntityName::new("item");
    let key = |n: u8| EntityKey([n; 16]);
    let said = vec![(key(1), false), (key(2), true), (key(1), true), (key(3), false)];
    let mut changes = Changes { by_entity: BTreeMap::from([(entity.clone(), said)]), keys: 4 };
    let first = changes.take(3);
    assert_eq!(first, [EntityChanges { entity: entity.clone(), known: vec![], gone: vec![key(1), key(2)] }]);
    assert_eq!(changes.take(3), [EntityChanges { entity, known: vec![key(3)], gone: vec![] }]);
    assert_eq!((changes.len(), changes.take(3)), (0, vec![]));
}
