//! Reads TenantService's answer, in today's shape and in those that it has had.
//!
//! | since | Service Bus | blobs |
//! |---|---|---|
//! | 2018 | `ServiceBusConnectionstring`, `ServiceBusSubscriptionName` | `BlobSasToken` |
//! | 2021 | `serviceBusSubscriptionConnectionString`, `serviceBusSubscriptionName` | `blobBaseUrlsWithToken[]` |
//! | 2024 | as before, `EntityPath` may hold topic and subscription | as before |
//!
//! Names are read in any case, and unknown ones are passed over.

use serde_json::{Map, Value};

use super::origin::Answer;
use super::{AccessError, BlobAccess, ConnectionString};
use crate::clock::UnixMs;
use crate::error::Class;

/// More containers than this is a mistake of the other side.
const BLOBS_MAX: usize = 1_000;

fn wrong(what: impl AsRef<str>) -> AccessError {
    AccessError::new(Class::Permanent, what)
}

/// Reads the answer that came at `now`.
///
/// # Errors
/// What is missing or cannot be used, without a secret.
pub(super) fn read(body: &[u8], now: UnixMs) -> Result<Answer, AccessError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // Only the place of an error is told: its text would quote the answer, and the answer is all secrets.
    let value: Value = serde_json::from_slice(body)
        .map_err(|e| wrong(format!("it is not JSON (line {}, column {})", e.line(), e.column())))?;
    let Value::Object(fields) = value else {
        return Err(wrong("it is not a JSON object"));
    };
    let text = |names: &[&str]| field(&fields, names).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let connection = text(&["serviceBusSubscriptionConnectionString", "serviceBusConnectionString"])
        .ok_or_else(|| wrong("it has no serviceBusSubscriptionConnectionString"))?;
    let subscription = text(&["serviceBusSubscriptionName"]);
    let service_bus = ConnectionString::parse(connection)?.access(subscription, now)?;
    Ok(Answer { service_bus, blobs: blobs(&fields)? })
}

fn field<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))).map(|(_, value)| value)
}

fn blobs(fields: &Map<String, Value>) -> Result<Vec<BlobAccess>, AccessError> {
    let entries: Vec<&str> = match field(fields, &["blobBaseUrlsWithToken", "blobBaseUrlWithToken", "blobSasToken"]) {
        Some(Value::Array(entries)) => entries.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one],
        _ => return Err(wrong("it has no blobBaseUrlsWithToken")),
    };
    if entries.len() > BLOBS_MAX {
        return Err(wrong(format!("it has more than {BLOBS_MAX} blob base URLs")));
    }
    let count = entries.len();
    let mut blobs = Vec::with_capacity(count);
    let mut first_fault = None;
    for (index, entry) in entries.into_iter().enumerate() {
        let read = match entry.trim() {
            // The shape of 2018: the token alone. Nothing says where it may go, so it goes nowhere.
            bare if !bare.contains("://") => Err(wrong("it is a token that names no address")),
            entry => BlobAccess::parse(entry),
        };
        match read {
            Ok(blob) => blobs.push(blob),
            Err(error) => {
                tracing::warn!(entry = index + 1, of = count, %error, "a blob base URL is passed over");
                first_fault.get_or_insert(error);
            }
        }
    }
    match first_fault {
        // One bad entry must not stop the others; none at all means that nothing could be fetched.
        Some(fault) if blobs.is_empty() => Err(wrong(format!("none of its {count} blob entries can be used: {fault}"))),
        _ => Ok(blobs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUS: &str = "Endpoint=sb://ns.example/;SharedAccessSignature=SharedAccessSignature sr=x&sig=c4nary%2B&se=1700000000&skn=k;EntityPath=";
    const BLOB: &str = "https://a.example/c?sv=1&sig=c4nary%3D";

    fn read_text(text: &str) -> Result<Answer, AccessError> {
        read(text.as_bytes(), UnixMs(0))
    }

    #[test]
    fn every_shape_that_the_service_has_had_is_read() {
        for text in [
            format!(
                r#"{{"serviceBusSubscriptionConnectionString":"{BUS}t/subscriptions/s","serviceBusSubscriptionName":"s","blobBaseUrlsWithToken":["{BLOB}"]}}"#
            ),
            format!(
                r#"{{"serviceBusSubscriptionConnectionString":"{BUS}t/subscriptions/s","blobBaseUrlsWithToken":["{BLOB}"],"new":{{"x":1}}}}"#
            ),
            format!(
                r#"{{"ServiceBusSubscriptionConnectionString":"{BUS}t","ServiceBusSubscriptionName":"s","BlobBaseUrlsWithToken":["{BLOB}"]}}"#
            ),
            format!(
                "\u{feff}{}",
                format_args!(
                    r#"{{"ServiceBusConnectionstring":"{BUS}/t/","BlobSasToken":"{BLOB}","ServiceBusSubscriptionName":"s"}}"#
                )
            ),
        ] {
            let answer = read_text(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            let bus = &answer.service_bus;
            assert_eq!((bus.host.as_str(), bus.topic.as_str(), bus.subscription.as_str()), ("ns.example", "t", "s"));
            assert_eq!(bus.expires, Some(UnixMs(1_700_000_000_000)));
            assert_eq!(answer.blobs.len(), 1);
            assert_eq!(answer.blobs[0].sas.expose(), "sv=1&sig=c4nary%3D");
        }
    }

    #[test]
    fn one_bad_container_does_not_stop_the_others() {
        let with = |blobs: &str| {
            read_text(&format!(
                r#"{{"serviceBusSubscriptionConnectionString":"{BUS}t/subscriptions/s","blobBaseUrlsWithToken":{blobs}}}"#
            ))
        };
        assert_eq!(with(&format!(r#"["http://a.example/c?sig=x","{BLOB}"]"#)).expect("one is good").blobs.len(), 1);
        assert_eq!(with("[]").expect("a subscription without files").blobs.len(), 0);
        assert!(with(r#"["http://a.example/c?sig=x"]"#).is_err());
        assert!(with(r#""sv=1&sig=c4nary""#).is_err(), "a token that names no address goes nowhere");
        assert!(with("7").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_answers_secrets() {
        for text in [
            format!(r#"{{"serviceBusSubscriptionConnectionString":"{BUS}t","blobBaseUrlsWithToken":["{BLOB}"]}}"#),
            format!(r#"{{"serviceBusSubscriptionConnectionString":["{BUS}t"]}}"#),
            format!(r#"{{"blobBaseUrlsWithToken":["{BLOB}"]}}"#),
            format!(r#"["{BLOB}"]"#),
            format!(r#"{{"x":"{BLOB}"#),
            format!("<html>{BLOB}</html>"),
            String::new(),
        ] {
            let error = read_text(&text).expect_err("cannot be used");
            assert!(!format!("{error} {error:?}").contains("c4nary"), "{error:?}");
        }
    }
}
