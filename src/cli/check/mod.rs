//! `longshore check`: what the configuration means, and with `--connect` whether the way to the vendor is open.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

use super::Global;
use super::exit::Exit;
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError, Files, Findings, LogFormat, LogSettings};
use crate::secret::redact;
use crate::sink::SinkContext;

pub(super) mod connect;
mod decision;
mod feeds;
mod globs;
mod report;

use connect::Way;
use decision::Decision;
use report::Report;

/// What can be typed after `longshore check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tell only what becomes of this blob type
    #[arg(long, value_name = "TYPE")]
    blob_type: Option<String>,
    /// Try the whole way to the vendor and to the sinks as well; consumes nothing
    #[arg(long, conflicts_with = "blob_type")]
    connect: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Looks at the configuration and says what it means.
///
/// # Errors
/// When the configuration is wrong or nothing can be printed.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&global.config, Files::Checked) {
        Err(ConfigError::Wrong(findings)) if args.json => {
            print(&pretty(&json!({ "ok": false, "findings": listed(&findings) }))?)?;
            return Ok(Exit::Config.into());
        }
        other => other?,
    };
    let findings = config.warnings.as_ref().map(listed).unwrap_or_default();
    if !args.json {
        global.print_warnings(&config);
    }
    if let Some(blob_type) = &args.blob_type {
        let decision = Decision::of(&config, blob_type).map_err(Exit::Config.because())?;
        print(&if args.json { pretty(&decision)? } else { decision.text() })?;
        return Ok(ExitCode::SUCCESS);
    }
    // What the sinks themselves have to say to their settings.
    let context = SinkContext { clock: Arc::new(SystemClock) };
    crate::sink::build(config.sinks.clone(), &context).map_err(Exit::Config.because())?;
    let report = Report::of(&config);
    if !args.connect {
        print(&if args.json {
            pretty(&json!({ "ok": true, "findings": findings, "meaning": report }))?
        } else {
            report.text()
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        print(&report.text())?;
        print("\nThe way\n\n")?;
    }
    global.log(&LogSettings { format: LogFormat::Text, level: "error".to_owned() })?;
    let told = |way: &Way| if args.json { Ok(()) } else { print(&(way.text() + "\n")) };
    let ways = super::runtime(config.threads)?.block_on(connect::walk(&config, told))?;
    let is_open = connect::is_open(&ways);
    print(&if args.json {
        pretty(&json!({ "ok": is_open, "findings": findings, "meaning": report, "ways": ways }))?
    } else if is_open {
        "Every way is open.\n".to_owned()
    } else {
        "Not every way is open; see FAIL above.\n".to_owned()
    })?;
    Ok(if is_open { Exit::Ok } else { Exit::Unavailable }.into())
}

/// Findings for a program: what a person reads, in fields.
fn listed(findings: &Findings) -> Vec<serde_json::Value> {
    findings
        .problems()
        .iter()
        .map(|problem| {
            let (line, column) = findings.place(problem);
            json!({
                "severity": if problem.is_warning { "warning" } else { "error" },
                "line": line,
                "column": column,
                "message": problem.message,
                "allowed": problem.label,
                "help": problem.help,
            })
        })
        .collect()
}

fn pretty(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("the report cannot be written as JSON")? + "\n")
}

/// Prints to standard output, redacted; a reader that has gone away has read what it wanted.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(redact(text).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output cannot be written")
        }
        _ => Ok(()),
    }
}
