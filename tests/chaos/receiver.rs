//! The user's side of the HTTP sink: a server that keeps the idempotency keys, and misbehaves on order.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What the server does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers with this status and does nothing.
    Refuse(u16),
    /// Answers with this status, and asks to come again after a second.
    Later(u16),
    /// Never answers and does nothing.
    Silent,
    /// Does it, and never answers.
    DoneSilent,
    /// Does it, and answers with this status all the same.
    DoneRefuse(u16),
    /// Does it, and resets the connection.
    DoneReset,
}

/// What was done, by idempotency key.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The records of each key, as they were sent.
    pub batches: BTreeMap<String, Vec<Value>>,
    /// Requests under a key that was done before.
    pub repeats: u64,
    /// What no sender may do.
    pub wrong: Vec<String>,
}

struct Shared {
    ledger: Mutex<Ledger>,
    manners: Mutex<VecDeque<Manner>>,
    requests: watch::Sender<u64>,
}

/// The server.
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = watch::Sender::new(0);
        let shared = Arc::new(Shared { ledger: Mutex::default(), manners: Mutex::default(), requests });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(Arc::clone(&serving), stream));
            }
        });
        Self { shared, address, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next `requests` requests are treated so, after those that were ordered before.
    pub fn order(&self, manner: Manner, requests: u32) {
        lock(&self.shared.manners).extend(std::iter::repeat_n(manner, requests as usize));
    }

    /// Good manners from now on.
    pub fn calm(&self) {
        lock(&self.shared.manners).clear();
    }

    /// Waits for a request.
    pub async fn asked(&self) {
        // The sender lives as long as this.
        let _ = self.shared.requests.subscribe().changed().await;
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.shared.ledger)
    }
}

/// Serves one connection until either side has had enough.
async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    while let Some((key, body)) = read_request(&mut stream).await {
        shared.requests.send_modify(|requests| *requests += 1);
        let manner = lock(&shared.manners).pop_front();
        let does = !matches!(manner, Some(Manner::Refuse(_) | Manner::Later(_) | Manner::Silent));
        if does {
            lock(&shared.ledger).take(key, &body);
        }
        let (status, more) = match manner {
            None => (200, ""),
            Some(Manner::Refuse(status) | Manner::DoneRefuse(status)) => (status, ""),
            Some(Manner::Later(status)) => (status, "retry-after: 1\r\n"),
            Some(Manner::Silent | Manner::DoneSilent) => {
                // Until the other side has waited long enough.
                let _ = stream.read_u8().await;
                return;
            }
            Some(Manner::DoneReset) => {
                let _ = stream.get_ref().set_zero_linger();
                return;
            }
        };
        let answer = format!("HTTP/1.1 {status} so\r\n{more}content-length: 0\r\n\r\n");
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Ledger {
    fn take(&mut self, key: Option<String>, body: &[u8]) {
        let Some(key) = key else {
            self.wrong.push("a request without an idempotency key".to_owned());
            return;
        };
        let records: Vec<Value> = match serde_json::from_slice(body) {
            Ok(records) => records,
            Err(error) => {
                self.wrong.push(format!("a body that is no JSON array under {key}: {error}"));
                return;
            }
        };
        match self.batches.get(&key) {
            None => drop(self.batches.insert(key, records)),
            Some(known) if *known == records => self.repeats += 1,
            Some(_) => self.wrong.push(format!("other records under the known key {key}")),
        }
    }
}

/// The idempotency key and the body of the next request; none when it does not come whole.
async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(Option<String>, Vec<u8>)> {
    let (mut key, mut length) = (None, 0);
    let mut is_first = true;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() && !is_first {
            break;
        }
        is_first = false;
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "idempotency-key" => key = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((key, body))
}
