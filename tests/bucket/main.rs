//! The bucket feed as a user runs it: the real program against Google's store as fake-gcs-server plays it, S3 as moto
//! does, and Azurite; refused, cut off and killed wherever it hurts. Nothing is lost, nothing comes twice.

#![cfg(feature = "sandbox")]

mod azure;
#[path = "../common/mod.rs"]
mod common;
mod front;
mod google;
mod key;
mod reconcile;
mod records;
mod s3;
mod servers;
mod world;
