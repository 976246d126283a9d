//! What was written in a `[[feed]]`, by its type.

use toml::Spanned;
use toml::de::DeValue;

use super::drop::DropFeed;
use super::kind::{Raw, name_in, type_of};
use super::lengths::{DAY, HOUR, SECOND, YEAR};
use super::subscriptions::Subscriptions;
use crate::config::problem::Problems;
use crate::config::reader::{FromToml, Section, Written, section, table};
use crate::config::value::{Address, Glob, Listen, Name, Network, OneOf, PathText, Pointer, Size, Time, Whole, Word};
use crate::feed::service_bus::Transport;
use crate::feed::webhook::{Arrays, SignatureEncoding};

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
        message_bytes_max: Size<1_024>,
        reconnect_min: Time<1, HOUR>,
        reconnect_max: Time<1, DAY>,
        reconnect_reset: Time<SECOND, DAY>,
        silence_max: Time<SECOND, DAY>,
        ca_file: PathText,
    }
}

section! {
    /// A bucket of day folders.
    BucketFeed {
        name: Name,
        r#type: Raw,
        provider: OneOf<BucketProvider>,
        bucket: String,
        endpoint: Address,
        key_file: PathText,
        region: String,
        path_style: bool,
        access_key_file: PathText,
        secret_key_file: PathText,
        account: String,
        sas_file: PathText,
        account_key_file: PathText,
        folder: String,
        content_type: String,
        blob_type: String,
        blob_type_from: OneOf<BucketTypeFrom>,
        blob_type_pattern: String,
        record_blob_type: Pointer,
        record: Pointer,
        include: Vec<Spanned<Glob>>,
        exclude: Vec<Spanned<Glob>>,
        poll: Time<SECOND, DAY>,
        overlap: Time<0, YEAR>,
        backfill: Time<0, { 100 * YEAR }>,
        retention: Time<DAY, { 100 * YEAR }>,
        retention_warning: Time<0, { 100 * YEAR }>,
        retry_min: Time<1, HOUR>,
        retry_max: Time<1, DAY>,
        ca_file: PathText,
    }
}

/// `provider` of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketProvider {
    /// Google Cloud Storage.
    Google,
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
}

/// `blob_type_from` of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketTypeFrom {
    /// The feed's own `blob_type`.
    Feed,
    /// The folder of the object.
    Folder,
    /// The object's name, by `blob_type_pattern`.
    Name,
    /// Each record, by `record_blob_type`.
    Record,
}

section! {
    /// A webhook that senders post to.
    WebhookFeed {
        name: Name,
        r#type: Raw,
        listen: Listen,
        path: String,
        certificate_file: PathText,
        key_file: PathText,
        include: Vec<Spanned<Glob>>,
        exclude: Vec<Spanned<Glob>>,
        blob_type: String,
        event: Pointer,
        id: Pointer,
        payload: Vec<Spanned<Pointer>>,
        arrays: OneOf<Arrays>,
        secret_header: String,
        secret_file: PathText,
        signature_header: String,
        signature_key_file: PathText,
        signature_prefix: String,
        signature_encoding: OneOf<SignatureEncoding>,
        anyone: bool,
        addresses: Vec<Spanned<Network>>,
        forwarded_header: String,
        proxies: Vec<Spanned<Network>>,
        connections_max: Whole<1, 100_000>,
        body_bytes_max: Size<1_024>,
        bodies_bytes_max: Size<1_024>,
        idle_timeout: Time<SECOND, HOUR>,
        answer_timeout: Time<100, HOUR>,
        batch_requests_max: Whole<1, 5_000>,
        subscriptions: Subscriptions,
        batch_wait: Time<0, { 5 * SECOND }>,
    }
}

/// A feed of any type.
#[derive(Clone, Debug)]
pub enum Feed {
    /// `type = "service-bus"`.
    ServiceBus(Box<ServiceBusFeed>),
    /// `type = "drop"`.
    Drop(Box<DropFeed>),
    /// `type = "bucket"`.
    Bucket(Box<BucketFeed>),
    /// `type = "webhook"`.
    Webhook(Box<WebhookFeed>),
    /// No known type; already reported. Its name is kept, so that a route that names it is not wrong as well.
    Unknown(Written<Name>),
}

impl Feed {
    /// Its name.
    pub fn name(&self) -> &Written<Name> {
        match self {
            Self::ServiceBus(feed) => &feed.name,
            Self::Drop(feed) => &feed.name,
            Self::Bucket(feed) => &feed.name,
            Self::Webhook(feed) => &feed.name,
            Self::Unknown(name) => name,
        }
    }
}

impl FromToml for Feed {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let table = table(key, value, problems)?;
        Some(match type_of(key, table, value.span(), &["service-bus", "drop", "bucket", "webhook"], problems) {
            Some("drop") => Self::Drop(Box::new(DropFeed::read_table(key, table, problems))),
            Some("bucket") => Self::Bucket(Box::new(BucketFeed::read_table(key, table, problems))),
            Some("webhook") => Self::Webhook(Box::new(WebhookFeed::read_table(key, table, problems))),
            Some(_) => Self::ServiceBus(Box::new(ServiceBusFeed::read_table(key, table, problems))),
            None => Self::Unknown(name_in(key, table, problems)),
        })
    }
}

impl Word for BucketProvider {
    const WORDS: &'static [(&'static str, Self)] = &[("gcs", Self::Google), ("s3", Self::S3), ("azure", Self::Azure)];
}

impl Word for BucketTypeFrom {
    const WORDS: &'static [(&'static str, Self)] =
        &[("feed", Self::Feed), ("folder", Self::Folder), ("name", Self::Name), ("record", Self::Record)];
}

impl Word for Transport {
    const WORDS: &'static [(&'static str, Self)] = &[("amqp", Self::Amqp), ("websocket", Self::WebSocket)];
}

impl Word for Arrays {
    const WORDS: &'static [(&'static str, Self)] = &[("split", Self::Split), ("whole", Self::Whole)];
}

impl Word for SignatureEncoding {
    const WORDS: &'static [(&'static str, Self)] = &[("hex", Self::Hex), ("base64", Self::Base64)];
}
