//! The meaning of `[[route]]`.

use std::ops::Range;

use toml::Spanned;

use super::waiting::has_wildcard;
use super::{Rules, each, globs, section};
use crate::blob_type::BlobTypeFilter;
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::written::{Document, Only, Route, Sink};
use crate::notice::{FeedName, RouteName, SinkName};
use crate::route::{Condition, FormatHints, Match, RouteSettings};

const SEPARATORS: &str = "must be one ASCII sign such as \",\", \";\", \"|\" or \"\\t\"";
const QUOTES: &str = "must be one ASCII sign such as \"\\\"\" or \"'\"";

fn texts(written: &Written<Vec<Spanned<String>>>) -> Vec<String> {
    each(written).iter().map(|text| text.get_ref().clone()).collect()
}

impl Rules<'_, '_> {
    pub(super) fn routes(&mut self, document: &Document) -> Vec<RouteSettings> {
        let written = each(&document.route);
        if document.route.is_absent() {
            let problem = Problem::new(0..0, "there is no [[route]]", "nothing would be delivered");
            self.problems.add(problem.help("add [[route]] with name, blob_types and sinks"));
        }
        self.unique(
            "route",
            written.iter().filter_map(|route| {
                route.get_ref().name.spanned().map(|name| (name.get_ref().0.as_str(), name.span()))
            }),
        );
        let feeds: Vec<&str> = each(&document.feed)
            .iter()
            .filter_map(|feed| feed.get_ref().name().value())
            .map(|name| name.0.as_str())
            .collect();
        let sinks: Vec<&str> = each(&document.sink)
            .iter()
            .filter_map(|sink| sink.get_ref().name().value())
            .map(|name| name.0.as_str())
            .collect();
        let routes: Vec<_> = written
            .iter()
            .filter_map(|route| {
                self.route(route.get_ref(), route.span(), document, &feeds, &sinks).map(|read| (read, route.span()))
            })
            .collect();
        // What a route that cannot be read would take is not known, and so neither what is left over.
        if routes.len() == written.len() && !routes.is_empty() {
            self.feeds_without_route(document, &routes);
        }
        // An error may well be the reason for what would be warned of here.
        if !self.problems.has_errors() {
            self.warn_of_unused_sinks(document, &routes);
            self.warn_of_waiting(document, &routes);
            let matching =
                section(&document.routing).r#match.value().map_or_else(Match::default, |matching| matching.0);
            if matching == Match::First {
                self.warn_of_unreachable(&routes);
            }
        }
        routes.into_iter().map(|(route, _)| route).collect()
    }

    fn route(
        &mut self,
        route: &Route,
        span: Range<usize>,
        document: &Document,
        feeds: &[&str],
        sinks: &[&str],
    ) -> Option<RouteSettings> {
        let changed_from = self.changed.len();
        let name = self.required("[[route]]", span.clone(), "name", &route.name, "\"items\"");
        self.required("[[route]]", span.clone(), "blob_types", &route.blob_types, "[\"*\"]");
        self.required("[[route]]", span, "sinks", &route.sinks, "[\"…\"]");
        self.not_empty("route.blob_types", &route.blob_types, "must name a glob, such as \"*\"");
        self.not_empty("route.sinks", &route.sinks, "must name a sink");
        let named = |rules: &mut Self, key: &str, kind: &str, written, known: &[&str]| -> Vec<String> {
            each(written)
                .iter()
                .filter(|name| rules.known(key, kind, name, known))
                .map(|name: &Spanned<String>| name.get_ref().clone())
                .collect()
        };
        let settings = RouteSettings {
            name: RouteName::new(name.map_or("", |name| name.get_ref().0.as_str())),
            blob_types: globs(&route.blob_types),
            exclude: globs(&route.exclude),
            feeds: named(self, "route.feeds", "feed", &route.feeds, feeds).iter().map(FeedName::new).collect(),
            sinks: named(self, "route.sinks", "sink", &route.sinks, sinks).iter().map(SinkName::new).collect(),
            only: each(&route.only)
                .iter()
                .filter_map(|only| self.condition("route.only", only.get_ref(), only.span()))
                .collect(),
            format: FormatHints {
                xml_record_element: route.xml_record_element.value().cloned(),
                csv_separator: self.sign("route.csv_separator", &route.csv_separator, b"\"\n\r", SEPARATORS),
                csv_quote: self.sign("route.csv_quote", &route.csv_quote, b"\n\r", QUOTES),
                csv_charset: self.charset(&route.csv_charset),
                csv_null: route.csv_null.value().cloned(),
                csv_columns: texts(&route.csv_columns),
                csv_gather: texts(&route.csv_gather),
            },
            parents: self.parents(route, document),
            parking: self.parking_of(route),
        };
        let name = name?;
        self.name_changes(changed_from, "route", &name.get_ref().0);
        Some(settings)
    }

    pub(super) fn not_empty<T>(&mut self, key: &str, written: &Written<Vec<Spanned<T>>>, must: &str) {
        if let Some(list) = written.spanned().filter(|list| list.get_ref().is_empty()) {
            // A list whose every element was reported is not empty as it was written.
            if self.problems.written(list.span()).chars().any(|c| c.is_alphanumeric() || c == '"') {
                return;
            }
            self.problems.add(Problem::new(list.span(), format!("`{key}` is empty"), must));
        }
    }

