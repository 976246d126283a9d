//! Stores versions of objects, each once.
//!
//! A store tells a version by its ETag, which for most of them is a checksum: an object that is written with A, then with B,
//! then with A again has the first one's version, and is not the first one: sinks hold B by now. So where a version is known,
//! it is held against the latest one that the inbox has of that object. If that is another one, and this one was written
//! after it, it is a version of its own, under a key that also says when it was written. The same content written over itself
//! is no new version, whatever its time.

use super::list::Object;
use super::notices::dedupe_key;
use crate::inbox::{Inbox, InboxError, Receipt};
use crate::notice::HeardNotice;

/// Stores a batch of notices of one feed, each with its object; a receipt for each, in the same order.
pub(super) async fn store(inbox: &dyn Inbox, batch: Vec<(HeardNotice, Object)>) -> Result<Vec<Receipt>, InboxError> {
    let mut receipts = inbox.store(batch.iter().map(|(heard, _)| heard.clone()).collect()).await?;
    let known: Vec<usize> = (0..batch.len()).filter(|&at| receipts[at].is_duplicate()).collect();
    let Some((first, _)) = batch.first().filter(|_| !known.is_empty()) else {
        return Ok(receipts);
    };
    let prefixes = known.iter().map(|&at| prefix(&batch[at].1.key)).collect();
    let newest = inbox.newest(first.feed.clone(), prefixes).await?;
    let mut again = Vec::new();
    for (at, newest) in known.into_iter().zip(newest) {
        let (heard, object) = &batch[at];
        let latest = newest.iter().find_map(|(key, published)| Some((version_in(&object.key, key)?, *published)));
        // Some tell the time of writing to the second only.
        let second = object.modified.0.div_euclid(1_000);
        let is_back = latest.is_some_and(|(version, published)| {
            version != version_of(object) && second >= published.0.div_euclid(1_000)
        });
        if is_back {
            again.push((at, HeardNotice { dedupe_key: format!("{}@{second}", dedupe_key(object)), ..heard.clone() }));
        }
    }
    if !again.is_empty() {
        let stored = inbox.store(again.iter().map(|(_, heard)| heard.clone()).collect()).await?;
        for ((at, _), receipt) in again.into_iter().zip(stored) {
            receipts[at] = receipt;
        }
    }
    Ok(receipts)
}

/// What the keys of an object's notices begin with; those of an object whose name goes on with `#` do, too.
fn prefix(key: &str) -> String {
    format!("{key}#")
}

/// A version as its notice's key tells it.
pub(super) fn version_of(object: &Object) -> String {
    format!("{}:{}", object.version, object.size)
}

/// The version of the object called `key` that a notice is of, by its dedupe key; `None` if it is of another object. What was
/// taken by hand ends in `#again-`, and what came back in `@` and its time.
fn version_in(key: &str, dedupe_key: &str) -> Option<String> {
    let rest = dedupe_key.strip_prefix(key)?.strip_prefix('#')?;
    let version = match rest.split_once('#') {
        None => rest,
        Some((version, by_hand)) => by_hand.starts_with("again-").then_some(version)?,
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let version = match version.rsplit_once('@') {
        Some((version, second)) if is_number(second) => version,
        _ => version,
    };
    version.rsplit_once(':').filter(|(_, size)| is_number(size)).map(|_| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_the_key_of_its_own_object_alone() {
        let read = |dedupe_key: &str| version_in("a", dedupe_key);
        for own in ["a#v:5", "a#v:5@1700000000", "a#v:5#again-1700000000000"] {
            assert_eq!(read(own).as_deref(), Some("v:5"), "{own}");
        }
        assert_eq!(read("a#x@1:5").as_deref(), Some("x@1:5"));
        for other in ["ab#v:5", "a#b#v:5", "a#b:1#v:5", "a#v", "b#v:5"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
