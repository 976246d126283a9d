//! Microsoft's own SDKs against the sandbox's broker: they judge whether what it speaks is Service Bus.

mod common;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::net;
use common::peers::peer;
use longshore::sandbox::broker::{Broker, BrokerSettings, QueueState};
use tokio::process::Command;

/// Far more than all cases of one SDK take together.
const LIMIT: Duration = Duration::from_secs(600);
/// Long enough for each case to settle in time on a busy machine, short enough to wait for its end once.
const LOCK: Duration = Duration::from_secs(12);

struct Judged {
    broker: Broker,
    ca_file: PathBuf,
    _dir: tempfile::TempDir,
}

async fn start() -> Judged {
    let certificate = net::certificate();
    let dir = tempfile::tempdir().expect("a folder");
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, certificate.cert.pem()).expect("written");
    let settings = BrokerSettings {
        tls: Some((SocketAddr::from(([127, 0, 0, 1], 0)), net::server_of(&certificate))),
        lock_duration: LOCK,
        ..BrokerSettings::new().topic("t1", &["s1"])
    };
    Judged { broker: Broker::start(settings).await.expect("started"), ca_file, _dir: dir }
}

impl Judged {
    fn connection_string(&self) -> String {
        let key = self.broker.key();
        format!(
            "Endpoint=sb://{};SharedAccessKeyName={};SharedAccessKey={};UseDevelopmentEmulator=true;",
            self.broker.plain_address().expect("it listens"),
            key.name,
            key.key.expose()
        )
    }

    fn tls_address(&self) -> String {
        self.broker.tls_address().expect("it listens").to_string()
    }

    fn subscription(&self) -> QueueState {
        self.broker.state().subscription("t1/Subscriptions/s1")
    }
}

async fn judge(program: &Path, script: &str, arguments: &[&OsStr]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    let mut command = Command::new(program);
    command.arg(script).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("in time").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_finds_a_service_bus() {
    let Some(python) = peer("venv/bin/python") else { return };
    let judged = start().await;
    let key = judged.broker.key();
    let (connection, tls) = (judged.connection_string(), judged.tls_address());
    let arguments = [&*connection, "t1", "s1", &tls].map(OsStr::new);
    let rest = [judged.ca_file.as_os_str(), key.name.as_ref(), key.key.expose().as_ref()];
    judge(&python, "python_sdk.py", &[arguments.as_slice(), &rest].concat()).await;
    let state = judged.subscription();
    assert_eq!((state.active, state.locked, state.dead_lettered, state.locks_lost), (0, 0, 0, 1), "{state:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_sdk_finds_a_service_bus() {
    let Some(package) = peer("node_modules/@azure/service-bus/package.json") else { return };
    let peers = package.ancestors().nth(4).expect("it lies four folders deep");
    let judged = start().await;
    let (connection, key) = (judged.connection_string(), judged.broker.key());
    let rest = [&*connection, "t1", "s1", key.key.expose()].map(OsStr::new);
    judge(Path::new("node"), "node_sdk.mjs", &[&[peers.as_os_str()], rest.as_slice()].concat()).await;
    let state = judged.subscription();
    assert_eq!((state.active, state.locked, state.dead_lettered, state.locks_lost), (0, 0, 0, 1), "{state:?}");
}
