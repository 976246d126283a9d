//! How fast a payload goes through: from a gzip JSON-lines blob on a loopback HTTP server, through fetch, decompression,
//! splitting and checking, to a file of the directory sink, fsynced and in place. Beside it, in the same rounds, the
//! raw limits: `gzip -dc` into a file (not fsynced), and the decoder alone, into a buffer that is thrown away.
//!
//! `cargo bench --bench pipeline` prints a table and, last, one line of JSON. A megabyte is 1,000,000 decompressed bytes.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::http::header::ETAG;
use bytes::Bytes;
use longshore::clock::{SystemClock, UnixMs};
use longshore::inbox::{Progress, RunId, Target};
use longshore::notice::{FeedName, Metadata, Notice, NoticeId, RouteName, SinkName};
use longshore::ops::Context;
use longshore::payload::{FetchSettings, PayloadLimits, PayloadOpener};
use longshore::route::FormatHints;
use longshore::sandbox::sample::{Compression, Kind, SampleSpec};
use longshore::sink::directory::DEFAULT_BATCH;
use longshore::sink::{DeliveryContext, DirectoryFormat, DirectorySettings, Sink, SinkContext, SinkKind, SinkSettings};

const PLAIN_BYTES: u64 = 200 << 20;
const ROUNDS: usize = 7;
const SINK: &str = "out";

/// The blob, compressed, with what it holds.
struct Blob {
    stored: Bytes,
    records: u64,
    plain_bytes: u64,
}

fn make_blob() -> anyhow::Result<Blob> {
    const TRIED: u64 = 1_000;
    let plain = SampleSpec { compression: Compression::None, ..SampleSpec::new(Kind::Items, TRIED) };
    let record_bytes = plain.to_vec().len() as u64 / TRIED;
    let records = PLAIN_BYTES / record_bytes;
    let spec = SampleSpec::new(Kind::Items, records);
    let stored = Bytes::from(spec.write_to(Vec::new())?);
    let plain_bytes = decode(&stored)?;
    Ok(Blob { stored, records, plain_bytes })
}

/// The decoder alone; returns how many bytes came out.
fn decode(stored: &[u8]) -> anyhow::Result<u64> {
    use flate2::{Decompress, FlushDecompress, Status};
    let mut inflate = Decompress::new_gzip(15);
    let mut out = vec![0; 256 << 10];
    let mut rest = stored;
    loop {
        let before = inflate.total_in();
        let status = inflate.decompress(rest, &mut out, FlushDecompress::None)?;
        rest = &rest[usize::try_from(inflate.total_in() - before)?..];
        if status == Status::StreamEnd {
            ensure!(rest.is_empty(), "the sample is one gzip member");
            return Ok(inflate.total_out());
        }
    }
}

/// `gzip -dc` into a file.
fn gzip_dc(stored: &Path, out: &Path) -> anyhow::Result<()> {
    let status = Command::new("gzip").arg("-dc").arg(stored).stdin(Stdio::null()).stdout(File::create(out)?).status();
    ensure!(status.context("gzip is needed for comparison")?.success(), "gzip failed");
    Ok(())
}

/// Everything that a worker needs.
#[derive(Clone)]
struct Bench {
    opener: PayloadOpener,
    sink: Arc<dyn Sink>,
    url: String,
}

impl Bench {
    /// What a worker does with one notice: open, deliver each batch, finish.
    async fn deliver(&self, id: i64) -> anyhow::Result<u64> {
        let notice = Arc::new(Notice {
            id: NoticeId(id),
            feed: FeedName::new("bench"),
            dedupe_key: id.to_string(),
            metadata: Metadata {
                blob_type: Kind::Items.blob_type().to_owned(),
                uri: Some(self.url.clone()),
                content_type: Some("application/x-jsonlines".to_owned()),
                content_encoding: Some("gzip".to_owned()),
                ..Metadata::default()
            },
            body: None,
            published: UnixMs(0),
            sequence: id,
            stored: UnixMs(0),
        });
        let delivery = DeliveryContext {
            notice: Arc::clone(&notice),
            target: Target { route: RouteName::new("all"), sink: SinkName::new(SINK) },
            run: RunId(0),
            attempt: 1,
        };
        let mut transfer = self.sink.open(delivery, Progress::default()).await?.transfer;
        let mut records = self.opener.open_records(&notice, &FormatHints::default(), self.sink.batch_limits())?;
        let mut read = 0;
        while let Some(batch) = records.next().await? {
            read += batch.records().len() as u64;
            transfer.deliver(&batch).await?;
        }
        transfer.finish().await?;
        Ok(read)
    }
}

