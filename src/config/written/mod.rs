//! What was written: every section and key that a configuration file can hold, with the kind of its value.
//!
//! A key is added here, given its meaning in `meaning`, and described in `deploy/longshore.example.toml` (tests hold
//! the three together).

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::LogFormat;
use super::keys::Keys;
use super::names::Names;
use super::problem::{Problem, Problems};
use super::reader::{FromToml, Section, Written, full_key, section, table};
use super::value::{
    Address, Glob, Limit, Listen, Literal, Name, OneOf, PathText, Pointer, Size, SizeLimit, Time, Whole, Word, either,
    one_of,
};
use crate::inbox::{OnPoison, Ordering};
use crate::route::{AtDeadline, Match, MissingParent, Nameless};
use crate::sink::{DirectoryFormat, HttpBody, HttpMethod};

pub use drop::{AfterWord, DropFeed, Expected};
pub use feeds::{BucketFeed, BucketProvider, BucketTypeFrom, Feed, ServiceBusFeed, WebhookFeed};
#[cfg(test)]
pub use subscriptions::Context;
pub use subscriptions::{ContextKind, Limited, Subscriptions};

mod drop;
mod feeds;
mod subscriptions;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

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
    /// What records are about.
    Entity {
        name: Name,
        blob_types: Vec<Spanned<Glob>>,
        key: Keys,
        deleted: Only,
    }
}

section! {
    /// Which blob types go where.
    Route {
        name: Name,
        blob_types: Vec<Spanned<Glob>>,
        exclude: Vec<Spanned<Glob>>,
        feeds: Vec<Spanned<String>>,
        sinks: Vec<Spanned<String>>,
        only: Vec<Spanned<Only>>,
        xml_record_element: String,
        csv_separator: String,
        csv_quote: String,
        csv_charset: String,
        csv_null: String,
        csv_columns: Vec<Spanned<String>>,
        csv_gather: Vec<Spanned<String>>,
        parents: Vec<Spanned<Parent>>,
        missing_parent: OneOf<MissingParent>,
        park_for: Time<SECOND, YEAR>,
        at_deadline: OneOf<AtDeadline>,
        park_latest_only: bool,
    }
}

section! {
    /// A reference of a route's records to an entity.
    Parent {
        entity: String,
        key: Keys,
    }
}

section! {
    /// A condition on a record.
    Only {
        pointer: Pointer,
        equals: Vec<Spanned<Literal>>,
        absent: bool,
    }
}

section! {
    /// How the routes are gone through.
    Routing {
        r#match: OneOf<Match>,
    }
}

/// A sink of any type.
#[derive(Clone, Debug)]
pub enum Sink {
    /// `type = "directory"`.
    Directory(Box<DirectorySink>),
    /// `type = "http"`.
    Http(Box<HttpSink>),
    /// `type = "command"`.
    Command(Box<CommandSink>),
    /// `type = "sqlite"`.
    Sqlite(Box<SqliteSink>),
    /// No known type; already reported. Its name is kept, so that a route that names it is not wrong as well.
    Unknown(Written<Name>),
}

section! {
    /// Files in a folder.
    DirectorySink {
        name: Name,
        r#type: Raw,
        path: PathText,
        format: OneOf<DirectoryFormat>,
        pattern: String,
        batch_records_max: Whole<1, 1_000_000>,
        batch_bytes_max: Size<1_024>,
    }
}

section! {
    /// Requests to an address.
    HttpSink {
        name: Name,
        r#type: Raw,
        url: Address,
        method: OneOf<HttpMethod>,
        body: OneOf<HttpBody>,
        bearer_file: PathText,
        secret_header: String,
        secret_header_file: PathText,
        headers: Headers,
        timeout: Time<100, HOUR>,
        ca_file: PathText,
        batch_records_max: Whole<1, 1_000_000>,
        batch_bytes_max: Size<1_024>,
    }
}

section! {
    /// A program that is started.
    CommandSink {
        name: Name,
        r#type: Raw,
        command: Vec<Spanned<String>>,
        timeout: Time<100, DAY>,
        permanent_exit_codes: Vec<Spanned<Whole<1, 255>>>,
        environment: Vec<Spanned<String>>,
        batch_records_max: Whole<1, 1_000_000>,
        batch_bytes_max: Size<1_024>,
    }
}

