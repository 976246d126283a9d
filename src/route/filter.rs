//! The record filter of a route, applied to raw bytes.

use serde_json::{Number, Value};

use crate::pointer::{Pointer, PointerError};
use crate::route::Condition;

/// Which records of a route are delivered: those that meet every condition.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    conditions: Vec<Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    pointer: Pointer,
    values: Vec<Expected>,
    /// An absent value equals `null`.
    takes_null: bool,
}

#[derive(Clone, Debug)]
struct Expected {
    value: Value,
    /// The value as it is most often written, which spares a parse.
    text: String,
}

impl RecordFilter {
    /// A filter of `conditions`; none of them lets every record through.
    ///
    /// # Errors
    /// When a pointer is not one.
    pub fn new(conditions: &[Condition]) -> Result<Self, PointerError> {
        let compile = |condition: &Condition| {
            Ok(Compiled {
                pointer: Pointer::parse(&condition.pointer)?,
                values: condition
                    .equals
                    .iter()
                    .map(|value| Expected { value: value.clone(), text: value.to_string() })
                    .collect(),
                takes_null: condition.equals.iter().any(Value::is_null),
            })
        };
        Ok(Self { conditions: conditions.iter().map(compile).collect::<Result<_, _>>()? })
    }

    /// Whether every record passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether the record `body` (one JSON value) is delivered.
    #[must_use]
    pub fn keeps(&self, body: &[u8]) -> bool {
        self.conditions.iter().all(|condition| condition.is_met(body))
    }
}

impl Compiled {
    fn is_met(&self, body: &[u8]) -> bool {
        let Some(found) = self.pointer.find(body) else {
            return self.takes_null;
        };
        if self.values.iter().any(|expected| expected.text == found) {
            return true;
        }
        // The same text was not there; only these can still be the same value: a string with escapes, a number
        // written another way, an object or array. A plain string, true, false and null cannot.
        let is_settled = match found.as_bytes().first() {
            Some(b'"') => !found.contains('\\'),
            Some(b't' | b'f' | b'n') => true,
            _ => false,
        };
        if is_settled {
            return false;
        }
        serde_json::from_str::<Value>(found)
            .is_ok_and(|found| self.values.iter().any(|expected| is_equal(&expected.value, &found)))
    }
}

fn is_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => is_equal_number(left, right),
        _ => left == right,
    }
}

/// `1`, `1.0` and `1e0` are one number; two whole numbers are compared exactly.
fn is_equal_number(left: &Number, right: &Number) -> bool {
    let is_whole = |number: &Number| number.is_i64() || number.is_u64();
    if is_whole(left) && is_whole(right) {
        return left == right;
    }
    left.as_f64() == right.as_f64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn filter(conditions: &[(&str, Vec<Value>)]) -> RecordFilter {
        let conditions: Vec<Condition> = conditions
            .iter()
            .map(|(pointer, equals)| Condition { pointer: (*pointer).to_owned(), equals: equals.clone() })
            .collect();
        RecordFilter::new(&conditions).expect("test conditions")
    }

    #[test]
    fn a_record_passes_when_every_condition_is_met() {
        let filter = filter(&[("/status/isDeleted", vec![json!(false)]), ("/type", vec![json!("A"), json!("B")])]);
        assert!(filter.keeps(br#"{"type":"B","status":{"isDeleted":false}}"#));
        assert!(!filter.keeps(br#"{"type":"C","status":{"isDeleted":false}}"#));
        assert!(!filter.keeps(br#"{"type":"A","status":{"isDeleted":true}}"#));
        assert!(!filter.keeps(br#"{"type":"A","status":{}}"#));
    }

    #[test]
    fn an_absent_value_equals_null_also_in_a_record_that_is_no_object() {
        let filter = filter(&[("/deleted", vec![json!(null), json!(false)])]);
        for body in ["{}", r#"{"deleted":null}"#, r#"{"deleted":false}"#, "7", "[]", r#""x""#] {
            assert!(filter.keeps(body.as_bytes()), "{body}");
        }
        assert!(!filter.keeps(br#"{"deleted":true}"#));
    }

    #[test]
    fn a_value_is_compared_by_meaning_not_by_spelling() {
        let filter = filter(&[("/v", vec![json!(1), json!("a/b"), json!({"x": 1})])]);
        for body in [r#"{"v":1.0}"#, r#"{"v":1e0}"#, r#"{"v":"a\/b"}"#, r#"{"v":"\u0061/b"}"#, r#"{"v":{ "x" : 1 }}"#] {
            assert!(filter.keeps(body.as_bytes()), "{body}");
        }
        for body in [r#"{"v":"1"}"#, r#"{"v":2}"#, r#"{"v":"a"}"#, r#"{"v":[1]}"#, r#"{"v":9007199254740993}"#] {
            assert!(!filter.keeps(body.as_bytes()), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = filter(&[("/a/0", vec![json!(1)])]).keeps(&body);
            let _ = filter(&[("/a/b", vec![json!(1)])]).keeps(&body);
        }
    }
}
