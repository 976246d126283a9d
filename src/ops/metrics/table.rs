//! The table of all metrics. What is registered, its help text, its documentation and the list in `deploy/metrics.md`
//! follow from it.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::labels::{FeedLabels, FeedOutcomeLabels, OutcomeLabels, RefusedLabels, StateLabel, WebhookLabels};

/// Groups of metrics that are registered together. A line is what a field is called and what kind it is (and how it is
/// made, if not by default), its name and its help text. The encoder appends `_total` to the name of a counter.
macro_rules! groups {
    ($($(#[$about:meta])+ $group:ident {
        $($(#[$more:meta])* $field:ident: $kind:ty $(= $made:expr)?, $name:literal, $help:literal;)+
    })+) => { $(
        $(#[$about])+
        pub struct $group { $(
            #[doc = concat!($help, ".")]
            $(#[$more])*
            pub $field: $kind,
        )+ }

        impl $group {
            /// Registers them.
            pub fn register(registry: &mut Registry) -> Self {
                Self { $($field: add(registry, $name, $help, made!($($made)?)),)+ }
            }

            /// Makes a series of each, so that all of them are in the text.
            #[cfg(test)]
            pub(super) fn sample(&self) {
                $(super::tests::Sample::sample(&self.$field);)+
            }
        }
    )+ };
}

macro_rules! made {
    () => {
        Default::default()
    };
    ($made:expr) => {
        $made
    };
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Gauges that are computed when they are read, each with its name and its help text.
macro_rules! computed {
    ($(#[$about:meta])+ $gauges:ident { $($gauge:ident, $name:literal, $help:literal;)+ }) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $gauges { $(
            #[doc = concat!($help, ".")]
            $gauge,
        )+ }

        impl $gauges {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$gauge),+];

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$gauge => $name,)+ }
            }

            pub(super) fn help(self) -> &'static str {
                match self { $(Self::$gauge => $help,)+ }
            }
        }
    };
}

type Number = Gauge<u64, AtomicU64>;

/// Times of answers, in seconds: from what an fsync takes to what a sender waits.
fn answer_seconds() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

groups! {
    /// What the parts of the daemon count as they work.
    Counted {
        notices_stored: Family<FeedLabels, Counter>,
            "longshore_notices_stored", "Notices stored for the first time";
        notices_duplicate: Family<FeedLabels, Counter>,
            "longshore_notices_duplicate", "Notices that arrived again";
        notices_settled: Family<FeedLabels, Counter>,
            "longshore_notices_settled", "Notices settled with their source";
        feed_connections: Family<FeedLabels, Counter>,
            "longshore_feed_connections", "Times that a feed connected";
        /// Looks at a file that ended: `taken`, `duplicate`, `quarantined`, `incomplete`, `changed`.
        drop_files: Family<FeedOutcomeLabels, Counter>,
            "longshore_drop_files", "Dropped files, by outcome";
        /// The last one of the same blob type.
        column_drifts: Family<FeedLabels, Counter>,
            "longshore_column_drifts", "CSV files with other columns than the last one";
        feed_lists: Family<FeedLabels, Counter>,
            "longshore_feed_lists", "Pages of listings that a feed asked for";
        webhook_requests: Family<WebhookLabels, Counter>,
            "longshore_webhook_requests", "Requests to a webhook, by how they ended";
        webhook_answer_seconds: Family<FeedLabels, Histogram, fn() -> Histogram>
            = Family::new_with_constructor(answer_seconds as fn() -> Histogram),
            "longshore_webhook_answer_seconds", "Seconds from a request's headers to its durable 200";
        token_refreshes: Counter,
            "longshore_token_refreshes", "Successful token refreshes";
        token_refresh_failures: Counter,
            "longshore_token_refresh_failures", "Failed token refreshes";
        /// `done`, `retry`, `quarantined`, `released`.
        deliveries: Family<OutcomeLabels, Counter>,
            "longshore_deliveries", "Deliveries that ended, by outcome";
        /// `read`, `delivered`, `filtered`, `parked`, `quarantined`. A parked record counts once as read and as parked,
        /// and once more under its outcome when it has been woken.
        records: Family<OutcomeLabels, Counter>,
            "longshore_records", "Records, by outcome";
        /// They are untrusted input.
        refused_messages: Family<RefusedLabels, Counter>,
            "longshore_refused_messages",
            "Messages that were not decoded and were set aside, by what is wrong with them";
        /// They are untrusted input.
        refused_addresses: Family<RefusedLabels, Counter>,
            "longshore_refused_addresses", "Addresses in notices that were refused, by the rule that they break";
        records_parked: Counter,
            "longshore_records_parked", "Records parked until their parent lands";
        /// By their parent, their deadline or by hand.
        records_woken: Counter,
            "longshore_records_woken", "Parked records let go again";
        /// `known` and `missing` (once a file is done), `nameless`.
        records_reconciled: Family<FeedOutcomeLabels, Counter>,
            "longshore_records_reconciled", "Records of exports compared with what a webhook brought, by outcome";
        payload_bytes: Counter,
            "longshore_payload_bytes", "Decompressed bytes read";
    }

    /// What the inbox holds, read from it at each scrape.
    InboxHolds {
        notices: Family<StateLabel, Number>,
            "longshore_inbox_notices", "Notices in the inbox, by state";
        oldest_waiting_seconds: Number,
            "longshore_inbox_oldest_waiting_seconds", "Age of the oldest notice that is not finished";
        parked_records: Number,
            "longshore_parked_records", "Records that wait for their parent";
        parked_bytes: Number,
            "longshore_parked_bytes", "Bytes of parked records";
        parked_oldest_seconds: Number,
            "longshore_parked_oldest_seconds", "How long the oldest parked record has waited";
        outlived_keys: Number,
            "longshore_inbox_outlived_keys", "Keys of notices that were pruned early, kept to know what comes again";
        unbalanced: Number,
            "longshore_inbox_unbalanced_deliveries", "Deliveries whose account does not add up";
        audit_findings: Number,
            "longshore_inbox_audit_findings", "What did not add up in the latest audit";
        audit_time_seconds: Number,
            "longshore_inbox_audit_time_seconds",
            "When the latest audit was done, in seconds since 1970 UTC; 0 for never";
        database_bytes: Number,
            "longshore_inbox_database_bytes", "Size of the database";
        log_bytes: Number,
            "longshore_inbox_wal_bytes", "Size of the write-ahead log";
    }

    /// How this machine's clock and the inbox's go.
    Clocks {
        lead_seconds: Gauge<i64, AtomicI64>,
            "longshore_clock_lead_seconds",
            "How far this machine's clock is ahead of the inbox's, which does not jump; 0 unless it was set";
        jumps: Counter,
            "longshore_clock_jumps", "How often this machine's clock was set";
    }

    /// What stands still, where deliveries keep their order.
    Order {
        stopped_lanes: Number,
            "longshore_inbox_stopped_lanes", "Lanes that stand still behind what is quarantined";
    }
}

computed! {
    /// Gauges that are computed when they are read. Each part that has one is told by a label of its own, `source`.
    ComputedGauge {
        FeedLateDays,
            "longshore_feed_late_days", "Days whose expected file has not come";
        RetentionLeftSeconds,
            "longshore_feed_retention_left_seconds",
            "Seconds until the vendor deletes something that is not delivered or was not listed";
        TokenSecondsLeft,
            "longshore_token_seconds_left",
            "Seconds until the first of the tokens expires; negative once it has";
    }
}
