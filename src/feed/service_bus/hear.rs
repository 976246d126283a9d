//! Hearing on one connection: collect a batch, commit it, complete it, and collect the next one meanwhile.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::{MessageDecodeError, RecvError};
use fe2o3_amqp_types::definitions::{Error as AmqpError, ErrorCondition};
use fe2o3_amqp_types::messaging::Body;
use fe2o3_amqp_types::primitives::{LazyValue, Symbol};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::fail_point::{FailPoint, reach};
use crate::feed::counters::Counters;
use crate::feed::service_bus::ServiceBusFeed;
use crate::feed::service_bus::announcement;
use crate::feed::service_bus::batch::{Heard, NotStored, Orphan, Stored};
use crate::feed::service_bus::fault::Fault;
use crate::feed::service_bus::guard::Mark;
use crate::feed::service_bus::stream::Pulse;
use crate::inbox::SharedInbox;
use crate::notice::{NoticeId, Verdict};
use crate::ops::Heartbeat;

/// A batch that takes this much memory is stored without waiting for more.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The library does not tell when the broker has answered a drain: a link on which nothing came for this long is dry.
/// Shorter might leave a message behind, which then comes back when its lock ends; longer only delays a stop.
const DRY_AFTER: Duration = Duration::from_millis(200);
/// How long a farewell may take: draining, the last commit, and settling it.
const WIND_DOWN_LIMIT: Duration = Duration::from_secs(15);
/// A commit that takes longer than this is no sign of life.
const COMMIT_PATIENCE: Duration = Duration::from_secs(60);

/// What the inbox was asked to do: store a batch, and note what was settled before it.
type Work = BoxFuture<'static, Result<Stored, NotStored>>;

