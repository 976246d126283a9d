//! Google's own Python library against the sandbox's bucket.

#![cfg(feature = "sandbox")]

mod common;

use std::process::Output;
use std::time::Duration;

use longshore::sandbox::{DayObject, Sandbox, SandboxSettings};
use tokio::process::Command;

/// Far more than it takes; Python alone needs a second to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

async fn read(python: &std::path::Path, sandbox: &Sandbox, key_file: &std::path::Path, keys: &[String]) -> Output {
    let endpoint = sandbox.bucket_url().origin().ascii_serialization();
    let mut command = Command::new(python);
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python_storage.py"))
        .arg(key_file)
        .args([&endpoint, &sandbox.settings().bucket])
        .args(keys)
        .env("REQUESTS_CA_BUNDLE", sandbox.ca_file())
        .kill_on_drop(true);
    tokio::time::timeout(LIMIT, command.output()).await.expect("in time").expect("Python starts")
}

#[tokio::test]
async fn googles_library_lists_and_reads_with_the_key_file_and_with_no_other() {
    let Some(python) = common::peers::peer("venv/bin/python") else { return };
    let settings = SandboxSettings { bucket_page_max: 2, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await.expect("started");
    let mut keys = Vec::new();
    for (date, first) in [("2026-11-22", 0), ("2026-11-22", 10), ("2026-11-22", 20), ("2026-11-23", 30)] {
        let day = DayObject {
            date: Some(date.parse().expect("a date")),
            first: Some(first),
            events: 10,
            ..DayObject::default()
        };
        keys.push(sandbox.write_day(&day).expect("written").key);
    }
    let told =
        |output: &Output| [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());

    let good = read(&python, &sandbox, &sandbox.bucket_key_file(), &keys).await;
    assert!(good.status.success() && good.stdout == b"OK\n", "{:?}", told(&good));

    let old = tempfile::NamedTempFile::new().expect("a file");
    std::fs::copy(sandbox.bucket_key_file(), old.path()).expect("copied");
    sandbox.rotate_bucket_key().expect("rotated");
    let refused = read(&python, &sandbox, old.path(), &keys).await;
    assert!(!refused.status.success() && told(&refused)[1].contains("invalid_grant"), "{:?}", told(&refused));
}
