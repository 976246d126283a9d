//! The headers that tell a receiver what it gets: CloudEvents 1.0 in binary mode, and the idempotency key.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::sink::{DeliveryContext, DeliveryIdentity};

/// What a header value may not hold as it is: space, double quote, percent and everything outside printable ASCII
/// (CloudEvents 1.0.2, HTTP protocol binding, section 3.1.3.2).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// What a path segment of the source may hold as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Bytes of a value before it is encoded: many servers refuse headers of more than 8 KiB in all.
const VALUE_BYTES_MAX: usize = 512;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The headers of a delivery, made once; those of a request are added to them.
pub(super) struct EventHeaders {
    identity: DeliveryIdentity,
    shared: HeaderMap,
}

/// The records that a request carries.
pub(super) enum Carried {
    One { number: u64 },
    Batch { first: u64, last: u64, records: usize },
}

impl EventHeaders {
    pub(super) fn of(delivery: &DeliveryContext) -> Self {
        let (notice, mut shared) = (&delivery.notice, HeaderMap::new());
        let source = format!("/longshore/feeds/{}", utf8_percent_encode(notice.feed.as_str(), SEGMENT));
        // The specification asks for a type that is not empty.
        let blob_type = notice.metadata.blob_type.as_str();
        put(&mut shared, "ce-specversion", "1.0");
        put(&mut shared, "ce-type", if blob_type.is_empty() { "unknown" } else { blob_type });
        put(&mut shared, "ce-source", &source);
        put(&mut shared, "ce-time", &notice.published.to_string());
        let uri = notice.metadata.uri.as_deref().and_then(|uri| Url::parse(uri).ok());
        // The path alone: a query could hold a token, whatever the source promises.
        if let Some(uri) = uri {
            put(&mut shared, "ce-subject", uri.path());
        }
        if let Some(correlation_id) = notice.metadata.correlation_id.as_deref().filter(|id| !id.is_empty()) {
            put(&mut shared, "ce-correlationid", correlation_id);
        }
        put(&mut shared, "ce-notice", &notice.id.to_string());
        put(&mut shared, "ce-route", delivery.target.route.as_str());
        put(&mut shared, "ce-run", &delivery.run.0.to_string());
        Self { identity: DeliveryIdentity::of(delivery), shared }
    }

    /// The headers of one request: the same on every try of the same records.
    pub(super) fn for_request(&self, carried: &Carried) -> HeaderMap {
        let mut headers = self.shared.clone();
        let key = match *carried {
            Carried::One { number } => {
                put(&mut headers, "ce-recordnumber", &number.to_string());
                self.identity.batch_key(number, number)
            }
            Carried::Batch { first, last, records } => {
                put(&mut headers, "ce-firstrecord", &first.to_string());
                put(&mut headers, "ce-lastrecord", &last.to_string());
                put(&mut headers, "ce-records", &records.to_string());
                self.identity.batch_key(first, last)
            }
        };
        put(&mut headers, "ce-id", &key);
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(&key).expect("hexadecimal digits"));
        headers
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let cut = &value[..value.floor_char_boundary(VALUE_BYTES_MAX)];
    let encoded = utf8_percent_encode(cut, ENCODED).to_string();
    let value = HeaderValue::from_str(&encoded).expect("everything but printable ASCII is encoded");
    headers.insert(HeaderName::from_static(name), value);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::sink::test_support::delivery;

    fn headers_of(blob_type: &str) -> HeaderMap {
        EventHeaders::of(&delivery(blob_type)).for_request(&Carried::Batch { first: 1, last: 3, records: 2 })
    }

    #[test]
    fn a_request_says_what_it_carries_as_cloudevents_does() {
        let headers = headers_of("Gateway.Items");
        let get = |name: &str| headers[name].to_str().expect("ASCII").to_owned();
        assert_eq!(get("ce-specversion"), "1.0");
        assert_eq!(get("ce-type"), "Gateway.Items");
        assert_eq!(get("ce-source"), "/longshore/feeds/eg");
        assert_eq!(get("ce-time"), "2022-07-05T00:00:00.000Z");
        assert_eq!(get("ce-subject"), "/export/items.jsonl.gz");
        assert_eq!(get("ce-id"), get("idempotency-key"));
        assert_eq!(
            (get("ce-firstrecord"), get("ce-lastrecord"), get("ce-records")),
            ("1".into(), "3".into(), "2".into())
        );
    }

    #[test]
    fn the_example_of_the_specification_is_encoded_as_it_says() {
        assert_eq!(headers_of("Euro € 😀")["ce-type"], "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(headers_of("a\"b%c\r\nx: y")["ce-type"], "a%22b%25c%0D%0Ax:%20y");
        assert_eq!(headers_of("")["ce-type"], "unknown");
    }

    #[test]
    fn a_token_in_the_uri_does_not_travel() {
        let mut delivery = delivery("Items");
        let mut notice = (*delivery.notice).clone();
        notice.metadata.uri = Some("https://a.b/c/d?sig=canary".to_owned());
        delivery.notice = Arc::new(notice);
        let headers = EventHeaders::of(&delivery).for_request(&Carried::One { number: 1 });
        assert!(!format!("{headers:?}").contains("canary"));
    }

    proptest! {
        #[test]
        fn whatever_a_notice_says_makes_short_headers_and_no_other_ones(
            blob_type in any::<String>(),
            correlation_id in prop::option::of(any::<String>()),
            path in "(/|%0d%0a|\\r\\n|\\PC|\"|: ){0,300}",
        ) {
            let mut delivery = delivery(&blob_type);
            let notice = Arc::make_mut(&mut delivery.notice);
            notice.metadata.correlation_id = correlation_id;
            notice.metadata.uri = Some(format!("https://a.b/{path}"));
            notice.dedupe_key = blob_type.clone();
            let headers = EventHeaders::of(&delivery).for_request(&Carried::One { number: 1 });
            for (name, value) in &headers {
                let is_ours = name == IDEMPOTENCY_KEY || name.as_str().starts_with("ce-");
                prop_assert!(is_ours && !headers.get_all(name).iter().skip(1).any(|_| true), "{name}");
                prop_assert!(value.len() <= 3 * VALUE_BYTES_MAX, "{name}");
                prop_assert!(value.as_bytes().iter().all(|byte| (0x21..0x7f).contains(byte)), "{name}: {value:?}");
            }
        }
    }
}
