//! What is wanted against what the vendor has, and in which order the one becomes the other.

use std::collections::BTreeMap;

use serde::Serialize;
use url::Url;

use super::told::Told;
use super::{SUBSCRIPTIONS_OF_EVENT_MAX, Terms, Wanted};

/// Whose a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// It delivers to us under a name of ours: what plan and apply may touch.
    Ours,
    /// It delivers to us under another name, as one that a person made; it may serve, and is never touched.
    ForUs,
    /// It has a name of ours and delivers elsewhere.
    Namesake,
    /// It is none of our business.
    Others,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is as it is wanted.
    Keep,
    /// It is to be made.
    Create,
    /// It is to be made anew, and then the old one deleted.
    Replace,
    /// It is to be deleted.
    Delete,
    /// It is wanted, and the vendor has no room for it.
    NoRoom,
}

/// One line of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What becomes of it.
    pub action: Action,
    /// What it is.
    #[serde(flatten)]
    pub what: Wanted,
    /// The vendor's numbers of what is there: what is kept, or what goes.
    pub ids: Vec<String>,
    /// Why; nothing where that is plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Something to know that nothing is done about.
pub type Note = String;

/// What is to be done.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// By event.
    pub lines: Vec<Line>,
    /// What should be known besides.
    pub notes: Vec<Note>,
    /// Subscriptions that are none of our business.
    pub others: usize,
    /// How many subscriptions of an event there are, of anybody.
    #[serde(skip)]
    of_event: BTreeMap<String, usize>,
    /// Whether a subscription may go before its successor comes, where there is no room for both.
    #[serde(skip)]
    may_gap: bool,
}

/// One request that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make this one.
    Create(Wanted),
    /// Delete this one.
    Delete {
        /// What it delivers.
        what: Wanted,
        /// Its number.
        id: String,
    },
}

/// What a person can say about the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// Replace every subscription, also those that seem to be as wanted.
    pub rotate: bool,
    /// Let an old subscription go first where the vendor has no room for both.
    pub allow_gap: bool,
}

impl Terms {
    /// Whose `told` is.
    #[must_use]
    pub fn whose(&self, told: &Told) -> Whose {
        let delivers_to = |target: &Url| told.address.as_deref().is_some_and(|address| is_same(address, target));
        let is_for_us = delivers_to(&self.target) || self.former_targets.iter().any(delivers_to);
        let is_named = told.name == self.name || told.name.strip_prefix(&self.name).is_some_and(|r| r.starts_with(' '));
        match (is_for_us, is_named) {
            (true, true) => Whose::Ours,
            (true, false) => Whose::ForUs,
            (false, true) => Whose::Namesake,
            (false, false) => Whose::Others,
        }
    }

    /// Whether it delivers where it should, and shows what it should.
    pub(super) fn fits(&self, told: &Told) -> bool {
        self.misfit(told).is_none()
    }

    fn misfit(&self, told: &Told) -> Option<&'static str> {
        if !told.address.as_deref().is_some_and(|address| is_same(address, &self.target)) {
            return Some("it delivers to a former address");
        }
        let Some((header, value)) = &self.header else { return None };
        let shown: Vec<_> =
            told.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(header.as_str())).collect();
        match shown.as_slice() {
            [] => Some("it shows no secret"),
            // What is covered up cannot be compared; `--rotate` replaces it.
            [(_, shown)] if is_covered(shown.expose()) || shown == value => None,
            _ => Some("it shows another secret"),
        }
    }
}

/// Whether two addresses are one, however they are written.
fn is_same(text: &str, target: &Url) -> bool {
    Url::parse(text.trim()).is_ok_and(|url| url == *target)
}

/// Whether the vendor shows stars in the place of a value.
fn is_covered(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c == '*' || c == '•')
}

impl Plan {
    /// Compares.
    #[must_use]
    pub fn new(wanted: &[Wanted], all: &[Told], terms: &Terms, choices: Choices) -> Self {
        let mut of_event = BTreeMap::new();
        for told in all {
            *of_event.entry(told.what.event.clone()).or_insert(0) += 1;
        }
        let by = |whose| all.iter().filter(|told| terms.whose(told) == whose).collect::<Vec<_>>();
        let (mut ours, for_us) = (by(Whose::Ours), by(Whose::ForUs));
        ours.sort_by(|one, other| (&one.created, &one.id).cmp(&(&other.created, &other.id)));
        let mut lines: Vec<Line> =
            wanted.iter().flat_map(|what| lines_of(what, &ours, &for_us, terms, choices)).collect();
        for told in ours.iter().filter(|told| !wanted.contains(&told.what)) {
            lines.push(Line::new(Action::Delete, told.what.clone(), [*told], Some("it is not wanted any more")));
        }
        lines.sort_by(|one, other| (&one.what, one.action).cmp(&(&other.what, other.action)));
        let notes = notes(wanted, all, terms);
        let mut plan = Self { lines, notes, others: by(Whose::Others).len(), of_event, may_gap: choices.allow_gap };
        plan.look_for_room();
        plan
    }

