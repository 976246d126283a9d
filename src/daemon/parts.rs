//! Makes the parts that the configuration means.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::access::{AccessError, TokenSource, static_tokens, vendor_tokens};
use crate::config::{AccessConfig, Config, FeedKind};
use crate::feed::Feed;
use crate::feed::bucket::{BucketContent, BucketFeed, BucketSettings};
use crate::feed::drop::{DropFeed, SpoolStore};
use crate::feed::service_bus::ServiceBusFeed;
use crate::feed::store::Connection;
use crate::feed::webhook::WebhookFeed;
use crate::inbox::ledger::Quarantine;
use crate::inbox::{InboxError, Ledger, SharedInbox, SqliteInbox};
use crate::net::{HttpLimits, NetError};
use crate::notice::{FeedName, SinkName};
use crate::ops::Context;
use crate::payload::PayloadOpener;
use crate::route::{Envelope, EnvelopeSettings, Reconcile, Reconciles, RouteError, Router};
use crate::sink::{Sink, SinkContext, SinkError};
use crate::worker::{Openers, Workers};

/// Why the parts cannot be put together, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The inbox cannot be opened, or only be opened anew.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// A sink's settings cannot work.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A route's settings cannot work.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A token source's settings cannot work.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// There is no way to the network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The address of health and metrics cannot be had.
    #[error(
        "health and metrics cannot be served on {address}: {error}; set `listen` in [ops] to another address, or to \"\" for none"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
}

/// The parts of a daemon, not running yet.
pub struct Parts {
    /// The inbox, as feeds and workers use it.
    pub inbox: SharedInbox,
    /// The inbox, as people use it.
    pub ledger: Arc<dyn Ledger>,
    /// What was set aside in it.
    pub quarantine: Arc<dyn Quarantine>,
    /// The feeds.
    pub feeds: Vec<Box<dyn Feed>>,
    /// The workers.
    pub workers: Workers,
}

impl Parts {
    /// Opens the inbox and makes the rest; connects to nothing. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What cannot be made, and why.
    pub async fn build(config: &Config, context: &Context, stop: &CancellationToken) -> Result<Self, BuildError> {
        let settings = config.inbox.clone();
        let clock = Arc::clone(&context.clock);
        let identity = Reconciles::new(&reconciles(config)?);
        let opened = tokio::task::spawn_blocking(move || {
            Ok::<_, InboxError>(SqliteInbox::open(&settings, clock)?.for_writing()?.remembering(Arc::new(identity)))
        });
        let inbox = opened.await.map_err(|panic| InboxError::Unusable {
            path: config.inbox.path.display().to_string(),
            reason: panic.to_string(),
        })??;
        let inbox = Arc::new(inbox);
        let tokens = token_sources(config, context, stop)?;
        let sinks = sinks(config, context)?;
        let router = Arc::new(router(config)?);
        let shared: SharedInbox = Arc::clone(&inbox) as SharedInbox;
        let bodies = PayloadOpener::of_bodies(config.fetch.clone(), config.limits.clone(), context.clone());
        let openers = Openers { of_feeds: openers(config, context, &tokens, &shared)?, bodies };
        let workers = Workers::new(config.work.clone(), Arc::clone(&shared), router, sinks, openers, context.clone());
        let (ledger, quarantine) = (Arc::clone(&inbox) as Arc<dyn Ledger>, inbox as Arc<dyn Quarantine>);
        Ok(Self { inbox: shared, ledger, quarantine, feeds: feeds(config, context, &tokens), workers })
    }
}

/// The configured routes, which know how the records of each feed come wrapped.
///
/// # Errors
/// When they cannot be used.
pub fn router(config: &Config) -> Result<Router, RouteError> {
    let router = Router::new(config.routes.clone(), config.route_match, &config.entities)?;
    Ok(router.with_envelopes(envelopes(config)?).with_reconciles(&reconciles(config)?))
}

/// The exports that are compared with webhooks.
fn reconciles(config: &Config) -> Result<Vec<Reconcile>, RouteError> {
    config.reconciles.iter().map(|one| Reconcile::new(one.clone()).map_err(RouteError::Reconcile)).collect()
}

/// How records come wrapped, for the feeds where they do.
fn envelopes(config: &Config) -> Result<HashMap<FeedName, Envelope>, RouteError> {
    let wrapped = config.feeds.iter().filter_map(|feed| match &feed.kind {
        FeedKind::Bucket { settings } if settings.envelope != EnvelopeSettings::default() => {
            let envelope = Envelope::new(&settings.envelope);
            Some(envelope.map(|envelope| (feed.name.clone(), envelope)).map_err(RouteError::Envelope))
        }
        _ => None,
    });
    wrapped.collect()
}

