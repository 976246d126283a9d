//! What happens in a round, and when: every decision comes from one number.

use std::time::Duration;

use fastrand::Rng;
use longshore::sandbox::FaultKind;
use longshore::sandbox::sample::{Compression, Format};

use crate::command;
use crate::proxy::Weather;
use crate::receiver;

/// A round: a daemon of its own that is killed again and again, and a quiet phase.
#[derive(Debug)]
pub struct Schedule {
    pub seed: u64,
    /// `ordering` in `[work]`.
    pub ordering: &'static str,
    /// `transport` of the feed.
    pub transport: &'static str,
    pub cycles: Vec<Cycle>,
    /// Whether the quiet phase finds the last daemon alive, with whatever has become of its connections; otherwise it
    /// is killed and started once more.
    pub is_quiet_alive: bool,
}

/// From one start of the daemon to its end.
#[derive(Debug)]
pub struct Cycle {
    pub steps: Vec<Step>,
    pub end: End,
}

/// Something that is done a while after the one before.
#[derive(Clone, Debug)]
pub struct Step {
    pub after: Duration,
    pub act: Act,
}

/// What can be done.
#[derive(Clone, Debug)]
pub enum Act {
    Publish(Load),
    /// Children of items that come later, from so many items on.
    Prices {
        ahead: u64,
        prices: u64,
    },
    Events(Events),
    /// Every connection passes again.
    Clear,
    Weather(Server, Weather),
    Blobs(FaultKind, u32),
    Tokens {
        status: u16,
        requests: u32,
    },
    Duplicate(u32),
    Detach,
    Busy(u32),
    Rotate {
        broker: bool,
        blobs: bool,
    },
    Expire {
        broker: bool,
        blobs: bool,
        access: bool,
    },
    Receiver(receiver::Manner, u32),
    Script(command::Manner, u32),
    /// SIGSTOP, and SIGCONT after this time.
    Freeze(Duration),
}

/// Files to publish.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub files: u32,
    pub records: u64,
    pub format: Format,
    pub compression: Compression,
}

/// Events to send.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    pub way: Way,
    pub records: u64,
    pub is_csv: bool,
}

/// By which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As a file that the vendor announces.
    Announced,
    /// Our webhook is called.
    Called,
    /// A file is laid down.
    Dropped,
}

/// One of the vendor's servers, behind its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Broker,
    Blobs,
    Tokens,
}

/// How the daemon ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// kill -9 at this moment.
    Kill(Duration),
    /// kill -9 this long after the event, or after a while without it.
    KillOn(Event, Duration),
    /// It is stopped with SIGSTOP until another daemon has taken over and its leases have run out, then goes on beside
    /// it; then both are killed.
    Overtaken,
}

/// What can be seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A notice was stored.
    Stored,
    /// The broker saw a completion.
    Settled,
    /// A body began to be sent.
    Fetched,
    /// The HTTP sink's server was asked.
    Asked,
    /// A notice was finished.
    Finished,
}

impl Schedule {
    pub fn new(seed: u64, cycles: u32) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            seed,
            ordering: pick(&mut rng, &["blob-type", "none"]),
            transport: pick(&mut rng, &["amqp", "amqp", "websocket"]),
            cycles: (0..cycles).map(|number| cycle(&mut rng, number)).collect(),
            is_quiet_alive: rng.bool(),
        }
    }
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

