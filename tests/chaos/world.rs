//! The vendor, the network between, the user's side, and one daemon at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore::sandbox::broker::QueueState;
use longshore::sandbox::sample::{Compression, Format, Kind, SampleSpec};
use longshore::sandbox::{BlobFault, FileSource, PublishRequest, Sandbox, SandboxSettings, TenantFault};

use serde_json::json;

use crate::command::Script;
use crate::common::place::Place;
use crate::configuration;
use crate::proxy::{Proxy, Weather};
use crate::receiver::Receiver;
use crate::schedule::{Act, Events, Load, Server, Way};
use crate::senders::{Caller, Dropper, SECRET};

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
    pub place: Place,
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

crate::is_a_place!(World, place);

impl World {
    /// A world whose feed has this `transport`, and whose files are delivered in this `ordering`.
    pub async fn new(transport: &str, ordering: &str) -> Self {
        let place = Place::within(tempfile::Builder::new().prefix("longshore-chaos-").tempdir().expect("a folder"));
        let (broker, blobs, tokens) = (Proxy::start().await, Proxy::start().await, Proxy::start().await);
        let settings = SandboxSettings {
            broker_seen_at: Some(broker.address()),
            blob_seen_at: Some(blobs.address()),
            // A message whose receiver was killed comes again soon, and as often as it is needed.
            lock_duration: Duration::from_secs(5),
            delivery_count_max: 1_000_000,
            ..SandboxSettings::new(place.folder())
        };
        let sandbox = Sandbox::start(settings).await.expect("the sandbox");
        broker.lead_to(sandbox.broker().plain_address().expect("plain AMQP"));
        blobs.lead_to(sandbox.blob_address());
        let token_service = sandbox.tenant_service().socket_addrs(|| None).expect("an address")[0];
        tokens.lead_to(token_service);
        let receiver = Receiver::start().await;
        let script = Script::new(place.path("script"));
        let (caller, dropper) = (Caller::new(), Dropper::new(place.path("drop")));
        place.write("secret", format!("{SECRET}\n"));
        let access = sandbox.configuration_of_access();
        let access = access.replace(&token_service.to_string(), &tokens.address().to_string());
        let feeds = configuration::feeds(&access, transport, &caller, &dropper);
        let sinks = configuration::sinks(&receiver, &script);
        place.configure(&format!("{feeds}{sinks}{}", configuration::limits(ordering)));
        Self {
            sandbox,
            receiver,
            script,
            place,
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

    /// Lets every lease run out at once. No daemon runs meanwhile.
    pub fn lose_leases(&self) {
        let inbox = rusqlite::Connection::open(self.path("inbox.db")).expect("the inbox");
        inbox.execute("UPDATE deliveries SET lease_until = 1 WHERE state = 'claimed'", []).expect("the leases");
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
