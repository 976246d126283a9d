//! The Service Bus feed: AMQP 1.0, peek-lock, commit then complete.
//!
//! What always holds:
//!
//! 1. A message is completed only with the receipt of the commit that holds it. The types say so: see `batch`.
//! 2. Credit outstanding and messages unsettled are together never more than one commit takes, so that no lock runs
//!    out in a buffer.
//! 3. A token goes to the host that its connection string names, over TLS (plain to loopback only), and nowhere else.
//! 4. The feed ends when it is told to stop, and for no other reason.
//! 5. No message can end the process, or hold up those behind it: `guard` looks at the bytes before the library does.
//!
//! A completion can get lost: the library does not tell what the broker answered, and a link can end before it. What
//! is known to be left over is completed by lock token on the next connection; the rest comes again, the inbox finds
//! it under its key and stores nothing, and it is completed then.
//!
//! ```text
//! run: tokens ─> stream ─> guard ─> Link (open, $cbs, attach) ─> Hearing ─> wind down ─> close ─> back-off ─┐
//!      ^                                                                                            │
//!      └────────────────────────────────────────────────────────────────────────────────────────────┘
//! Hearing:  credit ─> recv ─> Heard ──store──> Stored ──settle──> completed
//!           tokens::keep puts tokens on the same connection meanwhile
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::access::{TokenSet, TokenSource};
use crate::feed::Feed;
use crate::feed::counters::Counters;
use crate::feed::filter::BlobTypeFilter;
use crate::inbox::SharedInbox;
use crate::notice::{FeedName, HeardNotice};
use crate::ops::{Condition, Context, Heartbeat};
use crate::probe::Step;

mod announcement;
mod backoff;
mod batch;
mod cbs;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod hear;
mod link;
mod management;
mod metadata;
mod probe;
mod request;
mod stream;
mod tokens;

use backoff::Backoff;
use batch::Orphan;
use fault::Fault;
use hear::Hearing;
use link::{Link, step, subscription_path};
use stream::{Route, dress, open_tcp};

/// The loop promises a sign of life at least this often.
const HEARTBEAT_MAX: Duration = Duration::from_secs(120);

/// A Service Bus subscription to hear.
#[derive(Clone, Debug)]
pub struct ServiceBusSettings {
    /// The feed's name in the configuration.
    pub name: FeedName,
    /// Which blob types are wanted; others are stored as skipped.
    pub filter: BlobTypeFilter,
    /// AMQP over TLS on 5671, or over a WebSocket on 443.
    pub transport: Transport,
    /// The largest number of messages that are stored in one commit; the link's credit is no larger.
    pub batch_messages_max: u32,
    /// The longest time that a batch waits for more messages before it is stored.
    pub batch_wait: Duration,
    /// A message with more bytes is not read: its first bytes are kept as a notice in quarantine.
    pub message_bytes_max: usize,
    /// Back-off after a lost connection: first and longest wait.
    pub reconnect: (Duration, Duration),
    /// The back-off starts over after a connection has been good for this long.
    pub reconnect_reset: Duration,
    /// A connection on which nothing is heard for this long, heartbeats included, is rebuilt.
    pub silence_max: Duration,
    /// A CA file to trust besides the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// How AMQP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TLS on port 5671.
    #[default]
    Amqp,
    /// A WebSocket over TLS on port 443, where a firewall lets only that through.
    WebSocket,
}

/// The feed.
pub struct ServiceBusFeed {
    settings: ServiceBusSettings,
    tokens: Arc<dyn TokenSource>,
    context: Context,
}

impl ServiceBusFeed {
    /// A feed that hears the subscription that `tokens` name. Nothing is connected before [`Feed::run`].
    #[must_use]
    pub fn new(settings: ServiceBusSettings, tokens: Arc<dyn TokenSource>, context: Context) -> Self {
        Self { settings, tokens, context }
    }

    fn part(&self) -> String {
        format!("feed {}", self.settings.name)
    }

    fn say(&self, condition: Condition) {
        self.context.health.set(&self.part(), condition);
    }

    /// Connects and hears until something ends it. Returns what, and for how long it was good.
    async fn hear_once(
        &self,
        inbox: &SharedInbox,
        counters: &Counters,
        heartbeat: &Heartbeat,
        after: &mut After,
        stop: &CancellationToken,
    ) -> (Fault, Duration) {
        let connecting = alive(heartbeat, async {
            if let Some(notice) = &after.not_stored {
                let stored = inbox.store(vec![(**notice).clone()]).await;
                let receipts = stored.map_err(|error| Fault::Inbox { error, notice: notice.clone() })?;
                let duplicates = receipts.iter().filter(|receipt| receipt.is_duplicate()).count();
                counters.count_stored(receipts.len() as u64, duplicates as u64);
            }
            self.connect(after.refused).await
        });
        let connected = tokio::select! {
            () = stop.cancelled() => return (Fault::Stopped, Duration::ZERO),
            connected = connecting => connected,
        };
        let Connected { mut link, cbs, receiver, tokens, route } = match connected {
            Ok(connected) => connected,
            Err(fault) => return (fault, Duration::ZERO),
        };
        let since = Instant::now();
        counters.count_asked(1);
        self.complete_orphans(&mut link, &tokens, inbox, counters, std::mem::take(&mut after.orphans)).await;
        let place = format!("{route}, {}", subscription_path(&tokens.service_bus));
        tracing::info!(place, generation = tokens.generation, "connected");
        self.say(Condition::Good { note: format!("connected to {place}") });

        let is_inbox_doubtful = after.not_stored.is_some();
        let mut hearing =
            Hearing::new(self, inbox, counters, (receiver, link.mark()), tokens.generation, is_inbox_doubtful);
        let pulse = link.pulse();
        let consent = tokens::keep(&mut link, cbs, &*self.tokens, &*self.context.clock, tokens);
        let fault = hearing.run(consent, &pulse, heartbeat, stop).await;
        let good = since.elapsed();
        if matches!(fault, Fault::Silent(_)) {
            // Whoever is silent does not answer a farewell either.
            pulse.cut();
        }
        let (receiver, orphans) = alive(heartbeat, hearing.wind_down(&fault)).await;
        after.orphans = orphans;
        link.close(receiver).await;
        (fault, good)
    }

