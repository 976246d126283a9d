//! The meaning of a `[[feed]]` of type `webhook`.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use http::HeaderName;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use toml::Spanned;

use super::super::{Rules, each, section};
use super::Common;
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::{Network, OneOf, Size, Time, Whole};
use crate::config::written::{Document, WebhookFeed};
use crate::config::{FeedConfig, FeedKind};
use crate::feed::webhook::{
    Arrays, CertificateFiles, EnvelopeSettings, Forwarded, SenderSettings, SharedSecret, Signature, SignatureEncoding,
    WebhookLimits, WebhookSettings,
};
use crate::pointer::Pointer;

/// How long the vendor retries an event before it drops it.
const RETRIED_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);
const PATH: &str = "/events";
const BLOB_TYPE: &str = "{event}";
const EVENT: &str = "/event";
const ID: &str = "/eventId";
const PAYLOAD: &str = "/payload";
const SECRET_HEADER: &str = "Authorization";
const SIGNATURE_PREFIX: &str = "sha256=";
/// A sender opens some dozens; each costs some tens of kilobytes.
const CONNECTIONS_MAX: u64 = 1_024;
/// The vendor names no bound; its bulk events hold thousands of items.
const BODY_BYTES_MAX: u64 = 8 << 20;
const BODIES_BYTES_MAX: u64 = 64 << 20;
/// Longer than the pause between two events of a busy sender.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The vendor waits 10 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// As many as commonly wait at once.
const BATCH_REQUESTS_MAX: u64 = 500;
/// What comes during one commit is stored by the next; to wait on top of it pays only where an fsync is dear.
const BATCH_WAIT: Duration = Duration::ZERO;

impl Rules<'_, '_> {
    pub(super) fn webhook_feed(
        &mut self,
        feed: &WebhookFeed,
        span: Range<usize>,
        document: &Document,
    ) -> Option<FeedConfig> {
        let changes = self.changed.len();
        let common = self.common(span.clone(), &feed.name, "\"events\"", &feed.include, &feed.exclude);
        let certificate = self.listener_certificate(feed);
        let listen = self.listen(feed, span.clone(), certificate.is_some());
        let path = self.url_path(feed);
        let envelope = self.envelope(feed);
        let sender = self.sender(feed, span);
        let limits = self.webhook_limits(feed, document);
        self.keys_outlive_the_sender(document);
        let blob_type = envelope.as_ref().map_or(BLOB_TYPE, |envelope| &envelope.blob_type);
        let subscriptions =
            self.subscriptions(&feed.subscriptions, blob_type, common.as_ref().map(|common| &common.filter));
        let Common { name, filter, include, exclude } = common?;
        self.name_changes(changes, "feed", name.as_str());
        let settings = WebhookSettings {
            name: name.clone(),
            filter: filter.clone(),
            listen: listen?,
            path: path?,
            certificate,
            envelope: envelope?,
            sender: sender?,
            limits,
            subscriptions: subscriptions.map(Box::new),
        };
        Some(FeedConfig { name, filter, include, exclude, kind: FeedKind::Webhook { settings: Box::new(settings) } })
    }

    /// An event whose key is forgotten while its sender still retries would be stored again.
    fn keys_outlive_the_sender(&mut self, document: &Document) {
        let inbox = section(&document.inbox);
        let known_for = super::super::work::dedupe_age(&inbox);
        let Some(age) = inbox.dedupe_age.spanned().filter(|_| known_for < RETRIED_FOR) else { return };
        self.problems.add(Problem::new(
            age.span(),
            "`inbox.dedupe_age` is shorter than a webhook's sender retries: its event could be delivered twice",
            "must be at least \"7d\"",
        ));
    }

    /// A second listener on one address would never get it.
    pub(super) fn one_listener_an_address(&mut self, feeds: &[(FeedConfig, Range<usize>)]) {
        let mut seen: Vec<(SocketAddr, Range<usize>)> = Vec::new();
        for (feed, span) in feeds {
            let FeedKind::Webhook { settings } = &feed.kind else { continue };
            let address = settings.listen;
            match seen.iter().find(|(other, _)| *other == address && address.port() != 0) {
                Some((_, first)) => self.problems.add(
                    Problem::new(span.clone(), format!("two feeds listen on {address}"), "give it another port")
                        .also(first.clone(), "the first"),
                ),
                None => seen.push((address, span.clone())),
            }
        }
    }

