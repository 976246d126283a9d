use std::sync::Arc;

use super::*;
use crate::clock::{ManualClock, UnixMs};
use crate::error::Classify;
use crate::inbox::RunId;
use crate::sink::TableKey;
use crate::sink::test_support::{NOW, batch, context, delivery};

fn settings(path: &Path) -> SqliteSettings {
    let key = TableKey::Same(vec!["/id".to_owned()]);
    SqliteSettings { path: path.to_owned(), table: DEFAULT_TABLE.to_owned(), key, version: None }
}

fn sink(path: &Path) -> SqliteSink {
    sink_of(settings(path))
}

fn sink_of(settings: SqliteSettings) -> SqliteSink {
    SqliteSink::new(SinkName::new("out"), DEFAULT_BATCH, settings, &context()).expect("settings")
}

/// A delivery of another notice, published `published` milliseconds after the start of the tests' time.
fn published(number: i64, published: i64) -> DeliveryContext {
    let mut delivery = delivery("Items");
    let mut notice = (*delivery.notice).clone();
    notice.id = crate::notice::NoticeId(number);
    notice.dedupe_key = format!("m-{number}");
    notice.published = UnixMs(NOW.0 + published);
    delivery.notice = Arc::new(notice);
    delivery
}

async fn deliver(sink: &SqliteSink, delivery: DeliveryContext, bodies: &[&str]) -> Delivered {
    let mut transfer = sink.open(delivery, Progress::default()).await.expect("open").transfer;
    let delivered = transfer.deliver(&batch(1, bodies)).await.expect("deliver");
    transfer.finish().await.expect("finish");
    delivered
}

fn rows(path: &Path, table: &str) -> Vec<(String, String)> {
    let connection = rusqlite::Connection::open(path).expect("database");
    let mut rows = connection.prepare(&format!("SELECT key, body FROM {} ORDER BY key", quoted(table))).expect("table");
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.map(|row| row.expect("row")).collect()
}

fn bodies(path: &Path) -> Vec<String> {
    rows(path, "items").into_iter().map(|(_, body)| body).collect()
}

