//! The doctor, by the real binary.

use serde_json::Value;

use crate::common::vendor::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_installation_is_called_so_and_a_sick_one_with_what_to_do() {
    let mut world = World::new("").await;
    world.publish(1, 10).await;
    let daemon = world.start(&["run"]);
    world.wait_finished(1).await;
    let well = world.json(&["doctor"]).await;
    daemon.stop().await;
    assert_eq!(well["ok"], true, "{well:#}");
    let step = |all: &Value, name: &str| {
        let parts = all["parts"].as_array().expect("parts").iter();
        let mut steps = parts.flat_map(|part| part["steps"].as_array().expect("steps"));
        steps.find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}: {all:#}")).clone()
    };
    for name in ["configuration", "room", "speed", "file", "leases", "certificate", "clock"] {
        let step = step(&well, name);
        // How full or busy the machine's disk is, is not what is tested.
        let is_of_the_machine = matches!(name, "room" | "speed") && step["finding"]["result"] != "bad";
        assert!(step["finding"]["result"] == "good" || is_of_the_machine, "{step:#}");
    }

    let certificates = world.folder().join("certificates");
    std::fs::rename(&certificates, world.folder().join("moved")).expect("taken away");
    std::fs::create_dir(&certificates).expect("an empty folder");
    let (status, said) = world.try_say(&["doctor", "--json", "--offline"]).await;
    assert_eq!(status.code(), Some(65), "{said}");
    let ill: Value = serde_json::from_str(&said).expect("JSON");
    let certificate = step(&ill, "certificate");
    assert!(certificate["finding"]["remedy"].is_string(), "{certificate:#}");
    assert_eq!(step(&ill, "file")["finding"]["result"], "good", "the rest is looked at all the same");
}
