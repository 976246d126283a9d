//! A webhook that did not bring everything, healed from the export: each event reaches the sink once, and the gap of each
//! day is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::common::net::{client, free_address};
use crate::common::process::Daemon;
use crate::google::Google;
use crate::world::{World, days_ago, gzip};

const TYPED: &str = "backfill = \"5d\"\nblob_type = \"fft.export\"\nblob_type_from = \"record\"\n\
     record_blob_type = \"/eventName\"\nrecord = \"/payload\"";

/// What the webhook calls `ORDER_CREATED` is `order-created_event` to the export.
const BOTH: &str = r#"
[[feed]]
name = "fft"
type = "webhook"
listen = "{address}"
secret_file = "{folder}/secret"
[[reconcile]]
export = "export"
webhook = "fft"
names = { ORDER_CREATED = "order-created_event", ORDER_CANCELLED = "order-cancelled_event" }
settle_after = "{settle}"
[[route]]
name = "orders"
blob_types = ["ORDER_*", "order-*"]
sinks = ["files"]
[[sink]]
name = "files"
type = "directory"
path = "out"
"#;

struct Vendor {
    google: Google,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Vendor {
    async fn start(settle: &str) -> Option<Self> {
        let address = free_address();
        let more = BOTH.replace("{address}", &address.to_string()).replace("{settle}", settle);
        let google = Google::start(TYPED, &more).await?;
        google.world.write("secret", "Bearer it\n");
        Some(Self { google, address, http: client() })
    }

    fn world(&self) -> &World {
        &self.google.world
    }

    async fn run(&self) -> Daemon {
        let daemon = self.world().run();
        daemon.listens(self.address).await;
        daemon
    }

    /// Posts an event; its id has nothing to do with that of the export.
    async fn post(&self, event: &str, payload: Value) {
        let body = json!({ "event": event, "eventId": format!("w-{event}-{payload}"), "payload": payload });
        let post = self.http.post(format!("http://{}/events", self.address)).header("Authorization", "Bearer it");
        let answer = post.body(body.to_string()).send().await.expect("answered");
        assert_eq!(answer.status(), 200);
    }

    /// Writes a day's export.
    async fn export(&self, days: i64, name: &str, lines: &[String]) {
        let key = format!("{}/{name}.jsonl.gz", days_ago(days));
        self.google.server.put_google(&key, gzip(&lines.concat())).await;
    }

    /// What is said about each day: how much was known, and how much missing.
    async fn gaps(&self) -> BTreeMap<String, (u64, u64)> {
        let said = self.world().json(&["reconcile"]).await;
        let days = said[0]["days"].as_array().expect("days");
        let count = |day: &Value, name: &str| day[name].as_u64().expect("a number");
        days.iter()
            .map(|day| (day["day"].as_str().expect("a day").to_owned(), (count(day, "known"), count(day, "missing"))))
            .collect()
    }
}

fn order(day: i64, n: u32) -> Value {
    json!({ "id": format!("{day}-{n}"), "version": 1 })
}

fn line(event: &str, payload: &Value) -> String {
    let line = json!({ "id": format!("x-{payload}"), "eventName": event, "payload": payload, "created": "2026-11-24" });
    format!("{line}\n")
}

/// Orders of a day.
const ORDERS: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_webhook_did_not_bring_is_delivered_from_the_export_once_and_the_gap_is_told() {
    let Some(vendor) = Vendor::start("0s").await else { return };
    let world = vendor.world();
    let daemon = vendor.run().await;
    // The webhook brings six of ten, and the second version of one of them.
    for day in [1, 2] {
        for n in (0..ORDERS).filter(|n| n % 10 < 6) {
            vendor.post("ORDER_CREATED", order(day, n)).await;
        }
    }
    world.wait_finished(60).await;
    for day in [1, 2] {
        let mut lines: Vec<String> = (0..ORDERS).map(|n| line("order-created_event-v1", &order(day, n))).collect();
        // Twice in one file, and of a kind that is not compared.
        lines.push(line("order-created_event-v1", &order(day, 9)));
        lines.push(line("stow-job-created_event-v1", &json!({ "id": "s" })));
        vendor.export(day, "all", &lines).await;
    }
    world.wait_finished(62).await;
    let all = |day| (0..ORDERS).map(move |n| (format!("{day}-{n}"), 1));
    assert_eq!(world.delivered(), all(1).chain(all(2)).collect());
    let per_day = |day| (days_ago(day), (31, 20));
    assert_eq!(vendor.gaps().await, BTreeMap::from([per_day(1), per_day(2)]));
    world.say(&["audit"]).await;
    let status = world.say(&["status"]).await;
    let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = format!("export against fft: {} 20 of 51 were missing (orders to files)", days_ago(1));
    assert!(status.contains(&told), "{status}");
    // The vendor writes a day anew, with one event more; the daemon dies over it.
    let more = |n| line("order-created_event-v1", &order(1, n));
    let padding = (0..400).map(|n| line(&format!("stow-job-{}_event", fastrand::u64(..)), &json!({ "id": n })));
    vendor.google.front.hold_bodies(3_000);
    vendor.export(1, "all", &(0..=ORDERS).map(more).chain(padding).collect::<Vec<_>>()).await;
    vendor.google.front.struck(1).await;
    daemon.kill().await;
    vendor.google.front.be_good();
    let daemon = vendor.run().await;
    world.wait_finished(63).await;
    daemon.stop().await;
    let one_more = std::iter::once((format!("1-{ORDERS}"), 1));
    assert_eq!(world.delivered(), all(1).chain(all(2)).chain(one_more).collect());
    assert_eq!(vendor.gaps().await[&days_ago(1)], (81, 21));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_waits_for_events_that_are_still_on_their_way() {
    let Some(vendor) = Vendor::start("30s").await else { return };
    let world = vendor.world();
    let daemon = vendor.run().await;
    vendor
        .export(0, "all", &[line("order-created_event-v1", &order(0, 1)), line("order-created_event-v1", &order(0, 2))])
        .await;
    world.wait("it is put off", |summary| summary.notices.open == 1).await;
    // Late, but not lost.
    vendor.post("ORDER_CREATED", order(0, 1)).await;
    world.wait_finished(2).await;
    daemon.stop().await;
    assert_eq!(world.delivered(), BTreeMap::from([("0-1".to_owned(), 1), ("0-2".to_owned(), 1)]));
    assert_eq!(vendor.gaps().await, BTreeMap::from([(days_ago(0), (1, 1))]));
    let told = world.say(&["show", "1"]).await;
    assert!(told.contains("may still bring"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_with_an_end_does_what_can_be_done_and_says_until_when_the_rest_waits() {
    let Some(vendor) = Vendor::start("3d").await else { return };
    let world = vendor.world();
    let daemon = vendor.run().await;
    vendor.export(0, "all", &[line("order-created_event-v1", &order(0, 1))]).await;
    world.wait("it is heard", |summary| summary.notices.open == 1).await;
    daemon.stop().await;
    let listener = world.start(&["listen"]);
    listener.listens(vendor.address).await;
    vendor.post("ORDER_CREATED", order(0, 2)).await;
    listener.stop().await;
    let (status, said) = world.try_say(&["work", "--until-empty"]).await;
    assert_eq!(status.code(), Some(75), "{said}");
    let told = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("what is left waits, until 20") && told.contains("(in 2 d"), "{told}");
    assert!(told.contains("orders: 1 delivery; the feed fft may still bring what it holds"), "{told}");
    assert_eq!(world.delivered(), BTreeMap::from([("0-2".to_owned(), 1)]), "what could be done is done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_stands_in_two_batches_of_a_file_is_delivered_once_and_one_without_a_name_is_not_lost() {
    for (keys, nameless) in [("", 1), ("nameless = \"leave-out\"\n", 0)] {
        let Some(vendor) = Vendor::start("0s").await else { return };
        let world = vendor.world();
        world.reconfigure(|text| {
            let text = text.replace("settle_after", &format!("{keys}settle_after"));
            text.replace("path = \"out\"", "path = \"out\"\nbatch_records_max = 10")
        });
        let mut lines: Vec<String> = (0..ORDERS).map(|n| line("order-created_event-v1", &order(0, n))).collect();
        // At once behind its batch, and far behind it.
        lines.insert(12, line("order-created_event-v1", &order(0, 3)));
        lines.push(line("order-created_event-v1", &order(0, 1)));
        lines.push(line("order-cancelled_event-v1", &json!({ "version": 1, "more": { "id": "no-id" } })));
        vendor.export(0, "all", &lines).await;
        let daemon = vendor.run().await;
        world.wait_finished(1).await;
        daemon.stop().await;
        let delivered: Vec<String> = world.lines();
        let twice = |n| delivered.iter().filter(|line| line.contains(&format!("\"0-{n}\""))).count();
        assert!((0..ORDERS).all(|n| twice(n) == 1), "{delivered:#?}");
        assert_eq!(delivered.iter().filter(|line| line.contains("no-id")).count(), nameless);
        world.say(&["audit"]).await;
    }
}
