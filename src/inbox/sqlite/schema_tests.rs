//! What the schema promises: quick queries stay quick, and impossible states cannot be written.

use rusqlite::Connection;

use super::tests::{fresh_sqlite, settings};
use super::{claim, keys, marks, prune, schema, store};

/// How SQLite goes about a statement.
fn query_plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = explain.parameter_count();
    let values = vec![rusqlite::types::Value::Integer(1); parameters];
    let rows = explain.query_map(rusqlite::params_from_iter(values), |row| row.get(3)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn what_runs_all_day_touches_unfinished_rows_only() {
    let (_inbox, folder, _) = fresh_sqlite();
    let connection = Connection::open(settings(folder.path()).path).unwrap();
    let unplanned = "SELECT n.id, n.feed FROM notices n WHERE n.state = 'heard' ORDER BY n.id LIMIT 5";
    for (sql, indexes) in [
        (claim::NEXT_HEAD, &["deliveries_lane"][..]),
        (claim::NEXT_READY, &["deliveries_ready"]),
        (claim::CLAIMED, &["deliveries_claimed"]),
        (claim::PROMOTE, &["deliveries_due"]),
        (claim::NEXT_DUE, &["deliveries_due"]),
        (claim::STOPPED, &["deliveries_quarantined"]),
        (claim::UNFINISHED, &["deliveries_lane", "notices_unfinished", "chores", "wakes"]),
        (marks::OLDEST_UNFINISHED, &["notices_unfinished"]),
        (prune::OLDEST_ENDED, &["notices_ended"]),
        (unplanned, &["notices_unfinished"]),
    ] {
        let plan = query_plan(&connection, sql);
        let text = plan.join("\n");
        assert!(!text.contains("TEMP B-TREE"), "sorts in {sql}\n{text}");
        for index in indexes {
            assert!(text.contains(index), "does not use {index} in {sql}\n{text}");
        }
        for line in plan.iter().filter(|line| line.starts_with("SCAN ")) {
            // A scan of an index that holds unfinished rows only is what is wanted; CONSTANT ROW reads nothing.
            let is_partial = indexes.iter().any(|index| line.contains(index)) || line.contains("CONSTANT ROW");
            assert!(is_partial, "scans in {sql}\n{text}");
        }
    }
}

#[tokio::test]
async fn impossible_states_cannot_be_written() {
    let (_inbox, folder, _) = fresh_sqlite();
    let connection = Connection::open(settings(folder.path()).path).unwrap();
    connection
        .execute_batch(
            "INSERT INTO notices (feed, dedupe_key, verdict, state, published, sequence, stored, last_seen, \
                 delivery_count, blob_type) VALUES ('f', 'k', 'accepted', 'open', 0, 0, 0, 0, 0, 'T');
             INSERT INTO keys (feed, dedupe_key, notice) VALUES ('f', 'k', 1);
             INSERT INTO lanes (route, sink, blob_type) VALUES ('r', 's', 't');
             INSERT INTO deliveries (notice, run, lane, published, sequence, state, since) \
                 VALUES (1, 0, 1, 0, 0, 'ready', 0);",
        )
        .unwrap();
    for impossible in [
        "UPDATE notices SET state = 'lost'",
        "UPDATE notices SET state = 'finished'",
        "UPDATE notices SET ended = 1",
        "UPDATE notices SET state = 'skipped', ended = 1",
        "UPDATE notices SET published = 'yesterday'",
        "INSERT INTO keys (feed, dedupe_key, notice) VALUES ('f', 'k', 2)",
        "UPDATE keys_filed SET upto = -1",
        "INSERT INTO keys_filed (one, upto) VALUES (2, 0)",
        "UPDATE deliveries SET state = 'claimed'",
        "UPDATE deliveries SET lease_until = 1",
        "UPDATE deliveries SET state = 'claimed', lease_until = 1, claimed = 1, worker = 'w'",
        "UPDATE deliveries SET state = 'done', ended = 1",
        "UPDATE deliveries SET state = 'done', location = 'x'",
        "UPDATE deliveries SET state = 'done', ended = 1, location = 'x', read = 2, delivered = 1",
        "UPDATE deliveries SET state = 'done', ended = 1, location = 'x', due = 5",
        "UPDATE deliveries SET state = 'quarantined', ended = 1",
        "UPDATE deliveries SET error = 'without a class'",
        "UPDATE deliveries SET delivered = -1",
        "INSERT INTO deliveries (notice, run, lane, published, sequence, state, since) VALUES (1, 0, 1, 0, 0, 'ready', 0)",
        "INSERT INTO settlements (first, last, at) VALUES (5, 4, 0)",
        "INSERT INTO settlements (first, last, at) VALUES (5, 1005, 0)",
    ] {
        let error = connection.execute(impossible, []).expect_err(impossible);
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation), "{impossible}: {error}");
    }
    connection
        .execute("UPDATE deliveries SET state = 'done', ended = 1, location = 'x', read = 2, delivered = 2", [])
        .unwrap();
}

