//! A drop by hand: what its place holds now, beside what the inbox has of it. Nothing is changed, and nothing is waited
//! for: it can be looked at while a daemon is at it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use super::error::HandError;
use crate::clock::UnixMs;
use crate::feed::drop::files::{Standing, standing};
use crate::feed::drop::key::{ContentHash, file_of, key_prefix};
use crate::feed::drop::settings::DropSettings;
use crate::feed::drop::site::Site;
use crate::feed::drop::source::{After, FILES_MAX, Listed};
use crate::feed::drop::taken::{self, Version};
use crate::feed::drop::trouble::spool_trouble;
use crate::feed::drop::watch::Incomplete;
use crate::inbox::ledger::{Kept, Ledger, NoticeState, Selector};
use crate::notice::NoticeId;
use crate::ops::Context;

/// Contents that the inbox is asked for at once.
const ASKED_AT_ONCE: usize = 500;

/// How many of a feed's latest notices are looked through for files that are gone.
const GONE_NOTICES_MAX: usize = 2_000;

/// A drop, for people.
pub struct ByHand(pub(super) Site);

/// What a place holds.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The place, without a secret.
    pub place: String,
    /// Its files, the latest written first.
    pub files: Vec<File>,
    /// The files that the inbox heard of last, and that are there no more, the latest first.
    pub gone: Vec<Gone>,
    /// Whether there are as many files as are looked at, and perhaps more.
    pub is_cut_off: bool,
}

/// A file at the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, as far as the source says.
    pub written: Option<UnixMs>,
    /// What it is to us.
    pub state: FileState,
    /// Why it is that.
    pub why: Option<String>,
    /// The notices that the inbox has of this version; of the one that was taken before, if this one has changed.
    pub notices: Vec<(NoticeId, NoticeState)>,
    /// Other names under which the same content was taken.
    pub same_as: Vec<String>,
}

/// What a file is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// Never seen, and complete as far as a listing tells.
    New,
    /// Another version of it was taken, and this one is complete as far as a listing tells.
    Changed,
    /// It is not complete: it is waited for.
    Incomplete,
    /// It is larger than is taken.
    TooLarge,
    /// It was taken.
    Taken,
    /// It is not looked at.
    Ignored,
}

/// A file that was taken, and is there no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its name.
    pub name: String,
    /// When the last of its notices was stored.
    pub stored: UnixMs,
    /// Its notices.
    pub notices: Vec<(NoticeId, NoticeState)>,
}

impl ByHand {
    /// The drop of a feed. Nothing is connected yet.
    #[must_use]
    pub fn new(settings: DropSettings, context: Context) -> Self {
        Self(Site::new(settings, context))
    }

    /// What the place holds, with up to `gone_max` files that it held.
    ///
    /// # Errors
    /// When the place or the inbox does not answer, or the spool cannot be read.
    pub async fn holding(&self, inbox: &dyn Ledger, gone_max: usize) -> Result<Holding, HandError> {
        let settings = &self.0.settings;
        let listed = self.listed().await?;
        let is_cut_off = listed.len() == FILES_MAX;
        let known = taken::read(&settings.spool).map_err(|error| spool_trouble(&settings.spool, error))?;
        let incomplete = Incomplete::read(&settings.spool);
        let there: HashSet<&str> = listed.iter().map(|file| file.name.as_str()).collect();
        let kept = self.kept(inbox, &listed, &known).await?;
        let look =
            Look { settings, there: &there, known: &known, incomplete: &incomplete, now: self.0.context.clock.now() };
        let mut files: Vec<File> = listed.iter().map(|file| look.file(file, &kept)).collect();
        files.sort_by(|one, other| (other.written, &one.name).cmp(&(one.written, &other.name)));
        // In a folder that was not listed whole, nothing is known to be gone.
        let gone = if is_cut_off { Vec::new() } else { self.gone(inbox, &there, gone_max).await? };
        Ok(Holding { place: settings.source.to_string(), files, gone, is_cut_off })
    }

    pub(super) async fn listed(&self) -> Result<Vec<Listed>, HandError> {
        let mut source = self.0.way.connect().await?;
        let listed = source.list(FILES_MAX).await;
        source.leave().await;
        Ok(listed?)
    }

    /// What the inbox has of the contents that the journal knows of these files, by hash.
    async fn kept(
        &self,
        inbox: &dyn Ledger,
        listed: &[Listed],
        known: &HashMap<String, Version>,
    ) -> Result<HashMap<String, Vec<Kept>>, HandError> {
        let versions = listed.iter().filter_map(|file| known.get(&file.name));
        let hashes: HashSet<ContentHash> = versions.filter_map(|version| ContentHash::parse(&version.hash)).collect();
        let hashes: Vec<ContentHash> = hashes.into_iter().collect();
        let mut kept = HashMap::with_capacity(hashes.len());
        for some in hashes.chunks(ASKED_AT_ONCE) {
            let prefixes = some.iter().map(key_prefix).collect();
            let found = inbox.states_under(self.0.settings.name.clone(), prefixes).await?;
            kept.extend(some.iter().map(|hash| hash.as_str().to_owned()).zip(found));
        }
        Ok(kept)
    }

