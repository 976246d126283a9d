//! Holds `deploy/longshore.example.toml` to what it says: that it is right, complete, and states the true defaults.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::reader::Section;
use super::{Config, Files, Surroundings, written};

const EXAMPLE: &str = include_str!("../../deploy/longshore.example.toml");

fn parse(text: &str) -> Config {
    let surroundings =
        Surroundings { folder: PathBuf::from("/etc/longshore"), credentials: None, files: Files::Assumed };
    Config::parse(Path::new("longshore.toml"), text, &surroundings).unwrap_or_else(|error| panic!("{error}"))
}

/// The example with the marks taken away that `uncomment` says.
fn with(uncomment: impl Fn(&str) -> Option<&str>) -> String {
    EXAMPLE.lines().map(|line| uncomment(line).unwrap_or(line)).fold(String::new(), |text, line| text + line + "\n")
}

/// A stated default: a key right behind its mark. Prose has a space there.
fn default_in(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn without_default_in(line: &str) -> Option<&str> {
    line.strip_prefix("#~ ")
}

#[test]
fn the_example_is_right() {
    let config = parse(EXAMPLE);
    assert!(config.warnings.is_none(), "{:?}", config.warnings);
    assert!(config.changed.is_empty(), "{:?}", config.changed);
}

#[test]
fn the_defaults_that_the_example_states_are_the_true_ones() {
    let stated = parse(&with(default_in));
    assert_eq!(stated.changed, []);
    assert_eq!(format!("{:#?}", parse(EXAMPLE)), format!("{stated:#?}"));
}

/// The keys of a table, and of the first of each list of tables in it.
fn keys_below(name: &str, value: &DeValue<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in value.as_table().expect("a table") {
        found.push(format!("{name}..{}", key.get_ref()));
        let first = value.get_ref().as_array().and_then(|list| list.first());
        if let Some(first) = first.filter(|first| first.get_ref().as_table().is_some()) {
            found.extend(keys_below(key.get_ref(), first.get_ref()));
        }
    }
    found
}

#[test]
fn every_key_stands_in_the_example_and_can_be_read() {
    let full = with(|line| default_in(line).or_else(|| without_default_in(line)));
    parse(&full);
    let (tree, errors) = DeTable::parse_recoverable(&full);
    assert!(errors.is_empty(), "{errors:?}");
    let mut found = BTreeSet::new();
    for (section, value) in tree.get_ref() {
        found.insert(section.get_ref().to_string());
        let tables: Vec<&DeTable<'_>> = match value.get_ref() {
            DeValue::Table(table) => vec![table],
            DeValue::Array(tables) => tables.iter().filter_map(|table| table.get_ref().as_table()).collect(),
            other => panic!("{section:?} is {other:?}"),
        };
        for table in tables {
            let kind = table.get("type").and_then(|kind| kind.get_ref().as_str()).unwrap_or_default();
            for (key, value) in table {
                found.insert(format!("{}.{kind}.{}", section.get_ref(), key.get_ref()));
                if key.get_ref() == "expect" {
                    let inner = value.get_ref().as_table().expect("a table");
                    found.extend(inner.iter().map(|(inner, _)| format!("expect..{}", inner.get_ref())));
                }
                if key.get_ref() == "subscriptions" {
                    found.extend(keys_below("subscriptions", value.get_ref()));
                }
                if matches!(key.get_ref().as_ref(), "only" | "parents") {
                    let first = value.get_ref().as_array().expect("a list").first().expect("an element");
                    let first = first.get_ref().as_table().expect("a table");
                    found.extend(first.iter().map(|(inner, _)| format!("{}..{}", key.get_ref(), inner.get_ref())));
                }
            }
        }
    }
    let sections: [(&str, &str, &[&str]); 28] = [
        ("identity", "", written::Identity::KEYS),
        ("tokens", "", written::Tokens::KEYS),
        ("feed", "service-bus", written::ServiceBusFeed::KEYS),
        ("feed", "drop", written::DropFeed::KEYS),
        ("expect", "", written::Expected::KEYS),
        ("feed", "bucket", written::BucketFeed::KEYS),
        ("feed", "webhook", written::WebhookFeed::KEYS),
        ("subscriptions", "", written::Subscriptions::KEYS),
        ("limited", "", written::Limited::KEYS),
        ("contexts", "", written::Context::KEYS),
        ("reconcile", "", written::Reconcile::KEYS),
        ("entity", "", written::Entity::KEYS),
        ("route", "", written::Route::KEYS),
        ("parents", "", written::Parent::KEYS),
        ("only", "", written::Only::KEYS),
        ("routing", "", written::Routing::KEYS),
        ("sink", "directory", written::DirectorySink::KEYS),
        ("sink", "http", written::HttpSink::KEYS),
        ("sink", "command", written::CommandSink::KEYS),
        ("sink", "sqlite", written::SqliteSink::KEYS),
        ("inbox", "", written::Inbox::KEYS),
        ("parking", "", written::Parking::KEYS),
        ("work", "", written::Work::KEYS),
        ("limits", "", written::Limits::KEYS),
        ("fetch", "", written::Fetch::KEYS),
        ("log", "", written::Log::KEYS),
        ("ops", "", written::Ops::KEYS),
        ("runtime", "", written::Runtime::KEYS),
    ];
    let mut known: BTreeSet<String> = written::Document::KEYS.iter().map(ToString::to_string).collect();
    for section in written::Document::KEYS {
        assert!(sections.iter().any(|(name, ..)| name == section), "this test knows the section {section}");
    }
    for (section, kind, keys) in sections {
        known.extend(keys.iter().map(|key| format!("{section}.{kind}.{key}")));
    }
    assert_eq!(found, known);
}
