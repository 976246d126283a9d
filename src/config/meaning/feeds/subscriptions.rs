//! The meaning of `[feed.subscriptions]` of a webhook.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use url::Url;

use super::super::{Rules, each};
use crate::access::{ApiKey, IdentityToolkitSettings};
use crate::blob_type::BlobTypeFilter;
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::Address;
use crate::config::written::{ContextKind, Limited, Subscriptions};
use crate::feed::webhook::subscriptions::{
    EventContext, FACILITY, FACILITY_GROUP, SUBSCRIPTIONS_OF_EVENT_MAX, SubscriptionsSettings, Wanted,
};

const NAME: &str = "longshore";
const SIGN_IN: &str = "https://identitytoolkit.googleapis.com";
const REFRESH: &str = "https://securetoken.googleapis.com";
const SECTION: &str = "`feed.subscriptions`";

impl Rules<'_, '_> {
    /// The subscriptions, if there are any. The feed's own `blob_type` and `filter` say which events it would skip.
    pub(super) fn subscriptions(
        &mut self,
        written: &Written<Subscriptions>,
        blob_type: &str,
        filter: Option<&BlobTypeFilter>,
    ) -> Option<SubscriptionsSettings> {
        let section = written.spanned()?;
        let (keys, span) = (section.get_ref(), section.span());
        let api = self.required(SECTION, span.clone(), "api", &keys.api, "\"https://….api.fulfillmenttools.com\"");
        let target = self.required(SECTION, span.clone(), "target", &keys.target, "\"https://…/events\"");
        if let Some(target) = target.filter(|target| target.get_ref().0.scheme() != "https") {
            let message = "`feed.subscriptions.target`: the vendor delivers over https only";
            self.problems.add(Problem::new(target.span(), message, "must be an https address"));
        }
        let wanted = self.wanted(keys, span.clone(), blob_type, filter);
        let identity = self.identity_toolkit(keys, span);
        let name = self.or_text("feed.subscriptions.name", &keys.name, NAME);
        let ca_file = self.ca_file("feed.subscriptions.ca_file", &keys.ca_file);
        Some(SubscriptionsSettings {
            api: api?.get_ref().0.clone(),
            target: target?.get_ref().0.clone(),
            former_targets: each(&keys.former_targets).iter().map(|target| target.get_ref().0.clone()).collect(),
            name,
            wanted: wanted?,
            identity: identity?,
            ca_file,
        })
    }

    fn identity_toolkit(&mut self, keys: &Subscriptions, span: Range<usize>) -> Option<IdentityToolkitSettings> {
        let username = self.required(SECTION, span.clone(), "username", &keys.username, "\"…@ocff-….com\"");
        let username = username.map(|username| username.get_ref().clone());
        let password_file = self
            .required(SECTION, span.clone(), "password_file", &keys.password_file, "\"credential:fft-password\"")
            .and_then(|file| self.secret_file("feed.subscriptions.password_file", file));
        let api_key = match (keys.api_key.spanned(), keys.api_key_file.spanned()) {
            (key, Some(file)) => {
                if let Some(key) = key {
                    let message = "`feed.subscriptions.api_key` is without effect: `api_key_file` counts";
                    let problem = Problem::new(key.span(), message, "take one away");
                    self.problems.add(problem.also(file.span(), "the other").warning());
                }
                self.secret_file("feed.subscriptions.api_key_file", file).map(ApiKey::File)
            }
            (Some(key), None) => Some(ApiKey::Written(key.get_ref().clone())),
            (None, None) if keys.api_key.is_absent() && keys.api_key_file.is_absent() => {
                let message = format!("`api_key` is missing in {SECTION}");
                self.problems.add(Problem::new(span, message, "add api_key or api_key_file, as the vendor told it"));
                None
            }
            (None, None) => None,
        };
        let mut address = |key: &str, written: &Written<Address>, default: &str| {
            let text = written.value().map(|address| address.0.to_string());
            let default = Url::parse(default).ok()?;
            self.note_change(key, text.as_deref(), default.as_str());
            Some(written.value().map_or(default, |address| address.0.clone()))
        };
        let sign_in = address("feed.subscriptions.sign_in", &keys.sign_in, SIGN_IN);
        let refresh = address("feed.subscriptions.refresh", &keys.refresh, REFRESH);
        Some(IdentityToolkitSettings {
            sign_in: sign_in?,
            refresh: refresh?,
            api_key: api_key?,
            username: username?,
            password_file: password_file?,
        })
    }

