//! `longshore check` as a user runs it: what it prints and the code it ends in, also against the sandbox.

#![cfg(feature = "sandbox")]

mod common;

use std::process::Output;

use common::place::Place;
use common::process;
use common::wait::in_time;
use longshore::sandbox::{Sandbox, SandboxSettings};
use serde_json::Value;

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
}

const MORE: &str = r#"
[[route]]
name = "items"
blob_types = ["Gateway.Item*"]
sinks = ["files"]

[[route]]
name = "rest"
blob_types = ["*"]
exclude = ["*Errors"]
sinks = ["files"]

[[sink]]
name = "files"
type = "directory"
path = "out"

[inbox]
path = "inbox.db"
"#;

/// A sandbox, and a configuration that is let in there.
async fn sandbox() -> (Place, Sandbox) {
    let place = Place::new();
    let sandbox = Sandbox::start(SandboxSettings::new(place.folder())).await.expect("the sandbox starts");
    place.configure(&(sandbox.configuration_of_access() + MORE));
    (place, sandbox)
}

/// Every step, as `way: step` and its result.
fn steps(report: &Value) -> Vec<(String, String)> {
    let ways = report["ways"].as_array().expect("ways");
    let of_way = |way: &Value| -> Vec<(String, String)> {
        let steps = way["steps"].as_array().expect("steps");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        steps
            .iter()
            .map(|step| (format!("{}: {}", text(&way["name"]), text(&step["name"])), text(&step["finding"]["result"])))
            .collect()
    };
    ways.iter().flat_map(of_way).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connect_walks_every_way_and_names_the_step_that_fails() {
    let (place, sandbox) = sandbox().await;
    let output = place.output(&["check", "--connect", "--json"]).await;
    let report = json(&output);
    assert_eq!(code(&output), 0, "{report:#}");
    assert_eq!(report["ok"], true);
    let found = steps(&report);
    assert!(found.iter().all(|(_, result)| result == "good"), "{found:#?}");
    for step in [
        "inbox: inbox writable",
        "tokens of feed eg: certificate found",
        "tokens of feed eg: Entra token obtained",
        "tokens of feed eg: TenantService answers",
        "tokens of feed eg: clock agrees",
        "blob store of feed eg: blob host reachable",
        "feed eg: Service Bus takes the token",
        "feed eg: subscription attach",
        "sink files: directory ready",
    ] {
        assert!(found.iter().any(|(name, _)| name == step), "{step} is among {found:#?}");
    }
    assert!(!place.path("inbox.db").exists(), "the inbox was not made");
    assert!(!place.path("out").exists(), "the sink's folder was not made");
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!shown.contains("sig=") && !shown.contains("Bearer "), "{shown}");

    place.reconfigure(|text| text.replace("integration_name = \"longshore\"", "integration_name = \"somebody-else\""));
    let output = place.output(&["check", "--connect"]).await;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(code(&output), 69, "{shown}");
    let failed = shown.lines().find(|line| line.contains("FAIL")).expect("a step that failed");
    assert!(failed.contains("TenantService answers"), "{shown}");
    assert!(shown.contains("what to do: "), "{shown}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_sees_nothing_of_what_goes_to_loopback() {
    let (place, sandbox) = sandbox().await;
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", trap.local_addr().expect("bound"));
    let mut command = place.command(&["check", "--connect"]);
    command.env("HTTP_PROXY", &address).env("http_proxy", &address).env("HTTPS_PROXY", &address);
    tokio::select! {
        output = in_time("it has ended", command.output()) => {
            let output = output.expect("it starts");
            assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stdout));
        }
        caught = trap.accept() => panic!("the proxy was asked: {caught:?}"),
    }
    command.env("HTTPS_PROXY", "socks://user:canary@nowhere:x");
    let output = process::output(command).await;
    let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_ne!(code(&output), 0);
    assert!(shown.contains("the variable HTTPS_PROXY names") && !shown.contains("canary"), "{shown}");
    sandbox.stop().await;
}

#[tokio::test]
async fn check_says_which_route_takes_a_blob_type() {
    let place = Place::new();
    std::fs::create_dir(place.path("certificates")).expect("a folder");
    place.write("certificates/a.pem", "pem");
    let text = include_str!("../deploy/smallest.toml").replace("/etc/longshore/certificates", "certificates");
    place.configure(&text.replace("blob_types = [\"*\"]", "blob_types = [\"Gateway.*\"]"));
    let taken = place.output(&["check", "--blob-type", "gateway.ItemChanges"]).await;
    assert_eq!(
        String::from_utf8_lossy(&taken.stdout),
        "gateway.ItemChanges from feed eg\n  goes by route everything to sink files\n"
    );
    let skipped = json(&place.output(&["check", "--blob-type", "Customers", "--json"]).await);
    assert_eq!(skipped["feeds"][0]["targets"], serde_json::json!([]));
    assert_eq!(skipped["feeds"][0]["skipped"], "no route takes blob type \"Customers\" from feed eg");
}

#[tokio::test]
async fn a_wrong_configuration_ends_in_78_and_a_wrong_command_line_in_64() {
    let place = Place::new();
    place.write("longshore.toml", "[identity]\ncolour = 1\n");
    let output = place.output(&["check"]).await;
    assert_eq!(code(&output), 78);
    assert!(output.stdout.is_empty());
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(shown.contains("longshore.toml:2:1]") && shown.contains("`identity.colour` is not a key"), "{shown}");
    let report = json(&place.output(&["check", "--json"]).await);
    assert_eq!(report["ok"], false);
    let finding = report["findings"].as_array().expect("findings").iter().find(|finding| finding["line"] == 2);
    assert_eq!(finding.expect("on line 2")["message"], "`identity.colour` is not a key");

    assert_eq!(code(&process::output(process::command(&place.path("nowhere"), &["check"])).await), 78);
    assert_eq!(code(&place.output(&["chekc"]).await), 64);
    assert_eq!(code(&place.output(&["--help"]).await), 0);
}
