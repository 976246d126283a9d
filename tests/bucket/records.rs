//! Files that hold records of many blob types: each goes by its own, to its own routes, as its own entities.

use std::collections::BTreeMap;

use longshore::inbox::ledger::NoticeState;

use crate::google::Google;
use crate::world::{World, days_ago, gzip};

const TYPED: &str =
    "blob_type = \"fft.export\"\nblob_type_from = \"record\"\nrecord_blob_type = \"/eventName\"\nrecord = \"/payload\"";

/// Orders are parents of pick jobs, each in a table of one database, under the version that the vendor gives to events.
const FAMILY: &str = r#"
[[route]]
name = "orders"
blob_types = ["order-created_event"]
sinks = ["database"]
[[route]]
name = "pick-jobs"
blob_types = ["pick-job-*"]
sinks = ["database"]
parents = [{ entity = "order", key = "/orderRef" }]
[[entity]]
name = "order"
blob_types = ["order-created_event"]
key = "/id"
[[entity]]
name = "pick-job"
blob_types = ["pick-job-created_event"]
key = "/id"
[[sink]]
name = "database"
type = "sqlite"
path = "delivered.db"
key = ["/id"]
"#;

fn event(name: &str, payload: &str) -> String {
    format!("{{\"id\":\"e\",\"eventName\":\"{name}\",\"payload\":{payload},\"created\":\"2026-11-24T00:00:00Z\"}}\n")
}

fn order(id: &str) -> String {
    event("order-created_event-v1", &format!("{{\"id\":\"{id}\"}}"))
}

fn pick_job(id: &str, order: &str) -> String {
    event("pick-job-created_event-v1", &format!("{{\"id\":\"{id}\",\"orderRef\":\"{order}\"}}"))
}

/// The ids in each table.
fn tables(world: &World) -> BTreeMap<String, Vec<String>> {
    let database = rusqlite::Connection::open(world.path("delivered.db")).expect("the database");
    let ids = |table: &str| -> Vec<String> {
        let sql = format!("SELECT json_extract(body, '$.id') FROM \"{table}\" ORDER BY 1");
        let Ok(mut select) = database.prepare(&sql) else { return Vec::new() };
        let rows = select.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|id| id.expect("an id")).collect()
    };
    ["orders", "pick-jobs"].map(|table| (table.to_owned(), ids(table))).into()
}

