//! The meaning of `[[sink]]`.

use std::ops::Range;

use toml::Spanned;

use super::{Rules, each};
use crate::config::keys::Keys;
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::{OneOf, Size, Time, Whole};
use crate::config::written::{CommandSink, DirectorySink, Document, HttpSink, Route, Sink, SqliteSink};
use crate::notice::{RouteName, SinkName};
use crate::sink::{
    BatchLimits, CommandSettings, DirectoryFormat, DirectorySettings, HttpAuth, HttpBody, HttpMethod, HttpSettings,
    SinkKind, SinkSettings, SqliteSettings, TableKey, command, directory, http, sqlite,
};

type RecordsMax = Written<Whole<1, 1_000_000>>;
type BytesMax = Written<Size<1_024>>;

impl Rules<'_, '_> {
    pub(super) fn sinks(&mut self, document: &Document) -> Vec<SinkSettings> {
        let written = each(&document.sink);
        if document.sink.is_absent() {
            let problem = Problem::new(0..0, "there is no [[sink]]", "records would go nowhere");
            self.problems.add(problem.help("add [[sink]] with name, type and what belongs to that type"));
        }
        self.unique(
            "sink",
            written.iter().filter_map(|sink| {
                sink.get_ref().name().spanned().map(|name| (name.get_ref().0.as_str(), name.span()))
            }),
        );
        written.iter().filter_map(|sink| self.sink(sink.get_ref(), sink.span(), document)).collect()
    }

    fn sink(&mut self, sink: &Sink, span: Range<usize>, document: &Document) -> Option<SinkSettings> {
        let name = match sink {
            Sink::Unknown(_) => None,
            known => self.required("[[sink]]", span.clone(), "name", known.name(), "\"…\""),
        };
        let changes = self.changed.len();
        let (kind, batch) = match sink {
            Sink::Directory(sink) => (
                self.directory(sink, span),
                self.batch(&sink.batch_records_max, &sink.batch_bytes_max, directory::DEFAULT_BATCH),
            ),
            Sink::Http(sink) => {
                (self.http(sink, span), self.batch(&sink.batch_records_max, &sink.batch_bytes_max, http::DEFAULT_BATCH))
            }
            Sink::Command(sink) => (
                self.command(sink, span),
                self.batch(&sink.batch_records_max, &sink.batch_bytes_max, command::DEFAULT_BATCH),
            ),
            Sink::Sqlite(sink) => (
                self.sqlite(sink, span, document),
                self.batch(&sink.batch_records_max, &sink.batch_bytes_max, sqlite::DEFAULT_BATCH),
            ),
            Sink::Unknown(_) => return None,
        };
        let name = &name?.get_ref().0;
        self.name_changes(changes, "sink", name);
        Some(SinkSettings { name: SinkName::new(name), batch, kind: kind? })
    }

