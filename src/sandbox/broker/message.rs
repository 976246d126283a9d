//! Messages as the broker keeps them: cut into sections once, when they arrive, and put together again around the
//! few fields that change from delivery to delivery.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Header, Properties};
use fe2o3_amqp_types::primitives::{OrderedMap, SimpleValue, Symbol};

use super::frame::put_value;
use super::wire;
use crate::clock::UnixMs;

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
fn put_data(out: &mut BytesMut, body: &[u8]) {
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
    header: Header,
    /// Keys and values of `annotations` together.
    annotation_items: u32,
    /// The sender's own annotations, as the encoded items of a map.
    annotations: Bytes,
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

/// Where a message stands in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageState {
    Active,
    Deferred,
}

/// A message with what this delivery says about it.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub content: Arc<Content>,
    pub sequence: i64,
    pub enqueued: UnixMs,
    pub delivery_count: u32,
    pub locked_until: Option<UnixMs>,
    pub state: MessageState,
    /// The entity whose dead letter this is.
    pub dead_letter_source: Option<Arc<str>>,
}

impl Envelope {
    /// Appends the header and the message annotations; [`Content::tail`] follows them.
    pub fn put_head(&self, out: &mut BytesMut) {
        self.put_header(out);
        let content = &*self.content;
        out.put_slice(&[0x00, 0x53, 0x72, 0xd1]);
        let start = out.len();
        out.put_u32(0);
        out.put_u32(0);
        out.put_slice(&content.annotations);
        let mut items = content.annotation_items + 8;
        put_symbol(out, b"x-opt-sequence-number");
        put_long(out, 0x81, self.sequence);
        put_symbol(out, b"x-opt-enqueue-sequence-number");
        put_long(out, 0x81, self.sequence);
        put_symbol(out, b"x-opt-enqueued-time");
        put_long(out, 0x83, self.enqueued.0);
        put_symbol(out, b"x-opt-message-state");
        out.put_slice(&[0x54, u8::from(self.state == MessageState::Deferred)]);
        if let Some(until) = self.locked_until {
            put_symbol(out, b"x-opt-locked-until");
            put_long(out, 0x83, until.0);
            items += 2;
        }
        if let Some(source) = &self.dead_letter_source {
            put_symbol(out, b"x-opt-deadletter-source");
            out.put_u8(0xb1);
            out.put_u32(u32::try_from(source.len()).expect("an entity's path is short"));
            out.put_slice(source.as_bytes());
            items += 2;
        }
        let size = u32::try_from(out.len() - start - 4).expect("annotations fit into a message");
        out[start..start + 4].copy_from_slice(&size.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&items.to_be_bytes());
    }

    /// The header always carries the delivery count, also 0: the .NET SDK fails without it.
    fn put_header(&self, out: &mut BytesMut) {
        let header = &self.content.header;
        out.put_slice(&[0x00, 0x53, 0x70, 0xc0, 0, 5]);
        let list = out.len();
        out.put_u8(if header.durable { 0x41 } else { 0x42 });
        out.put_slice(&[0x50, header.priority.0]);
        match header.ttl {
            Some(ttl) => {
                out.put_u8(0x70);
                out.put_u32(ttl);
            }
            None => out.put_u8(0x40),
        }
        out.put_u8(if self.delivery_count == 0 { 0x41 } else { 0x42 });
        out.put_u8(0x70);
        out.put_u32(self.delivery_count);
        out[list - 2] = u8::try_from(out.len() - list + 1).expect("a header is short");
    }

    /// The whole message, encoded.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.content.len());
        self.put_head(&mut out);
        out.put_slice(self.content.tail());
        out.freeze()
    }
}

fn put_symbol(out: &mut BytesMut, text: &[u8]) {
    out.put_u8(0xa3);
    out.put_u8(u8::try_from(text.len()).expect("the names of annotations are short"));
    out.put_slice(text);
}

