//! What a process asked of the kernel, as `strace` wrote it down.

use std::collections::HashMap;

/// The calls that change a disk, move a place in a file, or send something.
pub const CALLS: &str = "openat,open,close,fcntl,lseek,write,writev,pwrite64,ftruncate,fsync,fdatasync,\
rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,connect,sendto,sendmsg";

/// A call and its arguments, of which the strings are decoded.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// The arguments as they stand; a string holds hexadecimal digits only, so that ", " always separates.
    arguments: String,
    pub strings: Vec<Vec<u8>>,
}

impl Call {
    fn new(name: &str, arguments: &str) -> Self {
        let strings = arguments.split('"').skip(1).step_by(2).map(unescape).collect();
        Self { name: name.to_owned(), arguments: arguments.to_owned(), strings }
    }

    /// The argument at `index`, as it stands.
    pub fn argument(&self, index: usize) -> &str {
        self.arguments.split(", ").nth(index).unwrap_or_default()
    }

    /// The number at `index`; `AT_FDCWD` is none.
    pub fn number(&self, index: usize) -> i64 {
        self.argument(index).parse().unwrap_or(-1)
    }

    pub fn mentions(&self, text: &str) -> bool {
        self.arguments.contains(text)
    }
}

/// `\x61\x62` as bytes.
fn unescape(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes().chunks_exact(4).map(|four| digit(four[2]) << 4 | digit(four[3])).collect()
}

/// One moment of a trace.
#[derive(Debug)]
pub enum Moment<'a> {
    /// A thread made a call.
    Begun { thread: &'a str, call: &'a Call },
    /// The call came back.
    Ended { thread: &'a str, call: &'a Call, result: i64 },
}

/// Goes through a trace in its order.
pub fn follow(trace: &str, mut see: impl FnMut(Moment<'_>)) {
    let mut under_way: HashMap<&str, Call> = HashMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<...") {
            if let Some(call) = under_way.remove(thread) {
                see(Moment::Ended { thread, call: &call, result: result(rest) });
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        if let Some(arguments) = arguments.strip_suffix(" <unfinished ...>") {
            let call = Call::new(name, arguments);
            see(Moment::Begun { thread, call: &call });
            under_way.insert(thread, call);
        } else if let Some((arguments, _)) = arguments.rsplit_once(" = ") {
            let call = Call::new(name, arguments.trim_end().trim_end_matches(')'));
            see(Moment::Begun { thread, call: &call });
            see(Moment::Ended { thread, call: &call, result: result(rest) });
        }
    }
}

/// What stands behind the last ` = `; -1 for an error.
fn result(line: &str) -> i64 {
    let text = line.rsplit_once(" = ").map_or("", |(_, result)| result);
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(-1)
}
