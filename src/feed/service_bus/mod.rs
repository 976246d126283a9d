//! The Service Bus feed: AMQP 1.0, peek-lock, commit then complete.

use std::path::PathBuf;
use std::time::Duration;

use crate::feed::filter::BlobTypeFilter;
use crate::notice::FeedName;

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
