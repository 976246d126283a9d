//! How many notices are heard, stored with fsync and settled per second, from the sandbox's broker over TLS.
//!
//! Beside it, in the same run, the two limits that it cannot exceed: receiving and accepting the same messages without
//! storing them, and storing the same notices without receiving them. Broker and daemon share the machine, as they do
//! nowhere else; so that the figures are low, and their ratio is what to look at.
//!
//! Each round measures all three one after the other; the table shows the median round. `LONGSHORE_BENCH_MESSAGES` and
//! `LONGSHORE_BENCH_ROUNDS` set the effort. The last line is one JSON object.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fe2o3_amqp::link::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use fe2o3_amqp_types::definitions::ReceiverSettleMode;
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Message, Properties};
use fe2o3_amqp_types::primitives::LazyValue;
use longshore::access::{AccessError, ServiceBusAccess, TokenSet, TokenSource};
use longshore::clock::{Clock, SystemClock, UnixMs};
use longshore::feed::Feed;
use longshore::feed::filter::BlobTypeFilter;
use longshore::feed::service_bus::{ServiceBusFeed, ServiceBusSettings, Transport};
use longshore::inbox::{Inbox, InboxSettings, SqliteInbox};
use longshore::notice::{FeedName, HeardNotice, Metadata, Verdict};
use longshore::ops::Context;
use longshore::ops::metrics::FeedLabels;
use longshore::probe::Step;
use longshore::sandbox::broker::{Broker, BrokerSettings, OutgoingMessage};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "export";
const PATH: &str = "export/Subscriptions/shop";
const HOST: &str = "localhost";
/// The defaults of the configuration.
const WINDOW: u32 = 500;
const BATCH_WAIT: Duration = Duration::from_millis(5);
/// What a feed commits at a time: half the window, while the other half is received.
const BATCH: usize = WINDOW as usize / 2;
const FEED: &str = "bench";
/// A round that takes longer than this is given up.
const LIMIT: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
struct Round {
    durable: f64,
    receive_only: f64,
    insert_only: f64,
}

fn main() {
    let messages = setting("LONGSHORE_BENCH_MESSAGES", 60_000);
    let rounds = setting("LONGSHORE_BENCH_ROUNDS", 3).max(1);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut measured: Vec<Round> = (0..rounds).map(|_| runtime.block_on(round(messages))).collect();
    let durable = median(&mut measured, |round| round.durable);
    let receive_only = median(&mut measured, |round| round.receive_only);
    let insert_only = median(&mut measured, |round| round.insert_only);
    let limit = receive_only.min(insert_only);

    println!(
        "{messages} messages of 450 to 1000 bytes over TLS, median of {rounds} rounds, {WINDOW} unsettled at most\n"
    );
    println!("  what                                            per second");
    println!("  heard, stored with fsync and settled            {durable:>10.0}");
    println!("  received and accepted, not stored               {receive_only:>10.0}");
    println!("  stored with fsync, {BATCH} a commit, not received   {insert_only:>10.0}");
    println!("  share of the lower limit                        {:>9.0} %\n", 100.0 * durable / limit);
    println!(
        "{}",
        serde_json::json!({
            "durable_per_s": durable.round(),
            "receive_only_per_s": receive_only.round(),
            "insert_only_per_s": insert_only.round(),
        })
    );
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(rounds: &mut [Round], of: impl Fn(&Round) -> f64) -> f64 {
    rounds.sort_by(|one, other| of(one).total_cmp(&of(other)));
    of(&rounds[rounds.len() / 2])
}

async fn round(messages: usize) -> Round {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a real disk");
    Round {
        durable: durable(messages, folder.path()).await,
        receive_only: receive_only(messages, folder.path()).await,
        insert_only: insert_only(messages, folder.path()).await,
    }
}

/// The feed itself, with an SQLite inbox.
async fn durable(messages: usize, folder: &Path) -> f64 {
    let bench = bench(messages, folder).await;
    let context = Context::new(Arc::new(SystemClock));
    let settings = ServiceBusSettings {
        name: FeedName::new(FEED),
        filter: BlobTypeFilter::new(&["*".to_owned()], &[]).expect("globs"),
        transport: Transport::Amqp,
        batch_messages_max: WINDOW,
        batch_wait: BATCH_WAIT,
        message_bytes_max: 1 << 20,
        reconnect: (Duration::from_secs(1), Duration::from_secs(60)),
        reconnect_reset: Duration::from_secs(300),
        silence_max: Duration::from_secs(180),
        ca_file: Some(bench.ca_file.clone()),
    };
    let tokens = Arc::new(OneToken(watch::Sender::new(Some(Arc::clone(&bench.tokens)))));
    let feed = ServiceBusFeed::new(settings, tokens, context.clone());
    let inbox = Arc::new(inbox(&folder.join("durable.db")));
    let stop = CancellationToken::new();

    let settled = context.metrics.notices_settled.get_or_create(&FeedLabels { feed: FEED.to_owned() }).clone();
    let since = Instant::now();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { feed.run(inbox, stop).await }
    });
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while settled.get() < messages as u64 {
        look.tick().await;
        assert!(since.elapsed() < LIMIT, "the feed has settled only {} of {messages}", settled.get());
    }
    let took = since.elapsed();
    stop.cancel();
    run.await.expect("the feed does not panic");
    assert_eq!(bench.broker.state().subscription(PATH).completed, messages as u64);
    messages as f64 / took.as_secs_f64()
}

