//! A server that repeats what it is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::common::process::Daemon;

/// A server that answers in every bad way, by the path, and repeats what it was sent; it keeps the secrets it saw.
#[derive(Clone)]
pub struct Echo {
    pub base: String,
    visits: watch::Sender<usize>,
    secrets: Arc<Mutex<BTreeSet<String>>>,
}

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let echo = Self { base, visits: watch::Sender::new(0), secrets: Arc::default() };
        let router = Router::new().fallback(answer).with_state(echo.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        echo
    }

    /// Waits until it was asked `times` times since it was started.
    pub async fn asked(&self, times: usize, daemon: &Daemon) {
        let mut visits = self.visits.subscribe();
        let reached = visits.wait_for(|visits| *visits >= times);
        drop(daemon.in_time("somebody asks", reached).await);
    }

    pub fn secrets(&self) -> Vec<String> {
        self.secrets.lock().expect("no panic").iter().cloned().collect()
    }
}

async fn answer(State(echo): State<Echo>, request: Request) -> Response {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let said: Vec<String> =
        request.headers().values().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let signatures = query.split('&').filter_map(|pair| pair.strip_prefix("sig=")).map(str::to_owned);
    let bearers = said.iter().filter_map(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let signed = said.iter().filter_map(|value| value.split_once("Signature=")).map(|(_, hash)| hash.to_owned());
    echo.secrets.lock().expect("no panic").extend(signatures.chain(bearers).chain(signed));
    let everything = format!("no: {path} {query} {}", said.join(" "));
    let status =
        path.split(['/', '-', '.']).find_map(|part| part.parse::<u16>().ok()).filter(|s| *s >= 200 && *s < 600);
    let response = Response::builder().status(status.unwrap_or(200));
    let response = if path.contains("redirect") {
        let elsewhere = format!("http://127.0.0.2:9/{}?{query}", said.join(" ").replace(' ', "/"));
        response.header("location", elsewhere).body(Body::from(everything))
    } else if path.contains("truncated") {
        // The connection breaks off before the promised end.
        let pieces = futures::stream::iter([Ok(everything), Err(std::io::Error::other("broken off"))]);
        response.header("content-length", 1_000_000).body(Body::from_stream(pieces))
    } else if path.contains("named") {
        let quoted = format!("\"{everything}\"");
        response.header("etag", &quoted).header("content-encoding", &everything).body(Body::from(everything))
    } else {
        response.body(Body::from(everything))
    };
    echo.visits.send_modify(|visits| *visits += 1);
    response.unwrap_or_else(|_| "no".into_response())
}
