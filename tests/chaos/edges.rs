//! Every edge between two commits: the process ends there, and the next one ends at another edge while it makes good.
//!
//! An Euler tour goes through all ordered pairs of fail points: each point follows each, itself included, and every
//! process finds what the one before has left.

use std::os::unix::process::ExitStatusExt as _;

use longshore::fail_point::{FailPoint, VARIABLE};
use longshore::inbox::Inbox as _;
use longshore::inbox::ledger::Ledger as _;
use longshore::sandbox::sample::{Compression, Format};
use rustix::process::Signal;

use crate::oracle;
use crate::process::{self, Daemon, LIMIT};
use crate::schedule::Load;
use crate::world::World;

/// Several batches for each sink, so that there is a confirmed one in the middle.
const LOAD: Load = Load { files: 1, records: 110, format: Format::JsonLines, compression: Compression::Gzip };

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_at_any_edge_is_made_good_by_one_that_ends_at_any_other() {
    let mut world = World::new("amqp", "none").await;
    let tour = tour(FailPoint::ALL.len());
    for (number, point) in tour.iter().map(|index| FailPoint::ALL[*index]).enumerate() {
        // Everything before the claim needs something that is new.
        world.publish(LOAD).await;
        let (status, log) = start_to_end_at(&world, point).end().await;
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{number}: {point:?} was not reached: {log}");
        world.lose_leases();
    }
    drain(&world).await;
    let problems = oracle::verify(&world).await;
    if !problems.is_empty() {
        panic!("{}\neverything lies in {}", problems.join("\n"), world.folder.keep().display());
    }
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_at_one_edge_is_made_good_by_the_next() {
    for point in FailPoint::ALL {
        let mut world = World::new("amqp", "blob-type").await;
        world.publish(LOAD).await;
        start_to_end_at(&world, point).end().await;
        world.lose_leases();
        drain(&world).await;
        assert_eq!(oracle::verify(&world).await, Vec::<String>::new(), "{point:?}");
    }
}

fn start_to_end_at(world: &World, point: FailPoint) -> Daemon {
    let mut command = process::command(&world.config, &["run"]);
    command.env(VARIABLE, point.name());
    Daemon::start(command, world.folder.path())
}

/// Runs without a fail point until everything is delivered and settled.
async fn drain(world: &World) {
    let daemon = world.start(&["run"]);
    let inbox = world.inbox();
    let drained = async {
        while inbox.summary().await.expect("a summary").notices.finished < world.files {
            inbox.changed().await;
        }
        let subscription = world.sandbox.subscription_path();
        let is_empty = |state: &longshore::sandbox::broker::BrokerState| {
            let queue = state.subscription(&subscription);
            queue.active + queue.locked == 0
        };
        world.sandbox.broker().wait_until(LIMIT, is_empty).await.expect("the subscription is empty");
    };
    tokio::time::timeout(LIMIT, drained).await.unwrap_or_else(|_| panic!("it does not drain: {}", daemon.log()));
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
