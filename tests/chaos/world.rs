//! The vendor, the network between, the user's side, and one daemon at a time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longshore::clock::SystemClock;
use longshore::config::{Config, Files};
use longshore::inbox::SqliteInbox;
use longshore::sandbox::broker::QueueState;
use longshore::sandbox::sample::{Compression, Format, Kind, SampleSpec};
use longshore::sandbox::{BlobFault, FileSource, PublishRequest, Sandbox, SandboxSettings, TenantFault};

use serde_json::json;

use crate::command::Script;
use crate::process::{self, Daemon};
use crate::proxy::{Proxy, Weather};
use crate::receiver::Receiver;
use crate::schedule::{Act, Events, Load, Server, Way};
use crate::senders::{Caller, Dropper, SECRET};

/// Short limits everywhere, so that a fault is noticed within a cycle; budgets that no number of cycles uses up.
const LIMITS: &str = r#"
[tokens]
refresh_interval_min = "1s"

[work]
lease = "5s"
drain = "5s"
attempts_max = 1000000
retry_min = "20ms"
retry_max = "300ms"
missing_object_for = "1h"

[fetch]
connect_timeout = "1s"
idle_timeout = "1s"

[ops]
listen = ""

[log]
level = "debug"
"#;

/// How many sinks each record goes to.
pub const SINKS: u64 = 4;

/// What was published besides items, for the figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub prices: u64,
    pub calls: u64,
    pub dropped: u64,
}

/// Everything around the daemon.
pub struct World {
    pub sandbox: Sandbox,
    pub receiver: Receiver,
    pub script: Script,
    pub config: PathBuf,
    pub folder: tempfile::TempDir,
    /// The identity of every record published so far.
    pub published: BTreeSet<String>,
    pub files: u64,
    /// Records that the routes leave out, and lines that are no records.
    pub filtered: u64,
    pub bad: u64,
    pub counts: Counts,
    /// The number of the next item, and the one behind the last that a price names.
    items: u64,
    promised: u64,
    /// The number of the next event.
    events: u64,
    caller: Caller,
    dropper: Dropper,
    broker: Proxy,
    blobs: Proxy,
    tokens: Proxy,
}

