//! The place where files are dropped, whatever is spoken there.
//!
//! ```text
//! Way ──connect──> dyn Source: directory, sftp, ftp, s3
//!   └─────probe──> the same way step by step, for `longshore check --connect`
//! ```
//!
//! The feed knows `contract` and `way`; nothing outside of this folder knows what is spoken.

mod contract;
mod directory;
mod ftp;
mod probe;
mod remote;
mod s3;
mod s3_probe;
mod sftp;
mod way;

pub use contract::After;
pub(super) use contract::{FILES_MAX, Goal, Listed, ReadEnd, Receive, Source, SourceError, Stamp};
pub use ftp::FtpSettings;
pub use remote::{Login, Place};
pub use s3::S3Settings;
pub use sftp::SftpSettings;
pub use way::SourceSettings;
pub(super) use way::Way;
