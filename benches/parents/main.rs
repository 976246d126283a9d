//! What the look for parents costs: records per second through the real worker, from a payload in memory to the SQLite
//! sink (rows and progress fsynced), with the check off and with it on, at one and at ten million known keys. Every
//! price's item is known, so that nothing is parked: this is the price that all records pay.
//!
//! In the same run the raw limit: lookups per second of the index alone, in batches as the sink takes them. Further rows:
//! the directory sink, which does far less for a record and so shows the check at its worst; the same with prices of
//! items that the file before has named; and what it costs to register items. The processor time of a record tells more
//! than records per second on a machine that does other things, too.
//!
//! `cargo bench --bench parents` prints a table and, last, one line of JSON. `LONGSHORE_BENCH_KEYS=1000000,100000000` names
//! other numbers of keys; a hundred million take some two minutes to import, seven in all, and 5 GB of disk: 2.5 for the
//! index, 1.6 meanwhile for sorting. Keys are hashes, and so in an order that the index does not like; they are sorted
//! first, as `longshore entities import` does it.

mod world;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use world::{Check, Load, To, Took, World};

const ROUNDS: usize = 5;
const KEYS: [u64; 2] = [1_000_000, 10_000_000];
/// Prices in one notice.
const RECORDS: u64 = 100_000;
/// Keys of one lookup: as many as the SQLite sink has records in a batch.
const LOOKUP_KEYS: u64 = 5_000;

/// What is delivered to where, and what it is called in the table and in JSON.
const ROWS: [(Load, To, &str, &str); 5] = [
    (Load::Prices, To::Sqlite, "prices to SQLite", ""),
    (Load::Prices, To::Directory, "prices to a directory", "directory_"),
    (Load::PricesAgain, To::Directory, "the same items' prices to a directory", "directory_again_"),
    (Load::Items, To::Sqlite, "items to SQLite", "items_"),
    (Load::Items, To::Directory, "items to a directory", "items_directory_"),
];

/// Figures at so many known keys.
#[derive(Clone, Debug)]
struct Figures {
    keys: u64,
    import_per_s: f64,
    import_mib: f64,
    lookups_per_s: f64,
    bytes_per_key: f64,
    /// One for each of [`ROWS`].
    pairs: Vec<Pair>,
    deliver_mib: f64,
}

/// What a delivery took with the check off and on, each the median of its rounds.
#[derive(Clone, Copy, Debug)]
struct Pair {
    off: Took,
    on: Took,
}

