//! Messages as the broker keeps them: cut into sections once, when they arrive. What changes from delivery to delivery
//! is put around them in `envelope.rs`.

use bytes::{BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Header, Properties};
use fe2o3_amqp_types::primitives::{OrderedMap, SimpleValue, Symbol};

use super::frame::put_value;
use super::wire;

const HEADER: u64 = 0x70;
const DELIVERY_ANNOTATIONS: u64 = 0x71;
const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
const APPLICATION_PROPERTIES: u64 = 0x74;
const DATA: u64 = 0x75;

/// Annotations that the broker itself writes; whatever a sender wrote there is dropped.
const OWN_ANNOTATIONS: [&[u8]; 6] = [
    b"x-opt-sequence-number",
    b"x-opt-enqueue-sequence-number",
    b"x-opt-enqueued-time",
    b"x-opt-locked-until",
    b"x-opt-message-state",
    b"x-opt-deadletter-source",
];

/// A message to publish from inside the process.
#[derive(Clone, Debug, Default)]
pub struct OutgoingMessage {
    /// The message id; two messages with the same one are the same message to whoever dedupes.
    pub message_id: Option<String>,
    /// The correlation id.
    pub correlation_id: Option<String>,
    /// The subject (label).
    pub subject: Option<String>,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// Application properties, all of them texts.
    pub properties: Vec<(String, String)>,
    /// The body, sent as one data section.
    pub body: Bytes,
}

impl OutgoingMessage {
    /// A JSON message with an id.
    pub fn json(message_id: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            message_id: Some(message_id.into()),
            content_type: Some("application/json".to_owned()),
            body: body.into(),
            ..Self::default()
        }
    }

    pub(super) fn into_content(self) -> Result<Content, serde_amqp::Error> {
        let properties = Properties {
            message_id: self.message_id.map(Into::into),
            correlation_id: self.correlation_id.map(Into::into),
            subject: self.subject,
            content_type: self.content_type.map(Symbol::from),
            ..Properties::default()
        };
        let mut tail = BytesMut::with_capacity(self.body.len() + 160);
        put_value(&mut tail, &properties)?;
        if !self.properties.is_empty() {
            let map = self.properties.into_iter().map(|(key, value)| (key, SimpleValue::String(value)));
            put_value(&mut tail, &ApplicationProperties(map.collect::<OrderedMap<_, _>>()))?;
        }
        put_data(&mut tail, &self.body);
        Ok(Content { header: Header::default(), annotation_items: 0, annotations: Bytes::new(), tail: tail.freeze() })
    }
}

/// Appends a data section.
pub(super) fn put_data(out: &mut BytesMut, body: &[u8]) {
    out.put_slice(&[0x00, 0x53, 0x75]);
    match u8::try_from(body.len()) {
        Ok(len) => out.put_slice(&[0xa0, len]),
        Err(_) => {
            out.put_u8(0xb0);
            out.put_u32(u32::try_from(body.len()).expect("a message is far smaller than 4 GiB"));
        }
    }
    out.put_slice(body);
}

/// What never changes about a message, shared by all subscriptions that hold it.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub header: Header,
    /// Keys and values of `annotations` together.
    pub annotation_items: u32,
    /// The sender's own annotations, as the encoded items of a map.
    pub annotations: Bytes,
    /// Everything from the properties on, as it is sent.
    tail: Bytes,
}

