//! Apply makes it so, and touches nothing else.

use serde_json::{Value, json};

use crate::world::{TARGET, TO_DO, World, others};

#[tokio::test(flavor = "multi_thread")]
async fn apply_makes_what_is_wanted_and_is_done_then() {
    let more = "[[feed.subscriptions.limited]]\nevent = \"PICK_JOB_CREATED\"\n\
                contexts = [{ type = \"FACILITY\", values = [\"f2\", \"f1\"] }]";
    let world = World::with(&["ORDER_CREATED", "ORDER_CANCELLED"], more, Default::default()).await;
    world.vendor.put(others("ORDER_CREATED", true));
    let said = world.ends(64, &["apply"]).await;
    assert!(said.err.contains("--yes"), "nobody could be asked: {}", said.err);
    assert_eq!(world.there(), ["ORDER_CREATED shop"]);
    let said = world.ends(0, &["apply", "--yes"]).await;
    assert!(said.out.contains("made ORDER_CANCELLED") && said.out.contains("made PICK_JOB_CREATED"), "{}", said.out);
    let there = [
        "ORDER_CANCELLED Bearer first",
        "ORDER_CREATED Bearer first",
        "ORDER_CREATED shop",
        "PICK_JOB_CREATED Bearer first",
    ];
    assert_eq!(world.there(), there);
    let all = world.vendor.subscriptions();
    let limited = all.iter().find(|told| told["event"] == "PICK_JOB_CREATED").expect("it is there");
    assert_eq!(limited["contexts"], json!([{ "type": "FACILITY", "values": ["f1", "f2"] }]));
    assert_eq!(limited["name"], "longshore PICK_JOB_CREATED");
    assert_eq!(limited["target"]["headers"], json!([{ "key": "Authorization", "value": "Bearer first" }]));
    world.ends(0, &["plan"]).await;
    let said = world.ends(0, &["apply", "--json"]).await;
    let applied: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&applied[0]["is_done"], &applied[0]["done"]), (&json!(true), &json!([])));
    assert_eq!(world.changes(), ["POST 201"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_rotated_by_making_the_new_before_the_old_is_deleted() {
    let world = World::new(&["ORDER_CREATED", "ORDER_MODIFIED"]).await;
    world.ends(0, &["apply", "--yes"]).await;
    world.hold("secret", "Bearer second\nBearer first\n");
    let said = world.ends(TO_DO, &["plan"]).await;
    assert_eq!(said.out.matches("it shows another secret").count(), 2, "{}", said.out);
    world.ends(0, &["apply", "--yes"]).await;
    assert_eq!(world.there(), ["ORDER_CREATED Bearer second", "ORDER_MODIFIED Bearer second"]);
    let changes = ["POST 201", "POST 201", "POST 201", "DELETE 200", "POST 201", "DELETE 200"];
    assert_eq!(world.changes(), changes, "each new one before its old one");
    // As asked for, also without any difference.
    world.ends(TO_DO, &["plan", "--rotate"]).await;
    world.ends(0, &["apply", "--yes", "--rotate"]).await;
    assert_eq!(world.changes()[6..], changes[2..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_any_more_goes_and_what_others_made_stays() {
    let world = World::new(&["ORDER_CREATED"]).await;
    let target = json!({ "type": "WEBHOOK", "callbackUrl": TARGET, "headers": [] });
    world.vendor.put(json!({ "name": "longshore ORDER_MODIFIED", "event": "ORDER_MODIFIED", "target": target }));
    world.vendor.put(json!({ "name": "by hand", "event": "SHIPMENT_CREATED", "target": target }));
    world.vendor.put(others("ORDER_MODIFIED", false));
    let namesake = json!({ "type": "WEBHOOK", "callbackUrl": "https://staging.example/events", "headers": [] });
    world.vendor.put(json!({ "name": "longshore ORDER_CREATED", "event": "ORDER_CREATED", "target": namesake }));
    world.ends(0, &["apply", "--yes"]).await;
    let there = [
        "ORDER_CREATED Bearer first",
        "ORDER_CREATED longshore ORDER_CREATED",
        "ORDER_MODIFIED shop",
        "SHIPMENT_CREATED no secret",
    ];
    assert_eq!(world.there(), there);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_subscription_of_an_event_is_not_tried_and_a_gap_has_to_be_agreed_to() {
    let world = World::new(&["ORDER_CREATED", "ORDER_MODIFIED"]).await;
    for _ in 0..4 {
        world.vendor.put(others("ORDER_CREATED", false));
        world.vendor.put(others("ORDER_MODIFIED", false));
    }
    world.vendor.put(others("ORDER_MODIFIED", true));
    let said = world.ends(TO_DO, &["apply", "--yes"]).await;
    assert!(said.out.contains("! ORDER_MODIFIED: the vendor has 5"), "{}", said.out);
    assert_eq!(world.changes(), ["POST 201"], "what there is room for is made");
    world.hold("secret", "Bearer second\nBearer first\n");
    let said = world.ends(TO_DO, &["apply", "--yes"]).await;
    assert!(said.out.contains("--allow-gap"), "{}", said.out);
    assert_eq!(world.changes().len(), 1, "nothing is deleted for it");
    world.ends(TO_DO, &["apply", "--yes", "--allow-gap"]).await;
    assert_eq!(world.changes(), ["POST 201", "DELETE 200", "POST 201"]);
    assert!(world.there().contains(&"ORDER_CREATED Bearer second".to_owned()));
}
