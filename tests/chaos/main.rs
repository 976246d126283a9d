//! Chaos: the real binary against the sandbox, with a network of ours between them, killed again and again while
//! everything goes wrong that a seeded schedule can think of. Then a quiet phase, in which all of it must drain.
//!
//! ```text
//!             ┌─ proxy ── broker          ┐
//! longshore ──┼─ proxy ── blob store      ├─ sandbox      oracle: what was published
//!     │       ├─ proxy ── token service   ┘                   ║ each record once
//!     │       └─ webhook's caller, dropped files
//!     └── directory, sqlite, http (a ledger), command (a ledger)
//! ```
//!
//! `LONGSHORE_CHAOS_CYCLES=1000 cargo test --test chaos` goes on for longer; `LONGSHORE_CHAOS_SEED` makes the same
//! decisions again. A failure prints its seed, what was done and when, and where everything lies.

#![cfg(feature = "sandbox")]

mod command;
#[path = "../common/mod.rs"]
mod common;
mod configuration;
mod edges;
mod oracle;
mod proxy;
mod receiver;
mod report;
mod round;
mod schedule;
mod senders;
mod world;

use report::Figures;
use schedule::Schedule;

/// So many cycles share one world and one quiet phase: a failure is told from among few decisions.
const ROUND_CYCLES: u32 = 25;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_each_record_is_delivered_once() {
    let cycles =
        number("LONGSHORE_CHAOS_CYCLES").map_or(ROUND_CYCLES, |cycles| u32::try_from(cycles).expect("a count"));
    let seed = number("LONGSHORE_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut figures = Figures::default();
    for (round, first) in (0..cycles).step_by(ROUND_CYCLES as usize).enumerate() {
        // A round's own number replays it alone.
        let schedule = Schedule::new(seed.wrapping_add(round as u64), ROUND_CYCLES.min(cycles - first));
        figures.add(round::run(&schedule).await);
    }
    figures.print();
}
