//! Servers that write down whatever reaches them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use longshore::sandbox::{AccountKey, Sandbox};
use tokio::net::TcpListener;
use url::Url;

/// What a test's server saw, a line a visit.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panicked here").clone()
    }

    fn note(&self, line: String) {
        self.0.lock().expect("no test panicked here").push(line);
    }
}

/// A port on which nobody is to call: even a connection without a byte counts.
pub struct Trap {
    pub address: SocketAddr,
    pub seen: Seen,
}

impl Trap {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Seen::default();
        // The same port on every other loopback that this machine has.
        for also in ["127.0.0.2", "::1"] {
            let also: std::net::IpAddr = also.parse().expect("an address");
            if let Ok(other) = TcpListener::bind((also, address.port())).await {
                watch(other, seen.clone());
            }
        }
        watch(listener, seen.clone());
        Self { address, seen }
    }
}

fn watch(listener: TcpListener, seen: Seen) {
    tokio::spawn(async move {
        while let Ok((_stream, from)) = listener.accept().await {
            seen.note(format!("a connection from {from}"));
        }
    });
}

/// A blob store that gives every GET the same record, or a redirect to a trap, and writes down what it was asked.
pub struct Store {
    pub base: Url,
    pub seen: Seen,
}

#[derive(Clone)]
struct Answers {
    seen: Seen,
    trap: SocketAddr,
}

impl Store {
    /// Starts it, and makes `sandbox` hand out tokens for it.
    pub async fn new(sandbox: &Sandbox, trap: &Trap) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}/acct", listener.local_addr().expect("bound"));
        let base = Url::parse(&base).expect("an address");
        let seen = Seen::default();
        let answers = Answers { seen: seen.clone(), trap: trap.address };
        let router = Router::new().fallback(answer).with_state(answers);
        tokio::spawn(async move { axum::serve(listener, router).await });
        sandbox.hand_out_blob_store(&base, AccountKey::generate());
        Self { base, seen }
    }
}

async fn answer(State(answers): State<Answers>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    answers.seen.note(format!("{} {}", path, request.uri().query().unwrap_or_default()));
    let Some((_, status)) = path.split_once("/redirect-") else {
        return "{\"id\":1}\n".into_response();
    };
    let status = StatusCode::from_bytes(status.as_bytes()).expect("a status");
    let location = format!("http://{}{path}?{}", answers.trap, request.uri().query().unwrap_or_default());
    (status, [(header::LOCATION, location)]).into_response()
}
