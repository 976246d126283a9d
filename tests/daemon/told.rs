//! What a person is told, while the daemon runs.

use longshore::sandbox::PublishRequest;
use longshore::sandbox::sample::ugly::Ugly;

use crate::common::process::LIMIT;
use crate::common::vendor::World;

#[tokio::test(flavor = "multi_thread")]
async fn every_ugly_file_ends_in_a_state_that_is_listed_with_its_reason() {
    let world = World::new("[work]\nmissing_object_for = \"1s\"\nretry_min = \"100ms\"\nordering = \"none\"\n").await;
    for way in Ugly::ALL {
        world.sandbox.publish(PublishRequest::ugly(way).blob_type(format!("Ugly.{way:?}"))).await.expect("published");
    }
    let daemon = world.start(&["run"]);
    let count = Ugly::ALL.len() as u64;
    world.wait("all have ended", |summary| summary.notices.finished + summary.notices.quarantined == count).await;
    let listed = world.json(&["notices"]).await;
    daemon.stop().await;

    let notices = listed.as_array().or_else(|| listed["notices"].as_array()).expect("a list");
    let state_of = |way: Ugly| {
        let name = format!("Ugly.{way:?}");
        let notice = notices.iter().find(|notice| notice["blob_type"] == name.as_str());
        let notice = notice.unwrap_or_else(|| panic!("{name} is not listed"));
        (notice["state"].as_str().expect("a state").to_owned(), notice.to_string())
    };
    for way in Ugly::ALL {
        let (state, notice) = state_of(way);
        let expected = match way {
            Ugly::TruncatedGzip | Ugly::CorruptGzip | Ugly::UnknownType | Ugly::MissingBlob => "quarantined",
            _ => "finished",
        };
        assert_eq!(state, expected, "{way:?}: {notice}");
        assert_eq!(state == "quarantined", notice.contains("\"reason\""), "{way:?}: {notice}");
    }
    for way in [Ugly::BadLine, Ugly::LongLine] {
        let (_, notice) = state_of(way);
        assert!(notice.contains("\"quarantined\":1"), "{way:?}: {notice}");
        assert!(notice.contains("\"delivered\":100"), "{way:?}: {notice}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_is_told_and_told_again_after_a_replay_under_a_run_of_its_own() {
    let mut world = World::new("").await;
    world.publish(2, 20).await;
    let daemon = world.start(&["run"]);
    world.wait_finished(2).await;
    assert_eq!(world.files().len(), 2);

    // The source is told after the commit, and the worker may be quicker than that.
    let settled = |state: &longshore::sandbox::broker::BrokerState| format!("{state:?}").contains("completed: 2");
    world.sandbox.broker().wait_until(LIMIT, settled).await.expect("both are settled");
    daemon.stop().await;
    let daemon = world.start(&["run"]);
    let story = world.json(&["show", "1"]).await;
    assert_eq!(story["state"], "finished");
    assert_eq!(story["deliveries"][0]["progress"]["counts"]["delivered"], 20);
    assert!(story["settled"].is_string(), "{story}");

    let dry = world.say(&["replay", "1", "--dry-run"]).await;
    assert!(dry.contains("20 records"), "{dry}");
    assert_eq!(world.files().len(), 2, "a dry run delivers nothing");

    world.say(&["replay", "1", "--yes"]).await;
    world.wait("the replay is done", |summary| summary.last_day.deliveries == 3).await;
    assert_eq!(world.files().len(), 3, "a replay has a file of its own");
    let status = world.say(&["status"]).await;
    daemon.stop().await;
    assert!(status.contains("feed eg"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_whole_and_ends_in_78() {
    let world = World::new("").await;
    world.reconfigure(|text| text.replace("sinks = [\"files\"]", "sinks = [\"filse\"]") + "[wrok]\nworkers = 0\n");
    let (status, said) = world.start(&["run"]).end().await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains("filse") && said.contains("files") && said.contains("wrok") && said.contains("work"),
        "{said}"
    );
}
