//! The people's side of the contract: which query or job answers it.

use async_trait::async_trait;

use super::writer::{DURABLE, Nature};
use super::{
    SqliteInbox, audit, daemons, decide, events, keys, parking, prune, quarantine, replay, select, story, summary,
};
use crate::inbox::ledger::{
    Aside, AsideId, AsideSelector, Audit, AuditStep, Audited, DaemonReport, Decided, Decision, EntityCount,
    Examination, Gap, Kept, Ledger, NoticeLine, NoticeState, ParkedGroup, ParkedLine, ParkedSelector, Pruned,
    Quarantine, ReleaseStep, Replay, ReplayPlan, ReplayStep, Retention, RunKind, Selector, StoppedLane, Story, Summary,
};
use crate::inbox::{DeliveryId, EntityKey, InboxError, RunId};
use crate::notice::{EntityName, FeedName, NoticeId, RouteName, SinkName};
use crate::record::BadRecord;

/// What is written often and lost without harm.
const FLEETING: Nature = Nature { durable: false, skip_if_abandoned: false };

#[async_trait]
impl Ledger for SqliteInbox {
    async fn notices(&self, selector: Selector) -> Result<Vec<NoticeLine>, InboxError> {
        self.readers.run(move |connection| select::notices(connection, &selector)).await
    }

    async fn story(&self, notice: NoticeId) -> Result<Option<Story>, InboxError> {
        self.readers.run(move |connection| story::story(connection, notice)).await
    }

    async fn bad_records(&self, delivery: DeliveryId, from: u64, limit: usize) -> Result<Vec<BadRecord>, InboxError> {
        self.readers.run(move |connection| story::bad_records(connection, delivery, from, limit)).await
    }

    async fn summary(&self) -> Result<Summary, InboxError> {
        let (now, path) = (self.clock.now(), self.path.clone());
        self.readers.run(move |connection| summary::summary(connection, &path, now)).await
    }

    async fn replay_plan(&self, selector: Selector) -> Result<ReplayPlan, InboxError> {
        self.readers.run(move |connection| replay::plan(connection, &selector)).await
    }

    async fn replay_start(&self, selector: Selector, to: Vec<RouteName>) -> Result<Replay, InboxError> {
        let now = self.clock.now();
        self.writer.run(DURABLE, move |connection| replay::start(connection, selector, &to, now)).await
    }

    async fn replay_more(&self, replay: &mut Replay, notices_max: usize) -> Result<ReplayStep, InboxError> {
        let from = replay.clone();
        let notices = self.readers.run(move |connection| replay::next(connection, &from, notices_max)).await?;
        let Some(last) = notices.last().copied() else {
            return Ok(ReplayStep { sent: 0, finished: true });
        };
        let (run, now) = (replay.run, self.clock.now());
        let sent = self.writer.run(DURABLE, move |connection| replay::send(connection, run, &notices, now)).await?;
        replay.after = last;
        replay.sent += sent;
        Ok(ReplayStep { sent: sent as u64, finished: false })
    }

    async fn prune(&self, policy: Retention) -> Result<Pruned, InboxError> {
        let now = self.clock.now();
        let mut pruned = Pruned::default();
        if let Some(remember) = self.identity.as_ref().and_then(|identity| identity.remember()) {
            let before = now.minus(remember);
            while self.writer.run(DURABLE, move |connection| events::forget(connection, before)).await? {}
        }
        while self.writer.run(FLEETING, keys::file_all).await? {}
        loop {
            let step = self.writer.run(DURABLE, move |connection| prune::notices(connection, policy, now)).await?;
            pruned.notices += step.notices;
            pruned.still_too_large = step.too_large;
            if step.is_last {
                break;
            }
        }
        loop {
            let step = self.writer.run(DURABLE, prune::shrink).await?;
            pruned.bytes += step.bytes;
            if step.is_last {
                return Ok(pruned);
            }
        }
    }

    async fn parked(&self, selector: ParkedSelector) -> Result<Vec<ParkedLine>, InboxError> {
        self.readers.run(move |connection| parking::lines(connection, &selector)).await
    }

