use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::civil::time;

use super::*;
use crate::clock::{ManualClock, UnixMs};
use crate::error::Class;
use crate::inbox::ledger::{Ledger, NoticeState, Story};
use crate::inbox::stand_in::{Interferes, StandIn};
use crate::inbox::{
    ClaimKey, ClaimRequest, Claimed, Finish, Inbox, InboxError, InboxSettings, Progress, Remarks, SqliteInbox,
};
use crate::notice::{FeedName, HeardNotice, Metadata, Notice, NoticeId, RouteName, Verdict};
use crate::ops::Condition;
use crate::ops::health::Part;
use crate::payload::{FetchSettings, PayloadLimits, PayloadOpener};
use crate::record::{Counts, RecordBatch};
use crate::route::{FormatHints, Match, RouteSettings};
use crate::sink::{Accepts, BatchLimits, Delivered, DeliveryContext, Opened, Promise, SinkError, Transfer};
use crate::worker::Window;

const START: UnixMs = UnixMs(1_656_979_200_000);
/// Every wait of a test ends by then, in paused time: it runs fast while the inbox's thread is at work.
const LIMIT: Duration = Duration::from_secs(365 * 24 * 3_600);

/// An inbox with troubles that each come once.
struct Troubled {
    inner: SharedInbox,
    finish_fails: AtomicBool,
    claim_panics: AtomicBool,
    unplanned_panics: AtomicBool,
}

fn once(trouble: &AtomicBool) -> bool {
    trouble.swap(false, Ordering::SeqCst)
}

#[async_trait]
impl Interferes for Troubled {
    fn behind(&self) -> &dyn Inbox {
        &*self.inner
    }

    async fn unplanned(&self, limit: usize) -> Result<Vec<Notice>, InboxError> {
        assert!(!once(&self.unplanned_panics), "told to panic");
        self.inner.unplanned(limit).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, InboxError> {
        assert!(!once(&self.claim_panics), "told to panic");
        self.inner.claim(request).await
    }

    async fn finish(&self, key: ClaimKey, finish: Finish, remarks: Remarks) -> Result<(), InboxError> {
        if once(&self.finish_fails) {
            return Err(InboxError::DiskFull { path: "inbox.db".to_owned() });
        }
        self.inner.finish(key, finish, remarks).await
    }
}

/// A sink that remembers which records it was handed, and knows of the first ones already.
#[derive(Default)]
struct Recorder {
    resume_after: u64,
    /// Confirms at the end only.
    holds: bool,
    /// Takes one batch at each opening, and goes on there at the next.
    breaks: bool,
    /// The classes of the errors that the ends meet, the next one last.
    ends: Mutex<Vec<Class>>,
    handed_over: Mutex<Vec<u64>>,
}

/// With how many batches it took.
struct Recording(Arc<Recorder>, usize);

#[async_trait]
impl Sink for Recording {
    fn kind(&self) -> &'static str {
        "recorder"
    }

    fn accepts(&self) -> Accepts {
        Accepts::Records
    }

    fn promise(&self) -> Promise {
        Promise::OneTransaction
    }

    fn batch_limits(&self) -> BatchLimits {
        BatchLimits { records_max: 4, bytes_max: 1 << 20 }
    }

    async fn open(&self, _delivery: DeliveryContext, progress: Progress) -> Result<Opened, SinkError> {
        let resume_after = if self.0.breaks { progress.confirmed } else { self.0.resume_after };
        Ok(Opened { transfer: Box::new(Recording(Arc::clone(&self.0), 0)), resume_after })
    }

    async fn probe(&self) -> Result<String, SinkError> {
        Ok(String::new())
    }
}

#[async_trait]
impl Transfer for Recording {
    async fn deliver(&mut self, batch: &RecordBatch) -> Result<Delivered, SinkError> {
        if self.0.breaks && self.1 > 0 {
            return Err(SinkError::new(Class::Transient, "reset"));
        }
        self.1 += 1;
        self.0.handed_over.lock().unwrap().extend(batch.records().map(|record| record.number));
        Ok(Delivered { confirmed: !self.0.holds, refused: Vec::new() })
    }