impl Pair {
    /// What the check costs, in percent of the records per second.
    fn cost(self) -> f64 {
        100.0 * (1.0 - self.on.per_s / self.off.per_s)
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.context("the runtime cannot start").and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parents: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let mut all_keys = match std::env::var("LONGSHORE_BENCH_KEYS") {
        Ok(text) => text.split(',').map(|keys| keys.trim().parse().context("LONGSHORE_BENCH_KEYS")).collect(),
        Err(_) => Ok(KEYS.to_vec()),
    }?;
    all_keys.sort_unstable();
    let world = World::new().await?;
    let mut figures = Vec::new();
    let mut known = 0;
    for keys in all_keys {
        ensure!(keys > known, "each number of keys must be larger than the one before");
        figures.push(measure(&world, known, keys).await?);
        known = keys;
    }
    print!("{}", table(&figures));
    println!("{}", json(&figures));
    Ok(())
}

async fn measure(world: &World, known: u64, keys: u64) -> anyhow::Result<Figures> {
    world::peak_memory()?;
    let started = Instant::now();
    world.import(known..keys).await?;
    let import_per_s = (keys - known) as f64 / started.elapsed().as_secs_f64();
    let import_mib = world::peak_memory()?;
    eprintln!("{keys} keys are imported: {import_per_s:.0}/s");
    let bytes_per_key = world.index_bytes()? as f64 / keys as f64;
    let mut took = vec![[Vec::new(), Vec::new()]; ROWS.len()];
    let mut lookups = Vec::new();
    for round in 0..ROUNDS {
        lookups.push(world.lookups(keys, LOOKUP_KEYS, 100).await?);
        // The two in turn, and each first half of the time: what else the machine does hits both.
        let order = if round % 2 == 0 { [Check::Off, Check::On] } else { [Check::On, Check::Off] };
        for ((load, to, ..), took) in ROWS.iter().zip(&mut took) {
            for check in order {
                if (*load, check) == (Load::PricesAgain, Check::On) {
                    world.deliver(*load, *to, check, keys, RECORDS).await?;
                }
                took[usize::from(check == Check::On)].push(world.deliver(*load, *to, check, keys, RECORDS).await?);
            }
        }
    }
    let pairs = took.into_iter().map(|[off, on]| Pair { off: middle(&off), on: middle(&on) }).collect();
    let (lookups_per_s, deliver_mib) = (median(lookups), world::peak_memory()?);
    Ok(Figures { keys, import_per_s, import_mib, lookups_per_s, bytes_per_key, pairs, deliver_mib })
}

fn middle(took: &[Took]) -> Took {
    Took {
        per_s: median(took.iter().map(|one| one.per_s).collect()),
        cpu_us: median(took.iter().map(|one| one.cpu_us).collect()),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table(figures: &[Figures]) -> String {
    let mut out = format!("{RECORDS} records a delivery, one worker, median of {ROUNDS} rounds\n\n");
    let mut row = |name: &str, value: &dyn Fn(&Figures) -> String| {
        out.push_str(&format!("{name:<54}"));
        for one in figures {
            out.push_str(&format!("{:>16}", value(one)));
        }
        out.push('\n');
    };
    row("known keys", &|one| one.keys.to_string());
    for (at, (.., name, _)) in ROWS.iter().enumerate() {
        row(&format!("{name}, check off, records/s"), &|one| format!("{:.0}", one.pairs[at].off.per_s));
        row("  check on", &|one| format!("{:.0}", one.pairs[at].on.per_s));
        row("  the check costs", &|one| format!("{:.1} %", one.pairs[at].cost()));
        row("  processor time of a record, off and on, µs", &|one| {
            format!("{:.2} {:.2}", one.pairs[at].off.cpu_us, one.pairs[at].on.cpu_us)
        });
    }
    row("lookups/s of the index alone", &|one| format!("{:.0}", one.lookups_per_s));
    row("keys/s imported", &|one| format!("{:.0}", one.import_per_s));
    row("bytes of disk a key", &|one| format!("{:.1}", one.bytes_per_key));
    row("peak memory of the import, MiB", &|one| format!("{:.0}", one.import_mib));
    row("  of the deliveries, with their payloads in memory", &|one| format!("{:.0}", one.deliver_mib));
    out.push('\n');
    out
}

fn json(figures: &[Figures]) -> serde_json::Value {
    let mut json = serde_json::Map::new();
    let mut put = |name: String, value: f64| json.insert(name, serde_json::json!(value));
    for (at, one) in figures.iter().enumerate() {
        let name = format!("{}m", one.keys / 1_000_000);
        if at == 0 {
            put("off_per_s".to_owned(), one.pairs[0].off.per_s.round());
        }
        for ((.., prefix), pair) in ROWS.iter().zip(&one.pairs) {
            put(format!("{prefix}on_per_s_{name}"), pair.on.per_s.round());
            put(format!("{prefix}off_per_s_{name}"), pair.off.per_s.round());
        }
        put(format!("lookups_per_s_{name}"), one.lookups_per_s.round());
    }
    // Of the most keys: the tree is as full as it gets.
    put("bytes_per_key".to_owned(), figures.last().map_or(0.0, |one| (one.bytes_per_key * 10.0).round() / 10.0));
    json.into()
}
