//! What was written: the whole file, and the sections that stand in it once.

use toml::Spanned;

use super::feeds::Feed;
use super::lengths::{DAY, HOUR, SECOND, YEAR};
use super::routes::{Entity, Route, Routing};
use super::sinks::Sink;
use crate::config::LogFormat;
use crate::config::names::Names;
use crate::config::reader::section;
use crate::config::value::{Address, Limit, Listen, OneOf, PathText, Pointer, Size, SizeLimit, Time, Whole, Word};
use crate::inbox::{OnPoison, Ordering};
use crate::route::Nameless;

section! {
    /// The whole file.
    Document {
        identity: Identity,
        tokens: Tokens,
        feed: Vec<Spanned<Feed>>,
        reconcile: Vec<Spanned<Reconcile>>,
        entity: Vec<Spanned<Entity>>,
        route: Vec<Spanned<Route>>,
        routing: Routing,
        sink: Vec<Spanned<Sink>>,
        inbox: Inbox,
        parking: Parking,
        work: Work,
        limits: Limits,
        fetch: Fetch,
        log: Log,
        ops: Ops,
        runtime: Runtime,
    }
}

section! {
    /// Who we are to the vendor.
    Identity {
        authority: Address,
        client_id: String,
        scope: String,
        certificates: PathText,
        certificate_warning: Time<0, YEAR>,
        ca_file: PathText,
    }
}

section! {
    /// When the vendor's tokens are refreshed.
    Tokens {
        refresh_ahead: Time<SECOND, DAY>,
        refresh_interval_min: Time<SECOND, DAY>,
    }
}

section! {
    /// An export that is compared with a webhook.
    Reconcile {
        export: String,
        webhook: String,
        names: Names,
        id: Pointer,
        version: Pointer,
        settle_after: Time<0, YEAR>,
        remember_for: Time<DAY, YEAR>,
        nameless: OneOf<Nameless>,
    }
}

section! {
    /// The durable queue.
    Inbox {
        path: PathText,
        retention_age: Time<0, { 100 * YEAR }>,
        retention_size: SizeLimit<{ 1 << 20 }>,
        dedupe_age: Time<0, { 100 * YEAR }>,
        commit_notices_max: Whole<1, 100_000>,
    }
}

section! {
    /// How much may be parked.
    Parking {
        rows_max: Whole<1, 1_000_000_000>,
        bytes_max: Size<1_024>,
    }
}

section! {
    /// How stored notices are worked off.
    Work {
        workers: Whole<1, 256>,
        per_blob_type_max: Whole<1, 256>,
        ordering: OneOf<Ordering>,
        on_poison: OneOf<OnPoison>,
        lease: Time<{ 5 * SECOND }, DAY>,
        attempts_max: Whole<1, 1_000_000>,
        retry_min: Time<1, DAY>,
        retry_max: Time<1, { 30 * DAY }>,
        missing_object_for: Time<0, YEAR>,
        windows: Vec<Spanned<String>>,
        zone: String,
        drain: Time<0, DAY>,
    }
}

section! {
    /// Bounds of what a payload may be.
    Limits {
        record_bytes_max: Size<1_024>,
        depth_max: Whole<1, 10_000>,
        records_max: Limit,
        decompressed_bytes_max: Size<1_024>,
        ratio_max: Whole<1, 1_000_000>,
        bad_records_max: Whole<0, { u32::MAX as u64 }>,
        bad_record_bytes_kept: Size<0>,
        checked_first_bytes_max: Size<0>,
    }
}

section! {
    /// How payloads are fetched.
    Fetch {
        connect_timeout: Time<100, HOUR>,
        idle_timeout: Time<100, HOUR>,
        resumes_max: Whole<0, 100_000>,
        rate_min: Size<0>,
        ca_file: PathText,
    }
}

section! {
    /// The log.
    Log {
        format: OneOf<LogFormat>,
        level: String,
    }
}

section! {
    /// Health and metrics.
    Ops {
        listen: Listen,
        beyond_loopback: bool,
    }
}

section! {
    /// The program itself.
    Runtime {
        threads: Whole<1, 256>,
    }
}

impl Word for Nameless {
    const WORDS: &'static [(&'static str, Self)] = &[("deliver", Self::Deliver), ("leave-out", Self::LeaveOut)];
}

impl Word for Ordering {
    const WORDS: &'static [(&'static str, Self)] = &[("blob-type", Self::BlobType), ("none", Self::None)];
}

impl Word for OnPoison {
    const WORDS: &'static [(&'static str, Self)] = &[("quarantine", Self::Quarantine), ("stop", Self::Stop)];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json), ("journald", Self::Journald)];
}
