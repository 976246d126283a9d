//! What all connections share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::control::{AttachFault, Orders, Signal};
use super::entities::{Entities, Entity};
use super::lock_token::LockId;
use super::message::Content;
use super::queue::{Moment, Queue, Settlement};
use super::settings::BrokerSettings;
use super::state::BrokerState;
use crate::clock::UnixMs;
use crate::sandbox::sas::SasKey;

/// What all connections share. Its mutexes are held for a few instructions.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: BrokerSettings,
    pub entities: Entities,
    /// Changes whenever anything does that [`BrokerState`] shows.
    pub changes: watch::Sender<()>,
    pub tasks: TaskTracker,
    pub stopping: CancellationToken,
    pub counters: Counters,
    keys: Mutex<Vec<SasKey>>,
    faults: Mutex<Option<(u32, AttachFault)>>,
    connections: Mutex<HashMap<u64, Arc<Signal>>>,
    stalled: AtomicBool,
    lock_taken: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub connections: AtomicU64,
    pub tokens_put: AtomicU64,
    pub tokens_refused: AtomicU64,
    pub links_attached: AtomicU64,
    pub links_refused: AtomicU64,
    pub links_detached: AtomicU64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(settings: BrokerSettings) -> Self {
        Self {
            entities: Entities::new(&settings),
            changes: watch::Sender::new(()),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            counters: Counters::default(),
            keys: Mutex::new(settings.keys.clone()),
            faults: Mutex::new(None),
            connections: Mutex::new(HashMap::new()),
            stalled: AtomicBool::new(false),
            lock_taken: Notify::new(),
            settings,
        }
    }

    pub fn now(&self) -> UnixMs {
        self.settings.clock.now()
    }

    pub fn moment(&self) -> Moment {
        Moment { instant: Instant::now(), wall: self.now() }
    }

    /// Tells those who wait for a state that something changed.
    pub fn changed(&self) {
        self.changes.send_replace(());
    }

    /// Locks were taken in a queue that may have had none.
    pub fn lock_taken(&self) {
        self.lock_taken.notify_one();
    }

    pub fn publish(&self, entity: &Entity, contents: &[Arc<Content>]) {
        let now = self.now();
        let to = |queue: &Queue| queue.publish(contents.iter().map(Arc::clone), now);
        match entity {
            Entity::Topic(topic) => topic.subscriptions.iter().for_each(|queue| to(queue)),
            Entity::Queue { queue, takes: true } => to(queue),
            Entity::Queue { takes: false, .. } | Entity::Management(_) | Entity::TokenService => {}
        }
        self.changed();
    }

    pub fn settle(
        &self,
        queue: &Queue,
        locks: impl IntoIterator<Item = LockId>,
        settlement: &Settlement,
        held: impl FnMut(bool),
    ) {
        queue.settle(locks, settlement, Instant::now(), held);
        self.changed();
    }

    pub fn state(&self) -> BrokerState {
        let queues = self.entities.queues.iter();
        let subscriptions: BTreeMap<_, _> = queues.map(|queue| (queue.path.to_string(), queue.state())).collect();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BrokerState {
            subscriptions,
            connections: hold(&self.connections).len(),
            connections_total: read(&self.counters.connections),
            tokens_put: read(&self.counters.tokens_put),
            tokens_refused: read(&self.counters.tokens_refused),
            links_attached: read(&self.counters.links_attached),
            links_refused: read(&self.counters.links_refused),
            links_detached: read(&self.counters.links_detached),
            stalled: self.is_stalled(),
        }
    }

    pub fn keys(&self) -> Vec<SasKey> {
        hold(&self.keys).clone()
    }

    pub fn set_keys(&self, keys: Vec<SasKey>) {
        *hold(&self.keys) = keys;
        self.order_all(|orders| orders.check_tokens = true);
    }

    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    pub fn stall(&self, silent: bool) {
        self.stalled.store(silent, Ordering::Release);
        self.order_all(|_| {});
    }

    pub fn refuse_attach(&self, count: u32, fault: AttachFault) {
        *hold(&self.faults) = (count > 0).then_some((count, fault));
    }

    /// The fault with which the next attach must be answered, if any.
    pub fn next_attach_fault(&self) -> Option<AttachFault> {
        let mut faults = hold(&self.faults);
        let (left, fault) = faults.take()?;
        if left > 1 {
            *faults = Some((left - 1, fault.clone()));
        }
        Some(fault)
    }

    /// Takes a new connection in; its number and what it must listen to.
    pub fn join(&self) -> (u64, Arc<Signal>) {
        let id = self.counters.connections.fetch_add(1, Ordering::Relaxed);
        let signal = Arc::new(Signal::default());
        hold(&self.connections).insert(id, Arc::clone(&signal));
        self.changed();
        (id, signal)
    }

    /// A connection is gone.
    pub fn leave(&self, id: u64) {
        hold(&self.connections).remove(&id);
        self.changed();
    }

    /// Gives every connection an order.
    pub fn order_all(&self, order: impl Fn(&mut Orders)) {
        for signal in hold(&self.connections).values() {
            signal.order(&order);
        }
        self.changed();
    }

    pub fn stop(&self) {
        self.stopping.cancel();
    }
}

/// Ends locks when their time is over.
pub(super) async fn expire_locks(shared: Arc<Shared>) {
    loop {
        let now = Instant::now();
        let mut any = false;
        let mut next: Option<Instant> = None;
        for queue in shared.entities.all_queues() {
            let (expired, deadline) = queue.expire(now);
            any |= expired;
            next = [next, deadline].into_iter().flatten().min();
        }
        if any {
            shared.changed();
        }
        let wait = async {
            match next {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => shared.lock_taken.notified().await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}
