//! Reads TOML into typed sections and goes on after an error, so that a person sees every error at once.
//!
//! `serde`'s derive stops at the first error. Here a section is declared with [`section!`]: its keys and their types.
//! What was written comes out, each value with its place; whatever cannot be read is `None` and stands in [`Problems`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};

/// What stands under a key.
#[derive(Clone, Debug, Default)]
pub enum Written<T> {
    /// The key was not written.
    #[default]
    Absent,
    /// The key was written, but not as it should be; already reported.
    Unreadable,
    /// The value, with its place.
    Value(Spanned<T>),
}

impl<T> Written<T> {
    /// Reads `value`.
    pub fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Self
    where
        T: FromToml,
    {
        T::read(key, value, problems).map_or(Self::Unreadable, |read| Self::Value(Spanned::new(value.span(), read)))
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        self.spanned().map(Spanned::get_ref)
    }

    /// The value with its place, if there is one.
    pub fn spanned(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// Whether the key was not written at all.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// What can be read from a TOML value.
pub trait FromToml: Sized {
    /// Reads `value`, which stands under `key` (dotted, for messages).
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self>;
}

/// A table with known keys.
pub trait Section: Sized {
    /// Every key that can stand in it.
    const KEYS: &'static [&'static str];

    /// Reads the table, which stands under `name`.
    fn read_table(name: &str, table: &DeTable<'_>, problems: &mut Problems<'_>) -> Self;
}

/// Declares a [`Section`]: a struct with a [`Written`] value for each key.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $name {
            $($(#[$key_doc])* pub $key: $crate::config::reader::Written<$type>,)*
        }

        impl $crate::config::reader::Section for $name {
            const KEYS: &'static [&'static str] = &[$($crate::config::reader::key_name(stringify!($key)),)*];

            fn read_table(
                name: &str,
                table: &toml::de::DeTable<'_>,
                problems: &mut $crate::config::problem::Problems<'_>,
            ) -> Self {
                let mut section = Self::default();
                for (key, value) in table {
                    let full = $crate::config::reader::full_key(name, key.get_ref());
                    $(
                        if key.get_ref() == $crate::config::reader::key_name(stringify!($key)) {
                            section.$key = $crate::config::reader::Written::read(&full, value, problems);
                            continue;
                        }
                    )*
                    $crate::config::reader::unknown_key(name, key, value, <Self as $crate::config::reader::Section>::KEYS, problems);
                }
                section
            }
        }

        impl $crate::config::reader::FromToml for $name {
            fn read(
                key: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                problems: &mut $crate::config::problem::Problems<'_>,
            ) -> Option<Self> {
                let table = $crate::config::reader::table(key, value, problems)?;
                Some(<Self as $crate::config::reader::Section>::read_table(key, table, problems))
            }
        }
    };
}
pub(super) use section;

/// A key as it is written: a Rust identifier without the mark that some need.
pub const fn key_name(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

/// `section.key`, or only the key at the top.
pub fn full_key(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// The table in `value`, or a problem.
pub fn table<'v, 'i>(
    key: &str,
    value: &'v Spanned<DeValue<'i>>,
    problems: &mut Problems<'_>,
) -> Option<&'v DeTable<'i>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        cannot_be(key, value.span(), "must be a table", problems);
    }
    table
}

/// Reports that what stands at `span` is not allowed there; `must` says what is.
pub fn cannot_be(key: &str, span: Range<usize>, must: impl Into<String>, problems: &mut Problems<'_>) {
    let message = format!("`{key}` cannot be {}", problems.written(span.clone()));
    problems.add(Problem::new(span, message, must));
}

/// A list. Elements that cannot be read are left out.
impl<T: FromToml> FromToml for Vec<Spanned<T>> {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            let written = problems.written(value.span());
            let problem = Problem::new(value.span(), format!("`{key}` cannot be {written}"), "must be a list");
            problems.add(match value.get_ref() {
                DeValue::Table(_) => problem.help(format!("write [[{key}]], in double brackets: there can be several")),
                _ => problem.help(format!("write [{written}]")),
            });
            return None;
        };
        let read =
            |item: &Spanned<DeValue<'_>>| T::read(key, item, problems).map(|read| Spanned::new(item.span(), read));
        Some(array.iter().filter_map(read).collect())
    }
}

/// What in `known` comes nearest to `typed`, if anything does.
pub fn nearest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&typed, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.len().max(typed.len()) / 3 || name.to_lowercase() == typed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Reports a key that is not known, with the nearest that is.
pub fn unknown_key(
    section: &str,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    known: &[&str],
    problems: &mut Problems<'_>,
) {
    let full = full_key(section, key.get_ref());
    if looks_secret(key.get_ref()) {
        problems.mask(value.span());
        let files: Vec<_> = known.iter().filter(|known| known.ends_with("_file") && **known != "ca_file").collect();
        let help = match files.as_slice() {
            [] => "secrets are read from files of their own, never from this one".to_owned(),
            files => format!(
                "put it into a file of its own and name that: {}",
                files.iter().map(|file| format!("{file} = \"…\"")).collect::<Vec<_>>().join(" or ")
            ),
        };
        let problem = Problem::new(key.span(), format!("`{full}`: a secret cannot stand in this file"), "not here");
        problems.add(problem.help(help));
        return;
    }
    let near = nearest(key.get_ref(), known.iter().copied());
    if let Some(near) = near {
        problems.meant(full_key(section, near));
    }
    let label = near.map_or_else(|| "not known here".to_owned(), |near| format!("did you mean `{near}`?"));
    let place = if section.is_empty() { "at the top".to_owned() } else { format!("in `{section}`") };
    problems.add(
        Problem::new(key.span(), format!("`{full}` is not a key"), label)
            .help(format!("known {place}: {}", known.join(", "))),
    );
}

/// Whether a key that is not known was meant for a secret.
fn looks_secret(key: &str) -> bool {
    const WORDS: [&str; 10] = [
        "token",
        "password",
        "passwd",
        "secret",
        "bearer",
        "api_key",
        "apikey",
        "connection_string",
        "sas",
        "private_key",
    ];
    let key = key.to_lowercase().replace('-', "_");
    WORDS.iter().any(|word| key == *word || key.ends_with(&format!("_{word}")) || key.starts_with(&format!("{word}_")))
}
