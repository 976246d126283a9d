//! Entities, their keys, and records that wait for a parent.

use std::time::Duration;

use super::tests::{SMALLEST, changed, parse, told};

/// Items and their prices: the smallest file with parents.
const PARENTS: &str = "
[[entity]]
name = \"item\"
blob_types = [\"Gateway.ItemChanges\"]
key = { sku = \"/identifier/sku\", both = [\"/a\", \"Item/@b\"] }
deleted = { pointer = \"/status/isDeleted\", equals = [true] }

[[entity]]
name = \"price\"
blob_types = [\"Gateway.PriceChanges\"]
key = \"/id\"

[[route]]
name = \"prices\"
blob_types = [\"Gateway.PriceChanges\"]
sinks = [\"files\"]
parents = [{ entity = \"item\", key = { sku = \"/item/sku\", both = [\"x\", \"y\"] } }]
park_for = \"1h\"
at_deadline = \"deliver\"
park_latest_only = true
";

/// The smallest file with [`PARENTS`], of which parts were written otherwise.
fn parents(changes: &[(&str, &str)]) -> String {
    let at = SMALLEST.find("[[route]]").expect("a route");
    let mut text = PARENTS.to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "{old:?} stands among the parents");
        text = text.replacen(old, new, 1);
    }
    format!("{}{text}\n{}", &SMALLEST[..at], &SMALLEST[at..])
}

#[test]
fn entities_and_parents_mean_what_they_say() {
    use crate::route::{AtDeadline, KeySettings, MissingParent};
    let config = parse(&parents(&[])).expect("parents");
    assert!(config.warnings.is_none(), "{:?}", config.warnings);
    let key = |name: &str, pointers: &[&str]| KeySettings {
        name: name.to_owned(),
        pointers: pointers.iter().map(|pointer| (*pointer).to_owned()).collect(),
    };
    let item = &config.entities[0];
    assert_eq!(item.keys, [key("sku", &["/identifier/sku"]), key("both", &["/a", "/Item/@b"])]);
    assert_eq!(item.deleted.as_ref().map(|deleted| deleted.pointer.as_str()), Some("/status/isDeleted"));
    let route = &config.routes[0];
    assert_eq!(route.parents[0].entity.as_str(), "item");
    assert_eq!(route.parents[0].keys, [key("sku", &["/item/sku"]), key("both", &["/x", "/y"])]);
    assert_eq!(route.parking.missing_parent, MissingParent::Park);
    assert_eq!(route.parking.park_for, Duration::from_secs(3_600));
    assert_eq!(route.parking.at_deadline, AtDeadline::Deliver);
    assert!(route.parking.latest_only);

    let plain = parse(&parents(&[
        ("{ sku = \"/identifier/sku\", both = [\"/a\", \"Item/@b\"] }", "\"/id\""),
        ("{ sku = \"/item/sku\", both = [\"x\", \"y\"] }", "\"item no\""),
    ]));
    let plain = plain.expect("keys without names");
    assert_eq!(plain.entities[0].keys, [key("key", &["/id"])]);
    assert_eq!(plain.routes[0].parents[0].keys, [key("key", &["/item no"])]);
}

#[test]
fn parents_that_lead_nowhere_are_told_with_the_nearest_one() {
    insta::assert_snapshot!(told(&parents(&[("entity = \"item\"", "entity = \"itme\"")])));
    insta::assert_snapshot!(
        "keys_that_never_meet",
        told(&parents(&[(
            "{ sku = \"/item/sku\", both = [\"x\", \"y\"] }",
            "{ suk = \"/item/sku\", both = [\"x\", \"y\", \"z\"] } }, { entity = \"item\", key = \"x\" "
        )]))
    );
    insta::assert_snapshot!(
        "a_key_without_a_name",
        told(&parents(&[("{ sku = \"/identifier/sku\", both = [\"/a\", \"Item/@b\"] }", "\"/id\"")]))
    );
}

#[test]
fn a_sink_that_takes_payloads_whole_has_no_records_that_wait() {
    let raw = ("path = \"/srv/longshore\"", "path = \"/srv/longshore\"\nformat = \"raw\"");
    insta::assert_snapshot!(told(&parents(&[]).replacen(raw.0, raw.1, 1)));
}

#[test]
fn keys_that_cannot_be_read_are_told_with_what_is_allowed() {
    insta::assert_snapshot!(told(&parents(&[
        (
            "{ sku = \"/identifier/sku\", both = [\"/a\", \"Item/@b\"] }",
            "{ sku = [], b = \"a//b\", c = 7, d = [\"x\", \"x\"] }"
        ),
        ("{ sku = \"/item/sku\", both = [\"x\", \"y\"] }", "{}"),
        ("park_for = \"1h\"", "park_for = \"soon\"\nmissing_parent = \"wait\""),
        ("equals = [true]", "is = true"),
    ])));
    insta::assert_snapshot!(
        "an_empty_entity",
        told(&parents(&[("name = \"item\"\nblob_types = [\"Gateway.ItemChanges\"]", "blob_types = []"),]))
    );
}

#[test]
fn what_would_wait_for_ever_is_a_warning() {
    let other = "[[sink]]\nname = \"other\"\ntype = \"directory\"\npath = \"other\"\n";
    let only_there = parents(&[("sinks = [\"files\"]", "sinks = [\"files\", \"other\"]")]);
    insta::assert_snapshot!(told(&format!("{only_there}\n{other}")));
    // Delivered all the same: nothing waits.
    let delivers = only_there.replace(
        "park_for = \"1h\"\nat_deadline = \"deliver\"\npark_latest_only = true",
        "missing_parent = \"deliver\"",
    );
    assert_eq!(told(&format!("{delivers}\n{other}")), "nothing");

    insta::assert_snapshot!(
        "entities_that_wait_for_each_other",
        told(&parents(&[(
            "[[route]]",
            "[[route]]\nname = \"items\"\nblob_types = [\"Gateway.ItemChanges\"]\nsinks = [\"files\"]\nparents = [{ entity = \"price\", key = \"/price\" }]\n\n[[route]]"
        )]))
    );
    // A bundle is an item that waits for items.
    let bundles = parents(&[("[\"Gateway.PriceChanges\"]", "[\"Gateway.PriceChanges\", \"Gateway.ItemChanges\"]")]);
    assert_eq!(told(&bundles), "nothing");
}

#[test]
fn a_table_has_a_key_for_each_route_that_leads_there() {
    let sink = "[[sink]]\nname = \"table\"\ntype = \"sqlite\"\npath = \"x.db\"\n";
    let with = |key: &str| {
        let text = changed(&[("sinks = [\"files\"]", "sinks = [\"files\", \"table\"]")]);
        format!("{text}\n{sink}key = {key}\n")
    };
    insta::assert_snapshot!(told(&with("{ everythin = [\"/id\"] }")));
    let config = parse(&with("{ everything = [\"/a\", \"b\"] }")).expect("a key");
    let crate::sink::SinkKind::Sqlite(settings) = &config.sinks[1].kind else { panic!("a table") };
    let key = ["/a".to_owned(), "/b".to_owned()];
    assert_eq!(settings.key.of(&crate::notice::RouteName::new("everything")), Some(key.as_slice()));
    assert!(parse(&with("[]")).is_err());
}

#[test]
fn the_latest_of_records_about_nothing_is_a_warning() {
    let other = parents(&[("blob_types = [\"Gateway.PriceChanges\"]", "blob_types = [\"Prices\"]")]);
    insta::assert_snapshot!(told(&other));
}

#[test]
fn a_setting_of_parking_without_effect_is_a_warning() {
    insta::assert_snapshot!(told(&parents(&[("parents = [{", "#")])));
    insta::assert_snapshot!(
        "nothing_is_parked",
        told(&parents(&[("park_for", "missing_parent = \"deliver\"\npark_for")]))
    );
}
