//! How many events a second a webhook answers with `200`, each after the fsync that holds it: over TLS, on connections
//! that are kept, each of which sends its next event once the one before is answered.
//!
//! Beside it, in the same run, the limit that it cannot exceed: the same listener before an inbox that stores nothing.
//! Sender and listener share the machine, as they do nowhere else, each with threads of its own; so that the figures are
//! low, and their ratio is what to look at. Each event has an id of its own, so that none is a duplicate; afterwards the
//! inbox must hold at least as many as were answered.
//!
//! Each round measures all one after the other; the table shows the median of the rounds. `LONGSHORE_BENCH_SECONDS` and
//! `LONGSHORE_BENCH_ROUNDS` set the effort, `LONGSHORE_BENCH_CONNECTIONS=256` the numbers of connections. The last line
//! is one JSON object.

mod listener;
mod load;

use std::time::Duration;

use listener::{Listener, Storing};
use load::Load;

const CONNECTIONS: [usize; 3] = [1, 16, 256];

/// What so many connections reached.
#[derive(Debug)]
struct Figures {
    connections: usize,
    durable: Vec<Load>,
    answer_only: Vec<Load>,
}

fn main() {
    let window = Duration::from_secs(setting("LONGSHORE_BENCH_SECONDS", 5).max(1) as u64);
    let rounds = setting("LONGSHORE_BENCH_ROUNDS", 5).max(1);
    let named = std::env::var("LONGSHORE_BENCH_CONNECTIONS").ok();
    let all_connections = match &named {
        Some(named) => named.split(',').map(|text| text.trim().parse().expect("LONGSHORE_BENCH_CONNECTIONS")).collect(),
        None => CONNECTIONS.to_vec(),
    };
    let new = |connections| Figures { connections, durable: Vec::new(), answer_only: Vec::new() };
    let mut figures: Vec<Figures> = all_connections.into_iter().map(new).collect();
    for _ in 0..rounds {
        for one in &mut figures {
            one.durable.push(measure(Storing::Durable, one.connections, window));
            one.answer_only.push(measure(Storing::Nothing, one.connections, window));
        }
    }
    let table = table(&figures);
    println!("events of {} bytes over TLS, {}, median of {rounds} rounds\n", load::body_bytes(), seconds(window));
    print!("{table}");
    println!("{}", json(&figures));
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seconds(window: Duration) -> String {
    format!("{} s each", window.as_secs())
}

/// Loads a listener of its own, and holds that what was answered is stored.
fn measure(storing: Storing, connections: usize, window: Duration) -> Load {
    let listener = Listener::start(storing);
    let load = load::run(&listener, connections, window);
    let stored = listener.stop();
    if let Some(stored) = stored {
        assert!(stored >= load.answered, "{} were answered, {stored} are stored", load.answered);
    }
    load
}

impl Figures {
    /// What of its limit each round reached, the median of the rounds: the two were measured next to each other, so that
    /// a machine whose speed changes between the rounds does not matter.
    fn share(&self) -> f64 {
        let pairs = self.durable.iter().zip(&self.answer_only);
        middle(pairs.map(|(durable, limit)| durable.per_s() / limit.per_s()))
    }
}

/// The median of the rounds.
fn median(loads: &[Load], of: impl Fn(&Load) -> f64) -> f64 {
    middle(loads.iter().map(of))
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table(figures: &[Figures]) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: &dyn Fn(&Figures) -> String| {
        out.push_str(&format!("  {name:<36}"));
        for one in figures {
            out.push_str(&format!("{:>10}", value(one)));
        }
        out.push('\n');
    };
    let figure = |value: f64| format!("{value:.0}");
    let time = |value: f64| format!("{value:.2}");
    row("connections", &|one| one.connections.to_string());
    row("answered 200 after fsync, per second", &|one| figure(median(&one.durable, Load::per_s)));
    row("  p50, ms", &|one| time(median(&one.durable, |load| load.ms(0.5))));
    row("  p99, ms", &|one| time(median(&one.durable, |load| load.ms(0.99))));
    row("answered, not stored, per second", &|one| figure(median(&one.answer_only, Load::per_s)));
    row("  p50, ms", &|one| time(median(&one.answer_only, |load| load.ms(0.5))));
    row("  p99, ms", &|one| time(median(&one.answer_only, |load| load.ms(0.99))));
    row("share of the limit beside it, %", &|one| figure(100.0 * one.share()));
    out.push('\n');
    out
}

fn json(figures: &[Figures]) -> serde_json::Value {
    let mut json = serde_json::Map::new();
    for one in figures {
        let connections = one.connections;
        let mut put = |name: &str, value: f64| json.insert(format!("{name}_{connections}"), serde_json::json!(value));
        let two_places = |value: f64| (value * 100.0).round() / 100.0;
        put("durable_per_s", median(&one.durable, Load::per_s).round());
        put("answer_only_per_s", median(&one.answer_only, Load::per_s).round());
        put("share", two_places(one.share()));
        put("p50_ms", two_places(median(&one.durable, |load| load.ms(0.5))));
        put("p99_ms", two_places(median(&one.durable, |load| load.ms(0.99))));
    }
    json.into()
}
