//! The vendor's side, a configuration that names it, and the program.

use longshore::sandbox::fft::{Fft, FftSettings};
use serde_json::{Value, json};

use crate::common::place::{ALL, Place};
use crate::common::process;

pub const TARGET: &str = "https://hooks.example/events";

/// The exit code of "something is to do".
pub const TO_DO: i32 = 75;

pub struct World {
    pub vendor: Fft,
    place: Place,
}

/// What the program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

crate::is_a_place!(World, place);

impl World {
    /// A world in which `events` are wanted.
    pub async fn new(events: &[&str]) -> Self {
        Self::with(events, "", FftSettings::default()).await
    }

    /// Also with `more` keys of the subscriptions.
    pub async fn with(events: &[&str], more: &str, settings: FftSettings) -> Self {
        let vendor = Fft::start(settings).await.expect("the vendor");
        let world = Self { vendor, place: Place::new() };
        let FftSettings { api_key, username, password, .. } = world.vendor.settings();
        world.hold("password", password);
        world.hold("api-key", api_key);
        world.hold("secret", "Bearer first\n");
        let base = world.vendor.base();
        world.configure(&format!(
            r#"
[[feed]]
name = "events"
type = "webhook"
listen = "127.0.0.1:0"
secret_file = "secret"

[feed.subscriptions]
api = "{base}"
sign_in = "{base}"
refresh = "{base}"
target = "{TARGET}"
username = "{username}"
password_file = "password"
api_key_file = "api-key"
events = {events:?}
{more}

{ALL}
[inbox]
path = "inbox.db"
"#
        ));
        world
    }

    /// Runs `longshore`, which says no secret.
    pub async fn longshore(&self, args: &[&str]) -> Said {
        let output = process::output(self.command(args)).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said =
            Said { code: output.status.code().expect("an exit"), out: text(&output.stdout), err: text(&output.stderr) };
        for secret in ["Bearer first", "Bearer second", "sandbox-password", "AIzaSy"] {
            assert!(!said.out.contains(secret) && !said.err.contains(secret), "{}{}", said.out, said.err);
        }
        said
    }

    /// Runs `longshore subscriptions`, and holds that it ends with `code`.
    pub async fn ends(&self, code: i32, args: &[&str]) -> Said {
        let said = self.longshore(&[&["subscriptions"], args].concat()).await;
        assert_eq!(said.code, code, "{args:?}:\n{}{}", said.out, said.err);
        said
    }

    /// What the vendor has, as `event secret` for ours and `event name` for others', in order.
    pub fn there(&self) -> Vec<String> {
        let one = |told: Value| {
            let event = told["event"].as_str().unwrap_or_default().to_owned();
            let address = told.pointer("/target/callbackUrl").or(told.get("callbackUrl"));
            let headers = told.pointer("/target/headers").or(told.get("headers"));
            let what = if address == Some(&json!(TARGET)) {
                headers.and_then(|headers| headers[0]["value"].as_str()).unwrap_or("no secret").to_owned()
            } else {
                told["name"].as_str().unwrap_or_default().to_owned()
            };
            format!("{event} {what}")
        };
        let mut there: Vec<String> = self.vendor.subscriptions().into_iter().map(one).collect();
        there.sort();
        there
    }

    /// The changing requests that were answered, as `POST 201`.
    pub fn changes(&self) -> Vec<String> {
        let requests = self.vendor.requests().into_iter();
        let changes = requests.filter(|one| one.path.starts_with("/api/") && one.method != http::Method::GET);
        changes.map(|one| format!("{} {}", one.method, one.status)).collect()
    }
}

/// One that somebody else made, in the present form or the deprecated one.
pub fn others(event: &str, is_deprecated: bool) -> Value {
    let address = "https://shop.example/hook";
    let headers = json!([{ "key": "X-Key", "value": "k" }]);
    if is_deprecated {
        return json!({ "name": "shop", "event": event, "callbackUrl": address, "headers": headers });
    }
    let target = json!({ "type": "WEBHOOK", "callbackUrl": address, "headers": headers });
    json!({ "name": "shop", "event": event, "target": target })
}
