//! TenantService: where an Entra token is exchanged for the temporary tokens of the Service Bus and the blob containers.

use std::sync::Arc;

use serde::Serialize;
use url::Url;

use super::entra::EntraToken;
use super::origin::Answer;
use super::skew::Skew;
use super::{AccessError, TenantServiceSettings, temporary_endpoints};
use crate::clock::Clock;
use crate::error::{Class, chain};
use crate::net::{is_allowed, read_bounded};
use crate::retry_after::retry_after;
use crate::secret::redact;

const PATH: &str = "/api/external/integration/export/temporaryendpoints";

/// A few containers with their tokens are a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How much of an error's body is shown.
const SHOWN_CHARS_MAX: usize = 300;

#[derive(Serialize)]
struct Question<'a> {
    #[serde(rename = "integrationName")]
    integration_name: &'a str,
    #[serde(rename = "useNewSBConnectionStringFormat")]
    new_format: bool,
}

/// What came of a question.
pub(super) enum Reply {
    /// The tokens.
    Tokens(Answer),
    /// The Entra token was refused (401): a new one may do.
    TokenRefused(AccessError),
}

/// Asks TenantService.
#[derive(Debug)]
pub(super) struct TenantService {
    endpoint: Url,
    integration_name: String,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
}

impl TenantService {
    /// Prepares to ask; nothing is sent yet.
    ///
    /// # Errors
    /// When the address is neither `https` nor a loopback one.
    pub fn new(
        settings: &TenantServiceSettings,
        client: reqwest::Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AccessError> {
        let mut endpoint = settings.url.clone();
        endpoint.set_query(None);
        endpoint.set_fragment(None);
        let path = format!("{}{PATH}", endpoint.path().trim_end_matches('/'));
        endpoint.set_path(&path);
        if !is_allowed(&endpoint) || !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(AccessError::new(
                Class::Permanent,
                "the address of TenantService cannot be used: an Entra token goes over https, or to a loopback host",
            )
            .with_remedy("set the service's `url` to an address like https://tenantservice.egretail.cloud"));
        }
        Ok(Self { endpoint, integration_name: settings.integration_name.clone(), client, clock })
    }

    /// Where it is asked.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Asks for tokens once; also how far its clock is from ours.
    pub async fn ask(&self, token: &EntraToken) -> (Result<Reply, AccessError>, Option<Skew>) {
        let question = Question { integration_name: &self.integration_name, new_format: true };
        let request = self.client.post(self.endpoint.clone()).bearer_auth(token.secret.expose()).json(&question);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return (Err(self.unreachable(&chain(&error.without_url()))), None),
        };
        let skew = Skew::from_headers(answer.headers(), self.clock.now());
        (self.read(answer, token).await, skew)
    }

    async fn read(&self, answer: reqwest::Response, token: &EntraToken) -> Result<Reply, AccessError> {
        let status = answer.status();
        let wait = retry_after(answer.headers(), Some(self.clock.now()));
        let body = read_bounded(answer, ANSWER_BYTES_MAX).await.map_err(|reason| self.unreachable(&reason))?;
        if status.is_success() {
            return temporary_endpoints::read(&body, self.clock.now()).map(Reply::Tokens).map_err(|e| {
                let text = format!("TenantService at {} answered what cannot be used: {}", self.endpoint, e.message());
                AccessError::new(Class::Permanent, text)
                    .with_remedy("show this to the vendor; the answer's form may have changed")
            });
        }
        let name = &self.integration_name;
        let (class, remedy) = match status.as_u16() {
            401 => (Class::Unauthorized, "check `scope`: it must name TenantService's own resource id".to_owned()),
            403 => (
                Class::Permanent,
                format!(
                    "the permission is not granted yet: ask the vendor to let your client use this address for \
                     integration {name}"
                ),
            ),
            404 => (Class::Permanent, format!("check the service's `url`, and the integration's name {name}")),
            408 => (Class::Transient, "it is asked again later".to_owned()),
            429 | 503 => (Class::Throttled, "it is asked again later".to_owned()),
            500.. => (Class::Transient, "it is asked again later".to_owned()),
            300..=399 => {
                (Class::Permanent, "a token does not follow a redirect; set the service's `url` to its end".to_owned())
            }
            _ => (Class::Permanent, "check the service's `url` and the integration's name".to_owned()),
        };
        let said = excerpt(&body, token);
        let error = AccessError::new(class, format!("TenantService at {} answered {status}{said}", self.endpoint))
            .with_remedy(remedy)
            .with_retry_after(wait);
        if status.as_u16() == 401 { Ok(Reply::TokenRefused(error)) } else { Err(error) }
    }

    fn unreachable(&self, reason: &str) -> AccessError {
        AccessError::new(Class::Transient, format!("TenantService at {} cannot be reached: {reason}", self.endpoint))
            .with_remedy("check the network, the name and, for a private service, `ca_file`")
    }
}

/// The beginning of an error's body on one line, without what we sent.
fn excerpt(body: &[u8], token: &EntraToken) -> String {
    let text = String::from_utf8_lossy(body).replace(token.secret.expose(), "[secret]");
    let line = redact(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.is_empty() {
        return String::new();
    }
    format!(": {}", line.chars().take(SHOWN_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
#[path = "tenant_service_tests.rs"]
mod tests;
