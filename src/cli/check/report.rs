//! What a configuration means, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::feeds::Feed;
use super::globs::globs;
use crate::config::{Changed, Config, UNNAMED_KEY, show_size, show_time};
use crate::inbox::Ordering;
use crate::route::{
    AtDeadline, Condition, EntitySettings, KeySettings, Match, MissingParent, ParkingSettings, RouteSettings,
};
use crate::sink::{DirectoryFormat, HttpBody, HttpMethod, SinkKind, SinkSettings, TableKey};

/// What a configuration means.
#[derive(Debug, Serialize)]
pub struct Report {
    file: String,
    feeds: Vec<Feed>,
    entities: Vec<Entity>,
    routing: &'static str,
    routes: Vec<Route>,
    sinks: Vec<Sink>,
    inbox: String,
    work: String,
    health: Option<String>,
    changed: Vec<Changed>,
}

#[derive(Debug, Serialize)]
struct Entity {
    name: String,
    blob_types: Vec<String>,
    keys: Vec<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<String>,
}

#[derive(Debug, Serialize)]
struct Key {
    name: String,
    pointers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Parent {
    entity: String,
    keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Route {
    name: String,
    blob_types: Vec<String>,
    exclude: Vec<String>,
    feeds: Vec<String>,
    only: Vec<String>,
    sinks: Vec<String>,
    parents: Vec<Parent>,
    /// What becomes of a record whose parent is missing; absent where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_parent: Option<String>,
}

#[derive(Debug, Serialize)]
struct Sink {
    name: String,
    r#type: &'static str,
    target: String,
    promise: &'static str,
    batch_records_max: usize,
    batch_bytes_max: usize,
}

impl Report {
    /// What `config` means.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let retention = match config.inbox.retention_bytes {
            Some(bytes) => format!(", up to {}", show_size(bytes)),
            None => String::new(),
        };
        Self {
            file: config.path.display().to_string(),
            feeds: config.feeds.iter().map(|feed| Feed::of(feed, &config.reconciles)).collect(),
            entities: config.entities.iter().map(Entity::of).collect(),
            routing: match config.route_match {
                Match::First => "first",
                Match::All => "all",
            },
            routes: config.routes.iter().map(Route::of).collect(),
            sinks: config.sinks.iter().map(Sink::of).collect(),
            inbox: format!(
                "{}; finished notices are kept for {}{retention}",
                config.inbox.path.display(),
                show_time(config.inbox.retention_age)
            ),
            work: work(config),
            health: config.ops.listen.map(|address| format!("http://{address}")),
            changed: config.changed.clone(),
        }
    }

    /// For people: aligned, one thing a line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{}: nothing is wrong\n", self.file);
        block(&mut out, "Feeds", self.feeds.iter().map(|feed| (feed.name.as_str(), feed.lines())));
        if !self.entities.is_empty() {
            block(&mut out, "Entities", self.entities.iter().map(|entity| (entity.name.as_str(), entity.lines())));
        }
        let routes = match self.routing {
            "first" => "Routes (a notice goes to the first that takes it)",
            _ => "Routes (a notice goes to all that take it)",
        };
        block(&mut out, routes, self.routes.iter().map(|route| (route.name.as_str(), route.lines())));
        block(&mut out, "Sinks", self.sinks.iter().map(|sink| (sink.name.as_str(), sink.lines())));
        let health = self.health.as_deref().unwrap_or("not served");
        let rest = [("inbox", self.inbox.as_str()), ("work", &self.work), ("health", health)];
        block(&mut out, "The rest", rest.into_iter().map(|(name, line)| (name, vec![line.to_owned()])));
        if !self.changed.is_empty() {
            let lines = self.changed.iter().map(|changed| {
                (changed.key.as_str(), vec![format!("{}  (by default {})", changed.value, changed.default)])
            });
            block(&mut out, "Not as by default", lines);
        }
        out
    }
}

/// A heading, and below it names with what belongs to each, aligned.
fn block<'n>(out: &mut String, heading: &str, rows: impl Iterator<Item = (&'n str, Vec<String>)>) {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let _ = write!(out, "\n{heading}\n");
    for (name, lines) in rows {
        for (at, line) in lines.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = writeln!(out, "  {name:width$}  {line}");
        }
    }
}

fn work(config: &Config) -> String {
    let work = &config.work;
    let mut text = match work.ordering {
        Ordering::BlobType => {
            let stop = if work.stops_on_poison() { ", which wait behind one that is quarantined" } else { "" };
            format!("{} workers; files of one blob type in published order{stop}", work.workers)
        }
        Ordering::None => {
            format!("{} workers, {} on one blob type; in any order", work.workers, work.per_blob_type_max)
        }
    };
    if !work.windows.is_empty() {
        let hour = |time: jiff::civil::Time| time.strftime("%H:%M").to_string();
        let hours: Vec<_> =
            work.windows.iter().map(|window| format!("{}-{}", hour(window.from), hour(window.to))).collect();
        let zone = work.zone.iana_name().unwrap_or("local time");
        let _ = write!(text, "; only {} {zone}", hours.join(", "));
    }
    text
}

impl Entity {
    fn of(entity: &EntitySettings) -> Self {
        Self {
            name: entity.name.to_string(),
            blob_types: entity.blob_types.clone(),
            keys: entity.keys.iter().map(Key::of).collect(),
            deleted: entity.deleted.as_ref().map(condition),
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("in {}, by {}", self.blob_types.join(", "), alternatives(&self.keys))];
        lines.extend(self.deleted.as_ref().map(|deleted| format!("gone where {deleted}")));
        lines
    }
}

