//! The vendor's tokens: the chain as an origin, kept in force.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::chain::Chain;
use super::keeper::Keeper;
use super::origin::{Answer, Origin, Why};
use super::refresh::Timing;
use super::{AccessError, IdentitySettings, TenantServiceSettings, probe};
use crate::ops::Context;
use crate::probe::Step;

/// Starts to keep the vendor's tokens in force; nothing is sent before somebody asks. It ends with `stop`, or when
/// dropped, and reports the parts `tokens`, `certificate` and `clock` in the health.
///
/// # Errors
/// When an address in the settings or the CA file cannot be used.
///
/// # Panics
/// Outside a tokio runtime.
pub fn vendor_tokens(
    identity: IdentitySettings,
    tenant_service: TenantServiceSettings,
    context: &Context,
    stop: &CancellationToken,
) -> Result<Arc<Keeper>, AccessError> {
    let timing = Timing {
        refresh_ahead: tenant_service.refresh_ahead,
        refresh_interval_min: tenant_service.refresh_interval_min,
    };
    let chain = Chain::new(identity, &tenant_service, context)?;
    Ok(Arc::new(Keeper::spawn(Arc::new(chain), timing, context, stop)))
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