    /// Whether everything is as it is wanted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.lines.iter().all(|line| line.action == Action::Keep)
    }

    /// How many lines there are of an action.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.lines.iter().filter(|line| line.action == action).count()
    }

    /// What is to be done, in order: of each event the new before the old, as far as there is room for both.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (event, lines) in self.by_event() {
            let (more, _) = self.steps_of(event, &lines);
            steps.extend(more);
        }
        steps
    }

    fn by_event(&self) -> BTreeMap<&str, Vec<&Line>> {
        let mut by_event: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in &self.lines {
            by_event.entry(&line.what.event).or_default().push(line);
        }
        by_event
    }

    /// Steps for one event, and what there is no room for.
    fn steps_of(&self, event: &str, lines: &[&Line]) -> (Vec<Step>, Vec<Wanted>) {
        let mut there = self.of_event.get(event).copied().unwrap_or_default();
        let (mut steps, mut without_room) = (Vec::new(), Vec::new());
        let delete = |line: &Line, id: &String| Step::Delete { what: line.what.clone(), id: id.clone() };
        let mut going: Vec<Step> = lines
            .iter()
            .filter(|line| line.action == Action::Delete)
            .flat_map(|line| line.ids.iter().map(|id| delete(line, id)))
            .collect();
        for line in lines.iter().filter(|line| matches!(line.action, Action::Create | Action::Replace)) {
            let mut old: Vec<Step> = line.ids.iter().map(|id| delete(line, id)).collect();
            let is_full = there >= SUBSCRIPTIONS_OF_EVENT_MAX;
            if is_full && let Some(step) = going.pop() {
                steps.push(step);
                there -= 1;
            } else if is_full && old.len() > 1 {
                // One of several that deliver the same.
                steps.extend(old.pop());
                there -= 1;
            } else if is_full && self.may_gap && !old.is_empty() {
                steps.extend(old.pop());
                there -= 1;
            } else if is_full {
                without_room.push(line.what.clone());
                continue;
            }
            steps.push(Step::Create(line.what.clone()));
            there = there + 1 - old.len();
            steps.extend(old);
        }
        steps.extend(going);
        (steps, without_room)
    }

    fn look_for_room(&mut self) {
        let without: Vec<Wanted> =
            self.by_event().into_iter().flat_map(|(event, lines)| self.steps_of(event, &lines).1).collect();
        for line in self.lines.iter_mut().filter(|line| line.action != Action::Delete && without.contains(&line.what)) {
            let old = if line.action == Action::Replace {
                "; --allow-gap deletes the old one first, and loses what happens in between"
            } else {
                "; `longshore subscriptions list` tells whose they are, and one of them has to go first"
            };
            let why = format!("the vendor has {SUBSCRIPTIONS_OF_EVENT_MAX} of this event and takes no more{old}");
            (line.action, line.why) = (Action::NoRoom, Some(why));
        }
    }
}

impl Line {
    fn new<'t>(action: Action, what: Wanted, told: impl IntoIterator<Item = &'t Told>, why: Option<&str>) -> Self {
        let ids = told.into_iter().map(|told| told.id.clone()).collect();
        Self { action, what, ids, why: why.map(str::to_owned) }
    }
}

/// What becomes of one that is wanted, and of what there is of it.
fn lines_of(what: &Wanted, ours: &[&Told], for_us: &[&Told], terms: &Terms, choices: Choices) -> Vec<Line> {
    let of_it = |all: &[&Told]| -> Vec<Told> {
        all.iter().filter(|told| told.what == *what).map(|told| (*told).clone()).collect()
    };
    let (ours, for_us) = (of_it(ours), of_it(for_us));
    let line = |action, told: &[Told], why| Line::new(action, what.clone(), told, why);
    if let Some(told) = for_us.iter().find(|told| terms.fits(told)).filter(|_| !choices.rotate) {
        let kept = line(Action::Keep, std::slice::from_ref(told), Some("one that was made by hand serves"));
        let surplus = (!ours.is_empty()).then(|| line(Action::Delete, &ours, Some("it delivers the same once more")));
        return [kept].into_iter().chain(surplus).collect();
    }
    let (fit, misfit): (Vec<Told>, Vec<Told>) = ours.into_iter().partition(|told| terms.fits(told) && !choices.rotate);
    let why = misfit.first().map(|told| terms.misfit(told).unwrap_or("every one is replaced, as asked for"));
    match (fit.split_first(), misfit.is_empty()) {
        (None, true) => vec![line(Action::Create, &[], None)],
        (None, false) => vec![line(Action::Replace, &misfit, why)],
        (Some((kept, surplus)), _) => {
            let mut lines = vec![line(Action::Keep, std::slice::from_ref(kept), None)];
            if !surplus.is_empty() {
                lines.push(line(Action::Delete, surplus, Some("it delivers the same once more")));
            }
            if !misfit.is_empty() {
                lines.push(line(Action::Delete, &misfit, Some("its successor is there")));
            }
            lines
        }
    }
}

fn notes(wanted: &[Wanted], all: &[Told], terms: &Terms) -> Vec<Note> {
    let mut notes = Vec::new();
    for told in all {
        let named = format!("{} ({:?}, {})", told.what.event, told.name, told.id);
        match terms.whose(told) {
            Whose::ForUs if !(wanted.contains(&told.what) && terms.fits(told)) => notes.push(format!(
                "{named} delivers to us under a name that is not ours, and is left alone: delete it by hand if it is not needed"
            )),
            Whose::Namesake => notes.push(format!(
                "{named} has a name of ours and delivers elsewhere; if that was our address, name it in `former_targets`"
            )),
            _ => {}
        }
    }
    notes
}