impl World {
    /// A world whose feed has this `transport`, and whose files are delivered in this `ordering`.
    pub async fn new(transport: &str, ordering: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("longshore-chaos-").tempdir().expect("a folder");
        let (broker, blobs, tokens) = (Proxy::start().await, Proxy::start().await, Proxy::start().await);
        let settings = SandboxSettings {
            broker_seen_at: Some(broker.address()),
            blob_seen_at: Some(blobs.address()),
            // A message whose receiver was killed comes again soon, and as often as it is needed.
            lock_duration: Duration::from_secs(5),
            delivery_count_max: 1_000_000,
            ..SandboxSettings::new(folder.path())
        };
        let sandbox = Sandbox::start(settings).await.expect("the sandbox");
        broker.lead_to(sandbox.broker().plain_address().expect("plain AMQP"));
        blobs.lead_to(sandbox.blob_address());
        let token_service = sandbox.tenant_service().socket_addrs(|| None).expect("an address")[0];
        tokens.lead_to(token_service);
        let receiver = Receiver::start().await;
        let script = Script::new(folder.path().join("script"));
        let access =
            sandbox.configuration_of_access().replace(&token_service.to_string(), &tokens.address().to_string());
        let config = folder.path().join("daemon.toml");
        let (caller, dropper) = (Caller::new(), Dropper::new(folder.path().join("drop")));
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).expect("the secret");
        let sinks = senders(&caller, &dropper) + &sinks(&receiver, &script);
        let text = format!(
            "{access}transport = \"{}\"\nreconnect_min = \"20ms\"\nreconnect_max = \"300ms\"\nsilence_max = \"2s\"\n{sinks}{}",
            transport,
            LIMITS.replace("[work]", &format!("[work]\nordering = \"{ordering}\""))
        );
        std::fs::write(&config, text).expect("the configuration");
        Self {
            sandbox,
            receiver,
            script,
            config,
            folder,
            published: BTreeSet::new(),
            files: 0,
            filtered: 0,
            bad: 0,
            counts: Counts::default(),
            items: 0,
            promised: 0,
            events: 0,
            caller,
            dropper,
            broker,
            blobs,
            tokens,
        }
    }

    /// Starts `longshore`.
    pub fn start(&self, args: &[&str]) -> Daemon {
        Daemon::start(process::command(&self.config, args), self.folder.path())
    }

    /// The inbox, beside the daemon's own hold on it.
    pub fn inbox(&self) -> SqliteInbox {
        let config = Config::load(&self.config, Files::Checked).expect("a good configuration");
        SqliteInbox::open(&config.inbox, Arc::new(SystemClock)).expect("the inbox")
    }

    /// Lets every lease run out at once. No daemon runs meanwhile.
    pub fn lose_leases(&self) {
        let inbox = rusqlite::Connection::open(self.path("inbox.db")).expect("the inbox");
        inbox.execute("UPDATE deliveries SET lease_until = 1 WHERE state = 'claimed'", []).expect("the leases");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The vendor's subscription.
    pub fn subscription(&self) -> QueueState {
        self.sandbox.broker().state().subscription(&self.sandbox.subscription_path())
    }

    pub async fn publish(&mut self, load: Load) {
        let spec = SampleSpec {
            first: self.items,
            format: load.format,
            compression: load.compression,
            ..SampleSpec::new(Kind::Items, load.records)
        };
        // Numbered from file to file: see `SampleSpec::first`.
        let all = SampleSpec { records: load.records * u64::from(load.files), ..spec.clone() };
        self.published.extend((0..all.records).map(|index| crate::oracle::identity(&all.record(index))));
        self.files += u64::from(load.files);
        self.items += all.records;
        let mut request = PublishRequest::samples(spec, load.files);
        if load.format == Format::XmlLines {
            request = request.blob_type("Xml.Items");
        }
        self.sandbox.publish(request).await.expect("published");
    }

    /// Publishes a price for each of the `prices` items that follow the next `ahead` ones: children before their parents.
    pub async fn publish_prices(&mut self, ahead: u64, prices: u64) {
        let items = SampleSpec { first: self.items + ahead, ..SampleSpec::new(Kind::Items, prices) };
        let mut text = String::new();
        for index in 0..prices {
            let sku = crate::oracle::identity(&items.record(index));
            let price = json!({ "price": format!("{} of {sku}", self.counts.prices + index), "item": sku });
            self.published.insert(crate::oracle::identity(&price));
            text.push_str(&format!("{price}\n"));
        }
        self.files += 1;
        self.counts.prices += prices;
        self.promised = self.promised.max(self.items + ahead + prices);
        let request = PublishRequest::new(FileSource::Text(text)).blob_type("Prices");
        self.sandbox.publish(request).await.expect("published");
    }

    /// Publishes the items that prices were promised.
    pub async fn keep_promises(&mut self) {
        let records = self.promised.saturating_sub(self.items);
        if records > 0 {
            let (format, compression) = (Format::JsonLines, Compression::Gzip);
            self.publish(Load { files: 1, records, format, compression }).await;
        }
    }

    /// Publishes events by way of the vendor, of a caller or of dropped files, with some that the route leaves out and,
    /// where the way allows it, some that are no records.
    pub async fn publish_events(&mut self, events: Events) {
        let mut records = Vec::new();
        for _ in 0..events.records {
            let id = format!("e{}", self.events);
            self.events += 1;
            let is_kept = !self.events.is_multiple_of(7);
            records.push(json!({ "id": id, "keep": if is_kept { "yes" } else { "no" } }));
            if is_kept {
                self.published.insert(id);
            } else {
                self.filtered += 1;
            }
        }
        self.files += 1;
        let is_csv = events.is_csv || events.way == Way::Dropped;
        let mut text = if is_csv { "id,keep\n".to_owned() } else { String::new() };
        for (place, record) in records.iter().enumerate() {
            let is_bad = place as u64 % 10 == 4 && events.way != Way::Called;
            self.bad += u64::from(is_bad);
            if is_bad {
                text.push_str(if is_csv { "one,value,too many\n" } else { "{\"id\": oops\n" });
            }
            let [id, keep] = ["id", "keep"].map(|name| record[name].as_str().expect("a text"));
            text.push_str(&if is_csv { format!("{id},{keep}\n") } else { format!("{record}\n") });
        }
        match events.way {
            Way::Called => {
                self.counts.calls += 1;
                self.caller.call(self.events, &records);
            }
            Way::Dropped => {
                self.counts.dropped += 1;
                self.dropper.lay(&format!("Events {}.csv", self.events), &text);
            }
            Way::Announced => {
                let mut request = PublishRequest::new(FileSource::Text(text)).blob_type("Events");
                request.content_type = is_csv.then(|| "text/csv".to_owned());
                self.sandbox.publish(request).await.expect("published");
            }
        }
    }

    /// What the senders besides the vendor have not got rid of.
    pub fn waiting(&self) -> u64 {
        self.caller.waiting() + self.dropper.waiting()
    }

    /// Does what needs no daemon.
    pub fn act(&self, act: &Act) {
        match act {
            Act::Publish(_) | Act::Prices { .. } | Act::Events(_) | Act::Freeze(_) => {
                unreachable!("these are done by the round")
            }
            Act::Clear => self.clear(),
            Act::Weather(server, weather) => self.proxy(*server).set(*weather),
            Act::Blobs(kind, requests) => {
                self.sandbox.add_blob_fault(BlobFault::next(kind.clone(), *requests)).expect("few faults");
            }
            Act::Tokens { status, requests } => self.sandbox.add_tenant_fault(TenantFault {
                status: *status,
                retry_after: (*status == 429).then_some(1),
                requests: Some(*requests),
            }),
            Act::Duplicate(count) => self.sandbox.duplicate_next(*count).expect("the subscription"),
            Act::Detach => self.sandbox.broker().detach_all("amqp:link:detach-forced"),
            Act::Busy(count) => self.sandbox.broker().server_busy(*count),
            Act::Rotate { broker, blobs } => {
                if *broker {
                    self.sandbox.rotate_service_bus_key();
                }
                if *blobs {
                    self.sandbox.rotate_blob_key();
                }
            }
            Act::Expire { broker, blobs, access } => {
                if *broker {
                    self.sandbox.broker().expire_tokens();
                }
                if *blobs {
                    self.sandbox.expire_blob_tokens();
                }
                if *access {
                    self.sandbox.expire_access_tokens();
                }
            }
            Act::Receiver(manner, requests) => self.receiver.order(*manner, *requests),
            Act::Script(manner, batches) => self.script.order(*manner, *batches),
        }
    }

    /// Every fault ends.
    pub fn calm(&self) {
        self.clear();
        self.sandbox.clear_blob_faults();
        self.sandbox.clear_tenant_faults();
        self.sandbox.broker().server_busy(0);
        self.receiver.calm();
        self.script.calm();
    }

    fn clear(&self) {
        for server in [Server::Broker, Server::Blobs, Server::Tokens] {
            self.proxy(server).set(Weather::Good);
        }
    }

    fn proxy(&self, server: Server) -> &Proxy {
        match server {
            Server::Broker => &self.broker,
            Server::Blobs => &self.blobs,
            Server::Tokens => &self.tokens,
        }
    }
}

