//! One queue of messages: a subscription, a plain queue, or the dead letters of either.
//!
//! 1. A message is in exactly one place: ready, locked, deferred, or gone.
//! 2. A lock ends by settlement or at its deadline, whichever the queue's mutex sees first; the other finds it lost.
//! 3. The mutex is held for one batch and never over an await.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::envelope::{Envelope, MessageState};
use super::lock_token::{LockId, LockTokens};
use super::message::Content;
use super::state::QueueState;
use crate::clock::UnixMs;

/// A queue's name as it is written to users, such as `t1/Subscriptions/s1`, and what holds for it.
#[derive(Debug)]
pub(super) struct Queue {
    pub path: Arc<str>,
    pub lock_tokens: LockTokens,
    pub lock_duration: Duration,
    delivery_count_max: u32,
    pub dead_letters: Option<Arc<Queue>>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_sequence: i64,
    last_lock: LockId,
    ready: BTreeMap<i64, Entry>,
    locked: BTreeMap<LockId, Lock>,
    deadlines: BTreeSet<(Instant, LockId)>,
    deferred: BTreeMap<i64, Entry>,
    /// How many of the next deliveries leave a copy behind.
    duplicates: u32,
    counts: Counts,
    waiting: Vec<(u64, Arc<Notify>)>,
}

#[derive(Debug, Default)]
struct Counts {
    published: u64,
    delivered: u64,
    completed: u64,
    abandoned: u64,
    locks_expired: u64,
    locks_lost: u64,
}

#[derive(Debug)]
struct Entry {
    sequence: i64,
    enqueued: UnixMs,
    delivery_count: u32,
    content: Arc<Content>,
    source: Option<Arc<str>>,
    deferred: bool,
}

#[derive(Debug)]
struct Lock {
    entry: Entry,
    deadline: Instant,
}

/// What a receiver decided about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    Complete,
    /// Give back; with `count` the delivery counts as failed.
    Return {
        count: bool,
    },
    Defer,
    DeadLetter {
        reason: String,
        description: String,
    },
}

/// A message under a lock, ready to be sent.
#[derive(Debug)]
pub(super) struct Delivery {
    pub lock: LockId,
    pub envelope: Envelope,
}

/// The present by both clocks: `tokio`'s for deadlines, the wall clock for what is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub instant: Instant,
    pub wall: UnixMs,
}

impl Entry {
    fn envelope(&self, locked_until: Option<UnixMs>) -> Envelope {
        Envelope {
            content: Arc::clone(&self.content),
            sequence: self.sequence,
            enqueued: self.enqueued,
            delivery_count: self.delivery_count,
            locked_until,
            state: if self.deferred { MessageState::Deferred } else { MessageState::Active },
            dead_letter_source: self.source.clone(),
        }
    }
}

