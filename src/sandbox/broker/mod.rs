//! A Service Bus broker on loopback: AMQP 1.0 as Microsoft's SDKs speak it.
//!
//! 1. Frames are encoded and decoded here, with `fe2o3-amqp-types` for the performatives. The client crate's acceptor
//!    cannot set a delivery tag, and the SDKs read the lock token from it.
//! 2. One task serves a connection, whatever carries it; there is none for a session, a link or a message.
//! 3. Messages stand in queues behind one short mutex each. No lock is held over an await.
//! 4. A message is cut into sections once, when it arrives; a delivery writes only the few bytes that change.
//! 5. Whatever a client has not had confirmed may come again: locks outlive links and connections.
//!
//! ```text
//!  TCP ─┬─ TLS ─┐                        ┌─> cbs        tokens of this connection
//!       └───────┴─┬─ WebSocket ─┐        ├─> management renew, peek, settle
//!                 └─────────────┴─> connection ─> session ─> link (attach)
//!                                        │ deliver / settle / publish
//!                      control ──────────┴──────> queues: ready, locked, deferred, dead letters
//! ```
//!
//! What the parts of a connection share stands in `context`.
//!
//! Microsoft's own SDKs judge it (`tests/service_bus_sdks.rs`). Message sessions, transactions, scheduled messages and
//! rules are not served, and say so.

mod attach;
mod cbs;
mod connection;
mod context;
mod control;
mod deliver;
mod duplex;
mod entities;
mod envelope;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lenient;
mod link;
mod listen;
mod lock_token;
mod management;
mod message;
mod queue;
mod receive;
mod session;
mod settings;
mod settle;
mod shared;
mod state;
mod tokens;
mod web_socket;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use control::AttachFault;
pub use message::OutgoingMessage;
pub use settings::{BrokerSettings, TopicSettings};
pub use state::{BrokerState, QueueState};

use crate::sandbox::sas::SasKey;
use entities::{Entity, path_of_address};
use message::Content;
use shared::Shared;

/// Why the broker cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A listener could not be opened.
    #[error("the sandbox's broker cannot listen on {address}: {source}")]
    Listen {
        /// Where it should listen.
        address: SocketAddr,
        /// Why it cannot.
        source: std::io::Error,
    },
    /// There is no such topic, subscription or queue.
    #[error("the sandbox's broker has no entity {path}; check the topics in its settings")]
    NoSuchEntity {
        /// The path asked for.
        path: String,
    },
    /// A message cannot be encoded.
    #[error("a message for {path} cannot be encoded: {reason}")]
    Message {
        /// Where it should go.
        path: String,
        /// What the encoder said.
        reason: String,
    },
    /// The state that was waited for did not come.
    #[error("the sandbox's broker did not reach the awaited state within {waited:?}; it is {state:?}")]
    NotReached {
        /// How long it was waited for.
        waited: Duration,
        /// How things stood in the end.
        state: Box<BrokerState>,
    },
}

/// A running broker. It stops when this is dropped.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    plain: Option<SocketAddr>,
    tls: Option<SocketAddr>,
}

impl Broker {
    /// Opens the listeners and starts to serve.
    pub async fn start(settings: BrokerSettings) -> Result<Self, BrokerError> {
        let shared = Arc::new(Shared::new(settings));
        let (plain, tls) = listen::start(&shared).await?;
        shared.tasks.spawn(shared::expire_locks(Arc::clone(&shared)));
        Ok(Self { shared, plain, tls })
    }

