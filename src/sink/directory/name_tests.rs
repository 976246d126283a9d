use std::path::{Component, Path};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::notice::Notice;
use crate::sink::directory::DEFAULT_NAME;
use crate::sink::test_support::delivery;

fn place_of(pattern: &str, change: impl FnOnce(&mut Notice), format: DirectoryFormat) -> String {
    let mut delivery = delivery("Gateway.ItemChanges");
    let mut notice = (*delivery.notice).clone();
    change(&mut notice);
    delivery.notice = Arc::new(notice);
    let place = NamePattern::parse(pattern).expect("test pattern").place(&delivery, format);
    let mut path = place.folders;
    path.push(place.file);
    path.join("/")
}

#[test]
fn the_default_name_tells_type_time_notice_and_run() {
    let name = place_of(DEFAULT_NAME, |_| {}, DirectoryFormat::JsonLines);
    assert_eq!(name, "Gateway.ItemChanges/2022-07-05/000000-42.0.jsonl");
    assert!(NamePattern::parse(DEFAULT_NAME).expect("default").is_unique());
    assert!(!NamePattern::parse("{blob_type}/{file}").expect("pattern").is_unique());
}

#[test]
fn the_file_of_the_uri_loses_its_compression_suffix_only() {
    let named = |uri: &str| {
        let change = |notice: &mut Notice| notice.metadata.uri = Some(uri.to_owned());
        place_of("{file}.{ext}", change, DirectoryFormat::Raw)
    };
    assert_eq!(named("https://a.b/c/items%20new.jsonl.GZ?x=1"), "items new.jsonl.jsonl");
    assert_eq!(named("https://a.b/c/items"), "items.jsonl");
    assert_eq!(named("https://a.b/c/..%2F..%2Fetc%2Fpasswd"), "_._.._etc_passwd.jsonl");
    assert_eq!(named("https://a.b/"), "_.jsonl");
}

#[test]
fn a_hostile_value_becomes_a_harmless_name() {
    let named = |blob_type: &str| {
        place_of("{blob_type}", |notice| notice.metadata.blob_type = blob_type.to_owned(), DirectoryFormat::Raw)
    };
    for (hostile, harmless) in [
        ("..", "__"),
        (".", "_"),
        ("", "_"),
        ("/etc/passwd", "_etc_passwd"),
        ("a\0b\nc", "a_b_c"),
        ("..\\..\\x", "_._.._x"),
        ("-rf", "_rf"),
        ("CON.txt", "_CON.txt"),
        ("com1", "_com1"),
        ("contents", "contents"),
        ("a.", "a_"),
        ("gpj\u{202e}exe", "gpj_exe"),
    ] {
        assert_eq!(named(hostile), harmless, "{hostile:?}");
    }
    let (long, longer) = (named(&"x".repeat(1_000)), named(&"x".repeat(1_001)));
    assert!(long.len() <= VALUE_BYTES_MAX && longer.len() <= VALUE_BYTES_MAX);
    assert_ne!(long, longer);
}

#[test]
fn a_pattern_that_leads_out_or_asks_for_the_unknown_is_refused() {
    for pattern in ["", "/x", "x/", "a//b", "../x", "a/../x", ".x", "{colour}", "{date", "a\0", "a\\b"] {
        assert!(NamePattern::parse(pattern).is_err(), "{pattern:?}");
    }
    assert!(NamePattern::parse(&"a/".repeat(20)).is_err());
}

proptest! {
    #[test]
    fn no_value_leads_out_of_the_folder(
        blob_type in any::<String>(),
        correlation_id in prop::option::of("(\\.|/|\\PC){0,400}"),
        uri in prop::option::of("(\\.|/|%2[eEfF]|%00|\\PC){0,40}"),
    ) {
        let change = |notice: &mut Notice| {
            notice.metadata.blob_type = blob_type;
            notice.metadata.correlation_id = correlation_id;
            notice.metadata.uri = uri;
        };
        let pattern = "{blob_type}{correlation_id}/{file}{file}/{correlation_id}{blob_type}{file}";
        let path = place_of(pattern, change, DirectoryFormat::Raw);
        let parts: Vec<_> = Path::new(&path).components().collect();
        prop_assert_eq!(parts.len(), 3);
        for part in parts {
            let Component::Normal(name) = part else { panic!("{part:?} in {path:?}") };
            let name = name.to_str().expect("text");
            prop_assert!(!name.is_empty() && name.len() <= COMPONENT_BYTES_MAX && !name.starts_with('.'));
            prop_assert!(!name.contains(['\0', '\\', '\n']));
        }
    }
}
