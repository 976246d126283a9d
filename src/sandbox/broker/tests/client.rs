//! What the tests share: a broker with one topic, and a client that is let in.

use std::sync::Arc;
use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::delivery::Delivery;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::ReceiverSettleMode;
use fe2o3_amqp::types::messaging::{Body, Source};
use fe2o3_amqp::{Connection, Receiver, Session};
use fe2o3_amqp_cbs::client::CbsClient;
use fe2o3_amqp_cbs::token::CbsToken;
use serde_amqp::Value;
use tokio::net::TcpStream;

use crate::clock::{Clock as _, SystemClock, UnixMs};
use crate::sandbox::broker::{Broker, BrokerSettings, OutgoingMessage};
use crate::secret::Secret;

pub(super) const SUBSCRIPTION: &str = "t1/Subscriptions/s1";
pub(super) const AUDIENCE: &str = "sb://127.0.0.1/t1/Subscriptions/s1";
/// Nothing in these tests takes nearly this long on a machine that is up to its work.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn settings() -> BrokerSettings {
    BrokerSettings::new().topic("t1", &["s1", "s2"]).queue("q1")
}

pub(super) async fn start() -> Broker {
    Broker::start(settings()).await.unwrap()
}

pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.expect("the broker answers in time")
}

pub(super) fn in_seconds(seconds: u64) -> UnixMs {
    SystemClock.now().plus(Duration::from_secs(seconds))
}

pub(super) struct Client {
    pub connection: ConnectionHandle<()>,
    pub session: SessionHandle<()>,
}

impl Client {
    /// A client that has put no token.
    pub async fn connect(broker: &Broker) -> Self {
        let stream = TcpStream::connect(broker.plain_address().unwrap()).await.unwrap();
        Self::open(stream).await
    }

    pub async fn open<S>(stream: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin + std::fmt::Debug + 'static,
    {
        let builder = Connection::builder().container_id("test").sasl_profile(SaslProfile::Anonymous);
        let mut connection = within(builder.open_with_stream(stream)).await.unwrap();
        let session = within(Session::begin(&mut connection)).await.unwrap();
        Self { connection, session }
    }

    /// A client with a token for the subscription, and for all else.
    pub async fn admitted(broker: &Broker) -> Self {
        let mut client = Self::connect(broker).await;
        client.put_token("sb://127.0.0.1/", &broker.key().token("sb://127.0.0.1/", in_seconds(600))).await.unwrap();
        client
    }

    pub async fn put_token(&mut self, audience: &str, token: &Secret) -> Result<(), String> {
        let mut cbs = within(CbsClient::attach(&mut self.session)).await.unwrap();
        let token = CbsToken::new(token.expose().to_owned(), "servicebus.windows.net:sastoken", None);
        let result = within(cbs.put_token(audience.to_owned(), token)).await.map_err(|error| format!("{error:?}"));
        within(cbs.close()).await.unwrap();
        result
    }

    pub async fn receiver(&mut self, address: &str) -> Receiver {
        self.receiver_in(address, ReceiverSettleMode::Second).await
    }

    pub async fn receiver_in(&mut self, address: &str, mode: ReceiverSettleMode) -> Receiver {
        let attach = Receiver::builder().name(format!("receiver-{address}")).source(address).receiver_settle_mode(mode);
        within(attach.attach(&mut self.session)).await.unwrap()
    }

    /// The error with which an attach is refused, on a session of its own: this client ends a session for it.
    pub async fn refusal(&mut self, address: &str) -> String {
        let mut session = within(Session::begin(&mut self.connection)).await.unwrap();
        let attach = Receiver::builder().name("refused").source(Source::builder().address(address).build());
        match within(attach.attach(&mut session)).await {
            Ok(mut receiver) => format!("{:?}", within(receiver.recv::<Body<Value>>()).await.unwrap_err()),
            Err(error) => format!("{error:?}"),
        }
    }
}

pub(super) async fn receive(receiver: &mut Receiver) -> Delivery<Body<Value>> {
    within(receiver.recv::<Body<Value>>()).await.unwrap()
}

pub(super) fn id(delivery: &Delivery<Body<Value>>) -> String {
    match delivery.message().properties.as_ref().and_then(|properties| properties.message_id.clone()) {
        Some(fe2o3_amqp::types::messaging::MessageId::String(id)) => id,
        other => panic!("{other:?}"),
    }
}

pub(super) fn delivery_count(delivery: &Delivery<Body<Value>>) -> u32 {
    delivery.message().header.as_ref().unwrap().delivery_count
}

pub(super) fn publish(broker: &Broker, ids: &[&str]) {
    broker.publish("t1", ids.iter().map(|id| OutgoingMessage::json(*id, "{}")).collect()).unwrap();
}

pub(super) async fn settled(broker: &Broker, wanted: impl Fn(&crate::sandbox::broker::QueueState) -> bool) {
    broker.wait_until(LIMIT, |state| wanted(&state.subscription(SUBSCRIPTION))).await.unwrap();
}

/// A broker whose locks are short.
pub(super) async fn start_with_lock(lock_duration: Duration) -> Arc<Broker> {
    Arc::new(Broker::start(BrokerSettings { lock_duration, ..settings() }).await.unwrap())
}

/// The error with which a receiver ends.
pub(super) async fn lost(receiver: &mut Receiver) -> String {
    format!("{:?}", within(receiver.recv::<Body<Value>>()).await.unwrap_err())
}
