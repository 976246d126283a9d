//! Asks a running daemon itself how it is. What it wrote into the inbox may be old when the inbox is what fails.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::health::{Condition, Part};
use crate::clock::UnixMs;
use crate::net::{HttpLimits, http_client, read_bounded};

/// A daemon on this machine that does not answer by then is told by its last report.
const LIMIT: Duration = Duration::from_secs(2);

/// More than any number of parts says.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What a daemon said of itself on `/health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its process.
    pub pid: u32,
    /// How its parts are.
    pub parts: Vec<Part>,
}

/// Asks the daemon that serves health on `listen`; `None` if none answers there.
pub async fn ask(listen: SocketAddr) -> Option<Told> {
    let limits = HttpLimits { connect: LIMIT, idle: LIMIT, total: Some(LIMIT) };
    let client = http_client(None, limits).ok()?;
    let answer = client.get(format!("http://{}/health", reachable(listen))).send().await.ok()?;
    let bytes = read_bounded(answer, ANSWER_BYTES_MAX).await.ok()?;
    understand(&serde_json::from_slice(&bytes).ok()?)
}

/// An address to listen on everywhere is reached on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn understand(answer: &Value) -> Option<Told> {
    let part = |part: &Value| {
        let said = part["said"].as_str()?.to_owned();
        let condition = match part["condition"].as_str()? {
            "good" => Condition::Good { note: said },
            "starting" => Condition::Starting,
            _ => Condition::Degraded { reason: said },
        };
        let since: jiff::Timestamp = part["since"].as_str()?.parse().ok()?;
        Some(Part { name: part["name"].as_str()?.to_owned(), condition, since: UnixMs(since.as_millisecond()) })
    };
    let parts = answer["parts"].as_array()?.iter().map(part).collect::<Option<Vec<_>>>()?;
    Some(Told { pid: u32::try_from(answer["pid"].as_u64()?).ok()?, parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_whole_or_not_at_all() {
        let mut answer = serde_json::json!({ "pid": 7, "state": "degraded", "parts": [
            { "name": "inbox", "condition": "degraded", "said": "no room left", "since": "1970-01-01T00:00:01.000Z" },
        ]});
        let condition = Condition::Degraded { reason: "no room left".to_owned() };
        let parts = vec![Part { name: "inbox".to_owned(), condition, since: UnixMs(1_000) }];
        assert_eq!(understand(&answer), Some(Told { pid: 7, parts }));
        answer["parts"][0]["since"] = "yesterday".into();
        assert_eq!(understand(&answer), None);
        assert_eq!(understand(&Value::from("another program")), None);
    }

    #[test]
    fn a_daemon_that_listens_everywhere_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:9464".parse().unwrap()), "127.0.0.1:9464".parse().unwrap());
        assert_eq!(reachable("10.0.0.1:9464".parse().unwrap()), "10.0.0.1:9464".parse().unwrap());
    }
}
