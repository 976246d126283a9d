//! One request: who it is from, what it brings, and what it is answered.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::answer::{Answer, OUTCOMES};
use super::commit::Committer;
use super::sender::{Refusal, Sender};
use super::{WebhookSettings, envelope};
use crate::ops::Context;
use crate::ops::metrics::{FeedLabels, WebhookLabels};

/// The memory for bodies is given out in pieces of this size.
const ROOM_BYTES: usize = 1 << 10;

/// What every connection asks.
pub(super) struct Door {
    settings: Arc<WebhookSettings>,
    sender: Arc<Sender>,
    committer: Committer,
    context: Context,
    /// Memory for bodies.
    room: Arc<Semaphore>,
    requests: [Counter; OUTCOMES.len()],
    settled: Counter,
    seconds: Histogram,
}

impl Door {
    pub(super) fn new(
        settings: Arc<WebhookSettings>,
        sender: Arc<Sender>,
        committer: Committer,
        context: Context,
    ) -> Self {
        let feed = settings.name.to_string();
        let metrics = &context.metrics;
        let requests = OUTCOMES.map(|outcome| {
            let labels = WebhookLabels { feed: feed.clone(), outcome: outcome.to_owned() };
            metrics.webhook_requests.get_or_create(&labels).clone()
        });
        let labels = FeedLabels { feed };
        let seconds = metrics.webhook_answer_seconds.get_or_create(&labels).clone();
        let settled = metrics.notices_settled.get_or_create(&labels).clone();
        let room = Arc::new(Semaphore::new(settings.limits.bodies_bytes_max.div_ceil(ROOM_BYTES)));
        Self { settings, sender, committer, context, room, requests, settled, seconds }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
        let began = Instant::now();
        let answer = self.take(request, peer, began + self.settings.limits.answer_timeout).await;
        self.requests[answer.outcome()].inc();
        match &answer {
            Answer::Stored(_) => {
                self.settled.inc();
                self.seconds.observe(began.elapsed().as_secs_f64());
            }
            // Whoever scans the network would fill the journal; the metric has the numbers.
            Answer::NotFound | Answer::WrongMethod => tracing::debug!(%peer, ?answer, "request"),
            Answer::Refused(why) => tracing::debug!(%peer, ?why, "refused"),
            other => tracing::debug!(%peer, answer = ?other, "not stored"),
        }
        answer.response()
    }

    async fn take(&self, request: Request<Incoming>, peer: IpAddr, until: Instant) -> Answer {
        if request.uri().path() != self.settings.path {
            return Answer::NotFound;
        }
        if request.method() != Method::POST {
            return Answer::WrongMethod;
        }
        let (head, body) = request.into_parts();
        if let Err(refusal) = self.sender.admit(&head.headers, peer) {
            return Answer::Refused(refusal);
        }
        let length = length_of(&head.headers, &body);
        if length.is_some_and(|length| length > self.settings.limits.body_bytes_max as u64) {
            return Answer::TooLarge;
        }
        let Ok(Some(room)) = tokio::time::timeout_at(until, self.room_for(length)).await else { return Answer::Busy };
        let body = match tokio::time::timeout_at(until, self.read(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err(answer)) => return answer,
            Err(_) => return Answer::TooSlow,
        };
        if self.sender.verify(&head.headers, &body).is_err() {
            return Answer::Refused(Refusal::Signature);
        }
        let encoding = head.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let settings = &self.settings;
        let now = self.context.clock.now();
        let notice = envelope::read(&settings.envelope, &settings.name, &settings.filter, body, encoding, now);
        match tokio::time::timeout_at(until, self.committer.store(notice, room)).await {
            Ok(Some(Ok(receipt))) => Answer::Stored(receipt),
            Ok(Some(Err(_)) | None) => Answer::Unavailable,
            Err(_) => Answer::Busy,
        }
    }

    /// Memory for a body of this length; for the largest, where the length is not told.
    async fn room_for(&self, length: Option<u64>) -> Option<OwnedSemaphorePermit> {
        let bytes = length.map_or(self.settings.limits.body_bytes_max as u64, |length| length.max(1));
        let pieces = bytes.div_ceil(ROOM_BYTES as u64).try_into().ok()?;
        Arc::clone(&self.room).acquire_many_owned(pieces).await.ok()
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Answer> {
        match Limited::new(body, self.settings.limits.body_bytes_max).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Answer::TooLarge),
            Err(_) => Err(Answer::Broken),
        }
    }
}

fn length_of(headers: &HeaderMap, body: &Incoming) -> Option<u64> {
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    body.size_hint().exact().or(told)
}
