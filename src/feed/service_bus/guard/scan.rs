//! Walking encoded AMQP values without decoding them and without recursion (AMQP 1.0 part 1, section 1.6).

use std::fmt;

/// How deep values may be nested. Whoever decodes them calls itself for each level: 32 take a few dozen KiB of a stack
/// of 2 MiB. The vendor's messages have two levels.
pub(super) const DEPTH_MAX: usize = 32;

/// Why bytes are not given to a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Values in values in values.
    Nested,
    /// A length or a number of items that the bytes do not hold.
    Claim {
        /// What is claimed: bytes or items.
        claimed: usize,
        /// The bytes that are there.
        there: usize,
    },
    /// A type code that AMQP does not know.
    Code(u8),
    /// The items of a value end before or after the value itself, or a key has no value.
    Uneven,
    /// What stands there is no section of a message.
    Section,
    /// A message with more bytes than this.
    TooLarge(usize),
    /// A message whose values are sound, and not what has to stand in their place: what the decoder says.
    Undecodable(String),
}

impl Flaw {
    /// The flaw as it is counted.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::Claim { .. } => "claim",
            Self::Code(_) | Self::Uneven | Self::Section => "malformed",
            Self::TooLarge(_) => "too-large",
            Self::Undecodable(_) => "undecodable",
        }
    }
}

/// For people.
impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nested => write!(f, "its values are nested more than {DEPTH_MAX} levels deep"),
            Self::Claim { claimed, there } => {
                write!(f, "a value in it claims a length of {claimed} where {there} bytes are left")
            }
            Self::Code(code) => write!(f, "a value in it is of a type that AMQP does not know (0x{code:02x})"),
            Self::Uneven => f.write_str("the items of a value in it do not fill that value"),
            Self::Section => f.write_str("what stands in it is no section of an AMQP message"),
            Self::TooLarge(bytes_max) => write!(f, "it has more than {bytes_max} bytes"),
            Self::Undecodable(said) => write!(f, "a value in it is not of the type that belongs there ({said})"),
        }
    }
}

/// A value whose items are being walked.
#[derive(Clone, Copy)]
struct Open {
    /// Items to come.
    left: usize,
    /// Where its bytes end.
    end: usize,
    /// Whether its items have to end there too: a described value has no length of its own.
    is_sized: bool,
    /// The type of an array's elements.
    element: Option<u8>,
}

/// How many bytes the value at the start of `bytes` takes. All that is in it has been walked then: lengths and numbers
/// of items are true, types are known, and nesting is bounded.
pub(super) fn value_len(bytes: &[u8]) -> Result<usize, Flaw> {
    let root = Open { left: 1, end: bytes.len(), is_sized: false, element: None };
    let mut stack = [root; DEPTH_MAX + 1];
    let mut depth = 0;
    let mut at = 0;
    loop {
        let top = &mut stack[depth];
        if top.left == 0 {
            if top.is_sized && at != top.end {
                return Err(Flaw::Uneven);
            }
            match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return Ok(at),
            }
            continue;
        }
        top.left -= 1;
        let end = top.end;
        let code = match top.element {
            Some(code) => code,
            None => take(bytes, &mut at, end, 1)?[0],
        };
        if let Some(open) = enter(bytes, &mut at, end, code)? {
            depth += 1;
            *stack.get_mut(depth).ok_or(Flaw::Nested)? = open;
        }
    }
}

/// What follows a type code.
enum Shape {
    /// A descriptor, and what it describes.
    Described,
    /// So many bytes.
    Fixed(usize),
    /// A length of so many bytes, and the bytes.
    Bytes(usize),
    /// A length and a number of items of so many bytes each, and the items.
    Items(usize),
}

fn shape(code: u8) -> Result<Shape, Flaw> {
    Ok(match code {
        0x00 => Shape::Described,
        0x40..=0x45 => Shape::Fixed(0),
        0x50..=0x56 => Shape::Fixed(1),
        0x60 | 0x61 => Shape::Fixed(2),
        0x70..=0x74 => Shape::Fixed(4),
        0x80..=0x84 => Shape::Fixed(8),
        0x94 | 0x98 => Shape::Fixed(16),
        0xa0 | 0xa1 | 0xa3 => Shape::Bytes(1),
        0xb0 | 0xb1 | 0xb3 => Shape::Bytes(4),
        0xc0 | 0xc1 | 0xe0 => Shape::Items(1),
        0xd0 | 0xd1 | 0xf0 => Shape::Items(4),
        _ => return Err(Flaw::Code(code)),
    })
}