    fn batch(&mut self, records: &RecordsMax, bytes: &BytesMax, default: BatchLimits) -> BatchLimits {
        let records = self.or("sink.batch_records_max", records, Whole(default.records_max as u64)).0;
        let bytes = self.or("sink.batch_bytes_max", bytes, Size(default.bytes_max as u64)).0;
        BatchLimits {
            records_max: usize::try_from(records).unwrap_or(usize::MAX),
            bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }

    fn directory(&mut self, sink: &DirectorySink, span: Range<usize>) -> Option<SinkKind> {
        let path = self.required("[[sink]]", span, "path", &sink.path, "\"/srv/longshore\"");
        let path = path.and_then(|path| self.path_of("sink.path", path));
        if let Some(pattern) = sink.pattern.spanned() {
            self.name_pattern(pattern);
        }
        Some(SinkKind::Directory(DirectorySettings {
            path: path?,
            format: self.or("sink.format", &sink.format, OneOf(DirectoryFormat::default())).0,
            name: self.or_text("sink.pattern", &sink.pattern, directory::DEFAULT_NAME),
        }))
    }

    fn name_pattern(&mut self, pattern: &Spanned<String>) {
        match directory::is_unique_name(pattern.get_ref()) {
            Ok(true) => {}
            Ok(false) => self.problems.add(
                Problem::new(
                    pattern.span(),
                    "two notices can have the same file name, and the later one then takes the place of the earlier",
                    "lacks {notice} or {run}",
                )
                .warning(),
            ),
            Err(why) => {
                let shown = self.problems.written(pattern.span());
                let label = format!("must be a file name such as {:?}; {why}", directory::DEFAULT_NAME);
                self.problems.add(Problem::new(pattern.span(), format!("`sink.pattern` cannot be {shown}"), label));
            }
        }
    }

    fn http(&mut self, sink: &HttpSink, span: Range<usize>) -> Option<SinkKind> {
        let url = self.required("[[sink]]", span.clone(), "url", &sink.url, "\"https://…\"");
        let auth = self.http_auth(sink);
        let headers = self.headers(sink);
        Some(SinkKind::Http(HttpSettings {
            method: self.or("sink.method", &sink.method, OneOf(HttpMethod::default())).0,
            body: self.or("sink.body", &sink.body, OneOf(HttpBody::default())).0,
            auth,
            headers,
            timeout: self.or("sink.timeout", &sink.timeout, Time(http::DEFAULT_TIMEOUT)).0,
            ca_file: self.ca_file("sink.ca_file", &sink.ca_file),
            url: url?.get_ref().0.clone(),
        }))
    }

    fn http_auth(&mut self, sink: &HttpSink) -> Option<HttpAuth> {
        if let (Some(bearer), Some(header)) = (sink.bearer_file.spanned(), sink.secret_header_file.spanned()) {
            self.problems.add(
                Problem::new(bearer.span(), "a [[sink]] shows who it is in two ways", "either this")
                    .also(header.span(), "or this")
                    .help("keep one of bearer_file and secret_header_file"),
            );
            return None;
        }
        if let Some(bearer) = sink.bearer_file.spanned() {
            return self.secret_file("sink.bearer_file", bearer).map(HttpAuth::BearerFile);
        }
        match (sink.secret_header.spanned(), sink.secret_header_file.spanned()) {
            (Some(name), Some(file)) => {
                let path = self.secret_file("sink.secret_header_file", file);
                self.header_name("sink.secret_header", name).then_some(())?;
                path.map(|path| HttpAuth::HeaderFile(name.get_ref().clone(), path))
            }
            (Some(name), None) if sink.secret_header_file.is_absent() => {
                let problem = Problem::new(
                    name.span(),
                    "`secret_header` names a header without a value",
                    "needs secret_header_file",
                );
                self.problems.add(problem.help("add secret_header_file = \"…\", a file with the header's value"));
                None
            }
            (None, Some(file)) if sink.secret_header.is_absent() => {
                let problem = Problem::new(
                    file.span(),
                    "`secret_header_file` holds a value without a header",
                    "needs secret_header",
                );
                self.problems.add(problem.help("add secret_header = \"…\", the header's name"));
                None
            }
            _ => None,
        }
    }

    fn headers(&mut self, sink: &HttpSink) -> Vec<(String, String)> {
        const OWN: [&str; 5] = ["content-type", "content-length", "host", "idempotency-key", "transfer-encoding"];
        const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "api-key"];
        let mut kept = Vec::new();
        for (name, value) in sink.headers.value().map(|headers| headers.0.as_slice()).unwrap_or_default() {
            let lower = name.get_ref().to_ascii_lowercase();
            if SECRET
                .iter()
                .any(|secret| lower == *secret || lower.ends_with(&format!("-{secret}")) || lower.ends_with("-token"))
            {
                self.problems.mask(value.span());
                let message = format!("`sink.headers.{}`: a secret cannot stand in this file", name.get_ref());
                self.problems.add(Problem::new(name.span(), message, "not here").help(
                    "put it into a file of its own and name that: bearer_file = \"…\", or secret_header = \"…\" and secret_header_file = \"…\"",
                ));
            } else if OWN.contains(&lower.as_str()) || lower.starts_with("ce-") {
                let message = format!("`sink.headers.{}` is set by Longshore itself", name.get_ref());
                self.problems.add(Problem::new(name.span(), message, "cannot be set here"));
            } else if ::http::HeaderValue::from_str(value.get_ref()).is_err() {
                let shown = self.problems.written(value.span());
                let message = format!("`sink.headers.{}` cannot be {shown}", name.get_ref());
                self.problems.add(Problem::new(value.span(), message, "must be printable ASCII"));
            } else if self.header_name("sink.headers", name) {
                kept.push((name.get_ref().clone(), value.get_ref().clone()));
            }
        }
        kept
    }

