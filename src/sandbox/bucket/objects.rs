//! The objects of the bucket: by name, each with its generation, listed page by page.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use md5::{Digest as _, Md5};

use crate::clock::UnixMs;
use crate::sandbox::sample::EventSpec;

/// One object as it lies there.
pub(super) struct Object {
    pub(super) key: String,
    pub(super) content: Bytes,
    /// Another one with each write.
    pub(super) generation: u64,
    pub(super) written: UnixMs,
    pub(super) md5: [u8; 16],
    /// The events in it.
    pub(super) spec: EventSpec,
}

impl Object {
    /// As the XML API writes it: the MD5 of the content, so that the same bytes written again have the same.
    pub(super) fn etag(&self) -> String {
        let hex: String = self.md5.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"{hex}\"")
    }

    pub(super) fn md5_base64(&self) -> String {
        STANDARD.encode(self.md5)
    }
}

/// What is listed.
pub(super) struct Asked<'a> {
    pub(super) prefix: &'a str,
    /// Names after this one.
    pub(super) after: Option<&'a str>,
    /// Names from this one on.
    pub(super) from: Option<&'a str>,
    /// The token of an earlier page.
    pub(super) token: Option<&'a str>,
    pub(super) most: usize,
}

/// One page of a listing.
pub(super) struct Page {
    pub(super) objects: Vec<Arc<Object>>,
    pub(super) next: Option<String>,
}

/// All objects.
#[derive(Default)]
pub(super) struct Objects {
    by_key: BTreeMap<String, Arc<Object>>,
    writes: u64,
}

impl Objects {
    /// Writes an object, in place of one of that name.
    pub(super) fn put(&mut self, key: &str, content: Bytes, spec: EventSpec, now: UnixMs) -> Arc<Object> {
        self.writes += 1;
        // Microseconds since 1970, as Google's are; two writes never have the same.
        let generation = now.0.unsigned_abs() * 1_000 + self.writes;
        let md5 = Md5::digest(&content).into();
        let object = Arc::new(Object { key: key.to_owned(), content, generation, written: now, md5, spec });
        self.by_key.insert(key.to_owned(), Arc::clone(&object));
        object
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.by_key.get(key).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The first name `FOLDER/part-NNNNN.jsonl.gz` that is free.
    pub(super) fn free_key(&self, folder: &str) -> String {
        let names = (0_u32..).map(|number| format!("{folder}/part-{number:05}.jsonl.gz"));
        names.into_iter().find(|key| !self.by_key.contains_key(key)).expect("there are more numbers than objects")
    }

    /// A page; `None` for a token that is not ours.
    pub(super) fn page(&self, asked: &Asked<'_>) -> Option<Page> {
        let token = match asked.token {
            None => None,
            Some(token) => Some(String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?),
        };
        let after = token.as_deref().max(asked.after);
        let start = match (after, asked.from.unwrap_or_default().max(asked.prefix)) {
            (Some(after), from) if after >= from => Bound::Excluded(after),
            (_, from) => Bound::Included(from),
        };
        let mut found = self
            .by_key
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, object)| object)
            .take_while(|object| object.key.starts_with(asked.prefix));
        let objects: Vec<Arc<Object>> = found.by_ref().take(asked.most).cloned().collect();
        let has_more = found.next().is_some();
        let next = objects.last().filter(|_| has_more).map(|last| URL_SAFE_NO_PAD.encode(&last.key));
        Some(Page { objects, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(objects: &Objects, asked: &Asked<'_>) -> (Vec<String>, Option<String>) {
        let page = objects.page(asked).expect("a page");
        (page.objects.iter().map(|object| object.key.clone()).collect(), page.next)
    }

    #[test]
    fn pages_follow_each_other_and_stay_under_the_prefix() {
        let mut objects = Objects::default();
        for key in ["a/0", "b/1", "b/2", "b/3", "c/4"] {
            objects.put(key, Bytes::from_static(b"x"), EventSpec::new(0, 0), UnixMs(1));
        }
        let ask = |token, after, from| Asked { prefix: "b/", after, from, token, most: 2 };
        let (first, token) = keys(&objects, &ask(None, None, None));
        assert_eq!(first, ["b/1", "b/2"]);
        let (last, end) = keys(&objects, &ask(token.as_deref(), None, None));
        assert_eq!((last, end), (vec!["b/3".to_owned()], None));
        assert_eq!(keys(&objects, &ask(None, Some("b/1"), None)).0, ["b/2", "b/3"]);
        assert_eq!(keys(&objects, &ask(None, None, Some("b/3"))).0, ["b/3"]);
        assert!(objects.page(&ask(Some("not ours!"), None, None)).is_none());
    }
}
