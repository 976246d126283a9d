//! What every sink promises, checked on every kind: see the head of this room.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tempfile::TempDir;

use crate::error::{Class, Classify};
use crate::inbox::{Progress, RunId};
use crate::notice::{NoticeId, SinkName};
use crate::record::RecordBatch;
use crate::sink::http::tests::receiver;
use crate::sink::test_support::{batch, context, delivery};
use crate::sink::{
    Accepts, CommandSettings, DeliveryContext, DirectoryFormat, DirectorySettings, HttpBody, HttpMethod, HttpSettings,
    Promise, Sink, SinkKind, SinkSettings, SqliteSettings, TableKey, Transfer, build, command, directory, http, sqlite,
};

/// What lies at a sink's place, by name.
type Contents = BTreeMap<String, String>;

/// A sink with a place of its own.
struct Subject {
    name: &'static str,
    sink: Arc<dyn Sink>,
    look: Box<dyn Fn() -> Contents + Send + Sync>,
    outer: TempDir,
}

const NAMES: [&str; 7] = ["directory", "directory raw", "http record", "http array", "http lines", "command", "sqlite"];

async fn subject(name: &'static str) -> Subject {
    let outer = tempfile::tempdir().expect("dir");
    let place = outer.path().join("place");
    std::fs::create_dir(&place).expect("place");
    let files = place.clone();
    let mut look: Box<dyn Fn() -> Contents + Send + Sync> = Box::new(move || visible_files(&files));
    let into_directory = |format| {
        let settings = DirectorySettings { path: place.clone(), format, name: directory::DEFAULT_NAME.to_owned() };
        (SinkKind::Directory(settings), directory::DEFAULT_BATCH)
    };
    let (kind, batch) = match name {
        "directory" => into_directory(DirectoryFormat::JsonLines),
        "directory raw" => into_directory(DirectoryFormat::Raw),
        "command" => {
            let script = "cat > $0/.new.$$ && mv $0/.new.$$ $0/$LONGSHORE_IDEMPOTENCY_KEY";
            let command = ["/bin/sh", "-c", script, &place.display().to_string()].map(ToOwned::to_owned).to_vec();
            let timeout = command::DEFAULT_TIMEOUT;
            let settings = CommandSettings { command, timeout, permanent_exit_codes: vec![], environment: vec![] };
            (SinkKind::Command(settings), command::DEFAULT_BATCH)
        }
        "sqlite" => {
            let path = place.join("out.db");
            let database = path.clone();
            look = Box::new(move || rows(&database));
            let (table, key) = ("t".to_owned(), TableKey::Same(vec!["/id".to_owned()]));
            (SinkKind::Sqlite(SqliteSettings { path, table, key, version: None }), sqlite::DEFAULT_BATCH)
        }
        _ => {
            let (receiver, url) = receiver(Vec::new()).await;
            look = Box::new(move || receiver.done.lock().expect("lock").clone().into_iter().collect());
            let body = match name {
                "http record" => HttpBody::Record,
                "http array" => HttpBody::Array,
                _ => HttpBody::JsonLines,
            };
            let (method, timeout) = (HttpMethod::Put, Duration::from_secs(60));
            let settings = HttpSettings { url, method, body, auth: None, headers: vec![], timeout, ca_file: None };
            (SinkKind::Http(settings), http::DEFAULT_BATCH)
        }
    };
    let sink_name = SinkName::new("out");
    let settings = SinkSettings { name: sink_name.clone(), batch, kind };
    let sink = build(vec![settings], &context()).expect("settings").remove(&sink_name).expect("built");
    Subject { name, sink, look, outer }
}

fn visible_files(folder: &Path) -> Contents {
    let mut found = Contents::new();
    for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry")) {
        let name = entry.file_name().into_string().expect("text");
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type().expect("type").is_dir() {
            let inner = visible_files(&entry.path());
            found.extend(inner.into_iter().map(|(below, text)| (format!("{name}/{below}"), text)));
        } else {
            found.insert(name, std::fs::read_to_string(entry.path()).expect("text"));
        }
    }
    found
}

fn rows(path: &Path) -> Contents {
    if !path.exists() {
        return Contents::new();
    }
    let connection = rusqlite::Connection::open(path).expect("database");
    let Ok(mut statement) = connection.prepare("SELECT key, body FROM t") else { return Contents::new() };
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.map(|row| row.expect("row")).collect()
}

/// Everything below a folder, hidden or not, with sizes and times.
fn everything(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry")) {
        let metadata = entry.metadata().expect("metadata");
        found.push(format!("{:?} {} {:?}", entry.path(), metadata.len(), metadata.modified()));
        if metadata.is_dir() {
            everything(&entry.path(), found);
        }
    }
    found.sort();
}

