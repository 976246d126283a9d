//! A broker, an inbox that can be watched and made to fail, and a feed between them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use longshore::access::{AccessError, ServiceBusAccess, TokenSet, TokenSource};
use longshore::clock::{Clock, SystemClock, UnixMs};
use longshore::error::Class;
use longshore::feed::Feed;
use longshore::feed::filter::BlobTypeFilter;
use longshore::feed::service_bus::{ServiceBusFeed, ServiceBusSettings, Transport};
use longshore::inbox::{
    ClaimKey, ClaimRequest, Claimed, DeliveryId, EntityKey, Fate, Finish, Forget, Inbox, InboxError, InboxSettings,
    Lookup, Orphan, ParkRules, Plan, Progress, Receipt, Remarks, SqliteInbox, Tended,
};
use longshore::notice::{FeedName, HeardNotice, Notice, NoticeId, SinkName};
use longshore::ops::metrics::FeedLabels;
use longshore::ops::{Condition, Context};
use longshore::probe::Step;
use longshore::sandbox::broker::{Broker, BrokerSettings, BrokerState, OutgoingMessage};
use longshore::sandbox::sas::SasKey;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const TOPIC: &str = "export";
pub const PATH: &str = "export/Subscriptions/shop";
/// No wait of a test is longer than this.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Everything that a test needs.
pub struct World {
    pub broker: Arc<Broker>,
    pub tokens: Arc<TestTokens>,
    pub inbox: Arc<WatchedInbox>,
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
        broker.tls = Some((([127, 0, 0, 1], 0).into(), server_identity(&ca_file)));
        settings.ca_file = Some(ca_file);
    }
    let context = Context::new(Arc::new(SystemClock));
    let broker = Arc::new(Broker::start(broker).await.expect("the broker starts"));
    let tokens = Arc::new(TestTokens::new(Arc::clone(&broker), life, heals, tls));
    let inbox = Arc::new(WatchedInbox::open(folder.path()));
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
            tokio::time::timeout(LIMIT, run).await.expect("the feed ends in time").expect("the feed does not panic");
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

/// A certificate for `localhost`, written to `ca_file` for the client to trust.
fn server_identity(ca_file: &std::path::Path) -> Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(ca_file, made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a key that fits");
    Arc::new(config)
}

/// The vendor's metadata for file `n`.
pub fn announcement(n: u32) -> String {
    format!(
        r#"{{"blobType":"Gateway.ItemChanges","correlationId":"c-{n}","uri":"https://acct.blob.core.windows.net/box/{n}.jsonl.gz","contentType":"application/x-jsonlines","contentEncoding":"gzip"}}"#
    )
}

/// Tokens that a test signs itself.
pub struct TestTokens {
    broker: Arc<Broker>,
    life: Duration,
    heals: bool,
    tls: bool,
    current: watch::Sender<Option<Arc<TokenSet>>>,
    refusals: AtomicU32,
}

impl TestTokens {
    fn new(broker: Arc<Broker>, life: Duration, heals: bool, tls: bool) -> Self {
        let tokens = Self { broker, life, heals, tls, current: watch::Sender::new(None), refusals: AtomicU32::new(0) };
        tokens.issue(&tokens.broker.key());
        tokens
    }

    /// Puts a token in force that is signed with `key`.
    pub fn issue(&self, key: &SasKey) {
        let address = if self.tls { self.broker.tls_address() } else { self.broker.plain_address() };
        let host = if self.tls { "localhost" } else { "127.0.0.1" };
        let audience = format!("sb://{host}/{PATH}");
        let now = SystemClock.now();
        // Tokens count whole seconds.
        let expires = UnixMs(now.plus(self.life).0 / 1000 * 1000);
        self.current.send_modify(|current| {
            *current = Some(Arc::new(TokenSet {
                generation: current.as_ref().map_or(1, |tokens| tokens.generation + 1),
                obtained: now,
                service_bus: ServiceBusAccess {
                    host: host.to_owned(),
                    port: address.map(|address| address.port()),
                    development_emulator: !self.tls,
                    topic: TOPIC.to_owned(),
                    subscription: "shop".to_owned(),
                    sas: key.token(&audience, expires),
                    audience,
                    expires: Some(expires),
                },
                blobs: Vec::new(),
            }));
        });
    }

    /// How often a token was said to be refused.
    pub fn refusals(&self) -> u32 {
        self.refusals.load(Ordering::SeqCst)
    }

    fn in_force(&self) -> Arc<TokenSet> {
        self.current.borrow().clone().expect("a token was issued")
    }
}

#[async_trait]
impl TokenSource for TestTokens {
    async fn current(&self) -> Result<Arc<TokenSet>, AccessError> {
        Ok(self.in_force())
    }

    async fn refused(&self, generation: u64) -> Result<Arc<TokenSet>, AccessError> {
        self.refusals.fetch_add(1, Ordering::SeqCst);
        if self.in_force().generation <= generation {
            if !self.heals {
                return Err(AccessError::new(Class::Unauthorized, "the token service is down"));
            }
            self.issue(&self.broker.key());
        }
        Ok(self.in_force())
    }

    fn watch(&self) -> watch::Receiver<Option<Arc<TokenSet>>> {
        self.current.subscribe()
    }

    async fn probe(&self) -> Vec<Step> {
        Vec::new()
    }
}

/// What an inbox was asked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `store` was called with so many notices.
    Store(usize),
    /// `store` returned, and had stored or found so many.
    Stored(usize),
    /// `settled` was called with so many.
    Settled(usize),
}