    /// Where it listens without TLS.
    #[must_use]
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain
    }

    /// Where it listens with TLS.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// Publishes messages to a topic or a plain queue.
    pub fn publish(&self, path: &str, messages: Vec<OutgoingMessage>) -> Result<(), BrokerError> {
        let contents = messages.into_iter().map(|message| message.into_content().map(Arc::new));
        let contents = contents
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| BrokerError::Message { path: path.to_owned(), reason: error.to_string() })?;
        self.publish_contents(path, &contents)
    }

    /// Publishes a message as these bytes, whether they are AMQP or not.
    pub fn publish_encoded(&self, path: &str, message: Bytes) -> Result<(), BrokerError> {
        self.publish_contents(path, &[Arc::new(Content::of_any(message))])
    }

    fn publish_contents(&self, path: &str, contents: &[Arc<Content>]) -> Result<(), BrokerError> {
        let entity = self.shared.entities.find(&path_of_address(path));
        let no_entity = || BrokerError::NoSuchEntity { path: path.to_owned() };
        let entity = entity.filter(|entity| entity.takes_messages()).ok_or_else(no_entity)?;
        self.shared.publish(entity, contents);
        Ok(())
    }

    /// The next `count` deliveries of a subscription are made twice, under the same message id.
    pub fn duplicate_next(&self, path: &str, count: u32) -> Result<(), BrokerError> {
        match self.shared.entities.find(&path_of_address(path)) {
            Some(Entity::Queue { queue, .. }) => {
                queue.duplicate_next(count);
                Ok(())
            }
            _ => Err(BrokerError::NoSuchEntity { path: path.to_owned() }),
        }
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self) -> BrokerState {
        self.shared.state()
    }

    /// Waits until the state satisfies `wanted`, and returns it; an error after `limit`.
    pub async fn wait_until(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&BrokerState) -> bool,
    ) -> Result<BrokerState, BrokerError> {
        let mut changes = self.shared.changes.subscribe();
        let reached = async {
            loop {
                changes.borrow_and_update();
                let state = self.state();
                if wanted(&state) || changes.changed().await.is_err() {
                    return state;
                }
            }
        };
        tokio::time::timeout(limit, reached)
            .await
            .map_err(|_| BrokerError::NotReached { waited: limit, state: Box::new(self.state()) })
    }

    /// The key that signs tokens now.
    #[must_use]
    pub fn key(&self) -> SasKey {
        self.shared.keys().first().cloned().unwrap_or_else(|| SasKey::random("none"))
    }

    /// Replaces all keys. Links that a token signed with another key opened are detached.
    pub fn set_keys(&self, keys: Vec<SasKey>) {
        self.shared.set_keys(keys);
    }

    /// Gives the first key a new random text and returns it, as the vendor does every so often. Links that the old
    /// one opened are detached with `amqp:unauthorized-access`.
    pub fn rotate_key(&self) -> SasKey {
        let mut keys = self.shared.keys();
        let name = keys.first().map_or_else(|| "RootManageSharedAccessKey".to_owned(), |key| key.name.clone());
        let fresh = SasKey::random(name);
        keys.splice(..keys.len().min(1), [fresh.clone()]);
        self.shared.set_keys(keys);
        fresh
    }

    /// Treats every token put so far as expired; links are detached with `amqp:unauthorized-access`.
    pub fn expire_tokens(&self) {
        self.shared.order_all(|orders| orders.expire_tokens = true);
    }

    /// Detaches all entity links with an error condition, such as `amqp:link:detach-forced`.
    pub fn detach_all(&self, condition: &str) {
        self.shared.order_all(|orders| orders.detach = Some(condition.to_owned()));
    }

    /// Breaks all connections off without a word.
    pub fn drop_connections(&self) {
        self.shared.order_all(|orders| orders.drop = true);
    }

    /// With `true` the broker goes silent: nothing is read and nothing written on any connection, old or new, while
    /// TCP stays up. With `false` it goes on where it stopped.
    pub fn stall(&self, silent: bool) {
        self.shared.stall(silent);
    }

    /// The next `count` attaches to entities are answered with `fault`.
    pub fn refuse_attach(&self, count: u32, fault: AttachFault) {
        self.shared.refuse_attach(count, fault);
    }

    /// The next `count` attaches are answered with `com.microsoft:server-busy`.
    pub fn server_busy(&self, count: u32) {
        self.refuse_attach(count, AttachFault::ServerBusy);
    }

    /// The next `count` attaches are answered with `amqp:link:redirect` to another address.
    pub fn redirect(&self, count: u32, to: SocketAddr) {
        self.refuse_attach(count, AttachFault::Redirect(to));
    }

    /// Closes the listeners and all connections, and waits until they are gone.
    pub async fn stop(&self) {
        self.shared.stop();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

#[cfg(test)]
mod tests;
