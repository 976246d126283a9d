//! The sender: each event on its own way until it is answered with 200 or given up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::retry;
use crate::sandbox::fft::Recipient;

/// Requests at the same time; the others wait for their turn.
const REQUESTS_MAX: usize = 16;

/// How a request reaches the receiver.
#[async_trait]
pub(super) trait Post: Send + Sync {
    /// The status that it was answered with, or why there was no answer.
    async fn post(&self, to: &Recipient, body: String) -> Result<u16, String>;
}

/// What the sender did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WebhookState {
    /// Events that were to be sent; one with two subscribers counts twice.
    pub sent: u64,
    /// Events that nobody had subscribed to, and that were not sent.
    pub unsubscribed: u64,
    /// Targets of events that are not on this machine, or no webhook, and that nothing was sent to.
    pub elsewhere: u64,
    /// Requests that were made for them.
    pub requests: u64,
    /// Events that were answered with 200.
    pub answered: u64,
    /// Events that failed, and wait until they are sent again.
    pub retrying: u64,
    /// Events that were given up after seven days.
    pub dropped: u64,
    /// Why the last request that failed did so.
    pub last_failure: Option<String>,
}

impl WebhookState {
    /// Events that are not at their end yet.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.sent - self.answered - self.dropped
    }
}

/// Sends events until it is dropped.
pub(super) struct Sender {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Shared {
    post: Box<dyn Post>,
    /// How many times faster than the vendor's the sender's time goes.
    speed: f64,
    places: Semaphore,
    state: watch::Sender<WebhookState>,
}

impl Sender {
    pub(super) fn new(post: Box<dyn Post>, speed: f64) -> Self {
        let places = Semaphore::new(REQUESTS_MAX);
        let shared = Shared { post, speed, places, state: watch::Sender::default() };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    pub(super) fn state(&self) -> WebhookState {
        self.shared.state.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<WebhookState> {
        self.shared.state.subscribe()
    }

    /// Notes something that is not a request.
    pub(super) fn count(&self, change: impl FnOnce(&mut WebhookState)) {
        self.shared.state.send_modify(change);
    }

    /// Sends this body, whatever becomes of the others.
    pub(super) fn send(&self, to: Recipient, body: String) {
        self.shared.state.send_modify(|state| state.sent += 1);
        let shared = Arc::clone(&self.shared);
        let way = async move { shared.bring(&to, body).await };
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(way));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    /// Posts `body` again and again until it is answered with 200, or its time is over.
    async fn bring(&self, to: &Recipient, body: String) {
        let mut failures = 0;
        let begun = Instant::now();
        loop {
            let Some(failure) = self.try_once(to, &body).await else {
                return self.state.send_modify(|state| state.answered += 1);
            };
            failures += 1;
            let wait = retry::wait(failures).div_f64(self.speed);
            let is_over = begun.elapsed() + wait > retry::GIVEN_UP_AFTER.div_f64(self.speed);
            self.state.send_modify(|state| {
                state.last_failure = Some(failure);
                state.dropped += u64::from(is_over);
                state.retrying += u64::from(!is_over);
            });
            if is_over {
                return;
            }
            tokio::time::sleep(wait).await;
            self.state.send_modify(|state| state.retrying -= 1);
        }
    }

    /// Why this attempt failed; `None` if it did not.
    async fn try_once(&self, to: &Recipient, body: &str) -> Option<String> {
        let _place = self.places.acquire().await.ok()?;
        self.state.send_modify(|state| state.requests += 1);
        match self.post.post(to, body.to_owned()).await {
            Ok(200) => None,
            Ok(status) => Some(format!("answered with {status}")),
            Err(why) => Some(why),
        }
    }
}

/// How much faster time may go.
pub(super) fn is_speed(speed: f64) -> bool {
    speed.is_finite() && speed >= 0.001 && Duration::from_secs(20).div_f64(speed) >= Duration::from_micros(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A receiver that is there from some moment on, and writes down when it was asked.
    struct Receiver {
        begun: Instant,
        there_after: Duration,
        asked: Arc<Mutex<Vec<Duration>>>,
    }

    #[async_trait]
    impl Post for Receiver {
        async fn post(&self, _to: &Recipient, _body: String) -> Result<u16, String> {
            let at = self.begun.elapsed();
            self.asked.lock().unwrap().push(at);
            if at >= self.there_after { Ok(200) } else { Err("nobody listens".to_owned()) }
        }
    }

    /// Sends one event at `speed` to a receiver that comes up after a time; the end, and when it was sent.
    async fn send(speed: f64, there_after: Duration) -> (WebhookState, Vec<Duration>) {
        let asked = Arc::default();
        let receiver = Receiver { begun: Instant::now(), there_after, asked: Arc::clone(&asked) };
        let sender = Sender::new(Box::new(receiver), speed);
        let url = url::Url::parse("https://127.0.0.1:9/events").expect("a URL");
        sender.send(Recipient { url, headers: http::HeaderMap::new() }, "{}".to_owned());
        let mut states = sender.watch();
        let state = states.wait_for(|state| state.open() == 0).await.expect("it comes to an end").clone();
        let asked = asked.lock().unwrap().clone();
        (state, asked)
    }

    /// To whole seconds: a paused clock goes in steps of a millisecond.
    fn seconds(moments: &[Duration]) -> Vec<f64> {
        moments.iter().map(|moment| moment.as_secs_f64().round()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_sent_again_by_the_documented_schedule_until_it_is_answered() {
        let (state, asked) = send(1.0, Duration::from_secs(2_000)).await;
        assert_eq!(seconds(&asked), [0.0, 20.0, 60.0, 140.0, 300.0, 620.0, 1_220.0, 1_820.0, 2_420.0]);
        assert_eq!((state.answered, state.dropped, state.retrying, state.requests), (1, 0, 0, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_nobody_takes_is_given_up_after_seven_days() {
        let (state, asked) = send(1.0, Duration::MAX).await;
        let days = asked.last().expect("asked").as_secs_f64() / 86_400.0;
        assert!((6.99..=7.0).contains(&days), "the last attempt after {days} days");
        assert_eq!((state.answered, state.dropped, state.retrying), (0, 1, 0));
        assert_eq!(state.last_failure.as_deref(), Some("nobody listens"));
    }

    #[tokio::test(start_paused = true)]
    async fn time_can_go_faster() {
        let (state, asked) = send(10.0, Duration::from_secs(100)).await;
        assert_eq!(seconds(&asked), [0.0, 2.0, 6.0, 14.0, 30.0, 62.0, 122.0]);
        assert_eq!(state.answered, 1);
    }
}
