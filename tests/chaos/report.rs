//! The figures of a run, for people and as a line of JSON.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use longshore::sandbox::FaultKind;
use serde_json::json;

use crate::proxy::Weather;
use crate::schedule::Act;

/// What a run has been through.
#[derive(Debug, Default)]
pub struct Figures {
    pub kills: u64,
    pub files: u64,
    pub records: u64,
    /// Requests and batches that were sent again under the same key, and so done once.
    pub repeats: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// What else was in the load.
    pub others: BTreeMap<&'static str, u64>,
    /// The longest time from the last fault until everything was delivered and settled.
    pub longest_recovery: Duration,
}

impl Figures {
    pub fn count(&mut self, fault: Option<&'static str>) {
        if let Some(fault) = fault {
            *self.faults.entry(fault).or_default() += 1;
        }
    }

    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.files += other.files;
        self.records += other.records;
        self.repeats += other.repeats;
        self.longest_recovery = self.longest_recovery.max(other.longest_recovery);
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (name, count) in other.others {
            *self.others.entry(name).or_default() += count;
        }
    }

    /// Prints the table, and last the line of JSON; past the test harness, which keeps what a good test says.
    pub fn print(&self) {
        let recovery = self.longest_recovery.as_secs_f64();
        let mut text = String::from("\n");
        let mut row = |name: &str, value: String| text.push_str(&format!("{name:<44} {value:>12}\n"));
        row("kill cycles survived", self.kills.to_string());
        row("files published", self.files.to_string());
        row("records published and accounted for", self.records.to_string());
        for (name, count) in &self.others {
            row(&format!("  {name}"), count.to_string());
        }
        row("batches sent again under the same key", self.repeats.to_string());
        row("longest recovery after the last fault", format!("{recovery:.1} s"));
        row("faults", self.faults.values().sum::<u64>().to_string());
        for (fault, count) in &self.faults {
            row(&format!("  {fault}"), count.to_string());
        }
        let json = json!({
            "kill_cycles": self.kills,
            "files": self.files,
            "records": self.records,
            "repeats": self.repeats,
            "longest_recovery_s": recovery,
            "others": self.others,
            "faults": self.faults,
        });
        text.push_str(&format!("{json}\n"));
        std::io::stdout().write_all(text.as_bytes()).expect("standard output");
    }
}

/// Under which name a fault is counted; none for what is no fault.
pub fn kind_of(act: &Act) -> Option<&'static str> {
    Some(match act {
        Act::Publish(_) | Act::Prices { .. } | Act::Events(_) | Act::Clear | Act::Weather(_, Weather::Good) => {
            return None;
        }
        Act::Weather(_, Weather::Refusing) => "connections refused",
        Act::Weather(_, Weather::Resetting) => "connections reset",
        Act::Weather(_, Weather::HalfOpen) => "connections half open",
        Act::Weather(_, Weather::Slow(_)) => "connections slow",
        Act::Weather(_, Weather::CutAfter(_)) => "connections cut after some bytes",
        Act::Blobs(FaultKind::Status { status, .. }, _) => match status {
            403 => "blob store says 403",
            404 => "blob store says 404",
            429 => "blob store says 429",
            500 => "blob store says 500",
            _ => "blob store says 503",
        },
        Act::Blobs(FaultKind::Cut { .. }, _) => "bodies cut short",
        Act::Blobs(FaultKind::Corrupt { .. }, _) => "bodies corrupted",
        Act::Blobs(FaultKind::ChangeEtag { .. }, _) => "blobs written anew while read",
        Act::Blobs(FaultKind::Slow { .. }, _) => "bodies slow",
        Act::Blobs(FaultKind::Stall { .. }, _) => "bodies stood still",
        Act::Tokens { .. } => "token service says no",
        Act::Duplicate(_) => "messages duplicated",
        Act::Detach => "link detached",
        Act::Busy(_) => "broker busy",
        Act::Rotate { .. } => "keys rotated",
        Act::Expire { .. } => "tokens expired",
        Act::Receiver(manner, _) => match manner {
            crate::receiver::Manner::Refuse(_) | crate::receiver::Manner::Later(_) => "http sink says not now",
            crate::receiver::Manner::Silent => "http sink times out",
            _ => "http sink fails after doing",
        },
        Act::Script(manner, _) => match manner {
            crate::command::Manner::Fail => "command fails",
            crate::command::Manner::Hang => "command times out",
            _ => "command fails after doing",
        },
        Act::Freeze(_) => "daemon frozen",
    })
}
