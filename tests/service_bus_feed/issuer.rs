//! A source of tokens that a test signs itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use longshore::access::{AccessError, ServiceBusAccess, TokenSet, TokenSource};
use longshore::clock::{Clock as _, SystemClock, UnixMs};
use longshore::error::Class;
use longshore::probe::Step;
use longshore::sandbox::broker::Broker;
use longshore::sandbox::sas::SasKey;
use tokio::sync::watch;

use crate::world::{PATH, TOPIC};

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
    pub fn new(broker: Arc<Broker>, life: Duration, heals: bool, tls: bool) -> Self {
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
