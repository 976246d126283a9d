//! Senders besides the vendor: one that calls our webhook until it is answered 200, and one that lays down files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore::net::{HttpLimits, http_client};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::common::delivered::files_in_sight;
use crate::common::net::free_address;
use crate::common::place;

/// What the sender of events shows.
pub const SECRET: &str = "Bearer chaos";

/// How long it waits for an answer, and before it calls again.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Calls the webhook.
pub struct Caller {
    address: SocketAddr,
    waiting: Arc<AtomicU64>,
    calls: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl Caller {
    pub fn new() -> Self {
        Self { address: free_address(), waiting: Arc::default(), calls: Mutex::default() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls with this event until it is taken, as senders do.
    pub fn call(&self, id: u64, records: &[Value]) {
        let body =
            json!({ "event": "Events.Called", "eventId": format!("event {id}"), "payload": records }).to_string();
        let (url, waiting) = (format!("http://{}/events", self.address), Arc::clone(&self.waiting));
        waiting.fetch_add(1, Ordering::SeqCst);
        let limits = HttpLimits { total: Some(PATIENCE), ..HttpLimits::default() };
        let client = http_client(None, limits).expect("a client");
        let calling = tokio::spawn(async move {
            let mut pauses = tokio::time::interval(PAUSE);
            loop {
                pauses.tick().await;
                let request = client.post(&url).header("Authorization", SECRET).body(body.clone());
                if request.send().await.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
            }
            waiting.fetch_sub(1, Ordering::SeqCst);
        });
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(AbortOnDropHandle::new(calling));
    }

    /// How many events are not taken yet.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }
}

/// Lays down files.
pub struct Dropper(PathBuf);

impl Dropper {
    pub fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// A file, whole at once.
    pub fn lay(&self, name: &str, content: &str) {
        place::lay(&self.0.join(name), content);
    }

    /// How many files are not taken away yet.
    pub fn waiting(&self) -> u64 {
        files_in_sight(&self.0).len() as u64
    }
}
