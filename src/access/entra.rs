//! The Entra token: which certificate proves who we are, and what the authority said if none did.
//!
//! `azure_identity` asks for an assertion whenever it needs one, caches the token and asks again five minutes before its end.
//! Ours is the choice of certificate: the newest that the authority did not refuse, then the others. The library serves
//! nothing while its renewal fails, so the last token is kept here and used for as long as it is valid.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions};
use azure_identity::{ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions};
use jsonwebtoken::Algorithm;
use url::Url;

use super::certificates::Certificate;
use super::entra_transport::{Said, Transport};
use super::skew::Skew;
use super::{AccessError, IdentitySettings, assertion};
use crate::clock::{Clock, UnixMs};
use crate::error::Class;
use crate::secret::{Secret, redact};

/// A token that ends sooner would be refused before it arrives.
const USABLE_MIN: Duration = Duration::from_secs(30);

/// `AADSTS700024`: the assertion's times do not fit the authority's clock.
const OUTSIDE_ITS_TIME: u32 = 700_024;

/// Errors under `invalid_client` that are about the request, so that another certificate meets the same: a wrong
/// audience, a client id that is not the assertion's.
const NOT_THE_CERTIFICATE: [u32; 3] = [700_021, 700_023, OUTSIDE_ITS_TIME];

/// Errors that may be about PS256: an unsupported algorithm, a malformed assertion.
const MAYBE_THE_ALGORITHM: [u32; 2] = [5_002_738, 50_027];

/// An access token for TenantService.
#[derive(Clone, Debug)]
pub(super) struct EntraToken {
    pub secret: Secret,
    pub expires: UnixMs,
}

/// A token with how it was had.
#[derive(Clone, Debug)]
pub(super) struct Obtained {
    pub token: EntraToken,
    /// The certificate that was accepted, where the authority was asked.
    pub certificate: Option<String>,
}

/// What the credential signs with; chosen before it is asked.
#[derive(Debug, Default)]
struct Choice {
    certificate: Option<(Certificate, Algorithm)>,
    /// What to add to our clock, once the authority said that our times do not fit its own.
    correction_ms: i64,
}

/// Signs with whatever [`Entra`] chose.
struct Signer {
    choice: Arc<Mutex<Choice>>,
    endpoint: String,
    client_id: String,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

#[async_trait]
impl ClientAssertion for Signer {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((certificate, algorithm)) = &choice.certificate else {
            return Err(azure_core::Error::with_message(ErrorKind::Credential, "no certificate was chosen"));
        };
        let now = UnixMs(self.clock.now().0.saturating_add(choice.correction_ms));
        assertion::sign(certificate, *algorithm, &self.endpoint, &self.client_id, now)
            .map_err(|e| azure_core::Error::with_message(ErrorKind::Credential, e.to_string()))
    }
}

/// Asks the authority for tokens.
pub(super) struct Entra {
    settings: IdentitySettings,
    /// Scheme, host and port.
    host: String,
    tenant: String,
    endpoint: String,
    clock: Arc<dyn Clock>,
    transport: Arc<Transport>,
    choice: Arc<Mutex<Choice>>,
    state: tokio::sync::Mutex<State>,
}

struct State {
    credential: Arc<ClientAssertionCredential<Signer>>,
    last: Option<EntraToken>,
    /// Thumbprints that the authority refused: they come after the others.
    refused: BTreeSet<String>,
    /// The authority took RS256 where it had refused PS256.
    rs256: bool,
}