    fn listener_certificate(&mut self, feed: &WebhookFeed) -> Option<CertificateFiles> {
        if let (Some(key), true) = (feed.key_file.spanned(), feed.certificate_file.is_absent()) {
            let problem = Problem::new(key.span(), "`feed.key_file` has no certificate", "needs certificate_file");
            self.problems.add(problem);
        }
        let written = feed.certificate_file.spanned()?;
        let Some(key) = feed.key_file.spanned() else {
            let both = self.secret_file("feed.certificate_file", written)?;
            return Some(CertificateFiles { certificate: both.clone(), key: both });
        };
        let certificate = self.ca_file("feed.certificate_file", &feed.certificate_file);
        let key = self.secret_file("feed.key_file", key);
        Some(CertificateFiles { certificate: certificate?, key: key? })
    }

    fn listen(&mut self, feed: &WebhookFeed, span: Range<usize>, is_tls: bool) -> Option<SocketAddr> {
        let written = self.required("[[feed]]", span, "listen", &feed.listen, "\"0.0.0.0:8443\"")?;
        let Some(address) = written.get_ref().0 else {
            let problem = Problem::new(written.span(), "a webhook has to listen somewhere", "must not be empty");
            self.problems.add(problem);
            return None;
        };
        let has_certificate = is_tls || !feed.certificate_file.is_absent();
        if !has_certificate && !address.ip().is_loopback() {
            self.problems.add(
                Problem::new(
                    written.span(),
                    "a webhook beyond loopback needs a certificate: a plain connection shows every secret to the network",
                    "not loopback",
                )
                .help("add certificate_file and key_file, or listen on 127.0.0.1 behind a proxy that has one"),
            );
            return None;
        }
        Some(address)
    }

    fn url_path(&mut self, feed: &WebhookFeed) -> Option<String> {
        let path = self.or_text("feed.path", &feed.path, PATH);
        let fits = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        if fits {
            return Some(path);
        }
        if let Some(written) = feed.path.spanned() {
            let must = "must begin with / and have no blank, ? or # in it";
            self.problems.add(Problem::new(written.span(), "`feed.path` cannot be a path of an address", must));
        }
        None
    }

    fn envelope(&mut self, feed: &WebhookFeed) -> Option<EnvelopeSettings> {
        let blob_type = self.or_text("feed.blob_type", &feed.blob_type, BLOB_TYPE);
        if let Some(written) =
            feed.blob_type.spanned().filter(|_| blob_type.replace("{event}", "").contains(['{', '}']))
        {
            let problem = Problem::new(written.span(), "`feed.blob_type` cannot be filled in", "only {event} is known");
            self.problems.add(problem);
        }
        let mut pointer = |key: &str, written: &Written<crate::config::value::Pointer>, default: &str| {
            let text = Written::<crate::config::value::Pointer>::value(written).map(|pointer| pointer.0.clone());
            self.note_change(key, text.as_deref(), default);
            Pointer::parse(text.as_deref().unwrap_or(default)).ok()
        };
        let event = pointer("feed.event", &feed.event, EVENT);
        let id = pointer("feed.id", &feed.id, ID);
        let payload: Vec<String> = if feed.payload.is_absent() {
            vec![PAYLOAD.to_owned()]
        } else {
            each(&feed.payload).iter().map(|pointer| pointer.get_ref().0.clone()).collect()
        };
        let listed = format!("{payload:?}");
        self.note_change("feed.payload", (!feed.payload.is_absent()).then_some(listed.as_str()), "[\"/payload\"]");
        let payload = payload.iter().map(|pointer| Pointer::parse(pointer).ok()).collect::<Option<Vec<_>>>();
        let arrays = self.or("feed.arrays", &feed.arrays, OneOf(Arrays::default())).0;
        Some(EnvelopeSettings { blob_type, event: event?, id: id?, payload: payload?, arrays })
    }

    /// Keeps a text other than the default for `longshore check`.
    pub(super) fn note_change(&mut self, key: &str, written: Option<&str>, default: &str) {
        if let Some(value) = written.filter(|value| *value != default) {
            let (value, default) = (value.to_owned(), default.to_owned());
            self.changed.push(crate::config::Changed { key: key.to_owned(), value, default });
        }
    }

