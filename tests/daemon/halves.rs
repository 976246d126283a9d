//! Hearing and working, together and apart.

use crate::common::vendor::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_is_delivered_and_settled_once() {
    let mut world = World::new("").await;
    world.publish(6, 200).await;
    let daemon = world.start(&["run"]);
    let summary = world.wait_finished(6).await;
    daemon.stop().await;
    world.assert_each_record_once();
    assert_eq!((summary.last_day.counts.read, summary.last_day.counts.delivered), (1_200, 1_200));
    let broker = world.sandbox.state().broker;
    assert!(format!("{broker:?}").contains("completed: 6"), "{broker:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hearing_and_working_go_apart() {
    let mut world = World::new("").await;
    world.publish(3, 50).await;
    let listener = world.start(&["listen"]);
    world.wait("three notices are heard", |summary| summary.notices.heard == 3).await;
    assert!(world.files().is_empty(), "a listener delivers nothing");
    listener.stop().await;

    let (status, log) = world.start(&["work", "--until-empty"]).end().await;
    assert!(status.success(), "{log}");
    world.assert_each_record_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_and_a_worker_in_two_processes_share_the_inbox() {
    let mut world = World::new("").await;
    let listener = world.start(&["listen"]);
    let worker = world.start(&["work"]);
    world.publish(4, 50).await;
    world.wait_finished(4).await;
    listener.stop().await;
    worker.stop().await;
    world.assert_each_record_once();
}

/// As the README runs them: one configuration, whose address of health and metrics only one of them can have.
#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_without_health_where_the_listener_has_its_address() {
    let mut world = World::new("").await;
    let address = crate::common::net::free_address();
    world.tell_on(&address.to_string());
    let listener = world.start(&["listen"]);
    listener.listens(address).await;
    world.publish(2, 10).await;
    world.wait("two notices are heard", |summary| summary.notices.heard == 2).await;
    let (status, log) = world.start(&["work", "--until-empty"]).end().await;
    assert!(status.success() && log.contains("no health and metrics of this process"), "{log}");
    // Two that hear are a mistake.
    let (status, said) = world.try_say(&["run"]).await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert_eq!(said.matches("(os error").count(), 1, "{said}");
    listener.stop().await;
    world.assert_each_record_once();
}

/// A configuration with one minute of work, twelve hours from now.
fn far_hours() -> String {
    let now = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let from = now.checked_add(jiff::Span::new().hours(12)).expect("a time");
    let to = from.checked_add(jiff::Span::new().minutes(1)).expect("a time");
    let window = format!("{}-{}", from.strftime("%H:%M"), to.strftime("%H:%M"));
    format!("[work]\nwindows = [\"{window}\"]\nzone = \"UTC\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_its_hours_nothing_is_worked_on() {
    let mut world = World::new(&far_hours()).await;
    world.publish(2, 10).await;
    let daemon = world.start(&["run"]);
    world.wait("both are planned, and wait", |summary| summary.notices.open == 2).await;
    let log = daemon.stop().await;
    assert!(world.files().is_empty(), "{log}");

    // With an end asked for, waiting for the hours would be no answer.
    let (status, said) = world.try_say(&["work", "--until-empty"]).await;
    assert_eq!(status.code(), Some(75), "{said}");
    assert!(said.contains("outside the hours"), "{said}");
    world.say(&["work", "--until-empty", "--now"]).await;
    world.assert_each_record_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_rotate_in_the_middle_cost_no_attempt_and_no_record() {
    let mut world = World::new("").await;
    world.publish(4, 100).await;
    let daemon = world.start(&["run"]);
    world.wait_finished(4).await;
    world.sandbox.rotate_service_bus_key();
    world.sandbox.rotate_blob_key();
    world.publish(4, 100).await;
    world.wait_finished(8).await;
    let log = daemon.stop().await;
    world.assert_each_record_once();
    let notices = world.say(&["notices", "--json"]).await;
    assert!(!notices.contains("\"attempts\":2"), "{notices}\n{log}");
    assert!(!log.contains("sig="), "{log}");
}
