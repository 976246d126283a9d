use std::io::Write as _;

use http::HeaderValue;

use super::*;

const PEER: &str = "192.0.2.7";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
    of.iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("text")))
        .collect()
}

fn made(settings: SenderSettings) -> Sender {
    let sender = Sender::new(settings);
    sender.refresh().expect("its files can be read");
    sender
}

#[test]
fn only_a_line_of_the_file_is_the_secret() {
    let file = file("Bearer new\nBearer old\n");
    let secret = SharedSecret { header: HeaderName::from_static("authorization"), file: file.path().to_owned() };
    let sender = made(SenderSettings { secret: Some(secret), ..SenderSettings::default() });
    let admit = |of: &[(&'static str, &str)]| sender.admit(&headers(of), ip(PEER));
    assert_eq!(admit(&[("authorization", "Bearer new")]), Ok(()));
    assert_eq!(admit(&[("authorization", " Bearer old ")]), Ok(()));
    for wrong in ["", "Bearer", "Bearer ne", "Bearer new\u{20}x", "bearer new", "Bearer new\tBearer old"] {
        assert_eq!(admit(&[("authorization", wrong)]), Err(Refusal::Secret), "{wrong:?}");
    }
    assert_eq!(admit(&[]), Err(Refusal::Secret));
    let mut twice = headers(&[("authorization", "Bearer new")]);
    twice.append("authorization", HeaderValue::from_static("Bearer old"));
    assert_eq!(sender.admit(&twice, ip(PEER)), Err(Refusal::Secret));
}

#[test]
fn nothing_is_accepted_while_no_secret_could_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = SharedSecret { header: HeaderName::from_static("x-secret"), file: folder.path().join("none") };
    let sender = Sender::new(SenderSettings { secret: Some(secret), ..SenderSettings::default() });
    assert!(sender.refresh().is_err());
    assert_eq!(sender.admit(&headers(&[("x-secret", "")]), ip(PEER)), Err(Refusal::Secret));
}

#[test]
fn a_secret_that_was_put_into_the_file_just_now_is_accepted_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "old").expect("written");
    let secret = SharedSecret { header: HeaderName::from_static("x-secret"), file: path.clone() };
    let sender = Sender::new(SenderSettings { secret: Some(secret), ..SenderSettings::default() });
    std::fs::write(&path, "new\nold\n").expect("written");
    // No refresh in between: the wrong secret makes it look.
    assert_eq!(sender.admit(&headers(&[("x-secret", "new")]), ip(PEER)), Ok(()));
    assert_eq!(sender.admit(&headers(&[("x-secret", "old")]), ip(PEER)), Ok(()));
}

#[test]
fn a_signature_must_be_over_these_very_bytes_by_an_accepted_key() {
    let key_file = file("new key\nold key\n");
    let body = br#"{"event":"X"}"#;
    let sign = |key: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hmac::sign(&key, body).as_ref().to_vec()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let header = HeaderName::from_static("x-signature");
    let sender = |encoding, prefix: &str| {
        let signature = Signature {
            header: header.clone(),
            key_file: key_file.path().to_owned(),
            prefix: prefix.to_owned(),
            encoding,
        };
        made(SenderSettings { signature: Some(signature), ..SenderSettings::default() })
    };
    let hexed = sender(SignatureEncoding::Hex, "sha256=");
    let verify = |sender: &Sender, value: &str, body: &[u8]| sender.verify(&headers(&[("x-signature", value)]), body);
    for key in ["new key", "old key"] {
        let value = format!("sha256={}", hex(&sign(key)));
        assert_eq!(verify(&hexed, &value, body), Ok(()));
        assert_eq!(verify(&hexed, &value.to_lowercase(), body), Ok(()));
        assert_eq!(verify(&hexed, &value, b"{\"event\": \"X\"}"), Err(Refusal::Signature));
        assert_eq!(verify(&hexed, &value[..value.len() - 2], body), Err(Refusal::Signature));
        assert_eq!(verify(&hexed, &value[7..], body), Err(Refusal::Signature), "without its prefix");
    }
    assert_eq!(verify(&hexed, &format!("sha256={}", hex(&sign("other"))), body), Err(Refusal::Signature));
    assert_eq!(hexed.verify(&HeaderMap::new(), body), Err(Refusal::Signature));
    let based = sender(SignatureEncoding::Base64, "");
    let value = STANDARD.encode(sign("new key"));
    assert_eq!(verify(&based, &value, body), Ok(()));
    assert_eq!(verify(&based, value.trim_end_matches('='), body), Ok(()));
    assert_eq!(verify(&based, "!", body), Err(Refusal::Signature));
}

#[test]
fn an_address_is_the_peers_own_unless_a_trusted_proxy_names_another() {
    let networks = |of: &[&str]| of.iter().map(|text| text.parse().expect("a network")).collect::<Vec<IpNet>>();
    let addresses = networks(&["192.0.2.0/24", "2001:db8::/32"]);
    let direct = made(SenderSettings { addresses: addresses.clone(), ..SenderSettings::default() });
    let admits = |sender: &Sender, peer: &str, hops: Option<&str>| {
        let headers = hops.map_or_else(HeaderMap::new, |hops| headers(&[("x-forwarded-for", hops)]));
        sender.admit(&headers, ip(peer)).is_ok()
    };
    assert!(admits(&direct, PEER, None));
    assert!(admits(&direct, "::ffff:192.0.2.7", None), "an IPv4 address on an IPv6 socket");
    assert!(admits(&direct, "2001:db8::1", None));
    assert!(!admits(&direct, "198.51.100.1", None));
    assert!(!admits(&direct, "198.51.100.1", Some(PEER)), "the header counts only where it is configured");

    let header = HeaderName::from_static("x-forwarded-for");
    let forwarded = Some(Forwarded { header, proxies: networks(&["127.0.0.0/8", "10.0.0.0/8"]) });
    let proxied = made(SenderSettings { addresses, forwarded, ..SenderSettings::default() });
    assert!(admits(&proxied, "127.0.0.1", Some("192.0.2.9")));
    assert!(admits(&proxied, "127.0.0.1", Some("203.0.113.5, 192.0.2.9, 10.1.2.3")), "behind two proxies");
    assert!(!admits(&proxied, "127.0.0.1", Some("192.0.2.9, 203.0.113.5")), "what the sender itself claims");
    assert!(!admits(&proxied, "203.0.113.5", Some("192.0.2.9")), "not from a proxy");
    assert!(!admits(&proxied, "127.0.0.1", Some("nonsense")));
    assert!(!admits(&proxied, "127.0.0.1", None));
}
