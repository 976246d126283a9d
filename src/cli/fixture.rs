//! Fixed things to show, for the snapshots of the screens.

use std::time::Duration;

use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::ledger::{
    Attempt, AttemptOutcome, Audited, DaemonSummary, DeliveryState, DeliveryStory, Done, HeardAs, Hold, NoticeCounts,
    NoticeLine, NoticeState, ParkedTotals, RouteSummary, RunKind, Story, Summary, Waiting,
};
use crate::inbox::{DeliveryId, Progress, RunId, Target};
use crate::notice::{FeedName, Metadata, NoticeId, RouteName, SinkName};
use crate::ops::health::{Condition, Part};
use crate::record::{BadRecord, Counts};

/// When every screen is looked at: 2026-03-01T12:00:00Z.
pub const NOW: UnixMs = UnixMs(1_772_366_400_000);

fn before(seconds: u64) -> UnixMs {
    NOW.minus(Duration::from_secs(seconds))
}

fn counts(delivered: u64, filtered: u64, parked: u64, quarantined: u64) -> Counts {
    Counts { read: delivered + filtered + parked + quarantined, delivered, filtered, parked, quarantined }
}

pub fn notice_lines() -> Vec<NoticeLine> {
    let line = |id: i64, state: NoticeState, blob_type: &str, age: u64| NoticeLine {
        id: NoticeId(id),
        state,
        reason: None,
        feed: FeedName::new("eg"),
        blob_type: blob_type.to_owned(),
        correlation_id: None,
        woken_from: None,
        published: before(age),
        stored: before(age - 1),
        seen_count: 1,
        deliveries: 0,
        attempts: 0,
        counts: Counts::default(),
    };
    vec![
        line(1205, NoticeState::Heard, "Gateway.ItemChanges", 4),
        NoticeLine {
            correlation_id: Some("0b7c".to_owned()),
            deliveries: 1,
            attempts: 2,
            counts: counts(1_234_000, 500, 0, 3),
            ..line(1204, NoticeState::Finished, "Gateway.ItemChanges", 200)
        },
        NoticeLine {
            reason: Some(
                "the blob is not there (404) since 2 h: ask the vendor to publish it again (items to warehouse)"
                    .to_owned(),
            ),
            deliveries: 2,
            attempts: 9,
            ..line(1203, NoticeState::Quarantined, "Gateway.PriceChanges", 9_000)
        },
        NoticeLine {
            reason: Some("excluded by the filter of feed eg".to_owned()),
            ..line(7, NoticeState::Skipped, "A.Very.Long.Blob.Type.\u{1b}[31mThat.Would.Not.Fit.On.Any.Screen", 900_000)
        },
    ]
}

fn story(id: i64, state: NoticeState) -> Story {
    Story {
        id: NoticeId(id),
        state,
        reason: None,
        feed: FeedName::new("eg"),
        dedupe_key: "5f1c3a52-6d0e-4f5b-9a3e-0c5b7b1f6e11".to_owned(),
        heard_as: HeardAs::Accepted,
        metadata: Metadata {
            blob_type: "Gateway.ItemChanges".to_owned(),
            correlation_id: Some("0b7c9d7e-1111-2222-3333-444455556666".to_owned()),
            uri: Some(format!(
                "https://egexport.blob.core.windows.net/tenant-1/2026/03/01/{}.jsonl.gz",
                "item-changes-".repeat(5)
            )),
            content_type: Some("application/x-jsonlines".to_owned()),
            content_encoding: Some("gzip".to_owned()),
            properties: Some(serde_json::json!({"tenantId": 1, "storeNumbers": [17, 21]})),
        },
        body_bytes: None,
        woken_from: None,
        published: before(7300),
        sequence: 991,
        stored: before(7299),
        settled: Some(before(7298)),
        ended: None,
        seen_count: 1,
        last_seen: before(7299),
        delivery_count: 0,
        run: RunId(0),
        deliveries: Vec::new(),
    }
}

fn delivery(id: i64, run: i64, state: DeliveryState) -> DeliveryStory {
    DeliveryStory {
        id: DeliveryId(id),
        target: Target { route: RouteName::new("items"), sink: SinkName::new("warehouse") },
        run: RunId(run),
        replaced_by: None,
        replaced_as: None,
        state,
        since: before(7290),
        due: None,
        held: None,
        ended: None,
        attempts: 0,
        lost: 0,
        progress: Progress::default(),
        class: None,
        error: None,
        location: None,
        history: Vec::new(),
        bad_records: 0,
        discarded_records: 0,
        bad_records_first: Vec::new(),
    }
}

fn attempt(ended: u64, outcome: AttemptOutcome, confirmed: u64, error: Option<&str>) -> Attempt {
    Attempt {
        worker: "longshore-4711/2".to_owned(),
        started: before(ended + 3),
        ended: before(ended),
        outcome,
        confirmed,
        class: error.map(|_| Class::Transient),
        error: error.map(str::to_owned),
    }
}

