//! The people's side of the inbox: what was heard, what became of it, and doing it again. Nothing here stands in the
//! way of the daemon: readers block no writer, and what writes does so in bounded steps.

use async_trait::async_trait;

use super::{DeliveryId, EntityKey, InboxError};
use crate::notice::{EntityName, FeedName, NoticeId, RouteName, SinkName};
use crate::record::BadRecord;

mod audit;
mod gap;
mod parked;
mod quarantine;
mod replay;
mod selector;
pub(crate) mod stamp;
mod story;
mod summary;
mod words;

pub use audit::{Audit, AuditStep, Audited, AuditedAccount, Examination, Finding, StuckLease};
pub use gap::Gap;
pub use parked::{EntityCount, ParkedGroup, ParkedLine, ParkedSelector, ParkedTotals, ReleaseStep};
pub use quarantine::{Aside, AsideId, AsideKind, AsideSelector, Decided, Decision, Quarantine, StoppedLane};
pub use replay::{Pruned, Replay, ReplayPlan, ReplayStep, Retention};
pub use selector::Selector;
pub use story::{Attempt, DeliveryStory, Hold, Kept, NoticeLine, Story};
pub use summary::{
    ALIVE_FOR, DaemonReport, DaemonSummary, Done, NoticeCounts, REPORT_EVERY, RouteSummary, Summary, Waiting,
};
pub use words::{AttemptOutcome, DeliveryState, HeardAs, NoticeState, RunKind};

/// How the inbox is looked at, replayed and kept small.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The selected notices, newest first.
    async fn notices(&self, selector: Selector) -> Result<Vec<NoticeLine>, InboxError>;

    /// Everything about one notice; `None` if there is no such notice (any more).
    async fn story(&self, notice: NoticeId) -> Result<Option<Story>, InboxError>;

    /// The records of a delivery that were set aside, from number `from` on, with their bytes.
    async fn bad_records(&self, delivery: DeliveryId, from: u64, limit: usize) -> Result<Vec<BadRecord>, InboxError>;

    /// How the whole inbox is.
    async fn summary(&self) -> Result<Summary, InboxError>;

    /// What a replay of the selected notices would do. Changes nothing.
    async fn replay_plan(&self, selector: Selector) -> Result<ReplayPlan, InboxError>;

    /// Begins a replay under a run of its own, which goes to the routes `to`, or to all if that is empty. Its notices
    /// are sent by [`Ledger::replay_more`].
    async fn replay_start(&self, selector: Selector, to: Vec<RouteName>) -> Result<Replay, InboxError>;

    /// Sends up to `notices_max` further notices of a replay back to `heard`, oldest first, so that the routes are
    /// planned anew by the configuration in force. Deliveries that they had before keep their history and do not count
    /// for the notice's state any more. A replay of some routes leaves the deliveries of the others as they are.
    async fn replay_more(&self, replay: &mut Replay, notices_max: usize) -> Result<ReplayStep, InboxError>;

    /// Removes finished and skipped notices that are older than the policy says, and then the oldest ones while the
    /// inbox is larger than it says; gives room back to the file system. In bounded steps, each a commit of its own.
    async fn prune(&self, policy: Retention) -> Result<Pruned, InboxError>;

    /// The selected parked records, those that wait the longest first. Only what is in force: a record counts as parked
    /// once the delivery that read it has ended.
    async fn parked(&self, selector: ParkedSelector) -> Result<Vec<ParkedLine>, InboxError>;

    /// The selected parked records by route, sink and missing parents, the largest group first.
    /// [`ParkedSelector::limit`] bounds the groups.
    async fn parked_groups(&self, selector: ParkedSelector) -> Result<Vec<ParkedGroup>, InboxError>;

    /// Lets the selected parked records go without their parents, in one bounded step: those numbered above `after`,
    /// which is 0 at first and then [`ReleaseStep::last`]. [`ParkedSelector::limit`] is not looked at.
    async fn release(&self, selector: ParkedSelector, after: i64) -> Result<ReleaseStep, InboxError>;

    /// For each key, the notice that a feed has stored under it, and its state.
    async fn states_of(
        &self,
        feed: FeedName,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(NoticeId, NoticeState)>>, InboxError>;

    /// For each prefix, the notices that a feed has stored under keys that begin with it, in the order of their keys.
    async fn states_under(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<Vec<Kept>>, InboxError>;

    /// What the files of a feed held beyond what was known, by day, route and sink; the latest days first, up to `limit`.
    async fn gaps(&self, feed: FeedName, limit: usize) -> Result<Vec<Gap>, InboxError>;

    /// The entities of each sink, and how many of their keys are known.
    async fn entities(&self) -> Result<Vec<EntityCount>, InboxError>;

    /// Whether a key is known to a sink.
    async fn entity_known(&self, sink: SinkName, entity: EntityName, key: EntityKey) -> Result<bool, InboxError>;

    /// Registers keys in one commit, as if the sink had confirmed records that carry them; returns how many are new. A
    /// caller hands over a bounded number at a time: sorted ones, a hundred thousand, are quick.
    async fn entities_import(
        &self,
        sink: SinkName,
        entity: EntityName,
        keys: Vec<EntityKey>,
    ) -> Result<u64, InboxError>;

    /// Writes down that a daemon is alive, and how its parts are.
    async fn report(&self, report: DaemonReport) -> Result<(), InboxError>;

    /// Takes down what [`Ledger::report`] wrote, as the daemon ends.
    async fn leave(&self, instance: String) -> Result<(), InboxError>;
}
