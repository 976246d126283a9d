//! A disk that forgets: it keeps what an fsync has covered, and of everything else nothing, or what chance will.
//!
//! It is as harsh as POSIX allows. A name in a folder is safe once that folder was synced, whatever was done to the
//! file itself; the two halves of a rename are safe on their own; a write may be torn at any sector.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use fastrand::Rng;

use crate::trace::{Call, Moment};

/// What a disk writes whole.
const SECTOR: usize = 512;

type Node = usize;

/// Something done that no fsync has covered yet, with its number in the order of all.
type Pending<T> = Vec<(u64, T)>;

enum Thing {
    File { durable: Vec<u8>, pending: Pending<Change> },
    Folder { live: BTreeMap<String, Node>, durable: BTreeMap<String, Node>, pending: Pending<(String, Option<Node>)> },
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => content.resize(*length, 0),
            Self::Write { offset, bytes } => {
                content.resize(content.len().max(offset + bytes.len()), 0);
                content[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

struct Open {
    node: Node,
    at: usize,
}

/// The folder that is watched, with everything in it.
pub struct Disk {
    root: String,
    things: Vec<Thing>,
    open: HashMap<i64, Open>,
    done: u64,
    /// Where each thread's fsync began.
    syncing: HashMap<String, u64>,
    pub writes: u64,
    pub syncs: u64,
}

impl Disk {
    /// An empty, durable folder at `root`.
    pub fn new(root: &Path) -> Self {
        let things = vec![Thing::Folder { live: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() }];
        let root = root.to_str().expect("a path in plain letters").to_owned();
        Self { root, things, open: HashMap::new(), done: 0, syncing: HashMap::new(), writes: 0, syncs: 0 }
    }

    /// Takes note of one moment. Returns whether more is durable than before.
    pub fn see(&mut self, moment: &Moment<'_>) -> bool {
        match moment {
            Moment::Begun { thread, call } => {
                match call.name.as_str() {
                    "fsync" | "fdatasync" => drop(self.syncing.insert((*thread).to_owned(), self.done)),
                    // Another thread may have the number again before this call is seen to end.
                    "close" => drop(self.open.remove(&call.number(0))),
                    _ => {}
                }
                false
            }
            Moment::Ended { result, .. } if *result < 0 => false,
            Moment::Ended { thread, call, result } => self.ended(thread, call, *result),
        }
    }

    fn ended(&mut self, thread: &str, call: &Call, result: i64) -> bool {
        let fd = call.number(0);
        match call.name.as_str() {
            "open" | "openat" => self.opened(call, result),
            "fcntl" if call.mentions("F_DUPFD") => {
                if let Some(Open { node, at }) = self.open.get(&fd) {
                    let copy = Open { node: *node, at: *at };
                    self.open.insert(result, copy);
                }
            }
            "lseek" => {
                if let Some(open) = self.open.get_mut(&fd) {
                    open.at = position(result);
                }
            }
            "write" | "writev" => {
                if let Some(open) = self.open.get_mut(&fd) {
                    let (node, offset) = (open.node, open.at);
                    open.at += position(result);
                    self.write(node, offset, call, result);
                }
            }
            "pwrite64" => {
                if let Some(open) = self.open.get(&fd) {
                    self.write(open.node, position(call.number(3)), call, result);
                }
            }
            "ftruncate" => {
                if let Some(open) = self.open.get(&fd) {
                    self.change(open.node, Change::Truncate(position(call.number(1))));
                }
            }
            "fsync" | "fdatasync" => {
                let until = self.syncing.remove(thread).unwrap_or_default();
                if let Some(open) = self.open.get(&fd) {
                    self.sync(open.node, until);
                    return true;
                }
            }
            "mkdir" | "mkdirat" => {
                if let Some((folder, name)) = self.place(call, 0) {
                    let made = Thing::Folder { live: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() };
                    let node = self.add(made);
                    self.name(folder, name, Some(node));
                }
            }
            "unlink" | "unlinkat" => {
                if let Some((folder, name)) = self.place(call, 0) {
                    self.name(folder, name, None);
                }
            }
            "rename" | "renameat" | "renameat2" => {
                if let (Some((from, old)), Some((to, new))) = (self.place(call, 0), self.place(call, 1)) {
                    let node = self.entry(from, &old);
                    self.name(to, new, node);
                    self.name(from, old, None);
                }
            }
            _ => {}
        }
        false
    }

    fn opened(&mut self, call: &Call, fd: i64) {
        self.open.remove(&fd);
        let Some((folder, name)) = self.place(call, 0) else { return };
        let known = if name.is_empty() { Some(folder) } else { self.entry(folder, &name) };
        let node = match known {
            Some(node) => node,
            None if call.mentions("O_CREAT") => {
                let node = self.add(Thing::File { durable: Vec::new(), pending: Vec::new() });
                self.name(folder, name, Some(node));
                node
            }
            // Something from before our time.
            None => return,
        };
        if call.mentions("O_TRUNC") {
            self.change(node, Change::Truncate(0));
        }
        self.open.insert(fd, Open { node, at: 0 });
    }

    /// The folder and name that the string number `index` of a call says, if they are ours.
    fn place(&self, call: &Call, index: usize) -> Option<(Node, String)> {
        let path = String::from_utf8(call.strings.get(index)?.clone()).ok()?;
        let (start, rest) = if path.starts_with('/') {
            (0, path.strip_prefix(&self.root)?.to_owned())
        } else {
            // The folder's descriptor stands before its string.
            (self.open.get(&call.number(index * 2))?.node, path)
        };
        let mut parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let name = parts.pop().unwrap_or_default().to_owned();
        let folder = parts.into_iter().try_fold(start, |folder, part| self.entry(folder, part))?;
        Some((folder, name))
    }

    fn entry(&self, folder: Node, name: &str) -> Option<Node> {
        match &self.things[folder] {
            Thing::Folder { live, .. } => live.get(name).copied(),
            Thing::File { .. } => None,
        }
    }

    fn add(&mut self, thing: Thing) -> Node {
        self.things.push(thing);
        self.things.len() - 1
    }

    fn name(&mut self, folder: Node, name: String, node: Option<Node>) {
        self.done += 1;
        if let Thing::Folder { live, pending, .. } = &mut self.things[folder] {
            set(live, &name, node);
            pending.push((self.done, (name, node)));
        }
    }

    fn write(&mut self, node: Node, offset: usize, call: &Call, result: i64) {
        let mut bytes = call.strings.concat();
        bytes.truncate(position(result));
        self.writes += 1;
        self.change(node, Change::Write { offset, bytes });
    }

    fn change(&mut self, node: Node, change: Change) {
        self.done += 1;
        if let Thing::File { pending, .. } = &mut self.things[node] {
            pending.push((self.done, change));
        }
    }

    /// Makes durable what was done to a file or folder before `until`.
    fn sync(&mut self, node: Node, until: u64) {
        self.syncs += 1;
        match &mut self.things[node] {
            Thing::File { durable, pending } => {
                for (_, change) in pending.extract_if(.., |(at, _)| *at <= until) {
                    change.apply(durable);
                }
            }
            Thing::Folder { durable, pending, .. } => {
                for (_, (name, node)) in pending.extract_if(.., |(at, _)| *at <= until) {
                    set(durable, &name, node);
                }
            }
        }
    }

    /// Writes into `folder` what is left after the power went. With `chance`, some of what no fsync has covered has
    /// reached the disk too.
    pub fn recover(&self, folder: &Path, chance: Option<&mut Rng>) {
        let mut rng = chance;
        self.recover_folder(0, folder, &mut rng);
    }

    fn recover_folder(&self, node: Node, path: &Path, rng: &mut Option<&mut Rng>) {
        std::fs::create_dir_all(path).expect("a folder");
        let Thing::Folder { durable, pending, .. } = &self.things[node] else { return };
        let mut entries = durable.clone();
        if let Some(rng) = rng {
            for (_, (name, node)) in pending {
                if rng.bool() {
                    set(&mut entries, name, *node);
                }
            }
        }
        for (name, node) in entries {
            let path = path.join(&name);
            match &self.things[node] {
                Thing::Folder { .. } => self.recover_folder(node, &path, rng),
                // Shared memory between processes: made anew after a start.
                Thing::File { .. } if name.ends_with("-shm") => {}
                Thing::File { durable, pending } => {
                    let mut content = durable.clone();
                    if let Some(rng) = rng {
                        for (_, change) in pending {
                            survive(change, &mut content, rng);
                        }
                    }
                    std::fs::write(&path, content).expect("a file");
                }
            }
        }
    }
}

/// A change that may have reached the disk: not at all, as a whole, or some of its sectors.
fn survive(change: &Change, content: &mut Vec<u8>, rng: &mut Rng) {
    match (change, rng.u8(0..4)) {
        (_, 0) => {}
        (Change::Write { offset, bytes }, 1) => {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                if rng.bool() {
                    Change::Write { offset: offset + index * SECTOR, bytes: sector.to_vec() }.apply(content);
                }
            }
        }
        (whole, _) => whole.apply(content),
    }
}

fn set(entries: &mut BTreeMap<String, Node>, name: &str, node: Option<Node>) {
    match node {
        Some(node) => drop(entries.insert(name.to_owned(), node)),
        None => drop(entries.remove(name)),
    }
}

fn position(number: i64) -> usize {
    usize::try_from(number).expect("the kernel counts from 0")
}