/// The bytes are not an AMQP message.
#[derive(Debug, thiserror::Error)]
#[error("the message cannot be decoded: {0}")]
pub(super) struct MessageError(pub &'static str);

impl Content {
    /// A message of which as little as possible is looked at: what cannot be cut into sections is sent on as it is.
    pub fn of_any(payload: Bytes) -> Self {
        Self::parse(payload.clone()).unwrap_or_else(|_| Self {
            header: Header::default(),
            annotation_items: 0,
            annotations: Bytes::new(),
            tail: payload,
        })
    }

    /// Cuts a received message into its sections.
    pub fn parse(payload: Bytes) -> Result<Self, MessageError> {
        let mut content =
            Self { header: Header::default(), annotation_items: 0, annotations: Bytes::new(), tail: Bytes::new() };
        let mut at = 0;
        let mut tail = None;
        while at < payload.len() {
            let (code, value, len) = wire::section(&payload[at..]).ok_or(MessageError("a section is malformed"))?;
            match code {
                HEADER => {
                    content.header = serde_amqp::from_slice(&payload[at..at + len])
                        .map_err(|_| MessageError("the header is malformed"))?;
                }
                DELIVERY_ANNOTATIONS => {}
                MESSAGE_ANNOTATIONS => content.keep_annotations(value)?,
                PROPERTIES..=0x78 => {
                    tail.get_or_insert(at);
                }
                _ => return Err(MessageError("a section is unknown")),
            }
            at += len;
        }
        content.tail = payload.slice(tail.unwrap_or(payload.len())..);
        Ok(content)
    }

    fn keep_annotations(&mut self, map: &[u8]) -> Result<(), MessageError> {
        const MALFORMED: MessageError = MessageError("the message annotations are malformed");
        let (_, mut rest) = wire::map_items(map).ok_or(MALFORMED)?;
        let mut kept = BytesMut::new();
        while !rest.is_empty() {
            let key_len = wire::value_len(rest).ok_or(MALFORMED)?;
            let value_len = wire::value_len(&rest[key_len..]).ok_or(MALFORMED)?;
            let (item, after) = rest.split_at(key_len + value_len);
            // A short symbol or string: its code, its length, its text.
            let own = key_len > 2 && matches!(item[0], 0xa3 | 0xa1) && OWN_ANNOTATIONS.contains(&&item[2..key_len]);
            if !own {
                kept.put_slice(item);
                self.annotation_items += 2;
            }
            rest = after;
        }
        self.annotations = kept.freeze();
        Ok(())
    }

    /// About how many bytes one delivery of it takes.
    pub fn len(&self) -> usize {
        self.annotations.len() + self.tail.len() + 256
    }

    /// What is sent after the changing part.
    pub fn tail(&self) -> &Bytes {
        &self.tail
    }

    /// The messages in a batch (message format 0x80013700): each data section is one encoded message.
    pub fn batched(&self) -> Result<Vec<Self>, MessageError> {
        let mut messages = Vec::new();
        let mut at = 0;
        while at < self.tail.len() {
            let (code, value, len) =
                wire::section(&self.tail[at..]).ok_or(MessageError("a section of a batch is malformed"))?;
            if code == DATA {
                let head = match value[0] {
                    0xa0 => 2,
                    0xb0 => 5,
                    _ => return Err(MessageError("a data section of a batch is not binary")),
                };
                let start = at + len - value.len() + head;
                messages.push(Self::parse(self.tail.slice(start..at + len))?);
            }
            at += len;
        }
        Ok(messages)
    }

    /// The same message with more application properties; those of the same name are replaced.
    pub fn with_properties(&self, added: &[(&str, &str)]) -> Result<Self, serde_amqp::Error> {
        let mut tail = BytesMut::with_capacity(self.tail.len() + 128);
        let mut at = 0;
        let mut map: OrderedMap<String, SimpleValue> = OrderedMap::new();
        let mut before_len = 0;
        while let Some((code, _, len)) = wire::section(&self.tail[at..]) {
            match code {
                PROPERTIES => before_len = at + len,
                APPLICATION_PROPERTIES => {
                    map = serde_amqp::from_slice::<ApplicationProperties>(&self.tail[at..at + len])?.0;
                }
                _ => break,
            }
            at += len;
        }
        for (key, value) in added {
            map.insert((*key).to_owned(), SimpleValue::String((*value).to_owned()));
        }
        tail.put_slice(&self.tail[..before_len]);
        put_value(&mut tail, &ApplicationProperties(map))?;
        tail.put_slice(&self.tail[at..]);
        Ok(Self { tail: tail.freeze(), ..self.clone() })
    }

    /// The message's own id, if it is a text.
    #[cfg(test)]
    pub fn message_id(&self) -> Option<String> {
        let (code, _, len) = wire::section(&self.tail)?;
        if code != PROPERTIES {
            return None;
        }
        match serde_amqp::from_slice::<Properties>(&self.tail[..len]).ok()?.message_id? {
            fe2o3_amqp_types::messaging::MessageId::String(id) => Some(id),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        assert!(Content::parse(Bytes::from_static(b"hello")).is_err());
        assert!(Content::parse(Bytes::from_static(&[0x00, 0x53, 0x75, 0xa0, 5, 1])).is_err());
    }
}
