//! What `longshore check --connect` finds out about a source on another machine.

use super::contract::{FILES_MAX, Source, SourceError, in_it};
use crate::probe::{Finding, Step, Walk};

/// Connects to `source`, lists, and says farewell. Whether files can be moved or deleted cannot be known without doing it, so that is
/// only said.
pub(super) async fn walk(
    source: &str,
    connect: impl Future<Output = Result<Box<dyn Source>, SourceError>>,
    writes: bool,
) -> Vec<Step> {
    let mut walk = Walk::begin();
    let mut connection = match connect.await {
        Ok(connection) => connection,
        Err(error) => {
            walk.step("source reached", bad(&error));
            return walk.end();
        }
    };
    let seen = connection.seen().map_or_else(|| source.to_owned(), |seen| format!("{source}, {seen}"));
    walk.step("source reached", Finding::Good { seen });
    match connection.list(FILES_MAX).await {
        Ok(files) => {
            walk.step("folder readable", Finding::Good { seen: in_it(files.len()) });
            if writes {
                let seen = "files are moved or deleted after they are stored, which shows only then".to_owned();
                walk.step("files moved or deleted", Finding::Good { seen });
            }
        }
        Err(error) => walk.step("folder readable", bad(&error)),
    }
    connection.leave().await;
    walk.end()
}

fn bad(error: &SourceError) -> Finding {
    let remedy = match error {
        SourceError::Refused { remedy, .. } => remedy.clone(),
        SourceError::HostKey { fingerprint, .. } => {
            format!("ask the server's owner for its key; if it is this one: host_keys = [{fingerprint:?}]")
        }
        _ => "look at `source` of the feed, at the firewall, and whether the server is up".to_owned(),
    };
    Finding::Bad { error: error.without_remedy(), remedy }
}
