//! What was written in an `[[entity]]`, a `[[route]]`, and `[routing]`.

use toml::Spanned;

use super::lengths::{SECOND, YEAR};
use crate::config::keys::Keys;
use crate::config::reader::section;
use crate::config::value::{Glob, Literal, Name, OneOf, Pointer, Time, Word};
use crate::route::{AtDeadline, Match, MissingParent};

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

impl Word for Match {
    const WORDS: &'static [(&'static str, Self)] = &[("first", Self::First), ("all", Self::All)];
}

impl Word for MissingParent {
    const WORDS: &'static [(&'static str, Self)] =
        &[("park", Self::Park), ("deliver", Self::Deliver), ("quarantine", Self::Quarantine)];
}

impl Word for AtDeadline {
    const WORDS: &'static [(&'static str, Self)] = &[("quarantine", Self::Quarantine), ("deliver", Self::Deliver)];
}
