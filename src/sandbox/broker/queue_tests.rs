use super::*;
use crate::sandbox::broker::message::OutgoingMessage;

const LOCK: Duration = Duration::from_secs(30);

fn queue() -> Queue {
    let dead = Arc::new(Queue::new("t/Subscriptions/s/$DeadLetterQueue".into(), LOCK, u32::MAX, None));
    Queue::new("t/Subscriptions/s".into(), LOCK, 2, Some(dead))
}

fn publish(queue: &Queue, ids: &[&str]) {
    let contents = ids.iter().map(|id| Arc::new(OutgoingMessage::json(*id, "{}").into_content().unwrap()));
    queue.publish(contents, UnixMs(0));
}

fn lock_all(queue: &Queue, now: Instant) -> Vec<Delivery> {
    let mut out = Vec::new();
    queue.lock(100, usize::MAX, Moment { instant: now, wall: UnixMs(0) }, &mut out);
    out
}

fn settle(queue: &Queue, lock: LockId, settlement: Settlement, now: Instant) -> bool {
    let mut result = false;
    queue.settle([lock], &settlement, now, |held| result = held);
    result
}

fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().filter_map(|delivery| delivery.envelope.content.message_id()).collect()
}

#[test]
fn a_message_given_back_comes_before_the_younger_ones() {
    let (queue, now) = (queue(), Instant::now());
    publish(&queue, &["a", "b"]);
    let first = lock_all(&queue, now);
    publish(&queue, &["c"]);
    assert!(settle(&queue, first[1].lock, Settlement::Return { count: false }, now));
    assert!(settle(&queue, first[0].lock, Settlement::Return { count: true }, now));
    let again = lock_all(&queue, now);
    assert_eq!(ids(&again), ["a", "b", "c"]);
    let counts: Vec<_> = again.iter().map(|delivery| delivery.envelope.delivery_count).collect();
    assert_eq!(counts, [1, 0, 0]);
}

#[test]
fn a_lock_that_ran_out_is_lost_and_its_message_comes_back_counted() {
    let (queue, now) = (queue(), Instant::now());
    publish(&queue, &["a"]);
    let lock = lock_all(&queue, now)[0].lock;
    let later = now + LOCK;
    assert!(!settle(&queue, lock, Settlement::Complete, later));
    assert_eq!(queue.expire(later), (true, None));
    assert_eq!(lock_all(&queue, later)[0].envelope.delivery_count, 1);
    assert_eq!((queue.state().locks_expired, queue.state().locks_lost, queue.state().completed), (1, 1, 0));
}

#[test]
fn a_renewed_lock_lasts_longer() {
    let (queue, now) = (queue(), Instant::now());
    publish(&queue, &["a"]);
    let lock = lock_all(&queue, now)[0].lock;
    let later = Moment { instant: now + LOCK / 2, wall: UnixMs(15_000) };
    assert_eq!(queue.renew(lock, later), Some(UnixMs(45_000)));
    assert_eq!(queue.expire(now + LOCK), (false, Some(later.instant + LOCK)));
    assert!(settle(&queue, lock, Settlement::Complete, now + LOCK));
}

#[test]
fn a_message_that_comes_back_too_often_is_buried_with_the_reason() {
    let (queue, now) = (queue(), Instant::now());
    publish(&queue, &["a"]);
    for _ in 0..2 {
        let lock = lock_all(&queue, now)[0].lock;
        assert!(settle(&queue, lock, Settlement::Return { count: true }, now));
    }
    assert!(lock_all(&queue, now).is_empty());
    assert_eq!(queue.state().dead_lettered, 1);
    let dead = lock_all(queue.dead_letters.as_ref().unwrap(), now);
    assert_eq!(dead[0].envelope.dead_letter_source.as_deref(), Some("t/Subscriptions/s"));
    let text = String::from_utf8_lossy(dead[0].envelope.content.tail()).into_owned();
    assert!(text.contains("MaxDeliveryCountExceeded"));
}

#[test]
fn a_deferred_message_is_had_by_its_number_only() {
    let (queue, now) = (queue(), Instant::now());
    publish(&queue, &["a"]);
    let first = lock_all(&queue, now);
    assert!(settle(&queue, first[0].lock, Settlement::Defer, now));
    assert!(lock_all(&queue, now).is_empty());
    let moment = Moment { instant: now, wall: UnixMs(0) };
    let again = queue.lock_deferred(&[first[0].envelope.sequence, 99], moment);
    assert_eq!(ids(&again), ["a"]);
    assert!(settle(&queue, again[0].lock, Settlement::Complete, now));
}

#[test]
fn a_duplicate_has_the_same_id_and_a_sequence_number_of_its_own() {
    let (queue, now) = (queue(), Instant::now());
    publish(&queue, &["a", "b"]);
    queue.duplicate_next(1);
    let all = lock_all(&queue, now);
    assert_eq!(ids(&all), ["a", "b", "a"]);
    assert_ne!(all[0].envelope.sequence, all[2].envelope.sequence);
}
