//! A clock that is set by a day, either way.

use std::time::Duration;

use super::orphans::{PARK_FOR, orphan};
use super::{LEASE, Subject, account, done};
use crate::inbox::ledger::{NoticeState, Retention};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// As long as anything takes that should take `wait`, whatever the clock was set to.
async fn pass(subject: &Subject, wait: Duration) {
    // In steps, as a daemon looks at the time: so that half speed is half.
    let steps = (2 * wait).as_secs();
    for _ in 0..steps {
        subject.clock.advance(Duration::from_secs(1));
        subject.now();
    }
}

pub(crate) async fn a_clock_that_is_set_back_keeps_no_lease_and_no_retry_waiting(subject: Subject) {
    subject.ready("of a dead worker", "A", 0).await;
    subject.ready("fails", "B", 1).await;
    let (held, failed) = (subject.must_claim().await, subject.must_claim().await);
    subject.finish(&failed, subject.retry(LEASE)).await;
    subject.clock.set(subject.now().minus(DAY));
    assert!(subject.claim().await.is_none());
    pass(&subject, LEASE).await;
    let (one, two) = (subject.must_claim().await, subject.must_claim().await);
    assert_eq!((one.key.delivery, one.lost), (held.key.delivery, 1));
    assert_eq!(two.key.delivery, failed.key.delivery);
}

pub(crate) async fn a_clock_that_is_set_forward_ends_no_lease_no_wait_and_no_retention(subject: Subject) {
    let policy = Retention { age: DAY / 2, bytes: None, keys: DAY / 2 };
    let finished = subject.ready("finished", "A", 0).await;
    subject.work_off(done(account(1, 0))).await;
    let child = subject.parked("child", 1, vec![orphan(1, &[7])]).await;
    subject.tend().await;
    subject.ready("held", "C", 2).await;
    let held = subject.must_claim().await;
    subject.ready("fails", "D", 3).await;
    let failed = subject.must_claim().await;
    subject.finish(&failed, subject.retry(LEASE)).await;

    let before = subject.now();
    subject.clock.set(before.plus(PARK_FOR.max(DAY)));
    assert_eq!(subject.now(), before);
    assert!(subject.claim().await.is_none(), "the lease holds, and the retry is not due");
    assert_eq!(subject.tend().await.expired, 0, "the parent has the time that it was given");
    assert_eq!(subject.ledger.prune(policy).await.unwrap().notices, 0);
    assert_eq!(subject.state(finished).await, NoticeState::Finished);
    subject.inbox.renew(held.key, subject.now().plus(LEASE)).await.unwrap();

    pass(&subject, PARK_FOR.max(DAY)).await;
    assert_eq!(subject.now(), crate::clock::Clock::now(&subject.clock), "it is caught up with");
    assert_eq!(subject.tend().await.expired, 1);
    assert_eq!(subject.delivery(child).await.progress.counts.quarantined, 1);
    assert_eq!(subject.ledger.prune(policy).await.unwrap().notices, 1);
}
