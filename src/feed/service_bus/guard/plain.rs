//! Tells the messages that anybody writes from those that have to be tried out: a fast no-alloc look at the types.
//!
//! What is plain decodes, whatever it holds; what is not plain may still decode. The rules of the sections stand in AMQP 1.0
//! part 3, section 3.2.

use std::str::from_utf8;

use super::scan;

/// What may stand as a value, less what nobody writes.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Ubyte,
    Uint,
    Timestamp,
    Text,
    Symbol,
    Binary,
    /// A value of an annotation or of an application property.
    Simple,
}

use Kind::{Binary, Bool, Simple, Symbol, Text, Timestamp, Ubyte, Uint};

/// `durable`, `priority`, `ttl`, `first-acquirer`, `delivery-count`.
const HEADER: [Kind; 5] = [Bool, Ubyte, Uint, Bool, Uint];
/// From `message-id` to `reply-to-group-id`. Ids may be of other types; then they are tried out.
const PROPERTIES: [Kind; 13] =
    [Text, Binary, Text, Text, Text, Text, Symbol, Symbol, Timestamp, Timestamp, Text, Uint, Text];

/// Whether a message that has been walked is certain to decode.
pub(super) fn is_plain(mut message: &[u8]) -> bool {
    let mut before = 0;
    while !message.is_empty() {
        let &[0x00, 0x53, code, ref value @ ..] = message else { return false };
        let Some(len) = scan::claimed_len(value) else { return false };
        let is_section = code > before
            && match code {
                0x70 => is_list(&value[..len], &HEADER),
                0x71 | 0x72 => is_map(&value[..len], Symbol),
                0x73 => is_list(&value[..len], &PROPERTIES),
                0x74 => is_map(&value[..len], Text),
                0x75 => is(&value[..len], Binary),
                _ => false,
            };
        if !is_section {
            return false;
        }
        before = code;
        message = &value[len..];
    }
    // Without a body it is no message.
    before == 0x75
}

fn is_list(value: &[u8], kinds: &[Kind]) -> bool {
    let is_list = matches!(value.first(), Some(0x45 | 0xc0 | 0xd0));
    let mut kinds = kinds.iter();
    is_list && each(value, |item| kinds.next().is_some_and(|kind| item == [0x40] || is(item, *kind)))
}

fn is_map(value: &[u8], key: Kind) -> bool {
    let is_map = matches!(value.first(), Some(0xc1 | 0xd1));
    let mut is_key = false;
    is_map
        && each(value, |item| {
            is_key = !is_key;
            is(item, if is_key { key } else { Simple })
        })
}

/// Whether every item is as wanted.
fn each(value: &[u8], mut is_wanted: impl FnMut(&[u8]) -> bool) -> bool {
    let Some(mut rest) = scan::items(value) else { return false };
    while !rest.is_empty() {
        let Some(len) = scan::claimed_len(rest).filter(|len| is_wanted(&rest[..*len])) else { return false };
        rest = &rest[len..];
    }
    true
}

fn is(value: &[u8], kind: Kind) -> bool {
    let Some((&code, content)) = value.split_first() else { return false };
    match kind {
        Bool => matches!(code, 0x41 | 0x42),
        Ubyte => code == 0x50,
        Uint => matches!(code, 0x43 | 0x52 | 0x70),
        Timestamp => code == 0x83,
        Text => match code {
            0xa1 => from_utf8(&content[1..]).is_ok(),
            0xb1 => from_utf8(&content[4..]).is_ok(),
            _ => false,
        },
        Symbol => code == 0xa3 && content[1..].is_ascii(),
        Binary => matches!(code, 0xa0 | 0xb0),
        // A number of any width, or one of the others.
        Simple => {
            matches!(code, 0x50..=0x55 | 0x60 | 0x61 | 0x70 | 0x71 | 0x80 | 0x81 | 0x83)
                || [Bool, Text, Symbol, Binary].into_iter().any(|kind| is(value, kind))
        }
    }
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp_types::messaging::message::__private::Serializable;
    use fe2o3_amqp_types::messaging::{
        ApplicationProperties, DeliveryAnnotations, Header, Message, MessageAnnotations, Properties,
    };
    use fe2o3_amqp_types::primitives::{Binary, Timestamp, Value};
    use proptest::prelude::*;

    use super::super::harmless::decodes;
    use super::*;

    /// As Service Bus writes them.
    fn usual() -> Vec<u8> {
        let message = Message::builder()
            .header(Header { delivery_count: 3, durable: true, ..Header::default() })
            .delivery_annotations(DeliveryAnnotations::builder().insert("x-opt-a", Value::Ubyte(1)).build())
            .message_annotations(
                MessageAnnotations::builder()
                    .insert("x-opt-enqueued-time", Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000)))
                    .insert("x-opt-sequence-number", Value::Long(70_000))
                    .insert("x-opt-enqueue-sequence-number", Value::Long(3))
                    .insert("x-opt-message-state", Value::Int(0))
                    .build(),
            )
            .properties(
                Properties::builder()
                    .message_id("an id".to_owned())
                    .content_type("application/json")
                    .absolute_expiry_time(Timestamp::from_milliseconds(5))
                    .group_sequence(7_u32)
                    .build(),
            )
            .application_properties(
                ApplicationProperties::builder()
                    .insert("blobType", "Äpfel")
                    .insert("n", 1_i32)
                    .insert("b", true)
                    .build(),
            )
            .data(Binary::from(br#"{"blobType":"T"}"#.to_vec()))
            .build();
        serde_amqp::to_vec(&Serializable(message)).expect("encodes")
    }

    #[test]
    fn the_usual_message_needs_no_trial() {
        let message = usual();
        assert!(scan::message(&message).is_ok() && decodes(&message).is_ok());
        assert!(is_plain(&message), "{message:02x?}");
    }

    fn is_wrongly_plain(message: &[u8]) -> bool {
        scan::message(message).is_ok() && is_plain(message) && decodes(message).is_err()
    }

    #[test]
    fn no_byte_can_be_changed_so_that_what_is_plain_does_not_decode() {
        let usual = usual();
        let mut plain = 0;
        for at in 0..usual.len() {
            let mut message = usual.clone();
            for byte in 0..=u8::MAX {
                message[at] = byte;
                assert!(!is_wrongly_plain(&message), "byte {at} as {byte:#04x}: {:?}", decodes(&message));
                plain += usize::from(is_plain(&message));
            }
        }
        assert!(plain > 10_000, "most of these are plain: {plain}");
    }

    proptest! {
        #[test]
        fn what_is_plain_decodes(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let mut message = usual();
            for (at, byte) in changes {
                let at = at.index(message.len());
                message[at] = byte;
            }
            prop_assert!(!is_wrongly_plain(&message), "{:02x?}: {:?}", message, decodes(&message));
        }
    }
}
