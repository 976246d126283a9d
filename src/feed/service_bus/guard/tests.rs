use fe2o3_amqp_types::messaging::message::DecodeIntoMessage;
use fe2o3_amqp_types::messaging::{Body, Message, MessageId};
use fe2o3_amqp_types::primitives::{LazyValue, Value};
use proptest::prelude::*;
use serde_amqp::read::SliceReader;

use super::*;

const BYTES_MAX: usize = 100_000;

/// A transfer frame as brokers write it.
fn transfer(channel: u16, link: u8, more: bool, aborted: bool, payload: &[u8]) -> Vec<u8> {
    let more = if more { 0x41 } else { 0x42 };
    let aborted = if aborted { 0x41 } else { 0x42 };
    let fields = [0x52, link, 0x43, 0xa0, 1, 7, 0x43, 0x42, more, 0x40, 0x40, 0x42, aborted];
    frame(channel, 0x14, 10, &fields, payload)
}

fn frame(channel: u16, code: u8, count: u8, fields: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0x00, 0x53, code, 0xc0, u8::try_from(fields.len() + 1).expect("short"), count];
    body.extend_from_slice(fields);
    body.extend_from_slice(payload);
    let len = u32::try_from(body.len() + 8).expect("short");
    let mut frame = len.to_be_bytes().to_vec();
    frame.extend_from_slice(&[2, 0]);
    frame.extend_from_slice(&channel.to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

fn flow(channel: u16) -> Vec<u8> {
    frame(channel, 0x13, 4, &[0x43, 0x43, 0x43, 0x43], &[])
}

/// A section whose value is preceded by its code.
fn section(code: u8, value: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, code], value].concat()
}

fn data(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("short").to_be_bytes();
    section(0x75, &[&[0xb0], &len[..], body].concat())
}

/// Lists in lists.
fn nested(levels: usize) -> Vec<u8> {
    (0..levels).fold(vec![0x40], |inner, _| {
        let size = u32::try_from(inner.len() + 4).expect("short");
        [&[0xd0], &size.to_be_bytes()[..], &1_u32.to_be_bytes(), &inner].concat()
    })
}

/// Annotations with the sequence number 9 and a value that is nested too deep, an id, and a body.
fn hostile() -> Vec<u8> {
    let sequence = [&[0xa3, 21], &b"x-opt-sequence-number"[..], &[0x55, 9]].concat();
    let deep = [&[0xa3, 1, b'x'], &nested(9_000)[..]].concat();
    let items = [&4_u32.to_be_bytes()[..], &sequence, &deep].concat();
    let map = [&[0xd1], &u32::try_from(items.len()).expect("short").to_be_bytes()[..], &items].concat();
    [section(0x72, &map), section(0x73, &[0xc0, 6, 1, 0xa1, 3, b'm', b'-', b'1']), data(b"{}")].concat()
}

fn filter() -> (Filter, Mark) {
    let mark = Mark::draw();
    (Filter::new(mark.clone(), BYTES_MAX), mark)
}

/// What comes out of `filter` for `input` that arrives in pieces of `piece` bytes.
fn run(filter: &mut Filter, input: &[u8], piece: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for part in input.chunks(piece) {
        filter.put(part);
        loop {
            let mut out = BytesMut::new();
            filter.run(&mut out).expect("frames");
            if out.is_empty() {
                break;
            }
            all.extend_from_slice(&out);
        }
        assert!(filter.held_bytes() <= BYTES_MAX + FRAME_BYTES_MAX + piece, "{} bytes are held", filter.held_bytes());
    }
    all
}

/// The frames in `bytes`.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = bytes.split_at(u32::from_be_bytes(bytes[..4].try_into().expect("four")) as usize);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn payload(frame: &[u8]) -> &[u8] {
    &frame[8 + scan::value_len(&frame[8..]).expect("a performative")..]
}

/// What the library makes of it.
fn decode(bytes: &[u8]) -> Message<Body<LazyValue>> {
    Body::<LazyValue>::decode_message_from_reader(SliceReader::new(bytes)).expect("a message")
}

fn refused(bytes: &[u8], mark: &Mark) -> Refused {
    mark.read(decode(bytes).message_annotations.as_ref()).expect("a message that stands in for another")
}

#[test]
fn what_is_sound_goes_through_unchanged_however_it_arrives() {
    let long = data(&[b'x'; 70_000]);
    let wire = [
        b"AMQP\x03\x01\x00\x00".to_vec(),
        vec![0, 0, 0, 8, 2, 0, 0, 0],
        transfer(1, 0, false, false, &data(b"{}")),
        transfer(1, 0, true, false, &long[..40_000]),
        transfer(1, 0, false, false, &long[40_000..]),
        transfer(0, 3, false, false, &data(b"[]")),
    ]
    .concat();
    for piece in [1, 7, 8, 100, 5_000, wire.len()] {
        assert!(run(&mut filter().0, &wire, piece) == wire, "in pieces of {piece}");
    }
}