section! {
    /// A table in an SQLite database.
    SqliteSink {
        name: Name,
        r#type: Raw,
        path: PathText,
        table: String,
        key: Keys,
        version: Pointer,
        batch_records_max: Whole<1, 1_000_000>,
        batch_bytes_max: Size<1_024>,
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

/// Further headers of a request.
#[derive(Clone, Debug, Default)]
pub struct Headers(pub Vec<(Spanned<String>, Spanned<String>)>);

impl FromToml for Headers {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let mut headers = Vec::new();
        for (name, value) in table(key, value, problems)? {
            let full = full_key(key, name.get_ref());
            if let Some(text) = String::read(&full, value, problems) {
                let name = Spanned::new(name.span(), name.get_ref().clone().into_owned());
                headers.push((name, Spanned::new(value.span(), text)));
            }
        }
        Some(Self(headers))
    }
}

/// A key that was read before its section: `type`, which says what section it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl FromToml for Raw {
    fn read(_key: &str, _value: &Spanned<DeValue<'_>>, _problems: &mut Problems<'_>) -> Option<Self> {
        Some(Self)
    }
}

/// The `type` in a table, which decides what other keys it has.
fn type_of<'w>(
    key: &str,
    table: &DeTable<'_>,
    span: Range<usize>,
    types: &[&'w str],
    problems: &mut Problems<'_>,
) -> Option<&'w str> {
    match table.get("type") {
        Some(value) => one_of(&full_key(key, "type"), value, types.iter().copied(), problems),
        None => {
            let label = format!("add type = {}", either(types.iter().copied()));
            problems.add(Problem::new(span, format!("`type` is missing in [[{key}]]"), label));
            None
        }
    }
}

/// The `name` in a table of unknown type.
fn name_in(key: &str, table: &DeTable<'_>, problems: &mut Problems<'_>) -> Written<Name> {
    table.get("name").map_or(Written::Absent, |name| Written::read(&full_key(key, "name"), name, problems))
}

impl FromToml for Sink {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let table = table(key, value, problems)?;
        Some(match type_of(key, table, value.span(), &["directory", "http", "command", "sqlite"], problems) {
            Some("directory") => Self::Directory(Box::new(DirectorySink::read_table(key, table, problems))),
            Some("http") => Self::Http(Box::new(HttpSink::read_table(key, table, problems))),
            Some("command") => Self::Command(Box::new(CommandSink::read_table(key, table, problems))),
            Some(_) => Self::Sqlite(Box::new(SqliteSink::read_table(key, table, problems))),
            None => Self::Unknown(name_in(key, table, problems)),
        })
    }
}

impl Word for Match {
    const WORDS: &'static [(&'static str, Self)] = &[("first", Self::First), ("all", Self::All)];
}

impl Word for Nameless {
    const WORDS: &'static [(&'static str, Self)] = &[("deliver", Self::Deliver), ("leave-out", Self::LeaveOut)];
}

impl Word for MissingParent {
    const WORDS: &'static [(&'static str, Self)] =
        &[("park", Self::Park), ("deliver", Self::Deliver), ("quarantine", Self::Quarantine)];
}

impl Word for AtDeadline {
    const WORDS: &'static [(&'static str, Self)] = &[("quarantine", Self::Quarantine), ("deliver", Self::Deliver)];
}

impl Word for Ordering {
    const WORDS: &'static [(&'static str, Self)] = &[("blob-type", Self::BlobType), ("none", Self::None)];
}

impl Word for OnPoison {
    const WORDS: &'static [(&'static str, Self)] = &[("quarantine", Self::Quarantine), ("stop", Self::Stop)];
}

impl Word for DirectoryFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("raw", Self::Raw), ("json-lines", Self::JsonLines)];
}

impl Word for HttpMethod {
    const WORDS: &'static [(&'static str, Self)] = &[("POST", Self::Post), ("PUT", Self::Put)];
}

impl Word for HttpBody {
    const WORDS: &'static [(&'static str, Self)] =
        &[("record", Self::Record), ("array", Self::Array), ("json-lines", Self::JsonLines)];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json), ("journald", Self::Journald)];
}