/// Goes past a value of type `code`, or into it.
fn enter(bytes: &[u8], at: &mut usize, end: usize, code: u8) -> Result<Option<Open>, Flaw> {
    let len = match shape(code)? {
        Shape::Described => return Ok(Some(Open { left: 2, end, is_sized: false, element: None })),
        Shape::Items(width) => return compound(bytes, at, end, code, width).map(Some),
        Shape::Fixed(len) => len,
        Shape::Bytes(width) => number(bytes, at, end, width)?,
    };
    take(bytes, at, end, len)?;
    Ok(None)
}

/// Goes into a list, a map or an array whose length and number of items have `width` bytes each.
fn compound(bytes: &[u8], at: &mut usize, end: usize, code: u8, width: usize) -> Result<Open, Flaw> {
    let size = number(bytes, at, end, width)?;
    let there = end - *at;
    if size > there {
        return Err(Flaw::Claim { claimed: size, there });
    }
    let end = *at + size;
    let left = number(bytes, at, end, width)?;
    // Each item of a list takes a byte at least. Those of an array may take none; so many of nothing are nonsense.
    if left > end - *at {
        return Err(Flaw::Claim { claimed: left, there: end - *at });
    }
    let open = Open { left, end, is_sized: true, element: None };
    match code {
        0xc1 | 0xd1 if left % 2 == 1 => Err(Flaw::Uneven),
        0xe0 | 0xf0 if left > 0 => Ok(Open { element: Some(element(bytes, at, end)?), ..open }),
        // Some write the type of the elements that are not there, and some do not.
        0xe0 | 0xf0 => {
            *at = end;
            Ok(open)
        }
        _ => Ok(open),
    }
}

/// The type of an array's elements. A described one is named by a plain number or symbol.
fn element(bytes: &[u8], at: &mut usize, end: usize) -> Result<u8, Flaw> {
    let code = take(bytes, at, end, 1)?[0];
    if code != 0 {
        return Ok(code);
    }
    let descriptor = take(bytes, at, end, 1)?[0];
    if matches!(descriptor, 0x00 | 0xc0..) {
        return Err(Flaw::Code(descriptor));
    }
    enter(bytes, at, end, descriptor)?;
    let code = take(bytes, at, end, 1)?[0];
    if code == 0 { Err(Flaw::Code(code)) } else { Ok(code) }
}