impl fmt::Debug for Entra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entra").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Entra {
    /// Prepares to ask; nothing is sent yet.
    ///
    /// # Errors
    /// When the authority is not `https://host/tenant`.
    pub fn new(
        settings: IdentitySettings,
        client: reqwest::Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AccessError> {
        let (host, tenant) = split_authority(&settings.authority)?;
        let endpoint = format!("{host}/{tenant}/oauth2/v2.0/token");
        let transport = Arc::new(Transport::new(client, Arc::clone(&clock)));
        let choice = Arc::<Mutex<Choice>>::default();
        let credential = new_credential(&settings, &host, &tenant, &endpoint, &clock, &transport, &choice)?;
        let state = State { credential, last: None, refused: BTreeSet::new(), rs256: false };
        Ok(Self { settings, host, tenant, endpoint, clock, transport, choice, state: tokio::sync::Mutex::new(state) })
    }

    /// Where tokens are asked for.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How far the authority's clock was from ours, if it was asked since the last call.
    pub fn take_skew(&self) -> Option<Skew> {
        self.transport.take_skew()
    }

    /// A valid token: the cached one, or a new one had with one of `certificates`. `Err` certificates do no harm while
    /// the last token is valid. `anew` throws away what is cached: TenantService refused it.
    ///
    /// # Errors
    /// What the authority said, with the remedy.
    pub async fn token(
        &self,
        certificates: Result<&[Certificate], AccessError>,
        anew: bool,
    ) -> Result<Obtained, AccessError> {
        let mut state = self.state.lock().await;
        if anew {
            state.last = None;
            state.credential = self.credential()?;
        }
        let asked = match certificates {
            Ok(certificates) => self.ask(&mut state, certificates).await,
            Err(error) => Err(error),
        };
        let error = match asked {
            Ok(obtained) => {
                state.last = Some(obtained.token.clone());
                return Ok(obtained);
            }
            Err(error) => error,
        };
        let usable_until = self.clock.now().plus(USABLE_MIN);
        match state.last.clone().filter(|token| token.expires > usable_until) {
            Some(token) => {
                tracing::warn!(%error, until = %token.expires, "no new Entra token; the last one is used while it is valid");
                Ok(Obtained { token, certificate: None })
            }
            None => Err(error),
        }
    }

    async fn ask(&self, state: &mut State, certificates: &[Certificate]) -> Result<Obtained, AccessError> {
        let (fresh, refused): (Vec<_>, Vec<_>) =
            certificates.iter().partition(|certificate| !state.refused.contains(&certificate.thumbprint));
        let mut refusals = Vec::new();
        for certificate in fresh.into_iter().chain(refused) {
            let first = if state.rs256 { Algorithm::RS256 } else { Algorithm::PS256 };
            let mut answer = self.ask_with(state, certificate, first).await?;
            let said = answer.as_ref().err();
            if said.is_some_and(|said| said.codes.contains(&OUTSIDE_ITS_TIME)) && self.correct_clock(said) {
                answer = self.ask_with(state, certificate, first).await?;
            }
            let said = answer.as_ref().err();
            if first == Algorithm::PS256 && said.is_some_and(may_be_the_algorithm) {
                answer = self.ask_with(state, certificate, Algorithm::RS256).await?;
                state.rs256 = answer.is_ok();
            }
            match answer {
                Ok(obtained) => {
                    state.refused.remove(&certificate.thumbprint);
                    return Ok(obtained);
                }
                Err(said) if is_about_the_certificate(&said) => {
                    tracing::warn!(
                        certificate = %certificate.name,
                        "the authority refused a certificate: {}", redact(first_line(&said.description))
                    );
                    state.refused.insert(certificate.thumbprint.clone());
                    refusals.push(format!("{}: {}", certificate.name, first_line(&said.description)));
                }
                Err(said) => return Err(self.explain(&said)),
            }
        }
        Err(AccessError::new(
            Class::Permanent,
            format!("the authority {} refused every certificate: {}", self.endpoint, refusals.join("; ")),
        )
        .with_remedy(format!(
            "let the vendor register the public part of one of them for client {}",
            self.settings.client_id
        )))
    }

    /// One request, or the cached token. The inner error is what the authority said.
    async fn ask_with(
        &self,
        state: &State,
        certificate: &Certificate,
        algorithm: Algorithm,
    ) -> Result<Result<Obtained, Said>, AccessError> {
        {
            let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
            choice.certificate = Some((certificate.clone(), algorithm));
        }
        self.transport.take_said();
        let answer = state.credential.get_token(&[&self.settings.scope], None).await;
        let said = self.transport.take_said();
        match answer {
            Ok(token) => {
                let expires = UnixMs(token.expires_on.unix_timestamp().saturating_mul(1_000));
                let token = EntraToken { secret: Secret::new(token.token.secret()), expires };
                let certificate = said.status.map(|_| certificate.name.clone());
                Ok(Ok(Obtained { token, certificate }))
            }
            Err(_) if said.status.is_some() || said.unreachable.is_some() => Ok(Err(said)),
            // Nothing was sent: the assertion could not be signed, or the request could not be built.
            Err(error) => Err(AccessError::new(Class::Permanent, format!("no Entra token can be asked for: {error}"))),
        }
    }

    /// Takes the authority's clock for the right one; false if that changes nothing.
    fn correct_clock(&self, said: Option<&Said>) -> bool {
        let Some(skew) = said.and_then(|said| said.skew).filter(|skew| skew.is_large()) else {
            return false;
        };
        tracing::warn!(
            skew_ms = skew.0,
            "assertions are dated by the authority's clock, because ours {}",
            skew.describe()
        );
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut choice.correction_ms, skew.0) != skew.0
    }

    fn credential(&self) -> Result<Arc<ClientAssertionCredential<Signer>>, AccessError> {
        let (clock, transport) = (&self.clock, &self.transport);
        new_credential(&self.settings, &self.host, &self.tenant, &self.endpoint, clock, transport, &self.choice)
    }

    fn explain(&self, said: &Said) -> AccessError {
        let endpoint = &self.endpoint;
        if let Some(reason) = &said.unreachable {
            return AccessError::new(Class::Transient, format!("the authority {endpoint} cannot be reached: {reason}"))
                .with_remedy("check the network, the name and, for a private authority, `ca_file`");
        }
        let status = said.status.unwrap_or_default();
        let text = match first_line(&said.description) {
            "" => format!("the authority {endpoint} answered with status {status}"),
            words => format!("the authority {endpoint} answered {status} {}: {words}", said.error),
        };
        let (class, remedy) = match (status, said.error.as_str()) {
            (200, _) => (Class::Transient, "its answer holds no token; check that `authority` is an Entra authority"),
            (429, _) => (Class::Throttled, "it is asked again later"),
            (500.., _) => (Class::Transient, "it is asked again later"),
            (_, "invalid_client") if said.codes.contains(&OUTSIDE_ITS_TIME) => {
                (Class::Permanent, "check the time synchronisation of this machine")
            }
            (_, "unauthorized_client" | "invalid_client") => {
                (Class::Permanent, "check `client_id`, and that the vendor has registered it in this tenant")
            }
            (_, "invalid_scope" | "invalid_resource") => {
                (Class::Permanent, "check `scope`: the vendor's resource id with `/.default` behind it")
            }
            _ => (Class::Permanent, "check `authority`, `client_id` and `scope` against what the vendor gave you"),
        };
        AccessError::new(class, text).with_remedy(remedy).with_retry_after(said.retry_after)
    }
}

