//! What is wrong with the feed at present: several things can be at once, and each ends by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ops::{Condition, Health};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The address cannot be had.
    Address,
    /// The certificate or its key.
    Certificate,
    /// The secrets of the sender.
    Secrets,
    /// The inbox does not store.
    Inbox,
}

/// The feed's condition.
pub(super) struct Troubles {
    part: String,
    health: Arc<Health>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    note: Option<String>,
    troubles: BTreeMap<Trouble, String>,
}

impl Troubles {
    pub(super) fn new(part: String, health: Arc<Health>) -> Self {
        Self { part, health, state: Mutex::default() }
    }

    /// The feed's name among the parts.
    pub(super) fn part(&self) -> String {
        self.part.clone()
    }

    /// What it says while nothing is wrong.
    pub(super) fn set_note(&self, note: String) {
        self.change(|state| state.note = Some(note));
    }

    pub(super) fn set(&self, trouble: Trouble, reason: String) {
        let is_news = self.change(|state| state.troubles.insert(trouble, reason.clone()).as_ref() != Some(&reason));
        if is_news {
            tracing::warn!(reason, "trouble");
        }
    }

    pub(super) fn clear(&self, trouble: Trouble) {
        if self.change(|state| state.troubles.remove(&trouble).is_some()) {
            tracing::info!(?trouble, "works again");
        }
    }

    /// Sets or clears `trouble`, by what was found.
    pub(super) fn note(&self, trouble: Trouble, found: Result<(), String>) {
        match found {
            Ok(()) => self.clear(trouble),
            Err(reason) => self.set(trouble, reason),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        let reasons: Vec<&str> = state.troubles.values().map(String::as_str).collect();
        let condition = match &state.note {
            _ if !reasons.is_empty() => Condition::Degraded { reason: reasons.join("; ") },
            Some(note) => Condition::Good { note: note.clone() },
            None => Condition::Starting,
        };
        self.health.set(&self.part, condition);
        changed
    }
}
