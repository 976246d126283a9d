//! The feed over a folder of this machine.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::test_support::{World, ZIP, day, lay, until};
use super::*;
use crate::feed::Feed as _;
use crate::inbox::SharedInbox;
use crate::inbox::ledger::{Ledger, NoticeState, Retention};
use crate::ops::{Condition, Context};

#[tokio::test]
async fn each_file_of_a_zip_is_a_notice_with_its_own_blob_type_and_day() {
    let world = World::new();
    lay(&world.path(ZIP), &day(5));
    let running = world.run();
    let notices = world.heard(3).await;
    let seen: Vec<_> = notices.iter().map(|notice| (notice.blob_type.as_str(), notice.state)).collect();
    let expected = [
        ("add to cart", NoticeState::Heard),
        ("product purchase", NoticeState::Heard),
        ("ignored thing", NoticeState::Skipped),
    ];
    assert_eq!(seen, expected);
    assert!(notices.iter().all(|notice| notice.published.to_string() == "2022-01-01T00:00:00.000Z"), "{notices:?}");
    assert_eq!(world.content(notices[0].id).await, b"eventId,Payload.price\n1,5\n");
    let story = world.inbox.story(notices[0].id).await.expect("the inbox").expect("a story");
    let properties = story.metadata.properties.expect("properties");
    assert_eq!(properties["file"], ZIP);
    assert_eq!(properties["entry"], "add to cart_01012022.csv");
    assert_eq!(properties["date"], "2022-01-01");
    let uri = "drop:/netcore/Client%20ID_%2001012022.zip/add%20to%20cart_01012022.csv";
    assert_eq!(story.metadata.uri.as_deref(), Some(uri));
    until(async || {
        world.inbox.story(notices[0].id).await.is_ok_and(|story| story.is_some_and(|s| s.settled.is_some()))
    })
    .await;
    running.end().await;
    assert!(world.path(ZIP).exists());
}

#[tokio::test]
async fn the_same_content_again_is_a_duplicate_and_other_content_a_new_version() {
    let world = World::new();
    let running = world.run();
    lay(&world.path(ZIP), &day(5));
    let first = world.heard(3).await;
    lay(&world.path(ZIP), &day(5));
    until(async || world.counted("duplicate") == 1).await;
    lay(&world.path(ZIP), &day(6));
    let all = world.heard(6).await;
    assert_eq!(world.content(first[0].id).await, b"eventId,Payload.price\n1,5\n", "the old one is kept for a replay");
    assert_eq!(world.content(all[3].id).await, b"eventId,Payload.price\n1,6\n");
    // Not only stored, but written down as taken.
    until(async || world.counted("taken") == 2).await;
    running.end().await;
    // After a restart, what was left is remembered.
    let running = world.run();
    lay(&world.path("other.csv"), b"a\n1\n");
    world.heard(7).await;
    assert_eq!(world.counted("duplicate"), 1);
    running.end().await;
}

#[tokio::test]
async fn half_a_file_is_never_taken_and_the_rest_makes_it_whole() {
    let world = World::new();
    let whole = day(5);
    lay(&world.path(ZIP), &whole[..whole.len() - 30]);
    lay(&world.path("a.csv.part"), b"x");
    let running = world.run();
    until(async || world.counted("incomplete") > 0).await;
    assert_eq!(world.notices().await, []);
    assert_eq!(world.spooled(), 0);
    lay(&world.path(ZIP), &whole);
    world.heard(3).await;
    running.end().await;
}

#[tokio::test]
async fn a_file_that_never_becomes_whole_is_set_aside_and_stays_where_it_is() {
    let mut world = World::new();
    world.settings.incomplete_for = Duration::from_millis(50);
    world.settings.after = After::Delete;
    let whole = day(5);
    lay(&world.path(ZIP), &whole[..whole.len() - 30]);
    let running = world.run();
    let notices = world.heard(1).await;
    assert_eq!(notices[0].state, NoticeState::Quarantined);
    let story = world.inbox.story(notices[0].id).await.expect("the inbox").expect("a story");
    assert!(story.reason.expect("a reason").contains("not whole"));
    until(async || world.counted("quarantined") == 1).await;
    assert!(world.path(ZIP).exists());
    lay(&world.path(ZIP), &whole);
    world.heard(4).await;
    until(async || !world.path(ZIP).exists()).await;
    running.end().await;
}

#[tokio::test]
async fn a_stored_file_is_moved_or_deleted_and_nothing_is_overwritten_there() {
    let mut world = World::new();
    world.settings.after = After::Move("done".to_owned());
    let running = world.run();
    for content in ["a\n1\n", "a\n2\n"] {
        lay(&world.path("a.csv"), content.as_bytes());
        until(async || !world.path("a.csv").exists()).await;
    }
    let mut moved: Vec<_> =
        std::fs::read_dir(world.path("done")).expect("a folder").map(|e| e.unwrap().path()).collect();
    moved.sort();
    let contents: Vec<_> = moved.iter().map(|path| std::fs::read_to_string(path).expect("a file")).collect();
    assert_eq!(contents, ["a\n1\n", "a\n2\n"]);
    running.end().await;
    world.settings.after = After::Delete;
    lay(&world.path("b.csv"), b"a\n3\n");
    let running = world.run();
    until(async || !world.path("b.csv").exists()).await;
    world.heard(3).await;
    running.end().await;
}

