//! Fixed subscriptions to show, for the snapshots.

use url::Url;

use crate::feed::webhook::subscriptions::{EventContext, FACILITY, FACILITY_GROUP, Terms, Told, Wanted};
use crate::secret::Secret;

pub(super) fn terms() -> Terms {
    Terms {
        target: Url::parse("https://hooks.example/events").expect("a URL"),
        former_targets: Vec::new(),
        name: "longshore".to_owned(),
        header: Some((http::header::AUTHORIZATION, Secret::new("Bearer now"))),
    }
}

fn of_two_facilities() -> Vec<EventContext> {
    let context = |kind: &str, values: &[&str]| EventContext {
        kind: kind.to_owned(),
        values: values.iter().map(ToString::to_string).collect(),
    };
    vec![context(FACILITY, &["c1a3", "9f07"]), context(FACILITY_GROUP, &["north"])]
}

pub(super) fn wanted() -> Vec<Wanted> {
    vec![
        Wanted::new("ORDER_CREATED", Vec::new()),
        Wanted::new("ORDER_MODIFIED", Vec::new()),
        Wanted::new("ORDER_CANCELLED", Vec::new()),
        Wanted::new("PICK_JOB_CREATED", of_two_facilities()),
        Wanted::new("SHIPMENT_CREATED", Vec::new()),
    ]
}

pub(super) fn all() -> Vec<Told> {
    let told = |id: &str, name: &str, event: &str, address: &str, secret: &str| Told {
        id: format!("{id}-0000-4000"),
        name: name.to_owned(),
        what: Wanted::new(event, Vec::new()),
        kind: "WEBHOOK".to_owned(),
        address: Some(address.to_owned()),
        headers: vec![("Authorization".to_owned(), Secret::new(secret))],
        created: "2026-03-01T12:00:00.000Z".to_owned(),
    };
    let ours = "https://hooks.example/events";
    let mut all = vec![
        told("0001", "longshore ORDER_CREATED", "ORDER_CREATED", ours, "Bearer now"),
        told("0002", "longshore ORDER_MODIFIED", "ORDER_MODIFIED", ours, "Bearer before"),
        told("0003", "longshore PICK_JOB_CREATED", "PICK_JOB_CREATED", ours, "Bearer now"),
        told("0004", "made by hand", "FACILITY_UPDATED", ours, "Bearer now"),
        told("0005", "longshore ORDER_CREATED", "ORDER_CREATED", "https://staging.example/events?key=x", "Bearer x"),
        Told {
            kind: "GOOGLE_CLOUD_PUB_SUB".to_owned(),
            address: None,
            ..told("0006", "warehouse\u{1b}[31m", "ORDER_CREATED", "", "")
        },
    ];
    all[2].what = Wanted::new("PICK_JOB_CREATED", of_two_facilities());
    all.extend((0..5).map(|number| {
        told(&format!("010{number}"), "shop", "SHIPMENT_CREATED", "https://shop.example/a/long/path", "")
    }));
    all
}
