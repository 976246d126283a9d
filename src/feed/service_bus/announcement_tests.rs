use fe2o3_amqp_types::messaging::{AmqpValue, Batch, Data, Header, Properties};
use fe2o3_amqp_types::primitives::{Binary, Timestamp, Uuid};

use serde_amqp::read::SliceReader;

use super::*;

const CAMEL: &str = r#"{"blobType":"Gateway.ItemChanges","correlationId":"c-1",
    "uri":"https://acct.blob.core.windows.net/box/a%20b.jsonl.gz?sv=1&sig=CANARY%3D","contentType":"application/x-jsonlines",
    "contentEncoding":"gzip","properties":{"b":1,"a":"x"},"somethingNew":[1,{"deep":null}]}"#;

fn message(body: Body<LazyValue>) -> RawMessage {
    Message {
        header: None,
        delivery_annotations: None,
        message_annotations: None,
        properties: None,
        application_properties: None,
        body,
        footer: None,
    }
}

fn data(bytes: impl Into<Vec<u8>>) -> Body<LazyValue> {
    Body::Data(Batch::new(vec![Data(Binary::from(bytes.into()))]))
}

fn value(value: &Value) -> Body<LazyValue> {
    Body::Value(AmqpValue(
        LazyValue::from_reader(&mut SliceReader::new(&serde_amqp::to_vec(value).expect("encodes"))).expect("reads"),
    ))
}

fn hear(message: RawMessage) -> HeardNotice {
    let filter = BlobTypeFilter::new(&["*".to_owned()], &["*.Unwanted".to_owned()]).expect("globs");
    read(&FeedName::new("eg"), &filter, message, None, UnixMs(77)).0
}

fn assert_is_sample(notice: &HeardNotice) {
    assert_eq!(notice.verdict, Verdict::Accepted);
    assert_eq!(notice.metadata.blob_type, "Gateway.ItemChanges");
    assert_eq!(notice.metadata.uri.as_deref(), Some("https://acct.blob.core.windows.net/box/a%20b.jsonl.gz"));
    assert_eq!(notice.body, None);
}

#[test]
fn metadata_is_read_from_every_kind_of_body() {
    let (first, second) = CAMEL.as_bytes().split_at(40);
    let two_sections = Body::Data(Batch::new([first, second].map(|part| Data(Binary::from(part.to_vec()))).to_vec()));
    let mut marked = vec![0xef, 0xbb, 0xbf];
    marked.extend_from_slice(CAMEL.as_bytes());
    let utf_16: Vec<u8> = "\u{feff}".encode_utf16().chain(CAMEL.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for body in [
        data(CAMEL),
        two_sections,
        data(marked),
        data(utf_16),
        value(&Value::String(CAMEL.to_owned())),
        value(&Value::Binary(Binary::from(CAMEL.as_bytes().to_vec()))),
    ] {
        assert_is_sample(&hear(message(body)));
    }
}

#[test]
fn names_are_read_in_any_case_and_unknown_ones_are_ignored() {
    let pascal =
        CAMEL.replace("blobType", "BlobType").replace("uri", "Uri").replace("contentEncoding", "ContentEncoding");
    let notice = hear(message(data(pascal)));
    assert_is_sample(&notice);
    assert_eq!(notice.metadata.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(notice.metadata.properties.expect("properties").to_string(), r#"{"b":1,"a":"x"}"#);
}

#[test]
fn a_blank_content_encoding_is_none_and_a_number_is_an_id_too() {
    let notice = hear(message(data(
        r#"{"blobType":"A","uri":"https://h/c/x","contentEncoding":" ","contentType":null,"correlationId":17}"#,
    )));
    assert_eq!(notice.metadata.content_encoding, None);
    assert_eq!(notice.metadata.content_type, None);
    assert_eq!(notice.metadata.correlation_id.as_deref(), Some("17"));
}

#[test]
fn an_unwanted_blob_type_is_skipped_with_its_reason() {
    let notice = hear(message(data(r#"{"blobType":"X.Unwanted","uri":"https://h/c/x"}"#)));
    assert_eq!(notice.verdict, Verdict::Skipped("the feed's filter leaves out X.Unwanted".to_owned()));
}

#[test]
fn what_cannot_be_understood_is_kept_with_its_bytes() {
    for body in [
        &b"not json"[..],
        b"\xff\xfe\x00",
        b"",
        b"[1]",
        br#"{"blobType":" ","uri":"https://h/c/x"}"#,
        br#"{"blobType":"A"}"#,
        br#"{"blobType":"A","uri":"no address"}"#,
        br#"{"blobType":"A","uri":{"not":"text"}}"#,
    ] {
        let notice = hear(message(data(body)));
        assert!(matches!(notice.verdict, Verdict::Unreadable(_)), "{body:?}");
        assert_eq!(notice.body.as_deref(), Some(body));
    }
    let number = hear(message(value(&Value::Long(5))));
    assert!(matches!(number.verdict, Verdict::Unreadable(_)));
    assert!(matches!(hear(message(Body::Empty)).verdict, Verdict::Unreadable(_)));
}

#[test]
fn no_token_reaches_the_notice() {
    for text in [
        CAMEL.to_owned(),
        CAMEL.replace("blobType", "blobKind"),
        CAMEL.replace("https://acct", "https://me:sig=CANARY@acct"),
        format!("é {CAMEL}"),
        CAMEL.replace(r#""a":"x""#, r#""a":"https://h/c/x?SIG=CANARY""#),
    ] {
        let notice = hear(message(data(text.clone())));
        let shown = format!("{notice:?}");
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}

#[test]
fn raw_bytes_change_in_the_secret_alone() {
    let raw = Bytes::from_static(b"\xff\x00 sig=abc%3D \xe9");
    assert_eq!(&redact_bytes(&raw)[..], b"\xff\x00 sig=[secret] \xe9");
}

#[test]
fn the_key_is_the_message_id_and_else_the_sequence_number() {
    let with_id = |id: MessageId| {
        let mut message = message(data(CAMEL));
        message.properties = Some(Properties::builder().message_id(id).build());
        hear(message).dedupe_key
    };
    assert_eq!(with_id(MessageId::String("m-1".to_owned())), "m-1");
    assert_eq!(with_id(MessageId::Ulong(9)), "9");
    assert_eq!(with_id(MessageId::Uuid(Uuid::from([7; 16]))), "07070707-0707-0707-0707-070707070707");
    assert_eq!(with_id(MessageId::Binary(Binary::from(vec![1, 255]))), "01ff");

    let mut blank = message(data(CAMEL));
    blank.properties = Some(Properties::builder().message_id(String::new()).build());
    blank.message_annotations = Some(
        MessageAnnotations::builder()
            .insert("x-opt-sequence-number", Value::Long(4711))
            .insert("x-opt-enqueued-time", Value::Timestamp(Timestamp::from(1_656_979_200_000)))
            .build(),
    );
    blank.header = Some(Header { delivery_count: 3, ..Header::default() });
    let notice = hear(blank);
    assert_eq!(notice.dedupe_key, "sequence 4711");
    assert_eq!(notice.sequence, 4711);
    assert_eq!(notice.published, UnixMs(1_656_979_200_000));
    assert_eq!(notice.delivery_count, 3);

    let nameless = hear(message(data(CAMEL)));
    assert_eq!(nameless.published, UnixMs(77));
    assert!(nameless.dedupe_key.starts_with("content "));
}