/// The same messages on the same kind of link, accepted in batches of the same size, and forgotten.
async fn receive_only(messages: usize, folder: &Path) -> f64 {
    let bench = bench(messages, folder).await;
    let since = Instant::now();
    let tls = longshore::net::tls_config(Some(&bench.ca_file)).expect("roots");
    let port = bench.broker.tls_address().expect("TLS").port();
    let tcp = TcpStream::connect((HOST, port)).await.expect("connected");
    tcp.set_nodelay(true).expect("a socket option");
    let name = ServerName::try_from(HOST).expect("a name");
    let stream = TlsConnector::from(tls).connect(name, tcp).await.expect("TLS");
    let mut connection = Connection::builder()
        .container_id("bench")
        .hostname(HOST)
        .max_frame_size(64 * 1024)
        .sasl_profile(SaslProfile::Anonymous)
        .open_with_stream(stream)
        .await
        .expect("opened");
    let mut session = Session::begin(&mut connection).await.expect("begun");
    put_token(&mut session, &bench.tokens).await;
    let mut receiver = Receiver::builder()
        .name("bench")
        .source(PATH)
        .receiver_settle_mode(ReceiverSettleMode::Second)
        .credit_mode(CreditMode::Manual)
        .attach(&mut session)
        .await
        .expect("attached");
    receiver.set_credit(WINDOW).await.expect("credit");
    let mut held = Vec::with_capacity(BATCH);
    for number in 1..=messages {
        let delivery = receiver.recv::<Body<LazyValue>>().await.expect("a message");
        held.push(delivery.into_parts().0);
        if held.len() == BATCH || number == messages {
            receiver.accept_all(held.drain(..)).await.expect("accepted");
            receiver.set_credit(WINDOW).await.expect("credit");
        }
    }
    let done = bench.broker.wait_until(LIMIT, |state| state.subscription(PATH).completed == messages as u64);
    done.await.expect("all are completed");
    messages as f64 / since.elapsed().as_secs_f64()
}

/// The same notices, from memory.
async fn insert_only(messages: usize, folder: &Path) -> f64 {
    let inbox = inbox(&folder.join("insert.db"));
    let numbers: Vec<usize> = (0..messages).collect();
    let batches: Vec<Vec<HeardNotice>> =
        numbers.chunks(BATCH).map(|numbers| numbers.iter().map(|&number| notice(number)).collect()).collect();
    let since = Instant::now();
    for batch in batches {
        inbox.store(batch).await.expect("stored");
    }
    messages as f64 / since.elapsed().as_secs_f64()
}

struct Bench {
    broker: Broker,
    ca_file: std::path::PathBuf,
    tokens: Arc<TokenSet>,
}