/// The configured sinks.
///
/// # Errors
/// Settings that cannot work, with the sink's name.
pub fn sinks(config: &Config, context: &Context) -> Result<HashMap<SinkName, Arc<dyn Sink>>, SinkError> {
    crate::sink::build(config.sinks.clone(), &SinkContext { clock: Arc::clone(&context.clock) })
}

/// The token source of each feed that takes the vendor's tokens; feeds with equal access share one.
///
/// # Errors
/// When the settings cannot work, such as for a CA file that cannot be read.
pub fn token_sources(
    config: &Config,
    context: &Context,
    stop: &CancellationToken,
) -> Result<HashMap<FeedName, Arc<dyn TokenSource>>, AccessError> {
    let mut made: Vec<(&AccessConfig, Arc<dyn TokenSource>)> = Vec::new();
    let mut of_feeds = HashMap::new();
    for feed in &config.feeds {
        let Some(access) = feed.access() else { continue };
        let shared = made.iter().find(|(other, _)| *other == access).map(|(_, tokens)| Arc::clone(tokens));
        let tokens = match shared {
            Some(tokens) => tokens,
            None => {
                let tokens = token_source(access, context, stop)?;
                made.push((access, Arc::clone(&tokens)));
                tokens
            }
        };
        of_feeds.insert(feed.name.clone(), tokens);
    }
    Ok(of_feeds)
}

fn token_source(
    access: &AccessConfig,
    context: &Context,
    stop: &CancellationToken,
) -> Result<Arc<dyn TokenSource>, AccessError> {
    Ok(match access {
        AccessConfig::TenantService { identity, service } => {
            vendor_tokens((**identity).clone(), service.clone(), context, stop)?
        }
        AccessConfig::Files(settings) => static_tokens(settings.clone(), context, stop),
    })
}

/// The configured feeds.
#[must_use]
pub fn feeds(
    config: &Config,
    context: &Context,
    tokens: &HashMap<FeedName, Arc<dyn TokenSource>>,
) -> Vec<Box<dyn Feed>> {
    config
        .feeds
        .iter()
        .filter_map(|feed| -> Option<Box<dyn Feed>> {
            Some(match &feed.kind {
                FeedKind::ServiceBus { settings, .. } => {
                    let tokens = Arc::clone(tokens.get(&feed.name)?);
                    Box::new(ServiceBusFeed::new((**settings).clone(), tokens, context.clone()))
                }
                FeedKind::Bucket { settings } => {
                    let settings = (**settings).clone();
                    Box::new(BucketFeed::new(settings.clone(), &bucket(config, &settings), context.clone()))
                }
                FeedKind::Drop { settings } => Box::new(DropFeed::new((**settings).clone(), context.clone())),
                FeedKind::Webhook { settings } => Box::new(WebhookFeed::new((**settings).clone(), context.clone())),
            })
        })
        .collect()
}

/// The way to a feed's bucket.
#[must_use]
pub fn bucket(config: &Config, settings: &BucketSettings) -> Arc<Connection> {
    let fetch = &config.fetch;
    let limits = HttpLimits { connect: fetch.connect_timeout, idle: fetch.idle_timeout, total: None };
    Arc::new(Connection::new(settings.access.clone(), limits))
}

/// One opener for each feed: each kind keeps its payloads elsewhere, under its own tokens.
fn openers(
    config: &Config,
    context: &Context,
    tokens: &HashMap<FeedName, Arc<dyn TokenSource>>,
    inbox: &SharedInbox,
) -> Result<HashMap<FeedName, Arc<PayloadOpener>>, NetError> {
    let mut openers = HashMap::new();
    for feed in &config.feeds {
        let (fetch, limits, context) = (config.fetch.clone(), config.limits.clone(), context.clone());
        let opener = match &feed.kind {
            FeedKind::ServiceBus { .. } => {
                PayloadOpener::new(fetch, limits, tokens.get(&feed.name).map(Arc::clone), context)?
            }
            FeedKind::Drop { settings } => {
                let spool = SpoolStore::new(settings.spool.clone());
                PayloadOpener::of_store(fetch, limits, Arc::new(spool), context)
            }
            FeedKind::Bucket { settings } => {
                let content = BucketContent::new((**settings).clone(), bucket(config, settings), Arc::clone(inbox));
                PayloadOpener::of_store(fetch, limits, Arc::new(content), context)
            }
            FeedKind::Webhook { .. } => PayloadOpener::of_bodies(fetch, limits, context),
        };
        openers.insert(feed.name.clone(), Arc::new(opener));
    }
    Ok(openers)
}
