//! Reading dispositions that the strict types refuse: the Node SDK writes the keys of an error's info as strings,
//! where the standard has symbols (AMQP 1.0 part 2, section 2.8.14, `fields`).

use fe2o3_amqp_types::definitions::{Error, Fields, Role};
use fe2o3_amqp_types::messaging::{Accepted, DeliveryState, Modified, Rejected, Released};
use fe2o3_amqp_types::performatives::Disposition;
use serde_amqp::Value;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::Symbol;

use super::control::condition_error;

/// A disposition, from its generic form.
pub(super) fn disposition(bytes: &[u8]) -> Option<Disposition> {
    let value: Value = serde_amqp::from_slice(bytes).ok()?;
    let (0x15, fields) = composite(&value)? else { return None };
    let Some(Value::Bool(role)) = fields.first() else { return None };
    let Some(Value::Uint(first)) = fields.get(1) else { return None };
    Some(Disposition {
        role: if *role { Role::Receiver } else { Role::Sender },
        first: *first,
        last: fields.get(2).and_then(|last| if let Value::Uint(last) = last { Some(*last) } else { None }),
        settled: fields.get(3) == Some(&Value::Bool(true)),
        state: fields.get(4).and_then(state),
        batchable: false,
    })
}

/// The descriptor and the fields of a described list.
fn composite(value: &Value) -> Option<(u64, &[Value])> {
    let Value::Described(described) = value else { return None };
    match (&described.descriptor, &described.value) {
        (Descriptor::Code(code), Value::List(fields)) => Some((*code, fields)),
        _ => None,
    }
}

fn state(value: &Value) -> Option<DeliveryState> {
    let (code, fields) = composite(value)?;
    let flag = |index: usize| match fields.get(index) {
        Some(Value::Bool(flag)) => Some(*flag),
        _ => None,
    };
    Some(match code {
        0x24 => DeliveryState::Accepted(Accepted {}),
        0x25 => DeliveryState::Rejected(Rejected { error: fields.first().and_then(error) }),
        0x26 => DeliveryState::Released(Released {}),
        0x27 => DeliveryState::Modified(Modified {
            delivery_failed: flag(0),
            undeliverable_here: flag(1),
            message_annotations: fields.get(2).and_then(self::fields),
        }),
        _ => return None,
    })
}

fn error(value: &Value) -> Option<Error> {
    let (0x1d, fields) = composite(value)? else { return None };
    let description = match fields.get(1) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    let info = fields.get(2).and_then(self::fields).map(Box::new);
    Some(Error { description, info, ..condition_error(&text(fields.first()?)?, "") })
}

fn fields(value: &Value) -> Option<Fields> {
    let Value::Map(map) = value else { return None };
    let mut fields = Fields::new();
    for (key, value) in map.iter() {
        fields.insert(Symbol::from(text(key)?), value.clone());
    }
    Some(fields)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Symbol(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_amqp::described::Described;
    use serde_amqp::primitives::OrderedMap;

    fn described(code: u64, fields: Vec<Value>) -> Value {
        Value::Described(Box::new(Described { descriptor: Descriptor::Code(code), value: Value::List(fields) }))
    }

    #[test]
    fn a_dead_letter_with_strings_for_keys_is_understood() {
        let mut info = OrderedMap::new();
        info.insert(Value::String("DeadLetterReason".to_owned()), Value::String("Bad".to_owned()));
        let condition = Value::Symbol(Symbol::from("com.microsoft:dead-letter"));
        let error = described(0x1d, vec![condition, Value::Null, Value::Map(info)]);
        let fields =
            vec![Value::Bool(true), Value::Uint(7), Value::Null, Value::Bool(false), described(0x25, vec![error])];
        let bytes = serde_amqp::to_vec(&described(0x15, fields)).unwrap();
        assert!(serde_amqp::from_slice::<Disposition>(&bytes).is_err(), "the strict types would do");
        let disposition = disposition(&bytes).unwrap();
        assert_eq!((disposition.first, disposition.role, disposition.settled), (7, Role::Receiver, false));
        let Some(DeliveryState::Rejected(Rejected { error: Some(error) })) = disposition.state else { panic!() };
        assert_eq!(error.info.unwrap().iter().next().unwrap().0.as_str(), "DeadLetterReason");
    }

    #[test]
    fn what_is_no_disposition_stays_refused() {
        let bytes = serde_amqp::to_vec(&described(0x14, vec![Value::Uint(0)])).unwrap();
        assert!(disposition(&bytes).is_none());
    }
}