/// One connection's worth of hearing.
pub(super) struct Hearing<'a> {
    feed: &'a ServiceBusFeed,
    inbox: &'a SharedInbox,
    counters: &'a Counters,
    receiver: Receiver,
    mark: Mark,
    generation: u64,
    /// Messages that may be unsettled or asked for at a time: no more than one commit takes.
    window: usize,
    /// What the window grows to, doubling with each commit.
    window_max: usize,
    heard: Heard,
    /// The commit in flight, and since when.
    work: Option<(Work, Instant)>,
    /// How many messages the commit in flight holds.
    committing: usize,
    /// Settled with the broker; the inbox is told along with the next commit.
    settled: Vec<NoticeId>,
    /// When credit was last given.
    asked: Instant,
    /// The broker has ended the link: what is settled on it now is not heard any more, though the library sends it.
    is_link_gone: bool,
    /// Stored messages that could not be settled on the link.
    orphans: Vec<Orphan>,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(
        feed: &'a ServiceBusFeed,
        inbox: &'a SharedInbox,
        counters: &'a Counters,
        (receiver, mark): (Receiver, Mark),
        generation: u64,
        is_inbox_doubtful: bool,
    ) -> Self {
        let window_max = usize::try_from(feed.settings.batch_messages_max.max(1)).unwrap_or(usize::MAX);
        // After a failure of the inbox one message at a time is risked first: each that has to be given back may
        // count as a delivery that failed.
        let window = if is_inbox_doubtful { 1 } else { window_max };
        Self {
            feed,
            inbox,
            counters,
            receiver,
            mark,
            generation,
            window,
            window_max,
            heard: Heard::default(),
            work: None,
            committing: 0,
            settled: Vec::new(),
            asked: Instant::now(),
            is_link_gone: false,
            orphans: Vec::new(),
        }
    }

    /// Hears until something ends it; returns what.
    pub(super) async fn run(
        &mut self,
        consent: impl Future<Output = Fault>,
        pulse: &Pulse,
        heartbeat: &Heartbeat,
        stop: &CancellationToken,
    ) -> Fault {
        let Err(fault) = self.listen(consent, pulse, heartbeat, stop).await;
        // The library gives up on a silent broker at about the same time, and only says that the connection ended.
        match fault {
            Fault::Lost(_) if pulse.silence() >= self.feed.settings.silence_max.mul_f64(0.9) => {
                Fault::Silent(pulse.silence())
            }
            other => other,
        }
    }

    async fn listen(
        &mut self,
        consent: impl Future<Output = Fault>,
        pulse: &Pulse,
        heartbeat: &Heartbeat,
        stop: &CancellationToken,
    ) -> Result<Infallible, Fault> {
        let silence_max = self.feed.settings.silence_max;
        let mut look = interval((silence_max / 4).clamp(Duration::from_millis(10), Duration::from_secs(1)));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut consent = pin!(consent);
        let mut stopped = pin!(stop.cancelled());
        let mut patience = pin!(sleep_until(Instant::now()));
        self.ask_for_more().await?;
        loop {
            self.take_what_is_there().await?;
            if self.work.is_none() {
                if self.is_batch_full() {
                    self.commit();
                } else if let Some(due) = self.heard.since().map(|since| since + self.feed.settings.batch_wait)
                    && patience.deadline() != due
                {
                    patience.as_mut().reset(due);
                }
            }
            let is_working = self.work.is_some();
            let work = async {
                match self.work.as_mut() {
                    Some((work, _)) => work.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopped.as_mut() => return Err(Fault::Stopped),
                done = work => {
                    self.work = None;
                    self.committing = 0;
                    self.after_commit(done).await?;
                    self.ask_for_more().await?;
                }
                fault = consent.as_mut() => return Err(fault),
                _ = look.tick() => {
                    if pulse.silence() > silence_max {
                        return Err(Fault::Silent(pulse.silence()));
                    }
                    if self.work.as_ref().is_none_or(|(_, since)| since.elapsed() < COMMIT_PATIENCE) {
                        heartbeat.beat();
                    }
                    if !is_working && self.heard.is_empty() {
                        if !self.settled.is_empty() {
                            self.commit();
                        }
                        // Says the same credit again: it heals a broker that has lost count, and tells one that
                        // drops idle connections that this one is wanted.
                        if self.asked.elapsed() > silence_max / 2 {
                            self.ask_for_more().await?;
                        }
                    }
                }
                () = patience.as_mut(), if !is_working && !self.heard.is_empty() => self.commit(),
                received = self.receiver.recv::<Body<LazyValue>>() => self.take(received).await?,
            }
        }
    }

    /// Takes what has arrived already, without waiting: saves a turn of the loop for each message.
    async fn take_what_is_there(&mut self) -> Result<(), Fault> {
        while self.heard.len() < self.window {
            match self.receiver.recv::<Body<LazyValue>>().now_or_never() {
                Some(received) => self.take(received).await?,
                None => break,
            }
        }
        Ok(())
    }

    async fn take(&mut self, received: Result<fe2o3_amqp::Delivery<Body<LazyValue>>, RecvError>) -> Result<(), Fault> {
        match received {
            Ok(delivery) => {
                let (info, message) = delivery.into_parts();
                let settings = &self.feed.settings;
                let now = self.feed.context.clock.now();
                let refused = self.mark.read(message.message_annotations.as_ref());
                let metrics = &self.feed.context.metrics;
                if let Some(refused) = &refused {
                    metrics.count_refused_message(&settings.name, &refused.label);
                }
                let (notice, refusal) = announcement::read(&settings.name, &settings.filter, message, refused, now);
                if let Some(refusal) = refusal {
                    metrics.count_refused_address(&settings.name, refusal.as_str());
                }
                match &notice.verdict {
                    Verdict::Unreadable(reason) => {
                        tracing::warn!(
                            message = notice.dedupe_key,
                            reason,
                            "heard what cannot be understood; kept in quarantine"
                        );
                    }
                    _ => tracing::debug!(
                        message = notice.dedupe_key,
                        blob_type = notice.metadata.blob_type,
                        correlation_id = notice.metadata.correlation_id,
                        "heard"
                    ),
                }
                self.heard.push(info, notice);
                Ok(())
            }
            Err(RecvError::MessageDecode(error)) => self.set_aside(error).await,
            Err(error) => {
                self.is_link_gone = true;
                Err(Fault::of_recv(&error, self.generation))
            }
        }
    }

    /// The library could not decode a message that the guard had decoded before, which is not expected, and has dropped its
    /// bytes, so that it cannot be kept here. It goes to the broker's dead letters, where it stays.
    async fn set_aside(&mut self, error: MessageDecodeError) -> Result<(), Fault> {
        let reason = crate::secret::redact(&error.source.to_string());
        self.feed.context.metrics.count_refused_message(&self.feed.settings.name, "undecodable");
        tracing::warn!(reason, "a message that cannot be decoded was put among the broker's dead letters");
        let condition = ErrorCondition::Custom(Symbol::from("com.microsoft:dead-letter"));
        let info = [("DeadLetterReason", "Undecodable"), ("DeadLetterErrorDescription", reason.as_str())]
            .into_iter()
            .map(|(name, text)| (Symbol::from(name), fe2o3_amqp_types::primitives::Value::String(text.to_owned())))
            .collect();
        self.receiver
            .reject(error.info, AmqpError::new(condition, None::<String>, Some(info)))
            .await
            .map_err(|error| Fault::of_settle(&error, self.generation))
    }

    /// Half the window at most is collected while the other half is committed.
    fn is_batch_full(&self) -> bool {
        self.heard.len() >= self.window.div_ceil(2) || self.heard.bytes() >= BATCH_BYTES_MAX
    }

    /// Hands what was heard to the inbox, and tells it what was settled before; both fall into one commit.
    fn commit(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        let settled = std::mem::take(&mut self.settled);
        self.committing = heard.len();
        let inbox = Arc::clone(self.inbox);
        let now = self.feed.context.clock.now();
        let work = async move {
            let tell = async {
                if settled.is_empty() {
                    return;
                }
                if let Err(error) = inbox.settled(settled, now).await {
                    // Only a note for `longshore show`: the broker has been told.
                    tracing::warn!(%error, "the inbox could not note what was settled");
                }
            };
            let (stored, ()) = futures::join!(heard.store(&*inbox), tell);
            stored
        };
        self.work = Some((work.boxed(), Instant::now()));
    }

    /// Completes what a commit has stored. If it failed, gives back what it held.
    async fn after_commit(&mut self, done: Result<Stored, NotStored>) -> Result<(), Fault> {
        match done {
            Ok(stored) => {
                self.counters.count_stored(stored.len() as u64, stored.duplicates() as u64);
                if self.is_link_gone {
                    self.orphans.extend(stored.into_orphans());
                    return Ok(());
                }
                if stored.len() > 0 {
                    reach(FailPoint::Stored);
                }
                if let Err(error) = stored.settle(&self.receiver).await {
                    self.orphans.extend(stored.into_orphans());
                    return Err(Fault::of_settle(&error, self.generation));
                }
                let count = stored.len();
                self.counters.count_settled(count as u64);
                self.settled.extend(stored.notices());
                if count > 0 {
                    reach(FailPoint::Settled);
                    self.window = self.window.saturating_mul(2).min(self.window_max);
                }
                Ok(())
            }
            Err(not_stored) => {
                let fault = Fault::Inbox { error: not_stored.error.clone(), notice: not_stored.first.clone() };
                if let Err(error) = not_stored.release(&self.receiver).await {
                    tracing::debug!(%error, "could not give messages back; their locks will end by themselves");
                }
                Err(fault)
            }
        }
    }

    /// Asks for as many messages as the window has room for.
    async fn ask_for_more(&mut self) -> Result<(), Fault> {
        self.asked = Instant::now();
        let unsettled = self.heard.len() + self.committing;
        let credit = u32::try_from(self.window.saturating_sub(unsettled)).unwrap_or(u32::MAX);
        self.receiver.set_credit(credit).await.map_err(|error| Fault::of_settle(&error, self.generation))
    }

    /// Ends hearing in good order after `fault`: nothing more is asked for; what is held is stored and settled, or
    /// given back when the inbox cannot store. Bounded in time. Returns the receiver for the farewell, and what is
    /// stored and could not be settled.
    pub(super) async fn wind_down(mut self, fault: &Fault) -> (Receiver, Vec<Orphan>) {
        let deadline = Instant::now() + WIND_DOWN_LIMIT;
        let can_store = !matches!(fault, Fault::Inbox { .. });
        let farewell = async {
            self.drain().await;
            if let Some((work, _)) = self.work.take() {
                let done = work.await;
                self.after_commit(done).await?;
            }
            if !can_store {
                let heard = std::mem::take(&mut self.heard);
                return heard.release(&self.receiver).await.map_err(|error| Fault::of_settle(&error, self.generation));
            }
            while !(self.heard.is_empty() && self.settled.is_empty()) {
                self.commit();
                if let Some((work, _)) = self.work.take() {
                    let done = work.await;
                    self.after_commit(done).await?;
                }
            }
            Ok(())
        };
        match timeout_at(deadline, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::debug!(%fault, "the link ended before everything was settled; it comes again"),
            Err(_elapsed) => tracing::warn!("the farewell took too long; what was not settled comes again"),
        }
        if can_store && !self.settled.is_empty() {
            self.heard = Heard::default();
            self.commit();
            if let Some((work, _)) = self.work.take()
                && timeout_at(deadline, work).await.is_err()
            {
                tracing::warn!("the inbox did not note in time what was settled");
            }
        }
        (self.receiver, self.orphans)
    }

    /// Tells the broker to send no more, and takes what was on its way.
    async fn drain(&mut self) {
        if self.is_link_gone || self.receiver.drain().await.is_err() {
            return;
        }
        while self.receiver.credit() > 0 {
            match tokio::time::timeout(DRY_AFTER, self.receiver.recv::<Body<LazyValue>>()).await {
                Ok(received) => {
                    if self.take(received).await.is_err() {
                        return;
                    }
                }
                Err(_elapsed) => return,
            }
        }
    }
}
