//! The feed itself, before an inbox that stores or one that does not.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use longshore::clock::{Clock as _, SystemClock, UnixMs};
use longshore::feed::Feed as _;
use longshore::feed::filter::BlobTypeFilter;
use longshore::feed::webhook::{
    Arrays, CertificateFiles, EnvelopeSettings, SenderSettings, SharedSecret, WebhookFeed, WebhookLimits,
    WebhookSettings,
};
use longshore::inbox::ledger::Ledger as _;
use longshore::inbox::{Inbox, InboxError, InboxSettings, ParkingBounds, Receipt, SharedInbox, SqliteInbox};
use longshore::notice::{FeedName, HeardNotice, Metadata, NoticeId, Verdict};
use longshore::ops::Context;
use longshore::pointer::Pointer;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[path = "../../src/inbox/stand_in.rs"]
mod stand_in;
use stand_in::{Interferes, StandIn};

pub const PATH: &str = "/events";
pub const SECRET: &str = "Bearer 7d4c1f0e93a84f62b0";
/// Longer than any start or end takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What the inbox does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    Durable,
    Nothing,
}

/// A listener that runs.
pub struct Listener {
    pub ca_file: PathBuf,
    pub port: u16,
    runtime: Runtime,
    running: JoinHandle<()>,
    stop: CancellationToken,
    storing: Storing,
    inbox: Arc<SqliteInbox>,
    _folder: tempfile::TempDir,
}

impl Listener {
    pub fn start(storing: Storing) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a real disk");
        let runtime = Runtime::new().expect("a runtime");
        let port = free_port();
        let settings = settings(folder.path(), port);
        let inbox = Arc::new(inbox(&folder.path().join("inbox.db")));
        let stop = CancellationToken::new();
        let ca_file = folder.path().join("certificate.pem");
        let shared: SharedInbox = match storing {
            Storing::Durable => Arc::clone(&inbox) as SharedInbox,
            Storing::Nothing => Arc::new(StandIn(runtime.block_on(Forgetful::new(&inbox)))),
        };
        let feed = WebhookFeed::new(settings, Context::new(Arc::new(SystemClock)));
        let running = runtime.spawn({
            let stop = stop.clone();
            async move { feed.run(shared, stop).await }
        });
        runtime.block_on(async {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            let listens = async {
                while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                    tick.tick().await;
                }
            };
            tokio::time::timeout(LIMIT, listens).await.expect("it listens");
        });
        Self { ca_file, port, runtime, running, stop, storing, inbox, _folder: folder }
    }

    /// Ends it; how many events are stored, where that was meant.
    pub fn stop(self) -> Option<u64> {
        self.stop.cancel();
        self.runtime.block_on(async {
            tokio::time::timeout(LIMIT, self.running).await.expect("it ends").expect("the feed does not panic");
            let summary = self.inbox.summary().await.expect("a summary");
            (self.storing == Storing::Durable).then_some(summary.notices.heard)
        })
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// As the configuration has it by default.
fn settings(folder: &Path, port: u16) -> WebhookSettings {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let files = CertificateFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).expect("written");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
    let secret = folder.join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("written");
    let pointer = |text: &str| Pointer::parse(text).expect("a pointer");
    WebhookSettings {
        name: FeedName::new("bench"),
        filter: BlobTypeFilter::new(&["*".to_owned()], &[]).expect("globs"),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        path: PATH.to_owned(),
        certificate: Some(files),
        envelope: EnvelopeSettings {
            blob_type: "{event}".to_owned(),
            event: pointer("/event"),
            id: pointer("/eventId"),
            payload: vec![pointer("/payload")],
            arrays: Arrays::default(),
        },
        sender: SenderSettings {
            secret: Some(SharedSecret { header: http::header::AUTHORIZATION, file: secret }),
            ..SenderSettings::default()
        },
        limits: WebhookLimits {
            connections_max: 1_024,
            body_bytes_max: 8 << 20,
            bodies_bytes_max: 64 << 20,
            idle_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(8),
            batch_requests_max: 500,
            batch_wait: Duration::ZERO,
        },
        subscriptions: None,
    }
}

fn inbox(path: &Path) -> SqliteInbox {
    let settings = InboxSettings {
        path: path.to_owned(),
        retention_age: Duration::from_secs(3600),
        retention_bytes: None,
        dedupe_age: Duration::from_secs(3600),
        commit_notices_max: 1000,
        parking: ParkingBounds::default(),
    };
    SqliteInbox::open(&settings, Arc::new(SystemClock)).expect("the inbox opens")
}

/// Says of everything that it is stored. Only an inbox can make a receipt, so that it has one made and copies it.
struct Forgetful(Receipt);

impl Forgetful {
    async fn new(inbox: &SqliteInbox) -> Self {
        let one = HeardNotice {
            feed: FeedName::new("bench"),
            dedupe_key: "the one that is stored".to_owned(),
            metadata: Metadata::default(),
            body: None,
            published: UnixMs(0),
            sequence: 0,
            delivery_count: 0,
            verdict: Verdict::Accepted,
        };
        Self(inbox.store(vec![one]).await.expect("stored").remove(0))
    }
}

#[async_trait]
impl Interferes for Forgetful {
    fn behind(&self) -> &dyn Inbox {
        unreachable!("a feed that listens only stores")
    }

    fn now(&self) -> UnixMs {
        SystemClock.now()
    }

    async fn store(&self, batch: Vec<HeardNotice>) -> Result<Vec<Receipt>, InboxError> {
        Ok(vec![self.0.clone(); batch.len()])
    }

    async fn settled(&self, _notices: Vec<NoticeId>, _at: UnixMs) -> Result<(), InboxError> {
        Ok(())
    }

    async fn changed(&self) {}
}