/// Feeds besides the vendor's.
fn senders(caller: &Caller, dropper: &Dropper) -> String {
    format!(
        r#"
[[feed]]
name = "hooks"
type = "webhook"
listen = "{}"
secret_file = "secret"

[[feed]]
name = "drop"
type = "drop"
source = {:?}
poll = "100ms"
stable_for = "100ms"
after = "delete"
"#,
        caller.address(),
        dropper.folder()
    )
}

/// Routes to a sink of each kind, with batches so small that a file is many of them.
fn sinks(receiver: &Receiver, script: &Script) -> String {
    format!(
        r#"
[[entity]]
name = "item"
blob_types = ["Gateway.ItemChanges", "Xml.Items"]
key = {{ sku = "/identifier/sku", xml = "/Item/identifier/sku" }}

[[route]]
name = "xml"
blob_types = ["Xml.*"]
sinks = ["files", "table", "shop", "script"]

[[route]]
name = "events"
blob_types = ["Events*"]
sinks = ["files", "table", "shop", "script"]
only = [{{ pointer = "/keep", equals = ["yes"] }}]

[[route]]
name = "prices"
blob_types = ["Prices"]
sinks = ["files", "table", "shop", "script"]
parents = [{{ entity = "item", key = {{ sku = "/item", xml = "/item" }} }}]

[[route]]
name = "everything"
blob_types = ["*"]
sinks = ["files", "table", "shop", "script"]

[[sink]]
name = "files"
type = "directory"
path = "delivered"
batch_records_max = 16

[[sink]]
name = "table"
type = "sqlite"
path = "records.db"
key = {{ everything = "/identifier/sku", xml = "/Item/identifier/sku", prices = "/price", events = "/id" }}
batch_records_max = 40

[[sink]]
name = "shop"
type = "http"
url = "http://{}/import"
timeout = "700ms"
batch_records_max = 30

[[sink]]
name = "script"
type = "command"
command = {:?}
timeout = "2s"
batch_records_max = 100

[inbox]
path = "inbox.db"
"#,
        receiver.address(),
        script.command()
    )
}