#[tokio::test]
async fn a_key_is_looked_for_in_its_place() {
    let (_inbox, folder, _) = fresh_sqlite();
    let connection = Connection::open(settings(folder.path()).path).unwrap();
    let of_one_feed = "SELECT notice FROM notice_keys WHERE feed = ?1";
    for (sql, seek) in [
        (keys::FIND, "SEARCH keys USING PRIMARY KEY (feed=? AND dedupe_key=?)"),
        (keys::TAKE_OUT, "SEARCH keys USING PRIMARY KEY (feed=? AND dedupe_key=?)"),
        (keys::UNDER, "SEARCH keys USING PRIMARY KEY (feed=? AND dedupe_key>? AND dedupe_key<?)"),
        (keys::WAITING, "SEARCH notices USING INTEGER PRIMARY KEY (rowid>?)"),
        (of_one_feed, "SEARCH keys USING PRIMARY KEY (feed=?)"),
        (of_one_feed, "SEARCH notices USING INTEGER PRIMARY KEY (rowid>?)"),
    ] {
        let plan = query_plan(&connection, sql);
        assert!(plan.iter().any(|line| line == seek), "{sql}\n{plan:#?}");
        assert!(
            !plan.iter().any(|line| line.starts_with("SCAN keys") || line.starts_with("SCAN notices")),
            "{plan:#?}"
        );
    }
}

/// A temporary tree for each row that is written costs more than the row.
#[tokio::test]
async fn what_is_written_all_day_fills_no_temporary_tree() {
    let (_inbox, folder, _) = fresh_sqlite();
    let connection = Connection::open(settings(folder.path()).path).unwrap();
    for sql in [
        store::INSERT,
        keys::FILE,
        "UPDATE notices SET state = 'finished', ended = 1 WHERE id = 1",
        "UPDATE deliveries SET state = 'claimed', claim = claim + 1 WHERE id = 1",
        "INSERT INTO attempts (delivery, claim, worker, started, ended, outcome, confirmed) VALUES (1, 1, 'w', 0, 0, 'done', 0)",
        "UPDATE parked SET state = 'waiting' WHERE id = 1",
    ] {
        let mut explain = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let values = vec![rusqlite::types::Value::Null; explain.parameter_count()];
        let steps = explain.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(1)).unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        assert!(!steps.contains(&"OpenEphemeral".to_owned()), "{sql}");
    }
}

#[tokio::test]
async fn an_inbox_of_before_is_checked_as_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let old = schema::at_version(&settings(folder.path()).path, 12);
    drop(old);
    drop(schema::prepare(&settings(folder.path()).path).unwrap());
    let (_inbox, fresh, _) = fresh_sqlite();
    let schema_of = |folder: &std::path::Path| {
        let connection = Connection::open(settings(folder).path).unwrap();
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let mut select = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows =
            select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(schema_of(folder.path()), schema_of(fresh.path()));
}