pub fn replayed_story() -> Story {
    let first = DeliveryStory {
        replaced_by: Some(RunId(3)),
        replaced_as: Some(RunKind::Replay),
        ended: Some(before(7000)),
        attempts: 5,
        class: Some(Class::Transient),
        error: Some("the sink warehouse answered 503".to_owned()),
        history: vec![
            attempt(7250, AttemptOutcome::Retry, 0, Some("the sink warehouse answered 503")),
            attempt(7100, AttemptOutcome::Lost, 0, None),
            attempt(
                7000,
                AttemptOutcome::Quarantined,
                0,
                Some("the sink warehouse answered 503, and the five attempts that a delivery has are used up"),
            ),
        ],
        lost: 1,
        ..delivery(8, 0, DeliveryState::Quarantined)
    };
    let second = DeliveryStory {
        ended: Some(before(60)),
        attempts: 1,
        progress: Progress { confirmed: 12_345, counts: counts(12_300, 33, 0, 12), known: 0, bytes: 4_567_890 },
        location: Some("https://warehouse.example.com/import".to_owned()),
        history: vec![attempt(60, AttemptOutcome::Done, 12_345, None)],
        bad_records: 12,
        discarded_records: 3,
        bad_records_first: vec![BadRecord {
            number: 17,
            offset: 10_240,
            reason: "not JSON: expected a value at column 3".to_owned(),
            class: Class::Poison,
            is_readable: false,
            is_cut: false,
            blob_type: None,
            bytes: Vec::new(),
        }],
        ..delivery(19, 3, DeliveryState::Done)
    };
    Story {
        ended: Some(before(60)),
        seen_count: 3,
        last_seen: before(7000),
        run: RunId(3),
        deliveries: vec![first, second],
        ..story(1204, NoticeState::Finished)
    }
}

pub fn waiting_story() -> Story {
    let waiting = DeliveryStory {
        due: Some(NOW.plus(Duration::from_secs(42))),
        attempts: 1,
        progress: Progress { confirmed: 500, counts: counts(500, 0, 0, 0), known: 0, bytes: 65_536 },
        class: Some(Class::Transient),
        error: Some("the connection was reset".to_owned()),
        history: vec![attempt(8, AttemptOutcome::Retry, 500, Some("the connection was reset"))],
        ..delivery(20, 0, DeliveryState::Ready)
    };
    let held = DeliveryStory {
        target: Target { route: RouteName::new("audit"), sink: SinkName::new("folder") },
        held: Some(Hold {
            worker: "longshore-4711/1".to_owned(),
            since: before(4),
            lease_until: NOW.plus(Duration::from_secs(56)),
        }),
        ..delivery(21, 0, DeliveryState::Claimed)
    };
    Story { settled: None, deliveries: vec![waiting, held], ..story(1206, NoticeState::Open) }
}

pub fn unreadable_story() -> Story {
    Story {
        heard_as: HeardAs::Unreadable,
        reason: Some("the message is not JSON: expected a value at line 1 column 1".to_owned()),
        metadata: Metadata { blob_type: "\u{1b}]0;pwned\u{7}".to_owned(), ..Metadata::default() },
        body_bytes: Some(2048),
        ended: Some(before(7299)),
        ..story(9, NoticeState::Quarantined)
    }
}

pub fn empty_summary() -> Summary {
    Summary {
        path: "/var/lib/longshore/inbox.db".to_owned(),
        at: NOW,
        notices: NoticeCounts::default(),
        oldest_waiting: None,
        routes: Vec::new(),
        last_day: Done::default(),
        parked: ParkedTotals::default(),
        outlived_keys: 0,
        outlived_keys_bytes: 0,
        unbalanced: 0,
        audit: None,
        database_bytes: 73_728,
        free_bytes: 0,
        log_bytes: 0,
        daemons: Vec::new(),
    }
}

pub fn busy_summary() -> Summary {
    let day = |deliveries, bytes, counts| Done { deliveries, bytes, counts };
    let part = |name: &str, condition, age| Part { name: name.to_owned(), condition, since: before(age) };
    let daemon = |pid: u32, mode: &str, parts| DaemonSummary {
        instance: format!("host/{pid}"),
        mode: mode.to_owned(),
        pid,
        version: "0.1.0".to_owned(),
        started: before(90_000),
        heartbeat: before(9),
        alive: true,
        parts,
    };
    let refused = "the connection to sb-eg.servicebus.windows.net:5671 was refused; trying again with longer waits, see `longshore check --connect`";
    let items = RouteSummary {
        route: RouteName::new("items"),
        ready: 1_200,
        waiting: 1,
        claimed: 2,
        quarantined: 0,
        error: Some(
            "the sink warehouse answered 503 Service Unavailable: try again later, we are doing maintenance".to_owned(),
        ),
        last_day: day(12_345, 5 << 30, counts(123_456_789, 1_000, 20, 3)),
    };
    let everything_else = RouteSummary {
        route: RouteName::new("everything-else"),
        ready: 0,
        waiting: 0,
        claimed: 0,
        quarantined: 4,
        error: None,
        last_day: day(7, 8_192, counts(70, 0, 0, 0)),
    };
    Summary {
        notices: NoticeCounts {
            heard: 12,
            open: 1_203,
            finished: 1_234_567,
            skipped: 10,
            quarantined: 4,
            with_withheld_records: 2,
        },
        oldest_waiting: Some(Waiting { notice: NoticeId(1201), stored: before(4_000) }),
        last_day: day(12_352, (5 << 30) + 8_192, counts(123_456_859, 1_000, 20, 3)),
        routes: vec![everything_else, items],
        outlived_keys: 12_345,
        outlived_keys_bytes: 1_111_050,
        audit: Some(Audited { at: before(7_300), notices: 1_235_790, deliveries: 1_300_000, findings: 0 }),
        database_bytes: 734_003_200,
        free_bytes: 10_485_760,
        log_bytes: 4_194_304,
        daemons: vec![
            daemon(
                4711,
                "listen",
                vec![
                    part("feed eg", Condition::Degraded { reason: refused.to_owned() }, 130),
                    part("inbox", Condition::Good { note: String::new() }, 90_000),
                    part("tokens", Condition::Good { note: "valid until 2026-03-02T00:00:00Z".to_owned() }, 3_600),
                ],
            ),
            daemon(4712, "work", vec![part("workers", Condition::Starting, 1)]),
        ],
        ..empty_summary()
    }
}
