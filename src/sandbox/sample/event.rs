//! Events in the manner of fulfillmenttools, as a webhook sends them and as the daily export writes them down: the same
//! payload, under another name and another id.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::UnixMs;

/// 2026-01-01T00:00:00Z: events happen from then on, one a second.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// Events that happen, in turn. One has a list as its payload, and one a bare text.
const EVENTS: [&str; 8] = [
    "ORDER_CREATED",
    "PICK_JOB_CREATED",
    "ORDER_MODIFIED",
    "PICK_JOB_PICKING_FINISHED",
    "INVENTORY_FACILITY_STOCK_CHANGED",
    "SHIPMENT_CREATED",
    "FACILITY_DELETED",
    "HANDOVERJOB_HANDED_OVER",
];

/// How many groups the facilities are in.
const FACILITY_GROUPS: u8 = 4;

const TOWNS: [&str; 3] = ["Köln", "Łódź", "Aix-les-Bains"];

/// Events that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventSpec {
    /// The number of the first.
    pub first: u64,
    /// How many there are.
    pub events: u64,
    /// Decides everything that the numbers leave open; also the ids.
    pub seed: u32,
}

impl Default for EventSpec {
    fn default() -> Self {
        Self { first: 0, events: 1_000, seed: 0 }
    }
}

impl EventSpec {
    /// `events` events from number `first` on.
    #[must_use]
    pub fn new(first: u64, events: u64) -> Self {
        Self { first, events, ..Self::default() }
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        (self.first..self.first.saturating_add(self.events)).map(move |number| Event { number, seed: self.seed })
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    number: u64,
    seed: u32,
}

impl Event {
    /// The names of all events that happen.
    pub const NAMES: [&str; 8] = EVENTS;

    /// Its name as a webhook names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        EVENTS[(self.number % EVENTS.len() as u64) as usize]
    }

    /// The facility that it comes from, such as `facility-7`, and the group of that, such as `group-3`. Not every event
    /// comes from one.
    #[must_use]
    pub fn facility(self) -> Option<(String, String)> {
        let payload = self.payload();
        let facility = payload.pointer("/facilityRef").or(payload.pointer("/0/facilityRef"))?.as_str()?;
        let number: u8 = facility.strip_prefix("facility-")?.parse().ok()?;
        Some((facility.to_owned(), format!("group-{}", number % FACILITY_GROUPS)))
    }

    /// The id that a webhook sends it under.
    #[must_use]
    pub fn event_id(self) -> String {
        format!("{:06}{:010}", self.seed % 1_000_000, self.number)
    }

    /// The id that the export writes it down under: another one.
    #[must_use]
    pub fn export_id(self) -> String {
        self.uuid(0x4001)
    }

    /// What a webhook posts.
    #[must_use]
    pub fn posted(self) -> String {
        json!({ "event": self.name(), "eventId": self.event_id(), "payload": self.payload() }).to_string()
    }

    /// Its line of the export.
    #[must_use]
    pub fn exported(self) -> String {
        let name = self.name().to_ascii_lowercase().replace('_', "-");
        let line = json!({
            "id": self.export_id(),
            "eventName": format!("{name}_event-v1"),
            "payload": self.payload(),
            "created": self.moment().to_timestamp().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
        });
        line.to_string()
    }

    /// What the records of its payload are named: `id`, the article of a list's element, or the text itself.
    #[must_use]
    pub fn record_names(self) -> Vec<String> {
        match self.payload() {
            Value::String(text) => vec![text],
            Value::Array(elements) => {
                elements.iter().filter_map(|element| element["tenantArticleId"].as_str().map(str::to_owned)).collect()
            }
            object => object["id"].as_str().map(str::to_owned).into_iter().collect(),
        }
    }

    fn payload(self) -> Value {
        let mut rng = Rng::with_seed(self.number ^ u64::from(self.seed) << 32);
        let (id, moment) = (self.uuid(0x4000), self.moment().to_string());
        let process = format!("process-{}", self.number / 8);
        let facility = format!("facility-{}", rng.u8(..20));
        match self.name() {
            "FACILITY_DELETED" => json!(id),
            "INVENTORY_FACILITY_STOCK_CHANGED" => {
                let change = |part: u8| {
                    json!({
                        "facilityRef": facility,
                        "tenantArticleId": format!("{}-{part}", self.event_id()),
                        "delta": i32::from(part) - 1,
                        "changeReason": "MANUAL",
                    })
                };
                json!([change(1), change(2)])
            }
            "ORDER_CREATED" | "ORDER_MODIFIED" => json!({
                "id": id,
                "version": 1 + rng.u8(..4),
                "created": moment,
                "lastModified": moment,
                "tenantOrderId": format!("R{:08}", self.number),
                "processId": process,
                "status": "OPEN",
                "consumer": { "addresses": [{ "city": TOWNS[rng.usize(..TOWNS.len())] }] },
                "orderLineItems": [{
                    "article": { "tenantArticleId": rng.u32(..100_000).to_string(), "title": "Regal \"Nord\"" },
                    "quantity": rng.u8(1..9),
                }],
            }),
            _ => json!({
                "id": id,
                "version": 1 + rng.u8(..4),
                "created": moment,
                "lastModified": moment,
                "facilityRef": facility,
                "processId": process,
                "tenantOrderId": format!("R{:08}", self.number),
                "status": "OPEN",
            }),
        }
    }

    fn uuid(self, kind: u16) -> String {
        format!("{:08x}-0000-{kind:04x}-8000-{:012x}", self.seed, self.number)
    }

    fn moment(self) -> UnixMs {
        UnixMs(EPOCH_MS.saturating_add(i64::try_from(self.number % 31_000_000).unwrap_or(0) * 1_000))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_event_of_a_facility_says_which_and_of_which_group() {
        let places: Vec<_> = EventSpec::new(0, 8).iter().map(Event::facility).collect();
        let is_placed: Vec<bool> = places.iter().map(Option::is_some).collect();
        assert_eq!(is_placed, [false, true, false, true, true, true, false, true]);
        for (facility, group) in places.into_iter().flatten() {
            let number = |text: &str| text.rsplit('-').next().and_then(|part| part.parse::<u8>().ok());
            assert_eq!(number(&group), number(&facility).map(|number| number % 4), "{facility} {group}");
        }
    }

    #[test]
    fn webhook_and_export_tell_the_same_payload_under_other_names_and_ids() {
        let mut names = HashSet::new();
        for event in EventSpec::new(0, 64).iter() {
            let posted: Value = serde_json::from_str(&event.posted()).expect("JSON");
            let exported: Value = serde_json::from_str(&event.exported()).expect("JSON");
            assert_eq!(posted["payload"], exported["payload"]);
            assert_ne!(posted["eventId"], exported["id"]);
            assert!(!event.record_names().is_empty());
            for name in event.record_names() {
                assert!(names.insert(name), "each record has a name of its own");
            }
        }
        let first: Value = serde_json::from_str(&Event { number: 0, seed: 0 }.exported()).expect("JSON");
        assert_eq!(
            (&first["eventName"], &first["created"]),
            (&json!("order-created_event-v1"), &json!("2026-01-01T00:00:00.000000+00:00"))
        );
    }
}
