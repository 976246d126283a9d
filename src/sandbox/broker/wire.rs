//! Walking encoded AMQP values without decoding them (AMQP 1.0 part 1, section 1.6).

/// How many bytes the value at the start of `bytes` takes; `None` if it is cut short or not a value.
pub(super) fn value_len(bytes: &[u8]) -> Option<usize> {
    value_len_within(bytes, DEPTH_MAX)
}

/// A descriptor may itself be described; more than this many levels is nonsense.
const DEPTH_MAX: u8 = 8;

fn value_len_within(bytes: &[u8], depth: u8) -> Option<usize> {
    let code = *bytes.first()?;
    let len = match code >> 4 {
        0x0 if code == 0 && depth > 0 => {
            let descriptor = value_len_within(&bytes[1..], depth - 1)?;
            1 + descriptor + value_len_within(&bytes[1 + descriptor..], depth - 1)?
        }
        0x4 => 1,
        0x5 => 2,
        0x6 => 3,
        0x7 => 5,
        0x8 => 9,
        0x9 => 17,
        0xa | 0xc | 0xe => 2 + usize::from(*bytes.get(1)?),
        0xb | 0xd | 0xf => 5 + u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?) as usize,
        _ => return None,
    };
    (len <= bytes.len()).then_some(len)
}

/// The items of an encoded map: how many (keys and values each count) and their bytes.
pub(super) fn map_items(map: &[u8]) -> Option<(u32, &[u8])> {
    if value_len(map)? != map.len() {
        return None;
    }
    match map[0] {
        0xc1 => Some((u32::from(*map.get(2)?), &map[3..])),
        0xd1 => Some((u32::from_be_bytes(map.get(5..9)?.try_into().ok()?), &map[9..])),
        _ => None,
    }
}

/// One section of a message: its numeric descriptor, its value, and how long the two are together.
pub(super) fn section(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let len = value_len(bytes)?;
    let (code, head) = match *bytes.get(..2)? {
        [0x00, 0x53] => (u64::from(*bytes.get(2)?), 3),
        [0x00, 0x80] => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        _ => return None,
    };
    Some((code, &bytes[head..len], len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_amqp::Value;
    use serde_amqp::primitives::{OrderedMap, Symbol};

    #[test]
    fn the_length_of_every_kind_of_value_is_known() {
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Ubyte(1),
            Value::Ushort(2),
            Value::Uint(70_000),
            Value::Ulong(1 << 40),
            Value::Uuid([1; 16].into()),
            Value::String("short".to_owned()),
            Value::String("x".repeat(300)),
            Value::Symbol(Symbol::from("s")),
            Value::List(vec![Value::Int(1), Value::String("y".repeat(400))]),
        ];
        for value in values {
            let mut bytes = serde_amqp::to_vec(&value).unwrap();
            let len = bytes.len();
            bytes.push(0xff);
            assert_eq!(value_len(&bytes), Some(len), "{value:?}");
            assert_eq!(value_len(&bytes[..len - 1]), None, "{value:?} cut short");
        }
    }

    #[test]
    fn the_items_of_a_map_are_found() {
        let mut map: OrderedMap<String, Value> = OrderedMap::new();
        map.insert("a".to_owned(), Value::Int(5));
        let bytes = serde_amqp::to_vec(&map).unwrap();
        let (count, items) = map_items(&bytes).unwrap();
        assert_eq!(count, 2);
        assert_eq!(value_len(items), Some(3));
    }
}