    async fn deliver_bytes(&mut self, _bytes: Bytes) -> Result<(), SinkError> {
        unreachable!("it takes records")
    }

    async fn finish(self: Box<Self>) -> Result<String, SinkError> {
        match self.0.ends.lock().unwrap().pop() {
            Some(class) => Err(SinkError::new(class, "the file cannot be put in place")),
            None => Ok("here".to_owned()),
        }
    }
}

struct Bench {
    ledger: Arc<dyn Ledger>,
    inbox: Arc<StandIn<Troubled>>,
    clock: ManualClock,
    context: Context,
    settings: WorkSettings,
    sink: Arc<Recorder>,
    notice: NoticeId,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// An inbox with one notice that carries `body`.
    async fn new(body: &str, sink: Recorder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        let context = Context::new(Arc::new(clock.clone()));
        let settings = InboxSettings {
            path: folder.path().join("inbox.db"),
            retention_age: Duration::from_secs(3_600),
            retention_bytes: None,
            dedupe_age: Duration::from_secs(3_600),
            commit_notices_max: 10,
            parking: crate::inbox::ParkingBounds::default(),
        };
        let inner = Arc::new(SqliteInbox::open(&settings, Arc::new(clock.clone())).unwrap());
        let heard = HeardNotice {
            feed: FeedName::new("eg"),
            dedupe_key: "m-1".to_owned(),
            metadata: Metadata {
                blob_type: "T".to_owned(),
                content_type: Some("application/x-jsonlines".to_owned()),
                ..Metadata::default()
            },
            body: Some(Bytes::copy_from_slice(body.as_bytes())),
            published: START,
            sequence: 1,
            delivery_count: 0,
            verdict: Verdict::Accepted,
        };
        let notice = inner.store(vec![heard]).await.unwrap()[0].notice();
        let inbox = Arc::new(StandIn(Troubled {
            inner: inner.clone(),
            finish_fails: AtomicBool::default(),
            claim_panics: AtomicBool::default(),
            unplanned_panics: AtomicBool::default(),
        }));
        let settings = WorkSettings { workers: 1, ..WorkSettings::default() };
        Self { ledger: inner, inbox, clock, context, settings, sink: Arc::new(sink), notice, _folder: folder }
    }

    fn workers(&self) -> Workers {
        let route = RouteSettings {
            name: RouteName::new("all"),
            blob_types: vec!["*".to_owned()],
            exclude: Vec::new(),
            feeds: Vec::new(),
            sinks: vec![SinkName::new("out")],
            only: Vec::new(),
            format: FormatHints::default(),
            parents: Vec::new(),
            parking: crate::route::ParkingSettings::default(),
        };
        let opener =
            PayloadOpener::new(FetchSettings::default(), PayloadLimits::default(), None, self.context.clone()).unwrap();
        let sink: Arc<dyn Sink> = Arc::new(Recording(Arc::clone(&self.sink), 0));
        Workers::new(
            self.settings.clone(),
            self.inbox.clone(),
            Arc::new(Router::new(vec![route], Match::First, &[]).unwrap()),
            HashMap::from([(SinkName::new("out"), sink)]),
            Openers {
                of_feeds: HashMap::from([(FeedName::new("eg"), Arc::new(opener))]),
                bodies: PayloadOpener::of_bodies(
                    FetchSettings::default(),
                    PayloadLimits::default(),
                    self.context.clone(),
                ),
            },
            self.context.clone(),
        )
    }

    /// Works until nothing is left.
    async fn work_off(&self) -> Story {
        let work = self.workers().run(Until::Empty, CancellationToken::new());
        tokio::time::timeout(LIMIT, work).await.unwrap();
        self.ledger.story(self.notice).await.unwrap().unwrap()
    }

