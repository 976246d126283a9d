//! Google's store: fake-gcs-server behind a front that takes only tokens of the service account.

use longshore::inbox::ledger::Summary;

use crate::common::place::ALL;
use crate::front::Front;
use crate::key::ServiceKey;
use crate::servers::Server;
use crate::world::{World, days_ago, file};

pub struct Google {
    pub server: Server,
    pub front: Front,
    pub world: World,
}

impl Google {
    /// `None` where the server is not installed.
    pub async fn start(feed: &str, more: &str) -> Option<Self> {
        let server = Server::google().await?;
        let front = Front::strict(&server.base).await;
        let keys = format!("provider = \"gcs\"\nkey_file = \"key.json\"\nendpoint = {:?}\n{feed}", front.base());
        let world = World::new(&keys, more);
        let key = ServiceKey::new("first");
        key.write(&world.path("key.json"));
        front.keys().only(&key);
        Some(Self { server, front, world })
    }

    /// Writes a day's file; its records are named after it.
    pub async fn put(&self, days: i64, name: &str) {
        self.server.put_google(&format!("{}/{name}.jsonl.gz", days_ago(days)), file(name)).await;
    }
}

fn feed_says(summary: &Summary, what: &str) -> bool {
    format!("{:?}", summary.daemons).contains(what)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_takes_ninety_days_and_later_looks_find_late_and_rewritten_objects() {
    let Some(google) = Google::start("", ALL).await else { return };
    let Google { front, world, .. } = &google;
    for (days, name) in [(95, "gone"), (89, "old"), (40, "a"), (40, "b"), (40, "c"), (1, "yesterday"), (0, "today")] {
        google.put(days, name).await;
    }
    let checked = world.say(&["check", "--connect"]).await;
    assert!(checked.contains("the bucket can be listed"), "{checked}");
    front.listed();
    let daemon = world.run();
    world.wait_finished(6).await;
    // An object that came late to a day that was listed before, and one with other content under an old name.
    google.put(2, "late").await;
    let rewritten = format!("{}/yesterday.jsonl.gz", days_ago(1));
    google.server.put_google(&rewritten, file("yesterday-again")).await;
    world.wait_finished(8).await;
    daemon.stop().await;
    world.assert_each_once(&["old", "a", "b", "c", "yesterday", "today", "late", "yesterday-again"]);
    let listed = front.listed();
    let of_one = format!("prefix={}%2F", days_ago(40));
    assert!(
        listed.iter().filter(|query| query.contains(&of_one)).count() >= 2,
        "three objects are two pages: {listed:?}"
    );
    assert!(listed.iter().all(|query| query.contains("prefix=20")), "never the whole bucket: {listed:?}");
    // The next process remembers: nothing is new to it, and the backfill is not listed again.
    let daemon = world.run();
    world.wait("it has looked", |summary| feed_says(summary, "0 new of")).await;
    daemon.stop().await;
    assert!(!front.listed().iter().any(|query| query.contains(&of_one)));
    assert_eq!(world.notices().await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_rewritten_before_it_is_delivered_is_delivered_as_it_is_now() {
    let Some(google) = Google::start("", ALL).await else { return };
    let Google { world, server, .. } = &google;
    google.put(1, "first").await;
    let hearing = world.start(&["listen"]);
    world.wait("it is heard", |summary| summary.notices.heard == 1).await;
    hearing.stop().await;
    server.put_google(&format!("{}/first.jsonl.gz", days_ago(1)), file("second")).await;
    let daemon = world.run();
    world.wait_finished(2).await;
    daemon.stop().await;
    world.assert_each_once(&["second"]);
    let old = world.notices().await.remove(0);
    let told = world.say(&["show", &old.id.0.to_string()]).await;
    assert!(told.contains("rewritten") || told.contains("replaced"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_while_it_runs_is_used_at_once() {
    let Some(google) = Google::start("", ALL).await else { return };
    let Google { front, world, .. } = &google;
    google.put(0, "before").await;
    let daemon = world.run();
    world.wait_finished(1).await;
    let second = ServiceKey::new("second");
    front.keys().only(&second);
    front.refused().await;
    google.put(0, "after").await;
    world.wait("it says so", |summary| feed_says(summary, "refuses us")).await;
    assert_eq!(world.notices().await.len(), 1, "nothing is heard under a key that is not in force");
    let (_, said) = world.try_say(&["check", "--connect"]).await;
    assert!(said.contains("look at the key's file"), "{said}");
    second.write(&world.path("key.json"));
    world.wait_finished(2).await;
    daemon.stop().await;
    world.assert_each_once(&["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_breaks_in_mid_page_is_begun_anew_and_loses_nothing() {
    let Some(google) = Google::start("backfill = \"5d\"", ALL).await else { return };
    let Google { front, world, .. } = &google;
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        google.put(4, name).await;
    }
    // The first day has three pages, and the second one breaks.
    front.break_page(1);
    let daemon = world.run();
    front.struck(1).await;
    world.wait_finished(5).await;
    daemon.stop().await;
    world.assert_each_once(&names);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_in_mid_file_costs_no_record_and_doubles_none() {
    let Some(google) = Google::start("", ALL).await else { return };
    let Google { front, world, .. } = &google;
    google.put(0, "a").await;
    google.put(0, "b").await;
    // More often than the library tries by itself.
    front.break_bodies(1_000, 6);
    let daemon = world.run();
    front.struck(6).await;
    world.wait_finished(2).await;
    daemon.stop().await;
    world.assert_each_once(&["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_in_mid_file_and_in_mid_listing_goes_on_where_it_was() {
    let Some(google) = Google::start("backfill = \"5d\"", ALL).await else { return };
    let Google { front, world, .. } = &google;
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        google.put(3, name).await;
    }
    front.hold_bodies(3_000);
    let daemon = world.run();
    front.struck(1).await;
    daemon.kill().await;
    front.break_page(3);
    let daemon = world.run();
    front.struck(1).await;
    daemon.kill().await;
    front.be_good();
    let daemon = world.run();
    world.wait_finished(5).await;
    daemon.stop().await;
    world.assert_each_once(&names);
    assert_eq!(world.notices().await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bucket_holds_is_told_and_any_object_can_be_taken_by_hand_once() {
    let Some(google) = Google::start("backfill = \"5d\"", ALL).await else { return };
    let Google { world, .. } = &google;
    google.put(1, "yesterday").await;
    google.put(200, "ancient").await;
    let daemon = world.run();
    world.wait_finished(1).await;
    daemon.stop().await;
    google.put(0, "today").await;
    let listed = world.json(&["feed", "list", "export"]).await;
    let objects = listed.as_array().expect("days").iter().flat_map(|day| day["objects"].as_array().expect("objects"));
    let told: Vec<_> = objects.map(|object| (object["path"].clone(), object["state"].clone())).collect();
    let today = (format!("{}/today.jsonl.gz", days_ago(0)).into(), serde_json::Value::Null);
    let yesterday = (format!("{}/yesterday.jsonl.gz", days_ago(1)).into(), "finished".into());
    assert_eq!(told, [today, yesterday]);
    let ancient = format!("{}/ancient.jsonl.gz", days_ago(200));
    world.say(&["feed", "fetch", "export", &ancient]).await;
    let heard = format!("{}/yesterday.jsonl.gz", days_ago(1));
    for taken in [&ancient, &heard] {
        let (status, said) = world.try_say(&["feed", "fetch", "export", taken]).await;
        assert!(status.code() == Some(65) && said.contains("--again"), "{said}");
    }
    let (status, said) = world.try_say(&["feed", "fetch", "export", "nothing.gz"]).await;
    assert!(!status.success() && said.contains("has no object"), "{said}");
    // The daemon delivers it, and its own look takes no second one.
    let daemon = world.run();
    world.wait_finished(3).await;
    world.assert_each_once(&["yesterday", "ancient", "today"]);
    world.say(&["feed", "fetch", "export", &ancient, "--again"]).await;
    world.wait_finished(4).await;
    daemon.stop().await;
    assert_eq!(world.delivered().values().filter(|times| **times == 2).count(), 400);
}