impl Queue {
    pub fn new(path: Arc<str>, lock_duration: Duration, delivery_count_max: u32, dead: Option<Arc<Self>>) -> Self {
        let inner = Mutex::new(Inner::default());
        Self { path, lock_tokens: LockTokens::random(), lock_duration, delivery_count_max, dead_letters: dead, inner }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts messages at the end of the queue and wakes whoever waits for them.
    pub fn publish(&self, contents: impl IntoIterator<Item = Arc<Content>>, now: UnixMs) {
        let mut inner = self.inner();
        for content in contents {
            inner.counts.published += 1;
            inner.push(content, now, None);
        }
        inner.wake();
    }

    fn bury(&self, entry: Entry, source: &Arc<str>, reason: &str, description: &str) {
        let mut properties = vec![("DeadLetterReason", reason), ("DeadLetterErrorDescription", description)];
        properties.retain(|(_, text)| !text.is_empty());
        // A message whose properties cannot be read is kept as it is rather than lost.
        let content = entry.content.with_properties(&properties).map_or(entry.content, Arc::new);
        let mut inner = self.inner();
        inner.push(content, entry.enqueued, Some(Arc::clone(source)));
        inner.wake();
    }

    /// Locks ready messages, oldest first, until there are `count` or they reach `bytes`.
    pub fn lock(&self, count: usize, bytes: usize, now: Moment, out: &mut Vec<Delivery>) {
        let mut inner = self.inner();
        let deadline = now.instant + self.lock_duration;
        let until = now.wall.plus(self.lock_duration);
        let mut taken_bytes = 0;
        for _ in 0..count {
            let Some(entry) = inner.pop(&mut taken_bytes, bytes) else { break };
            inner.last_lock += 1;
            let lock = inner.last_lock;
            out.push(Delivery { lock, envelope: entry.envelope(Some(until)) });
            inner.deadlines.insert((deadline, lock));
            inner.locked.insert(lock, Lock { entry, deadline });
        }
    }

    /// Takes ready messages away for good.
    pub fn take(&self, count: usize, bytes: usize, out: &mut Vec<Delivery>) {
        let mut inner = self.inner();
        let mut taken_bytes = 0;
        for _ in 0..count {
            let Some(entry) = inner.pop(&mut taken_bytes, bytes) else { break };
            inner.last_lock += 1;
            inner.counts.completed += 1;
            out.push(Delivery { lock: inner.last_lock, envelope: entry.envelope(None) });
        }
    }

    /// Settles locks, and tells for each in turn whether it was still held.
    pub fn settle(
        &self,
        locks: impl IntoIterator<Item = LockId>,
        settlement: &Settlement,
        now: Instant,
        mut held: impl FnMut(bool),
    ) {
        let mut inner = self.inner();
        let mut returned = false;
        for id in locks {
            let Some(lock) = inner.unlock(id, now) else {
                inner.counts.locks_lost += 1;
                held(false);
                continue;
            };
            let mut entry = lock.entry;
            match settlement {
                Settlement::Complete => inner.counts.completed += 1,
                Settlement::Return { count } => {
                    inner.counts.abandoned += u64::from(*count);
                    entry.delivery_count += u32::from(*count);
                    self.put_back(&mut inner, entry);
                    returned = true;
                }
                Settlement::Defer => {
                    entry.delivery_count += 1;
                    entry.deferred = true;
                    inner.deferred.insert(entry.sequence, entry);
                }
                Settlement::DeadLetter { reason, description } => match &self.dead_letters {
                    Some(dead) => dead.bury(entry, &self.path, reason, description),
                    None => self.put_back(&mut inner, entry),
                },
            }
            held(true);
        }
        if returned {
            inner.wake();
        }
    }

    /// A message comes back from a lock: to where it was, or to the dead letters when it came back too often.
    fn put_back(&self, inner: &mut Inner, entry: Entry) {
        match &self.dead_letters {
            Some(dead) if entry.delivery_count >= self.delivery_count_max => {
                let text = format!("message could not be consumed after {} delivery attempts", entry.delivery_count);
                dead.bury(entry, &self.path, "MaxDeliveryCountExceeded", &text);
            }
            _ if entry.deferred => {
                inner.deferred.insert(entry.sequence, entry);
            }
            _ => {
                inner.ready.insert(entry.sequence, entry);
            }
        }
    }

    /// Extends a lock; `None` if it is lost.
    pub fn renew(&self, id: LockId, now: Moment) -> Option<UnixMs> {
        let mut inner = self.inner();
        let mut lock = inner.unlock(id, now.instant)?;
        lock.deadline = now.instant + self.lock_duration;
        inner.deadlines.insert((lock.deadline, id));
        inner.locked.insert(id, lock);
        Some(now.wall.plus(self.lock_duration))
    }

    /// Up to `count` messages from sequence number `from` on, ready or deferred or locked, without locking them.
    pub fn peek(&self, from: i64, count: usize) -> Vec<Envelope> {
        let inner = self.inner();
        let mut found: Vec<Envelope> = Vec::new();
        found.extend(inner.ready.range(from..).take(count).map(|(_, entry)| entry.envelope(None)));
        found.extend(inner.deferred.range(from..).take(count).map(|(_, entry)| entry.envelope(None)));
        let locked = inner.locked.values().map(|lock| &lock.entry).filter(|entry| entry.sequence >= from);
        found.extend(locked.map(|entry| entry.envelope(None)));
        found.sort_by_key(|envelope| envelope.sequence);
        found.truncate(count);
        found
    }

    /// Locks deferred messages by sequence number; those that are not deferred are left out.
    pub fn lock_deferred(&self, sequences: &[i64], now: Moment) -> Vec<Delivery> {
        let mut inner = self.inner();
        let deadline = now.instant + self.lock_duration;
        let until = now.wall.plus(self.lock_duration);
        let mut out = Vec::new();
        for sequence in sequences {
            let Some(entry) = inner.deferred.remove(sequence) else { continue };
            inner.last_lock += 1;
            let lock = inner.last_lock;
            out.push(Delivery { lock, envelope: entry.envelope(Some(until)) });
            inner.deadlines.insert((deadline, lock));
            inner.locked.insert(lock, Lock { entry, deadline });
        }
        out
    }

    /// Ends the locks whose time is over; returns whether there were any, and when the next one ends.
    pub fn expire(&self, now: Instant) -> (bool, Option<Instant>) {
        let mut inner = self.inner();
        let mut any = false;
        while let Some(&(deadline, id)) = inner.deadlines.first() {
            if deadline > now {
                if any {
                    inner.wake();
                }
                return (any, Some(deadline));
            }
            inner.deadlines.remove(&(deadline, id));
            if let Some(mut lock) = inner.locked.remove(&id) {
                inner.counts.locks_expired += 1;
                lock.entry.delivery_count += 1;
                self.put_back(&mut inner, lock.entry);
                any = true;
            }
        }
        if any {
            inner.wake();
        }
        (any, None)
    }

    /// `notify` is told whenever messages become ready, until [`Queue::forget`].
    pub fn watch(&self, connection: u64, notify: &Arc<Notify>) {
        let mut inner = self.inner();
        if !inner.waiting.iter().any(|(id, _)| *id == connection) {
            inner.waiting.push((connection, Arc::clone(notify)));
        }
    }

    /// Ends [`Queue::watch`].
    pub fn forget(&self, connection: u64) {
        self.inner().waiting.retain(|(id, _)| *id != connection);
    }

    /// The next `count` deliveries are made twice, under the same message id and two sequence numbers.
    pub fn duplicate_next(&self, count: u32) {
        let mut inner = self.inner();
        inner.duplicates = inner.duplicates.saturating_add(count);
    }

    /// The queue's counts.
    pub fn state(&self) -> QueueState {
        let dead_lettered = self.dead_letters.as_ref().map_or(0, |dead| {
            let dead = dead.inner();
            dead.ready.len() + dead.locked.len() + dead.deferred.len()
        });
        let inner = self.inner();
        QueueState {
            active: inner.ready.len(),
            locked: inner.locked.len(),
            deferred: inner.deferred.len(),
            dead_lettered,
            published: inner.counts.published,
            delivered: inner.counts.delivered,
            completed: inner.counts.completed,
            abandoned: inner.counts.abandoned,
            locks_expired: inner.counts.locks_expired,
            locks_lost: inner.counts.locks_lost,
        }
    }
}

impl Inner {
    fn push(&mut self, content: Arc<Content>, enqueued: UnixMs, source: Option<Arc<str>>) {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let entry = Entry { sequence, enqueued, delivery_count: 0, content, source, deferred: false };
        self.ready.insert(sequence, entry);
    }

    fn pop(&mut self, taken_bytes: &mut usize, bytes_max: usize) -> Option<Entry> {
        if *taken_bytes >= bytes_max {
            return None;
        }
        let (_, entry) = self.ready.pop_first()?;
        *taken_bytes += entry.content.len();
        self.counts.delivered += 1;
        if self.duplicates > 0 {
            self.duplicates -= 1;
            self.push(Arc::clone(&entry.content), entry.enqueued, entry.source.clone());
        }
        Some(entry)
    }

    fn unlock(&mut self, id: LockId, now: Instant) -> Option<Lock> {
        // A lock whose time is over is lost, even if nobody has come to put the message back yet.
        if self.locked.get(&id)?.deadline <= now {
            return None;
        }
        let lock = self.locked.remove(&id)?;
        self.deadlines.remove(&(lock.deadline, id));
        Some(lock)
    }

    fn wake(&self) {
        for (_, notify) in &self.waiting {
            notify.notify_one();
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
