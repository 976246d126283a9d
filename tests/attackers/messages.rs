//! Whoever may publish to the topic cannot keep the daemon down, nor hold up what others publish.

use bytes::Bytes;

use crate::addresses::ask;
use crate::common::process::LIMIT;
use crate::common::vendor::World;

/// The bound of these tests; the largest messages here are well beyond it, and well below what their broker takes.
const MORE: &str = "[work]\nordering = \"none\"\n";

fn value32(code: u8, items: u32, bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len() + 4).expect("short");
    [&[code], &size.to_be_bytes()[..], &items.to_be_bytes(), bytes].concat()
}

/// Lists in lists.
fn nested(levels: usize) -> Vec<u8> {
    (0..levels).fold(vec![0x45], |inner, _| value32(0xd0, 1, &inner))
}

fn section(code: u8, value: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, code], value].concat()
}

fn data(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("short").to_be_bytes();
    section(0x75, &[&[0xb0], &len[..], body].concat())
}

fn id(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).expect("short");
    section(0x73, &[&[0xc0, len + 3, 1, 0xa1, len], text.as_bytes()].concat())
}

/// The properties of a message whose time of expiry is a text.
fn undecodable() -> Vec<u8> {
    let fields = [&[0xa1, 1, b'i'][..], &[0x40; 7], &[0xa1, 4], b"soon"].concat();
    section(0x73, &[&[0xc0, u8::try_from(fields.len() + 1).expect("short"), 9], &fields[..]].concat())
}

/// Every message: what it is, its bytes, and what its notice says.
fn messages() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let deep = nested(10_000);
    let pair = |key: &[u8], value: &[u8]| value32(0xd1, 2, &[key, value].concat());
    let in_annotations = section(0x72, &pair(&[0xa3, 1, b'x'], &deep));
    let in_properties = section(0x74, &pair(&[0xa1, 1, b'x'], &deep));
    let descriptors = [&[0x00; 90_000][..], &[0x40]].concat();
    let claim = [0x00, 0x53, 0x75, 0xb0, 0xff, 0xff, 0xff, 0xf0, b'{', b'}'];
    let items = [0x00, 0x53, 0x77, 0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
    let deeper = "nested more than 32 levels deep";
    vec![
        ("annotations", [in_annotations, id("annotations"), data(b"{}")].concat(), deeper),
        ("properties", [id("properties"), in_properties, data(b"{}")].concat(), deeper),
        ("value", [id("value"), section(0x77, &deep)].concat(), deeper),
        ("sequence", [id("sequence"), section(0x76, &value32(0xd0, 1, &deep))].concat(), deeper),
        ("footer", [id("footer"), data(b"{}"), section(0x78, &pair(&[0xa3, 1, b'x'], &deep))].concat(), deeper),
        ("descriptors", [id("descriptors"), section(0x77, &descriptors)].concat(), deeper),
        ("length", [&id("length")[..], &claim].concat(), "claims a length of 4294967280 where 2 bytes are left"),
        ("items", [&id("items")[..], &items].concat(), "claims a length of 4294967295"),
        ("large", [id("large"), data(&vec![b'x'; 3 << 20])].concat(), "it has more than 1048576 bytes"),
        // Sound values, of types that do not belong there: a text as the time of expiry, a number as a header's `durable`.
        ("undecodable", [undecodable(), data(b"{}")].concat(), "not of the type that belongs there"),
        ("header", [section(0x70, &[0xc0, 3, 1, 0x52, 7]), id("header"), data(b"{}")].concat(), "not of the type"),
        ("not AMQP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "no section of an AMQP message"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_message_is_named_and_kept_and_its_neighbours_are_delivered() {
    let mut world = World::new(MORE).await;
    world.tell_on("127.0.0.1:0");
    let topic = world.sandbox.settings().topic.clone();
    let messages = messages();
    for (name, message, _) in &messages {
        world.publish(1, 3).await;
        let broker = world.sandbox.broker();
        broker.publish_encoded(&topic, Bytes::from(message.clone())).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    world.publish(1, 3).await;

    let daemon = world.start(&["run"]);
    let count = messages.len() as u64;
    world
        .wait("all have ended", |summary| summary.notices.finished == count + 1 && summary.notices.quarantined == count)
        .await;
    let metrics = ask(&daemon, "metrics").await;
    let path = world.sandbox.subscription_path();
    let drained = world
        .sandbox
        .broker()
        .wait_until(LIMIT, |state| {
            let queue = state.subscription(&path);
            queue.active + queue.locked == 0
        })
        .await
        .expect("everything is completed")
        .subscription(&path);
    let log = daemon.stop().await;
    world.assert_each_record_once();

    // Nothing went to the dead letters, and nothing came twice: no connection was lost over it.
    assert_eq!((drained.dead_lettered, drained.completed), (0, 2 * count + 1), "{drained:?}");
    assert!(metrics.contains("longshore_feed_connections_total{feed=\"eg\"} 1\n"), "{metrics}");
    let lines = world.notices().await;
    for (number, (name, _, reason)) in messages.iter().enumerate() {
        // The broker keeps the order: a neighbour, and the message.
        let line = lines.iter().find(|line| line.id.0 == 2 * number as i64 + 2).expect("every message is a notice");
        let said = line.reason.clone().unwrap_or_default();
        assert!(said.contains(reason), "{name}: {said}");
        assert!(log.contains(reason), "{name} is told in the journal:\n{log}");
        let story = world.say(&["show", &line.id.0.to_string(), "--json"]).await;
        let key = if matches!(*name, "not AMQP" | "undecodable") { "sequence " } else { name };
        assert!(story.contains(&format!("\"{key}")), "{name} is known by its id: {story}");
    }
    for (label, times) in [("nested", 6), ("claim", 2), ("too-large", 1), ("malformed", 1), ("undecodable", 2)] {
        let line = format!("longshore_refused_messages_total{{feed=\"eg\",reason=\"{label}\"}} {times}\n");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}
