//! What Longshore needs of a machine: `cargo bench --bench footprint`.
//!
//! The inbox with a thousand and with a million stored notices, and the memory of the whole program. The large file that
//! it delivers takes 10 GB of disk below `target/`; `LONGSHORE_BENCH_FILE_BYTES` and `LONGSHORE_BENCH_NOTICES` make for
//! a quick run. Prints a table for people and, last, one line of JSON.

mod daemon;
mod inbox;

use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Overrides how many notices the large inbox holds.
const NOTICES: &str = "LONGSHORE_BENCH_NOTICES";
const NOTICES_DEFAULT: usize = 1_000_000;

fn main() -> Result<()> {
    let notices = match std::env::var(NOTICES) {
        Ok(text) => text.parse().map_err(|error| format!("{NOTICES} is {text:?}: {error}"))?,
        Err(_) => NOTICES_DEFAULT,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let program = runtime.block_on(daemon::figures())?;
    let small = runtime.block_on(inbox::figures(1_000))?;
    let large = runtime.block_on(inbox::figures(notices))?;
    let commit_us = inbox::raw_commit_us()?;

    println!("| the whole program                     |               |");
    println!("|---------------------------------------|---------------|");
    println!("| idle and connected, RSS, MiB          | {:>13.1} |", program.idle_rss_mib);
    println!("| of which not mapped from files, MiB   | {:>13.1} |", program.idle_own_mib);
    println!("| the same with four feeds, RSS, MiB    | {:>13.1} |", program.idle_four_feeds_rss_mib);
    println!("| idle, processor time, ms a second     | {:>13.1} |", program.idle_cpu_ms_per_s);
    println!("| delivering one large file, peak, MiB  | {:>13.1} |", program.big_file_rss_mib);
    println!("| after that, RSS, MiB                  | {:>13.1} |", program.after_rss_mib);
    println!("| the file, decompressed, MiB           | {:>13.0} |", program.file_mib);
    println!("| from publishing to finished, MB/s     | {:>13.0} |", program.mb_per_s);
    println!();
    println!("| inbox                                 | 1,000 notices | {notices:>9} notices |");
    println!("|---------------------------------------|---------------|-------------------|");
    println!("| from opening to the first claim, ms   | {:>13.1} | {:>17.1} |", small.start_ms, large.start_ms);
    println!("| a claim, median, µs                   | {:>13.0} | {:>17.0} |", small.claim_us, large.claim_us);
    println!("| a claim, slowest of a hundred, µs     | {:>13.0} | {:>17.0} |", small.claim_p99_us, large.claim_p99_us);
    println!("| raw: one row committed with fsync, µs | {commit_us:>13.0} | {commit_us:>17.0} |");
    println!("| stored and planned, notices a second  | {:>13.0} | {:>17.0} |", small.fill_per_s, large.fill_per_s);
    println!("| size of the database, MiB             | {:>13.1} | {:>17.1} |", small.size_mib, large.size_mib);
    println!();
    println!(
        "{}",
        serde_json::json!({
            "big_file_rss_mib": rounded(program.big_file_rss_mib),
            "idle_rss_mib": rounded(program.idle_rss_mib),
            "idle_four_feeds_rss_mib": rounded(program.idle_four_feeds_rss_mib),
            "idle_own_mib": rounded(program.idle_own_mib),
            "idle_cpu_ms_per_s": rounded(program.idle_cpu_ms_per_s),
            "start_ms_1m": rounded(large.start_ms),
            "claim_us_1k": rounded(small.claim_us),
            "claim_us_1m": rounded(large.claim_us),
            "commit_us": rounded(commit_us),
        })
    );
    Ok(())
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
