//! One round: the schedule as it is carried out.

use std::fmt::Write as _;
use std::time::Duration;

use longshore::inbox::Inbox as _;
use longshore::inbox::ledger::{Ledger as _, Summary};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::common::process::Daemon;
use crate::oracle;
use crate::report::{Figures, kind_of};
use crate::schedule::{Act, Cycle, End, Event, Schedule};
use crate::world::World;

/// An event that does not come within this time is not waited for: a fault may have made it impossible.
const EVENT_LIMIT: Duration = Duration::from_secs(2);
/// A frozen daemon has lost its leases after this time, which is a little more than a lease.
const OVERTAKEN_AFTER: Duration = Duration::from_millis(5_500);
/// Everything must drain within this time after the last fault.
const QUIET_LIMIT: Duration = Duration::from_secs(300);

/// What was done and when.
struct Journal {
    begun: Instant,
    text: String,
}

impl Journal {
    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        let at = self.begun.elapsed().as_secs_f32();
        writeln!(self.text, "  {at:8.3} s  {what}").expect("a string can always be written");
    }
}

/// Carries out `schedule` and holds the end to account.
///
/// # Panics
/// When anything is lost, done twice or left over; the world's folder stays then.
pub async fn run(schedule: &Schedule) -> Figures {
    let mut world = World::new(schedule.transport, schedule.ordering).await;
    let mut journal = Journal { begun: Instant::now(), text: String::new() };
    let mut figures = Figures::default();
    let mut daemon = None;
    for (number, cycle) in schedule.cycles.iter().enumerate() {
        journal.note(format_args!("cycle {number}"));
        let started = daemon.take().unwrap_or_else(|| world.run());
        daemon = carry_out(cycle, started, &mut world, &mut figures, &mut journal).await;
    }
    let problems = quiet(schedule, &mut world, daemon, &mut figures, &mut journal).await;
    if !problems.is_empty() {
        let folder = world.place.keep();
        panic!(
            "LONGSHORE_CHAOS_SEED={} LONGSHORE_CHAOS_CYCLES={} ({}, ordering {}) ends wrongly:\n  {}\n\nwhat was done:\n{}\neverything lies in {}",
            schedule.seed,
            schedule.cycles.len(),
            schedule.transport,
            schedule.ordering,
            problems.join("\n  "),
            journal.text,
            folder.display()
        );
    }
    figures.records = world.published.len() as u64;
    figures.files = world.files;
    figures.others = [
        ("children that came before their parents", world.counts.prices),
        ("calls of the webhook", world.counts.calls),
        ("dropped files", world.counts.dropped),
        ("records filtered", world.filtered),
        ("lines that are no records, set aside", world.bad),
    ]
    .into();
    figures.repeats = world.receiver.ledger().repeats + world.script.repeats();
    figures
}

