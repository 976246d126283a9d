use proptest::prelude::*;

use super::*;
use crate::access::ServiceBusAccess;
use crate::clock::UnixMs;

const CANARY: &str = "c4nary%2Bsig%2Fnature%3D";

fn set(bases: &[&str]) -> TokenSet {
    let blobs = bases.iter().enumerate().map(|(n, base)| {
        BlobAccess::parse(&format!("{base}?sv={n}&sig={CANARY}&se=2030-01-01T00%3A00%3A00Z")).expect("a good base")
    });
    TokenSet {
        generation: 1,
        obtained: UnixMs(0),
        service_bus: ServiceBusAccess {
            host: "h".into(),
            port: None,
            development_emulator: false,
            topic: "t".into(),
            subscription: "s".into(),
            sas: Secret::new(""),
            audience: String::new(),
            expires: None,
        },
        blobs: blobs.collect(),
    }
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("a test URL")
}

/// The base that `uri` gets its token from.
fn base_for(tokens: &TokenSet, uri: &str) -> Option<String> {
    tokens.for_blob(&url(uri)).ok().map(|blob| blob.base.to_string())
}

#[test]
fn whole_segments_match_and_longest_wins() {
    let tokens = set(&["https://a.example/batch", "https://a.example/batchtoprocess", "https://a.example/batch/deep/"]);
    let base = |uri: &str| base_for(&tokens, uri);
    assert_eq!(base("https://a.example/batchtoprocess/x/y.gz").as_deref(), Some("https://a.example/batchtoprocess"));
    assert_eq!(base("https://a.example/batch/x").as_deref(), Some("https://a.example/batch"));
    assert_eq!(base("https://a.example/batch/deep/x").as_deref(), Some("https://a.example/batch/deep/"));
    assert_eq!(base("https://a.example/batch/deeper/x").as_deref(), Some("https://a.example/batch"));
    assert_eq!(base("https://A.EXAMPLE:443/batch/x").as_deref(), Some("https://a.example/batch"));
    assert_eq!(base("https://a.example/bat"), None);
    assert_eq!(base("https://a.example/"), None);
}

#[test]
fn another_server_gets_no_token() {
    let tokens = set(&["https://a.example/c", "http://127.0.0.1:10000/acct/c"]);
    for uri in [
        "http://a.example/c/x",
        "https://a.example:444/c/x",
        "https://a.example.evil.example/c/x",
        "https://evil.example/a.example/c/x",
        "https://a.example@evil.example/c/x",
        "https://user@a.example/c/x",
        "https://a.example./c/x",
        "https://\u{430}.example/c/x",
        "https://127.0.0.1:10000/acct/c/x",
        "http://127.0.0.1:10001/acct/c/x",
        "http://127.0.0.2:10000/acct/c/x",
        "ftp://a.example/c/x",
        "file:///c/x",
    ] {
        assert_eq!(base_for(&tokens, uri), None, "{uri}");
    }
    assert!(base_for(&tokens, "http://127.0.0.1:10000/acct/c/x").is_some());
}

#[test]
fn a_path_trick_gets_no_token() {
    let tokens = set(&["https://a.example/c"]);
    for uri in [
        "https://a.example/c/../other/x",
        "https://a.example/c/%2e%2e/other/x",
        "https://a.example/c/.%2E/other/x",
        "https://a.example/c\\..\\other\\x",
        "https://a.example/c/..%2fother/x",
        "https://a.example/c%2fx",
        "https://a.example/c/x%5c..%5cy",
        "https://a.example//c/x",
    ] {
        assert_eq!(base_for(&tokens, uri), None, "{uri}");
    }
    assert!(base_for(&tokens, "https://a.example/c//x%252e%252e y").is_some());
}

#[test]
fn case_is_forgiven_where_it_is_not_ambiguous() {
    let tokens = set(&["https://a.example/Batch"]);
    assert!(base_for(&tokens, "https://a.example/batch/x").is_some());
    let tokens = set(&["https://a.example/Batch", "https://a.example/batch"]);
    assert_eq!(base_for(&tokens, "https://a.example/Batch/x").as_deref(), Some("https://a.example/Batch"));
    assert_eq!(base_for(&tokens, "https://a.example/BATCH/x"), None);
}