    fn wanted(
        &mut self,
        keys: &Subscriptions,
        span: Range<usize>,
        blob_type: &str,
        filter: Option<&BlobTypeFilter>,
    ) -> Option<Vec<Wanted>> {
        let mut all: Vec<(Wanted, Range<usize>)> =
            each(&keys.events).iter().map(|event| (Wanted::new(event.get_ref(), Vec::new()), event.span())).collect();
        for limited in each(&keys.limited) {
            all.push((self.limited(limited)?, limited.span()));
        }
        if all.is_empty() && keys.events.is_absent() && keys.limited.is_absent() {
            let message = format!("`events` is missing in {SECTION}");
            self.problems.add(Problem::new(span, message, "add events = [\"ORDER_CREATED\"]"));
        }
        let mut of_event: BTreeMap<String, usize> = BTreeMap::new();
        for (at, (wanted, span)) in all.iter().enumerate() {
            let event = &wanted.event;
            if let Some((_, first)) = all[..at].iter().find(|(other, _)| other == wanted) {
                let message = format!("the subscription of {event} stands here twice");
                self.problems.add(Problem::new(span.clone(), message, "take it away").also(first.clone(), "the first"));
            }
            let count = of_event.entry(event.clone()).or_insert(0);
            *count += 1;
            if *count == SUBSCRIPTIONS_OF_EVENT_MAX + 1 {
                let message = format!("there are more than {SUBSCRIPTIONS_OF_EVENT_MAX} subscriptions of {event}");
                self.problems.add(Problem::new(span.clone(), message, "the vendor takes no more"));
            }
            if filter.is_some_and(|filter| !filter.wants(&blob_type.replace("{event}", event))) {
                let message = format!("{event} is subscribed to, and skipped by this feed's own filter");
                let problem = Problem::new(span.clone(), message, "correct `include` and `exclude`, or take it away");
                self.problems.add(problem.warning());
            }
        }
        Some(all.into_iter().map(|(wanted, _)| wanted).collect())
    }

    fn limited(&mut self, written: &Spanned<Limited>) -> Option<Wanted> {
        const SECTION: &str = "`feed.subscriptions.limited`";
        let (keys, span) = (written.get_ref(), written.span());
        let event = self.required(SECTION, span.clone(), "event", &keys.event, "\"PICK_JOB_CREATED\"");
        let example = "[{ type = \"FACILITY\", values = [\"…\"] }]";
        let contexts = self.required(SECTION, span, "contexts", &keys.contexts, example)?;
        let mut read = Vec::new();
        for context in contexts.get_ref() {
            let (keys, span) = (context.get_ref(), context.span());
            let section = "`feed.subscriptions.limited.contexts`";
            let kind = self.required(section, span.clone(), "type", &keys.r#type, "\"FACILITY\"");
            let values = self.required(section, span.clone(), "values", &keys.values, "[\"…\"]");
            if let Some(values) = values.filter(|values| values.get_ref().is_empty()) {
                let message = "a context without values takes no event";
                self.problems.add(Problem::new(values.span(), message, "must name one or more ids"));
            }
            let (Some(kind), Some(values)) = (kind, values) else { continue };
            let kind = match kind.get_ref().0 {
                ContextKind::Facility => FACILITY,
                ContextKind::FacilityGroup => FACILITY_GROUP,
            };
            if kind == FACILITY && read.iter().any(|context: &EventContext| context.kind == FACILITY) {
                let message = "an event comes from one facility: two contexts of that type never hold at once";
                self.problems.add(Problem::new(span, message, "put all ids into one"));
            }
            let values = values.get_ref().iter().map(|value| value.get_ref().clone()).collect();
            read.push(EventContext { kind: kind.to_owned(), values });
        }
        Some(Wanted::new(event?.get_ref(), read))
    }
}