/// Reads an unsigned number of `width` bytes.
fn number(bytes: &[u8], at: &mut usize, end: usize, width: usize) -> Result<usize, Flaw> {
    Ok(take(bytes, at, end, width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// Takes `len` bytes that have to lie before `end`.
fn take<'a>(bytes: &'a [u8], at: &mut usize, end: usize, len: usize) -> Result<&'a [u8], Flaw> {
    let there = end - *at;
    if len > there {
        return Err(Flaw::Claim { claimed: len, there });
    }
    let taken = &bytes[*at..*at + len];
    *at += len;
    Ok(taken)
}

/// Walks a whole message: described values, one after the other.
pub(super) fn message(mut bytes: &[u8]) -> Result<(), Flaw> {
    while let Some(code) = bytes.first() {
        if *code != 0 {
            return Err(Flaw::Section);
        }
        bytes = &bytes[value_len(bytes)?..];
    }
    Ok(())
}

/// The number that describes the value at the start of `bytes`, and where what it describes begins. `None` if the
/// descriptor is not a number.
pub(super) fn descriptor(bytes: &[u8]) -> Option<(u64, usize)> {
    match *bytes.get(..2)? {
        [0x00, 0x53] => Some((u64::from(*bytes.get(2)?), 3)),
        [0x00, 0x80] => Some((u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10)),
        [0x00, 0x44] => Some((0, 2)),
        _ => None,
    }
}

/// The items of the list or map at the start of `bytes`, as they are encoded; `None` if it is neither, or is cut short.
pub(super) fn items(bytes: &[u8]) -> Option<&[u8]> {
    let width = match *bytes.first()? {
        0x45 => return Some(&[]),
        0xc0 | 0xc1 => 1,
        0xd0 | 0xd1 => 4,
        _ => return None,
    };
    bytes.get(1 + 2 * width..claimed_len(bytes)?)
}

/// How many bytes the value at the start of `bytes` says that it takes, if they are there. Looks at its head alone.
pub(super) fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    let len = match shape(*bytes.first()?).ok()? {
        Shape::Described => return None,
        Shape::Fixed(len) => len,
        Shape::Bytes(width) | Shape::Items(width) => number(bytes, &mut at, bytes.len(), width).ok()?,
    };
    at.checked_add(len).filter(|len| *len <= bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_amqp::Value;
    use serde_amqp::described::Described;
    use serde_amqp::descriptor::Descriptor;
    use serde_amqp::primitives::{Array, OrderedMap, Symbol};

    use super::*;

    /// Lists in lists, the innermost one empty.
    fn nested(levels: usize) -> Vec<u8> {
        (1..levels).fold(vec![0x45], |inner, _| {
            let size = u32::try_from(inner.len() + 4).expect("short");
            let mut outer = vec![0xd0];
            outer.extend_from_slice(&size.to_be_bytes());
            outer.extend_from_slice(&1_u32.to_be_bytes());
            outer.extend_from_slice(&inner);
            outer
        })
    }

    #[test]
    fn whatever_the_library_writes_is_walked_to_its_end() {
        let map: OrderedMap<Value, Value> =
            [(Value::String("k".to_owned()), Value::List(vec![Value::Null]))].into_iter().collect();
        let described = Described { descriptor: Descriptor::Code(0x77), value: Value::List(vec![Value::Bool(true)]) };
        let values = [
            Value::Null,
            Value::Bool(false),
            Value::Uint(70_000),
            Value::Ulong(0),
            Value::Double(1.5.into()),
            Value::Uuid([1; 16].into()),
            Value::String("x".repeat(300)),
            Value::Symbol(Symbol::from("s")),
            Value::List(Vec::new()),
            Value::List(vec![Value::Int(1), Value::String("y".repeat(400))]),
            Value::Array(Array::from(vec![Value::Int(1), Value::Int(2)])),
            Value::Array(Array::from(vec![Value::Symbol(Symbol::from("a")), Value::Symbol(Symbol::from("bc"))])),
            Value::Map(map),
            Value::Described(Box::new(described)),
        ];
        for value in values {
            let mut bytes = serde_amqp::to_vec(&value).expect("encodes");
            let len = bytes.len();
            assert!((0..len).all(|short| value_len(&bytes[..short]).is_err()), "{value:?} cut short");
            bytes.push(0xff);
            assert_eq!(value_len(&bytes), Ok(len), "{value:?}");
        }
    }

    #[test]
    fn nesting_has_a_bound_whatever_nests() {
        assert_eq!(value_len(&nested(DEPTH_MAX)), Ok(nested(DEPTH_MAX).len()));
        assert_eq!(value_len(&nested(DEPTH_MAX + 2)), Err(Flaw::Nested));
        assert_eq!(value_len(&nested(10_000)), Err(Flaw::Nested));
        assert_eq!(value_len(&[0; 90_000]), Err(Flaw::Nested), "descriptors of descriptors");
        let values = [0x00, 0x53, 0x77].repeat(30_000);
        assert_eq!(value_len(&values), Err(Flaw::Nested), "described values in described values");
    }

    #[test]
    fn a_claim_is_held_against_the_bytes_that_are_there() {
        let claims: [&[u8]; 8] = [
            &[0xb0, 0xff, 0xff, 0xff, 0xff, 1],
            &[0xa1, 3, b'a', b'b'],
            &[0xd0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0x40],
            &[0xd0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40],
            // Four thousand million elements that take no room.
            &[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40],
            &[0xe0, 2, 9, 0x40],
            // An item that reaches beyond its list.
            &[0xc0, 3, 1, 0xa1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xc0, 0],
        ];
        for claim in claims {
            assert!(matches!(value_len(claim), Err(Flaw::Claim { .. })), "{claim:02x?}: {:?}", value_len(claim));
        }
        assert_eq!(value_len(&[0xc1, 2, 1, 0x40]), Err(Flaw::Uneven), "a key without a value");
        assert_eq!(value_len(&[0xc0, 3, 1, 0x40, 0x40]), Err(Flaw::Uneven), "more than its items");
        assert_eq!(value_len(&[0x3f]), Err(Flaw::Code(0x3f)));
        assert_eq!(message(b"hello"), Err(Flaw::Section));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_length_within_them_or_in_a_flaw(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(len) = value_len(&bytes) {
                prop_assert!(0 < len && len <= bytes.len());
            }
            let _ = message(&bytes);
        }

        /// What is walked does not end the process, whoever decodes it.
        #[test]
        fn what_is_walked_can_be_decoded_or_refused(codes in prop::collection::vec(prop_oneof![Just(0x00), Just(0x53), Just(0xc0), Just(0xd1), Just(0x45), Just(0xe0), 0_u8..8], 1..400)) {
            if let Ok(len) = value_len(&codes) {
                let _ = serde_amqp::from_slice::<Value>(&codes[..len]);
            }
        }
    }
}