/// Four batches; a key comes back in a later one, and one batch has lost a record to a filter.
fn batches() -> Vec<RecordBatch> {
    let body = |number: u64| format!(r#"{{"id":"k{}","number":{number}}}"#, number % 5);
    let mut batches: Vec<RecordBatch> = (0..4)
        .map(|at| {
            let bodies: Vec<String> = (at * 3 + 1..=at * 3 + 3).map(body).collect();
            batch(at * 3 + 1, &bodies.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    batches[1].retain(|body| !body.ends_with(b"5}"));
    batches
}

impl Subject {
    async fn hand_over(&self, transfer: &mut Box<dyn Transfer>, batch: &RecordBatch) -> bool {
        match self.sink.accepts() {
            Accepts::Records => transfer.deliver(batch).await.expect("deliver").confirmed,
            Accepts::Bytes => transfer.deliver_bytes(batch.to_lines()).await.map(|()| false).expect("deliver"),
        }
    }

    /// Delivers from where `progress` and the sink say, and finishes.
    async fn deliver(&self, delivery: DeliveryContext, progress: u64, batches: &[RecordBatch]) -> String {
        let progress = Progress { confirmed: progress, ..Progress::default() };
        let mut opened = self.sink.open(delivery, progress).await.expect("open");
        for batch in batches.iter().filter(|batch| batch.last > opened.resume_after) {
            self.hand_over(&mut opened.transfer, batch).await;
        }
        opened.transfer.finish().await.expect("finish")
    }

    /// Delivers the first `whole` batches, begins the next one, and is cut off there. Returns what was confirmed.
    async fn cut_off(&self, delivery: DeliveryContext, whole: usize, batches: &[RecordBatch]) -> Vec<u64> {
        let mut opened = self.sink.open(delivery, Progress::default()).await.expect("open");
        let mut confirmed = vec![0];
        for batch in batches.iter().take(whole).filter(|batch| batch.last > opened.resume_after) {
            if self.hand_over(&mut opened.transfer, batch).await {
                confirmed.push(batch.last);
            }
        }
        if let Some(next) = batches.get(whole) {
            let mut handing_over = Box::pin(self.hand_over(&mut opened.transfer, next));
            let polled = std::future::poll_fn(|context| Poll::Ready(handing_over.as_mut().poll(context))).await;
            drop((polled, handing_over));
        }
        confirmed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_cut_off_anywhere_ends_as_if_it_had_not_been() {
    let batches = batches();
    for name in NAMES {
        let straight = subject(name).await;
        straight.deliver(delivery("Items"), 0, &batches).await;
        let expected = (straight.look)();
        assert!(!expected.is_empty(), "{name}");
        for whole in 0..=batches.len() {
            // The inbox may know of all that was confirmed, or of all but the last: it died before it stored that.
            for forgotten in [0, 1] {
                let subject = subject(name).await;
                let confirmed = subject.cut_off(delivery("Items"), whole, &batches).await;
                let known = confirmed[confirmed.len().saturating_sub(1 + forgotten)];
                subject.deliver(delivery("Items"), known, &batches).await;
                assert_eq!((subject.look)(), expected, "{name} after {whole} batches, {forgotten} forgotten");
            }
        }
    }
}

#[tokio::test]
async fn the_same_delivery_twice_gives_the_same_end() {
    for name in NAMES {
        let subject = subject(name).await;
        let first = subject.deliver(delivery("Items"), 0, &batches()).await;
        let once = (subject.look)();
        let mut again = delivery("Items");
        again.attempt = 2;
        assert_eq!(subject.deliver(again, 0, &batches()).await, first, "{name}");
        assert_eq!((subject.look)(), once, "{name}");
    }
}

#[tokio::test]
async fn a_replay_is_delivered_again_and_not_taken_for_a_repetition() {
    for name in NAMES {
        let subject = subject(name).await;
        subject.deliver(delivery("Items"), 0, &batches()).await;
        let once = (subject.look)().len();
        let mut replay = delivery("Items");
        replay.run = RunId(1);
        subject.deliver(replay, 0, &batches()).await;
        let expected = if subject.sink.promise() == Promise::OneTransaction { once } else { 2 * once };
        assert_eq!((subject.look)().len(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_dropped_transfer_leaves_nothing_half_done_in_sight() {
    let batches = batches();
    for name in NAMES {
        let reference = subject(name).await;
        reference.deliver(delivery("Items"), 0, &batches[..2]).await;
        let subject = subject(name).await;
        let mut opened = subject.sink.open(delivery("Items"), Progress::default()).await.expect("open");
        let mut is_confirmed = false;
        for batch in &batches[..2] {
            is_confirmed = subject.hand_over(&mut opened.transfer, batch).await;
        }
        drop(opened);
        let expected = if is_confirmed { (reference.look)() } else { Contents::new() };
        assert_eq!((subject.look)(), expected, "{name}");
        assert_eq!(is_confirmed, subject.sink.promise() != Promise::SameFile, "{name}");
    }
}

#[tokio::test]
async fn nothing_hostile_leads_out_of_the_place() {
    let long = "x/../".repeat(20_000);
    let hostile = [
        "../../../../tmp/longshore-escape",
        "/tmp/longshore-escape",
        "..",
        "",
        "a\0b",
        "a\r\nx-injected: 1",
        "\"; DROP TABLE t; --",
        "$(touch escape) `touch escape` ; touch escape",
        "C:\\x",
        "😀\u{202e}",
        &long,
    ];
    for name in NAMES {
        let subject = subject(name).await;
        for (number, text) in hostile.iter().enumerate() {
            let mut delivery = delivery(text);
            let notice = Arc::make_mut(&mut delivery.notice);
            notice.id = NoticeId(number as i64);
            notice.dedupe_key = format!("{number}{text}");
            notice.metadata.correlation_id = Some((*text).to_owned());
            notice.metadata.uri = Some(format!("https://a.b/{text}"));
            notice.metadata.content_type = Some((*text).to_owned());
            let body = serde_json::json!({ "id": format!("{number}{text}") }).to_string();
            subject.deliver(delivery, 0, &[batch(1, &[&body])]).await;
        }
        assert_eq!((subject.look)().len(), hostile.len(), "{name}");
        let beside: Vec<_> = std::fs::read_dir(subject.outer.path()).expect("outer").collect();
        assert_eq!(beside.len(), 1, "{name}: {beside:?}");
        assert!(!Path::new("/tmp/longshore-escape").exists() && !Path::new("escape").exists(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_at_the_same_time_do_not_mix() {
    for name in NAMES {
        let subject = Arc::new(subject(name).await);
        let mut running = tokio::task::JoinSet::new();
        for number in 0..6_i64 {
            let subject = subject.clone();
            running.spawn(async move {
                let mut delivery = delivery("Items");
                let notice = Arc::make_mut(&mut delivery.notice);
                notice.id = NoticeId(number);
                notice.dedupe_key = number.to_string();
                let body = format!(r#"{{"id":{number}}}"#);
                subject.deliver(delivery, 0, &[batch(1, &[&body])]).await;
                body
            });
        }
        let mut bodies = running.join_all().await;
        let mut seen: Vec<String> =
            (subject.look)().into_values().map(|text| text.trim_matches(['[', ']', '\n']).to_owned()).collect();
        bodies.sort();
        seen.sort();
        assert_eq!(seen, bodies, "{name}");
    }
}

#[tokio::test]
async fn a_probe_changes_nothing() {
    for name in NAMES {
        let subject = subject(name).await;
        for _ in 0..2 {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            everything(subject.outer.path(), &mut before);
            let seen = subject.sink.probe().await.expect("probe");
            everything(subject.outer.path(), &mut after);
            assert!(!seen.is_empty(), "{name}");
            if subject.sink.kind() != "http" {
                assert_eq!(before, after, "{name}");
                subject.deliver(delivery("Items"), 0, &batches()).await;
            }
        }
    }
}

#[tokio::test]
async fn a_sink_says_so_when_it_is_handed_what_it_does_not_take() {
    for name in NAMES {
        let subject = subject(name).await;
        let mut opened = subject.sink.open(delivery("Items"), Progress::default()).await.expect("open");
        let error = match subject.sink.accepts() {
            Accepts::Records => opened.transfer.deliver_bytes(bytes::Bytes::from_static(b"x")).await.err(),
            Accepts::Bytes => opened.transfer.deliver(&batch(1, &["1"])).await.err(),
        };
        assert_eq!(error.map(|error| error.class()), Some(Class::Permanent), "{name}");
        assert_eq!(subject.name, name);
    }
}

#[tokio::test]
async fn a_delivery_without_records_ends_well() {
    for name in NAMES {
        let subject = subject(name).await;
        let location = subject.deliver(delivery("Items"), 0, &[]).await;
        assert!(!location.is_empty(), "{name}");
        let expected = usize::from(subject.sink.promise() == Promise::SameFile);
        assert_eq!((subject.look)().len(), expected, "{name}");
    }
}

#[test]
fn two_sinks_of_one_name_are_refused() {
    let kind = SinkKind::Sqlite(SqliteSettings {
        path: "x".into(),
        table: "t".to_owned(),
        key: TableKey::Same(vec!["/id".to_owned()]),
        version: None,
    });
    let one = SinkSettings { name: SinkName::new("out"), batch: sqlite::DEFAULT_BATCH, kind };
    assert_eq!(build(vec![one.clone(), one], &context()).err().map(|error| error.class()), Some(Class::Permanent));
}
