//! What one delivery says about a message: put before it, each time anew.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::message::Content;
use crate::clock::UnixMs;

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
    use crate::sandbox::broker::message::{OutgoingMessage, put_data};
    use fe2o3_amqp_types::messaging::message::__private::{Deserializable, Serializable};
    use fe2o3_amqp_types::messaging::{Body, Data, Header, Message, MessageAnnotations};
    use fe2o3_amqp_types::primitives::SimpleValue;
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
}
