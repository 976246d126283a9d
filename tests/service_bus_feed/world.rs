//! A broker, an inbox that can be watched and made to fail, and a feed between them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use longshore::access::TokenSource;
use longshore::clock::SystemClock;
use longshore::feed::Feed;
use longshore::feed::filter::BlobTypeFilter;
use longshore::feed::service_bus::{ServiceBusFeed, ServiceBusSettings, Transport};
use longshore::notice::FeedName;
use longshore::ops::metrics::FeedLabels;
use longshore::ops::{Condition, Context};
use longshore::sandbox::broker::{Broker, BrokerSettings, BrokerState, OutgoingMessage};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::common::net;
use crate::common::process::LIMIT;
use crate::common::wait::in_time;
use crate::issuer::TestTokens;
use crate::stand_in::StandIn;
use crate::watched::WatchedInbox;

pub const TOPIC: &str = "export";
pub const PATH: &str = "export/Subscriptions/shop";

/// Everything that a test needs.
pub struct World {
    pub broker: Arc<Broker>,
    pub tokens: Arc<TestTokens>,
    pub inbox: Arc<StandIn<WatchedInbox>>,
    pub context: Context,
    pub feed: Arc<ServiceBusFeed>,
    pub settings: ServiceBusSettings,
    stop: CancellationToken,
    run: Mutex<Option<JoinHandle<()>>>,
    _folder: tempfile::TempDir,
}

/// What a test may set differently.
pub struct Setup {
    pub broker: BrokerSettings,
    pub settings: ServiceBusSettings,
    pub life: Duration,
    /// Whether a refused token is replaced by one that is signed with the broker's key of the moment.
    pub heals: bool,
    pub tls: bool,
}

pub fn setup() -> Setup {
    Setup {
        broker: BrokerSettings::new().topic(TOPIC, &["shop"]),
        settings: ServiceBusSettings {
            name: FeedName::new("eg"),
            filter: BlobTypeFilter::new(&["*".to_owned()], &["*.Unwanted".to_owned()]).expect("globs"),
            transport: Transport::Amqp,
            batch_messages_max: 64,
            batch_wait: Duration::from_millis(20),
            message_bytes_max: 1 << 20,
            reconnect: (Duration::from_millis(20), Duration::from_millis(200)),
            reconnect_reset: Duration::from_secs(60),
            silence_max: Duration::from_secs(30),
            ca_file: None,
        },
        life: Duration::from_secs(3600),
        heals: true,
        tls: false,
    }
}

pub async fn world(setup: Setup) -> World {
    let Setup { mut broker, mut settings, life, heals, tls } = setup;
    let folder = tempfile::tempdir().expect("a folder");
    if tls {
        let ca_file = folder.path().join("ca.pem");
        let made = net::certificate();
        std::fs::write(&ca_file, made.cert.pem()).expect("written");
        broker.tls = Some((([127, 0, 0, 1], 0).into(), net::server_of(&made)));
        settings.ca_file = Some(ca_file);
    }
    let context = Context::new(Arc::new(SystemClock));
    let broker = Arc::new(Broker::start(broker).await.expect("the broker starts"));
    let tokens = Arc::new(TestTokens::new(Arc::clone(&broker), life, heals, tls));
    let inbox = Arc::new(StandIn(WatchedInbox::open(folder.path())));
    let feed =
        Arc::new(ServiceBusFeed::new(settings.clone(), Arc::clone(&tokens) as Arc<dyn TokenSource>, context.clone()));
    World {
        broker,
        tokens,
        inbox,
        context,
        feed,
        settings,
        stop: CancellationToken::new(),
        run: Mutex::default(),
        _folder: folder,
    }
}

impl World {
    pub fn start(&self) {
        let (feed, inbox, stop) = (Arc::clone(&self.feed), Arc::clone(&self.inbox), self.stop.clone());
        let run = tokio::spawn(async move { feed.run(inbox, stop).await });
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    /// Stops the feed and waits until it has ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(run) = run {
            in_time("the feed has ended", run).await.expect("the feed does not panic");
        }
    }

    /// Publishes good announcements under the ids `m-<n>`.
    pub fn publish(&self, numbers: std::ops::Range<u32>) {
        let messages = numbers.map(|n| OutgoingMessage::json(format!("m-{n}"), announcement(n))).collect();
        self.broker.publish(TOPIC, messages).expect("published");
    }

    pub fn publish_raw(&self, id: &str, body: &'static [u8]) {
        self.broker.publish(TOPIC, vec![OutgoingMessage::json(id, Bytes::from_static(body))]).expect("published");
    }

    pub async fn broker_is(&self, wanted: impl FnMut(&BrokerState) -> bool) -> BrokerState {
        self.broker.wait_until(LIMIT, wanted).await.expect("the broker gets there")
    }

    /// Waits until all that was published is completed and nothing is left.
    pub async fn all_completed(&self) -> BrokerState {
        self.broker_is(|state| {
            let queue = state.subscription(PATH);
            queue.active == 0 && queue.locked == 0 && queue.completed >= queue.published
        })
        .await
    }

    pub fn counted(&self) -> Counted {
        let labels = FeedLabels { feed: "eg".to_owned() };
        let metrics = &self.context.metrics;
        Counted {
            stored: metrics.notices_stored.get_or_create(&labels).get(),
            duplicates: metrics.notices_duplicate.get_or_create(&labels).get(),
            settled: metrics.notices_settled.get_or_create(&labels).get(),
            connections: metrics.feed_connections.get_or_create(&labels).get(),
        }
    }

    /// Waits until the feed's health satisfies `wanted`.
    pub async fn health_is(&self, wanted: impl Fn(&Condition) -> bool) {
        let mut changes = self.context.health.watch();
        let reached = async {
            loop {
                changes.borrow_and_update();
                if self.context.health.parts().iter().any(|part| part.name == "feed eg" && wanted(&part.condition)) {
                    return;
                }
                changes.changed().await.expect("health lives on");
            }
        };
        let parts = || self.context.health.parts();
        tokio::time::timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("health is {:?}", parts()));
    }

    pub async fn degraded_with(&self, text: &str) {
        self.health_is(|condition| matches!(condition, Condition::Degraded { reason } if reason.contains(text))).await;
    }

    pub async fn connected(&self) {
        self.health_is(|condition| matches!(condition, Condition::Good { note } if note.starts_with("connected")))
            .await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub stored: u64,
    pub duplicates: u64,
    pub settled: u64,
    pub connections: u64,
}

/// The vendor's metadata for file `n`.
pub fn announcement(n: u32) -> String {
    format!(
        r#"{{"blobType":"Gateway.ItemChanges","correlationId":"c-{n}","uri":"https://acct.blob.core.windows.net/box/{n}.jsonl.gz","contentType":"application/x-jsonlines","contentEncoding":"gzip"}}"#
    )
}
