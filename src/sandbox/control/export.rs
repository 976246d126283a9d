//! The verbs of the export over Service Bus: publishing, keys and tokens, the broker's and the stores' troubles.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::{Answer, Shared, Told, done, read};
use crate::sandbox::{BlobFault, BlobInfo, PublishRequest, Published, SandboxError, SandboxState, TenantFault};

/// More blobs than this are not listed in one answer.
const BLOBS_LISTED_MAX: usize = 1_000;
/// The longest silence that can be asked for in one request.
const STALL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) async fn blobs(State(sandbox): Shared) -> Answer<Vec<BlobInfo>> {
    Ok(Told(sandbox.blobs(BLOBS_LISTED_MAX)))
}

pub(super) async fn publish(State(sandbox): Shared, body: Bytes) -> Answer<Vec<Published>> {
    let request: PublishRequest = read(&body)?;
    Ok(Told(sandbox.publish(request).await?))
}

/// Which secrets a verb is about; all of them unless said otherwise.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    service_bus: bool,
    blob: bool,
    access: bool,
}

impl Default for Which {
    fn default() -> Self {
        Self { service_bus: true, blob: true, access: true }
    }
}

pub(super) async fn rotate_keys(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let which: Which = read(&body)?;
    if which.service_bus {
        sandbox.rotate_service_bus_key();
    }
    if which.blob {
        sandbox.rotate_blob_key();
    }
    done(&sandbox)
}

pub(super) async fn expire_tokens(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let which: Which = read(&body)?;
    if which.access {
        sandbox.expire_access_tokens();
    }
    if which.service_bus {
        sandbox.broker().expire_tokens();
    }
    if which.blob {
        sandbox.expire_blob_tokens();
    }
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Detach {
    condition: String,
}

impl Default for Detach {
    fn default() -> Self {
        Self { condition: "amqp:link:detach-forced".to_owned() }
    }
}

pub(super) async fn detach(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let detach: Detach = read(&body)?;
    sandbox.broker().detach_all(&detach.condition);
    done(&sandbox)
}

pub(super) async fn drop_connections(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.broker().drop_connections();
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stall {
    seconds: f64,
}

pub(super) async fn stall(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let stall: Stall = read(&body)?;
    let time = Duration::try_from_secs_f64(stall.seconds)
        .ok()
        .filter(|time| *time <= STALL_MAX)
        .ok_or_else(|| SandboxError::Request(format!("a silence of {} seconds is not possible", stall.seconds)))?;
    sandbox.broker().stall(!time.is_zero());
    if !time.is_zero() {
        // The sandbox itself is not kept alive by its own silence.
        let weak = Arc::downgrade(&sandbox);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(sandbox) = weak.upgrade() {
                sandbox.broker().stall(false);
            }
        });
    }
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Count {
    count: u32,
}

impl Default for Count {
    fn default() -> Self {
        Self { count: 1 }
    }
}

pub(super) async fn duplicate(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let Count { count } = read(&body)?;
    sandbox.duplicate_next(count)?;
    done(&sandbox)
}

pub(super) async fn server_busy(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let Count { count } = read(&body)?;
    sandbox.broker().server_busy(count);
    done(&sandbox)
}

pub(super) async fn add_blob_fault(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let fault: BlobFault = read(&body)?;
    sandbox.add_blob_fault(fault)?;
    done(&sandbox)
}

pub(super) async fn clear_blob_faults(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.clear_blob_faults();
    done(&sandbox)
}

pub(super) async fn add_tenant_fault(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let fault: TenantFault = read(&body)?;
    sandbox.add_tenant_fault(fault);
    done(&sandbox)
}

pub(super) async fn clear_tenant_faults(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.clear_tenant_faults();
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCertificate {
    name: String,
    #[serde(default = "a_year")]
    valid_days: u32,
    #[serde(default = "yes")]
    registered: bool,
}

const fn a_year() -> u32 {
    365
}

const fn yes() -> bool {
    true
}

#[derive(Serialize)]
pub(super) struct Certificate {
    file: String,
    registered: bool,
}

pub(super) async fn new_certificate(State(sandbox): Shared, body: Bytes) -> Answer<Certificate> {
    let asked: NewCertificate = read(&body)?;
    let valid = Duration::from_secs(u64::from(asked.valid_days) * 24 * 60 * 60);
    let file = sandbox.new_certificate(&asked.name, valid, asked.registered)?;
    Ok(Told(Certificate { file: file.display().to_string(), registered: asked.registered }))
}

pub(super) async fn forget_certificate(State(sandbox): Shared, Path(name): Path<String>) -> Answer<SandboxState> {
    if !sandbox.unregister_certificate(&name) {
        return Err(SandboxError::Request(format!("no certificate {name} is registered")));
    }
    done(&sandbox)
}
