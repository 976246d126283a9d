//! Every edge between two commits: the process ends there, and the next one ends at another edge while it makes good.
//!
//! An Euler tour goes through all ordered pairs of fail points: each point follows each, itself included, and every
//! process finds what the one before has left.

use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use longshore::fail_point::{FailPoint, VARIABLE};
use longshore::inbox::Inbox as _;
use longshore::inbox::ledger::Ledger as _;
use longshore::sandbox::sample::{Compression, Format};
use rustix::process::Signal;

use crate::common::process::{Daemon, LIMIT};
use crate::oracle;
use crate::schedule::Load;
use crate::world::World;

/// Children in a file of their own: several batches for the sinks with the smallest ones.
const PRICES: u64 = 20;

/// Several batches for each sink, so that there is a confirmed one in the middle.
const LOAD: Load = Load { files: 1, records: 110, format: Format::JsonLines, compression: Compression::Gzip };

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_at_any_edge_is_made_good_by_one_that_ends_at_any_other() {
    let mut world = World::new("amqp", "none").await;
    let tour = tour(FailPoint::ALL.len());
    for (number, point) in tour.iter().map(|index| FailPoint::ALL[*index]).enumerate() {
        let (status, log) = end_at(&mut world, point).await;
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{number}: {point:?} was not reached: {log}");
        world.lose_leases();
    }
    // The parents of the last children.
    world.publish(LOAD).await;
    drain(&world).await;
    let problems = oracle::verify(&world).await;
    if !problems.is_empty() {
        panic!("{}\neverything lies in {}", problems.join("\n"), world.place.keep().display());
    }
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_at_one_edge_is_made_good_by_the_next() {
    for point in FailPoint::ALL {
        let mut world = World::new("amqp", "blob-type").await;
        end_at(&mut world, point).await;
        world.lose_leases();
        world.publish(LOAD).await;
        drain(&world).await;
        assert_eq!(oracle::verify(&world).await, Vec::<String>::new(), "{point:?}");
    }
}

/// Publishes what every point needs, and runs until the process ends at this one.
async fn end_at(world: &mut World, point: FailPoint) -> (ExitStatus, String) {
    // Everything before the claim needs something that is new, and parking needs children whose parents come with the
    // next load.
    world.publish_prices(LOAD.records, PRICES).await;
    if point != FailPoint::Woken {
        world.publish(LOAD).await;
    }
    let mut command = world.command(&["run"]);
    command.env(VARIABLE, point.name());
    let mut end = pin!(Daemon::start(command, world.folder()).end());
    if point != FailPoint::Woken {
        return end.await;
    }
    // Waking needs children that are parked when their parents land.
    tokio::select! {
        ended = &mut end => return ended,
        () = parked(world) => {}
    }
    world.publish(LOAD).await;
    world.publish(LOAD).await;
    end.await
}

/// Waits until something is parked.
async fn parked(world: &World) {
    world.wait("something is parked", |summary| summary.parked.records > 0).await;
}

/// Runs without a fail point until everything is delivered and settled.
async fn drain(world: &World) {
    let daemon = world.run();
    let inbox = world.inbox();
    let drained = async {
        // First all of it is stored: until then a file may be missing from the counts, in whose stead a woken notice is
        // counted.
        let subscription = world.sandbox.subscription_path();
        let is_empty = |state: &longshore::sandbox::broker::BrokerState| {
            let queue = state.subscription(&subscription);
            queue.active + queue.locked == 0
        };
        world.sandbox.broker().wait_until(LIMIT, is_empty).await.expect("the subscription is empty");
        loop {
            let summary = inbox.summary().await.expect("a summary");
            let counts = summary.notices;
            if counts.heard + counts.open + summary.parked.records == 0 && counts.finished >= world.files {
                break;
            }
            // The last notice's end may come before the waker's step.
            let _ = tokio::time::timeout(Duration::from_millis(50), inbox.changed()).await;
        }
    };
    daemon.in_time("it has drained", drained).await;
    daemon.stop().await;
}

/// A closed walk over `count` places that goes from each to each, and to itself, once (Hierholzer).
fn tour(count: usize) -> Vec<usize> {
    let mut next = vec![0; count];
    let (mut path, mut tour) = (vec![0], Vec::new());
    while let Some(&here) = path.last() {
        if next[here] < count {
            path.push(next[here]);
            next[here] += 1;
        } else {
            tour.extend(path.pop());
        }
    }
    tour
}

#[test]
fn the_tour_has_every_ordered_pair_once() {
    let tour = tour(5);
    let mut pairs: Vec<_> = tour.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.sort_unstable();
    let all: Vec<_> = (0..5).flat_map(|first| (0..5).map(move |second| (first, second))).collect();
    assert_eq!(pairs, all);
}
