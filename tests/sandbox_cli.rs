//! `longshore sandbox` as a person uses it.

#![cfg(feature = "sandbox")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use longshore::config::{Config, Files};
use longshore::net::{HttpLimits, http_client};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(30);

fn start(dir: &Path, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(["--log-level", "warn", "sandbox", "--dir"])
        .arg(dir)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started")
}

/// Reads the announcement up to its last line; the value is what it says of the control API.
async fn announced(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut control = None;
    loop {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("in time").expect("readable");
        let line = line.expect("the announcement goes on");
        if let Some(url) = line.trim().strip_prefix("control API") {
            control = Some(url.trim().to_owned());
        }
        if line.ends_with("/state") {
            return control.expect("the control API is announced");
        }
    }
}

async fn ended(mut child: Child) -> (Option<i32>, String) {
    let status = tokio::time::timeout(LIMIT, child.wait()).await.expect("in time").expect("ended");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).await.expect("readable");
    (status.code(), said)
}

fn terminate(child: &Child) {
    let id = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())).expect("it runs");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is ours");
}

#[tokio::test]
async fn it_says_where_everything_is_writes_a_good_configuration_and_ends_on_term() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sandbox");
    let mut child = start(&dir, &["--publish", "5", "--tls"]);
    let control = announced(&mut child).await;

    let config = Config::load(&dir.join("longshore.toml"), Files::Checked).expect("a good configuration");
    assert!(config.warnings.is_none());
    assert_eq!((config.feeds.len(), config.sinks.len()), (1, 1));

    let http = http_client(None, HttpLimits::default()).expect("a client");
    let state: Value = http.get(format!("{control}state")).send().await.expect("answered").json().await.expect("JSON");
    assert_eq!(state["broker"]["subscriptions"]["fileexport/Subscriptions/longshore"]["active"], 5);
    assert_eq!(state["vendor"]["blobs"], 5);

    terminate(&child);
    assert_eq!(ended(child).await, (Some(0), String::new()));
}

#[tokio::test]
async fn it_leaves_a_configuration_alone_that_is_not_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("longshore.toml");
    std::fs::write(&config, "# mine\n").expect("written");
    let (code, said) = ended(start(folder.path(), &[])).await;
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("was not written by the sandbox"), "{said}");
    assert_eq!(std::fs::read_to_string(&config).expect("there"), "# mine\n");

    std::fs::remove_file(&config).expect("removed");
    for _ in 0..2 {
        let mut child = start(folder.path(), &[]);
        announced(&mut child).await;
        terminate(&child);
        assert_eq!(ended(child).await.0, Some(0), "its own configuration is written again");
    }
}
