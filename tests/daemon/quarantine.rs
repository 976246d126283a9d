//! What was set aside, and what a person decides about it, by the real binary.

use longshore::inbox::ledger::Summary;
use longshore::ops::health::{Condition, Part};
use longshore::sandbox::PublishRequest;
use longshore::sandbox::sample::ugly::Ugly;
use serde_json::Value;

use crate::common::vendor::World;

fn json(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_shown_exported_released_and_discarded() {
    let world = World::new("[work]\nretry_min = \"100ms\"\n").await;
    world.sandbox.publish(PublishRequest::ugly(Ugly::BadLine)).await.expect("published");
    world.sandbox.publish(PublishRequest::ugly(Ugly::UnknownType)).await.expect("published");
    let daemon = world.start(&["run"]);
    world.wait("both have ended", |summary| summary.notices.finished + summary.notices.quarantined == 2).await;

    let groups = world.json(&["quarantine", "--by", "what"]).await;
    assert_eq!(groups.as_array().expect("groups").len(), 2, "{groups}");
    let listed = world.json(&["quarantine", "list"]).await;
    let thing = |is_record: bool| {
        let all = listed.as_array().expect("a list").iter();
        all.clone().find(|thing| thing["record"].is_u64() == is_record).expect("one of each").clone()
    };
    let (record, whole) = (thing(true), thing(false));
    let record_name = format!("{}/{}", record["notice"], record["record"]);
    let whole_name = whole["notice"].to_string();
    let raw = world.say(&["quarantine", "show", &record_name, "--raw"]).await;
    assert_eq!(raw.len() as u64, record["bytes_kept"].as_u64().expect("bytes"));

    let file = world.config.with_file_name("export.jsonl");
    let path = file.to_str().expect("a path");
    world.say(&["quarantine", "export", "--output", path]).await;
    let exported = std::fs::read_to_string(&file).expect("the export");
    assert_eq!(exported.lines().count(), 2);
    assert!(exported.lines().any(|line| json(line)["text"] == raw.as_str()), "{exported}");

    // Nothing was mended, so that it comes back.
    let released = world.json(&["quarantine", "release", &whole_name]).await;
    assert_eq!(released["deliveries"], 1, "{released}");
    world.wait("it is set aside again", |summary| summary.notices.quarantined == 1).await;
    let story = world.json(&["show", &whole_name]).await;
    let history = story["deliveries"][0]["history"].as_array().expect("its attempts");
    assert_eq!(history.len(), 2, "it was tried again as the same delivery: {story}");

    let discarded = world.json(&["quarantine", "discard", "--all", "--yes"]).await;
    assert_eq!((&discarded["deliveries"], &discarded["records"]), (&Value::from(1), &Value::from(1)), "{discarded}");
    assert_eq!(world.say(&["quarantine"]).await, "nothing is set aside\n");
    let (status, said) = world.try_say(&["quarantine", "release", &whole_name]).await;
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.contains("nothing of what is named is in quarantine"), "{said}");
    let summary = world.wait("nothing is held back", |summary| summary.notices.with_withheld_records == 0).await;
    assert_eq!((summary.notices.quarantined, summary.notices.skipped, summary.notices.finished), (0, 1, 1));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_stop_a_poison_file_holds_up_its_own_lane_until_somebody_decides() {
    let mut world = World::new("[work]\non_poison = \"stop\"\nretry_min = \"100ms\"\n").await;
    world.sandbox.publish(PublishRequest::ugly(Ugly::CorruptGzip).blob_type("Gateway.Ugly")).await.expect("published");
    world.sandbox.publish(PublishRequest::ugly(Ugly::BadLine).blob_type("Gateway.Ugly")).await.expect("published");
    world.publish(2, 10).await;
    let daemon = world.start(&["run"]);
    let is_told = |summary: &Summary| {
        let parts = summary.daemons.iter().flat_map(|daemon| &daemon.parts);
        let is_degraded = |part: &Part| part.name == "order" && matches!(part.condition, Condition::Degraded { .. });
        parts.into_iter().any(is_degraded)
    };
    let stands_still = |summary: &Summary| {
        (summary.notices.finished, summary.notices.quarantined, summary.notices.open) == (2, 1, 1) && is_told(summary)
    };
    world.wait("the others are done and the lane stands still", stands_still).await;
    let status = world.say(&["status"]).await;
    assert!(status.contains("gateway.ugly") && status.contains("longshore quarantine"), "{status}");
    daemon.stop().await;

    let (status, said) = world.try_say(&["work", "--until-empty"]).await;
    assert_eq!(status.code(), Some(75), "what is left waits for a person:\n{said}");
    assert!(said.contains("in 1 lane"), "{said}");

    world.say(&["quarantine", "discard", "--blob-type", "Gateway.Ugly", "--only", "notices", "--yes"]).await;
    world.say(&["work", "--until-empty"]).await;
    let summary = world.wait_finished(3).await;
    assert_eq!((summary.notices.open, summary.notices.quarantined), (0, 0), "the neighbour has gone on");
}
