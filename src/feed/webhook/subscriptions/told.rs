//! A subscription as the vendor tells of it, in its present form and in the deprecated one.

use serde::Deserialize;
use serde_json::Value;

use super::{EventContext, Wanted};
use crate::secret::Secret;

/// A subscription of the vendor's.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its number at the vendor.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it delivers, in the one way in which it is compared.
    pub what: Wanted,
    /// The kind of its target, such as `WEBHOOK`.
    pub kind: String,
    /// Where a webhook is delivered to.
    pub address: Option<String>,
    /// What a webhook's requests carry.
    pub headers: Vec<(String, Secret)>,
    /// When it was made.
    pub created: String,
}

const WEBHOOK: &str = "WEBHOOK";

/// Whatever of it can be read. A subscription of somebody else that we do not understand must not keep us from ours.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    id: String,
    name: String,
    event: String,
    created: Value,
    target: Option<RawTarget>,
    callback_url: Option<String>,
    headers: Vec<RawHeader>,
    contexts: Vec<EventContext>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawTarget {
    r#type: String,
    callback_url: Option<String>,
    headers: Vec<RawHeader>,
}

#[derive(Deserialize)]
struct RawHeader {
    key: String,
    value: Secret,
}

impl Told {
    /// Reads one; `None` for what has no id.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let raw = Raw::deserialize(value).unwrap_or_else(|_| {
            let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            Raw { id: text("id"), name: text("name"), event: text("event"), ..Raw::default() }
        });
        if raw.id.is_empty() {
            return None;
        }
        let (kind, address, headers) = match raw.target {
            Some(target) => (target.r#type, target.callback_url, target.headers),
            None if raw.callback_url.is_some() => (WEBHOOK.to_owned(), raw.callback_url, raw.headers),
            None => ("unknown".to_owned(), None, Vec::new()),
        };
        Some(Self {
            id: raw.id,
            name: raw.name,
            what: Wanted::new(&raw.event, raw.contexts),
            kind,
            address,
            headers: headers.into_iter().map(|header| (header.key, header.value)).collect(),
            created: raw.created.as_str().unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_are_read_and_the_new_one_counts() {
        let header = json!([{ "key": "Authorization", "value": "Bearer x" }]);
        let new = json!({
            "id": "1", "name": "n", "event": "ORDER_CREATED", "created": "2026-03-01T00:00:00Z",
            "target": { "type": "WEBHOOK", "callbackUrl": "https://a.example/", "headers": header },
            "contexts": [{ "type": "FACILITY", "values": ["b", "a", "b"] }],
        });
        let old =
            json!({ "id": "2", "name": "n", "event": "X", "callbackUrl": "https://b.example/", "headers": header });
        let new = Told::read(&new).expect("a subscription");
        assert_eq!((new.kind.as_str(), new.address.as_deref()), ("WEBHOOK", Some("https://a.example/")));
        assert_eq!(new.what.contexts[0].values, ["a", "b"]);
        let old = Told::read(&old).expect("a subscription");
        assert_eq!((old.kind.as_str(), old.address.as_deref()), ("WEBHOOK", Some("https://b.example/")));
        assert_eq!(old.headers[0].1.expose(), "Bearer x");
    }

    #[test]
    fn what_is_not_understood_is_still_there() {
        let strange = json!({ "id": "3", "name": "n", "event": "X", "target": { "type": 7 }, "contexts": "none" });
        let strange = Told::read(&strange).expect("a subscription");
        assert_eq!((strange.what.event.as_str(), strange.address), ("X", None));
        let queue = json!({ "id": "4", "event": "X", "target": { "type": "GOOGLE_CLOUD_PUB_SUB", "projectId": "p", "topicId": "t" } });
        assert_eq!(Told::read(&queue).expect("a subscription").kind, "GOOGLE_CLOUD_PUB_SUB");
        assert!(Told::read(&json!({ "name": "no id" })).is_none());
    }
}