    pub(super) fn condition(&mut self, key: &str, only: &Only, span: Range<usize>) -> Option<Condition> {
        let pointer = self.required(&format!("`{key}`"), span.clone(), "pointer", &only.pointer, "\"/…\"");
        let mut equals: Vec<_> = each(&only.equals).iter().map(|literal| literal.get_ref().0.clone()).collect();
        if only.absent.value() == Some(&true) {
            // An absent value equals null.
            equals.push(serde_json::Value::Null);
        }
        if equals.is_empty() && (only.equals.is_absent() || only.equals.value().is_some_and(Vec::is_empty)) {
            let problem =
                Problem::new(span, format!("a condition in `{key}` has no value to meet"), "add equals = [\"…\"]");
            self.problems.add(problem.help("absent = true is met by records that lack the value or have null there"));
        }
        Some(Condition { pointer: pointer?.get_ref().0.clone(), equals })
    }

    /// One ASCII sign that is none of `without`.
    fn sign(&mut self, key: &str, written: &Written<String>, without: &[u8], must: &str) -> Option<u8> {
        let sign = written.spanned()?;
        match sign.get_ref().as_bytes() {
            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !without.contains(byte) => Some(*byte),
            _ => {
                let shown = self.problems.written(sign.span());
                self.problems.add(Problem::new(sign.span(), format!("`{key}` cannot be {shown}"), must));
                None
            }
        }
    }

    fn charset(&mut self, written: &Written<String>) -> Option<String> {
        let charset = written.spanned()?;
        if encoding_rs::Encoding::for_label(charset.get_ref().as_bytes()).is_none() {
            let shown = self.problems.written(charset.span());
            let message = format!("`route.csv_charset` cannot be {shown}");
            self.problems.add(Problem::new(charset.span(), message, "must be a charset such as \"windows-1252\""));
        }
        Some(charset.get_ref().clone())
    }

    fn feeds_without_route(&mut self, document: &Document, routes: &[(RouteSettings, Range<usize>)]) {
        for feed in each(&document.feed) {
            let Some(name) = feed.get_ref().name().value().map(|name| name.0.as_str()) else { continue };
            let is_taken = |(route, _): &(RouteSettings, Range<usize>)| {
                route.feeds.is_empty() || route.feeds.iter().any(|taken| taken.as_str() == name)
            };
            if !routes.iter().any(is_taken) {
                let message = format!("no [[route]] takes anything from the feed {name:?}");
                self.problems.add(
                    Problem::new(feed.span(), message, "goes nowhere")
                        .help("name it in the `feeds` of a route, or leave `feeds` out there"),
                );
            }
        }
    }

    fn warn_of_unused_sinks(&mut self, document: &Document, routes: &[(RouteSettings, Range<usize>)]) {
        for sink in each(&document.sink) {
            let Some(name) = sink.get_ref().name().spanned() else { continue };
            let text = &name.get_ref().0;
            if !routes.iter().any(|(route, _)| route.sinks.iter().any(|used| used.as_str() == text)) {
                let message = format!("no [[route]] leads to the sink {text:?}");
                self.problems.add(Problem::new(name.span(), message, "gets nothing").warning());
            }
        }
    }

    /// A route after one that takes everything never gets anything.
    fn warn_of_unreachable(&mut self, routes: &[(RouteSettings, Range<usize>)]) {
        for (at, (route, span)) in routes.iter().enumerate() {
            let takes_all = |earlier: &&(RouteSettings, Range<usize>)| {
                let (earlier, _) = earlier;
                let feeds = earlier.feeds.is_empty()
                    || (!route.feeds.is_empty() && route.feeds.iter().all(|feed| earlier.feeds.contains(feed)));
                let filter = BlobTypeFilter::new(&earlier.blob_types, &earlier.exclude).ok();
                let all = earlier.blob_types.iter().any(|glob| glob == "*") && earlier.exclude.is_empty();
                let each = filter.is_some_and(|filter| {
                    route.blob_types.iter().all(|glob| !has_wildcard(glob) && filter.wants(glob))
                });
                feeds && (all || each)
            };
            let Some((earlier, earlier_span)) = routes[..at].iter().find(takes_all) else { continue };
            let message = format!("the route {:?} never gets anything", route.name.as_str());
            self.problems.add(
                Problem::new(span.clone(), message, "never reached")
                    .also(earlier_span.clone(), format!("{:?} takes it all before", earlier.name.as_str()))
                    .help("put it before that one, or set match = \"all\" in [routing]")
                    .warning(),
            );
        }
    }
}

impl Sink {
    /// The name, whatever the type.
    pub(super) fn name(&self) -> &Written<crate::config::value::Name> {
        match self {
            Self::Directory(sink) => &sink.name,
            Self::Http(sink) => &sink.name,
            Self::Command(sink) => &sink.name,
            Self::Sqlite(sink) => &sink.name,
            Self::Unknown(name) => name,
        }
    }
}
