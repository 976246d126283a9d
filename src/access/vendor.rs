//! The vendor's chain: certificate, Entra token, TenantService, tokens.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::certificates::{self, Found};
use super::entra::{Entra, EntraToken};
use super::keeper::{Answer, Keeper, Origin, Timing, Why};
use super::skew::Skew;
use super::tenant_service::{Reply, TenantService};
use super::{AccessError, IdentitySettings, TenantServiceSettings, TokenSet, TokenSource, probe};
use crate::clock::UnixMs;
use crate::error::Class;
use crate::net::{HttpLimits, http_client};
use crate::ops::{Condition, Context};
use crate::probe::Step;

/// What the certificates of the first vendor report as in the health.
const CERTIFICATE_PART: &str = "certificate";

/// The vendor's tokens, kept in force. It reports the parts `tokens`, `certificate` and `clock` in the health.
#[derive(Debug)]
pub struct VendorTokens(Keeper);

impl VendorTokens {
    /// Starts to keep tokens; nothing is sent before somebody asks. It ends with `stop`, or when dropped.
    ///
    /// # Errors
    /// When an address in the settings or the CA file cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(
        identity: IdentitySettings,
        tenant_service: TenantServiceSettings,
        context: &Context,
        stop: &CancellationToken,
    ) -> Result<Arc<Self>, AccessError> {
        let timing = Timing {
            refresh_ahead: tenant_service.refresh_ahead,
            refresh_interval_min: tenant_service.refresh_interval_min,
        };
        let chain = Chain::new(identity, &tenant_service, context)?;
        Ok(Arc::new(Self(Keeper::spawn(Arc::new(chain), timing, context, stop))))
    }
}

#[async_trait]
impl TokenSource for VendorTokens {
    async fn current(&self) -> Result<Arc<TokenSet>, AccessError> {
        self.0.current().await
    }

    async fn refused(&self, generation: u64) -> Result<Arc<TokenSet>, AccessError> {
        self.0.refused(generation).await
    }

    fn watch(&self) -> watch::Receiver<Option<Arc<TokenSet>>> {
        self.0.watch()
    }

    async fn probe(&self) -> Vec<Step> {
        self.0.probe().await
    }
}

/// The links of the chain.
#[derive(Debug)]
pub(super) struct Chain {
    pub identity: IdentitySettings,
    pub entra: Entra,
    pub tenant_service: TenantService,
    pub context: Context,
    /// What the certificates report as in the health.
    certificate_part: String,
}

impl Chain {
    pub fn new(
        identity: IdentitySettings,
        tenant_service: &TenantServiceSettings,
        context: &Context,
    ) -> Result<Self, AccessError> {
        let client = http_client(identity.ca_file.as_deref(), HttpLimits::default())
            .map_err(|e| AccessError::new(Class::Permanent, e.to_string()))?;
        Ok(Self {
            entra: Entra::new(identity.clone(), client.clone(), Arc::clone(&context.clock))?,
            tenant_service: TenantService::new(tenant_service, client, Arc::clone(&context.clock))?,
            identity,
            context: context.clone(),
            certificate_part: context.health.claim(CERTIFICATE_PART),
        })
    }

    /// The certificates on disk, read now.
    pub async fn certificates(&self) -> Result<Found, AccessError> {
        let path = self.identity.certificates.clone();
        let now = self.context.clock.now();
        let read = tokio::task::spawn_blocking(move || certificates::load(&path, now)).await;
        read.unwrap_or_else(|e| Err(AccessError::new(Class::Transient, format!("certificates cannot be read: {e}"))))
    }

    /// Asks TenantService; where it refuses the Entra token, once more with a new one.
    async fn exchange(&self, token: &EntraToken, found: Result<&Found, AccessError>) -> Result<Answer, AccessError> {
        let (reply, skew) = self.tenant_service.ask(token).await;
        self.report_skew(skew);
        let refused = match reply? {
            Reply::Tokens(answer) => return Ok(answer),
            Reply::TokenRefused(error) => error,
        };
        tracing::warn!(error = %refused, "the Entra token was refused; a new one is asked for");
        let token = self.entra.token(found.map(|found| found.usable.as_slice()), true).await?.token;
        match self.tenant_service.ask(&token).await.0? {
            Reply::Tokens(answer) => Ok(answer),
            Reply::TokenRefused(error) => Err(error),
        }
    }

    fn report_skew(&self, skew: Option<Skew>) {
        if let Some(skew) = skew {
            skew.report(&self.context.health);
        }
    }

    fn report_certificates(&self, found: &Result<Found, AccessError>, now: UnixMs) {
        let condition = match found {
            Err(error) => Condition::Degraded { reason: error.to_string() },
            Ok(found) => match (found.expires_within(self.identity.certificate_warning, now), found.usable.first()) {
                (Some(at), _) => {
                    let days = at.since(now).as_secs() / 86_400;
                    Condition::Degraded {
                        reason: format!(
                            "the last certificate in {} expires at {at}, in {days} days; put its successor beside it, \
                             and let the vendor register it",
                            self.identity.certificates.display()
                        ),
                    }
                }
                (None, Some(newest)) => Condition::Good { note: newest.name.clone() },
                (None, None) => Condition::Starting,
            },
        };
        if let Condition::Degraded { reason } = &condition {
            tracing::warn!("{reason}");
        }
        self.context.health.set(&self.certificate_part, condition);
    }
}

#[async_trait]
impl Origin for Chain {
    fn name(&self) -> String {
        format!("TenantService at {}", self.tenant_service.endpoint())
    }

    async fn fetch(&self, _: Why) -> Result<Answer, AccessError> {
        let found = self.certificates().await;
        self.report_certificates(&found, self.context.clock.now());
        let usable = found.as_ref().map(|found| found.usable.as_slice()).map_err(Clone::clone);
        let obtained = self.entra.token(usable, false).await;
        self.report_skew(self.entra.take_skew());
        let obtained = obtained?;
        if let Some(certificate) = &obtained.certificate {
            tracing::info!(%certificate, until = %obtained.token.expires, "Entra token obtained");
        }
        self.exchange(&obtained.token, found.as_ref().map_err(Clone::clone)).await
    }

    async fn probe(&self) -> (Vec<Step>, Option<Answer>) {
        probe::walk(self).await
    }
}

#[cfg(test)]
#[path = "vendor_tests.rs"]
mod tests;
