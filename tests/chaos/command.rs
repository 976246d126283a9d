//! The user's side of the command sink: a script that keeps the idempotency keys, and misbehaves on order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// What the script does with one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Fails and does nothing.
    Fail,
    /// Hangs and does nothing.
    Hang,
    /// Does it, and fails all the same.
    DoneFail,
    /// Does it, and hangs.
    DoneHang,
}

impl Manner {
    const fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Hang => "hang",
            Self::DoneFail => "done-fail",
            Self::DoneHang => "done-hang",
        }
    }
}

/// A batch is done when it is linked under its key: that happens once, however many scripts run at the same time, as
/// they do when a killed daemon leaves one behind. An input of fewer lines than announced was cut off with its daemon.
const SCRIPT: &str = r#"#!/bin/sh
set -u
cd "$1" || exit 2
manner=
for order in orders/*; do
  if mv "$order" "taken/$$" 2>/dev/null; then manner=${order##*.}; break; fi
done
got=work/$LONGSHORE_IDEMPOTENCY_KEY.$$
cat > "$got"
[ "$(wc -l < "$got")" -eq "$LONGSHORE_RECORDS" ] || { rm -f "$got"; echo "the input was cut off" >&2; exit 3; }
case $manner in
  fail) exit 4 ;;
  hang) exec sleep 20 ;;
esac
if ! ln "$got" "done/$LONGSHORE_IDEMPOTENCY_KEY" 2>/dev/null; then
  if cmp -s "$got" "done/$LONGSHORE_IDEMPOTENCY_KEY"; then echo >> repeats; else cp "$got" wrong/; fi
fi
rm -f "$got"
case $manner in
  done-fail) exit 5 ;;
  done-hang) exec sleep 20 ;;
esac
"#;

/// The script's folder.
pub struct Script {
    folder: PathBuf,
    ordered: AtomicU32,
}

impl Script {
    pub fn new(folder: PathBuf) -> Self {
        for name in ["orders", "taken", "work", "done", "wrong"] {
            std::fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        std::fs::write(folder.join("take.sh"), SCRIPT).expect("the script");
        Self { folder, ordered: AtomicU32::new(0) }
    }

    /// The program and its arguments.
    pub fn command(&self) -> [String; 3] {
        let folder = self.folder.display().to_string();
        ["/bin/sh".to_owned(), format!("{folder}/take.sh"), folder]
    }

    /// The next `batches` batches are treated so, after those that were ordered before.
    pub fn order(&self, manner: Manner, batches: u32) {
        for _ in 0..batches {
            let number = self.ordered.fetch_add(1, Ordering::Relaxed);
            std::fs::write(self.folder.join(format!("orders/{number:06}.{}", manner.name())), "").expect("an order");
        }
    }

    /// Good manners from now on.
    pub fn calm(&self) {
        for order in files(&self.folder.join("orders")) {
            // A script may have taken it just now.
            let _ = std::fs::remove_file(order);
        }
    }

    /// What was done, by idempotency key.
    pub fn batches(&self) -> BTreeMap<String, Vec<Value>> {
        let key = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files(&self.folder.join("done")).iter().map(|path| (key(path), crate::oracle::lines(path))).collect()
    }

    /// Batches under a key that was done before.
    pub fn repeats(&self) -> u64 {
        std::fs::read(self.folder.join("repeats")).map_or(0, |lines| lines.len() as u64)
    }

    /// What no daemon may do: other records under a known key.
    pub fn wrong(&self) -> Vec<String> {
        files(&self.folder.join("wrong")).iter().map(|path| format!("other records: {}", path.display())).collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}
