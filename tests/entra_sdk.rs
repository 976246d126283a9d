//! The official Python SDK's certificate credential against the sandbox's authority.

#![cfg(feature = "sandbox")]

mod common;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use longshore::sandbox::{Sandbox, SandboxSettings};
use tokio::process::Command;

/// Far more than a token takes; Python alone needs a second to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

async fn get_token(python: &Path, sandbox: &Sandbox, certificate: &Path, scope: &str) -> Output {
    let settings = sandbox.settings();
    let authority = sandbox.authority().origin().ascii_serialization();
    let mut command = Command::new(python);
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python_identity.py"))
        .args([&authority, &settings.tenant, &settings.client_id, scope])
        .args([certificate, sandbox.ca_file()])
        .kill_on_drop(true);
    tokio::time::timeout(LIMIT, command.output()).await.expect("in time").expect("Python starts")
}

#[tokio::test]
async fn the_python_sdk_gets_a_token_with_a_registered_certificate_and_with_no_other() {
    let Some(python) = common::peers::peer("venv/bin/python") else { return };
    let sandbox = Sandbox::start(SandboxSettings::default()).await.expect("started");
    let own = sandbox.certificates().join("longshore.pem");
    let scope = sandbox.settings().scope.clone();

    let good = get_token(&python, &sandbox, &own, &scope).await;
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let seconds: u64 = String::from_utf8_lossy(&good.stdout).trim().parse().expect("a number");
    assert!((3_500..=3_599).contains(&seconds), "{seconds}");
    assert_eq!(sandbox.vendor_state().access_tokens_issued, 1);

    let stranger = sandbox.new_certificate("stranger", Duration::from_secs(86_400), false).expect("made");
    for (certificate, scope, code) in [(&stranger, &*scope, "AADSTS700027"), (&own, "other/.default", "AADSTS70011")] {
        let refused = get_token(&python, &sandbox, certificate, scope).await;
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert_eq!(refused.status.code(), Some(3), "{said}{}", String::from_utf8_lossy(&refused.stderr));
        assert!(said.contains(code), "{said}");
    }
}