#[test]
fn encoding_does_not_hide_a_match() {
    let tokens = set(&["https://a.example/a%20b/%c3%a9"]);
    assert!(base_for(&tokens, "https://a.example/a b/\u{e9}/x").is_some());
    assert!(base_for(&tokens, "https://a.example/%61%20b/%C3%A9/x").is_some());
}

#[test]
fn what_is_said_of_a_refused_url_has_no_token() {
    let said = set(&["https://a.example/c"])
        .for_blob(&url(&format!("https://b.example/c/x?sig={CANARY}#part")))
        .expect_err("no match")
        .to_string();
    assert!(!said.contains("c4nary") && !said.contains('?'), "{said}");
}

#[test]
fn the_token_is_the_whole_query_and_never_there_twice() {
    let tokens = set(&["https://a.example/c"]);
    let uri = url("https://a.example/c/x%20y%23.gz?sv=old&sig=old#part");
    let access = tokens.for_blob(&uri).expect("a match");
    let once = access.url_for(&uri);
    assert_eq!(once.as_str(), format!("https://a.example/c/x%20y%23.gz?sv=0&sig={CANARY}&se=2030-01-01T00%3A00%3A00Z"));
    assert_eq!(access.url_for(&once), once);
}

#[test]
fn a_base_that_a_token_may_not_go_to_is_refused_without_showing_it() {
    for base in ["http://a.example/c", "ftp://a.example/c", "https://u:p@a.example/c", "https://a.example/c%2fd", "c"] {
        let said = BlobAccess::parse(&format!("{base}?sig={CANARY}")).expect_err("refused").to_string();
        assert!(!said.contains("c4nary") && !said.contains("u:p"), "{said}");
    }
    assert!(BlobAccess::parse(&format!("https://a.example/c?sig={CANARY}&se=whenever")).is_err());
    assert!(!BlobAccess::parse("https://a.example/public").expect("a good base").has_token());
}

proptest! {
    /// Whatever a notice says, a token goes to a named server and stays below a named base, as any store reads the path.
    #[test]
    fn a_token_never_leaves_its_base(
        head in prop::sample::select(vec![
            "https://a.example", "https://A.example:443", "https://a.example:8443", "http://a.example", "https://b.example",
            "https://u@a.example", "https:a.example", "https:\\\\a.example", "https://a.example.b.example",
        ]),
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "/", "\\", "c", "C", "cc", "d", ".", "..", "%2e", "%2E%2e", "%2f", "%5C", "%63", "%252f", "?", "#", "@", ":", ";",
                "\t", "\u{fe0e}", "\u{e9}", " ", "%", "%00",
            ]),
            0..14,
        ),
    ) {
        let text = format!("{head}/{}", parts.concat());
        if let Ok(uri) = Url::parse(&text) {
            let tokens = set(&["https://a.example/c/d", "https://a.example/cc"]);
            if let Ok(access) = tokens.for_blob(&uri) {
                let sent = access.url_for(&uri);
                prop_assert_eq!(sent.scheme(), "https");
                prop_assert_eq!(sent.host_str(), Some("a.example"));
                prop_assert_eq!(sent.port_or_known_default(), Some(443));
                prop_assert_eq!(sent.username(), "");
                prop_assert_eq!(sent.query(), Some(access.sas.expose()));
                // A store that decodes first and resolves dots afterwards still stays below the base.
                let decoded = percent_decode_str(sent.path()).decode_utf8_lossy().to_ascii_lowercase();
                prop_assert!(decoded == "/c/d" || decoded == "/cc" || decoded.starts_with("/c/d/") || decoded.starts_with("/cc/"), "{}", decoded);
                prop_assert!(decoded.split(['/', '\\']).all(|s| s != "." && s != ".."), "{}", decoded);
            }
        }
    }

    /// The vendor's query survives byte for byte.
    #[test]
    fn a_query_survives_as_it_was(query in "sv=[0-9-]{1,10}&sig=([A-Za-z0-9]|%2B|%2F|%3D|%252B){1,60}&sp=r[~!$()*,;:@/?-]{0,9}") {
        let access = BlobAccess::parse(&format!("https://a.example/c?{query}")).expect("a good base");
        let sent = access.url_for(&url("https://a.example/c/x"));
        prop_assert_eq!(sent.query(), Some(query.as_str()));
    }
}
