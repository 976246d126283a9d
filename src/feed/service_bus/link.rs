//! A connection with what hangs on it: the session of the requests (`$cbs`, `$management`), and the session with the receiver.

use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Receiver, Session};
use fe2o3_amqp_types::definitions::ReceiverSettleMode;
use tokio::time::timeout;

use crate::access::{ServiceBusAccess, TokenSet};
use crate::feed::service_bus::batch::Orphan;
use crate::feed::service_bus::cbs::Cbs;
use crate::feed::service_bus::fault::Fault;
use crate::feed::service_bus::guard::{FRAME_BYTES_MAX, Guard, Mark};
use crate::feed::service_bus::stream::{Carrier, Pulse, Route};
use crate::feed::service_bus::{ServiceBusSettings, management};

/// How long a single step of connecting may take: long enough for a slow proxy, short enough to try again soon.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(30);
/// How long a farewell may take before the stream is cut.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);

/// Gives every step the same limit.
pub(super) async fn step<T>(name: &'static str, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(STEP_LIMIT, work).await.map_err(|_elapsed| Fault::TimedOut { step: name, limit: STEP_LIMIT })?
}

/// An open connection.
pub(super) struct Link {
    connection: ConnectionHandle<()>,
    requests_session: SessionHandle<()>,
    session: SessionHandle<()>,
    pulse: Pulse,
    mark: Mark,
}

impl Link {
    /// Opens AMQP on `stream` and begins both sessions.
    pub(super) async fn open(
        stream: Box<dyn Carrier>,
        pulse: Pulse,
        route: &Route,
        settings: &ServiceBusSettings,
        generation: u64,
    ) -> Result<Self, Fault> {
        let mark = Mark::draw();
        let stream = Guard::new(stream, mark.clone(), settings.message_bytes_max);
        let opened = step("opening the AMQP connection", async {
            let silence_ms = u32::try_from(settings.silence_max.as_millis()).unwrap_or(u32::MAX);
            let mut connection = Connection::builder()
                .container_id(format!("longshore-{}-{}", settings.name, uuid::Uuid::new_v4()))
                .hostname(route.host.as_str())
                .max_frame_size(u32::try_from(FRAME_BYTES_MAX).expect("64 KiB"))
                // The library tells the broker half of this, so that two heartbeats fit into our patience.
                .idle_time_out(silence_ms)
                .sasl_profile(SaslProfile::Anonymous)
                .open_with_stream(stream)
                .await
                .map_err(|error| Fault::of_open(&error, generation))?;
            let requests_session =
                Session::begin(&mut connection).await.map_err(|error| Fault::of_begin(&error, generation))?;
            let session = Session::begin(&mut connection).await.map_err(|error| Fault::of_begin(&error, generation))?;
            Ok((connection, requests_session, session))
        })
        .await;
        match opened {
            Ok((connection, requests_session, session)) => {
                Ok(Self { connection, requests_session, session, pulse, mark })
            }
            Err(fault) => {
                pulse.cut();
                Err(fault)
            }
        }
    }

    /// Attaches to `$cbs` and hands over the token.
    pub(super) async fn authorize(&mut self, tokens: &TokenSet) -> Result<Cbs, Fault> {
        let mut cbs = step("attaching to $cbs", Cbs::attach(&mut self.requests_session, tokens.generation)).await?;
        cbs.put(tokens, STEP_LIMIT).await?;
        Ok(cbs)
    }

    /// Attaches a receiver in peek-lock without credit: nothing is sent before it is asked for. The broker is told no
    /// `max-message-size`: one that keeps to it detaches the link over a large message, and over the same one again on
    /// the next link. The guard sets such a message aside.
    pub(super) async fn subscribe(&mut self, access: &ServiceBusAccess, generation: u64) -> Result<Receiver, Fault> {
        step("attaching to the subscription", async {
            Receiver::builder()
                .name(format!("longshore-{}", uuid::Uuid::new_v4()))
                .source(subscription_path(access))
                .receiver_settle_mode(ReceiverSettleMode::Second)
                .credit_mode(CreditMode::Manual)
                .attach(&mut self.session)
                .await
                .map_err(|error| Fault::of_receiver_attach(&error, generation))
        })
        .await
    }

    /// Completes messages whose link has gone.
    pub(super) async fn complete(
        &mut self,
        access: &ServiceBusAccess,
        generation: u64,
        orphans: &[Orphan],
    ) -> Result<(), Fault> {
        management::complete(&mut self.requests_session, &subscription_path(access), generation, orphans).await
    }

    /// How a message that stands in for a refused one is known.
    pub(super) fn mark(&self) -> Mark {
        self.mark.clone()
    }

    /// How the stream is.
    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Says farewell in good order, and cuts the stream when the broker does not answer.
    pub(super) async fn close(mut self, receiver: Receiver) {
        let farewell = async {
            // What was sent before is flushed first: the frames of a session keep their order.
            if let Err(error) = receiver.close().await {
                tracing::debug!(%error, "the link was closed already");
            }
            if let Err(error) = self.connection.close().await {
                tracing::debug!(%error, "the connection was closed already");
            }
        };
        if timeout(FAREWELL_LIMIT, farewell).await.is_err() {
            tracing::debug!("the broker did not answer the farewell");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Whatever the library's engine still waits for ends here: no task outlives its connection.
        self.pulse.cut();
    }
}

/// Where the messages are, as in `topic/Subscriptions/name`.
pub(super) fn subscription_path(access: &ServiceBusAccess) -> String {
    format!("{}/Subscriptions/{}", access.topic, access.subscription)
}
