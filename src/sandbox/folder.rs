//! The sandbox's folder: certificates, and a configuration with which the daemon runs against it.
//!
//! ```text
//! longshore.toml   ca.pem   certificates/longshore.pem   blobs/ (large generated files)
//! drop/ (daily zips)   bucket-key.json   webhook.pem   webhook-secret   fft-password   fft-api-key
//! ```

use std::path::PathBuf;

use super::pki::write_private;
use super::{Sandbox, SandboxError};

/// How a configuration of ours begins; another one is never overwritten.
const MARK: &str = "# Written by `longshore sandbox`; written again at every start.";

impl Sandbox {
    /// A configuration for this sandbox, to be put into its folder: everything that is published over Service Bus goes
    /// to files in `delivered/`.
    #[must_use]
    pub fn configuration(&self) -> String {
        Self::configuration_of(&[self.configuration_of_access()])
    }

    /// A configuration that hears these parts of the sandbox.
    fn configuration_of(feeds: &[String]) -> String {
        format!(
            r#"{MARK}

{feeds}
[[route]]
name = "everything"
blob_types = ["*"]
csv_columns = ["eventId", "Identity"]
csv_gather = ["Payload."]
sinks = ["files"]

[[sink]]
name = "files"
type = "directory"
path = "delivered"

[inbox]
path = "inbox.db"
"#,
            feeds = feeds.join("\n"),
        )
    }

    /// The part of a configuration in this sandbox's folder that says who we are and where we hear: `[identity]` and
    /// one `[[feed]]`.
    #[must_use]
    pub fn configuration_of_access(&self) -> String {
        let settings = self.settings();
        let quoted = |text: &str| toml::Value::from(text).to_string();
        format!(
            r#"[identity]
authority = {authority}
client_id = {client_id}
scope = {scope}
certificates = "certificates"
ca_file = "ca.pem"

[[feed]]
name = "eg"
type = "service-bus"
tenant_service = {tenant_service}
integration_name = {integration_name}
"#,
            authority = quoted(self.authority().as_str()),
            client_id = quoted(&settings.client_id),
            scope = quoted(&settings.scope),
            tenant_service = quoted(self.tenant_service().as_str()),
            integration_name = quoted(&settings.integration_name),
        )
    }

    /// The `[[feed]]` of a configuration in this sandbox's folder that reads the bucket of day folders.
    #[must_use]
    pub fn configuration_of_bucket(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        format!(
            r#"[[feed]]
name = "bucket"
type = "bucket"
provider = "gcs"
bucket = {bucket}
key_file = "bucket-key.json"
ca_file = "ca.pem"
endpoint = {endpoint}
content_type = "application/x-jsonlines"
blob_type = "fft.export"
poll = "1s"
"#,
            bucket = quoted(&self.settings().bucket),
            endpoint = quoted(self.bucket_url().as_str()),
        )
    }

    /// The `[[feed]]` of a configuration in this sandbox's folder that hears the webhook's events, and what is to be
    /// subscribed to for it.
    #[must_use]
    pub fn configuration_of_webhook(&self) -> String {
        format!(
            r#"[[feed]]
name = "webhook"
type = "webhook"
listen = "{listen}"
certificate_file = "webhook.pem"
key_file = "webhook.pem"
secret_file = "webhook-secret"

[feed.subscriptions]
api = "{api}"
sign_in = "{api}"
refresh = "{api}"
ca_file = "ca.pem"
target = "{target}"
username = "{username}"
password_file = "fft-password"
api_key_file = "fft-api-key"
events = [{events}]
"#,
            listen = self.webhook_address(),
            api = self.fft().base(),
            target = self.webhook_url(),
            username = self.fft().settings().username,
            events = super::sample::Event::NAMES.map(|name| format!("\n  \"{name}\",")).concat() + "\n",
        )
    }

    /// The `[[feed]]` of a configuration in this sandbox's folder that takes the daily zips.
    #[must_use]
    pub fn configuration_of_drop(&self) -> String {
        let source = toml::Value::from(self.drop_folder().display().to_string());
        format!(
            r#"[[feed]]
name = "drop"
type = "drop"
source = {source}
poll = "500ms"
stable_for = "1s"
"#
        )
    }

    /// Writes a configuration that hears all four feeds into the folder, in place of an earlier one of ours, and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written, or is somebody else's.
    pub fn write_configuration(&self) -> Result<PathBuf, SandboxError> {
        let path = self.dir().join("longshore.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.starts_with(MARK) => {
                return Err(SandboxError::Request(format!(
                    "{} was not written by the sandbox; move it away or choose another folder",
                    path.display()
                )));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(SandboxError::Write { path, source }),
        }
        let text = Self::configuration_of(&[
            self.configuration_of_access(),
            self.configuration_of_bucket(),
            self.configuration_of_webhook(),
            self.configuration_of_drop(),
        ]);
        write_private(&path, text.as_bytes())
    }
}