    fn header_name(&mut self, key: &str, name: &Spanned<String>) -> bool {
        let fits = ::http::HeaderName::from_bytes(name.get_ref().as_bytes()).is_ok();
        if !fits {
            let message = format!("`{key}`: {:?} is no name of a header", name.get_ref());
            self.problems.add(Problem::new(name.span(), message, "must be letters, digits and dashes"));
        }
        fits
    }

    fn command(&mut self, sink: &CommandSink, span: Range<usize>) -> Option<SinkKind> {
        let command = self.required("[[sink]]", span, "command", &sink.command, "[\"/usr/local/bin/…\"]");
        if let Some(list) = command.filter(|list| list.get_ref().is_empty()) {
            self.problems.add(Problem::new(list.span(), "`sink.command` is empty", "must name a program"));
        }
        for name in each(&sink.environment) {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !name.get_ref().chars().all(fits) {
                let message = format!("`sink.environment`: {:?} is no name of a variable", name.get_ref());
                let help = "only names stand here; the values are those of Longshore's own environment";
                self.problems
                    .add(Problem::new(name.span(), message, "must be letters, digits and underscores").help(help));
            }
        }
        Some(SinkKind::Command(CommandSettings {
            command: each(&sink.command).iter().map(|word| word.get_ref().clone()).collect(),
            timeout: self.or("sink.timeout", &sink.timeout, Time(command::DEFAULT_TIMEOUT)).0,
            permanent_exit_codes: each(&sink.permanent_exit_codes)
                .iter()
                .map(|code| i32::try_from(code.get_ref().0).expect("the reader holds it below 256"))
                .collect(),
            environment: each(&sink.environment).iter().map(|name| name.get_ref().clone()).collect(),
        }))
    }

    fn sqlite(&mut self, sink: &SqliteSink, span: Range<usize>, document: &Document) -> Option<SinkKind> {
        let path = self.required("[[sink]]", span.clone(), "path", &sink.path, "\"/srv/longshore/records.db\"");
        let path = path.and_then(|path| self.path_of("sink.path", path));
        let key = self.required("[[sink]]", span, "key", &sink.key, "[\"/id\"]");
        let key = key.map(|key| self.table_key(sink, key, document));
        Some(SinkKind::Sqlite(SqliteSettings {
            path: path?,
            table: self.or_text("sink.table", &sink.table, sqlite::DEFAULT_TABLE),
            key: key?,
            version: sink.version.value().map(|pointer| pointer.0.clone()),
        }))
    }

    /// One key for all routes, or one for each route that leads to the sink.
    fn table_key(&mut self, sink: &SqliteSink, key: &Spanned<Keys>, document: &Document) -> TableKey {
        if let Some(pointers) = key.get_ref().unnamed() {
            return TableKey::Same(pointers.to_vec());
        }
        let name = sink.name.value().map_or("", |name| name.0.as_str());
        let routes = each(&document.route);
        let name_of = |route: &Spanned<Route>| route.get_ref().name.value().map(|name| name.0.clone());
        let names: Vec<String> = routes.iter().filter_map(name_of).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let keys = &key.get_ref().0;
        for key in keys {
            self.known("sink.key", "route", &key.name, &names);
        }
        let leads_here =
            |route: &&Spanned<Route>| each(&route.get_ref().sinks).iter().any(|sink| sink.get_ref() == name);
        for route in routes.iter().filter(leads_here).filter_map(name_of) {
            if keys.iter().all(|key| *key.name.get_ref() != route) {
                let message = format!("`sink.key` has no key for records of the route {route:?}, which leads here");
                self.problems.add(Problem::new(key.span(), message, format!("add {route} = [\"/…\"]")));
            }
        }
        TableKey::ByRoute(keys.iter().map(|key| (RouteName::new(key.name.get_ref()), key.pointers.clone())).collect())
    }
}
