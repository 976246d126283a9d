//! Claims-based security: hands tokens to the broker's `$cbs` node.

use std::time::Duration;

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp_types::messaging::ApplicationProperties;
use fe2o3_amqp_types::primitives::{SimpleValue, Timestamp, Value};

use crate::access::TokenSet;
use crate::feed::service_bus::fault::Fault;
use crate::feed::service_bus::request::{Answer, Requests};

const NODE: &str = "$cbs";
const TOKEN_TYPE: &str = "servicebus.windows.net:sastoken";
const STEP: &str = "handing over the token";

/// The link pair to `$cbs`.
pub(super) struct Cbs(Requests);

impl Cbs {
    /// Attaches to `$cbs`.
    pub(super) async fn attach(session: &mut SessionHandle<()>, generation: u64) -> Result<Self, Fault> {
        Requests::attach(session, NODE.to_owned(), generation).await.map(Self)
    }

    /// Puts the Service Bus token of `tokens` and waits for the broker's consent, at most for `limit`. After any error
    /// but [`Fault::Refused`] this pair is not to be used again.
    pub(super) async fn put(&mut self, tokens: &TokenSet, limit: Duration) -> Result<(), Fault> {
        let access = &tokens.service_bus;
        let mut properties = ApplicationProperties::builder()
            .insert("operation", "put-token")
            .insert("type", TOKEN_TYPE)
            .insert("name", access.audience.clone());
        if let Some(expires) = access.expires {
            properties = properties.insert("expiration", SimpleValue::Timestamp(Timestamp::from(expires.0)));
        }
        let token = Value::String(access.sas.expose().to_owned());
        let answer = self.0.call(STEP, properties.build(), token, limit).await?;
        verdict(&answer, tokens.generation)
    }
}

/// What the broker's answer means: 200 to 202 is consent.
fn verdict(answer: &Answer, generation: u64) -> Result<(), Fault> {
    let said = answer.to_string();
    match answer.status {
        200..=202 => Ok(()),
        401 | 403 => Err(Fault::Refused { generation, said }),
        404 => Err(Fault::NotFound(said)),
        429 | 503 => Err(Fault::Busy(said)),
        _ => Err(Fault::Failed { step: STEP, said }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: SimpleValue) -> Answer {
        let properties = ApplicationProperties::builder()
            .insert("status-code", status)
            .insert("status-description", "for sig=abc")
            .build();
        Answer::read(Some(&properties))
    }

    #[test]
    fn consent_is_200_to_202_of_any_integer_type() {
        for status in [SimpleValue::Int(200), SimpleValue::Uint(201), SimpleValue::Ushort(202), SimpleValue::Long(200)]
        {
            assert!(verdict(&answer(status), 1).is_ok());
        }
    }

    #[test]
    fn a_refusal_names_the_generation_and_no_secret() {
        let fault = verdict(&answer(SimpleValue::Int(401)), 8).expect_err("refused");
        assert!(matches!(fault, Fault::Refused { generation: 8, .. }));
        assert_eq!(fault.to_string(), "the token was refused: status 401, for sig=[secret]");
        assert!(matches!(verdict(&answer(SimpleValue::Int(503)), 1), Err(Fault::Busy(_))));
        assert!(matches!(verdict(&answer(SimpleValue::Null), 1), Err(Fault::Failed { .. })));
    }
}
