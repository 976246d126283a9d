//! The senders. They speak HTTP in bytes that are made ready beforehand: what they cost is taken from the listener's
//! share of the machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::listener::{Listener, PATH, SECRET};

/// An order as the vendor would send it; the id is put in its place for each request.
const BODY: &str = concat!(
    r#"{"event":"ORDER_CREATED","eventId":"000000000000000000000000","payload":{"id":"5a1f0c52-0000-4000-8000-8d3a12f5c0de","#,
    r#""tenantOrderId":"R456728546","processId":"d24fb5ab-0000-4000-8000-0f1b2c3d4e5f","version":1,"status":"OPEN","#,
    r#""orderDate":"2026-03-01T08:45:50.525Z","created":"2026-03-01T08:45:51.120Z","lastModified":"2026-03-01T08:45:51.120Z","#,
    r#""consumer":{"consumerId":"33f4729f","addresses":[{"street":"Hauptstrasse","houseNumber":"42a","postalCode":"40764","#,
    r#""city":"Langenfeld","country":"DE"}]},"orderLineItems":[{"id":"1","quantity":21,"article":{"tenantArticleId":"4711","#,
    r#""title":"Cologne Water","imageUrl":"https://images.example/4711.png"}},{"id":"2","quantity":3,"article":"#,
    r#"{"tenantArticleId":"4712","title":"Cologne Water, large"}}]}}"#
);
const ID: &str = "000000000000000000000000";
/// A request that takes longer than this is never answered.
const LIMIT: Duration = Duration::from_secs(60);

pub fn body_bytes() -> usize {
    BODY.len()
}

/// What was answered in the time that counts.
#[derive(Debug)]
pub struct Load {
    /// Answers with 200.
    pub answered: u64,
    window: Duration,
    /// How long each took, in microseconds, sorted.
    micros: Vec<u32>,
}

impl Load {
    pub fn per_s(&self) -> f64 {
        self.answered as f64 / self.window.as_secs_f64()
    }

    /// The time within which that share was answered.
    pub fn ms(&self, share: f64) -> f64 {
        let at = ((self.micros.len() as f64 * share) as usize).min(self.micros.len() - 1);
        f64::from(self.micros[at]) / 1_000.0
    }
}

/// Opens all connections, has each send one event, and then counts for the time of `window`.
pub fn run(listener: &Listener, connections: usize, window: Duration) -> Load {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let tls = longshore::net::tls_config(Some(&listener.ca_file)).expect("roots");
        let (connector, port) = (TlsConnector::from(tls), listener.port);
        let ready = Arc::new(Barrier::new(connections));
        let mut senders = JoinSet::new();
        for number in 0..connections {
            let (connector, ready) = (connector.clone(), Arc::clone(&ready));
            senders.spawn(async move {
                let mut sender = Sender::connect(&connector, port, number).await;
                sender.send().await;
                ready.wait().await;
                let until = Instant::now() + window;
                let mut micros = Vec::new();
                loop {
                    let began = Instant::now();
                    sender.send().await;
                    let ended = Instant::now();
                    if ended > until {
                        return micros;
                    }
                    micros.push(u32::try_from((ended - began).as_micros()).unwrap_or(u32::MAX));
                }
            });
        }
        let mut micros = senders.join_all().await.concat();
        micros.sort_unstable();
        Load { answered: micros.len() as u64, window, micros }
    })
}

struct Sender {
    stream: TlsStream<TcpStream>,
    request: Vec<u8>,
    /// Where the id stands in the request.
    id_at: usize,
    number: usize,
    sent: u64,
    answer: Vec<u8>,
}

impl Sender {
    async fn connect(connector: &TlsConnector, port: u16, number: usize) -> Self {
        let connect = async {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
            tcp.set_nodelay(true).expect("a socket option");
            let name = ServerName::try_from("localhost").expect("a name");
            connector.connect(name, tcp).await.expect("TLS")
        };
        let stream = tokio::time::timeout(LIMIT, connect).await.expect("connected in time");
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n\
             Authorization: {SECRET}\r\nContent-Length: {}\r\n\r\n",
            BODY.len()
        );
        let id_at = head.len() + BODY.find(ID).expect("the id's place");
        let request = [head.as_bytes(), BODY.as_bytes()].concat();
        Self { stream, request, id_at, number, sent: 0, answer: Vec::with_capacity(1_024) }
    }

    /// Sends the next event and takes its answer.
    async fn send(&mut self) {
        self.sent += 1;
        let id = format!("{:08}{:016}", self.number, self.sent);
        self.request[self.id_at..][..ID.len()].copy_from_slice(id.as_bytes());
        let exchange = async {
            self.stream.write_all(&self.request).await.expect("sent");
            self.answer.clear();
            // A 200 has no body.
            while !self.answer.ends_with(b"\r\n\r\n") {
                let read = self.stream.read_buf(&mut self.answer).await.expect("an answer");
                assert!(read > 0, "the connection ended");
            }
        };
        tokio::time::timeout(LIMIT, exchange).await.expect("answered in time");
        assert!(self.answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&self.answer));
    }
}