/// One cycle. Returns a daemon that is still alive.
async fn carry_out(
    cycle: &Cycle,
    daemon: Daemon,
    world: &mut World,
    figures: &mut Figures,
    journal: &mut Journal,
) -> Option<Daemon> {
    for step in &cycle.steps {
        // The schedule's own time, not a wait for something to happen.
        tokio::time::sleep(step.after).await;
        journal.note(format_args!("{:?}", step.act));
        figures.count(kind_of(&step.act));
        match &step.act {
            Act::Publish(load) => world.publish(*load).await,
            Act::Prices { ahead, prices } => world.publish_prices(*ahead, *prices).await,
            Act::Events(events) => world.publish_events(*events).await,
            Act::Freeze(time) => {
                daemon.signal(Signal::STOP);
                tokio::time::sleep(*time).await;
                daemon.signal(Signal::CONT);
            }
            act => world.act(act),
        }
    }
    match cycle.end {
        End::Kill(after) => tokio::time::sleep(after).await,
        End::KillOn(event, after) => {
            let seen = tokio::time::timeout(EVENT_LIMIT, wait_for(event, world)).await.is_ok();
            journal.note(format_args!("{event:?}: {}", if seen { "seen" } else { "not seen" }));
            tokio::time::sleep(after).await;
        }
        End::Overtaken => {
            figures.count(Some("daemon frozen and overtaken"));
            daemon.signal(Signal::STOP);
            journal.note(format_args!("frozen"));
            let second = world.run();
            tokio::time::sleep(OVERTAKEN_AFTER).await;
            daemon.signal(Signal::CONT);
            journal.note(format_args!("both at work"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            second.kill().await;
        }
    }
    daemon.kill().await;
    journal.note(format_args!("killed"));
    figures.kills += 1;
    None
}

async fn wait_for(event: Event, world: &World) {
    let subscription = world.sandbox.subscription_path();
    match event {
        Event::Settled => {
            let before = world.subscription().completed;
            let settled =
                |state: &longshore::sandbox::broker::BrokerState| state.subscription(&subscription).completed > before;
            // Its limit is longer than ours.
            let _ = world.sandbox.broker().wait_until(QUIET_LIMIT, settled).await;
        }
        Event::Fetched => {
            let before = world.sandbox.vendor_state().blob_downloads;
            let _ = world.sandbox.wait_until(QUIET_LIMIT, |state| state.blob_downloads > before).await;
        }
        Event::Asked => world.receiver.asked().await,
        Event::Stored => until(world, |before, now| total(now) > total(before)).await,
        Event::Finished => until(world, |before, now| now.notices.finished > before.notices.finished).await,
    }
}

fn total(summary: &Summary) -> u64 {
    let counts = summary.notices;
    counts.heard + counts.open + counts.finished
}

/// Waits until the inbox differs from what it is now in this way.
async fn until(world: &World, reached: impl Fn(&Summary, &Summary) -> bool) {
    let inbox = world.inbox();
    let before = inbox.summary().await.expect("a summary");
    while !reached(&before, &inbox.summary().await.expect("a summary")) {
        inbox.changed().await;
    }
}

/// All faults stop; waits until everything has drained, and asks the oracle.
async fn quiet(
    schedule: &Schedule,
    world: &mut World,
    daemon: Option<Daemon>,
    figures: &mut Figures,
    journal: &mut Journal,
) -> Vec<String> {
    let begun = Instant::now();
    let daemon = match daemon {
        Some(daemon) => daemon,
        None => world.run(),
    };
    if schedule.is_quiet_alive {
        // It starts into the bad weather, and lives on.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.calm();
    world.keep_promises().await;
    let world = &*world;
    journal.note(format_args!("quiet"));
    let inbox = world.inbox();
    let drained = async {
        loop {
            // What the vendor's side still has is looked at first: it may be in the inbox a moment later.
            let queue = world.subscription();
            let is_heard = queue.active + queue.locked == 0 && world.waiting() == 0;
            let summary = inbox.summary().await.expect("a summary");
            let counts = summary.notices;
            // Woken notices come on top of those that were announced.
            let is_done = counts.finished + counts.quarantined >= world.files;
            let left = counts.heard + counts.open + summary.parked.records;
            if is_heard && is_done && left == 0 {
                return;
            }
            // The vendor's side changes without the inbox, too.
            let _ = tokio::time::timeout(Duration::from_millis(50), inbox.changed()).await;
        }
    };
    let in_time = tokio::time::timeout(QUIET_LIMIT, drained).await.is_ok();
    figures.longest_recovery = begun.elapsed();
    journal.note(format_args!("{}", if in_time { "drained" } else { "not drained" }));
    let mut problems = Vec::new();
    if !in_time {
        let summary = inbox.summary().await.expect("a summary");
        problems.push(format!(
            "not everything has drained within {QUIET_LIMIT:?}: {:?}, {:?}; {:?}",
            summary.notices,
            world.subscription(),
            summary.routes
        ));
    }
    daemon.signal(Signal::TERM);
    let (status, _) = daemon.end().await;
    if !status.success() {
        problems.push(format!("the last daemon ended with {status}"));
    }
    problems.extend(oracle::verify(world).await);
    problems
}
