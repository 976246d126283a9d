//! The inbox alone: how long it takes from opening it to its first claim, and how long a claim takes. Half of the stored
//! notices are finished, half wait in fifty lanes. Every claim is a commit with fsync; the raw limit beside it is a commit
//! of one small row to a file of its own on the same disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::clock::{Clock, SystemClock, UnixMs};
use longshore::inbox::{
    ClaimRequest, Claimed, Finish, Inbox, InboxSettings, OnPoison, Ordering, Plan, Progress, Remarks, SqliteInbox,
    Target,
};
use longshore::notice::{FeedName, HeardNotice, Metadata, NoticeId, RouteName, SinkName, Verdict};
use longshore::record::Counts;

use crate::Result;

const BLOB_TYPES: usize = 25;
const SINKS: usize = 2;
const BATCH: usize = 1000;
const CLAIMS: usize = 500;
const OPENINGS: usize = 5;

pub struct Figures {
    pub start_ms: f64,
    pub claim_us: f64,
    pub claim_p99_us: f64,
    pub fill_per_s: f64,
    pub size_mib: f64,
}

pub async fn figures(notices: usize) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let settings = InboxSettings {
        path: folder.path().join("inbox.db"),
        retention_age: Duration::from_secs(86_400),
        retention_bytes: None,
        dedupe_age: Duration::from_secs(86_400),
        commit_notices_max: BATCH,
        parking: longshore::inbox::ParkingBounds::default(),
    };
    let started = Instant::now();
    fill(&settings, notices).await?;
    let fill_per_s = notices as f64 / started.elapsed().as_secs_f64();
    finish_half(&settings.path)?;

    let mut starts = Vec::new();
    for _ in 0..OPENINGS {
        let started = Instant::now();
        let inbox = SqliteInbox::open(&settings, Arc::new(SystemClock))?;
        let claim = claim(&inbox).await?;
        starts.push(started.elapsed().as_secs_f64() * 1e3);
        inbox.finish(claim, Finish::Release, Remarks::default()).await?;
    }

    let inbox = SqliteInbox::open(&settings, Arc::new(SystemClock))?;
    let mut claims = Vec::new();
    for _ in 0..CLAIMS.min(notices / 4) {
        let started = Instant::now();
        let claim = claim(&inbox).await?;
        claims.push(started.elapsed().as_secs_f64() * 1e6);
        let counts = Counts { read: 10, delivered: 10, ..Counts::default() };
        let progress = Progress { confirmed: 10, counts, known: 0, bytes: 1000 };
        inbox.finish(claim, Finish::Done { progress, location: "/out".to_owned() }, Remarks::default()).await?;
    }
    Ok(Figures {
        start_ms: quantile(&mut starts, 0.5),
        claim_us: quantile(&mut claims, 0.5),
        claim_p99_us: quantile(&mut claims, 0.99),
        fill_per_s,
        size_mib: std::fs::metadata(&settings.path)?.len() as f64 / f64::from(1 << 20),
    })
}

async fn claim(inbox: &SqliteInbox) -> Result<longshore::inbox::ClaimKey> {
    let request = ClaimRequest {
        worker: "bench".to_owned(),
        lease: Duration::from_secs(60),
        now: SystemClock.now(),
        ordering: Ordering::BlobType,
        on_poison: OnPoison::Quarantine,
        per_blob_type_max: 4,
    };
    match inbox.claim(request).await? {
        Claimed::Delivery(claim) => Ok(claim.key),
        Claimed::Nothing { .. } => Err("nothing to claim".into()),
    }
}

/// Stores and plans through the inbox itself.
async fn fill(settings: &InboxSettings, notices: usize) -> Result<()> {
    let inbox = SqliteInbox::open(settings, Arc::new(SystemClock))?;
    for from in (0..notices).step_by(BATCH) {
        let batch: Vec<_> = (from..(from + BATCH).min(notices)).map(heard).collect();
        let receipts = inbox.store(batch).await?;
        let plans = receipts.iter().map(|receipt| plan(receipt.notice())).collect();
        inbox.plan(plans).await?;
    }
    Ok(())
}

fn heard(n: usize) -> HeardNotice {
    // Spread like the ids of messages, so that the index of keys is as scattered as in life.
    let key = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    HeardNotice {
        feed: FeedName::new("eg"),
        dedupe_key: format!("{key:016x}-{n:08x}-4000-8000"),
        metadata: Metadata {
            blob_type: format!("Gateway.Type{:02}", n % BLOB_TYPES),
            correlation_id: Some(format!("{key:032x}")),
            uri: Some(format!("https://egexport.blob.core.windows.net/tenant/2026/03/01/{key:016x}.jsonl.gz")),
            content_type: Some("application/x-jsonlines".to_owned()),
            content_encoding: Some("gzip".to_owned()),
            properties: None,
        },
        body: None,
        published: UnixMs(1_772_366_400_000 + n as i64),
        sequence: n as i64,
        delivery_count: 0,
        verdict: Verdict::Accepted,
    }
}

fn plan(notice: NoticeId) -> Plan {
    let targets = (0..SINKS)
        .map(|sink| Target { route: RouteName::new("all"), sink: SinkName::new(format!("sink{sink}")) })
        .collect();
    Plan { notice, targets, skip_reason: String::new() }
}

/// Marks every second notice as finished: doing that through the inbox would take minutes and measure nothing.
fn finish_half(path: &Path) -> Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.execute_batch(
        "BEGIN;
         UPDATE deliveries SET state = 'done', location = '/out', ended = since WHERE notice % 2 = 0;
         UPDATE notices SET state = 'finished', ended = stored WHERE id % 2 = 0;
         COMMIT;",
    )?;
    Ok(())
}

pub fn raw_commit_us() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let connection = rusqlite::Connection::open(folder.path().join("raw.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")?;
    let mut commits = Vec::new();
    for _ in 0..CLAIMS {
        let started = Instant::now();
        connection.execute("INSERT INTO t (b) VALUES ('one small row')", [])?;
        commits.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(quantile(&mut commits, 0.5))
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}