    /// Completes what was stored and could not be settled on an earlier connection.
    async fn complete_orphans(
        &self,
        link: &mut Link,
        tokens: &TokenSet,
        inbox: &SharedInbox,
        counters: &Counters,
        orphans: Vec<Orphan>,
    ) {
        if orphans.is_empty() {
            return;
        }
        let notices: Vec<_> = orphans.iter().map(|orphan| orphan.notice).collect();
        let count = notices.len();
        if let Err(fault) = link.complete(&tokens.service_bus, tokens.generation, &orphans).await {
            tracing::debug!(%fault, count, "messages of the lost link could not be completed; they come again");
            return;
        }
        tracing::debug!(count, "messages of the lost link completed by their lock tokens");
        counters.count_settled(count as u64);
        if let Err(error) = inbox.settled(notices, self.context.clock.now()).await {
            tracing::warn!(%error, "the inbox could not note what was settled");
        }
    }

    /// Everything from the tokens to a receiver without credit.
    async fn connect(&self, refused: Option<u64>) -> Result<Connected, Fault> {
        let tokens = match refused {
            Some(generation) => self.tokens.refused(generation).await,
            None => self.tokens.current().await,
        }
        .map_err(Fault::NoTokens)?;
        let route = Route::new(&tokens.service_bus, self.settings.transport)?;
        let (tcp, pulse) = step("connecting", open_tcp(&route)).await?;
        let stream = step("TLS", dress(tcp, &route, &self.settings)).await?;
        let mut link = Link::open(stream, pulse, &route, &self.settings, tokens.generation).await?;
        let cbs = link.authorize(&tokens).await?;
        let receiver = link.subscribe(&tokens.service_bus, tokens.generation).await?;
        Ok(Connected { link, cbs, receiver, tokens, route })
    }

    fn report(&self, fault: &Fault, wait: Duration) {
        let again = format!("trying again in {:.1} s", wait.as_secs_f32());
        if fault.is_ordinary() {
            tracing::debug!(%fault, again, "connection ended");
            self.say(Condition::Good { note: format!("connecting again: {fault}") });
            return;
        }
        let state = if matches!(fault, Fault::Inbox { .. }) { "not listening" } else { "not connected" };
        tracing::warn!(%fault, class = %fault.class(), again, "{state}");
        self.say(Condition::Degraded { reason: format!("{state}: {fault}; {again}") });
    }
}

#[async_trait]
impl Feed for ServiceBusFeed {
    fn name(&self) -> &FeedName {
        &self.settings.name
    }

    async fn run(&self, inbox: SharedInbox, stop: CancellationToken) {
        let hearing = async {
            let heartbeat = self.context.heartbeats.register(&self.part(), HEARTBEAT_MAX);
            let metrics = &self.context.metrics;
            let counters = Counters::new(&self.settings.name, metrics, &metrics.feed_connections);
            let mut backoff = Backoff::new(self.settings.reconnect, self.settings.reconnect_reset);
            let mut after = After::default();
            self.say(Condition::Starting);
            loop {
                let (fault, good) = self.hear_once(&inbox, &counters, &heartbeat, &mut after, &stop).await;
                if stop.is_cancelled() {
                    break;
                }
                let wait = backoff.after(good, fault.wait_min());
                self.report(&fault, wait);
                after.learn(fault);
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = alive(&heartbeat, tokio::time::sleep(wait)) => {}
                }
            }
            self.say(Condition::Good { note: "stopped".to_owned() });
            tracing::info!("stopped");
        };
        hearing.instrument(tracing::info_span!("feed", feed = %self.settings.name)).await;
    }

    async fn probe(&self) -> Vec<Step> {
        probe::walk(&self.settings, &*self.tokens).await
    }
}

/// What the last attempt has taught.
#[derive(Default)]
struct After {
    /// The generation of tokens that was refused; newer ones are asked for before anything else is tried.
    refused: Option<u64>,
    /// A notice that the inbox could not store. It is offered again before anything more is heard: its message was
    /// given back and comes again, and is then found stored.
    not_stored: Option<Box<HeardNotice>>,
    /// What is stored and could not be settled before its link ended.
    orphans: Vec<Orphan>,
}

impl After {
    fn learn(&mut self, fault: Fault) {
        // Newer tokens could not be had: the refused ones are not tried again.
        let is_still_refused = matches!(fault, Fault::NoTokens(_));
        if !is_still_refused {
            self.refused = None;
        }
        self.not_stored = None;
        match fault {
            Fault::Refused { generation, .. } => self.refused = Some(generation),
            Fault::Inbox { notice, .. } => self.not_stored = Some(notice),
            _ => {}
        }
    }
}

/// A link that is ready to hear.
struct Connected {
    link: Link,
    cbs: cbs::Cbs,
    receiver: fe2o3_amqp::Receiver,
    tokens: Arc<TokenSet>,
    route: Route,
}

/// Shows signs of life while `work` waits for something that may rightly take long and ends by itself.
async fn alive<T>(heartbeat: &Heartbeat, work: impl Future<Output = T>) -> T {
    heartbeat.during(HEARTBEAT_MAX / 10, work).await
}