    fn handed_over(&self) -> Vec<u64> {
        self.sink.handed_over.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_the_sink_knows_and_the_inbox_does_not_are_counted_and_not_handed_over_again() {
    let body = "1\n{broken\n3\n4\n5\n6\n7\n";
    let bench = Bench::new(body, Recorder { resume_after: 6, ..Recorder::default() }).await;
    let story = bench.work_off().await;
    assert_eq!(bench.handed_over(), [7]);
    let counts = story.deliveries[0].progress.counts;
    assert_eq!(counts, Counts { read: 7, delivered: 6, quarantined: 1, ..Counts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_further_with_each_attempt_is_not_given_up() {
    let body: String = (1..=20).map(|number| format!("{number}\n")).collect();
    let mut bench = Bench::new(&body, Recorder { breaks: true, ..Recorder::default() }).await;
    bench.settings.retry = (Duration::ZERO, Duration::ZERO);
    bench.settings.attempts_max = 2;
    let story = bench.work_off().await;
    assert_eq!(story.state, NoticeState::Finished, "{:?}", story.reason);
    assert_eq!(bench.handed_over(), (1..=20).collect::<Vec<u64>>());
}

/// A sink that confirms at the end only; its first end meets an error of `class`.
async fn held(class: Class) -> Bench {
    // More bad records than are kept in memory: the account is written down on the way.
    let body = format!("1\n{}2\n", "{broken\n".repeat(300));
    let mut bench =
        Bench::new(&body, Recorder { holds: true, ends: Mutex::new(vec![class]), ..Recorder::default() }).await;
    bench.settings.retry = (Duration::ZERO, Duration::ZERO);
    bench
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_only_held_is_not_counted_when_the_delivery_fails_for_good() {
    let counts = held(Class::Permanent).await.work_off().await.deliveries[0].progress.counts;
    assert!(counts.quarantined > 0 && counts.is_balanced(), "{counts:?}");
    assert_eq!(counts.delivered, 0, "nothing of it is in sight");
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_only_held_is_counted_once_when_it_is_done_again() {
    let counts = held(Class::Transient).await.work_off().await.deliveries[0].progress.counts;
    assert_eq!(counts, Counts { read: 302, delivered: 2, quarantined: 300, ..Counts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_delivery_whose_end_found_the_disk_full_is_not_delivered_twice() {
    let bench = Bench::new("1\n2\n", Recorder::default()).await;
    bench.inbox.finish_fails.store(true, Ordering::SeqCst);
    let story = bench.work_off().await;
    assert!(!once(&bench.inbox.finish_fails), "it was full");
    assert_eq!(bench.handed_over(), [1, 2]);
    assert_eq!(story.state, NoticeState::Finished);
}

#[tokio::test(start_paused = true)]
async fn a_panic_outside_of_a_delivery_costs_neither_the_planner_nor_a_worker() {
    let bench = Bench::new("1\n", Recorder::default()).await;
    bench.inbox.claim_panics.store(true, Ordering::SeqCst);
    bench.inbox.unplanned_panics.store(true, Ordering::SeqCst);
    bench.work_off().await;
    assert!(!once(&bench.inbox.claim_panics) && !once(&bench.inbox.unplanned_panics), "both panicked");
    assert_eq!(bench.handed_over(), [1]);
}

#[tokio::test(start_paused = true)]
async fn workers_say_when_the_hours_are_over_and_when_they_begin_again() {
    let mut bench = Bench::new("1\n", Recorder::default()).await;
    // The test begins at midnight.
    bench.settings.windows = vec![Window { from: time(6, 0, 0, 0), to: time(7, 0, 0, 0) }];
    let mut changes = bench.context.health.watch();
    let health = Arc::clone(&bench.context.health);
    let mut until = async |note: &str| {
        let is_said = |part: &Part| matches!(&part.condition, Condition::Good { note: said } if said == note);
        while !health.parts().iter().any(is_said) {
            tokio::time::timeout(LIMIT, changes.changed()).await.unwrap().unwrap();
        }
    };
    let work = tokio::spawn(bench.workers().run(Until::Stopped, CancellationToken::new()));
    until("outside the working hours").await;
    assert!(bench.handed_over().is_empty());
    bench.clock.advance(Duration::from_secs(6 * 3_600));
    until("1 at work").await;
    work.abort();
}
