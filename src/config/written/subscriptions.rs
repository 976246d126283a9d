//! What was written in `[feed.subscriptions]` of a webhook.

use toml::Spanned;

use crate::config::reader::section;
use crate::config::value::{Address, OneOf, PathText, Word};

section! {
    /// What the vendor is to send.
    Subscriptions {
        api: Address,
        target: Address,
        former_targets: Vec<Spanned<Address>>,
        name: String,
        events: Vec<Spanned<String>>,
        limited: Vec<Spanned<Limited>>,
        username: String,
        password_file: PathText,
        api_key: String,
        api_key_file: PathText,
        sign_in: Address,
        refresh: Address,
        ca_file: PathText,
    }
}

section! {
    /// An event of some places only.
    Limited {
        event: String,
        contexts: Vec<Spanned<Context>>,
    }
}

section! {
    /// Where an event has to come from.
    Context {
        r#type: OneOf<ContextKind>,
        values: Vec<Spanned<String>>,
    }
}

/// `type` of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextKind {
    /// A facility.
    Facility,
    /// A group of facilities.
    FacilityGroup,
}

impl Word for ContextKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("FACILITY", Self::Facility), ("FACILITY_GROUP", Self::FacilityGroup)];
}
