//! What `longshore check --connect` finds out about a folder of a bucket. Rights show when they are used: an object that
//! is not there is deleted, and where files are to be moved, an empty one is put there and deleted again.

use std::sync::Arc;

use object_store::{Error, ObjectStoreExt as _, PutPayload};

use super::contract::{After, FILES_MAX, Source as _, SourceError, in_it};
use super::remote::STEP_MAX;
use super::s3::{Doing, READ, S3, S3Settings};
use crate::probe::{Finding, Step, Walk};

const PUT: Doing = Doing { what: "writing", right: "s3:PutObject" };

/// Walks the way: secrets, listing, reading, and what is done with files afterwards.
pub(super) async fn walk(settings: &S3Settings, after: &After) -> Vec<Step> {
    let mut walk = Walk::begin();
    let mut add = |name: &str, found: Result<String, SourceError>| {
        let is_good = found.is_ok();
        walk.step(name, finding(found));
        is_good
    };
    let mut folder = match S3::open(settings, &Arc::new(settings.connection())) {
        Ok(folder) => folder,
        Err(error) => {
            add("key readable", Err(error));
            return walk.end();
        }
    };
    add("key readable", Ok("access key and its secret".to_owned()));
    let listed = match folder.list(FILES_MAX).await {
        Ok(listed) => listed,
        Err(error) => {
            add("folder listed", Err(error));
            return walk.end();
        }
    };
    add("folder listed", Ok(format!("{settings}, {}", in_it(listed.len()))));
    if let Some(file) = listed.first() {
        let read = read_a_byte(&folder, &file.name).await;
        add("files readable", read.map(|()| format!("{:?} can be read", file.name)));
    }
    // Hidden, so that no look takes it for a file.
    let name = format!(".longshore-check-{:016x}", fastrand::u64(..));
    match after {
        After::Leave => {}
        After::Delete => {
            add("files deleted", folder.delete(&name).await.map(|()| "they can be, once they are stored".to_owned()));
        }
        After::Move(goal) => {
            let there = format!("{goal}/{name}");
            let written = put_nothing(&folder, &there).await;
            if add("files copied", written.map(|()| format!("{goal}/ can be written"))) {
                let deleted = async {
                    folder.delete(&there).await?;
                    folder.delete(&name).await
                };
                add("originals deleted", deleted.await.map(|()| "they can be, once they are copied".to_owned()));
            }
        }
    }
    walk.end()
}

fn finding(found: Result<String, SourceError>) -> Finding {
    match found {
        Ok(seen) => Finding::Good { seen },
        Err(SourceError::Refused { object, reason, remedy }) => {
            Finding::Bad { error: format!("{object}: {reason}"), remedy }
        }
        Err(error) => Finding::Bad {
            remedy:
                "look at `source`, `endpoint` and `region` of the feed, at the firewall, and whether the store is up"
                    .to_owned(),
            error: error.to_string(),
        },
    }
}

async fn read_a_byte(folder: &S3, name: &str) -> Result<(), SourceError> {
    let path = folder.path(name)?;
    let asked = async {
        match folder.store.objects.get_range(&path, 0..1).await {
            Ok(_) => Ok(()),
            // Gone meanwhile, or without a byte.
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) if crate::feed::store::status(&error) == Some(http::StatusCode::RANGE_NOT_SATISFIABLE) => Ok(()),
            Err(error) => Err(error),
        }
    };
    folder.within(name, READ, STEP_MAX, asked).await
}

async fn put_nothing(folder: &S3, name: &str) -> Result<(), SourceError> {
    let path = folder.path(name)?;
    let put = folder.store.objects.put(&path, PutPayload::new());
    folder.within(name, PUT, STEP_MAX, put).await.map(|_| ())
}
