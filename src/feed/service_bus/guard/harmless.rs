//! What stands in for a message that is not given to the library: a well-formed one that says what was wrong, under the
//! identity of the first.

use bytes::{BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::messaging::annotations::AnnotationKey;
use fe2o3_amqp_types::messaging::message::DecodeIntoMessage as _;
use fe2o3_amqp_types::messaging::{Body, MessageAnnotations};
use fe2o3_amqp_types::primitives::{LazyValue, Symbol, Value};
use serde_amqp::read::SliceReader;

use super::scan::{self, Flaw};

const HEADER: u64 = 0x70;
const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;

/// How much of a refused message is kept. It has to fit into one frame of 64 KiB with all else that is written there.
const KEPT_BYTES_MAX: usize = 32 * 1024;
/// How long a section may be that is taken over: longer ones hold no identity that anybody could want.
const SECTION_BYTES_MAX: usize = 4 * 1024;
/// How many of the broker's annotations are taken over; it writes six.
const ANNOTATIONS_MAX: usize = 32;

/// How much is told of what the decoder says.
const SAID_CHARS_MAX: usize = 300;

/// The name of the annotation that says why a message was refused. It is drawn anew for each connection, so that nobody
/// who publishes can write it.
#[derive(Clone, Debug)]
pub(in crate::feed::service_bus) struct Mark(Symbol);

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::feed::service_bus) struct Refused {
    /// As it is counted.
    pub label: String,
    /// For people.
    pub reason: String,
}

impl Mark {
    /// A name that nobody knows yet.
    pub(in crate::feed::service_bus) fn draw() -> Self {
        Self(Symbol::from(format!("longshore-refused-{}", uuid::Uuid::new_v4())))
    }

    /// Why the message with these annotations stands in for another one; `None` for a message as it was published.
    pub(in crate::feed::service_bus) fn read(&self, annotations: Option<&MessageAnnotations>) -> Option<Refused> {
        let Value::String(text) = annotations?.get(&self.0 as &dyn AnnotationKey)? else {
            return None;
        };
        let (label, reason) = text.split_once(' ')?;
        Some(Refused { label: label.to_owned(), reason: reason.to_owned() })
    }
}

/// Finds out whether the library can decode a message: one that fails there has lost its bytes, and could not be kept. Only
/// for what has been walked.
pub(super) fn try_out(message: &[u8]) -> Result<(), Flaw> {
    decodes(message).map_err(|error| {
        let said = crate::secret::redact(&error.to_string());
        Flaw::Undecodable(said.chars().take(SAID_CHARS_MAX).collect())
    })
}

/// Decodes a message as the library is going to.
pub(super) fn decodes(message: &[u8]) -> Result<(), serde_amqp::Error> {
    Body::<LazyValue>::decode_message_from_reader(SliceReader::new(message)).map(drop)
}

/// A message that stands in for `refused`. It keeps what tells the message from others, as far as that can be read:
/// the header, the properties (with the id), and those annotations that are plain values (with the sequence number).
pub(super) fn message(refused: &[u8], flaw: Flaw, mark: &Mark) -> Bytes {
    let kept = &refused[..refused.len().min(KEPT_BYTES_MAX)];
    let total = match flaw {
        // The rest is not waited for.
        Flaw::TooLarge(_) => String::new(),
        _ => format!(" of its {}", refused.len()),
    };
    let label = flaw.label();
    let reason = format!("{label} the message is not decoded: {flaw}; the first {}{total} bytes are kept", kept.len());
    let found = Sections::find(refused);
    let mut out = BytesMut::with_capacity(kept.len() + 2 * SECTION_BYTES_MAX);
    out.put_slice(found.header);
    put_annotations(&mut out, &[(mark.0.as_str(), &reason)], &plain_pairs(found.annotations));
    out.put_slice(found.properties);
    out.put_slice(&[0x00, 0x53, 0x75, 0xb0]);
    out.put_u32(u32::try_from(kept.len()).expect("it is bounded above"));
    out.put_slice(kept);
    out.freeze()
}

/// The sections that hold a message's identity; empty where they are missing or cannot be read.
#[derive(Default)]
struct Sections<'a> {
    header: &'a [u8],
    /// The map alone. Its values may still be anything.
    annotations: &'a [u8],
    properties: &'a [u8],
}

impl<'a> Sections<'a> {
    /// Looks as far as sections tell their own length.
    fn find(mut rest: &'a [u8]) -> Self {
        let mut found = Self::default();
        while let Some((code, head)) = scan::descriptor(rest)
            && let Some(len) = scan::claimed_len(&rest[head..]).map(|len| head + len)
        {
            let (section, after) = rest.split_at(len);
            // A section decodes as a message of its own.
            let is_sound =
                || len <= SECTION_BYTES_MAX && scan::value_len(section) == Ok(len) && try_out(section).is_ok();
            // The first of each kind is the broker's own.
            match code {
                HEADER if found.header.is_empty() && is_sound() => found.header = section,
                MESSAGE_ANNOTATIONS if found.annotations.is_empty() => found.annotations = &section[head..],
                PROPERTIES if found.properties.is_empty() && is_sound() => found.properties = section,
                _ => {}
            }
            rest = after;
        }
        found
    }
}

/// The items of a map whose key is a symbol and whose value has a fixed length; a key and a value each.
fn plain_pairs(map: &[u8]) -> Vec<&[u8]> {
    let mut pairs = Vec::new();
    let mut rest = scan::items(map).unwrap_or_default();
    while pairs.len() < ANNOTATIONS_MAX
        && let Some(key) = scan::claimed_len(rest)
        && let Some(value) = scan::claimed_len(&rest[key..])
    {
        let (pair, after) = rest.split_at(key + value);
        if pair[0] == 0xa3 && (0x40..0xa0).contains(&pair[key]) {
            pairs.push(pair);
        }
        rest = after;
    }
    pairs
}

/// Appends the section of the annotations: texts, and pairs as they are encoded.
fn put_annotations(out: &mut BytesMut, texts: &[(&str, &str)], pairs: &[&[u8]]) {
    out.put_slice(&[0x00, 0x53, 0x72, 0xd1]);
    let start = out.len();
    out.put_u32(0);
    out.put_u32(u32::try_from(2 * (texts.len() + pairs.len())).expect("a few"));
    for (name, text) in texts {
        out.put_slice(&[0xa3, u8::try_from(name.len()).expect("our own names are short")]);
        out.put_slice(name.as_bytes());
        out.put_u8(0xb1);
        out.put_u32(u32::try_from(text.len()).expect("our own texts are short"));
        out.put_slice(text.as_bytes());
    }
    pairs.iter().for_each(|pair| out.put_slice(pair));
    let size = u32::try_from(out.len() - start - 4).expect("at most 32 pairs of less than 300 bytes");
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}
