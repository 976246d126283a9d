//! The verbs of the bucket of day folders.

use axum::body::Bytes;
use axum::extract::State;

use super::{Answer, Shared, Told, done, read};
use crate::sandbox::{BlobFault, DayObject, ListFault, Rewrite, SandboxState, Written};

pub(super) async fn publish(State(sandbox): Shared, body: Bytes) -> Answer<Written> {
    let day: DayObject = read(&body)?;
    Ok(Told(sandbox.write_day(&day)?))
}

pub(super) async fn rewrite(State(sandbox): Shared, body: Bytes) -> Answer<Written> {
    let rewrite: Rewrite = read(&body)?;
    Ok(Told(sandbox.rewrite_day(&rewrite)?))
}

pub(super) async fn rotate_key(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.rotate_bucket_key()?;
    done(&sandbox)
}

pub(super) async fn add_list_fault(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let fault: ListFault = read(&body)?;
    sandbox.add_list_fault(fault)?;
    done(&sandbox)
}

pub(super) async fn add_fault(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let fault: BlobFault = read(&body)?;
    sandbox.add_bucket_fault(fault)?;
    done(&sandbox)
}

pub(super) async fn clear_faults(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.clear_bucket_faults();
    done(&sandbox)
}