#[test]
fn a_message_that_would_end_the_process_is_replaced_under_its_own_identity() {
    let (mut filter, mark) = filter();
    let before = transfer(1, 0, false, false, &data(b"before"));
    let after = transfer(1, 0, false, false, &data(b"after"));
    let message = hostile();
    let hostile: Vec<u8> = (0..message.len())
        .step_by(30_000)
        .flat_map(|at| {
            let end = message.len().min(at + 30_000);
            transfer(1, 0, end < message.len(), false, &message[at..end])
        })
        .collect();
    let out = run(&mut filter, &[before.clone(), hostile, after.clone()].concat(), 9_000);
    let frames = frames(&out);
    assert_eq!(frames.len(), 2 + message.len().div_ceil(30_000), "the frames are counted on both sides");
    assert_eq!((frames[0], *frames.last().expect("frames")), (&before[..], &after[..]));
    let replaced = frames[1..frames.len() - 1].iter().flat_map(|frame| payload(frame)).copied().collect::<Vec<_>>();
    let refused = refused(&replaced, &mark);
    assert_eq!(refused.label, "nested");
    assert_eq!(
        refused.reason,
        format!(
            "the message is not decoded: its values are nested more than 32 levels deep; the first 32768 of its {} bytes are kept",
            message.len()
        )
    );
    let decoded = decode(&replaced);
    let annotations = decoded.message_annotations.expect("annotations");
    let sequence =
        annotations.0.iter().find(|(key, _)| *key == &"x-opt-sequence-number".into()).map(|(_, value)| value);
    assert_eq!((annotations.0.len(), sequence), (2, Some(&Value::Long(9))));
    assert_eq!(
        decoded.properties.and_then(|properties| properties.message_id),
        Some(MessageId::String("m-1".to_owned()))
    );
    let Body::Data(kept) = decoded.body else { panic!("no data") };
    assert_eq!(kept.iter().next().map(|data| data.0.to_vec()).as_deref(), Some(&message[..32_768]));
}

#[test]
fn each_flaw_has_its_name_and_no_publisher_can_write_the_mark() {
    let claim = [0x00, 0x53, 0x75, 0xb0, 0xff, 0xff, 0xff, 0xff, b'{'];
    let cases: [(&[u8], &str); 5] = [
        (&claim, "claim"),
        (&[0x00, 0x53, 0x77, 0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40], "claim"),
        (&section(0x77, &nested(40)), "nested"),
        (b"hello", "malformed"),
        (&[0x00, 0x53, 0x77, 0x3f], "malformed"),
    ];
    for (message, label) in cases {
        let (mut filter, mark) = filter();
        let out = run(&mut filter, &transfer(1, 0, false, false, message), 100);
        assert_eq!(refused(payload(&out), &mark).label, label, "{message:02x?}");
        assert_eq!(Mark::draw().read(decode(payload(&out)).message_annotations.as_ref()), None, "another connection's");
    }
}

#[test]
fn a_message_beyond_its_bound_is_not_waited_for_and_the_next_one_goes_through() {
    let (mut filter, mark) = filter();
    let part = [b'x'; 20_000];
    let mut wire = transfer(1, 0, true, false, &[&[0x00, 0x53, 0x75, 0xb0, 0x7f, 0, 0, 0], &part[..]].concat());
    for _ in 0..1_000 {
        wire.extend(transfer(1, 0, true, false, &part));
    }
    wire.extend(transfer(1, 0, false, false, &part));
    let next = transfer(1, 0, false, false, &data(b"next"));
    wire.extend(&next);
    let out = run(&mut filter, &wire, 16_000);
    let frames = frames(&out);
    assert_eq!(frames.len(), 1_003);
    assert_eq!(refused(payload(frames[0]), &mark).label, "too-large");
    assert!(frames[1..1_002].iter().all(|frame| payload(frame).is_empty()));
    assert_eq!(frames[1_002], next);
}

#[test]
fn frames_keep_the_order_of_their_channel_and_no_other_channel_waits() {
    let (mut filter, _) = filter();
    let whole = data(b"abcdef");
    let (first, last) = (transfer(1, 0, true, false, &whole[..9]), transfer(1, 0, false, false, &whole[9..]));
    let other = transfer(0, 0, false, false, &data(b"other"));
    assert_eq!(run(&mut filter, &[first.clone(), flow(1), other.clone()].concat(), 50), other);
    assert_eq!(run(&mut filter, &last, 50), [first, flow(1), last].concat());
}

#[test]
fn a_delivery_that_is_given_up_lets_its_channel_go_on() {
    let detach = frame(1, 0x16, 2, &[0x52, 0, 0x41], &[]);
    let end = frame(1, 0x17, 0, &[], &[]);
    let aborted = transfer(1, 0, true, true, &[]);
    for stop in [detach, end, aborted] {
        let (mut filter, _) = filter();
        let out =
            run(&mut filter, &[transfer(1, 0, true, false, &hostile()[..5_000]), flow(1), stop.clone()].concat(), 99);
        let frames = frames(&out);
        assert_eq!(frames.len(), 3);
        assert!(payload(frames[0]).is_empty(), "nothing that was not looked at");
        assert_eq!((frames[1], frames[2]), (&flow(1)[..], &stop[..]));
        let next = transfer(1, 0, false, false, &data(b"next"));
        assert_eq!(run(&mut filter, &next, 99), next);
    }
}

#[test]
fn a_broker_that_does_not_speak_amqp_is_left() {
    let nested_performative = frame(0, 0x18, 1, &[0x00; 100], &[]);
    let endless: Vec<u8> = (0..200).flat_map(|channel| transfer(channel, 0, true, false, b"")).collect();
    let wires: [(&[u8], &str); 5] = [
        (&[0, 1, 0, 1, 2, 0, 0, 0], "a frame of 65537 bytes"),
        (&[0, 0, 0, 4, 2, 0, 0, 0], "a frame of 4 bytes"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a frame of"),
        (&nested_performative, "nested"),
        (&endless, "too many channels"),
    ];
    for (wire, what) in wires {
        let mut filter = filter().0;
        filter.put(wire);
        let error = filter.run(&mut BytesMut::new()).expect_err(what).to_string();
        assert!(error.contains(what), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_frames_or_in_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
        crate::feed::service_bus::fuzzing::stream_of(&bytes, piece);
    }

    #[test]
    fn any_deliveries_come_out_sound_and_in_number(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        crate::feed::service_bus::fuzzing::amqp_stream(&bytes);
    }
}