    fn sender(&mut self, feed: &WebhookFeed, span: Range<usize>) -> Option<SenderSettings> {
        let header = self.or_text("feed.secret_header", &feed.secret_header, SECRET_HEADER);
        let secret = feed.secret_file.spanned().map(|file| {
            let file = self.secret_file("feed.secret_file", file);
            Some(SharedSecret { header: self.header("feed.secret_header", &header, &feed.secret_header)?, file: file? })
        });
        let prefix = self.or_text("feed.signature_prefix", &feed.signature_prefix, SIGNATURE_PREFIX);
        let encoding =
            self.or("feed.signature_encoding", &feed.signature_encoding, OneOf(SignatureEncoding::default())).0;
        let signature = feed.signature_key_file.spanned().map(|file| {
            let key_file = self.secret_file("feed.signature_key_file", file);
            let written =
                self.required("[[feed]]", span.clone(), "signature_header", &feed.signature_header, "\"…\"")?;
            let header = self.header("feed.signature_header", written.get_ref(), &feed.signature_header)?;
            Some(Signature { header, key_file: key_file?, prefix: prefix.clone(), encoding })
        });
        self.some_proof_of_the_sender(feed, span);
        let forwarded = feed.forwarded_header.spanned().map(|written| {
            let header = self.header("feed.forwarded_header", written.get_ref(), &feed.forwarded_header)?;
            let loopback = || vec![IpNet::V4(Ipv4Net::new_assert([127, 0, 0, 0].into(), 8)), IpNet::V6(LOOPBACK_6)];
            let proxies = if feed.proxies.is_absent() { loopback() } else { networks(&feed.proxies) };
            Some(Forwarded { header, proxies })
        });
        let addresses = networks(&feed.addresses);
        // Absent stays absent, and what could not be read is an error that is told already.
        let (secret, signature, forwarded) = (secret.map_or(Some(None), |s| s.map(Some))?, signature, forwarded);
        Some(SenderSettings {
            secret,
            signature: signature.map_or(Some(None), |s| s.map(Some))?,
            addresses,
            forwarded: forwarded.map_or(Some(None), |f| f.map(Some))?,
        })
    }

    /// A webhook on which anyone may post has to be meant.
    fn some_proof_of_the_sender(&mut self, feed: &WebhookFeed, span: Range<usize>) {
        let has_proof = !feed.secret_file.is_absent() || !feed.signature_key_file.is_absent();
        let anyone = feed.anyone.value().copied().unwrap_or(false);
        if !has_proof && !anyone {
            self.problems.add(
                Problem::new(
                    span,
                    "anyone who knows its address could post to this [[feed]]",
                    "add secret_file or signature_key_file",
                )
                .help("write anyone = true if a proxy before it knows the sender"),
            );
        } else if let Some(written) = feed.anyone.spanned().filter(|_| has_proof && anyone) {
            let message = "`feed.anyone` is without effect: this [[feed]] asks for a secret or a signature";
            self.problems.add(Problem::new(written.span(), message, "take it away").warning());
        }
    }

    fn header(&mut self, key: &str, name: &str, written: &Written<String>) -> Option<HeaderName> {
        let read = HeaderName::from_bytes(name.as_bytes()).ok();
        if let (None, Some(written)) = (&read, written.spanned()) {
            let message = format!("`{key}` cannot be a header");
            self.problems.add(Problem::new(written.span(), message, "must be a name such as \"X-Secret\""));
        }
        read
    }

    fn webhook_limits(&mut self, feed: &WebhookFeed, document: &Document) -> WebhookLimits {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let body = self.or("feed.body_bytes_max", &feed.body_bytes_max, Size(BODY_BYTES_MAX)).0;
        let bodies = self.or("feed.bodies_bytes_max", &feed.bodies_bytes_max, Size(BODIES_BYTES_MAX)).0;
        self.in_order(
            ("feed.body_bytes_max", &feed.body_bytes_max, body),
            ("feed.bodies_bytes_max", &feed.bodies_bytes_max, bodies),
        );
        let batch = self.or("feed.batch_requests_max", &feed.batch_requests_max, Whole(BATCH_REQUESTS_MAX)).0;
        // A batch is stored in one commit.
        let inbox = section(&document.inbox);
        let commit = inbox.commit_notices_max.value().map_or(super::super::work::COMMIT_NOTICES_MAX, |max| max.0);
        self.in_order(
            ("feed.batch_requests_max", &feed.batch_requests_max, batch),
            ("inbox.commit_notices_max", &inbox.commit_notices_max, commit),
        );
        WebhookLimits {
            connections_max: size(self.or("feed.connections_max", &feed.connections_max, Whole(CONNECTIONS_MAX)).0),
            body_bytes_max: size(body),
            bodies_bytes_max: size(bodies),
            idle_timeout: self.or("feed.idle_timeout", &feed.idle_timeout, Time(IDLE_TIMEOUT)).0,
            answer_timeout: self.or("feed.answer_timeout", &feed.answer_timeout, Time(ANSWER_TIMEOUT)).0,
            batch_requests_max: size(batch),
            batch_wait: self.or("feed.batch_wait", &feed.batch_wait, Time(BATCH_WAIT)).0,
        }
    }
}

const LOOPBACK_6: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);

fn networks(written: &Written<Vec<Spanned<Network>>>) -> Vec<IpNet> {
    each(written).iter().map(|network| network.get_ref().0).collect()
}
