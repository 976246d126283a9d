//! `$management` of an entity: renewing locks, peeking, settling by lock token, receiving what was deferred.

use std::sync::Arc;

use fe2o3_amqp_types::primitives::{OrderedMap, SimpleValue};
use serde_amqp::Value;
use serde_amqp::primitives::{Array, Binary, Timestamp, Uuid};

use super::cbs::Request;
use super::context::Context;
use super::lock_token::LockId;
use super::message::MessageError;
use super::queue::{Queue, Settlement};
use super::settle::{LOCK_LOST, LOCK_LOST_TEXT};

/// What an operation comes to.
enum Outcome {
    Done(OrderedMap<Value, Value>),
    NoContent,
    LockLost,
    Bad(String),
    Unknown,
}

/// The most messages in one answer.
const PEEK_MAX: usize = 250;

/// Answers a request to the `$management` of the entity at `path`.
pub(super) fn answer(
    context: &mut Context,
    path: &str,
    queue: Option<&Arc<Queue>>,
    message: &[u8],
) -> Result<(), MessageError> {
    let request = Request::parse(message)?;
    let outcome = match (&request.body, queue) {
        (Value::Map(body), Some(queue)) => run(context, queue, &request.operation, &Arguments(body)),
        _ => Outcome::Unknown,
    };
    let (status, condition, text, body) = match outcome {
        Outcome::Done(body) => (200, None, "OK".to_owned(), body),
        Outcome::NoContent => {
            (204, Some("com.microsoft:message-not-found"), "no messages".to_owned(), OrderedMap::new())
        }
        Outcome::LockLost => (410, Some(LOCK_LOST), LOCK_LOST_TEXT.to_owned(), OrderedMap::new()),
        Outcome::Bad(text) => (400, Some("com.microsoft:argument-error"), text, OrderedMap::new()),
        Outcome::Unknown => {
            let text = format!("the sandbox does not serve '{}' here", request.operation);
            (501, Some("amqp:not-implemented"), text, OrderedMap::new())
        }
    };
    let mut properties =
        vec![("statusCode", SimpleValue::Int(status)), ("statusDescription", SimpleValue::String(text))];
    if let Some(condition) = condition {
        properties.push(("errorCondition", SimpleValue::Symbol(condition.into())));
    }
    context.replies.push(request.reply(path, properties, Value::Map(body)));
    Ok(())
}

fn run(context: &Context, queue: &Queue, operation: &str, arguments: &Arguments<'_>) -> Outcome {
    match operation {
        "com.microsoft:renew-lock" => renew(context, queue, arguments),
        "com.microsoft:peek-message" => peek(queue, arguments),
        "com.microsoft:update-disposition" => update(context, queue, arguments),
        "com.microsoft:receive-by-sequence-number" => receive(context, queue, arguments),
        _ => Outcome::Unknown,
    }
}

/// The body of a request.
struct Arguments<'a>(&'a OrderedMap<Value, Value>);

impl Arguments<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find_map(|(key, value)| match key {
            Value::String(text) if text == name => Some(value),
            Value::Symbol(text) if text.as_str() == name => Some(value),
            _ => None,
        })
    }

    fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Value::String(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn integer(&self, name: &str) -> Option<i64> {
        integer(self.get(name)?)
    }

    fn items(&self, name: &str) -> &[Value] {
        match self.get(name) {
            Some(Value::Array(Array(items)) | Value::List(items)) => items,
            _ => &[],
        }
    }

    /// The locks that the lock tokens name; a token of another queue names a lock that nobody holds.
    fn locks(&self, queue: &Queue) -> Vec<LockId> {
        let tokens = self.items("lock-tokens").iter();
        tokens
            .map(|token| match token {
                Value::Uuid(uuid) => queue.lock_tokens.lock_of(*uuid.as_inner()).unwrap_or(LockId::MAX),
                _ => LockId::MAX,
            })
            .collect()
    }
}

fn integer(value: &Value) -> Option<i64> {
    match *value {
        Value::Long(number) => Some(number),
        Value::Int(number) => Some(number.into()),
        Value::Uint(number) => Some(number.into()),
        Value::Ulong(number) => i64::try_from(number).ok(),
        _ => None,
    }
}

fn one(name: &str, value: Value) -> OrderedMap<Value, Value> {
    let mut map = OrderedMap::new();
    map.insert(Value::String(name.to_owned()), value);
    map
}

fn renew(context: &Context, queue: &Queue, arguments: &Arguments<'_>) -> Outcome {
    let now = context.shared.moment();
    let renewed = arguments.locks(queue).into_iter().map(|lock| queue.renew(lock, now));
    match renewed.collect::<Option<Vec<_>>>() {
        None => Outcome::LockLost,
        Some(until) if until.is_empty() => Outcome::Bad("lock-tokens must hold at least one token".to_owned()),
        Some(until) => {
            let until = until.into_iter().map(|until| Value::Timestamp(Timestamp::from_milliseconds(until.0)));
            Outcome::Done(one("expirations", Value::Array(Array(until.collect()))))
        }
    }
}

fn peek(queue: &Queue, arguments: &Arguments<'_>) -> Outcome {
    let from = arguments.integer("from-sequence-number").unwrap_or(0);
    let count = arguments.integer("message-count").and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
    let found = queue.peek(from, count.min(PEEK_MAX));
    if found.is_empty() {
        return Outcome::NoContent;
    }
    let messages = found.into_iter().map(|envelope| Value::Map(one("message", binary(&envelope.encode()))));
    Outcome::Done(one("messages", Value::List(messages.collect())))
}

fn binary(bytes: &[u8]) -> Value {
    Value::Binary(Binary::from(bytes))
}

fn update(context: &Context, queue: &Queue, arguments: &Arguments<'_>) -> Outcome {
    let settlement = match arguments.text("disposition-status").as_str() {
        "completed" => Settlement::Complete,
        "abandoned" => Settlement::Return { count: true },
        // Spelt so on the wire.
        "defered" => Settlement::Defer,
        "suspended" => Settlement::DeadLetter {
            reason: arguments.text("deadletter-reason"),
            description: arguments.text("deadletter-description"),
        },
        other => return Outcome::Bad(format!("disposition-status '{other}' is not known")),
    };
    let mut all_held = true;
    context.shared.settle(queue, arguments.locks(queue), &settlement, |held| all_held &= held);
    if all_held { Outcome::Done(OrderedMap::new()) } else { Outcome::LockLost }
}

fn receive(context: &Context, queue: &Queue, arguments: &Arguments<'_>) -> Outcome {
    let sequences: Vec<i64> = arguments.items("sequence-numbers").iter().filter_map(integer).collect();
    let found = queue.lock_deferred(&sequences, context.shared.moment());
    if found.is_empty() {
        return Outcome::NoContent;
    }
    context.shared.lock_taken();
    context.shared.changed();
    let messages = found.into_iter().map(|delivery| {
        let mut map = one("message", binary(&delivery.envelope.encode()));
        map.insert(
            Value::String("lock-token".to_owned()),
            Value::Uuid(Uuid::from(queue.lock_tokens.of(delivery.lock))),
        );
        Value::Map(map)
    });
    Outcome::Done(one("messages", Value::List(messages.collect())))
}
