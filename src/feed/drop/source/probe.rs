//! What `longshore check --connect` finds out about a source on another machine.

use tokio::time::Instant;

use super::contract::{FILES_MAX, Source, SourceError};
use crate::probe::{Finding, Step};

/// Connects to `source`, lists, and says farewell. Whether files can be moved or deleted cannot be known without doing it, so that is
/// only said.
pub(super) async fn walk(
    source: &str,
    connect: impl Future<Output = Result<Box<dyn Source>, SourceError>>,
    writes: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut began = Instant::now();
    let mut add = |name: &str, found: Result<String, SourceError>| {
        let is_good = found.is_ok();
        let finding = match found {
            Ok(seen) => Finding::Good { seen },
            Err(error) => Finding::Bad { remedy: remedy(&error), error: error.to_string() },
        };
        steps.push(Step { name: name.to_owned(), took: began.elapsed(), finding });
        began = Instant::now();
        is_good
    };
    let mut connection = match connect.await {
        Ok(connection) => connection,
        Err(error) => {
            add("source reached", Err(error));
            return steps;
        }
    };
    let seen = connection.seen().map_or_else(|| source.to_owned(), |seen| format!("{source}, {seen}"));
    add("source reached", Ok(seen));
    let listed = connection.list(FILES_MAX).await;
    if add("folder readable", listed.map(|files| format!("{} files in it", files.len()))) && writes {
        let seen = "files are moved or deleted after they are stored, which shows only then".to_owned();
        add("files moved or deleted", Ok(seen));
    }
    connection.leave().await;
    steps
}

fn remedy(error: &SourceError) -> String {
    match error {
        SourceError::Refused { remedy, .. } => remedy.clone(),
        SourceError::HostKey { fingerprint, .. } => {
            format!("ask the server's owner for its key; if it is this one: host_keys = [{fingerprint:?}]")
        }
        _ => "look at `source` of the feed, at the firewall, and whether the server is up".to_owned(),
    }
}
