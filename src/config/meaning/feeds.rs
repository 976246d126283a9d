//! The meaning of `[identity]`, `[tokens]` and `[[feed]]`.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::{Rules, each, globs, section};
use crate::access::{IdentitySettings, StaticSettings, TenantServiceSettings};
use crate::config::problem::Problem;
use crate::config::value::{OneOf, Time, Whole};
use crate::config::written::{self, Document, Feed, ServiceBusFeed};
use crate::config::{AccessConfig, FeedConfig, FeedKind};
use crate::feed::filter::BlobTypeFilter;
use crate::feed::service_bus::{ServiceBusSettings, Transport};
use crate::notice::FeedName;

/// A month is what the vendor's people need to register a new certificate.
const CERTIFICATE_WARNING: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Tokens of the vendor live for about an hour; a refresh this early leaves time for several tries.
const REFRESH_AHEAD: Duration = Duration::from_secs(10 * 60);
/// The vendor asks not to be called again within five minutes.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(5 * 60);
/// Large enough that one fsync is shared by many; small enough to be settled well within a lock of 30 s.
const BATCH_MESSAGES_MAX: u64 = 500;
/// Short beside an fsync, so that waiting costs a lone message nothing that it would notice.
const BATCH_WAIT: Duration = Duration::from_millis(5);
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const RECONNECT_RESET: Duration = Duration::from_secs(5 * 60);
/// Service Bus sends a heartbeat at least every two minutes.
const SILENCE_MAX: Duration = Duration::from_secs(3 * 60);

/// When tokens are refreshed.
#[derive(Clone, Copy)]
struct Tokens {
    refresh_ahead: Duration,
    refresh_interval_min: Duration,
}

impl Rules<'_, '_> {
    pub(super) fn feeds(&mut self, document: &Document) -> Vec<FeedConfig> {
        let identity = self.identity(document);
        let tokens = self.tokens(&section(&document.tokens));
        let feeds: Vec<(&ServiceBusFeed, Range<usize>)> = each(&document.feed)
            .iter()
            .filter_map(|feed| match feed.get_ref() {
                Feed::ServiceBus(settings) => Some((settings.as_ref(), feed.span())),
                Feed::Unknown(_) => None,
            })
            .collect();
        if document.feed.is_absent() {
            let problem = Problem::new(0..0, "there is no [[feed]]", "nothing to hear");
            self.problems.add(problem.help("add [[feed]] with name, type, tenant_service and integration_name"));
        }
        self.unique(
            "feed",
            feeds
                .iter()
                .filter_map(|(feed, _)| feed.name.spanned().map(|name| (name.get_ref().0.as_str(), name.span()))),
        );
        let resolved: Vec<_> = feeds
            .iter()
            .filter_map(|(feed, span)| {
                self.feed(feed, span.clone(), document, identity.as_ref(), tokens).map(|config| (config, span.clone()))
            })
            .collect();
        self.warn_of_competition(&resolved);
        resolved.into_iter().map(|(config, _)| config).collect()
    }

    fn feed(
        &mut self,
        feed: &ServiceBusFeed,
        span: Range<usize>,
        document: &Document,
        identity: Option<&IdentitySettings>,
        tokens: Tokens,
    ) -> Option<FeedConfig> {
        let changes = self.changed.len();
        let name = self.required("[[feed]]", span.clone(), "name", &feed.name, "\"eg\"");
        let access = self.feed_access(feed, span.clone(), document, identity, tokens);
        let ca_file = match self.ca_file("feed.ca_file", &feed.ca_file) {
            Some(own) => Some(own),
            None => identity.and_then(|identity| identity.ca_file.clone()),
        };
        let include = if feed.include.is_absent() { vec!["*".to_owned()] } else { globs(&feed.include) };
        if let Some(list) = feed.include.spanned().filter(|list| list.get_ref().is_empty()) {
            self.problems.add(
                Problem::new(list.span(), "`feed.include` is empty: every notice would be skipped", "must name a glob")
                    .help("leave it out to hear everything"),
            );
        }
        let exclude = globs(&feed.exclude);
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
        let commit_notices_max = inbox.commit_notices_max.value().map_or(super::work::COMMIT_NOTICES_MAX, |max| max.0);
        self.in_order(
            ("feed.batch_messages_max", &feed.batch_messages_max, batch_messages_max),
            ("inbox.commit_notices_max", &inbox.commit_notices_max, commit_notices_max),
        );
        let filter = BlobTypeFilter::new(&include, &exclude);
        if let Err(error) = &filter {
            // Each glob was looked at when it was read; what is left is that they are too many.
            let problem = Problem::new(span, "the globs of this [[feed]] cannot be used together", error.to_string());
            self.problems.add(problem);
        }
        let filter = filter.ok()?;
        let settings = ServiceBusSettings {
            name: FeedName::new(name.map_or("", |name| name.get_ref().0.as_str())),
            filter: filter.clone(),
            transport: self.or(&key("transport"), &feed.transport, OneOf(Transport::default())).0,
            batch_messages_max: u32::try_from(batch_messages_max).expect("the reader holds it below 5000"),
            batch_wait: self.or(&key("batch_wait"), &feed.batch_wait, Time(BATCH_WAIT)).0,
            reconnect: (reconnect_min, reconnect_max),
            reconnect_reset: self.or(&key("reconnect_reset"), &feed.reconnect_reset, Time(RECONNECT_RESET)).0,
            silence_max: self.or(&key("silence_max"), &feed.silence_max, Time(SILENCE_MAX)).0,
            ca_file,
        };
        self.name_changes(changes, "feed", &name?.get_ref().0);
        let name = settings.name.clone();
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

    fn identity(&mut self, document: &Document) -> Option<IdentitySettings> {
        let written = document.identity.spanned()?;
        let (identity, span) = (written.get_ref(), written.span());
        let needs = |rules: &mut Self, key, value, example| {
            rules
                .required("[identity]", span.clone(), key, value, example)
                .map(|text: &Spanned<String>| text.get_ref().clone())
        };
        let client_id = needs(self, "client_id", &identity.client_id, "\"…\"");
        let scope = needs(self, "scope", &identity.scope, "\"…/.default\"");
        let authority = self.required(
            "[identity]",
            span.clone(),
            "authority",
            &identity.authority,
            "\"https://login.microsoftonline.com/…\"",
        );
        let certificates = self
            .required(
                "[identity]",
                span.clone(),
                "certificates",
                &identity.certificates,
                "\"/etc/longshore/certificates\"",
            )
            .and_then(|path| self.certificates("identity.certificates", path));
        let certificate_warning =
            self.or("identity.certificate_warning", &identity.certificate_warning, Time(CERTIFICATE_WARNING)).0;
        let ca_file = self.ca_file("identity.ca_file", &identity.ca_file);
        Some(IdentitySettings {
            authority: authority?.get_ref().0.clone(),
            client_id: client_id?,
            scope: scope?,
            certificates: certificates?,
            certificate_warning,
            ca_file,
        })
    }

    fn tokens(&mut self, written: &written::Tokens) -> Tokens {
        Tokens {
            refresh_ahead: self.or("tokens.refresh_ahead", &written.refresh_ahead, Time(REFRESH_AHEAD)).0,
            refresh_interval_min: self
                .or("tokens.refresh_interval_min", &written.refresh_interval_min, Time(REFRESH_INTERVAL_MIN))
                .0,
        }
    }

    /// Two feeds on one subscription each hear a part of it.
    fn warn_of_competition(&mut self, feeds: &[(FeedConfig, Range<usize>)]) {
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
