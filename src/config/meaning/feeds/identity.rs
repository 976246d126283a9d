//! The meaning of `[identity]` and `[tokens]`.

use std::time::Duration;

use toml::Spanned;

use super::super::Rules;
use crate::access::IdentitySettings;
use crate::config::value::Time;
use crate::config::written::{self, Document};

/// A month is what the vendor's people need to register a new certificate.
const CERTIFICATE_WARNING: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Tokens of the vendor live for about an hour; a refresh this early leaves time for several tries.
const REFRESH_AHEAD: Duration = Duration::from_secs(10 * 60);
/// The vendor asks not to be called again within five minutes.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(5 * 60);

/// When tokens are refreshed.
#[derive(Clone, Copy)]
pub(super) struct Tokens {
    pub(super) refresh_ahead: Duration,
    pub(super) refresh_interval_min: Duration,
}

impl Rules<'_, '_> {
    pub(super) fn identity(&mut self, document: &Document) -> Option<IdentitySettings> {
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

    pub(super) fn tokens(&mut self, written: &written::Tokens) -> Tokens {
        Tokens {
            refresh_ahead: self.or("tokens.refresh_ahead", &written.refresh_ahead, Time(REFRESH_AHEAD)).0,
            refresh_interval_min: self
                .or("tokens.refresh_interval_min", &written.refresh_interval_min, Time(REFRESH_INTERVAL_MIN))
                .0,
        }
    }
}
