//! The oracle: it knows every record that was published, and holds each sink, the inbox and the vendor to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::common::delivered;
use crate::world::World;

/// How many examples of a fault are told.
const EXAMPLES: usize = 5;

/// What names a record; the same wherever it lies.
pub fn identity(record: &Value) -> String {
    if let Some(named) = ["price", "id"].iter().find_map(|name| record.get(name).and_then(Value::as_str)) {
        return named.to_owned();
    }
    let item = record.get("Item").unwrap_or(record);
    let sku = item.pointer("/identifier/sku").and_then(Value::as_str);
    sku.map_or_else(|| format!("no item: {record}"), str::to_owned)
}

/// The JSON lines of a file.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(format!("no JSON: {line}")));
    text.lines().map(parse).collect()
}

/// Everything that is wrong once all is quiet; empty when nothing was lost and nothing done twice.
pub async fn verify(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let folder = world.path("delivered");
    let in_files = delivered::files_in_sight(&folder).into_iter().flat_map(|file| lines(&file));
    compare("directory", world, in_files.map(|record| identity(&record)), &mut wrong);
    compare("sqlite", world, rows(&world.path("records.db")), &mut wrong);
    {
        let ledger = world.receiver.ledger();
        compare("http", world, ledger.batches.values().flatten().map(identity), &mut wrong);
        wrong.extend(ledger.wrong.iter().map(|what| format!("http: {what}")));
    }
    compare("command", world, world.script.batches().values().flatten().map(identity), &mut wrong);
    wrong.extend(world.script.wrong().into_iter().map(|what| format!("command: {what}")));
    inbox(world, &mut wrong).await;
    let queue = world.subscription();
    if (queue.active, queue.locked, queue.deferred, queue.dead_lettered) != (0, 0, 0, 0) {
        wrong.push(format!("the vendor's subscription is not empty: {queue:?}"));
    }
    wrong
}

/// Each published record once, and no other.
fn compare(sink: &str, world: &World, delivered: impl Iterator<Item = String>, wrong: &mut Vec<String>) {
    let counts = delivered::counted(delivered);
    let delivered: BTreeSet<&String> = counts.keys().collect();
    let published: BTreeSet<&String> = world.published.iter().collect();
    let mut tell = |what: &str, records: Vec<&String>| {
        if !records.is_empty() {
            let examples: Vec<_> = records.iter().take(EXAMPLES).collect();
            wrong.push(format!("{sink}: {} records {what}, such as {examples:?}", records.len()));
        }
    };
    tell("are missing", published.difference(&delivered).copied().collect());
    tell("were never published", delivered.difference(&published).copied().collect());
    tell("were delivered twice", counts.iter().filter(|(_, count)| **count > 1).map(|(record, _)| record).collect());
}

/// The records in the table, whose rows must be of the newest version: each was published once.
fn rows(path: &Path) -> std::vec::IntoIter<String> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let connection = Connection::open(path)?;
        let mut texts: Vec<String> = Vec::new();
        for table in ["everything", "xml", "prices", "events"] {
            // A table is made with its first row.
            if connection.table_exists(None, table)? {
                let mut statement = connection.prepare(&format!("SELECT body FROM {table}"))?;
                for text in statement.query_map([], |row| row.get(0))? {
                    texts.push(text?);
                }
            }
        }
        let parse = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
        Ok(texts.iter().map(|text| identity(&parse(text))).collect())
    };
    read().unwrap_or_else(|error| vec![format!("the table cannot be read: {error}")]).into_iter()
}

/// Every notice finished, every account adding up, and a sound file.
async fn inbox(world: &World, wrong: &mut Vec<String>) {
    let limit = (10 * world.files + 10).to_string();
    let said = world.json(&["notices", "--limit", &limit]).await;
    let mut notices = said.as_array().expect("a list of notices").clone();
    for woken in notices.extract_if(.., |notice| !notice["woken_from"].is_null()) {
        // What became of its records stands with the notice that they were read from.
        if woken["state"] != "finished" {
            wrong.push(format!("a woken notice is not finished: {woken}"));
        }
    }
    if notices.len() as u64 != world.files {
        wrong.push(format!("{} files were announced, and the inbox has {} notices", world.files, notices.len()));
    }
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for notice in &notices {
        if notice["state"] != "finished" {
            wrong.push(format!("a notice is not finished: {notice}"));
        }
        for (name, count) in notice["counts"].as_object().expect("counts") {
            *sums.entry(name.clone()).or_default() += count.as_u64().expect("a count");
        }
    }
    let expected = [
        ("delivered", world.published.len() as u64),
        ("filtered", world.filtered),
        ("parked", 0),
        ("quarantined", world.bad),
        ("read", world.published.len() as u64 + world.filtered + world.bad),
    ];
    for (name, records) in expected {
        let (records, said) = (records * crate::world::SINKS, sums.get(name).copied().unwrap_or_default());
        if said != records {
            wrong.push(format!("{records} records should be accounted for as {name}, and the accounts say {sums:?}"));
        }
    }
    let (status, said) = world.try_say(&["audit", "--json"]).await;
    if !status.success() {
        wrong.push(format!("the audit finds something ({status}): {said}"));
    }
    let check: rusqlite::Result<String> = Connection::open(world.path("inbox.db"))
        .and_then(|connection| connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)));
    if check.as_deref() != Ok("ok") {
        wrong.push(format!("the inbox is not sound: {check:?}"));
    }
}
