//! `$cbs`: the requests that put the tokens of a connection.

use bytes::Bytes;
use fe2o3_amqp_types::messaging::message::__private::Deserializable;
use fe2o3_amqp_types::messaging::{AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties};
use fe2o3_amqp_types::primitives::{OrderedMap, SimpleValue};
use serde_amqp::Value;

use super::context::{Context, Reply};
use super::entities::TOKEN_SERVICE;
use super::message::MessageError;
use super::shared::count;
use crate::sandbox::sas::{self, Audience};
use crate::secret::Secret;

/// A request to `$cbs` or `$management`.
pub(super) struct Request {
    pub body: Value,
    pub operation: String,
    properties: OrderedMap<String, SimpleValue>,
    message_id: Option<MessageId>,
    reply_to: Option<String>,
}

impl Request {
    pub fn parse(message: &[u8]) -> Result<Self, MessageError> {
        let message: Message<Body<Value>> = serde_amqp::from_slice::<Deserializable<_>>(message)
            .map_err(|_| MessageError("the request is malformed"))?
            .0;
        let mut request = Self {
            body: message.body.try_into_value().unwrap_or(Value::Null),
            operation: String::new(),
            properties: message.application_properties.unwrap_or_default().0,
            message_id: None,
            reply_to: None,
        };
        if let Some(properties) = message.properties {
            request.message_id = properties.message_id;
            request.reply_to = properties.reply_to;
        }
        request.operation = request.text("operation").unwrap_or_default().to_owned();
        Ok(request)
    }

    /// An application property that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.properties.get(name) {
            Some(SimpleValue::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The answer: the correlation id is the request's message id, of the same AMQP type.
    pub fn reply(&self, node: &str, properties: Vec<(&str, SimpleValue)>, body: Value) -> Reply {
        let properties: OrderedMap<String, SimpleValue> =
            properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let message = Message {
            header: None,
            delivery_annotations: None,
            message_annotations: None,
            properties: Some(Properties { correlation_id: self.message_id.clone(), ..Properties::default() }),
            application_properties: Some(ApplicationProperties(properties)),
            body: AmqpValue(body),
            footer: None,
        };
        let message = fe2o3_amqp_types::messaging::message::__private::Serializable(message);
        let message = serde_amqp::to_vec(&message).expect("what the broker itself builds can be encoded");
        Reply { node: node.to_owned(), reply_to: self.reply_to.clone(), message: Bytes::from(message) }
    }
}

/// Answers a request to `$cbs`.
pub(super) fn answer(context: &mut Context, message: &[u8]) -> Result<(), MessageError> {
    let request = Request::parse(message)?;
    let (status, description) = match request.operation.as_str() {
        "put-token" => match put_token(context, &request) {
            Ok(()) => (202, "Accepted".to_owned()),
            Err(reason) => (401, reason),
        },
        other => (400, format!("the operation '{other}' is not known to $cbs")),
    };
    let counters = &context.shared.counters;
    count(if status == 202 { &counters.tokens_put } else { &counters.tokens_refused });
    context.shared.changed();
    let mut properties =
        vec![("status-code", SimpleValue::Int(status)), ("status-description", SimpleValue::String(description))];
    if status == 401 {
        properties.push(("error-condition", SimpleValue::Symbol("amqp:unauthorized-access".into())));
    }
    context.replies.push(request.reply(TOKEN_SERVICE, properties, Value::Null));
    Ok(())
}

/// The kind of token shows in its text: the Python SDK says `jwt` of a SAS too.
fn put_token(context: &mut Context, request: &Request) -> Result<(), String> {
    let Value::String(token) = &request.body else {
        return Err("InvalidToken: the body of put-token must be a text".to_owned());
    };
    let shared = &context.shared;
    let grant = sas::verify(token, &shared.keys(), shared.now()).map_err(|error| error.to_string())?;
    let name = Audience::parse(request.text("name").unwrap_or_default());
    if !grant.audience.covers(&name) {
        return Err("InvalidAudience: the token is for another entity than the one named".to_owned());
    }
    let hosts = &shared.settings.hosts;
    if !hosts.is_empty() && !hosts.iter().any(|host| host.eq_ignore_ascii_case(grant.audience.host())) {
        return Err("InvalidAudience: the token is for another namespace".to_owned());
    }
    context.tokens.put(grant, Secret::new(token.as_str()));
    Ok(())
}
