//! Fuzz targets over what the token service hands out, and what a notice makes of it.

use url::Url;

use super::{
    BlobAccess, ConnectionString, ServiceBusAccess, TokenSet, read_address, sas as signature, temporary_endpoints,
};
use crate::clock::UnixMs;
use crate::hidden::assert_hidden;
use crate::secret::Secret;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// A token answer is read, or refused without showing a secret.
pub fn token_answer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match temporary_endpoints::read(data, NOW) {
        Ok(answer) => {
            assert!(!answer.service_bus.host.is_empty() && !answer.service_bus.topic.is_empty());
            assert!(answer.blobs.iter().all(|blob| crate::net::is_allowed(&blob.base)));
            assert_hidden(&text, &format!("{answer:?}"));
        }
        Err(error) => assert_hidden(&text, &format!("{error} {error:?}")),
    }
}

/// A connection string is read, or refused without showing a secret; an unencrypted one leads to this machine.
pub fn connection_string(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = ConnectionString::parse(&text).and_then(|string| string.access(None, NOW));
    match read {
        Ok(access) => {
            assert!(!access.development_emulator || crate::net::is_loopback(&access.host));
            assert_hidden(&text, &format!("{access:?}"));
        }
        Err(error) => assert_hidden(&text, &format!("{error} {error:?}")),
    }
}

/// A signature is kept as it was; reading it again gives the same.
pub fn sas(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(read) = signature::read_service_bus(&text) {
        let again = signature::read_service_bus(read.token.expose()).expect("its own token");
        assert_eq!((again.audience, again.expires), (read.audience, read.expires));
    }
    let _ = signature::blob_expiry(&text);
}

/// A base address with its token, and the address in a notice, on a line each: what is fetched lies on the base's server
/// and below its path, however often it is decoded, and carries the base's token alone.
pub fn blob_address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (base, uri) = text.split_once('\n').unwrap_or(("https://a.example/c?sig=s", &text));
    let (Ok(access), Ok(uri)) = (BlobAccess::parse(base), read_address(uri)) else {
        return;
    };
    let tokens = set(access);
    let Ok(access) = tokens.for_blob(&uri) else {
        return;
    };
    let sent = access.url_for(&uri);
    let server =
        |url: &Url| (url.scheme().to_owned(), url.host().map(|host| host.to_string()), url.port_or_known_default());
    assert_eq!(server(&sent), server(&access.base));
    assert!(crate::net::is_allowed(&sent));
    assert_eq!((sent.username(), sent.password(), sent.fragment()), ("", None, None));
    if access.has_token() {
        assert!(sent.query().is_some_and(|query| !query.is_empty()));
    }
    let mut path = sent.path().to_ascii_lowercase().into_bytes();
    for _ in 0..3 {
        path = percent_encoding::percent_decode(&path).collect();
        let segments = path.split(|byte| matches!(byte, b'/' | b'\\'));
        assert!(segments.into_iter().all(|segment| segment != b".."), "{sent}");
    }
}

fn set(access: BlobAccess) -> TokenSet {
    let service_bus = ServiceBusAccess {
        host: "h".to_owned(),
        port: None,
        development_emulator: false,
        topic: "t".to_owned(),
        subscription: "s".to_owned(),
        sas: Secret::new(""),
        audience: String::new(),
        expires: None,
    };
    TokenSet { generation: 1, obtained: NOW, service_bus, blobs: vec![access] }
}
