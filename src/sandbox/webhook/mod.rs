//! The webhook's sender: what fulfillmenttools eventing is to a receiver.
//!
//! What always holds: an event counts as received by a `200` alone, within ten seconds; any other answer, or none, and
//! it is sent again by the documented schedule (`retry`) until it is dropped after seven days. Events are sent at the
//! same time, in no order.
//!
//! ```text
//! control API ──> events ──> sender ── HTTPS, our secret in a header ──> the daemon's listener
//!                              ^  │ no 200                               (webhook.pem, webhook-secret)
//!                              └──┘ 20 s, 40 s, … 600 s
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use url::Url;

use super::pki::{ServerIdentity, write_private};
use super::sample::EventSpec;
use super::{Sandbox, SandboxError, SandboxSettings, serve, url};
use crate::net::{HttpLimits, http_client};
use crate::secret::Secret;

mod retry;
mod sender;

pub use sender::WebhookState;
use sender::{Post, Sender, is_speed};

/// The longest that an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// More events that are not at their end are refused: each is held in memory.
const OPEN_MAX: u64 = 200_000;

/// Events that are to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendRequest {
    /// The number of the first.
    pub first: u64,
    /// How many there are.
    pub events: u64,
    /// Decides everything else.
    pub seed: u32,
    /// How often each is sent: with two, it arrives twice.
    pub times: u32,
    /// This body instead of an event's.
    pub body: Option<String>,
}

impl Default for SendRequest {
    fn default() -> Self {
        Self { first: 0, events: 1, seed: 0, times: 1, body: None }
    }
}

/// The sender, and where it sends to.
pub(super) struct Webhook {
    listen: SocketAddr,
    url: Url,
    sender: Sender,
}

impl Webhook {
    /// A sender to `settings.webhook_port`; writes what the listener there needs into the folder `dir`: a certificate
    /// with its key, and the secret.
    pub(super) async fn start(
        settings: &SandboxSettings,
        identity: &ServerIdentity,
        dir: &std::path::Path,
    ) -> Result<Self, SandboxError> {
        if !is_speed(settings.webhook_speed) {
            return Err(SandboxError::Request(format!("a sender cannot be {} times faster", settings.webhook_speed)));
        }
        // Free at this moment: the daemon that is to listen there does not run yet.
        let (_, listen) = serve::bind("webhook's receiver", settings.webhook_port).await?;
        let url = url(&format!("https://{listen}/events"))?;
        let secret = Secret::new(format!("Bearer {}", uuid::Uuid::new_v4().simple()));
        write_private(&dir.join("webhook-secret"), format!("{}\n", secret.expose()).as_bytes())?;
        write_private(&dir.join("webhook.pem"), identity.webhook_pem.as_bytes())?;
        let limits = HttpLimits { total: Some(ANSWER_WITHIN), ..HttpLimits::default() };
        let http = http_client(Some(&dir.join("ca.pem")), limits)
            .map_err(|error| SandboxError::Request(format!("the webhook's sender cannot be made: {error}")))?;
        let post = Https { http, url: url.clone(), secret };
        Ok(Self { listen, url, sender: Sender::new(Box::new(post), settings.webhook_speed) })
    }

    pub(super) fn state(&self) -> WebhookState {
        self.sender.state()
    }
}

/// Posts as the vendor does, as far as that is known.
struct Https {
    http: reqwest::Client,
    url: Url,
    secret: Secret,
}

#[async_trait]
impl Post for Https {
    async fn post(&self, body: String) -> Result<u16, String> {
        let request = self
            .http
            .post(self.url.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::AUTHORIZATION, self.secret.expose())
            .body(body);
        let answer = request.send().await.map_err(|error| crate::error::chain(&error.without_url()))?;
        Ok(answer.status().as_u16())
    }
}

impl Sandbox {
    /// Where events are sent to, and where the daemon is to listen for them.
    #[must_use]
    pub fn webhook_url(&self) -> &Url {
        &self.webhook.url
    }

    /// The address that the daemon's listener is to have.
    #[must_use]
    pub fn webhook_address(&self) -> SocketAddr {
        self.webhook.listen
    }

    /// Begins to send events; each is sent until it is answered with 200 or dropped.
    ///
    /// # Errors
    /// When too many are on their way.
    pub fn send_events(&self, request: &SendRequest) -> Result<WebhookState, SandboxError> {
        let sender = &self.webhook.sender;
        let SendRequest { first, events, seed, times, ref body } = *request;
        let count = events.saturating_mul(times.into());
        if sender.state().open().saturating_add(count) > OPEN_MAX {
            return Err(SandboxError::Request(format!("more than {OPEN_MAX} events on their way are not possible")));
        }
        for _ in 0..times {
            for event in (EventSpec { first, events, seed }).iter() {
                sender.send(body.clone().unwrap_or_else(|| event.posted()));
            }
        }
        Ok(sender.state())
    }

    /// Waits until `reached` holds of the webhook's sender, at most for `limit`.
    ///
    /// # Errors
    /// When the limit is over.
    pub async fn wait_until_sent(
        &self,
        limit: Duration,
        mut reached: impl FnMut(&WebhookState) -> bool,
    ) -> Result<WebhookState, SandboxError> {
        let mut states = self.webhook.sender.watch();
        match tokio::time::timeout(limit, states.wait_for(|state| reached(state))).await {
            Ok(Ok(state)) => Ok(state.clone()),
            // The sender lives in `self`, so this is the time-out.
            Ok(Err(_)) | Err(_) => Err(SandboxError::Waited(limit, format!("{:?}", self.webhook.state()))),
        }
    }
}
