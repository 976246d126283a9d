//! How a broker is set up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::sandbox::sas::SasKey;

/// How a broker is set up. Each listener serves AMQP and AMQP over WebSocket on its one port: the first bytes of a
/// connection tell which.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Where to listen without TLS; port 0 takes a free one.
    pub plain: Option<SocketAddr>,
    /// Where to listen with TLS.
    pub tls: Option<(SocketAddr, Arc<rustls::ServerConfig>)>,
    /// The topics.
    pub topics: Vec<TopicSettings>,
    /// Plain queues.
    pub queues: Vec<String>,
    /// The keys that sign tokens; the first is the one that [`super::Broker::rotate_key`] replaces.
    pub keys: Vec<SasKey>,
    /// The hosts that a token may be for; empty for any.
    pub hosts: Vec<String>,
    /// How long a message stays locked.
    pub lock_duration: Duration,
    /// A message that failed this often goes to the dead letters.
    pub delivery_count_max: u32,
    /// The longest message taken.
    pub message_bytes_max: u64,
    /// The longest frame taken.
    pub frame_bytes_max: u32,
    /// A peer that sends nothing for twice this long is cut off; it is told this value.
    pub idle_timeout: Duration,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// A topic and its subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// The topic's name; may have slashes.
    pub name: String,
    /// The names of its subscriptions.
    pub subscriptions: Vec<String>,
}

impl BrokerSettings {
    /// A broker on a free loopback port without TLS, with a random key and no entities yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            plain: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            tls: None,
            topics: Vec::new(),
            queues: Vec::new(),
            keys: vec![SasKey::random("RootManageSharedAccessKey")],
            hosts: Vec::new(),
            lock_duration: Duration::from_secs(30),
            delivery_count_max: 10,
            message_bytes_max: 1024 * 1024,
            frame_bytes_max: 64 * 1024,
            idle_timeout: Duration::from_secs(120),
            clock: Arc::new(SystemClock),
        }
    }

    /// Adds a topic.
    #[must_use]
    pub fn topic(mut self, name: &str, subscriptions: &[&str]) -> Self {
        let subscriptions = subscriptions.iter().map(|&name| name.to_owned()).collect();
        self.topics.push(TopicSettings { name: name.to_owned(), subscriptions });
        self
    }

    /// Adds a plain queue.
    #[must_use]
    pub fn queue(mut self, name: &str) -> Self {
        self.queues.push(name.to_owned());
        self
    }
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self::new()
    }
}
