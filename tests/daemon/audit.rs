//! The audit, by the real binary.

use longshore::sandbox::PublishRequest;
use longshore::sandbox::sample::ugly::Ugly;
use serde_json::Value;

use crate::common::vendor::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_beside_the_daemon_is_clean_and_names_what_another_hand_has_changed() {
    let mut world = World::new("").await;
    world.publish(3, 20).await;
    world.sandbox.publish(PublishRequest::ugly(Ugly::BadLine)).await.expect("published");
    let daemon = world.start(&["run"]);
    world.wait_finished(4).await;
    let audit = world.json(&["audit"]).await;
    assert_eq!((&audit["notices"], &audit["findings"]), (&Value::from(4), &Value::from(0)), "{audit}");
    assert_eq!(audit["accounts"][0]["quarantined"], 1, "{audit}");
    assert!(world.say(&["status"]).await.contains("found nothing"));
    daemon.stop().await;

    let other = rusqlite::Connection::open(world.folder().join("inbox.db")).expect("the inbox");
    other
        .execute_batch("PRAGMA ignore_check_constraints = ON; UPDATE deliveries SET delivered = 19 WHERE notice = 1")
        .expect("changed");
    let (status, said) = world.try_say(&["audit"]).await;
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("notice 1, delivery"), "{said}");
    let (status, said) = world.try_say(&["status"]).await;
    assert_eq!(status.code(), Some(65), "{said}");
}
