//! Which files of a folder are looked at, by their names and by what else is there.

use glob::PatternError;

use crate::globs::Globs;

/// Names that are looked at, and names that are not.
#[derive(Clone, Debug)]
pub struct FileFilter {
    include: Globs,
    ignore: Globs,
}

impl FileFilter {
    /// A filter of globs such as `*.zip`, compared without regard to case. What begins with a dot is always ignored.
    ///
    /// # Errors
    /// The glob that cannot be understood, and why.
    pub fn new(include: &[String], ignore: &[String]) -> Result<Self, PatternError> {
        Ok(Self { include: Globs::new(include)?, ignore: Globs::new(ignore)? })
    }

    /// Whether a name, of a file or of an entry in an archive, is one that nobody means: hidden, or still being written.
    pub(super) fn ignores(&self, name: &str) -> bool {
        self.why_ignored(name).is_some()
    }

    fn why_ignored(&self, name: &str) -> Option<&'static str> {
        let base = name.rsplit('/').next().unwrap_or(name);
        if base.starts_with('.') {
            return Some("its name begins with a dot");
        }
        self.ignore.match_any(base).then_some("its name is one of `ignore`: of a file that is still being written")
    }
}

/// What a file's name says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is looked at.
    Wanted,
    /// It is never looked at; why.
    Ignored(String),
    /// Its name is not among `files`.
    NotNamed,
    /// It is not looked at before a file of this name is there, too.
    Unmarked(String),
}

/// What a file's name says of it, in a folder in which `is_there` knows the names.
pub(super) fn standing(
    files: &FileFilter,
    marker: Option<&str>,
    name: &str,
    is_there: impl Fn(&str) -> bool,
) -> Standing {
    // A name leads nowhere else, whatever a server says.
    if name.contains(['/', '\\']) || name.chars().any(char::is_control) {
        return Standing::Ignored("its name has a slash, a backslash or a control character in it".to_owned());
    }
    if let Some(why) = files.why_ignored(name) {
        return Standing::Ignored(why.to_owned());
    }
    if let Some(marked) = marker.and_then(|marker| marked_by(marker, name)).filter(|marked| is_there(marked)) {
        return Standing::Ignored(format!("it is the marker of {marked}"));
    }
    if !files.include.match_any(name) {
        return Standing::NotNamed;
    }
    match marker.map(|marker| marker.replace("{file}", name)) {
        Some(marker) if !is_there(&marker) => Standing::Unmarked(marker),
        _ => Standing::Wanted,
    }
}

/// The name that makes `marker` this name, if one does.
fn marked_by<'n>(marker: &str, name: &'n str) -> Option<&'n str> {
    let before = marker.find("{file}")?;
    let times = marker.matches("{file}").count();
    let around = marker.len() - times * "{file}".len();
    let length = name.len().checked_sub(around)? / times;
    let marked = name.get(before..before + length)?;
    (marker.replace("{file}", marked) == name).then_some(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_those_still_being_written_are_not_looked_at() {
        let filter = FileFilter::new(&["*.zip".to_owned()], &["*.part".to_owned(), "*.tmp".to_owned()]).expect("globs");
        let standing = |name| standing(&filter, None, name, |_| true);
        assert_eq!(standing("Client ID_ 01012022.ZIP"), Standing::Wanted);
        assert_eq!(standing("a.csv"), Standing::NotNamed);
        for name in [".a.zip", "a.zip.part", "../a.zip", "a\n.zip"] {
            assert!(matches!(standing(name), Standing::Ignored(_)), "{name}");
        }
        assert!(filter.ignores("folder/.DS_Store"));
        assert!(filter.ignores("x/a.TMP"));
        assert!(!filter.ignores("x/a.csv"));
    }

    #[test]
    fn a_file_waits_for_its_marker_and_the_marker_is_no_file() {
        let filter = FileFilter::new(&["*".to_owned()], &[]).expect("globs");
        let there = ["a.csv", "b.csv", "b.csv.done", "c.csv.done"];
        let standing = |name| standing(&filter, Some("{file}.done"), name, |name| there.contains(&name));
        assert_eq!(standing("a.csv"), Standing::Unmarked("a.csv.done".to_owned()));
        assert_eq!(standing("b.csv"), Standing::Wanted);
        assert_eq!(standing("b.csv.done"), Standing::Ignored("it is the marker of b.csv".to_owned()));
        assert_eq!(standing("c.csv.done"), Standing::Unmarked("c.csv.done.done".to_owned()), "it marks nothing");
    }

    #[test]
    fn a_marker_is_read_backwards_also_where_it_names_its_file_twice() {
        assert_eq!(marked_by("{file}.done", "a.zip.done"), Some("a.zip"));
        assert_eq!(marked_by("_{file}-{file}!", "_aé-aé!"), Some("aé"));
        for (marker, name) in
            [("{file}.done", "done"), ("{file}.done", "a.dona"), ("{file}-{file}", "a-b"), ("x{file}", "é")]
        {
            assert_eq!(marked_by(marker, name), None, "{marker} {name}");
        }
        assert_eq!(marked_by("{file}.done", ".done"), Some(""), "of no name that there is");
    }
}
