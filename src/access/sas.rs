//! Shared access signatures: reads their public parts, and signs one where the user gave a key.
//!
//! A token is used exactly as it was handed out. Its parts are decoded once, for us to look at; the token itself is
//! never taken apart and put together again, so that `%2B`, `%2F` and `%3D` in its signature survive.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::clock::UnixMs;
use crate::secret::Secret;

/// What a Service Bus token starts with.
const SCHEME: &str = "SharedAccessSignature ";

/// What RFC 3986 leaves unreserved stays; the broker decodes whatever else is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A Service Bus token with what it says about itself.
#[derive(Clone, Debug)]
pub(super) struct ServiceBusSas {
    /// `SharedAccessSignature sr=…`, as it goes to the broker.
    pub token: Secret,
    /// Its `sr`, decoded.
    pub audience: String,
    /// Its `se`.
    pub expires: Option<UnixMs>,
}

/// The value of `name` in `query`, percent-decoded once; `+` stays a plus.
fn value(query: &str, name: &str) -> Option<String> {
    let raw = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| key.eq_ignore_ascii_case(name));
    raw.map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// Reads a ready-made Service Bus token, with or without its `SharedAccessSignature ` in front.
///
/// # Errors
/// What is missing, without the token.
pub(super) fn read_service_bus(text: &str) -> Result<ServiceBusSas, &'static str> {
    let text = text.trim();
    let query = match text.get(..SCHEME.len()) {
        Some(start) if start.eq_ignore_ascii_case(SCHEME) => &text[SCHEME.len()..],
        _ => text,
    };
    if value(query, "sig").is_none_or(|sig| sig.is_empty()) {
        return Err("the shared access signature has no `sig`");
    }
    let audience = value(query, "sr").filter(|sr| !sr.is_empty()).ok_or("the shared access signature has no `sr`")?;
    let expires = match value(query, "se") {
        None => None,
        Some(se) => {
            let seconds: i64 =
                se.parse().map_err(|_| "`se` of the shared access signature is not a number of seconds")?;
            Some(UnixMs(seconds.saturating_mul(1_000)))
        }
    };
    Ok(ServiceBusSas { token: Secret::new(format!("{SCHEME}{query}")), audience, expires })
}

/// When a blob token expires: the `se` in its query, a date or a date with time in UTC.
///
/// # Errors
/// When there is an `se` that cannot be read.
pub(super) fn blob_expiry(query: &str) -> Result<Option<UnixMs>, &'static str> {
    const UNREADABLE: &str = "`se` of the blob token is not a date and time";
    let Some(se) = value(query, "se") else {
        return Ok(None);
    };
    if let Ok(moment) = se.parse::<jiff::Timestamp>() {
        return Ok(Some(UnixMs(moment.as_millisecond())));
    }
    // Azure also takes a date alone, and then means its first moment.
    let day: jiff::civil::Date = se.parse().map_err(|_| UNREADABLE)?;
    let moment = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| UNREADABLE)?;
    Ok(Some(UnixMs(moment.timestamp().as_millisecond())))
}

/// Whether a blob query carries a signature at all.
pub(super) fn has_signature(query: &str) -> bool {
    value(query, "sig").is_some_and(|sig| !sig.is_empty())
}

/// Signs a Service Bus token for `audience` that expires `lifetime` after `now`:
/// `sig = base64(HMAC-SHA256(key, urlencode(sr) + "\n" + se))`, the key used as the text that it is.
pub(super) fn sign_service_bus(
    audience: &str,
    key_name: &str,
    key: &Secret,
    now: UnixMs,
    lifetime: Duration,
) -> ServiceBusSas {
    let resource = utf8_percent_encode(audience, ENCODED).to_string();
    let seconds = now.plus(lifetime).0 / 1_000;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, format!("{resource}\n{seconds}").as_bytes()));
    let signature = utf8_percent_encode(&signature, ENCODED);
    let name = utf8_percent_encode(key_name, ENCODED);
    ServiceBusSas {
        token: Secret::new(format!("{SCHEME}sr={resource}&sig={signature}&se={seconds}&skn={name}")),
        audience: audience.to_owned(),
        expires: Some(UnixMs(seconds.saturating_mul(1_000))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_as_it_was_and_its_parts_are_decoded_once() {
        let text = "SharedAccessSignature sr=sb%3A%2F%2Fns.servicebus.windows.net%2Ft%2520x&sig=a%2Bb%2Fc%3D&se=1700000000&skn=k";
        let sas = read_service_bus(text).expect("a good token");
        assert_eq!(sas.token.expose(), text);
        assert_eq!(sas.audience, "sb://ns.servicebus.windows.net/t%20x");
        assert_eq!(sas.expires, Some(UnixMs(1_700_000_000_000)));
    }

    #[test]
    fn a_token_without_its_scheme_word_gets_it() {
        let sas = read_service_bus("sr=x&sig=y").expect("a good token");
        assert_eq!(sas.token.expose(), "SharedAccessSignature sr=x&sig=y");
        assert_eq!(sas.expires, None);
    }

    #[test]
    fn a_token_without_signature_or_resource_is_refused() {
        assert!(read_service_bus("sr=x&se=1").is_err());
        assert!(read_service_bus("sig=x&se=1").is_err());
        assert!(read_service_bus("sr=x&sig=y&se=tomorrow").is_err());
        assert!(read_service_bus("").is_err());
    }

    #[test]
    fn the_expiry_of_a_blob_token_is_read_in_every_form_that_azure_takes() {
        let at = |se: &str| blob_expiry(&format!("sv=1&se={se}&sig=x")).expect("a good expiry");
        assert_eq!(at("2018-09-19T12%3A28%3A58Z"), Some(UnixMs(1_537_360_138_000)));
        assert_eq!(at("2018-09-19T12:28:58Z"), Some(UnixMs(1_537_360_138_000)));
        assert_eq!(at("2018-09-19T12:28:58.0000000Z"), Some(UnixMs(1_537_360_138_000)));
        assert_eq!(at("2018-09-19T12:28Z"), Some(UnixMs(1_537_360_080_000)));
        assert_eq!(at("2018-09-19"), Some(UnixMs(1_537_315_200_000)));
        assert_eq!(blob_expiry("sv=1&sig=x"), Ok(None));
        assert!(blob_expiry("se=soon&sig=x").is_err());
    }

    #[test]
    fn a_signed_token_is_what_any_broker_computes() {
        // Computed with Python's hmac, hashlib and urllib.parse.quote.
        let sas = sign_service_bus(
            "sb://localhost:5672/t/Subscriptions/s",
            "RootManageSharedAccessKey",
            &Secret::new("SAS_KEY_VALUE"),
            UnixMs(1_700_000_000_000),
            Duration::from_secs(3_600),
        );
        assert_eq!(sas.token.expose(), PYTHON_TOKEN);
        assert_eq!(read_service_bus(sas.token.expose()).expect("our own token").audience, sas.audience);
    }

    const PYTHON_TOKEN: &str = "SharedAccessSignature sr=sb%3A%2F%2Flocalhost%3A5672%2Ft%2FSubscriptions%2Fs&sig=Ob3Rmm5BEV95WLNMwsZpFgcxnWxa8VfsGNd8FhX1eT4%3D&se=1700003600&skn=RootManageSharedAccessKey";
}
