//! The webhook's events go to whom `longshore subscriptions` had them sent to.

use std::sync::atomic::{AtomicBool, Ordering};

use longshore::sandbox::sample::EventSpec;
use serde_json::{Value, json};

use crate::common::place::lay;
use crate::common::wait::looks;
use crate::world::{World, names, names_of};

/// The exit code of "something is to do".
const TO_DO: i32 = 75;

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

#[tokio::test]
async fn an_event_arrives_once_it_is_subscribed_to_and_none_when_that_is_over() {
    let (world, daemon) = World::start_with(&["--webhook-speed", "200"]).await;
    world.subscriptions(&["plan"], TO_DO).await;
    let sent = world.post("send", r#"{"events": 8}"#).await;
    assert_eq!((&sent["sent"], &sent["unsubscribed"]), (&json!(0), &json!(8)), "nobody has subscribed");

    world.subscriptions(&["apply", "--yes"], 0).await;
    world.subscriptions(&["plan"], 0).await;
    world.post("send", r#"{"first": 8, "events": 8}"#).await;
    world.wait_webhook("/answered", 8).await;
    let delivered = world.wait_delivered(9, &daemon).await;
    assert_eq!(names(&delivered), names_of([EventSpec::new(8, 8)]));

    // Orders are not wanted any more: the first and the third of eight events.
    world.reconfigure(|text| text.replace("  \"ORDER_CREATED\",\n", "").replace("  \"ORDER_MODIFIED\",\n", ""));
    let said = world.subscriptions(&["apply", "--yes"], 0).await;
    assert_eq!(said.matches("deleted ORDER_").count(), 2, "{said}");
    world.post("send", r#"{"first": 16, "events": 8}"#).await;
    world.wait_webhook("/answered", 14).await;
    let delivered = world.wait_delivered(16, &daemon).await;
    let without_orders = [EventSpec::new(8, 8), EventSpec::new(17, 1), EventSpec::new(19, 5)];
    assert_eq!(names(&delivered), names_of(without_orders));

    world.ask(reqwest::Method::DELETE, "subscriptions", "").await;
    let sent = world.post("send", r#"{"first": 24, "events": 8}"#).await;
    assert_eq!((&sent["sent"], &sent["unsubscribed"]), (&json!(14), &json!(8 + 2 + 8)));
    daemon.stop().await;
}

#[tokio::test]
async fn a_secret_is_rotated_while_events_are_sent_and_none_is_missed_or_refused() {
    let (world, daemon) = World::start_with(&["--webhook-speed", "200"]).await;
    world.subscriptions(&["apply", "--yes"], 0).await;
    // The daemon listens once this is answered, whatever became of its first attempts.
    world.post("send", r#"{"events": 8}"#).await;
    world.wait_webhook("/answered", 8).await;
    let before = world.webhook().await;
    let secrets = world.path("webhook-secret");
    let old = std::fs::read_to_string(&secrets).expect("the secret");

    let is_rotated = AtomicBool::new(false);
    let sending = async {
        let mut tick = looks();
        let mut events = 8;
        while !is_rotated.load(Ordering::Relaxed) {
            tick.tick().await;
            world.post("send", &format!(r#"{{"first": {events}, "events": 8}}"#)).await;
            events += 8;
        }
        events
    };
    let rotating = async {
        lay(&secrets, format!("Bearer another\n{old}"));
        let said = world.subscriptions(&["apply", "--yes"], 0).await;
        assert_eq!((said.matches("\nmade ").count(), said.matches("\ndeleted ").count()), (8, 8), "{said}");
        is_rotated.store(true, Ordering::Relaxed);
    };
    let (events, ()) = tokio::join!(sending, rotating);
    let sent = number(&world.webhook().await["sent"]);
    world.wait_webhook("/answered", sent).await;

    // Nobody uses the old one any more.
    lay(&secrets, "Bearer another\n");
    world.post("send", &format!(r#"{{"first": {events}, "events": 8}}"#)).await;
    world.wait_webhook("/answered", sent + 8).await;
    let all = names_of([EventSpec::new(0, events + 8)]);
    let delivered = world.wait_delivered(all.len(), &daemon).await;
    assert_eq!(names(&delivered), all, "what came twice while both were there is delivered once");
    let state = world.webhook().await;
    let since = |what: &str| number(&state[what]) - number(&before[what]);
    assert_eq!(since("requests"), since("answered"), "one was refused: {state}");
    assert_eq!((&state["unsubscribed"], &state["last_failure"]), (&json!(0), &before["last_failure"]));
    daemon.stop().await;
}
