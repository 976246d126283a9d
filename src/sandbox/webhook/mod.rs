//! The webhook's sender: what fulfillmenttools eventing is to a receiver.
//!
//! What always holds:
//!
//! 1. An event goes to the target of each subscription of it that is there at this moment (`fft`), with the headers of
//!    that; to nobody when there is none. Only a request may name the daemon's listener instead.
//! 2. It counts as received by a `200` alone, within ten seconds; any other answer, or none, and it is sent again by the
//!    documented schedule (`retry`) until it is dropped after seven days. That goes on when its subscription is deleted
//!    meanwhile; what the vendor does then is not documented.
//! 3. Events are sent at the same time, in no order.
//!
//! ```text
//! control API ──> events ──> subscriptions ──> sender ── HTTPS, the headers of each ──> the daemon's listener
//!                                               ^  │ no 200                           (webhook.pem, webhook-secret)
//!                                               └──┘ 20 s, 40 s, … 600 s
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;
use url::Url;

use super::fft::{Recipient, Recipients};
use super::pki::{ServerIdentity, write_private};
use super::sample::{Event, EventSpec};
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
    /// Where they go.
    pub to: SendTo,
}

/// Where events go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SendTo {
    /// To whoever has subscribed to them.
    #[default]
    Subscribers,
    /// To the daemon's listener, with the first line of `webhook-secret`, whoever has subscribed to what.
    Listener,
}

impl Default for SendRequest {
    fn default() -> Self {
        Self { first: 0, events: 1, seed: 0, times: 1, body: None, to: SendTo::Subscribers }
    }
}

/// The sender, and where it sends to.
pub(super) struct Webhook {
    listen: SocketAddr,
    /// Holds the port for the daemon.
    _reserved: Option<TcpSocket>,
    url: Url,
    secret_file: PathBuf,
    sender: Sender,
}

impl Webhook {
    /// A sender to `settings.webhook_port`; writes what the listener there needs into the folder `dir`: a certificate
    /// with its key, and the secret.
    pub(super) fn start(
        settings: &SandboxSettings,
        identity: &ServerIdentity,
        dir: &std::path::Path,
    ) -> Result<Self, SandboxError> {
        if !is_speed(settings.webhook_speed) {
            return Err(SandboxError::Request(format!("a sender cannot be {} times faster", settings.webhook_speed)));
        }
        // The daemon that is to listen there does not run yet.
        let (reserved, listen) = serve::reserve("webhook's receiver", settings.webhook_port)?;
        let url = url(&format!("https://{listen}/events"))?;
        let secret = Secret::new(format!("Bearer {}", uuid::Uuid::new_v4().simple()));
        let secret_file = write_private(&dir.join("webhook-secret"), format!("{}\n", secret.expose()).as_bytes())?;
        write_private(&dir.join("webhook.pem"), identity.webhook_pem.as_bytes())?;
        let limits = HttpLimits { total: Some(ANSWER_WITHIN), ..HttpLimits::default() };
        let http = http_client(Some(&dir.join("ca.pem")), limits)
            .map_err(|error| SandboxError::Request(format!("the webhook's sender cannot be made: {error}")))?;
        let sender = Sender::new(Box::new(Https { http }), settings.webhook_speed);
        Ok(Self { listen, _reserved: reserved, url, secret_file, sender })
    }

    /// The daemon's listener, and the secret that is to be shown to it now.
    fn listener(&self) -> Result<Recipient, SandboxError> {
        let unusable =
            |why: &str| SandboxError::Request(format!("{} cannot be used: {why}", self.secret_file.display()));
        let text = std::fs::read_to_string(&self.secret_file).map_err(|error| unusable(&error.to_string()))?;
        let secret =
            text.lines().map(str::trim).find(|line| !line.is_empty()).ok_or_else(|| unusable("it is empty"))?;
        let mut value = HeaderValue::try_from(secret).map_err(|_| unusable("its first line is no header's value"))?;
        value.set_sensitive(true);
        Ok(Recipient { url: self.url.clone(), headers: HeaderMap::from_iter([(AUTHORIZATION, value)]) })
    }

    pub(super) fn state(&self) -> WebhookState {
        self.sender.state()
    }
}

/// Posts as the vendor does, as far as that is known.
struct Https {
    http: reqwest::Client,
}

#[async_trait]
impl Post for Https {
    async fn post(&self, to: &Recipient, body: String) -> Result<u16, String> {
        let request = self
            .http
            .post(to.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .headers(to.headers.clone())
            .body(body);
        let answer = request.send().await.map_err(|error| crate::error::chain(&error.without_url()))?;
        Ok(answer.status().as_u16())
    }
}

impl Sandbox {
    /// Where the daemon is to listen for events, as a subscription names it.
    #[must_use]
    pub fn webhook_url(&self) -> &Url {
        &self.webhook.url
    }

    /// The address that the daemon's listener is to have.
    #[must_use]
    pub fn webhook_address(&self) -> SocketAddr {
        self.webhook.listen
    }

    /// Begins to send events to whom they are meant for; each is sent until it is answered with 200 or dropped.
    ///
    /// # Errors
    /// When too many are on their way.
    pub fn send_events(&self, request: &SendRequest) -> Result<WebhookState, SandboxError> {
        let sender = &self.webhook.sender;
        let SendRequest { first, events, seed, times, ref body, to } = *request;
        let has_room = |count: u64| {
            let is_possible = sender.state().open().saturating_add(count.saturating_mul(times.into())) <= OPEN_MAX;
            let error = || SandboxError::Request(format!("more than {OPEN_MAX} events on their way are not possible"));
            is_possible.then_some(()).ok_or_else(error)
        };
        has_room(events)?;
        let spec = EventSpec { first, events, seed };
        let ways: Vec<(Event, Arc<Recipients>)> = match to {
            SendTo::Subscribers => spec.iter().map(|event| (event, Arc::new(self.fft.recipients(event)))).collect(),
            SendTo::Listener => {
                let listener = Arc::new(Recipients { here: vec![self.webhook.listener()?], elsewhere: 0 });
                spec.iter().map(|event| (event, Arc::clone(&listener))).collect()
            }
        };
        has_room(ways.iter().map(|(_, to)| to.here.len() as u64).sum())?;
        for _ in 0..times {
            for (event, to) in &ways {
                sender.count(|state| {
                    state.unsubscribed += u64::from(**to == Recipients::default());
                    state.elsewhere += to.elsewhere;
                });
                for recipient in &to.here {
                    sender.send(recipient.clone(), body.clone().unwrap_or_else(|| event.posted()));
                }
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
