//! What the feeds of a configuration mean: where each hears, and how often, for whom and at what cost.

use std::fmt::Write as _;

use serde::Serialize;

use super::globs::globs;
use crate::config::{AccessConfig, FeedConfig, FeedKind, show_time};
use crate::feed::bucket::BucketSettings;
use crate::feed::drop::{After, DropSettings, SourceSettings};
use crate::feed::service_bus::Transport;
use crate::feed::webhook::WebhookSettings;
use crate::feed::webhook::subscriptions::SubscriptionsSettings;
use crate::route::ReconcileSettings;

/// A feed, as the configuration means it.
#[derive(Debug, Serialize)]
pub(super) struct Feed {
    pub(super) name: String,
    r#type: &'static str,
    source: String,
    include: Vec<String>,
    exclude: Vec<String>,
    /// What its vendor is to send; absent where that is not for us to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions: Option<String>,
    /// What it is compared with; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reconciled: Option<String>,
}

impl Feed {
    pub(super) fn of(feed: &FeedConfig, reconciles: &[ReconcileSettings]) -> Self {
        let (r#type, source) = match &feed.kind {
            FeedKind::ServiceBus { settings, access } => {
                let transport = match settings.transport {
                    Transport::Amqp => "amqp",
                    Transport::WebSocket => "websocket",
                };
                ("service-bus", format!("over {transport}, {}", tokens_of(access)))
            }
            FeedKind::Drop { settings } => ("drop", dropped(settings)),
            FeedKind::Bucket { settings } => ("bucket", bucket(settings)),
            FeedKind::Webhook { settings } => ("webhook", webhook(settings)),
        };
        let (include, exclude) = (feed.include.clone(), feed.exclude.clone());
        let subscriptions = match &feed.kind {
            FeedKind::Webhook { settings } => settings.subscriptions.as_deref().map(subscriptions),
            _ => None,
        };
        let reconciled = reconciles.iter().find(|one| one.export == feed.name).map(reconciled);
        Self { name: feed.name.to_string(), r#type, source, include, exclude, subscriptions, reconciled }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines =
            vec![format!("{} {}", self.r#type, self.source), format!("hears {}", globs(&self.include, &self.exclude))];
        lines.extend(self.subscriptions.clone());
        lines.extend(self.reconciled.clone());
        lines
    }
}

fn dropped(settings: &DropSettings) -> String {
    let after = match &settings.after {
        After::Leave => "left there".to_owned(),
        After::Move(folder) => format!("moved to {folder}"),
        After::Delete => "deleted".to_owned(),
    };
    // Stores charge for listing.
    let cost = match settings.source {
        SourceSettings::S3(_) => {
            let lists = (24 * 3_600 / settings.poll.as_secs().max(1)).max(1);
            format!("; looks every {}, about {lists} LIST requests a day", show_time(settings.poll))
        }
        _ => String::new(),
    };
    format!("in {}, spooled in {}, then {after}{cost}", settings.source, settings.spool.display())
}

/// Where it looks, how often, and what that costs: stores charge for listing.
fn bucket(settings: &BucketSettings) -> String {
    let kept = match settings.retention {
        Some(retention) => format!(", where objects are kept for {}", show_time(retention)),
        None => String::new(),
    };
    format!(
        "{}, folders {}{kept}; looks every {} and {} back, about {} LIST requests a day; a first start goes back {}",
        settings.access,
        settings.folder.as_str(),
        show_time(settings.poll),
        show_time(settings.overlap),
        settings.lists_a_day(),
        show_time(settings.backfill),
    )
}

fn webhook(settings: &WebhookSettings) -> String {
    let scheme = if settings.certificate.is_some() { "https" } else { "http" };
    let mut text = format!("on {scheme}://{}{}", settings.listen, settings.path);
    let sender = &settings.sender;
    if let Some(secret) = &sender.secret {
        let _ = write!(text, ", {} as in {}", secret.header, secret.file.display());
    }
    if let Some(signature) = &sender.signature {
        let _ = write!(text, ", signed in {} with {}", signature.header, signature.key_file.display());
    }
    if sender.secret.is_none() && sender.signature.is_none() {
        text.push_str(", by anyone");
    }
    if !sender.addresses.is_empty() {
        let networks: Vec<_> = sender.addresses.iter().map(ToString::to_string).collect();
        let _ = write!(text, ", from {}", networks.join(", "));
    }
    text
}

/// What the vendor is to send, and where that is said.
fn subscriptions(settings: &SubscriptionsSettings) -> String {
    let events: std::collections::BTreeSet<&str> = settings.wanted.iter().map(|wanted| wanted.event.as_str()).collect();
    let events: Vec<&str> = events.into_iter().collect();
    format!(
        "subscribes at {} as {}, under names that begin with {:?}: to {} come {}",
        settings.api.host_str().unwrap_or_default(),
        settings.identity.username,
        settings.name,
        settings.target,
        events.join(", "),
    )
}

/// What an export is compared with, and when.
fn reconciled(settings: &ReconcileSettings) -> String {
    let names: Vec<String> = settings.names.iter().map(|(webhook, export)| format!("{webhook} ({export})")).collect();
    format!(
        "compared with what {} brought, {} after it was written; only what is missing is delivered, of {}",
        settings.webhook,
        show_time(settings.settle),
        names.join(", ")
    )
}

fn tokens_of(access: &AccessConfig) -> String {
    match access {
        AccessConfig::TenantService { service, .. } => {
            format!("tokens from {} as {:?}", service.url, service.integration_name)
        }
        AccessConfig::Files(files) => format!("tokens from {}", files.connection_string_file.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::notice::FeedName;
    use crate::route::Nameless;

    #[test]
    fn an_export_is_told_with_what_it_is_compared_with() {
        let names = [("ORDER_CREATED", "order-created_event"), ("SHIPMENT_CREATED", "shipment-created_event")];
        let settings = ReconcileSettings {
            export: FeedName::new("export"),
            webhook: FeedName::new("fft"),
            names: names.map(|(webhook, export)| (webhook.to_owned(), export.to_owned())).to_vec(),
            id: "/id".to_owned(),
            version: "/version".to_owned(),
            settle: Duration::from_secs(8 * 86_400),
            remember: Duration::from_secs(30 * 86_400),
            nameless: Nameless::Deliver,
        };
        assert_eq!(
            reconciled(&settings),
            "compared with what fft brought, 8d after it was written; only what is missing is delivered, of ORDER_CREATED \
             (order-created_event), SHIPMENT_CREATED (shipment-created_event)"
        );
    }
}