    async fn gone(&self, inbox: &dyn Ledger, there: &HashSet<&str>, gone_max: usize) -> Result<Vec<Gone>, HandError> {
        if gone_max == 0 {
            return Ok(Vec::new());
        }
        let feeds = vec![self.0.settings.name.clone()];
        let lines = inbox.notices(Selector { feeds, limit: Some(GONE_NOTICES_MAX), ..Selector::default() }).await?;
        let mut gone: Vec<Gone> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for line in lines.into_iter().filter(|line| line.woken_from.is_none()) {
            let Some(name) = line.correlation_id.filter(|name| !there.contains(name.as_str())) else { continue };
            let place = *places.entry(name.clone()).or_insert_with(|| {
                gone.push(Gone { name, stored: line.stored, notices: Vec::new() });
                gone.len() - 1
            });
            gone[place].notices.push((line.id, line.state));
        }
        gone.truncate(gone_max);
        gone.iter_mut().for_each(|file| file.notices.reverse());
        Ok(gone)
    }
}

/// What is known when files are looked at.
struct Look<'a> {
    settings: &'a DropSettings,
    there: &'a HashSet<&'a str>,
    known: &'a HashMap<String, Version>,
    incomplete: &'a Incomplete,
    now: UnixMs,
}

impl Look<'_> {
    fn file(&self, file: &Listed, kept: &HashMap<String, Vec<Kept>>) -> File {
        let known = self.known.get(&file.name);
        let content = known.and_then(|version| kept.get(&version.hash));
        let (mut notices, mut same_as) = (Vec::new(), Vec::new());
        for kept in content.into_iter().flatten() {
            match file_of(&kept.dedupe_key) {
                Some(name) if name == file.name => notices.push((kept.notice, kept.state)),
                Some(name) if same_as.last().is_none_or(|last| last != name) => same_as.push(name.to_owned()),
                _ => {}
            }
        }
        notices.sort_by_key(|(notice, _)| *notice);
        let (state, why) = self.state(file, known, notices.is_empty());
        if state != FileState::Taken {
            same_as.clear();
        }
        File {
            name: file.name.clone(),
            bytes: file.stamp.size,
            written: file.stamp.modified_ms.map(UnixMs),
            state,
            why,
            notices,
            same_as,
        }
    }

    fn state(&self, file: &Listed, known: Option<&Version>, has_none: bool) -> (FileState, Option<String>) {
        let settings = self.settings;
        if let Some(version) = known.filter(|version| version.stamp == file.stamp) {
            let why = match &settings.after {
                After::Move(folder) if !version.is_settled => Some(format!("it is still to be moved to {folder:?}")),
                After::Delete if !version.is_settled => Some("it is still to be deleted".to_owned()),
                _ => has_none.then(|| "its notices were pruned".to_owned()),
            };
            return (FileState::Taken, why);
        }
        let is_there = |name: &str| self.there.contains(name);
        let incomplete = |why: String| (FileState::Incomplete, Some(why));
        match standing(&settings.files, settings.marker.as_deref(), &file.name, is_there) {
            Standing::Wanted => {}
            Standing::Ignored(why) => return (FileState::Ignored, Some(why)),
            Standing::NotNamed => return (FileState::Ignored, Some("its name is not among `files`".to_owned())),
            Standing::Unmarked(marker) => return incomplete(format!("its marker {marker} is not there")),
        }
        if file.stamp.size > settings.limits.file_bytes_max {
            let max = settings.limits.file_bytes_max;
            return (FileState::TooLarge, Some(format!("it is larger than {max} bytes (`file_bytes_max`)")));
        }
        if let Some(reason) = self.incomplete.reason(&file.name, &file.stamp) {
            return incomplete(reason.to_owned());
        }
        if file.stamp.size == 0 {
            return incomplete("it is empty".to_owned());
        }
        if let Some(age) = file.stamp.modified_ms.and_then(|modified| self.age(UnixMs(modified)))
            && age < settings.stable_for
        {
            let (age, stable_for) = (age.as_secs(), settings.stable_for.as_secs());
            return incomplete(format!(
                "it was written {age} s ago, and has to stand still for {stable_for} s (`stable_for`)"
            ));
        }
        match known {
            Some(_) => {
                let why = "another version of it was taken; of this one it is not known yet whether its content is new";
                (FileState::Changed, Some(why.to_owned()))
            }
            None => (FileState::New, None),
        }
    }

    /// How long ago that is; `None` for what is yet to come by this machine's clock.
    fn age(&self, moment: UnixMs) -> Option<Duration> {
        (moment <= self.now).then(|| self.now.since(moment))
    }
}
