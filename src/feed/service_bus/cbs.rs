//! Claims-based security: hands tokens to the broker's `$cbs` node over a link pair of its own.
//!
//! `fe2o3-amqp-cbs` is not used: it demands the status 202 alone, sets no time limit, and takes whatever reply comes
//! next for the answer, also one to an earlier request that timed out.

use std::time::Duration;

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Message, MessageId, Properties};
use fe2o3_amqp_types::primitives::{SimpleValue, Timestamp, Value};
use tokio::time::timeout;

use crate::access::TokenSet;
use crate::feed::service_bus::fault::Fault;
use crate::secret::redact;

const NODE: &str = "$cbs";
const TOKEN_TYPE: &str = "servicebus.windows.net:sastoken";

/// The link pair to `$cbs`.
pub(super) struct Cbs {
    sender: Sender,
    receiver: Receiver,
    address: String,
    requests: u64,
}

impl Cbs {
    /// Attaches to `$cbs`.
    pub(super) async fn attach(session: &mut SessionHandle<()>, generation: u64) -> Result<Self, Fault> {
        // A name of its own each time: after a time-out the old pair may still be there.
        let address = format!("cbs-{}", uuid::Uuid::new_v4());
        let sender = Sender::builder()
            .name(format!("{address}-sender"))
            .target(NODE)
            .attach(session)
            .await
            .map_err(|error| Fault::of_sender_attach(&error, generation))?;
        let receiver = Receiver::builder()
            .name(address.clone())
            .source(NODE)
            .target(address.clone())
            .attach(session)
            .await
            .map_err(|error| Fault::of_receiver_attach(&error, generation))?;
        Ok(Self { sender, receiver, address, requests: 0 })
    }

    /// Puts the Service Bus token of `tokens` and waits for the broker's consent, at most for `limit`. After any error
    /// but [`Fault::Refused`] this pair is not to be used again.
    pub(super) async fn put(&mut self, tokens: &TokenSet, limit: Duration) -> Result<(), Fault> {
        timeout(limit, self.exchange(tokens))
            .await
            .map_err(|_elapsed| Fault::TimedOut { step: "handing over the token", limit })?
    }

    async fn exchange(&mut self, tokens: &TokenSet) -> Result<(), Fault> {
        let generation = tokens.generation;
        self.requests += 1;
        let id = MessageId::String(format!("{}-{}", self.address, self.requests));
        let outcome = self
            .sender
            .send(self.request(tokens, id.clone()))
            .await
            .map_err(|error| Fault::of_send(&error, generation))?;
        outcome.accepted_or_else(|outcome| Fault::Failed {
            step: "handing over the token",
            said: redact(&format!("the broker answered {outcome:?}")),
        })?;
        loop {
            let delivery =
                self.receiver.recv::<Body<Value>>().await.map_err(|error| Fault::of_recv(&error, generation))?;
            self.receiver.accept(&delivery).await.map_err(|error| Fault::of_settle(&error, generation))?;
            let reply = delivery.into_message();
            let answers = reply.properties.as_ref().and_then(|properties| properties.correlation_id.as_ref());
            if answers == Some(&id) {
                return verdict(&reply, generation);
            }
        }
    }

    fn request(&self, tokens: &TokenSet, id: MessageId) -> Message<fe2o3_amqp_types::messaging::AmqpValue<String>> {
        let access = &tokens.service_bus;
        let mut properties = ApplicationProperties::builder()
            .insert("operation", "put-token")
            .insert("type", TOKEN_TYPE)
            .insert("name", access.audience.clone());
        if let Some(expires) = access.expires {
            properties = properties.insert("expiration", SimpleValue::Timestamp(Timestamp::from(expires.0)));
        }
        Message::builder()
            .properties(Properties::builder().message_id(id).to(NODE).reply_to(self.address.clone()).build())
            .application_properties(properties.build())
            .value(access.sas.expose().to_owned())
            .build()
    }
}

/// What the broker's reply means: 200 to 202 is consent.
fn verdict(reply: &Message<Body<Value>>, generation: u64) -> Result<(), Fault> {
    let property = |name: &str| reply.application_properties.as_ref().and_then(|properties| properties.get(name));
    let status = match property("status-code") {
        Some(SimpleValue::Int(code)) => i64::from(*code),
        Some(SimpleValue::Uint(code)) => i64::from(*code),
        Some(SimpleValue::Long(code)) => *code,
        Some(SimpleValue::Ushort(code)) => i64::from(*code),
        Some(SimpleValue::Short(code)) => i64::from(*code),
        Some(SimpleValue::Ulong(code)) => i64::try_from(*code).unwrap_or(i64::MAX),
        _ => 0,
    };
    let description = match property("status-description") {
        Some(SimpleValue::String(text)) => redact(text),
        _ => "no description".to_owned(),
    };
    let said = format!("status {status}, {description}");
    match status {
        200..=202 => Ok(()),
        401 | 403 => Err(Fault::Refused { generation, said }),
        404 => Err(Fault::NotFound(said)),
        429 | 503 => Err(Fault::Busy(said)),
        _ => Err(Fault::Failed { step: "handing over the token", said }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: SimpleValue) -> Message<Body<Value>> {
        let properties = ApplicationProperties::builder()
            .insert("status-code", status)
            .insert("status-description", "for sig=abc")
            .build();
        Message {
            header: None,
            delivery_annotations: None,
            message_annotations: None,
            properties: None,
            application_properties: Some(properties),
            body: Body::Empty,
            footer: None,
        }
    }

    #[test]
    fn consent_is_200_to_202_of_any_integer_type() {
        for status in [SimpleValue::Int(200), SimpleValue::Uint(201), SimpleValue::Ushort(202), SimpleValue::Long(200)]
        {
            assert!(verdict(&reply(status), 1).is_ok());
        }
    }

    #[test]
    fn a_refusal_names_the_generation_and_no_secret() {
        let fault = verdict(&reply(SimpleValue::Int(401)), 8).expect_err("refused");
        assert!(matches!(fault, Fault::Refused { generation: 8, .. }));
        assert_eq!(fault.to_string(), "the token was refused: status 401, for sig=[secret]");
        assert!(matches!(verdict(&reply(SimpleValue::Int(503)), 1), Err(Fault::Busy(_))));
        assert!(matches!(verdict(&reply(SimpleValue::Null), 1), Err(Fault::Failed { .. })));
    }
}
