//! Missing parents as a user meets them: records that wait, what the screens say of them, and how they get on again.

#![cfg(feature = "sandbox")]

mod common;

use std::process::Output;

use bytes::Bytes;
use common::place::Place;
use common::process;
use longshore::clock::{Clock as _, SystemClock};
use longshore::inbox::Inbox as _;
use longshore::notice::{FeedName, HeardNotice, Metadata, Verdict};
use serde_json::Value;

const CONFIG: &str = r#"
[[feed]]
name = "netcore"
type = "drop"
source = "drop"

[[entity]]
name = "item"
blob_types = ["Items"]
key = { sku = "/sku", ean = "EAN code" }

[[route]]
name = "items"
blob_types = ["Items"]
sinks = ["shop"]

[[route]]
name = "prices"
blob_types = ["Prices"]
sinks = ["shop"]
parents = [{ entity = "item", key = { sku = "/item", ean = "/ean" } }]

[[sink]]
name = "shop"
type = "sqlite"
path = "shop.db"
key = { items = "/sku", prices = "/id" }

[inbox]
path = "inbox.db"
"#;

struct World(Place);

crate::is_a_place!(World, 0);

impl World {
    fn new() -> Self {
        let place = Place::new();
        std::fs::create_dir(place.path("drop")).expect("a folder");
        place.configure(CONFIG);
        Self(place)
    }

    /// Stores a notice whose body is `lines`, as a feed does, and works until nothing is left to do.
    async fn deliver(&self, blob_type: &str, lines: &str) {
        let heard = HeardNotice {
            feed: FeedName::new("netcore"),
            dedupe_key: format!("{blob_type} {lines}"),
            metadata: Metadata {
                blob_type: blob_type.to_owned(),
                content_type: Some("application/x-jsonlines".to_owned()),
                ..Metadata::default()
            },
            body: Some(Bytes::copy_from_slice(lines.as_bytes())),
            published: SystemClock.now(),
            sequence: 1,
            delivery_count: 0,
            verdict: Verdict::Accepted,
        };
        self.inbox().store(vec![heard]).await.expect("stored");
        self.work().await;
    }

    async fn work(&self) {
        self.say(&["work", "--until-empty"]).await;
    }

    /// The keys of the rows that a table of the shop holds.
    fn rows(&self, table: &str) -> Vec<String> {
        let database = rusqlite::Connection::open(self.path("shop.db")).expect("the shop");
        let mut query = database.prepare(&format!("SELECT key FROM {table} ORDER BY key")).expect("a table");
        query.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("keys")
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_price_waits_for_its_item_is_told_of_and_goes_on_when_the_item_lands() {
    let world = World::new();
    world.deliver("Prices", "{\"id\":1,\"item\":7}\n{\"id\":2}\n{\"id\":3,\"ean\":\"40\"}\n").await;
    assert_eq!(world.rows("prices"), ["2"], "the rest of the file goes on");

    let groups = world.json(&["parked"]).await;
    let missing: Vec<&str> =
        groups.as_array().expect("groups").iter().filter_map(|it| it["missing"].as_str()).collect();
    assert_eq!((missing.len(), missing.contains(&"item sku=7"), missing.contains(&"item ean=40")), (2, true, true));
    assert!(text(&world.output(&["parked", "list"]).await).contains("item sku=7"));
    assert!(text(&world.output(&["status"]).await).contains("2 records"));
    assert_eq!(world.json(&["status"]).await["parked"]["records"], 2);
    assert!(text(&world.output(&["show", "1"]).await).contains("longshore parked list 1"));
    assert_eq!(world.json(&["entities"]).await[0]["keys"], 0);

    world.deliver("Items", "{\"sku\":\"7\",\"EAN code\":\"40\"}\n").await;
    world.work().await;
    assert_eq!(world.rows("prices"), ["1", "2", "3"]);
    assert_eq!(text(&world.output(&["parked"]).await), "nothing is parked\n");
    assert_eq!(world.json(&["entities", "known", "7"]).await["sinks"][0]["by"], serde_json::json!(["sku"]));
    assert_eq!(world.output(&["audit"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn a_person_can_let_records_go_and_is_asked_first() {
    let world = World::new();
    world.deliver("Prices", "{\"id\":1,\"item\":7}\n{\"id\":2,\"item\":8}\n").await;
    for unclear in [&["parked", "release"][..], &["parked", "release", "--all", "--missing", "7"]] {
        assert_eq!(world.output(unclear).await.status.code(), Some(64));
    }
    let unasked = world.output(&["parked", "release", "--missing", "sku=7"]).await;
    assert_eq!(unasked.status.code(), Some(64), "nobody can be asked here");
    assert!(text(&world.output(&["parked", "release", "--all", "--dry-run"]).await).contains("2 records would be"));
    assert!(world.rows("prices").is_empty());

    assert_eq!(world.json(&["parked", "release", "--missing", "sku=7", "--yes"]).await["records"], 1);
    world.work().await;
    assert_eq!(world.rows("prices"), ["1"]);
    assert_eq!(world.json(&["parked"]).await[0]["missing"], "item sku=8");
}

#[tokio::test]
async fn keys_of_a_database_that_already_holds_the_parents_can_be_imported_from_any_form() {
    let world = World::new();
    world.deliver("Prices", "{\"id\":1,\"item\":7}\n{\"id\":2,\"item\":8}\n{\"id\":3,\"ean\":\"99\"}\n").await;
    let import = async |name: &str, content: &str, more: &[&str]| {
        let path = world.path(name);
        std::fs::write(&path, content).expect("written");
        let file = path.display().to_string();
        // It ends in 65 where a record has no key.
        json(&world.output(&[&["entities", "import", &file, "--sink", "shop", "--json"][..], more].concat()).await)
    };
    let keys = import("keys.txt", "7\n\n7\n123\n", &["--key", "sku"]).await;
    assert_eq!((&keys["read"], &keys["new"], &keys["without_key"]), (&3.into(), &2.into(), &0.into()));
    let rows = import("items.csv", "name;EAN code\nA;99\nB;\n", &[]).await;
    assert_eq!((&rows["new"], &rows["without_key"], &rows["first_without_key"][0]), (&1.into(), &1.into(), &2.into()));
    let lines = import("items.jsonl", "{\"sku\":8,\"EAN code\":\"98\"}\n{oops\n", &[]).await;
    assert_eq!((&lines["new"], &lines["without_key"]), (&2.into(), &1.into()));
    assert_eq!(import("items.jsonl", "{\"sku\":8}\n", &[]).await["new"], 0, "it can be run again");
    world.work().await;
    assert_eq!(world.rows("prices"), ["1", "2", "3"]);

    let nowhere = world.output(&["entities", "import", "/nowhere.jsonl", "--sink", "shop"]).await;
    assert_eq!(nowhere.status.code(), Some(74), "{nowhere:?}");
    assert_eq!(world.output(&["entities", "import", "x", "--sink", "shp"]).await.status.code(), Some(64));
    assert_eq!(world.output(&["entities", "known", "1", "2"]).await.status.code(), Some(64));
}

#[tokio::test]
async fn the_demo_publishes_children_first_and_leaves_none_parked() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("demo").display().to_string();
    let arguments = ["demo", "--files", "12", "--records", "600", "--dir", &place, "--json"];
    let output = process::output(process::bare(&arguments)).await;
    let outcome = json(&output);
    for none in ["lost", "duplicated", "parked"] {
        assert_eq!(outcome[none], 0, "{none} in {outcome}");
    }
    assert!(outcome["woken"].as_u64().is_some_and(|woken| woken > 0), "{outcome}");
    assert!(output.status.success());
}
