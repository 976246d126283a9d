//! The meaning of a `[[feed]]` of type `service-bus`.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::super::{Rules, section};
use super::Common;
use super::identity::Tokens;
use crate::access::{IdentitySettings, StaticSettings, TenantServiceSettings};
use crate::config::problem::Problem;
use crate::config::value::{OneOf, Size, Time, Whole};
use crate::config::written::{Document, ServiceBusFeed};
use crate::config::{AccessConfig, FeedConfig, FeedKind};
use crate::feed::service_bus::{ServiceBusSettings, Transport};

/// Large enough that one fsync is shared by many; small enough to be settled well within a lock of 30 s.
const BATCH_MESSAGES_MAX: u64 = 500;
/// Short beside an fsync, so that waiting costs a lone message nothing that it would notice.
const BATCH_WAIT: Duration = Duration::from_millis(5);
/// An announcement is a few hundred bytes; Service Bus takes 256 KiB, or up to 100 MiB in its premium tier.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const RECONNECT_RESET: Duration = Duration::from_secs(5 * 60);
/// Service Bus sends a heartbeat at least every two minutes.
const SILENCE_MAX: Duration = Duration::from_secs(3 * 60);

impl Rules<'_, '_> {
    pub(super) fn service_bus_feed(
        &mut self,
        feed: &ServiceBusFeed,
        span: Range<usize>,
        document: &Document,
        identity: Option<&IdentitySettings>,
        tokens: Tokens,
    ) -> Option<FeedConfig> {
        let changes = self.changed.len();
        let common = self.common(span.clone(), &feed.name, "\"eg\"", &feed.include, &feed.exclude);
        let access = self.feed_access(feed, span, document, identity, tokens);
        let ca_file = match self.ca_file("feed.ca_file", &feed.ca_file) {
            Some(own) => Some(own),
            None => identity.and_then(|identity| identity.ca_file.clone()),
        };
        let key = |key: &str| format!("feed.{key}");
        let reconnect_min = self.or(&key("reconnect_min"), &feed.reconnect_min, Time(RECONNECT.0)).0;
        let reconnect_max = self.or(&key("reconnect_max"), &feed.reconnect_max, Time(RECONNECT.1)).0;
        self.in_order(
            ("feed.reconnect_min", &feed.reconnect_min, reconnect_min),
            ("feed.reconnect_max", &feed.reconnect_max, reconnect_max),
        );
        let batch_messages_max =
            self.or(&key("batch_messages_max"), &feed.batch_messages_max, Whole(BATCH_MESSAGES_MAX)).0;
        // A batch is stored in one commit.
        let inbox = section(&document.inbox);
        let commit_notices_max =
            inbox.commit_notices_max.value().map_or(super::super::work::COMMIT_NOTICES_MAX, |max| max.0);
        self.in_order(
            ("feed.batch_messages_max", &feed.batch_messages_max, batch_messages_max),
            ("inbox.commit_notices_max", &inbox.commit_notices_max, commit_notices_max),
        );
        let transport = self.or(&key("transport"), &feed.transport, OneOf(Transport::default())).0;
        let batch_wait = self.or(&key("batch_wait"), &feed.batch_wait, Time(BATCH_WAIT)).0;
        let message_bytes_max = self.or(&key("message_bytes_max"), &feed.message_bytes_max, Size(MESSAGE_BYTES_MAX)).0;
        let reconnect_reset = self.or(&key("reconnect_reset"), &feed.reconnect_reset, Time(RECONNECT_RESET)).0;
        let silence_max = self.or(&key("silence_max"), &feed.silence_max, Time(SILENCE_MAX)).0;
        let Common { name, filter, include, exclude } = common?;
        self.name_changes(changes, "feed", name.as_str());
        let settings = Box::new(ServiceBusSettings {
            name: name.clone(),
            filter: filter.clone(),
            transport,
            batch_messages_max: u32::try_from(batch_messages_max).expect("the reader holds it below 5000"),
            batch_wait,
            message_bytes_max: usize::try_from(message_bytes_max).unwrap_or(usize::MAX),
            reconnect: (reconnect_min, reconnect_max),
            reconnect_reset,
            silence_max,
            ca_file,
        });
        Some(FeedConfig { name, filter, include, exclude, kind: FeedKind::ServiceBus { settings, access: access? } })
    }