#[tokio::test]
async fn records_become_rows_by_key_and_the_last_one_wins() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("new/out.db");
    let sink = sink(&path);
    let delivered =
        deliver(&sink, delivery("Items"), &[r#"{"id":"b","v":1}"#, r#"{"id":"a","v":1}"#, r#"{"id":"b","v":2}"#]).await;
    assert!(delivered.confirmed && delivered.refused.is_empty());
    assert_eq!(
        rows(&path, "items"),
        [("a".into(), r#"{"id":"a","v":1}"#.into()), ("b".into(), r#"{"id":"b","v":2}"#.into())]
    );
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o007, 0);
}

#[tokio::test]
async fn an_older_file_never_overwrites_a_newer_record() {
    let old = (published(1, 0), r#"{"id":1,"v":"old"}"#);
    let new = (published(2, 5), r#"{"id":1,"v":"new"}"#);
    for order in [[&old, &new], [&new, &old]] {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("out.db");
        let sink = sink(&path);
        for (delivery, body) in order {
            deliver(&sink, delivery.clone(), &[body]).await;
        }
        // The replay of the old one, after all, changes nothing either.
        let mut replay = old.0.clone();
        replay.run = RunId(9);
        deliver(&sink, replay, &[old.1]).await;
        assert_eq!(bodies(&path), [new.1]);
    }
}

#[tokio::test]
async fn notices_of_one_millisecond_are_ordered_by_their_sequence() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    let sink = sink(&path);
    for (number, sequence, body) in [(1, 20, r#"{"id":1,"v":"late"}"#), (2, 10, r#"{"id":1,"v":"early"}"#)] {
        let mut delivery = published(number, 0);
        Arc::make_mut(&mut delivery.notice).sequence = sequence;
        deliver(&sink, delivery, &[body]).await;
    }
    assert_eq!(bodies(&path), [r#"{"id":1,"v":"late"}"#]);
}

#[tokio::test]
async fn a_records_own_version_goes_before_the_time_of_its_file() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    let sink = sink_of(SqliteSettings { version: Some("/v".to_owned()), ..settings(&path) });
    deliver(&sink, published(1, 0), &[r#"{"id":1,"v":10}"#]).await;
    deliver(&sink, published(2, 5), &[r#"{"id":1,"v":9.5}"#]).await;
    assert_eq!(bodies(&path), [r#"{"id":1,"v":10}"#]);
    deliver(&sink, published(3, 5), &[r#"{"id":1,"v":10,"same":true}"#]).await;
    assert_eq!(bodies(&path), [r#"{"id":1,"v":10,"same":true}"#]);
}

#[tokio::test]
async fn a_record_without_its_key_is_refused_with_its_place() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    let delivered = deliver(&sink(&path), delivery("Items"), &[r#"{"id":1}"#, r#"{"x":1}"#, "7"]).await;
    let places: Vec<_> = delivered.refused.iter().map(|bad| (bad.number, bad.offset, bad.class)).collect();
    assert_eq!(places, [(2, 1_009, Class::Poison), (3, 1_017, Class::Poison)]);
    assert!(delivered.refused[0].reason.contains("/id"));
    assert_eq!(bodies(&path).len(), 1);
}

#[tokio::test]
async fn the_database_itself_knows_how_far_a_delivery_came() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink(&dir.path().join("out.db"));
    let mut opened = sink.open(delivery("Items"), Progress::default()).await.expect("open");
    assert_eq!(opened.resume_after, 0);
    opened.transfer.deliver(&batch(1, &[r#"{"id":1}"#, r#"{"id":2}"#])).await.expect("deliver");
    drop(opened);
    let again = sink.open(delivery("Items"), Progress::default()).await.expect("open");
    assert_eq!(again.resume_after, 2);
    let ahead = Progress { confirmed: 3, ..Progress::default() };
    assert_eq!(sink.open(delivery("Items"), ahead).await.expect("open").resume_after, 3);
    let mut replay = delivery("Items");
    replay.run = RunId(1);
    assert_eq!(sink.open(replay, Progress::default()).await.expect("open").resume_after, 0);
}

#[tokio::test]
async fn a_refusal_that_the_inbox_has_not_heard_of_is_reported_again() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink(&dir.path().join("out.db"));
    let mut opened = sink.open(delivery("Items"), Progress::default()).await.expect("open");
    opened.transfer.deliver(&batch(1, &[r#"{"id":1}"#, "{}"])).await.expect("deliver");
    opened.transfer.deliver(&batch(3, &[r#"{"id":3}"#])).await.expect("deliver");
    drop(opened);
    let mut again = sink.open(delivery("Items"), Progress::default()).await.expect("open");
    assert_eq!(again.resume_after, 0);
    let delivered = again.transfer.deliver(&batch(1, &[r#"{"id":1}"#, "{}"])).await.expect("deliver");
    assert_eq!(delivered.refused.len(), 1);
    let told = Progress { confirmed: 2, ..Progress::default() };
    assert_eq!(sink.open(delivery("Items"), told).await.expect("open").resume_after, 3);
}

#[tokio::test]
async fn a_failed_batch_leaves_neither_rows_nor_progress() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    let sink = sink(&path);
    let mut opened = sink.open(delivery("Items"), Progress::default()).await.expect("open");
    let full = "CREATE TRIGGER stop BEFORE INSERT ON items WHEN new.key = '2' BEGIN SELECT raise(ABORT, 'stop'); END";
    sink.shared.database.lock().expect("lock").connection().execute_batch(full).expect("trigger");
    opened.transfer.deliver(&batch(1, &[r#"{"id":1}"#, r#"{"id":2}"#])).await.expect_err("stopped");
    assert!(bodies(&path).is_empty());
    assert_eq!(sink.open(delivery("Items"), Progress::default()).await.expect("open").resume_after, 0);
}

#[tokio::test]
async fn a_full_disk_is_known_as_one_and_passes() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink(&dir.path().join("out.db"));
    let mut opened = sink.open(delivery("Items"), Progress::default()).await.expect("open");
    let limit = |pages: i64| {
        let database = sink.shared.database.lock().expect("lock");
        database.connection().pragma_update(None, "max_page_count", pages).expect("limit");
    };
    limit(1);
    let large = format!(r#"{{"id":1,"x":"{}"}}"#, "x".repeat(100_000));
    let error = opened.transfer.deliver(&batch(1, &[&large])).await.expect_err("full");
    assert_eq!(error.class(), Class::DiskFull);
    assert!(error.to_string().contains("free some space"), "{error}");
    opened.transfer.deliver(&batch(1, &[&large])).await.expect("there is room again");
}

#[tokio::test]
async fn two_sinks_share_a_file() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    let (one, other) = (sink(&path), sink_of(SqliteSettings { table: "t \"x".to_owned(), ..settings(&path) }));
    let deliver_many = |sink: SqliteSink| async move {
        for number in 0..20 {
            deliver(&sink, published(number, number), &[&format!(r#"{{"id":{number}}}"#)]).await;
        }
    };
    tokio::join!(tokio::spawn(deliver_many(one)), tokio::spawn(deliver_many(other))).0.expect("both");
    assert_eq!((rows(&path, "items").len(), rows(&path, "t \"x").len()), (20, 20));
}

#[tokio::test]
async fn each_route_has_the_key_that_is_named_for_it() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    let route_of = |name: &str| {
        let mut delivery = published(1, 0);
        delivery.target.route = RouteName::new(name);
        delivery
    };
    let key = |name: &str, pointer: &str| (RouteName::new(name), vec![pointer.to_owned()]);
    let by_route = TableKey::ByRoute(vec![key("items", "/sku"), key("prices", "/guid")]);
    let sink = sink_of(SqliteSettings { key: by_route, ..settings(&path) });
    deliver(&sink, route_of("items"), &[r#"{"sku":"i","guid":"x"}"#]).await;
    deliver(&sink, route_of("prices"), &[r#"{"sku":"i","guid":"p"}"#]).await;
    assert_eq!((rows(&path, "items")[0].0.as_str(), rows(&path, "prices")[0].0.as_str()), ("i", "p"));
    let unknown = sink.open(route_of("stores"), Progress::default()).await.err().expect("no key");
    assert_eq!(unknown.class(), Class::Permanent);
    assert!(unknown.to_string().contains("no key for records of route stores"), "{unknown}");
}

#[tokio::test]
async fn old_progress_is_pruned_and_new_progress_kept() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    let clock = ManualClock::new(NOW);
    let context = SinkContext { clock: Arc::new(clock.clone()) };
    let make = || SqliteSink::new(SinkName::new("out"), DEFAULT_BATCH, settings(&path), &context).expect("settings");
    deliver(&make(), published(1, 0), &[r#"{"id":1}"#]).await;
    clock.advance(std::time::Duration::from_secs(20 * 86_400));
    deliver(&make(), published(2, 0), &[r#"{"id":2}"#]).await;
    clock.advance(std::time::Duration::from_secs(20 * 86_400));
    let sink = make();
    assert_eq!(sink.open(published(1, 0), Progress::default()).await.expect("open").resume_after, 0);
    assert_eq!(sink.open(published(2, 0), Progress::default()).await.expect("open").resume_after, 1);
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    let sink = sink(&path);
    deliver(&sink, published(1, 0), &[r#"{"id":1}"#]).await;
    for file in std::fs::read_dir(dir.path()).expect("dir") {
        std::fs::remove_file(file.expect("file").path()).expect("remove");
    }
    deliver(&sink, published(2, 0), &[r#"{"id":2}"#]).await;
    assert_eq!(bodies(&path), [r#"{"id":2}"#]);
}

#[tokio::test]
async fn what_is_no_database_is_left_alone_and_named() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    std::fs::write(&path, "my precious notes, which are no database").expect("file");
    let sink = sink(&path);
    assert!(sink.probe().await.expect_err("probe").to_string().contains("no SQLite database"));
    let Err(error) = sink.open(delivery("Items"), Progress::default()).await else { panic!("opened") };
    assert_eq!(error.class(), Class::Permanent);
    assert_eq!(std::fs::read_to_string(&path).expect("file"), "my precious notes, which are no database");
}

#[tokio::test]
async fn a_table_of_another_shape_is_an_error_for_good() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out.db");
    rusqlite::Connection::open(&path).expect("database").execute_batch("CREATE TABLE items (x)").expect("table");
    let mut opened = sink(&path).open(delivery("Items"), Progress::default()).await.expect("open");
    let error = opened.transfer.deliver(&batch(1, &[r#"{"id":1}"#])).await.expect_err("other columns");
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains("other columns"), "{error}");
}

#[test]
fn a_table_name_that_cannot_be_one_is_refused() {
    let table = |pattern: &str| table_of(pattern, &RouteName::new("items"));
    assert_eq!(table("eg {route}\""), Ok("eg items\"".to_owned()));
    for pattern in ["", "a\0", "{blob_type}", "sqlite_x", "Longshore_progress"] {
        assert!(table(pattern).is_err(), "{pattern:?}");
    }
    assert!(table(&"x".repeat(200)).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]
    #[test]
    fn the_newest_record_stays_in_whatever_order_files_finish(
        files in proptest::collection::vec((0..3_i64, 0..2_i64, proptest::collection::vec((0..3_u8, 0..3_u8), 1..4)), 1..6),
        order in proptest::collection::vec(proptest::prelude::any::<u32>(), 6),
        own_version in proptest::prelude::any::<bool>(),
    ) {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("out.db");
        let version = own_version.then(|| "/v".to_owned());
        let sink = sink_of(SqliteSettings { version, ..settings(&path) });
        let mut newest = std::collections::BTreeMap::new();
        let mut deliveries = Vec::new();
        for (number, (millisecond, sequence, records)) in files.iter().enumerate() {
            let mut delivery = published(number as i64, *millisecond);
            Arc::make_mut(&mut delivery.notice).sequence = *sequence;
            let mut bodies = Vec::new();
            for (at, (id, v)) in records.iter().enumerate() {
                let body = format!(r#"{{"id":{id},"v":{v},"file":{number},"at":{at}}}"#);
                let rank = (if own_version { i64::from(*v) } else { *millisecond }, *millisecond, *sequence, number, at);
                let best = newest.entry(*id).or_insert_with(|| (rank, body.clone()));
                if rank >= best.0 {
                    *best = (rank, body.clone());
                }
                bodies.push(body);
            }
            deliveries.push((order[number], delivery, bodies));
        }
        deliveries.sort_by_key(|(place, ..)| *place);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            for (_, delivery, bodies) in deliveries {
                deliver(&sink, delivery, &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
            }
        });
        let expected: Vec<String> = newest.into_values().map(|(_, body)| body).collect();
        proptest::prop_assert_eq!(self::bodies(&path), expected);
    }
}
