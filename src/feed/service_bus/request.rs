//! Requests to a node of the broker and their answers, over a link pair of its own.
//!
//! The crates for this (`fe2o3-amqp-cbs`, `-management`) are not used: they set no time limit, and take whatever reply
//! comes next for the answer, also one to an earlier request that timed out.

use std::time::Duration;

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties};
use fe2o3_amqp_types::primitives::{SimpleValue, Value};
use tokio::time::timeout;

use crate::feed::service_bus::fault::Fault;
use crate::secret::redact;

/// A link pair to one node.
pub(super) struct Requests {
    sender: Sender,
    receiver: Receiver,
    node: String,
    address: String,
    count: u64,
    generation: u64,
}

/// What a node answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// As in HTTP; 0 where the answer has none.
    pub(super) status: i64,
    /// Without secrets.
    pub(super) description: String,
}

impl Requests {
    /// Attaches to `node` as the holder of a token of `generation`.
    pub(super) async fn attach(session: &mut SessionHandle<()>, node: String, generation: u64) -> Result<Self, Fault> {
        // A name of its own each time: after a time-out the old pair may still be there.
        let address = format!("requests-{}", uuid::Uuid::new_v4());
        let sender = Sender::builder()
            .name(format!("{address}-sender"))
            .target(node.as_str())
            .attach(session)
            .await
            .map_err(|error| Fault::of_sender_attach(&error, generation))?;
        let receiver = Receiver::builder()
            .name(address.clone())
            .source(node.as_str())
            .target(address.clone())
            .attach(session)
            .await
            .map_err(|error| Fault::of_receiver_attach(&error, generation))?;
        Ok(Self { sender, receiver, node, address, count: 0, generation })
    }

    /// Sends `body` with `properties` and waits for the answer, at most for `limit`. After an error this pair is not
    /// to be used again.
    pub(super) async fn call(
        &mut self,
        step: &'static str,
        properties: ApplicationProperties,
        body: Value,
        limit: Duration,
    ) -> Result<Answer, Fault> {
        timeout(limit, self.exchange(step, properties, body))
            .await
            .map_err(|_elapsed| Fault::TimedOut { step, limit })?
    }

    async fn exchange(
        &mut self,
        step: &'static str,
        properties: ApplicationProperties,
        body: Value,
    ) -> Result<Answer, Fault> {
        let generation = self.generation;
        self.count += 1;
        let id = MessageId::String(format!("{}-{}", self.address, self.count));
        let addressed =
            Properties::builder().message_id(id.clone()).to(self.node.as_str()).reply_to(self.address.as_str()).build();
        let request: Message<AmqpValue<Value>> =
            Message::builder().properties(addressed).application_properties(properties).value(body).build();
        let outcome = self.sender.send(request).await.map_err(|error| Fault::of_send(step, &error, generation))?;
        outcome.accepted_or_else(|outcome| Fault::Failed {
            step,
            said: redact(&format!("the broker answered {outcome:?}")),
        })?;
        loop {
            let delivery =
                self.receiver.recv::<Body<Value>>().await.map_err(|error| Fault::of_recv(&error, generation))?;
            self.receiver.accept(&delivery).await.map_err(|error| Fault::of_settle(&error, generation))?;
            let reply = delivery.into_message();
            let answers = reply.properties.as_ref().and_then(|properties| properties.correlation_id.as_ref());
            if answers == Some(&id) {
                return Ok(Answer::read(reply.application_properties.as_ref()));
            }
        }
    }
}

impl Answer {
    /// `$cbs` writes `status-code`, `$management` `statusCode`.
    pub(super) fn read(properties: Option<&ApplicationProperties>) -> Self {
        let property = |names: [&str; 2]| names.into_iter().find_map(|name| properties?.get(name));
        let status = match property(["status-code", "statusCode"]) {
            Some(SimpleValue::Int(code)) => i64::from(*code),
            Some(SimpleValue::Uint(code)) => i64::from(*code),
            Some(SimpleValue::Long(code)) => *code,
            Some(SimpleValue::Ushort(code)) => i64::from(*code),
            Some(SimpleValue::Short(code)) => i64::from(*code),
            Some(SimpleValue::Ulong(code)) => i64::try_from(*code).unwrap_or(i64::MAX),
            _ => 0,
        };
        let description = match property(["status-description", "statusDescription"]) {
            Some(SimpleValue::String(text)) => redact(text),
            _ => "no description".to_owned(),
        };
        Self { status, description }
    }
}

/// For people, such as `status 401, the token is expired`.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}, {}", self.status, self.description)
    }
}
