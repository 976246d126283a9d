//! List and plan change nothing.

use serde_json::{Value, json};

use crate::world::{TARGET, TO_DO, World, others};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_over_many_pages_finds_what_is_ours_in_both_forms() {
    let world = World::new(&["ORDER_CREATED", "ORDER_MODIFIED", "SHIPMENT_CREATED"]).await;
    // The ids that the vendor gives are in no order; sixty are three pages.
    for number in 0..60 {
        world.vendor.put(others("FACILITY_CREATED", number % 2 == 0));
    }
    let headers = json!([{ "key": "authorization", "value": "Bearer first" }]);
    world.vendor.put(json!({
        "id": "zzz", "name": "longshore ORDER_MODIFIED", "event": "ORDER_MODIFIED", "callbackUrl": TARGET, "headers": headers
    }));
    world.vendor.put(json!({
        "id": "000", "name": "longshore ORDER_CREATED", "event": "ORDER_CREATED",
        "target": { "type": "WEBHOOK", "callbackUrl": TARGET, "headers": headers }
    }));
    let before = world.vendor.subscriptions();
    let said = world.ends(TO_DO, &["plan"]).await;
    let lines: Vec<&str> = said.out.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  = ORDER_CREATED (000)",
            "  = ORDER_MODIFIED (zzz)",
            "  + SHIPMENT_CREATED",
            "  1 to make; 2 as wanted; 60 subscriptions of others left alone",
        ]
    );
    let said = world.ends(TO_DO, &["plan", "--json"]).await;
    let plan: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(plan[0]["is_done"], false);
    assert_eq!(
        plan[0]["lines"][2],
        json!({ "action": "create", "event": "SHIPMENT_CREATED", "contexts": [], "ids": [] })
    );
    let said = world.ends(0, &["list", "--json"]).await;
    let list: Value = serde_json::from_str(&said.out).expect("JSON");
    let whose = |name: &str| {
        let all = list[0]["subscriptions"].as_array().expect("a list");
        all.iter().filter(|one| one["whose"] == name).count()
    };
    assert_eq!((whose("ours"), whose("others")), (2, 60));
    assert_eq!(world.vendor.subscriptions(), before, "looking changes nothing");
    assert!(world.changes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_subscribed_to_and_whether_it_is_in_place() {
    let world = World::new(&["ORDER_CREATED"]).await;
    let said = world.longshore(&["check", "--connect"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("subscribes at 127.0.0.1 as longshore@ocff-sandbox-pre.com"), "{}", said.out);
    assert!(said.out.contains("1 to make, 0 to replace") && said.out.contains("subscriptions plan"), "{}", said.out);
    world.ends(0, &["apply", "--yes"]).await;
    let said = world.longshore(&["check", "--connect"]).await;
    assert!(said.out.contains("all 1 that are wanted"), "{}", said.out);
    world.hold("password", "wrong");
    let said = world.longshore(&["check", "--connect"]).await;
    assert_eq!(said.code, 69, "{}", said.out);
    assert!(said.out.contains("INVALID_LOGIN_CREDENTIALS") && said.out.contains("password_file"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_said_before_the_vendor_is_asked() {
    let more = "[[feed.subscriptions.limited]]\nevent = \"ORDER_CREATED\"\ncontexts = [\n\
                { type = \"FACILITY\", values = [\"a\"] }, { type = \"FACILITY\", values = [\"b\"] }]";
    let world = World::with(&["ORDER_CREATED", "ORDER_CREATED"], more, Default::default()).await;
    let said = world.ends(78, &["plan"]).await;
    assert!(said.err.contains("stands here twice") && said.err.contains("put all ids into one"), "{}", said.err);
    let world = World::new(&["ORDER_CREATED"]).await;
    let said = world.ends(78, &["plan", "elsewhere"]).await;
    assert!(said.err.contains("there is no webhook \"elsewhere\""), "{}", said.err);
    assert!(world.vendor.requests().is_empty());
}
