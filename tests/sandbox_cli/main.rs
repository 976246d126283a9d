//! `longshore sandbox` as a person uses it.

#![cfg(feature = "sandbox")]

use longshore::config::{Config, FeedKind, Files};
use longshore::feed::drop::SourceSettings;
use longshore::sandbox::DaySpec;
use longshore::sandbox::sample::EventSpec;
use serde_json::Value;

#[path = "../common/mod.rs"]
mod common;
mod subscriptions;
mod world;

use common::net::client;
use common::process;
use world::{World, announced, ended, names, names_of, start, terminate, texts};

#[tokio::test]
async fn it_says_where_everything_is_writes_a_good_configuration_and_ends_on_term() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sandbox");
    let mut child = start(&dir, &["--publish", "5", "--tls"]);
    let control = announced(&mut child).await;

    let config = Config::load(&dir.join("longshore.toml"), Files::Checked).expect("a good configuration");
    assert!(config.warnings.is_none());
    assert_eq!((config.feeds.len(), config.sinks.len()), (4, 1));

    let state: Value =
        client().get(format!("{control}state")).send().await.expect("answered").json().await.expect("JSON");
    assert_eq!(state["broker"]["subscriptions"]["fileexport/Subscriptions/longshore"]["active"], 5);
    assert_eq!(state["vendor"]["blobs"], 5);

    terminate(&child);
    assert_eq!(ended(child).await, (Some(0), String::new()));
}

#[tokio::test]
async fn it_leaves_a_configuration_alone_that_is_not_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("longshore.toml");
    std::fs::write(&config, "# mine\n").expect("written");
    let (code, said) = ended(start(folder.path(), &[])).await;
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("was not written by the sandbox"), "{said}");
    assert_eq!(std::fs::read_to_string(&config).expect("there"), "# mine\n");

    std::fs::remove_file(&config).expect("removed");
    for _ in 0..2 {
        let mut child = start(folder.path(), &[]);
        announced(&mut child).await;
        terminate(&child);
        assert_eq!(ended(child).await.0, Some(0), "its own configuration is written again");
    }
}

#[tokio::test]
async fn a_days_zip_that_grew_is_delivered_whole_and_once_by_the_written_configuration() {
    let (world, daemon) = World::start().await;
    let body = r#"{"date": "2026-11-22", "rows": 40, "broken_rows": 2, "arrival": "growing", "pause_ms": 200}"#;
    let dropped = world.post("drop", body).await;
    let rows = dropped["rows"].as_u64().expect("a number");
    let delivered = world.wait_delivered(usize::try_from(rows).expect("few"), &daemon).await;
    let spec = DaySpec { rows: 40, broken_rows: 2, ..DaySpec::new("2026-11-22".parse().expect("a date")) };
    assert_eq!(texts(&delivered, "/eventId"), spec.event_ids().collect::<Vec<_>>());
    assert!(delivered.iter().any(|record| record.pointer("/Payload/मूल्य").is_some()));
    daemon.stop().await;
}

#[tokio::test]
async fn the_configuration_names_the_same_folders_wherever_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = process::bare(&["--log-level", "warn", "sandbox", "--dir", "./sandbox"]);
    command.current_dir(folder.path());
    let mut child = world::spawn(command);
    announced(&mut child).await;
    let config = Config::load(&folder.path().join("sandbox/longshore.toml"), Files::Checked).expect("a configuration");
    let drops: Vec<_> = config.feeds.iter().filter(|feed| feed.name.as_str() == "drop").collect();
    let FeedKind::Drop { settings } = &drops[0].kind else { panic!("the daily zips are no drop") };
    let SourceSettings::Directory(source) = &settings.source else { panic!("they lie in no folder") };
    assert_eq!(*source, folder.path().canonicalize().expect("there").join("sandbox/drop"));
    terminate(&child);
    assert_eq!(ended(child).await.0, Some(0));
}

#[tokio::test]
async fn the_files_of_a_day_are_delivered_once_though_listing_and_download_break_off() {
    let (world, daemon) = World::start().await;
    world.post("bucket/list-faults", r#"{"pages": 4}"#).await;
    world.post("bucket/faults", r#"{"fault": "cut", "after": 500, "requests": 1}"#).await;
    for first in [0, 60] {
        world.post("bucket/publish", &format!(r#"{{"first": {first}, "events": 60}}"#)).await;
    }
    let delivered = world.wait_delivered(120, &daemon).await;
    let expected: Vec<String> = EventSpec::new(0, 120).iter().map(|event| event.export_id()).collect();
    assert_eq!(texts(&delivered, "/id"), expected);
    daemon.stop().await;
}

#[tokio::test]
async fn an_event_that_arrives_twice_and_one_that_came_while_nobody_listened_are_delivered_once() {
    let (world, daemon) = World::start_with(&["--webhook-speed", "200"]).await;
    world.subscriptions(&["apply", "--yes"], 0).await;
    world.post("send", r#"{"events": 4, "times": 2}"#).await;
    world.wait_delivered(4, &daemon).await;
    daemon.stop().await;
    world.post("send", r#"{"first": 4, "events": 4}"#).await;
    world.wait_webhook("/retrying", 4).await;
    let daemon = world.run();
    world.wait_webhook("/answered", 12).await;
    // The fifth event's payload is a list of two, the seventh's a bare text.
    let delivered = world.wait_delivered(9, &daemon).await;
    assert_eq!(names(&delivered), names_of([EventSpec::new(0, 8)]));
    daemon.stop().await;
}

#[tokio::test]
async fn the_demo_of_all_feeds_loses_nothing_and_doubles_nothing_and_accounts_for_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("demo").display().to_string();
    let arguments = ["demo", "--feed", "all", "--files", "8", "--records", "800", "--dir", &dir, "--json"];
    let output = process::output(process::bare(&arguments)).await;
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"));
    assert!(output.status.success(), "{outcome}");
    assert_eq!((&outcome["lost"], &outcome["duplicated"], &outcome["parked"]), (&0.into(), &0.into(), &0.into()));
    let feeds = outcome["feeds"].as_object().expect("an object");
    assert_eq!(feeds.keys().collect::<Vec<_>>(), ["bucket", "drop", "eg", "webhook"]);
    let number = |value: &Value| value.as_u64().expect("a number");
    for (name, feed) in feeds {
        let records = &feed["records"];
        let parts = ["delivered", "filtered", "parked", "quarantined"].map(|part| number(&records[part]));
        assert!(
            number(&records["read"]) > 0 && number(&records["read"]) == parts.iter().sum::<u64>(),
            "{name}: {feed}"
        );
        assert_eq!((&feed["lost"], &feed["duplicated"]), (&0.into(), &0.into()), "{name}: {feed}");
    }
    for pointer in ["/notices", "/records/read", "/records/delivered", "/records/quarantined"] {
        let sum: u64 = feeds.values().map(|feed| number(feed.pointer(pointer).expect("a count"))).sum();
        assert_eq!(sum, number(outcome.pointer(pointer).expect("a count")), "{pointer} in {outcome}");
    }
    // Four files and one of them again; five CSVs a day, two rows broken; ten events and one body that is no JSON.
    assert_eq!(
        (&feeds["bucket"]["notices"], &feeds["drop"]["notices"], &feeds["webhook"]["notices"]),
        (&5.into(), &10.into(), &11.into())
    );
    assert_eq!(feeds["drop"]["records"]["quarantined"], 2);
    // The zip that came again, an event, and three announcements.
    assert_eq!(outcome["notices_duplicate"], 5 + 1 + 3);
}
