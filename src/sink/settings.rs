//! What the configuration says of sinks.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::notice::{RouteName, SinkName};
use crate::sink::BatchLimits;

/// A configured sink.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// Its name in the configuration.
    pub name: SinkName,
    /// How large its batches are.
    pub batch: BatchLimits,
    /// Its kind, and what belongs to it.
    pub kind: SinkKind,
}

/// The kinds of sinks.
#[derive(Clone, Debug)]
pub enum SinkKind {
    /// Files in a folder.
    Directory(DirectorySettings),
    /// Requests to an address.
    Http(HttpSettings),
    /// A program that is started.
    Command(CommandSettings),
    /// A table in an SQLite database.
    Sqlite(SqliteSettings),
}

/// A folder that files are put into.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// The folder.
    pub path: PathBuf,
    /// `raw`: the decompressed payload as it is; `json-lines`: one record a line.
    pub format: DirectoryFormat,
    /// The file's name below the folder, with `{blob_type}`, `{date}`, `{time}`, `{notice}`, `{correlation_id}`,
    /// `{file}` (the last segment of the uri without its compression suffix), `{route}`, `{feed}`, `{run}`, `{ext}`; `/` makes folders.
    pub name: String,
}

/// How a directory sink writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryFormat {
    /// The decompressed payload as it is.
    Raw,
    /// One JSON record a line.
    #[default]
    JsonLines,
}

/// An address that records are sent to.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The address; `https`, or `http` to loopback.
    pub url: Url,
    /// `POST` or `PUT`.
    pub method: HttpMethod,
    /// One request a record, or one a batch (a JSON array or JSON lines).
    pub body: HttpBody,
    /// A header that carries a secret, such as `authorization`, and the file with its value. The file is read again when a request is refused.
    pub auth: Option<HttpAuth>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// A CA file to trust besides the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// The verb of an HTTP sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// `POST`.
    #[default]
    Post,
    /// `PUT`.
    Put,
}

/// What one request of an HTTP sink carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpBody {
    /// One record as JSON.
    Record,
    /// A batch as a JSON array.
    #[default]
    Array,
    /// A batch as JSON lines.
    JsonLines,
}

/// How an HTTP sink shows who it is.
#[derive(Clone, Debug)]
pub enum HttpAuth {
    /// `Authorization: Bearer …` with the content of a file.
    BearerFile(PathBuf),
    /// A header of this name with the content of a file.
    HeaderFile(String, PathBuf),
}

/// A program that is started for each batch, with the records on its standard input.
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// How long it may run.
    pub timeout: Duration,
    /// Exit codes that mean that trying again cannot help; any other than 0 is tried again.
    pub permanent_exit_codes: Vec<i32>,
    /// Names of environment variables that are handed on; no others are, but `PATH`.
    pub environment: Vec<String>,
}

/// A table in an SQLite database.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The database file.
    pub path: PathBuf,
    /// The table's name, with `{route}`.
    pub table: String,
    /// What tells the records of a table apart.
    pub key: TableKey,
    /// JSON pointer to a record's own version, a number or an RFC 3339 time; without it the notice's published time decides.
    pub version: Option<String>,
}

/// JSON pointers whose values together are a record's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableKey {
    /// The same in records of every route.
    Same(Vec<String>),
    /// Of each route its own: so one database takes what belongs together, such as items and their prices.
    ByRoute(Vec<(RouteName, Vec<String>)>),
}

impl TableKey {
    /// The pointers for records of `route`; `None` where it has none.
    #[must_use]
    pub fn of(&self, route: &RouteName) -> Option<&[String]> {
        match self {
            Self::Same(key) => Some(key),
            Self::ByRoute(keys) => keys.iter().find(|(name, _)| name == route).map(|(_, key)| key.as_slice()),
        }
    }

    /// Every key that it holds.
    pub fn all(&self) -> impl Iterator<Item = &[String]> {
        let (same, by_route) = match self {
            Self::Same(key) => (Some(key.as_slice()), None),
            Self::ByRoute(keys) => (None, Some(keys.iter().map(|(_, key)| key.as_slice()))),
        };
        same.into_iter().chain(by_route.into_iter().flatten())
    }
}
