//! The webhook feed: a sender posts one event a request, and gets its `200` after the commit that holds the event.
//!
//! What always holds:
//!
//! 1. `200` is answered with the receipt of the commit alone. The types say so: see `answer`.
//! 2. Who the sender is, is settled before its body is read; where a signature is asked for, before the body is looked at.
//! 3. Whatever an accepted sender sends is kept: an unknown event under its name, an unknown envelope whole, and what is
//!    no JSON in quarantine. A refusal would only bring it again for as long as the sender retries.
//! 4. Connections, headers, bodies, the bytes of all bodies together, waiting requests and every wait have a bound.
//!
//! ```text
//!            ┌ connection ┐  address, path, secret     signature, envelope
//! accept ──> │ TLS, HTTP  │ ──────────────────> body ─────────────────────> HeardNotice ─┐
//!            └────────────┘ <── 200, with its receipt <── one commit for many <── queue <─┘
//! ```
//!
//! The requests that arrive while one commit is under way are stored by the next: the more there are, the fewer fsyncs
//! each costs. `batch_wait` lets a commit wait for more, which pays only where an fsync is dear.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::feed::Feed;
use crate::feed::filter::BlobTypeFilter;
use crate::inbox::SharedInbox;
use crate::notice::FeedName;
use crate::ops::{Condition, Context};
use crate::probe::Step;

mod answer;
mod certificate;
mod commit;
mod connections;
mod door;
mod envelope;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod probe;
mod secrets;
mod sender;
pub mod subscriptions;
mod troubles;

pub use envelope::{Arrays, EnvelopeSettings};
pub use sender::{Forwarded, SenderSettings, SharedSecret, Signature, SignatureEncoding};

use certificate::Certificate;
use commit::Committer;
use connections::Connections;
use door::Door;
use sender::Sender;
use subscriptions::SubscriptionsSettings;
use troubles::{Trouble, Troubles};

/// The loop promises a sign of life at least this often.
const HEARTBEAT_MAX: Duration = Duration::from_secs(120);
/// How often files that may be replaced are looked at.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// How long to wait before the address is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(5);

/// A webhook to serve.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// The feed's name in the configuration.
    pub name: FeedName,
    /// Which blob types are wanted; others are stored as skipped.
    pub filter: BlobTypeFilter,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The path that senders post to.
    pub path: String,
    /// The certificate to show; plain HTTP without, which the configuration allows on loopback only.
    pub certificate: Option<CertificateFiles>,
    /// What the body of a request is.
    pub envelope: EnvelopeSettings,
    /// Who may send.
    pub sender: SenderSettings,
    /// Bounds.
    pub limits: WebhookLimits,
    /// What the vendor is to send, where that is for us to say.
    pub subscriptions: Option<Box<SubscriptionsSettings>>,
}

/// PEM files; one may hold both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Bounds of a webhook.
#[derive(Clone, Copy, Debug)]
pub struct WebhookLimits {
    /// Connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// The largest body.
    pub body_bytes_max: usize,
    /// Bytes of all bodies in memory together; a request beyond that waits, and is told to come again if it waits long.
    pub bodies_bytes_max: usize,
    /// How long a connection may take for the next request's headers, counted from the answer before.
    pub idle_timeout: Duration,
    /// How long a request may take from its headers to its answer.
    pub answer_timeout: Duration,
    /// The most requests that are stored in one commit.
    pub batch_requests_max: usize,
    /// How long a commit waits for more requests.
    pub batch_wait: Duration,
}

/// The feed.
pub struct WebhookFeed {
    settings: Arc<WebhookSettings>,
    context: Context,
}

impl WebhookFeed {
    /// A feed; nothing listens before [`Feed::run`].
    #[must_use]
    pub fn new(settings: WebhookSettings, context: Context) -> Self {
        Self { settings: Arc::new(settings), context }
    }

    /// Binds the address, however long that takes; `None` when stopped.
    async fn bind(&self, troubles: &Troubles, stop: &CancellationToken) -> Option<TcpListener> {
        let address = self.settings.listen;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    troubles.clear(Trouble::Address);
                    return Some(listener);
                }
                Err(error) => {
                    troubles.set(
                        Trouble::Address,
                        format!("cannot listen on {address}: {error}; end what listens there, or change `listen`"),
                    );
                }
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(BIND_AGAIN) => {}
            }
        }
    }

    /// Serves `listener` until `stop`, and then until what is in hand is answered.
    async fn serve(
        &self,
        listener: TcpListener,
        inbox: SharedInbox,
        troubles: Arc<Troubles>,
        stop: &CancellationToken,
    ) {
        let settings = Arc::clone(&self.settings);
        let sender = Arc::new(Sender::new(settings.sender.clone()));
        let certificate = settings.certificate.clone().map(|files| Arc::new(Certificate::new(files)));
        refresh(&sender, certificate.as_deref(), &self.context, &troubles).await;
        let (committer, committing) = Committer::start(&settings, inbox, self.context.clone(), Arc::clone(&troubles));
        let door = Arc::new(Door::new(Arc::clone(&settings), Arc::clone(&sender), committer, self.context.clone()));
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let address = listener.local_addr().unwrap_or(settings.listen);
        let place = format!("{scheme}://{address}{}", settings.path);
        tracing::info!(place, "listening");
        troubles.set_note(format!("listening on {place}"));

        let refreshing = async {
            let heartbeat = self.context.heartbeats.register(&troubles.part(), HEARTBEAT_MAX);
            let mut tick = tokio::time::interval(REFRESH_EVERY);
            loop {
                tick.tick().await;
                heartbeat.beat();
                refresh(&sender, certificate.as_deref(), &self.context, &troubles).await;
            }
        };
        let connections = Connections::new(settings.limits, certificate.clone(), door);
        tokio::select! {
            () = connections.serve(listener, stop) => {}
            () = refreshing => {}
        }
        // The last connection took the last hold on the queue with it.
        drop(connections);
        committing.await;
    }
}

/// Reads anew what was replaced.
async fn refresh(sender: &Arc<Sender>, certificate: Option<&Certificate>, context: &Context, troubles: &Troubles) {
    troubles.note(Trouble::Secrets, sender.refresh());
    if let Some(certificate) = certificate {
        troubles.note(Trouble::Certificate, certificate.refresh(context.clock.now()));
    }
}

#[async_trait]
impl Feed for WebhookFeed {
    fn name(&self) -> &FeedName {
        &self.settings.name
    }

    async fn run(&self, inbox: SharedInbox, stop: CancellationToken) {
        let hearing = async {
            let part = format!("feed {}", self.settings.name);
            self.context.health.set(&part, Condition::Starting);
            let troubles = Arc::new(Troubles::new(part.clone(), Arc::clone(&self.context.health)));
            if let Some(listener) = self.bind(&troubles, &stop).await {
                self.serve(listener, inbox, troubles, &stop).await;
            }
            self.context.health.set(&part, Condition::Good { note: "stopped".to_owned() });
            tracing::info!("stopped");
        };
        hearing.instrument(tracing::info_span!("feed", feed = %self.settings.name)).await;
    }

    async fn probe(&self) -> Vec<Step> {
        probe::walk(&self.settings, &self.context).await
    }
}
