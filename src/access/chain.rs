//! The links of the vendor's chain: certificate, Entra token, TenantService.

use std::sync::Arc;

use super::certificates::{self, Found};
use super::entra::{Entra, EntraToken};
use super::origin::Answer;
use super::skew::Skew;
use super::tenant_service::{Reply, TenantService};
use super::{AccessError, IdentitySettings, TenantServiceSettings};
use crate::clock::UnixMs;
use crate::error::Class;
use crate::net::{HttpLimits, http_client};
use crate::ops::{Condition, Context};

/// What the certificates of the first vendor report as in the health.
const CERTIFICATE_PART: &str = "certificate";

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
    pub async fn exchange(
        &self,
        token: &EntraToken,
        found: Result<&Found, AccessError>,
    ) -> Result<Answer, AccessError> {
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

    pub fn report_skew(&self, skew: Option<Skew>) {
        if let Some(skew) = skew {
            skew.report(&self.context.health);
        }
    }

    pub fn report_certificates(&self, found: &Result<Found, AccessError>, now: UnixMs) {
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