/// An SQLite inbox that writes down what it is asked, and waits or fails when told to.
pub struct WatchedInbox {
    inner: SqliteInbox,
    asked: watch::Sender<Vec<Asked>>,
    heard: Mutex<Vec<HeardNotice>>,
    failure: Mutex<Option<InboxError>>,
    is_open: watch::Sender<bool>,
}

impl WatchedInbox {
    fn open(folder: &std::path::Path) -> Self {
        let settings = InboxSettings {
            path: folder.join("inbox.db"),
            retention_age: Duration::from_secs(3600),
            retention_bytes: None,
            dedupe_age: Duration::from_secs(3600),
            commit_notices_max: 1024,
            parking: longshore::inbox::ParkingBounds::default(),
        };
        Self {
            inner: SqliteInbox::open(&settings, Arc::new(SystemClock)).expect("the inbox opens"),
            asked: watch::Sender::default(),
            heard: Mutex::default(),
            failure: Mutex::default(),
            is_open: watch::Sender::new(true),
        }
    }

    /// Makes `store` wait (`false`) or go on (`true`).
    pub fn set_open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }

    /// Makes `store` fail, or work again.
    pub fn fail_with(&self, failure: Option<InboxError>) {
        *self.failure.lock().expect("no panic") = failure;
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Waits until what was asked satisfies `wanted`.
    pub async fn until(&self, wanted: impl Fn(&[Asked]) -> bool) {
        let mut asked = self.asked.subscribe();
        let reached = asked.wait_for(|asked| wanted(asked));
        drop(tokio::time::timeout(LIMIT, reached).await.expect("the inbox is asked").expect("the inbox lives on"));
    }

    /// Every notice that was stored or found stored, in order.
    pub fn heard(&self) -> Vec<HeardNotice> {
        self.heard.lock().expect("no panic").clone()
    }

    /// The keys of the notices in the inbox that go on to the routes.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self
            .inner
            .unplanned(100_000)
            .await
            .expect("the inbox can be read")
            .into_iter()
            .map(|notice| notice.dedupe_key)
            .collect();
        keys.sort_unstable();
        keys
    }
}

#[async_trait]
impl Inbox for WatchedInbox {
    fn now(&self) -> UnixMs {
        self.inner.now()
    }

    async fn store(&self, batch: Vec<HeardNotice>) -> Result<Vec<Receipt>, InboxError> {
        self.asked.send_modify(|asked| asked.push(Asked::Store(batch.len())));
        drop(self.is_open.subscribe().wait_for(|is_open| *is_open).await.expect("the inbox lives on"));
        if let Some(failure) = self.failure.lock().expect("no panic").clone() {
            return Err(failure);
        }
        let receipts = self.inner.store(batch.clone()).await?;
        self.heard.lock().expect("no panic").extend(batch);
        self.asked.send_modify(|asked| asked.push(Asked::Stored(receipts.len())));
        Ok(receipts)
    }

    async fn settled(&self, notices: Vec<NoticeId>, at: UnixMs) -> Result<(), InboxError> {
        self.asked.send_modify(|asked| asked.push(Asked::Settled(notices.len())));
        self.inner.settled(notices, at).await
    }

    async fn holds(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<bool>, InboxError> {
        self.inner.holds(feed, prefixes).await
    }

    async fn newest(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<Vec<(String, UnixMs)>>, InboxError> {
        self.inner.newest(feed, prefixes).await
    }

    async fn heard_events(
        &self,
        feed: FeedName,
        keys: Vec<EntityKey>,
        delivery: DeliveryId,
    ) -> Result<Vec<bool>, InboxError> {
        self.inner.heard_events(feed, keys, delivery).await
    }

    async fn mark(&self, feed: &FeedName) -> Result<Option<String>, InboxError> {
        self.inner.mark(feed).await
    }

    async fn set_mark(&self, feed: &FeedName, mark: String) -> Result<(), InboxError> {
        self.inner.set_mark(feed, mark).await
    }

    async fn oldest_unfinished(&self, feed: &FeedName) -> Result<Option<UnixMs>, InboxError> {
        self.inner.oldest_unfinished(feed).await
    }

    async fn unplanned(&self, limit: usize) -> Result<Vec<Notice>, InboxError> {
        self.inner.unplanned(limit).await
    }

    async fn plan(&self, plans: Vec<Plan>) -> Result<(), InboxError> {
        self.inner.plan(plans).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, InboxError> {
        self.inner.claim(request).await
    }

    async fn renew(&self, key: ClaimKey, until: UnixMs) -> Result<(), InboxError> {
        self.inner.renew(key, until).await
    }

    async fn progress(&self, key: ClaimKey, progress: Progress, remarks: Remarks) -> Result<(), InboxError> {
        self.inner.progress(key, progress, remarks).await
    }

    async fn finish(&self, key: ClaimKey, finish: Finish, remarks: Remarks) -> Result<(), InboxError> {
        self.inner.finish(key, finish, remarks).await
    }

    async fn known(&self, sink: SinkName, lookups: Vec<Lookup>) -> Result<Vec<Vec<bool>>, InboxError> {
        self.inner.known(sink, lookups).await
    }

    async fn decided(&self, delivery: DeliveryId, first: u64, last: u64) -> Result<Vec<(u64, Fate)>, InboxError> {
        self.inner.decided(delivery, first, last).await
    }

    async fn park(&self, key: ClaimKey, rules: ParkRules, orphans: Vec<Orphan>) -> Result<Vec<Fate>, InboxError> {
        self.inner.park(key, rules, orphans).await
    }

    async fn forget_attempts(&self, key: ClaimKey, what: Forget) -> Result<bool, InboxError> {
        self.inner.forget_attempts(key, what).await
    }

    async fn tend(&self) -> Result<Tended, InboxError> {
        self.inner.tend().await
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }
}
