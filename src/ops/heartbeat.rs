//! Signs of life: each loop of the daemon beats, and a loop that has not beaten for too long is named.
//!
//! The systemd watchdog is fed from here, so that a daemon which stands still is restarted, however healthy its
//! process looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The loops of the daemon and when each last beat.
#[derive(Debug)]
pub struct Heartbeats {
    start: Instant,
    loops: Mutex<BTreeMap<String, Watched>>,
}

#[derive(Debug)]
struct Watched {
    last_ms: Arc<AtomicU64>,
    silence_max: Duration,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self { start: Instant::now(), loops: Mutex::default() }
    }
}

impl Heartbeats {
    /// Watches a loop that promises to beat at least every `silence_max`. A second registration of a name takes the
    /// place of the first.
    pub fn register(self: &Arc<Self>, name: &str, silence_max: Duration) -> Heartbeat {
        let last_ms = Arc::new(AtomicU64::new(self.elapsed_ms()));
        let watched = Watched { last_ms: Arc::clone(&last_ms), silence_max };
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), watched);
        Heartbeat { heartbeats: Arc::clone(self), name: name.to_owned(), last_ms }
    }

    /// The loops that have been silent for longer than they promised.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        let now_ms = self.elapsed_ms();
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops
            .iter()
            .filter(|(_, watched)| {
                let silence_ms = now_ms.saturating_sub(watched.last_ms.load(Ordering::Relaxed));
                u128::from(silence_ms) > watched.silence_max.as_millis()
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One loop's sign of life; the loop is no longer watched once this is dropped.
#[derive(Debug)]
pub struct Heartbeat {
    heartbeats: Arc<Heartbeats>,
    name: String,
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Says that the loop is alive. Cheap enough for every turn of a loop.
    pub fn beat(&self) {
        self.last_ms.store(self.heartbeats.elapsed_ms(), Ordering::Relaxed);
    }

    /// Beats every `beat` while `work` waits for something that may rightly take long and ends by itself.
    pub async fn during<T>(&self, beat: Duration, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut beats = tokio::time::interval(beat);
        loop {
            tokio::select! {
                done = work.as_mut() => return done,
                _ = beats.tick() => self.beat(),
            }
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let mut loops = self.heartbeats.loops.lock().unwrap_or_else(PoisonError::into_inner);
        if loops.get(&self.name).is_some_and(|watched| Arc::ptr_eq(&watched.last_ms, &self.last_ms)) {
            loops.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_named_until_it_beats_again_or_ends() {
        let heartbeats = Arc::new(Heartbeats::default());
        let loops = heartbeats.register("workers", Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(heartbeats.silent().is_empty());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(heartbeats.silent(), ["workers"]);
        loops.beat();
        assert!(heartbeats.silent().is_empty());
        tokio::time::advance(Duration::from_secs(11)).await;
        drop(loops);
        assert!(heartbeats.silent().is_empty());
    }
}