/// A broker over TLS with all messages published.
async fn bench(messages: usize, folder: &Path) -> Bench {
    let ca_file = folder.join("ca.pem");
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).expect("a certificate");
    std::fs::write(&ca_file, made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a key that fits");
    let mut settings = BrokerSettings::new().topic(TOPIC, &["shop"]);
    settings.plain = None;
    settings.tls = Some((([127, 0, 0, 1], 0).into(), Arc::new(tls)));
    let broker = Broker::start(settings).await.expect("the broker starts");
    for number in 0..messages {
        let message =
            OutgoingMessage::json(format!("{number:032}"), serde_json::to_vec(&metadata(number)).expect("JSON"));
        broker.publish(TOPIC, vec![message]).expect("published");
    }
    let audience = format!("sb://{HOST}/{PATH}");
    let now = SystemClock.now();
    let expires = UnixMs(now.plus(Duration::from_secs(3600)).0 / 1000 * 1000);
    let tokens = Arc::new(TokenSet {
        generation: 1,
        obtained: now,
        service_bus: ServiceBusAccess {
            host: HOST.to_owned(),
            port: broker.tls_address().map(|address| address.port()),
            development_emulator: false,
            topic: TOPIC.to_owned(),
            subscription: "shop".to_owned(),
            sas: broker.key().token(&audience, expires),
            audience,
            expires: Some(expires),
        },
        blobs: Vec::new(),
    });
    Bench { broker, ca_file, tokens }
}

/// The vendor's metadata; 450 to 1000 bytes as JSON, by the length of its properties.
fn metadata(number: usize) -> Metadata {
    let padding = "x".repeat(150 + number * 7919 % 551);
    Metadata {
        blob_type: "Gateway.ItemChanges".to_owned(),
        correlation_id: Some(format!("{number:08x}-0000-4000-8000-000000000000")),
        uri: Some(format!(
            "https://exportaccount.blob.core.windows.net/batchtoprocess/Gateway.ItemChanges/2026-03-01/{number:012}.jsonl.gz"
        )),
        content_type: Some("application/x-jsonlines".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        properties: Some(serde_json::json!({ "origin": padding })),
    }
}

fn notice(number: usize) -> HeardNotice {
    HeardNotice {
        feed: FeedName::new(FEED),
        dedupe_key: format!("{number:032}"),
        metadata: metadata(number),
        body: None,
        published: SystemClock.now(),
        sequence: i64::try_from(number).expect("fits"),
        delivery_count: 0,
        verdict: Verdict::Accepted,
    }
}

fn inbox(path: &Path) -> SqliteInbox {
    let settings = InboxSettings {
        path: path.to_owned(),
        retention_age: Duration::from_secs(3600),
        retention_bytes: None,
        dedupe_age: Duration::from_secs(3600),
        commit_notices_max: 1000,
        parking: longshore::inbox::ParkingBounds::default(),
    };
    SqliteInbox::open(&settings, Arc::new(SystemClock)).expect("the inbox opens")
}

async fn put_token(session: &mut fe2o3_amqp::session::SessionHandle<()>, tokens: &TokenSet) {
    let mut sender = Sender::attach(session, "bench-cbs", "$cbs").await.expect("attached");
    let mut replies = Receiver::attach(session, "bench-cbs-replies", "$cbs").await.expect("attached");
    let request = Message::builder()
        .properties(Properties::builder().message_id("1".to_owned()).reply_to("bench-cbs-replies").build())
        .application_properties(
            ApplicationProperties::builder()
                .insert("operation", "put-token")
                .insert("type", "servicebus.windows.net:sastoken")
                .insert("name", tokens.service_bus.audience.clone())
                .build(),
        )
        .value(tokens.service_bus.sas.expose().to_owned())
        .build();
    sender.send(request).await.expect("sent");
    replies.recv::<Body<LazyValue>>().await.expect("a reply");
    sender.close().await.expect("closed");
    replies.close().await.expect("closed");
}

/// A token that lasts for the whole round.
struct OneToken(watch::Sender<Option<Arc<TokenSet>>>);

#[async_trait]
impl TokenSource for OneToken {
    async fn current(&self) -> Result<Arc<TokenSet>, AccessError> {
        Ok(self.0.borrow().clone().expect("set from the start"))
    }

    async fn refused(&self, _generation: u64) -> Result<Arc<TokenSet>, AccessError> {
        self.current().await
    }

    fn watch(&self) -> watch::Receiver<Option<Arc<TokenSet>>> {
        self.0.subscribe()
    }

    async fn probe(&self) -> Vec<Step> {
        Vec::new()
    }
}