    async fn parked_groups(&self, selector: ParkedSelector) -> Result<Vec<ParkedGroup>, InboxError> {
        self.readers.run(move |connection| parking::groups(connection, &selector)).await
    }

    async fn release(&self, selector: ParkedSelector, after: i64) -> Result<ReleaseStep, InboxError> {
        let now = self.clock.now();
        self.writer.run(DURABLE, move |connection| parking::release(connection, &selector, after, now)).await
    }

    async fn states_of(
        &self,
        feed: FeedName,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(NoticeId, NoticeState)>>, InboxError> {
        self.readers.run(move |connection| select::states_of(connection, &feed, &keys)).await
    }

    async fn states_under(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<Vec<Kept>>, InboxError> {
        self.readers.run(move |connection| select::states_under(connection, &feed, &prefixes)).await
    }

    async fn gaps(&self, feed: FeedName, limit: usize) -> Result<Vec<Gap>, InboxError> {
        self.readers.run(move |connection| events::gaps(connection, &feed, limit)).await
    }

    async fn entities(&self) -> Result<Vec<EntityCount>, InboxError> {
        self.readers.run(parking::counts).await
    }

    async fn entity_known(&self, sink: SinkName, entity: EntityName, key: EntityKey) -> Result<bool, InboxError> {
        self.readers.run(move |connection| parking::entity_known(connection, &sink, &entity, key)).await
    }

    async fn entities_import(
        &self,
        sink: SinkName,
        entity: EntityName,
        keys: Vec<EntityKey>,
    ) -> Result<u64, InboxError> {
        self.writer.run(DURABLE, move |connection| parking::import(connection, &sink, &entity, &keys)).await
    }

    async fn report(&self, report: DaemonReport) -> Result<(), InboxError> {
        let time = self.clock.read();
        self.writer.run(FLEETING, move |connection| daemons::report(connection, &report, time)).await
    }

    async fn leave(&self, instance: String) -> Result<(), InboxError> {
        self.writer.run(FLEETING, move |connection| daemons::leave(connection, &instance)).await
    }
}

#[async_trait]
impl Quarantine for SqliteInbox {
    async fn set_aside(
        &self,
        selector: AsideSelector,
        after: Option<AsideId>,
        limit: usize,
        with_bytes: bool,
    ) -> Result<Vec<Aside>, InboxError> {
        let page = move |connection: &_| quarantine::page(connection, &selector, after, limit, with_bytes);
        self.readers.run(page).await
    }

    async fn body(&self, notice: NoticeId) -> Result<Option<Vec<u8>>, InboxError> {
        self.readers.run(move |connection| quarantine::body(connection, notice)).await
    }

    async fn decide(&self, kind: RunKind, selector: AsideSelector) -> Result<RunId, InboxError> {
        let now = self.clock.now();
        self.writer.run(DURABLE, move |connection| decide::begin(connection, kind, &selector, now)).await
    }

    async fn decide_on(&self, run: RunId, decision: Decision, these: Vec<AsideId>) -> Result<Decided, InboxError> {
        let now = self.clock.now();
        self.writer.run(DURABLE, move |connection| decide::on(connection, run, decision, &these, now)).await
    }

    async fn stopped_lanes(&self, limit: usize) -> Result<Vec<StoppedLane>, InboxError> {
        self.readers.run(move |connection| quarantine::stopped_lanes(connection, limit)).await
    }
}

#[async_trait]
impl Audit for SqliteInbox {
    async fn audit(&self, after: Option<NoticeId>, notices_max: usize) -> Result<AuditStep, InboxError> {
        self.readers.run(move |connection| audit::step(connection, after, notices_max)).await
    }

    async fn examine(&self) -> Result<Examination, InboxError> {
        let now = self.clock.now();
        self.readers.run(move |connection| audit::examine(connection, now)).await
    }

    async fn remember(&self, audited: Audited) -> Result<(), InboxError> {
        self.writer.run(FLEETING, move |connection| audit::remember(connection, &audited)).await
    }
}
