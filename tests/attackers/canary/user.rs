//! The secrets of the user's side: of a sink, of the environment, of the senders that a webhook lets in.

use std::collections::BTreeSet;

use super::echo::Echo;
use super::{assert_hidden, canary, is_tried, start_with, world};
use crate::common::net::client_of;
use crate::hook::Hook;

#[tokio::test(flavor = "multi_thread")]
async fn a_sinks_secret_is_shown_nowhere_whatever_the_receiver_answers() {
    for path in ["500", "403", "422", "redirect-301", "truncated", "418"] {
        let echo = Echo::start().await;
        let secret = canary("Sink");
        let sink = format!(
            "[[sink]]\nname = \"shop\"\ntype = \"http\"\nurl = \"{}/{path}\"\nbearer_file = \"bearer\"\n",
            echo.base
        );
        let mut world = world(|config| {
            format!("{}\n{sink}", config.replace("sinks = [\"files\"]", "sinks = [\"files\", \"shop\"]"))
        })
        .await;
        world.hold("bearer", &secret);
        world.publish(1, 2).await;
        let daemon = world.run();
        echo.asked(1, &daemon).await;
        world.wait("it is tried", is_tried).await;
        assert_hidden(&world, daemon, &[secret], &["certificates", "bearer"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_gets_no_secret_and_its_last_words_are_cut() {
    let script = "#!/bin/sh\nenv > \"$0.env\"\ntr '\\0' ' ' < /proc/self/cmdline >> \"$0.env\"\n\
                  echo \"Authorization: Bearer canaryChildZq7Xw90123456789abcdef sig=canaryChildZq7Xw90123456789abcdef\" >&2\nexit 1\n";
    let mut world = world(|config| {
        let sink = "[[sink]]\nname = \"script\"\ntype = \"command\"\ncommand = [\"/bin/sh\", \"FOLDER/script\"]\n";
        format!("{}\n{sink}", config.replace("sinks = [\"files\"]", "sinks = [\"script\"]"))
    })
    .await;
    world.reconfigure(|text| text.replace("FOLDER", &world.folder().display().to_string()));
    world.write("script", script);
    world.publish(1, 2).await;
    let secret = canary("Environment");
    let daemon = start_with(&world, &[("LONGSHORE_CANARY", &secret), ("CREDENTIALS_DIRECTORY", "/nowhere")]);
    world.wait("it is tried", is_tried).await;
    let text = world.read("script.env");
    let names: BTreeSet<&str> = text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let ours = |name: &&str| name.starts_with("LONGSHORE_") || ["PATH", "PWD", "SHLVL", "OLDPWD", "_"].contains(name);
    assert_eq!(names.iter().filter(|name| !ours(name)).collect::<Vec<_>>(), [&""; 0], "{text}");
    let secrets = [secret, "canaryChildZq7Xw90123456789abcdef".to_owned()];
    assert_hidden(&world, daemon, &secrets, &["certificates", "script"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhooks_secret_is_shown_nowhere_whatever_is_posted() {
    let (hook, secret) = (Hook::new(), canary("Hook"));
    let world = world(|config| format!("{config}\n{}", hook.feed())).await;
    let key = hook.hold(&world, &secret);
    let daemon = world.run();
    daemon.says("serving health").await;
    let client = client_of(&world.path("hook.pem"));
    let url = format!("https://localhost:{}", hook.address.port());
    daemon.listens(hook.address).await;
    let bearer = format!("Bearer {secret}");
    // Wrong in the secret, the path, the method, the body; and right.
    for (path, authorization, body) in [
        ("/events", format!("{bearer}x"), "{}"),
        ("/events", bearer.to_uppercase(), "{}"),
        ("/elsewhere", bearer.clone(), "{}"),
        ("/events", bearer.clone(), "no json"),
        ("/events", bearer.clone(), "{\"event\":\"A\",\"eventId\":\"1\",\"payload\":{}}"),
    ] {
        let request = client.post(format!("{url}{path}")).header("Authorization", authorization).body(body);
        let answer = request.send().await.expect("an answer");
        let told = format!("{:?} {}", answer.headers().clone(), answer.text().await.expect("text"));
        assert!(!told.contains(&secret), "{told}");
    }
    let get = client.get(format!("{url}/events")).header("Authorization", &bearer).send().await.expect("an answer");
    assert!(!get.text().await.expect("text").contains(&secret));
    let mut secrets: Vec<String> = key.lines().map(str::to_owned).filter(|line| line.len() > 40).collect();
    secrets.push(secret);
    assert_hidden(&world, daemon, &secrets, &["certificates", "secret", "hook-key.pem"]).await;
}