async fn put(google: &Google, days: i64, name: &str, lines: &[String]) {
    google.server.put_google(&format!("{}/{name}.jsonl.gz", days_ago(days)), gzip(&lines.concat())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_parents_and_children_by_their_own_blob_types() {
    let Some(google) = Google::start(TYPED, FAMILY).await else { return };
    let world = &google.world;
    // A pick job whose id is an order's must not count as that order.
    put(&google, 1, "a", &[pick_job("p1", "o1"), pick_job("o2", "o1"), pick_job("p2", "o2")]).await;
    let daemon = world.run();
    world.wait("three are parked", |summary| summary.parked.records == 3).await;
    assert_eq!(tables(world)["pick-jobs"], Vec::<String>::new());
    put(&google, 0, "b", &[order("o1"), event("stow-job-created_event-v1", "{\"id\":\"s1\"}")]).await;
    world.wait("two are woken", |summary| summary.parked.records == 1 && summary.notices.open == 0).await;
    assert_eq!(tables(world)["pick-jobs"], ["o2", "p1"]);
    let known = world.say(&["entities", "known", "--entity", "order", "o2"]).await;
    assert!(known.contains("not known"), "{known}");
    let woken = world.notices().await.into_iter().find(|notice| notice.woken_from.is_some()).expect("a woken notice");
    assert_eq!(woken.blob_type, "pick-job-created_event-v1");
    put(&google, 0, "c", &[order("o2")]).await;
    world.wait("nothing is parked", |summary| summary.parked.records == 0 && summary.notices.open == 0).await;
    daemon.stop().await;
    let expected = [("orders", vec!["o1", "o2"]), ("pick-jobs", vec!["o2", "p1", "p2"])];
    let expected = expected.map(|(table, ids)| (table.to_owned(), ids.into_iter().map(str::to_owned).collect()));
    assert_eq!(tables(world), expected.into());
    world.say(&["audit"]).await;
    let known = world.say(&["entities", "known", "--entity", "pick-job", "o2"]).await;
    assert!(known.contains("known by"), "{known}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_nothing_in_its_envelope_is_set_aside_whole() {
    let Some(google) = Google::start(TYPED, FAMILY).await else { return };
    let world = &google.world;
    let empty = "{\"id\":\"e-7\",\"eventName\":\"order-created_event-v1\",\"created\":\"2026-11-24\"}\n".to_owned();
    put(&google, 0, "a", &[order("o1"), empty.clone(), order("o2"), pick_job("p1", "o1")]).await;
    let daemon = world.run();
    world.wait_finished(1).await;
    daemon.stop().await;
    assert_eq!(tables(world)["orders"], ["o1", "o2"]);
    let exported = world.say(&["quarantine", "export"]).await;
    assert!(exported.contains("e-7") && exported.contains("/payload"), "{exported}");
    world.say(&["audit"]).await;
}

/// A sink that refuses everything for good, until `accept` is there.
const REFUSING: &str = r#"
[[route]]
name = "orders"
blob_types = ["order-created_event"]
sinks = ["commands"]
[[route]]
name = "pick-jobs"
blob_types = ["pick-job-*"]
sinks = ["jobs"]
[[sink]]
name = "commands"
type = "command"
command = ["/bin/sh", "-c", "cat > {folder}/taken; test -e {folder}/accept || exit 65; cat {folder}/taken >> {folder}/orders"]
permanent_exit_codes = [65]
[[sink]]
name = "jobs"
type = "directory"
path = "out"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_released_file_goes_on_to_the_routes_of_its_records_and_nowhere_twice() {
    let Some(google) = Google::start(TYPED, REFUSING).await else { return };
    let world = &google.world;
    // The command would do again what a lease that ran out on a busy machine has done again.
    world.reconfigure(|text| text.replace("lease = \"5s\"", "lease = \"1h\""));
    put(&google, 0, "a", &[order("o1"), pick_job("p1", "o1"), order("o2")]).await;
    let daemon = world.run();
    world.wait("the orders are set aside", |summary| summary.notices.quarantined == 1).await;
    world.write("accept", "");
    let (_, said) = world.try_say(&["quarantine", "release", "--all", "--yes"]).await;
    world.wait(&format!("it is released: {said}"), |summary| summary.notices.finished == 1).await;
    daemon.stop().await;
    let notices = world.notices().await;
    assert_eq!((notices.len(), notices[0].state), (1, NoticeState::Finished));
    assert_eq!(world.delivered(), BTreeMap::from([("p1".to_owned(), 1)]));
    let orders = std::fs::read_to_string(world.path("orders")).expect("delivered");
    assert_eq!(orders, "{\"id\":\"o1\"}\n{\"id\":\"o2\"}\n");
}

/// Orders are refused for a missing parent, and let go by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_released_is_of_its_own_blob_type_still() {
    let parents = "sinks = [\"database\"]\nparents = [{ entity = \"pick-job\", key = \"/of\" }]\n\
                   missing_parent = \"quarantine\"\n[[route]]\nname = \"pick-jobs\"";
    let more = FAMILY.replacen("sinks = [\"database\"]\n[[route]]\nname = \"pick-jobs\"", parents, 1);
    let Some(google) = Google::start(TYPED, &more).await else { return };
    let world = &google.world;
    let orphan = event("order-created_event-v1", "{\"id\":\"o1\",\"of\":\"never\"}");
    put(&google, 0, "a", &[orphan, pick_job("p1", "o1")]).await;
    let daemon = world.run();
    world
        .wait("one is parked, one set aside", |summary| {
            summary.parked.records == 1 && summary.notices.with_withheld_records == 1
        })
        .await;
    world.say(&["quarantine", "release", "1/1", "--yes"]).await;
    // The order is known as an order once it is delivered, and its pick job follows.
    world.wait("nothing is parked", |summary| summary.parked.records == 0 && summary.notices.open == 0).await;
    daemon.stop().await;
    assert_eq!(
        (&tables(world)["orders"][..], &tables(world)["pick-jobs"][..]),
        (&["o1".to_owned()][..], &["p1".to_owned()][..])
    );
    world.say(&["audit"]).await;
}