/// `workers` notices at once; returns how long they took together.
async fn deliver(bench: &Bench, workers: usize, blob: &Blob, ids: &mut i64) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut running = Vec::new();
    for _ in 0..workers {
        *ids += 1;
        let (bench, id) = (bench.clone(), *ids);
        running.push(tokio::spawn(async move { bench.deliver(id).await }));
    }
    for worker in running {
        let read = worker.await??;
        ensure!(read == blob.records, "{read} of {} records were delivered", blob.records);
    }
    Ok(started.elapsed())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

async fn serve(stored: Bytes) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/export/items.jsonl.gz", listener.local_addr()?);
    let router = Router::new().fallback(move || {
        let stored = stored.clone();
        async move { ([(ETAG, "\"1\"")], stored) }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

async fn run() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let blob = make_blob()?;
    let stored_path = folder.path().join("items.jsonl.gz");
    std::fs::write(&stored_path, &blob.stored)?;
    let context = Context::new(Arc::new(SystemClock));
    let out = folder.path().join("out");
    let settings = SinkSettings {
        name: SinkName::new(SINK),
        batch: DEFAULT_BATCH,
        kind: SinkKind::Directory(DirectorySettings {
            path: out.clone(),
            format: DirectoryFormat::JsonLines,
            name: "{notice}.jsonl".to_owned(),
        }),
    };
    let mut sinks = longshore::sink::build(vec![settings], &SinkContext { clock: Arc::clone(&context.clock) })?;
    let bench = Bench {
        opener: PayloadOpener::new(FetchSettings::default(), PayloadLimits::default(), None, context)?,
        sink: sinks.remove(&SinkName::new(SINK)).context("the sink was just built")?,
        url: serve(blob.stored.clone()).await?,
    };
    let mut ids = 0;
    let megabytes = blob.plain_bytes as f64 / 1e6;
    let mut figures = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        let gzip_out = folder.path().join("gzip.out");
        let started = Instant::now();
        gzip_dc(&stored_path, &gzip_out)?;
        figures[0].push(megabytes / started.elapsed().as_secs_f64());
        std::fs::remove_file(&gzip_out)?;
        let started = Instant::now();
        ensure!(decode(&blob.stored)? == blob.plain_bytes, "the decoder lost bytes");
        figures[1].push(megabytes / started.elapsed().as_secs_f64());
        for (at, workers) in [(2, 1), (3, 2)] {
            let time = deliver(&bench, workers, &blob, &mut ids).await?;
            figures[at].push(megabytes * workers as f64 / time.as_secs_f64());
            std::fs::remove_dir_all(&out)?;
        }
    }
    let [gzip, decoder, one, two] = figures.map(median);
    println!(
        "{} records, {megabytes:.0} MB from {:.0} MB of gzip; median of {ROUNDS} rounds\n",
        blob.records,
        blob.stored.len() as f64 / 1e6
    );
    println!("{:<44} {:>8} {:>10}", "", "MB/s", "x gzip -dc");
    for (name, figure) in [
        ("gzip -dc, to a file", gzip),
        ("the decoder alone (zlib-rs), to nowhere", decoder),
        ("blob to directory sink, one worker", one),
        ("blob to directory sink, two workers", two),
    ] {
        println!("{name:<44} {figure:>8.0} {:>10.1}", figure / gzip);
    }
    println!("\nTwo workers against one: {:.2}", two / one);
    println!(
        "{{\"mb_per_s_1\":{one:.0},\"mb_per_s_2\":{two:.0},\"gzip_dc_mb_per_s\":{gzip:.0},\"decoder_mb_per_s\":{decoder:.0}}}"
    );
    Ok(())
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.context("the runtime cannot start").and_then(|runtime| runtime.block_on(run()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pipeline: {error:#}");
            ExitCode::FAILURE
        }
    }
}
