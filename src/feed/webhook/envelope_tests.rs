use super::*;

fn settings() -> EnvelopeSettings {
    let pointer = |text| Pointer::parse(text).expect("a pointer");
    EnvelopeSettings {
        blob_type: "fft.{event}".to_owned(),
        event: pointer("/event"),
        id: pointer("/eventId"),
        payload: vec![pointer("/payload")],
        arrays: Arrays::Split,
    }
}

fn read_with(settings: &EnvelopeSettings, body: &str) -> HeardNotice {
    let filter = BlobTypeFilter::new(&["*".to_owned()], &["*.SKIPPED".to_owned()]).expect("globs");
    read(settings, &FeedName::new("fft"), &filter, Bytes::copy_from_slice(body.as_bytes()), None, UnixMs(7))
}

fn body_of(notice: &HeardNotice) -> &str {
    std::str::from_utf8(notice.body.as_deref().expect("a body")).expect("text")
}

#[test]
fn the_vendors_envelope_becomes_a_notice_with_the_payloads_own_bytes() {
    let notice = read_with(
        &settings(),
        r#" { "event":"ORDER_CREATED", "eventId" : "5993095975110686","payload":{ "id":"a",  "version": 1.0,"é":"\u00e9"} } "#,
    );
    assert_eq!(notice.dedupe_key, "5993095975110686");
    assert_eq!(notice.metadata.blob_type, "fft.ORDER_CREATED");
    assert_eq!(notice.metadata.correlation_id.as_deref(), Some("5993095975110686"));
    assert_eq!(notice.metadata.content_type.as_deref(), Some("application/json"));
    assert_eq!(body_of(&notice), r#"{ "id":"a",  "version": 1.0,"é":"\u00e9"}"#);
    assert_eq!(
        notice.metadata.properties,
        Some(serde_json::json!({ "event": "ORDER_CREATED", "eventId": "5993095975110686" }))
    );
    assert_eq!((notice.verdict, notice.published), (Verdict::Accepted, UnixMs(7)));
}

#[test]
fn a_payload_is_whatever_json_it_is() {
    for payload in [r#""facility-id""#, "null", "17", "[]", r#"[{"a":1}, {"a":2}]"#, r#"{"items":[1]}"#] {
        let notice = read_with(&settings(), &format!(r#"{{"event":"X","eventId":"1","payload":{payload}}}"#));
        assert_eq!((body_of(&notice), &notice.verdict), (payload, &Verdict::Accepted));
    }
}

#[test]
fn an_array_can_be_kept_as_one_record() {
    let whole = EnvelopeSettings { arrays: Arrays::Whole, ..settings() };
    let notice = read_with(&whole, r#"{"event":"X","eventId":"1","payload":[1, 2]}"#);
    assert_eq!(body_of(&notice), "[[1, 2]]");
    assert_eq!(body_of(&read_with(&whole, r#"{"event":"X","eventId":"1","payload":{}}"#)), "{}");
}

#[test]
fn of_several_pointers_the_first_that_leads_somewhere_counts() {
    let pointers = ["/payload/items", "/payload"].map(|text| Pointer::parse(text).expect("a pointer"));
    let bulk = EnvelopeSettings { payload: pointers.to_vec(), ..settings() };
    assert_eq!(body_of(&read_with(&bulk, r#"{"event":"X","eventId":"1","payload":{"items":[1,2]}}"#)), "[1,2]");
    assert_eq!(body_of(&read_with(&bulk, r#"{"event":"X","eventId":"1","payload":{"id":1}}"#)), r#"{"id":1}"#);
}

#[test]
fn an_unknown_envelope_is_kept_whole_under_the_hash_of_its_bytes() {
    for body in [r#"{"hello":"world"}"#, "[1,2]", r#""text""#, r#"{"event":"","eventId":" "}"#] {
        let notice = read_with(&settings(), body);
        assert_eq!((body_of(&notice), notice.metadata.blob_type.as_str()), (body, "fft.unknown"));
        assert!(notice.dedupe_key.starts_with("content "), "{}", notice.dedupe_key);
        assert_eq!((&notice.metadata.properties, &notice.verdict), (&None, &Verdict::Accepted));
    }
    let one = read_with(&settings(), r#"{"a":1}"#);
    assert_eq!(one.dedupe_key, read_with(&settings(), r#"{"a":1}"#).dedupe_key);
    assert_ne!(one.dedupe_key, read_with(&settings(), r#"{"a":2}"#).dedupe_key);
}

#[test]
fn what_is_no_json_is_kept_in_quarantine_as_it_came() {
    for body in ["", "not json", r#"{"event":"X""#, r#"{"event":"X"} more"#, "{\"a\":\u{1}}"] {
        let notice = read_with(&settings(), body);
        assert_eq!(body_of(&notice), body);
        assert!(matches!(&notice.verdict, Verdict::Unreadable(reason) if reason.contains("no JSON")), "{body:?}");
    }
    let filter = BlobTypeFilter::new(&["*".to_owned()], &[]).expect("globs");
    let feed = FeedName::new("fft");
    let bytes = Bytes::from_static(b"{\"event\":\"\xff\"}");
    let notice = read(&settings(), &feed, &filter, bytes.clone(), Some("gzip"), UnixMs(0));
    assert_eq!(notice.body, Some(bytes));
    assert!(matches!(&notice.verdict, Verdict::Unreadable(reason) if reason.contains("gzip")));
}

#[test]
fn ids_and_names_have_bounds() {
    let notice = read_with(&settings(), &format!(r#"{{"event":"X","eventId":"{}"}}"#, "9".repeat(ID_BYTES_MAX + 1)));
    assert!(notice.dedupe_key.starts_with("id ") && notice.dedupe_key.len() < 80, "{}", notice.dedupe_key);
    let number = read_with(&settings(), r#"{"event":"X","eventId":5993095975110686}"#);
    assert_eq!(number.dedupe_key, "5993095975110686");
    for event in ["9".repeat(EVENT_BYTES_MAX + 1).as_str(), "a\\nb", "{event}x{"] {
        let notice = read_with(&settings(), &format!(r#"{{"event":"{event}","eventId":"1"}}"#));
        assert!(notice.metadata.blob_type.len() < 50, "{}", notice.metadata.blob_type);
    }
    let large = format!(r#"{{"event":"X","eventId":"1","more":"{}","payload":1}}"#, "x".repeat(PROPERTIES_BYTES_MAX));
    let kept = read_with(&settings(), &large).metadata.properties.expect("properties");
    assert_eq!(kept, serde_json::json!({ "event": "X", "eventId": "1" }));
}

#[test]
fn a_type_that_the_filter_leaves_out_is_skipped() {
    let notice = read_with(&settings(), r#"{"event":"SKIPPED","eventId":"1","payload":1}"#);
    assert!(matches!(notice.verdict, Verdict::Skipped(_)));
}
