//! A certificate, a configuration of a webhook, and a daemon that listens.

use std::net::SocketAddr;

use tokio::process::Command;

use crate::common::net;
use crate::common::peers::leave_out;
use crate::common::place::Place;
use crate::common::process::Daemon;

/// What senders show.
pub const SECRET: &str = "Bearer first";

pub struct World {
    pub address: SocketAddr,
    place: Place,
}

crate::is_a_place!(World, place);

impl World {
    /// A world whose feed has the keys of `feed`, and whose configuration ends in `more`. Records go into the table
    /// `orders`, the newest version of each.
    pub fn new(feed: &str, more: &str) -> Self {
        let (place, address) = (Place::new(), net::free_address());
        place.write("secret", format!("{SECRET}\n"));
        place.configure(&format!(
            r#"
[[feed]]
name = "fft"
type = "webhook"
listen = "{address}"
certificate_file = "certificate.pem"
key_file = "key.pem"
secret_file = "secret"
{feed}
[[route]]
name = "orders"
blob_types = ["*"]
sinks = ["database"]

[[sink]]
name = "database"
type = "sqlite"
path = "delivered.db"
key = ["/id"]
version = "/version"

[inbox]
path = "inbox.db"

{more}
"#
        ));
        let world = Self { address, place };
        world.renew_certificate();
        world
    }

    /// Another certificate for this machine, and its key.
    pub fn renew_certificate(&self) {
        let made = net::certificate();
        self.write("certificate.pem", made.cert.pem());
        self.write("key.pem", made.signing_key.serialize_pem());
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// Starts the daemon and waits until it listens.
    pub async fn serve(&self) -> Daemon {
        let daemon = self.run();
        daemon.listens(self.address).await;
        daemon
    }

    /// Runs curl with `args`, trusting the certificate; the status, the headers and the body of the answer.
    pub async fn curl(&self, args: &[&str]) -> Option<(u16, String)> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "60", "--cacert"]);
        command.arg(self.path("certificate.pem")).args(args).kill_on_drop(true);
        let output = match command.output().await {
            Ok(output) => output,
            Err(error) => {
                leave_out(&format!("curl cannot be run: {error}"));
                return None;
            }
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        // `100 Continue` stands before the answer.
        let last = said.rsplit("HTTP/1.1 ").next().expect("an answer");
        let status = last.split(' ').next().and_then(|status| status.parse().ok()).expect("a status");
        Some((status, said))
    }

    /// Posts with a client of our own; the status, or `None` where there was no answer.
    pub async fn post(&self, client: &reqwest::Client, body: String) -> Option<u16> {
        let request = client.post(self.url("/events")).header("Authorization", SECRET).body(body);
        request.send().await.ok().map(|answer| answer.status().as_u16())
    }

    pub fn client(&self) -> reqwest::Client {
        net::client_of(&self.path("certificate.pem"))
    }

    /// The delivered records.
    pub fn delivered(&self) -> Vec<serde_json::Value> {
        let database = rusqlite::Connection::open(self.path("delivered.db")).expect("the database");
        let mut select = database.prepare("SELECT body FROM orders ORDER BY 1").expect("the table");
        let bodies = select.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        bodies.map(|body| serde_json::from_str(&body.expect("a row")).expect("JSON")).collect()
    }
}

pub fn event(event: &str, id: &str, payload: &str) -> String {
    format!(r#"{{"event":"{event}","eventId":"{id}","payload":{payload}}}"#)
}
