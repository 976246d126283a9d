//! Shared access signatures of Blob Storage: made by TenantService, checked on every request.
//!
//! A service SAS signs, with the account's key and HMAC-SHA256, these lines joined by `\n` (from version 2020-12-06 on):
//!
//! ```text
//! sp  st  se  /blob/account/container[/blob]  si  sip  spr  sv  sr  snapshot  ses  rscc  rscd  rsce  rscl  rsct
//! ```
//!
//! Versions from 2018-11-09 lack the line `ses`.
//! <https://learn.microsoft.com/en-us/rest/api/storageservices/create-service-sas>

use std::collections::HashMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::clock::UnixMs;

/// The version that TenantService signs with.
const VERSION: &str = "2021-12-02";
/// The first version whose string to sign has a line for the encryption scope.
const WITH_ENCRYPTION_SCOPE: &str = "2020-12-06";
/// The first version with a line for the resource and one for the snapshot.
const OLDEST: &str = "2018-11-09";

/// What stays as it is in the value of a query parameter.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An account's key: the decoded bytes sign, the text in base64 is what Azure's tools take.
#[derive(Clone)]
pub struct AccountKey(Vec<u8>);

impl AccountKey {
    /// A new random key of 64 bytes, the length of Azure's.
    #[must_use]
    pub fn generate() -> Self {
        Self((0..4).flat_map(|_| *uuid::Uuid::new_v4().as_bytes()).collect())
    }

    /// Reads a key from base64; `None` when it is not.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok().map(Self)
    }

    /// The key in base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

/// What a container SAS grants.
#[derive(Clone, Debug)]
pub struct ContainerGrant<'a> {
    /// The storage account.
    pub account: &'a str,
    /// The container.
    pub container: &'a str,
    /// Letters of `sp`, such as `r`.
    pub permissions: &'a str,
    /// From when on it is good.
    pub start: UnixMs,
    /// Until when it is good.
    pub expiry: UnixMs,
    /// The letter of `spr`: `https`, or `https,http`.
    pub protocol: &'a str,
}

/// A container's SAS as the query of a URL, `sv=…&sig=…`.
#[must_use]
pub fn container_sas(key: &AccountKey, grant: &ContainerGrant<'_>) -> String {
    let fields: HashMap<&str, String> = HashMap::from([
        ("sv", VERSION.to_owned()),
        ("sr", "c".to_owned()),
        ("sp", grant.permissions.to_owned()),
        ("st", in_seconds(grant.start)),
        ("se", in_seconds(grant.expiry)),
        ("spr", grant.protocol.to_owned()),
    ]);
    let resource = format!("/blob/{}/{}", grant.account, grant.container);
    let text = string_to_sign(&resource, |name| fields.get(name).map_or("", String::as_str));
    let signature = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), text.as_bytes()));
    let mut query = String::new();
    for name in ["sv", "spr", "st", "se", "sr", "sp"] {
        query.push_str(name);
        query.push('=');
        query.extend(utf8_percent_encode(&fields[name], VALUE));
        query.push('&');
    }
    query.push_str("sig=");
    query.extend(utf8_percent_encode(&signature, VALUE));
    query
}

fn in_seconds(at: UnixMs) -> String {
    at.to_timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn string_to_sign<'a>(resource: &str, field: impl Fn(&str) -> &'a str) -> String {
    let mut lines = vec![
        field("sp"),
        field("st"),
        field("se"),
        resource,
        field("si"),
        field("sip"),
        field("spr"),
        field("sv"),
        field("sr"),
        field("snapshot"),
    ];
    if field("sv") >= WITH_ENCRYPTION_SCOPE {
        lines.push(field("ses"));
    }
    lines.extend(["rscc", "rscd", "rsce", "rscl", "rsct"].map(&field));
    lines.join("\n")
}

/// Why a request is not let in. The texts are Azure's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum SasRefusal {
    /// No signature at all.
    Missing,
    /// A field is missing or cannot be read.
    Malformed,
    /// The signature does not match: another key, another resource, a changed field.
    WrongSignature,
    /// Before `st` or after `se`.
    OutsideTime,
    /// `sp` does not allow the operation.
    WrongPermission,
    /// `spr` wants TLS.
    WrongProtocol,
}

/// One request, as far as its signature is about it.
pub(in crate::sandbox) struct SignedRequest<'a> {
    /// The fields of the query, decoded.
    pub(in crate::sandbox) query: &'a HashMap<String, String>,
    pub(in crate::sandbox) account: &'a str,
    pub(in crate::sandbox) container: &'a str,
    pub(in crate::sandbox) blob: &'a str,
    /// The letter of `sp` that the operation needs.
    pub(in crate::sandbox) permission: char,
    /// Whether it came over TLS.
    pub(in crate::sandbox) tls: bool,
}

