//! What was written in a `[[sink]]`, by its type.

use toml::Spanned;
use toml::de::DeValue;

use super::kind::{Raw, name_in, type_of};
use super::lengths::{DAY, HOUR};
use crate::config::keys::Keys;
use crate::config::problem::Problems;
use crate::config::reader::{FromToml, Section, Written, full_key, section, table};
use crate::config::value::{Address, Name, OneOf, PathText, Pointer, Size, Time, Whole, Word};
use crate::sink::{DirectoryFormat, HttpBody, HttpMethod};

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
