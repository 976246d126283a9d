//! Azurite, Microsoft's own stand-in for Blob Storage, as a child process.

use std::path::Path;
use std::process::Stdio;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore::sandbox::AccountKey;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use url::Url;

use super::process::LIMIT;

/// The account that it serves.
pub const ACCOUNT: &str = "azuriteaccount";

/// A running Azurite. It is killed when this is dropped.
pub struct Azurite {
    child: Child,
    /// Its address with the account, without a trailing slash.
    pub base: Url,
    /// The account's key.
    pub key: AccountKey,
}

impl Azurite {
    /// Starts it with `key` on `port`, its data in `folder`. `None` when it is not installed.
    pub async fn start(folder: &Path, key: AccountKey, port: u16) -> Option<Self> {
        let script = super::peers::peer("node_modules/azurite/dist/src/blob/main.js")?;
        let mut child = Command::new("node")
            .arg(script)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .args(["--skipApiVersionCheck", "--disableTelemetry", "--location"])
            .arg(folder)
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", key.to_base64()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let listening = async {
            loop {
                let line = lines.next_line().await.expect("readable").expect("Azurite ended before it listened");
                if let Some((_, address)) = line.split_once("successfully listens on ") {
                    return format!("{}/{ACCOUNT}", address.trim());
                }
            }
        };
        let base = tokio::time::timeout(LIMIT, listening).await.expect("Azurite listens in time");
        // It logs every request there; a full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { child, base: Url::parse(&base).expect("a URL"), key })
    }

    /// Asks it to end, and waits until it has: its data are on disk then.
    pub async fn stop(mut self) {
        super::process::signal(&self.child, Signal::TERM);
        tokio::time::timeout(LIMIT, self.child.wait()).await.expect("in time").expect("ended");
    }

    /// Ends it at once, whatever it does.
    pub async fn kill(mut self) {
        self.child.start_kill().expect("it is ours");
        tokio::time::timeout(LIMIT, self.child.wait()).await.expect("in time").expect("ended");
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.base.port().expect("its address has one")
    }

    /// Makes a container, with an account SAS: a container's own SAS cannot make it.
    pub async fn create_container(&self, http: &reqwest::Client, name: &str) {
        let fields = [("sv", "2021-12-02"), ("ss", "b"), ("srt", "c"), ("sp", "c"), ("se", "2099-01-01T00:00:00Z")];
        let key = STANDARD.decode(self.key.to_base64()).expect("base64");
        // https://learn.microsoft.com/en-us/rest/api/storageservices/create-account-sas
        let text = format!("{ACCOUNT}\nc\nb\nc\n\n2099-01-01T00:00:00Z\n\n\n2021-12-02\n\n");
        let signature = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes()));
        let mut url = Url::parse(&format!("{}/{name}?restype=container", self.base)).expect("a URL");
        url.query_pairs_mut().extend_pairs(fields).append_pair("sig", &signature);
        let answer = http.put(url).send().await.expect("answered");
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap_or_default());
    }
}