    fn feed_access(
        &mut self,
        feed: &ServiceBusFeed,
        span: Range<usize>,
        document: &Document,
        identity: Option<&IdentitySettings>,
        tokens: Tokens,
    ) -> Option<AccessConfig> {
        if let (Some(service), Some(file)) = (feed.tenant_service.spanned(), feed.connection_string_file.spanned()) {
            self.problems.add(
                Problem::new(service.span(), "a [[feed]] takes its tokens from two places", "either from here")
                    .also(file.span(), "or from here")
                    .help("keep one of tenant_service and connection_string_file"),
            );
            return None;
        }
        if !feed.tenant_service.is_absent() {
            return self.tenant_service(feed, span, document, identity, tokens);
        }
        if feed.connection_string_file.is_absent() {
            self.problems.add(
                Problem::new(
                    span,
                    "a [[feed]] does not say where its tokens come from",
                    "add tenant_service = \"https://…\"",
                )
                .help(
                    "tenant_service and integration_name ask the vendor for them; \
                     connection_string_file and blob_urls_file read them from files",
                ),
            );
            return None;
        }
        let connection_string = feed.connection_string_file.spanned()?;
        let connection_string_file = self.secret_file("feed.connection_string_file", connection_string);
        let blob_urls_file =
            feed.blob_urls_file.spanned().and_then(|file| self.secret_file("feed.blob_urls_file", file));
        Some(AccessConfig::Files(StaticSettings {
            connection_string_file: connection_string_file?,
            subscription: feed.subscription.value().cloned(),
            blob_urls_file,
            refresh_ahead: tokens.refresh_ahead,
            refresh_interval_min: tokens.refresh_interval_min,
        }))
    }

    fn tenant_service(
        &mut self,
        feed: &ServiceBusFeed,
        span: Range<usize>,
        document: &Document,
        identity: Option<&IdentitySettings>,
        tokens: Tokens,
    ) -> Option<AccessConfig> {
        if document.identity.is_absent() {
            let at = feed.tenant_service.spanned().map_or_else(|| span.clone(), Spanned::span);
            self.problems.add(
                Problem::new(at, "the token service asks who we are, and there is no [identity]", "needs [identity]")
                    .help("add [identity] with authority, client_id, scope and certificates"),
            );
        }
        let name = self.required("[[feed]]", span, "integration_name", &feed.integration_name, "\"…\"");
        Some(AccessConfig::TenantService {
            identity: Box::new(identity?.clone()),
            service: TenantServiceSettings {
                url: feed.tenant_service.value()?.0.clone(),
                integration_name: name?.get_ref().clone(),
                refresh_ahead: tokens.refresh_ahead,
                refresh_interval_min: tokens.refresh_interval_min,
            },
        })
    }

    /// Two feeds on one subscription each hear a part of it.
    pub(super) fn warn_of_competition(&mut self, feeds: &[(FeedConfig, Range<usize>)]) {
        for (at, (feed, span)) in feeds.iter().enumerate() {
            let Some((_, first)) =
                feeds[..at].iter().find(|(other, _)| feed.access().is_some() && other.access() == feed.access())
            else {
                continue;
            };
            self.problems.add(
                Problem::new(
                    span.clone(),
                    "two feeds hear the same subscription, and each will get a part of it",
                    "this",
                )
                .also(first.clone(), "and this")
                .help("give each its own integration_name, or take one away")
                .warning(),
            );
        }
    }
}
