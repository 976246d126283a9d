//! `longshore feed fetch`: one object taken by hand. It becomes a notice like any other; the daemon does the rest.

use std::process::ExitCode;

use anyhow::anyhow;
use serde::Serialize;

use super::{bucket, ended};
use crate::cli::exit::Exit;
use crate::cli::screen::{clean, size};
use crate::cli::select;
use crate::config::Config;
use crate::inbox::ledger::Ledger;
use crate::inbox::{Inbox, SqliteInbox};
use crate::notice::NoticeId;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The feed
    name: String,
    /// The object's whole name in the bucket, as `feed list` tells it
    path: String,
    /// Take it also if this version of it was taken before
    #[arg(long)]
    again: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Fetched {
    notice: NoticeId,
    path: String,
    blob_type: String,
    bytes: u64,
}

pub(super) async fn run(args: Args, config: &Config, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let (feed, bucket) = bucket(config, &args.name)?;
    let (heard, bytes) = bucket.notice(&args.path, select::now(), args.again).await.map_err(ended)?;
    let known = inbox.states_of(feed, vec![heard.dedupe_key.clone()]).await?.pop().flatten();
    if let Some((notice, state)) = known {
        let said = anyhow!(
            "{} is notice {notice} already, and {state}: `longshore replay {notice}` delivers it again, --again takes it as a new notice",
            clean(&args.path)
        );
        return Err(said).map_err(Exit::Data.because());
    }
    let blob_type = heard.metadata.blob_type.clone();
    let stored = inbox.store(vec![heard]).await?;
    let Some(notice) = stored.first().map(crate::inbox::Receipt::notice) else {
        return Err(anyhow!("the inbox gave no receipt")).map_err(Exit::Software.because());
    };
    let fetched = Fetched { notice, path: args.path, blob_type, bytes };
    if args.json {
        select::print_json(&fetched)?;
    } else {
        select::print(&screen(&fetched))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn screen(fetched: &Fetched) -> String {
    format!(
        "{} ({}) is notice {} of blob type {}; see `longshore show {}`\n",
        clean(&fetched.path),
        size(fetched.bytes),
        fetched.notice,
        clean(&fetched.blob_type),
        fetched.notice
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_told() {
        let fetched = Fetched {
            notice: NoticeId(4711),
            path: "2025-12-24/orders\u{1b}.jsonl.gz".to_owned(),
            blob_type: "fft.export".to_owned(),
            bytes: 1_234_567,
        };
        insta::assert_snapshot!(screen(&fetched));
        insta::assert_snapshot!("feed_fetch_json", serde_json::to_string_pretty(&fetched).unwrap());
    }
}
