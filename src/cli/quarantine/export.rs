//! `longshore quarantine export`: everything that was set aside, as JSON lines.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::show::WithBytes;
use super::{Pages, Which};
use crate::cli::screen::plural;
use crate::cli::select;
use crate::inbox::SqliteInbox;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Each line is one thing: where it is found, its reason, and its bytes as `text`, or in `base64` \
    where they are no text. A file is readable by its owner alone, and is in sight only once it is whole."
)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// The file to write; standard output without it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As JSON lines, which it is anyhow
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let _ = args.json;
    let pages = Pages::new(inbox, args.which.selector(select::now()), true);
    let Some(path) = &args.output else {
        return match write(pages, BufWriter::new(std::io::stdout().lock())).await {
            Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            written => written.map(|_| ExitCode::SUCCESS),
        };
    };
    let written = to_file(pages, path).await.with_context(|| format!("exporting to {}", path.display()))?;
    eprintln!("{} written to {}", plural(written, "line"), path.display());
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Never over another file, and never half a one.
async fn to_file(pages: Pages<'_>, path: &Path) -> anyhow::Result<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let written = write(pages, BufWriter::new(&mut file)).await?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(written)
}

/// Writes a line for each thing; returns how many there were.
async fn write(mut pages: Pages<'_>, mut out: impl Write) -> anyhow::Result<u64> {
    let mut written = 0;
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            out.flush()?;
            return Ok(written);
        }
        for thing in &page {
            let line = serde_json::to_vec(&WithBytes::from(thing)).context("a line cannot be written as JSON")?;
            out.write_all(&line)?;
            out.write_all(b"\n")?;
            written += 1;
        }
    }
}
