//! The address in a notice is untrusted: it reaches only what the vendor's token answer named.

use longshore::inbox::ledger::NoticeLine;
use longshore::notice::NoticeId;
use longshore::sandbox::{FileSource, PublishRequest};
use url::Url;

use crate::common::net;
use crate::common::process::Daemon;
use crate::common::vendor::World;
use crate::traps::{Store, Trap};

/// What becomes of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Fetched from the named container, under its token and no other.
    Fetched,
    /// Quarantined under this label.
    Refused(&'static str),
}

use End::{Fetched, Refused};

/// Every trick: what it is, the address, and what becomes of it. `store` serves the container, `trap` must stay alone.
fn tricks(store: &Url, trap: &str) -> Vec<(&'static str, String, End)> {
    let (port, trap_port) = (store.port().expect("a port"), trap.rsplit_once(':').expect("a port").1);
    let authority = format!("127.0.0.1:{port}");
    let base = format!("http://{authority}/acct/batchtoprocess");
    let long = "x".repeat(20_000);
    vec![
        // Another server.
        ("another port", format!("http://{trap}/acct/batchtoprocess/x"), Refused("unnamed")),
        (
            "another port of a name for the same host",
            format!("http://localhost:{trap_port}/acct/batchtoprocess/x"),
            Refused("unnamed"),
        ),
        ("the same port of another name", format!("http://localhost:{port}/acct/batchtoprocess/x"), Refused("unnamed")),
        ("another loopback address", format!("http://127.0.0.2:{trap_port}/acct/batchtoprocess/x"), Refused("unnamed")),
        ("IPv6", format!("http://[::1]:{trap_port}/acct/batchtoprocess/x"), Refused("unnamed")),
        ("IPv4 in IPv6", format!("http://[::ffff:127.0.0.1]:{trap_port}/acct/batchtoprocess/x"), Refused("scheme")),
        (
            "IPv4 in IPv6 over TLS",
            format!("https://[::ffff:127.0.0.1]:{trap_port}/acct/batchtoprocess/x"),
            Refused("unnamed"),
        ),
        ("unspecified address", format!("http://0.0.0.0:{trap_port}/acct/batchtoprocess/x"), Refused("scheme")),
        (
            "unspecified address over TLS",
            format!("https://0.0.0.0:{trap_port}/acct/batchtoprocess/x"),
            Refused("unnamed"),
        ),
        ("decimal address", format!("http://2130706433:{trap_port}/acct/batchtoprocess/x"), Refused("unnamed")),
        ("octal address", format!("http://0177.0.0.1:{trap_port}/acct/batchtoprocess/x"), Refused("unnamed")),
        ("hexadecimal address", format!("http://0x7f000001:{trap_port}/acct/batchtoprocess/x"), Refused("unnamed")),
        ("short address", format!("http://127.1:{trap_port}/acct/batchtoprocess/x"), Refused("unnamed")),
        ("no port", "http://127.0.0.1/acct/batchtoprocess/x".to_owned(), Refused("unnamed")),
        ("empty port", "http://127.0.0.1:/acct/batchtoprocess/x".to_owned(), Refused("unnamed")),
        ("default port of TLS", "https://127.0.0.1:443/acct/batchtoprocess/x".to_owned(), Refused("unnamed")),
        (
            "port beyond 65535",
            format!("http://127.0.0.1:{}/acct/batchtoprocess/x", u32::from(port) + 65_536),
            Refused("unreadable"),
        ),
        ("port with a sign", "http://127.0.0.1:+80/acct/batchtoprocess/x".to_owned(), Refused("unreadable")),
        (
            "metadata service of a cloud",
            "http://169.254.169.254/metadata/identity/oauth2/token".to_owned(),
            Refused("scheme"),
        ),
        (
            "metadata service over TLS",
            "https://169.254.169.254/metadata/identity/oauth2/token".to_owned(),
            Refused("unnamed"),
        ),
        ("TLS where none was named", format!("https://{authority}/acct/batchtoprocess/x"), Refused("unnamed")),
        ("TLS to the trap", format!("https://{trap}/acct/batchtoprocess/x"), Refused("unnamed")),
        // A look-alike.
        (
            "host with the right one in front",
            format!("http://{authority}.evil.example/acct/batchtoprocess/x"),
            Refused("unreadable"),
        ),
        (
            "name with the right one in front",
            "https://127.0.0.1.evil.example/acct/batchtoprocess/x".to_owned(),
            Refused("unnamed"),
        ),
        (
            "right host in the path",
            format!("https://evil.example/{authority}/acct/batchtoprocess/x"),
            Refused("unnamed"),
        ),
        ("right address in the query", format!("https://evil.example/x?{base}/x"), Refused("unnamed")),
        ("right address in the fragment", format!("https://evil.example/x#{base}/x"), Refused("unnamed")),
        ("Cyrillic look-alike", format!("http://l\u{43e}calhost:{trap_port}/acct/batchtoprocess/x"), Refused("scheme")),
        (
            "punycode look-alike",
            format!("https://xn--lcalhost-6ng:{trap_port}/acct/batchtoprocess/x"),
            Refused("unreadable"),
        ),
        ("name below localhost", format!("http://evil.localhost:{trap_port}/acct/batchtoprocess/x"), Refused("scheme")),
        (
            "name with a dot at its end",
            format!("http://localhost.:{trap_port}/acct/batchtoprocess/x"),
            Refused("scheme"),
        ),
        (
            "name with a zero-width space",
            format!("http://local\u{200b}host:{trap_port}/acct/batchtoprocess/x"),
            Refused("unnamed"),
        ),
        (
            "ideographic full stops",
            format!("http://127\u{3002}0\u{3002}0\u{3002}1:{trap_port}/acct/batchtoprocess/x"),
            Refused("unnamed"),
        ),
        // A user name.
        ("user name", format!("http://user@{authority}/acct/batchtoprocess/x"), Refused("user-name")),
        ("user name and password", format!("http://user:word@{authority}/acct/batchtoprocess/x"), Refused("user-name")),
        ("right host as user name", format!("http://{authority}@{trap}/acct/batchtoprocess/x"), Refused("user-name")),
        (
            "right address as password",
            format!("http://u:127.0.0.1%3A{port}@{trap}/acct/batchtoprocess/x"),
            Refused("user-name"),
        ),
        ("backslash before the host", format!("http://{authority}\\@{trap}/acct/batchtoprocess/x"), Refused("unnamed")),
        // Another scheme.
        ("file", "file:///etc/passwd".to_owned(), Refused("scheme")),
        ("file on a host", format!("file://{trap}/etc/passwd"), Refused("unreadable")),
        ("ftp", format!("ftp://{trap}/acct/batchtoprocess/x"), Refused("scheme")),
        ("gopher", format!("gopher://{trap}/_GET%20/"), Refused("scheme")),
        ("data", "data:application/json,{\"id\":1}".to_owned(), Refused("scheme")),
        ("javascript", "javascript:fetch('/')".to_owned(), Refused("scheme")),
        ("blob", format!("blob:{base}/x"), Refused("scheme")),
        ("web socket", format!("ws://{trap}/acct/batchtoprocess/x"), Refused("scheme")),
        ("unix socket", "unix:///run/docker.sock".to_owned(), Refused("scheme")),
        ("no scheme", format!("//{trap}/acct/batchtoprocess/x"), Refused("unreadable")),
        ("path alone", "/acct/batchtoprocess/x".to_owned(), Refused("unreadable")),
        ("scheme with a space", format!("ht tp://{trap}/x"), Refused("unreadable")),
        // A path.
        ("dots", format!("{base}/../other/x"), Refused("unnamed")),
        ("encoded dots", format!("{base}/%2e%2e/other/x"), Refused("unnamed")),
        ("half encoded dots", format!("{base}/.%2E/other/x"), Refused("unnamed")),
        ("dots encoded twice", format!("{base}/%252e%252e/other/x"), Refused("path")),
        ("dots encoded three times", format!("{base}/%25252e%25252e/other/x"), Refused("path")),
        ("dots with a parameter", format!("{base}/..;/other/x"), Refused("path")),
        ("encoded slash", format!("{base}/..%2fother/x"), Refused("path")),
        ("encoded backslash", format!("{base}/..%5Cother/x"), Refused("path")),
        ("slash encoded twice", format!("{base}/..%252fother/x"), Refused("path")),
        ("backslashes", format!("{base}\\..\\other\\x"), Refused("unnamed")),
        ("slash before the container", format!("http://{authority}//acct/batchtoprocess/x"), Refused("unnamed")),
        ("container with more at its end", format!("{base}X/x"), Refused("unnamed")),
        ("container with less", format!("http://{authority}/acct/batchtoproces/x"), Refused("unnamed")),
        ("container with an encoded NUL", format!("{base}%00/x"), Refused("path")),
        ("another account", format!("http://{authority}/other/batchtoprocess/x"), Refused("unnamed")),
        ("root", format!("http://{authority}/"), Refused("unnamed")),
        ("encoded NUL", format!("{base}/x%00.jsonl"), Refused("path")),
        ("encoded line end", format!("{base}/x%0d%0aHost:%20evil.example"), Refused("path")),
        ("NUL", format!("{base}/x\0y"), Refused("unreadable")),
        ("line end", format!("{base}/x\r\nHost: evil.example"), Refused("unreadable")),
        ("tab in the scheme", format!("ht\ttp://{authority}/acct/batchtoprocess/x"), Refused("unreadable")),
        ("very long path", format!("{base}/{long}"), Refused("unreadable")),
        ("very long host", format!("https://{long}/x"), Refused("unreadable")),
        // The store sends us elsewhere.
        ("redirect 301", format!("{base}/redirect-301"), Refused("redirect")),
        ("redirect 302", format!("{base}/redirect-302"), Refused("redirect")),
        ("redirect 303", format!("{base}/redirect-303"), Refused("redirect")),
        ("redirect 307", format!("{base}/redirect-307"), Refused("redirect")),
        ("redirect 308", format!("{base}/redirect-308"), Refused("redirect")),
        // What looks like a trick and reaches the named container all the same, under its own token alone.
        ("plain", format!("{base}/plain"), Fetched),
        ("a token of its own", format!("{base}/own-token?sv=evil&sig=evil"), Fetched),
        ("a fragment", format!("{base}/fragment#@{trap}/"), Fetched),
        ("the container in upper case", format!("http://{authority}/acct/BATCHTOPROCESS/upper"), Fetched),
        ("the scheme in upper case", format!("HTTP://{authority}/acct/batchtoprocess/scheme"), Fetched),
        ("decimal address of the same host", format!("http://2130706433:{port}/acct/batchtoprocess/decimal"), Fetched),
        ("dots that stay", format!("{base}/a/../b"), Fetched),
        ("one slash", format!("http:/{authority}/acct/batchtoprocess/one-slash"), Fetched),
        ("spaces and accents", format!("{base}/a b/\u{e9}"), Fetched),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_reaches_only_what_the_vendor_named_whatever_it_tries() {
    let world = World::new("[work]\nordering = \"none\"\nretry_min = \"100ms\"\nretry_max = \"1s\"\n").await;
    world.tell_on("127.0.0.1:0");
    let trap = Trap::new().await;
    let store = Store::new(&world.sandbox, &trap).await;
    let tricks = tricks(&store.base, &trap.address.to_string());
    assert!(tricks.len() >= 80, "{} tricks", tricks.len());
    for (name, uri, _) in &tricks {
        let request = PublishRequest {
            content_type: Some("application/x-jsonlines".to_owned()),
            ..PublishRequest::new(FileSource::Uri(uri.clone()))
        };
        world.sandbox.publish(request.blob_type("Trick")).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    let daemon = world.start(&["run"]);
    let count = tricks.len() as u64;
    world.wait("all have ended", |summary| summary.notices.finished + summary.notices.quarantined == count).await;
    let metrics = ask(&daemon, "metrics").await;
    let log = daemon.stop().await;

    // The broker keeps the order, so that the n-th trick is notice n.
    let lines = world.notices().await;
    let line = |number: usize| -> &NoticeLine {
        lines.iter().find(|line| line.id == NoticeId(number as i64 + 1)).expect("every notice is there")
    };
    for (number, (name, uri, end)) in tricks.iter().enumerate() {
        let state = line(number).state.to_string();
        let reason = line(number).reason.clone().unwrap_or_default();
        let shown: String = uri.chars().take(120).collect();
        match end {
            Fetched => assert_eq!(state, "finished", "{name}: {shown}: {reason}"),
            Refused(label) => {
                assert_eq!(state, "quarantined", "{name}: {shown}");
                assert!(says(label, &reason), "{name} is refused as {label}: {shown}: {reason:.1000}");
            }
        }
    }
    assert_eq!(trap.seen.lines(), [""; 0], "nobody else is called");
    let strays: Vec<String> = store.seen.lines().into_iter().filter(|line| is_stray(line)).collect();
    assert_eq!(strays, [""; 0], "the store is asked for nothing else");

    let mut labels: Vec<&str> = tricks
        .iter()
        .filter_map(|(_, _, end)| match end {
            Refused(label) => Some(*label),
            Fetched => None,
        })
        .collect();
    labels.sort_unstable();
    for counted in labels.chunk_by(|a, b| a == b) {
        let line =
            format!("longshore_refused_addresses_total{{feed=\"eg\",reason=\"{}\"}} {}\n", counted[0], counted.len());
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    let answers = world.sandbox.vendor_state().tenant_answers;
    assert!(answers <= 3, "all that are unnamed share one refresh; there were {answers} answers\n{log}");
}

/// Whether `reason` is what a refusal under `label` says.
fn says(label: &str, reason: &str) -> bool {
    let words: &[&str] = match label {
        "unnamed" => &["blob base URLs that came with the tokens matches"],
        "scheme" => &["only https is fetched"],
        "user-name" => &["carries a user name"],
        "path" => &["its path has"],
        "redirect" => &["a token must not follow it"],
        _ => &[
            "is longer than",
            "control characters",
            "is not an address",
            "cannot be understood",
            "is not the metadata",
        ],
    };
    words.iter().any(|word| reason.contains(word))
}

/// Whether a request lies outside the named container, or came with another token than its own.
fn is_stray(line: &str) -> bool {
    let (path, query) = line.split_once(' ').expect("a path and a query");
    let inside = path.to_ascii_lowercase().starts_with("/acct/batchtoprocess/");
    !inside || query.contains("evil") || query.matches("sig=").count() != 1
}

/// What the daemon answers on a page of its own.
pub async fn ask(daemon: &Daemon, page: &str) -> String {
    daemon.says("serving health and metrics").await;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("serving health and metrics")).expect("it says where");
    let address = line.rsplit_once("127.0.0.1:").expect("an address").1;
    let port: String = address.chars().take_while(char::is_ascii_digit).collect();
    let answer = net::client().get(format!("http://127.0.0.1:{port}/{page}")).send().await.expect("an answer");
    answer.text().await.expect("text")
}
