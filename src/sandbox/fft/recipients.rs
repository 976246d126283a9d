//! Who is to hear of an event: the target of each subscription of it whose contexts hold.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::{Host, Url};

use super::Fft;
use crate::sandbox::sample::Event;
use crate::sandbox::serve::lock;

/// An address that events are posted to, and what the requests carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub url: Url,
    /// The headers.
    pub headers: HeaderMap,
}

/// Who is to hear of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// Those that can be reached.
    pub here: Vec<Recipient>,
    /// How many are not on this machine, or no webhook. The sandbox sends nothing out of it.
    pub elsewhere: u64,
}

impl Fft {
    /// Whom the present subscriptions name for `event`.
    #[must_use]
    pub fn recipients(&self, event: Event) -> Recipients {
        let mut recipients = Recipients::default();
        for told in lock(&self.core.subscriptions).iter().filter(|told| takes(told, event)) {
            match recipient(told) {
                Some(recipient) => recipients.here.push(recipient),
                None => recipients.elsewhere += 1,
            }
        }
        recipients
    }
}

/// Whether a subscription is of this event: its name, and every context.
fn takes(told: &Value, event: Event) -> bool {
    if told["event"] != event.name() {
        return false;
    }
    let place = event.facility();
    let mut contexts = told["contexts"].as_array().into_iter().flatten();
    contexts.all(|context| {
        let Some((facility, group)) = &place else { return false };
        let of_event = if context["type"] == "FACILITY" { facility } else { group };
        context["values"].as_array().is_some_and(|values| values.iter().any(|value| value == of_event.as_str()))
    })
}

/// The address of a subscription, in the present form or the deprecated one; `None` for what cannot be sent to.
fn recipient(told: &Value) -> Option<Recipient> {
    let target = told.get("target").unwrap_or(told);
    let url = Url::parse(target["callbackUrl"].as_str()?).ok().filter(is_on_this_machine)?;
    let mut headers = HeaderMap::new();
    for header in target["headers"].as_array().into_iter().flatten() {
        let name = HeaderName::try_from(header["key"].as_str()?).ok()?;
        let mut value = HeaderValue::try_from(header["value"].as_str()?).ok()?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Some(Recipient { url, headers })
}

fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::fft::FftSettings;
    use crate::sandbox::sample::EventSpec;

    const HERE: &str = "https://127.0.0.1:9/events";

    fn event(number: u64) -> Event {
        EventSpec::new(number, 1).iter().next().expect("an event")
    }

    #[tokio::test]
    async fn an_event_goes_to_each_that_subscribed_to_it_with_the_headers_of_each() {
        let fft = Fft::start(FftSettings::default()).await.expect("started");
        let headers = |value: &str| json!([{ "key": "Authorization", "value": value }]);
        fft.put(json!({ "id": "1", "event": "ORDER_CREATED",
            "target": { "type": "WEBHOOK", "callbackUrl": HERE, "headers": headers("one") } }));
        fft.put(
            json!({ "id": "2", "event": "ORDER_CREATED", "callbackUrl": "https://localhost/x", "headers": headers("two") }),
        );
        fft.put(json!({ "id": "3", "event": "ORDER_MODIFIED", "target": { "type": "WEBHOOK", "callbackUrl": HERE } }));
        let recipients = fft.recipients(event(0));
        let told = |at: usize| {
            let Recipient { url, headers } = &recipients.here[at];
            (url.as_str(), headers["authorization"].to_str().expect("a text"))
        };
        assert_eq!((recipients.here.len(), recipients.elsewhere), (2, 0));
        assert_eq!((told(0), told(1)), ((HERE, "one"), ("https://localhost/x", "two")));
        assert_eq!(fft.recipients(event(1)), Recipients::default(), "nobody wants to hear of a pick job");
    }

    #[tokio::test]
    async fn nothing_is_sent_out_of_this_machine() {
        let fft = Fft::start(FftSettings::default()).await.expect("started");
        for url in ["https://shop.example/hook", "https://192.0.2.7/", "https://127.0.0.1.example/"] {
            fft.put(json!({ "event": "ORDER_CREATED", "target": { "type": "WEBHOOK", "callbackUrl": url } }));
        }
        let topic = json!({ "type": "GOOGLE_CLOUD_PUB_SUB", "projectId": "p", "topicId": "t" });
        fft.put(json!({ "event": "ORDER_CREATED", "target": topic }));
        assert_eq!(fft.recipients(event(0)), Recipients { here: Vec::new(), elsewhere: 4 });
    }

    #[tokio::test]
    async fn all_contexts_of_a_subscription_must_hold() {
        let fft = Fft::start(FftSettings::default()).await.expect("started");
        let placed = event(1);
        let (facility, group) = placed.facility().expect("a pick job is of a facility");
        let context = |kind: &str, value: &str| json!({ "type": kind, "values": ["x", value] });
        for (contexts, is_taken) in [
            (vec![context("FACILITY", &facility)], true),
            (vec![context("FACILITY_GROUP", &group)], true),
            (vec![context("FACILITY", &facility), context("FACILITY_GROUP", &group)], true),
            (vec![context("FACILITY", &facility), context("FACILITY_GROUP", "group-9")], false),
            (vec![context("FACILITY", "facility-99")], false),
        ] {
            fft.unsubscribe_all();
            let target = json!({ "type": "WEBHOOK", "callbackUrl": HERE });
            fft.put(json!({ "event": placed.name(), "target": target, "contexts": contexts }));
            assert_eq!(fft.recipients(placed).here.len(), usize::from(is_taken), "{contexts:?}");
        }
    }
}