fn put_long(out: &mut BytesMut, code: u8, value: i64) {
    out.put_u8(code);
    out.put_i64(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use fe2o3_amqp_types::messaging::message::__private::{Deserializable, Serializable};
    use fe2o3_amqp_types::messaging::{Body, Data, Message, MessageAnnotations};
    use serde_amqp::Value;
    use serde_amqp::primitives::Timestamp;

    fn decode(bytes: &[u8]) -> Message<Body<Value>> {
        serde_amqp::from_slice::<Deserializable<Message<Body<Value>>>>(bytes).unwrap().0
    }

    fn envelope(content: Content) -> Envelope {
        Envelope {
            content: Arc::new(content),
            sequence: 42,
            enqueued: UnixMs(1000),
            delivery_count: 3,
            locked_until: Some(UnixMs(2000)),
            state: MessageState::Active,
            dead_letter_source: Some("t1/Subscriptions/s1".into()),
        }
    }

    fn annotation(message: &Message<Body<Value>>, key: &str) -> Option<Value> {
        let annotations = message.message_annotations.as_ref().unwrap();
        annotations.0.iter().find(|(k, _)| *k == &key.into()).map(|(_, value)| value.clone())
    }

    #[test]
    fn a_published_message_reads_back_with_all_that_the_sdks_want() {
        let mut outgoing = OutgoingMessage::json("id-1", "{}");
        outgoing.properties.push(("k".to_owned(), "v".to_owned()));
        let message = decode(&envelope(outgoing.into_content().unwrap()).encode());
        assert_eq!(message.header.as_ref().unwrap().delivery_count, 3);
        assert_eq!(annotation(&message, "x-opt-sequence-number"), Some(Value::Long(42)));
        assert_eq!(
            annotation(&message, "x-opt-locked-until"),
            Some(Value::Timestamp(Timestamp::from_milliseconds(2000)))
        );
        assert_eq!(message.properties.unwrap().message_id, Some("id-1".to_owned().into()));
        assert_eq!(message.application_properties.unwrap().0.len(), 1);
        assert!(message.body.is_data());
    }

    #[test]
    fn a_senders_annotations_are_kept_but_for_the_brokers_own() {
        let mut annotations = MessageAnnotations::default();
        annotations.0.insert("x-opt-partition-key".into(), Value::String("p".to_owned()));
        annotations.0.insert("x-opt-sequence-number".into(), Value::Long(1));
        let sent = Message {
            header: Some(Header { ttl: Some(9), ..Header::default() }),
            delivery_annotations: None,
            message_annotations: Some(annotations),
            properties: None,
            application_properties: None,
            body: Data(vec![1, 2].into()),
            footer: None,
        };
        let bytes = serde_amqp::to_vec(&Serializable(sent)).unwrap();
        let message = decode(&envelope(Content::parse(bytes.into()).unwrap()).encode());
        assert_eq!(message.header.as_ref().unwrap().ttl, Some(9));
        assert_eq!(annotation(&message, "x-opt-partition-key"), Some(Value::String("p".to_owned())));
        assert_eq!(annotation(&message, "x-opt-sequence-number"), Some(Value::Long(42)));
    }

    #[test]
    fn a_dead_letter_carries_its_reason_beside_the_old_properties() {
        let mut outgoing = OutgoingMessage::json("id-1", "{}");
        outgoing.properties.push(("k".to_owned(), "v".to_owned()));
        let content = outgoing.into_content().unwrap();
        let content = content.with_properties(&[("DeadLetterReason", "bad")]).unwrap();
        assert_eq!(content.message_id().as_deref(), Some("id-1"));
        let message = decode(&envelope(content).encode());
        let properties = message.application_properties.unwrap().0;
        let reason = properties.get("DeadLetterReason").cloned();
        assert_eq!(reason, Some(SimpleValue::String("bad".to_owned())));
        assert_eq!(properties.len(), 2);
        assert!(message.body.is_data());
    }

    #[test]
    fn every_message_of_a_batch_is_found() {
        let inner = |id: &str| envelope(OutgoingMessage::json(id, "{}").into_content().unwrap()).encode();
        let mut batch = BytesMut::new();
        put_data(&mut batch, &inner("a"));
        put_data(&mut batch, &inner("b"));
        let messages = Content::parse(batch.freeze()).unwrap().batched().unwrap();
        let ids: Vec<_> = messages.iter().filter_map(Content::message_id).collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        assert!(Content::parse(Bytes::from_static(b"hello")).is_err());
        assert!(Content::parse(Bytes::from_static(&[0x00, 0x53, 0x75, 0xa0, 5, 1])).is_err());
    }
}