fn new_credential(
    settings: &IdentitySettings,
    host: &str,
    tenant: &str,
    endpoint: &str,
    clock: &Arc<dyn Clock>,
    transport: &Arc<Transport>,
    choice: &Arc<Mutex<Choice>>,
) -> Result<Arc<ClientAssertionCredential<Signer>>, AccessError> {
    let signer = Signer {
        choice: Arc::clone(choice),
        endpoint: endpoint.to_owned(),
        client_id: settings.client_id.clone(),
        clock: Arc::clone(clock),
    };
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = host.to_owned();
    let client_options = ClientOptions {
        // The token manager decides when to try again; a second layer of retries would multiply its waits.
        retry: RetryOptions::none(),
        transport: Some(azure_core::http::Transport::new(Arc::clone(transport) as Arc<_>)),
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        ..ClientOptions::default()
    };
    let options = ClientAssertionCredentialOptions { client_options };
    ClientAssertionCredential::new(tenant.to_owned(), settings.client_id.clone(), signer, Some(options)).map_err(|e| {
        AccessError::new(Class::Permanent, format!("the authority {} cannot be used: {e}", settings.authority))
            .with_remedy("check `authority` and `client_id`")
    })
}

/// `https://host[:port]` and the tenant.
fn split_authority(authority: &Url) -> Result<(String, String), AccessError> {
    let wrong = |what: &str| {
        AccessError::new(Class::Permanent, format!("the authority cannot be used: {what}"))
            .with_remedy("set `authority` to a URL like https://login.microsoftonline.com/contoso.onmicrosoft.com")
    };
    if authority.scheme() != "https" {
        return Err(wrong("it does not start with https://"));
    }
    if !authority.username().is_empty() || authority.password().is_some() || authority.query().is_some() {
        return Err(wrong("it carries a user name or a query"));
    }
    let tenant = authority.path().trim_matches('/');
    if tenant.is_empty() {
        return Err(wrong("it names no tenant"));
    }
    if tenant.contains('/') {
        return Err(wrong("it has more than the tenant in its path"));
    }
    Ok((authority.origin().ascii_serialization(), tenant.to_owned()))
}

fn is_about_the_certificate(said: &Said) -> bool {
    said.error == "invalid_client" && !said.codes.iter().any(|code| NOT_THE_CERTIFICATE.contains(code))
}

fn may_be_the_algorithm(said: &Said) -> bool {
    said.error == "invalid_client"
        && (said.codes.is_empty() || said.codes.iter().any(|code| MAYBE_THE_ALGORITHM.contains(code)))
}

/// Entra follows its sentence with trace ids on lines of their own; they help nobody here.
fn first_line(description: &str) -> &str {
    const SHOWN_MAX: usize = 300;
    let line = description.lines().next().unwrap_or_default();
    let line = line.split(" Trace ID:").next().unwrap_or_default().trim();
    line.char_indices().nth(SHOWN_MAX).map_or(line, |(at, _)| &line[..at])
}

#[cfg(test)]
#[path = "entra_tests.rs"]
mod tests;