/// Lets the request in, or says why not.
pub(in crate::sandbox) fn verify(key: &AccountKey, request: &SignedRequest<'_>, now: UnixMs) -> Result<(), SasRefusal> {
    let field = |name: &str| request.query.get(name).map_or("", String::as_str);
    if field("sig").is_empty() {
        return Err(SasRefusal::Missing);
    }
    if field("sv") < OLDEST {
        return Err(SasRefusal::Malformed);
    }
    let (account, container) = (request.account, request.container);
    let resource = match field("sr") {
        "c" => format!("/blob/{account}/{container}"),
        "b" => format!("/blob/{account}/{container}/{}", request.blob),
        _ => return Err(SasRefusal::Malformed),
    };
    let signature = STANDARD.decode(field("sig")).map_err(|_| SasRefusal::Malformed)?;
    let text = string_to_sign(&resource, field);
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), text.as_bytes(), &signature)
        .map_err(|_| SasRefusal::WrongSignature)?;

    let moment = |text: &str| match text {
        "" => Ok(None),
        text => read_moment(text).map(Some).ok_or(SasRefusal::Malformed),
    };
    if moment(field("st"))?.is_some_and(|start| now < start) {
        return Err(SasRefusal::OutsideTime);
    }
    // Without a stored access policy, which we do not have, `se` is required.
    if moment(field("se"))?.ok_or(SasRefusal::Malformed)? <= now {
        return Err(SasRefusal::OutsideTime);
    }
    if !field("sp").contains(request.permission) {
        return Err(SasRefusal::WrongPermission);
    }
    if field("spr") == "https" && !request.tls {
        return Err(SasRefusal::WrongProtocol);
    }
    Ok(())
}

/// The forms of ISO 8601 that a SAS may use: a date, minutes, or seconds; always UTC.
fn read_moment(text: &str) -> Option<UnixMs> {
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        17 => format!("{}:00Z", text.strip_suffix('Z')?),
        _ => text.to_owned(),
    };
    full.parse::<jiff::Timestamp>().ok().map(|t| UnixMs(t.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn check(query: &str, now: UnixMs, tls: bool, key: &AccountKey) -> Result<(), SasRefusal> {
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let request =
            SignedRequest { query: &query, account: "acct", container: "box", blob: "a/b", permission: 'r', tls };
        verify(key, &request, now)
    }

    fn sas(key: &AccountKey, protocol: &str) -> String {
        let grant = ContainerGrant {
            account: "acct",
            container: "box",
            permissions: "r",
            start: NOW,
            expiry: NOW.plus(Duration::from_secs(60)),
            protocol,
        };
        container_sas(key, &grant)
    }

    #[test]
    fn a_container_sas_opens_its_container_for_its_time() {
        let key = AccountKey::generate();
        let good = sas(&key, "https,http");
        assert_eq!(check(&good, NOW, false, &key), Ok(()));
        assert_eq!(check(&good, NOW.minus(Duration::from_secs(1)), false, &key), Err(SasRefusal::OutsideTime));
        assert_eq!(check(&good, NOW.plus(Duration::from_secs(60)), false, &key), Err(SasRefusal::OutsideTime));
        assert_eq!(check(&good, NOW, false, &AccountKey::generate()), Err(SasRefusal::WrongSignature));
        assert_eq!(check(&good.replace("sp=r", "sp=rw"), NOW, false, &key), Err(SasRefusal::WrongSignature));
        assert_eq!(check("sv=2021-12-02", NOW, false, &key), Err(SasRefusal::Missing));
        assert_eq!(check(&sas(&key, "https"), NOW, false, &key), Err(SasRefusal::WrongProtocol));
        assert_eq!(check(&sas(&key, "https"), NOW, true, &key), Ok(()));
    }

    #[test]
    fn the_string_to_sign_is_the_one_that_microsoft_documents() {
        let fields = HashMap::from([
            ("sp", "r"),
            ("st", "2023-05-24T01:13:55Z"),
            ("se", "2023-05-24T09:13:55Z"),
            ("spr", "https"),
            ("sv", "2022-11-02"),
            ("sr", "c"),
        ]);
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        assert_eq!(
            string_to_sign("/blob/myaccount/pictures", field),
            "r\n2023-05-24T01:13:55Z\n2023-05-24T09:13:55Z\n/blob/myaccount/pictures\n\n\nhttps\n2022-11-02\nc\n\n\n\n\n\n\n"
        );
    }
}