fn ms(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

fn cycle(rng: &mut Rng, number: u32) -> Cycle {
    let mut steps: Vec<Step> = (0..rng.usize(2..6)).map(|_| Step { after: ms(rng, 0..250), act: act(rng) }).collect();
    // Bad weather does not last for ever, or nothing would ever be cut off in the middle.
    if rng.u8(0..3) > 0 {
        steps.insert(0, Step { after: Duration::ZERO, act: Act::Clear });
    }
    // Without a load the faults would meet nobody.
    if number.is_multiple_of(2) || rng.bool() {
        let at = rng.usize(0..=steps.len());
        steps.insert(at, Step { after: Duration::ZERO, act: Act::Publish(load(rng)) });
    }
    for act in others(rng) {
        let at = rng.usize(0..=steps.len());
        steps.insert(at, Step { after: Duration::ZERO, act });
    }
    let end = match rng.u32(0..20) {
        0 => End::Overtaken,
        1..=9 => End::Kill(ms(rng, 0..1500)),
        _ => {
            let events = [Event::Stored, Event::Settled, Event::Fetched, Event::Asked, Event::Finished];
            End::KillOn(pick(rng, &events), ms(rng, 0..40))
        }
    };
    Cycle { steps, end }
}

fn load(rng: &mut Rng) -> Load {
    Load {
        files: rng.u32(1..6),
        records: rng.u64(1..240),
        format: pick(rng, &[Format::JsonLines, Format::JsonLines, Format::JsonArray, Format::XmlLines]),
        compression: pick(rng, &[Compression::Gzip, Compression::Gzip, Compression::None, Compression::Zstd]),
    }
}

/// What is published besides the items.
fn others(rng: &mut Rng) -> Vec<Act> {
    let mut acts = Vec::new();
    if rng.bool() {
        acts.push(Act::Prices { ahead: rng.u64(0..60), prices: rng.u64(1..80) });
    }
    for way in [Way::Announced, Way::Called, Way::Called, Way::Dropped] {
        if rng.u8(0..3) == 0 {
            acts.push(Act::Events(Events { way, records: rng.u64(1..60), is_csv: rng.bool() }));
        }
    }
    acts
}

fn act(rng: &mut Rng) -> Act {
    match rng.u32(0..20) {
        0..=2 => Act::Weather(pick(rng, &[Server::Broker, Server::Blobs, Server::Tokens]), weather(rng)),
        3..=7 => Act::Blobs(blob_fault(rng), rng.u32(1..4)),
        8 => Act::Tokens { status: pick(rng, &[403, 429, 500, 503]), requests: rng.u32(1..3) },
        9 => Act::Duplicate(rng.u32(1..4)),
        10 if rng.bool() => Act::Detach,
        10 => Act::Busy(1),
        11 | 12 => {
            let which = rng.u32(1..4);
            Act::Rotate { broker: which & 1 != 0, blobs: which & 2 != 0 }
        }
        13 => {
            let which = rng.u32(1..8);
            Act::Expire { broker: which & 1 != 0, blobs: which & 2 != 0, access: which & 4 != 0 }
        }
        14..=16 => {
            use receiver::Manner::{DoneRefuse, DoneReset, DoneSilent, Later, Refuse, Silent};
            let manners = [Refuse(500), Later(429), Later(503), Silent, DoneSilent, DoneRefuse(500), DoneReset];
            Act::Receiver(pick(rng, &manners), rng.u32(1..4))
        }
        17 | 18 => {
            use command::Manner::{DoneFail, DoneHang, Fail, Hang};
            Act::Script(pick(rng, &[Fail, Hang, DoneFail, DoneHang]), rng.u32(1..3))
        }
        _ => Act::Freeze(ms(rng, 50..800)),
    }
}

fn weather(rng: &mut Rng) -> Weather {
    match rng.u32(0..5) {
        0 => Weather::Refusing,
        1 => Weather::Resetting,
        2 => Weather::HalfOpen,
        3 => Weather::Slow(rng.u32(2_000..40_000)),
        _ => Weather::CutAfter(rng.u32(1..6_000)),
    }
}

fn blob_fault(rng: &mut Rng) -> FaultKind {
    match rng.u32(0..8) {
        0..=3 => {
            let status = pick(rng, &[403, 404, 429, 500, 503]);
            FaultKind::Status { status, retry_after: (status == 429 || rng.bool()).then_some(1) }
        }
        4 => FaultKind::Cut { after: rng.u64(0..3_000) },
        5 => FaultKind::Corrupt { at: rng.u64(0..3_000) },
        6 => FaultKind::ChangeEtag { after: rng.u64(0..3_000) },
        _ => FaultKind::Slow { bytes_per_second: rng.u64(2_000..40_000) },
    }
}
