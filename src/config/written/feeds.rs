//! What was written in a `[[feed]]`, by its type.

use toml::Spanned;
use toml::de::DeValue;

use super::drop::DropFeed;
use super::{DAY, HOUR, Raw, SECOND, name_in, type_of};
use crate::config::problem::Problems;
use crate::config::reader::{FromToml, Section, Written, section, table};
use crate::config::value::{Address, Glob, Name, OneOf, PathText, Time, Whole, Word};
use crate::feed::service_bus::Transport;

section! {
    /// A Service Bus subscription.
    ServiceBusFeed {
        name: Name,
        r#type: Raw,
        tenant_service: Address,
        integration_name: String,
        connection_string_file: PathText,
        subscription: String,
        blob_urls_file: PathText,
        include: Vec<Spanned<Glob>>,
        exclude: Vec<Spanned<Glob>>,
        transport: OneOf<Transport>,
        batch_messages_max: Whole<1, 5_000>,
        batch_wait: Time<0, { 10 * SECOND }>,
        reconnect_min: Time<1, HOUR>,
        reconnect_max: Time<1, DAY>,
        reconnect_reset: Time<SECOND, DAY>,
        silence_max: Time<SECOND, DAY>,
        ca_file: PathText,
    }
}

/// A feed of any type.
#[derive(Clone, Debug)]
pub enum Feed {
    /// `type = "service-bus"`.
    ServiceBus(Box<ServiceBusFeed>),
    /// `type = "drop"`.
    Drop(Box<DropFeed>),
    /// No known type; already reported. Its name is kept, so that a route that names it is not wrong as well.
    Unknown(Written<Name>),
}

impl Feed {
    /// Its name.
    pub fn name(&self) -> &Written<Name> {
        match self {
            Self::ServiceBus(feed) => &feed.name,
            Self::Drop(feed) => &feed.name,
            Self::Unknown(name) => name,
        }
    }
}

impl FromToml for Feed {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let table = table(key, value, problems)?;
        Some(match type_of(key, table, value.span(), &["service-bus", "drop"], problems) {
            Some("drop") => Self::Drop(Box::new(DropFeed::read_table(key, table, problems))),
            Some(_) => Self::ServiceBus(Box::new(ServiceBusFeed::read_table(key, table, problems))),
            None => Self::Unknown(name_in(key, table, problems)),
        })
    }
}

impl Word for Transport {
    const WORDS: &'static [(&'static str, Self)] = &[("amqp", Self::Amqp), ("websocket", Self::WebSocket)];
}