#[tokio::test]
async fn a_move_that_was_cut_off_is_done_later_without_taking_the_file_again() {
    let mut world = World::new();
    world.settings.after = After::Move("done".to_owned());
    // A file stands where the folder is to be.
    std::fs::write(world.path("done"), b"").expect("written");
    world.settings.files = FileFilter::new(&["*.csv".to_owned()], &[]).expect("globs");
    lay(&world.path("a.csv"), b"a\n1\n");
    let running = world.run();
    world.heard(1).await;
    until(async || {
        world.context.health.parts().iter().any(|part| matches!(part.condition, Condition::Degraded { .. }))
    })
    .await;
    running.end().await;
    std::fs::remove_file(world.path("done")).expect("removed");
    let running = world.run();
    until(async || !world.path("a.csv").exists()).await;
    assert!(world.path("done/a.csv").exists());
    assert_eq!(world.heard(1).await[0].seen_count, 1);
    assert_eq!(world.counted("duplicate"), 0);
    running.end().await;
}

#[tokio::test]
async fn health_tells_how_many_files_are_waited_for() {
    let world = World::new();
    lay(&world.path("a.zip"), b"PK\x03\x04 half of it");
    let running = world.run();
    let said = |text: &str| world.context.health.parts().iter().any(|part| format!("{part:?}").contains(text));
    until(async || said("a file in it is not whole: `longshore feed list")).await;
    lay(&world.path("b.zip"), b"PK\x03\x04 half of it, too");
    until(async || said("2 files in it are not whole")).await;
    for name in ["a.zip", "b.zip"] {
        std::fs::remove_file(world.path(name)).expect("removed");
    }
    until(async || !said("not whole")).await;
    running.end().await;
}

#[tokio::test]
async fn a_file_with_a_marker_is_taken_once_the_marker_is_there() {
    let mut world = World::new();
    world.settings.marker = Some("{file}.done".to_owned());
    world.settings.after = After::Delete;
    lay(&world.path("a.csv"), b"a\n1\n");
    lay(&world.path("b.csv"), b"a\n1\n");
    lay(&world.path("b.csv.done"), b"");
    let running = world.run();
    assert_eq!(world.heard(1).await[0].blob_type, "b");
    until(async || !world.path("b.csv.done").exists()).await;
    assert!(world.path("a.csv").exists());
    running.end().await;
}

#[tokio::test]
async fn the_spool_keeps_what_a_notice_needs_and_no_more() {
    let world = World::new();
    lay(&world.path("ignored_01012022.csv"), b"a\n1\n");
    lay(&world.path("kept_01012022.csv"), b"a\n2\n");
    let running = world.run();
    world.heard(2).await;
    // Not only stored, but written down as taken.
    until(async || world.counted("taken") == 2).await;
    running.end().await;
    assert_eq!(world.spooled(), 2);
    // Skipped notices are pruned, those that wait are not.
    world.clock.advance(Duration::from_secs(1));
    let pruned =
        world.inbox.prune(Retention { age: Duration::ZERO, bytes: None, keys: Duration::ZERO }).await.expect("pruned");
    assert_eq!(pruned.notices, 1);
    let running = world.run();
    until(async || world.spooled() == 1).await;
    lay(&world.path("ignored_01012022.csv"), b"a\n1\n");
    until(async || world.counted("duplicate") == 1).await;
    assert_eq!(world.heard(1).await[0].blob_type, "kept", "what was pruned is not heard again");
    running.end().await;
}

#[tokio::test]
async fn columns_that_drift_are_told_and_delivered() {
    let world = World::new();
    let running = world.run();
    lay(&world.path("cart_01012022.csv"), b"eventId,Payload.a\n1,2\n");
    world.heard(1).await;
    lay(&world.path("cart_02012022.csv"), b"eventId,Payload.b\n1,2\n");
    let notices = world.heard(2).await;
    let story = world.inbox.story(notices[1].id).await.expect("the inbox").expect("a story");
    let drift = &story.metadata.properties.expect("properties")["drift"];
    assert_eq!(*drift, serde_json::json!({"added": ["Payload.b"], "removed": ["Payload.a"]}));
    assert_eq!(notices[1].state, NoticeState::Heard);
    running.end().await;
}

#[tokio::test]
async fn two_daemons_do_not_look_after_one_spool() {
    let world = World::new();
    let running = world.run();
    until(async || world.settings.spool.join("taken").exists()).await;
    let other = Context::new(Arc::new(world.clock.clone()));
    let feed = DropFeed::new(world.settings.clone(), other.clone());
    let (stop, inbox) = (CancellationToken::new(), Arc::clone(&world.inbox) as SharedInbox);
    let token = stop.clone();
    let second = tokio::spawn(async move { feed.run(inbox, token).await });
    until(async || {
        other
            .health
            .parts()
            .iter()
            .any(|part| matches!(&part.condition, Condition::Degraded { reason } if reason.contains("another process")))
    })
    .await;
    stop.cancel();
    second.await.expect("the feed ends");
    running.end().await;
}

#[tokio::test]
async fn what_is_late_is_an_alarm_until_it_comes() {
    let mut world = World::new();
    let by = jiff::civil::Time::constant(7, 0, 0, 0);
    world.settings.expect = Some(Expect { every: Every::Day, by, zone: TimeZone::UTC });
    let running = world.run();
    let is = |good: bool| {
        world.context.health.parts().into_iter().any(|part| {
            part.name == "arrivals of feed netcore" && matches!(part.condition, Condition::Good { .. }) == good
        })
    };
    until(async || is(true)).await;
    world.clock.advance(Duration::from_secs(2 * 3_600));
    until(async || is(false)).await;
    let metrics = world.context.metrics.encode().expect("text");
    assert!(metrics.contains("longshore_feed_late_days{source=\"netcore\"} 1"), "{metrics}");
    lay(&world.path(ZIP), &day(5));
    until(async || is(true)).await;
    running.end().await;
}