impl Key {
    fn of(key: &KeySettings) -> Self {
        Self { name: key.name.clone(), pointers: key.pointers.clone() }
    }
}

/// `sku /identifier/sku, or gtin /identifier/mainGTIN`; a key without a name is just its pointers.
fn alternatives(keys: &[Key]) -> String {
    let each: Vec<_> = keys
        .iter()
        .map(|key| match key.name.as_str() {
            UNNAMED_KEY => key.pointers.join(" and "),
            name => format!("{name} {}", key.pointers.join(" and ")),
        })
        .collect();
    each.join(", or ")
}

/// What becomes of a record whose parent is missing, for people.
fn missing_parent(parking: &ParkingSettings) -> String {
    match parking.missing_parent {
        MissingParent::Deliver => "without its parent, a record is delivered all the same".to_owned(),
        MissingParent::Quarantine => "without its parent, a record is set aside".to_owned(),
        MissingParent::Park => {
            let end = match parking.at_deadline {
                AtDeadline::Quarantine => "then set aside",
                AtDeadline::Deliver => "then delivered without it",
            };
            let latest = if parking.latest_only { "; of records with one key only the latest waits" } else { "" };
            format!("without its parent, a record is parked for up to {}, {end}{latest}", show_time(parking.park_for))
        }
    }
}

impl Route {
    fn of(route: &RouteSettings) -> Self {
        Self {
            name: route.name.to_string(),
            blob_types: route.blob_types.clone(),
            exclude: route.exclude.clone(),
            feeds: route.feeds.iter().map(ToString::to_string).collect(),
            only: route.only.iter().map(condition).collect(),
            sinks: route.sinks.iter().map(ToString::to_string).collect(),
            parents: route
                .parents
                .iter()
                .map(|parent| Parent {
                    entity: parent.entity.to_string(),
                    keys: parent.keys.iter().map(Key::of).collect(),
                })
                .collect(),
            missing_parent: (!route.parents.is_empty()).then(|| missing_parent(&route.parking)),
        }
    }

    fn lines(&self) -> Vec<String> {
        let from = if self.feeds.is_empty() { "every feed".to_owned() } else { self.feeds.join(", ") };
        let mut lines = vec![
            format!("takes {} from {from}", globs(&self.blob_types, &self.exclude)),
            format!("delivers to {}", self.sinks.join(", ")),
        ];
        if !self.only.is_empty() {
            lines.push(format!("only records where {}", self.only.join(", and ")));
        }
        for parent in &self.parents {
            lines.push(format!("waits for {} by {}", parent.entity, alternatives(&parent.keys)));
        }
        lines.extend(self.missing_parent.clone());
        lines
    }
}

fn condition(condition: &Condition) -> String {
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "absent".to_owned(),
        other => other.to_string(),
    };
    let values: Vec<_> = condition.equals.iter().map(value).collect();
    format!("{} is {}", condition.pointer, values.join(" or "))
}

impl Sink {
    fn of(sink: &SinkSettings) -> Self {
        let (r#type, target, promise) = match &sink.kind {
            SinkKind::Directory(settings) => {
                let format = match settings.format {
                    DirectoryFormat::Raw => "as it came",
                    DirectoryFormat::JsonLines => "as JSON lines",
                };
                let target = format!("{}, {format}", settings.path.join(&settings.name).display());
                ("directory", target, "the same bytes under the same name")
            }
            SinkKind::Http(settings) => {
                let method = match settings.method {
                    HttpMethod::Post => "POST",
                    HttpMethod::Put => "PUT",
                };
                let body = match settings.body {
                    HttpBody::Record => "one record a request",
                    HttpBody::Array => "a JSON array a request",
                    HttpBody::JsonLines => "JSON lines",
                };
                // The configuration lets no address with a secret through.
                let target = format!("{method} {}, {body}", settings.url);
                ("http", target, "the batch in flight again, under the same idempotency key")
            }
            SinkKind::Command(settings) => {
                let target = format!("{:?}, at most {}", settings.command, show_time(settings.timeout));
                ("command", target, "the batch in flight again, under the same idempotency key")
            }
            SinkKind::Sqlite(settings) => {
                let key = match &settings.key {
                    TableKey::Same(key) => key.join(" and "),
                    TableKey::ByRoute(keys) => {
                        let each = keys.iter().map(|(route, key)| format!("{} ({route})", key.join(" and ")));
                        each.collect::<Vec<_>>().join(", ")
                    }
                };
                let target = format!("{}, table {}, key {key}", settings.path.display(), settings.table);
                ("sqlite", target, "each row once")
            }
        };
        Self {
            name: sink.name.to_string(),
            r#type,
            target,
            promise,
            batch_records_max: sink.batch.records_max,
            batch_bytes_max: sink.batch.bytes_max,
        }
    }

    fn lines(&self) -> Vec<String> {
        let bytes = show_size(self.batch_bytes_max as u64);
        vec![
            format!("{}: {}", self.r#type, self.target),
            format!("in batches of up to {} records or {bytes}", self.batch_records_max),
            format!("after a cut: {}", self.promise),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::{Files, Surroundings};

    #[test]
    fn the_example_is_told_with_what_its_records_wait_for() {
        let surroundings =
            Surroundings { folder: PathBuf::from("/etc/longshore"), credentials: None, files: Files::Assumed };
        let text = include_str!("../../../deploy/longshore.example.toml");
        let config = Config::parse(Path::new("longshore.toml"), text, &surroundings).expect("the example");
        insta::assert_snapshot!(Report::of(&config).text());
    }
}
