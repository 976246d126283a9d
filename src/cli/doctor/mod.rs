//! `longshore doctor`: examines the installation and the inbox, and says what to do. Changes nothing.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use url::Url;

use super::Global;
use super::check::connect::Way;
use super::exit::Exit;
use super::screen::{clean, plural, second};
use super::select;
use crate::access::{IdentitySettings, Skew, look_at_certificates};
use crate::config::{AccessConfig, Config, ConfigError, Files};
use crate::error::chain;
use crate::inbox::Inbox;
use crate::inbox::ledger::{Audit, Examination, Ledger};
use crate::net::{HttpLimits, http_client};
use crate::ops::ask;
use crate::ops::health::Condition;
use crate::probe::{Finding, Step};
use crate::steady::{LEAD_MAX, describe_lead};

mod disk;

/// What can be typed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads the whole inbox, which takes a while where it is large. Exit code 0 also where something should be \
    looked at; 65 where something is wrong."
)]
pub struct Args {
    /// Leave out what needs the network
    #[arg(long)]
    offline: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Examines everything, and tells each part as it is done.
///
/// # Errors
/// When nothing can be printed.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let mut parts = Vec::new();
    let mut tell = |part: Way| {
        if !args.json {
            select::print(&part.text())?;
        }
        parts.push(part);
        anyhow::Ok(())
    };
    // What is wrong with a file that it names must not keep the rest from being looked at.
    let (steps, config) = configuration(&global.config);
    tell(Way { name: "configuration".to_owned(), steps })?;
    if let Some(config) = config {
        tell(Way { name: "disk".to_owned(), steps: disk::steps(&config.inbox.path) })?;
        super::runtime(2)?.block_on(async {
            tell(Way { name: "inbox".to_owned(), steps: inbox(global, &config).await })?;
            tell(Way { name: "vendor".to_owned(), steps: vendor(&config, args.offline).await })?;
            tell(Way { name: "daemon".to_owned(), steps: vec![daemon(config.ops.listen).await] })
        })?;
    }
    let is_well = super::check::connect::is_open(&parts);
    if args.json {
        select::print_json(&json!({ "ok": is_well, "parts": parts }))?;
    } else {
        select::print(conclusion(&parts))?;
    }
    Ok(if is_well { Exit::Ok } else { Exit::Data }.into())
}

/// What it comes to.
fn conclusion(parts: &[Way]) -> &'static str {
    let deserves_a_look =
        parts.iter().flat_map(|part| &part.steps).any(|step| matches!(step.finding, Finding::Warning { .. }));
    match (super::check::connect::is_open(parts), deserves_a_look) {
        (false, _) => "Something is wrong; see FAIL above.\n",
        (true, true) => "Nothing is wrong, but something deserves a look; see `look` above.\n",
        (true, false) => "Nothing is wrong.\n",
    }
}

/// Does one step and takes its time.
fn step(name: &str, look: impl FnOnce() -> Finding) -> Step {
    let began = Instant::now();
    let finding = look();
    Step { name: name.to_owned(), took: began.elapsed(), finding }
}

fn good(seen: impl Into<String>) -> Finding {
    Finding::Good { seen: seen.into() }
}

fn look(seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::Warning { seen: seen.into(), remedy: remedy.into() }
}

fn bad(error: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::Bad { error: error.into(), remedy: remedy.into() }
}

fn configuration(path: &Path) -> (Vec<Step>, Option<Config>) {
    let began = Instant::now();
    let mut loaded = Config::load(path, Files::Checked);
    let mut steps = Vec::new();
    let finding = match &loaded {
        Ok(config) => match &config.warnings {
            None => good(format!("{} is right, and every file that it names is there", path.display())),
            Some(warnings) => {
                let first = warnings.problems().iter().map(|problem| problem.message.as_str());
                look(first.collect::<Vec<_>>().join("; "), "`longshore check` tells where and what to write")
            }
        },
        Err(ConfigError::Wrong(findings)) => {
            let wrong = findings.problems().iter().filter(|problem| !problem.is_warning);
            let wrong = wrong.map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
            bad(wrong, "`longshore check` tells where and what to write")
        }
        Err(error) => bad(chain(error), "name the file with --config"),
    };
    steps.push(Step { name: "configuration".to_owned(), took: began.elapsed(), finding });
    steps.push(step("configuration's mode", || disk::mode(path, 0o022, "chmod go-w")));
    if loaded.is_err() {
        loaded = Config::load(path, Files::Assumed);
    }
    (steps, loaded.ok())
}

async fn inbox(global: &Global, config: &Config) -> Vec<Step> {
    let path = &config.inbox.path;
    if !path.exists() {
        return vec![step("inbox", || look("there is none yet", "`longshore run` makes it when it starts"))];
    }
    let mut steps = vec![step("inbox's mode", || disk::mode(path, 0o077, "chmod go="))];
    let began = Instant::now();
    let opened = select::open_inbox(global);
    let examined = match &opened {
        Ok((_, inbox)) => inbox.examine().await.map_err(|error| chain(&error)),
        Err(error) => Err(chain(error.as_ref())),
    };
    let (took, examination) = (began.elapsed(), examined);
    match examination {
        Err(error) => {
            let remedy = "do what it says; a copy of the file is worth having first";
            steps.push(Step { name: "file".to_owned(), took, finding: bad(error, remedy) });
        }
        Ok(examination) => {
            steps.push(Step { name: "file".to_owned(), took, finding: damage(&examination) });
            steps.push(step("leases", || leases(&examination)));
            if let Ok((_, inbox)) = &opened {
                steps.push(step("time", || time(select::now().0.saturating_sub(inbox.now().0))));
                let began = Instant::now();
                let summary = inbox.summary().await;
                let finding = match &summary {
                    Ok(summary) => accounts(summary),
                    Err(error) => bad(chain(error), "see the text of the error"),
                };
                steps.push(Step { name: "accounts".to_owned(), took: began.elapsed(), finding });
                if let Ok(summary) = &summary {
                    steps.push(step("keys of pruned notices", || good(super::status::outlived(summary))));
                }
            }
        }
    }
    steps
}

fn damage(examination: &Examination) -> Finding {
    if examination.damage.is_empty() {
        return good(format!("whole, schema version {}", examination.schema));
    }
    let remedy = "stop longshore, keep a copy of the file with its -wal, and recover it with the `.recover` of sqlite3";
    bad(clean(&examination.damage.join("; ")), remedy)
}

fn leases(examination: &Examination) -> Finding {
    let Some(first) = examination.stuck_leases.first() else {
        return good("none is stuck");
    };
    let count = plural(examination.stuck_leases.len() as u64, "stuck lease");
    let until = second(first.lease_until);
    let seen = format!("{count}, the first on notice {} until {until} by {}", first.notice, clean(&first.worker));
    look(
        seen,
        "one that has run out is taken over as soon as `longshore run` or `work` runs; one that ends far in the \
         future was given by an older longshore under a wrong clock: its delivery waits until then",
    )
}

fn time(lead_ms: i64) -> Finding {
    if u128::from(lead_ms.unsigned_abs()) <= LEAD_MAX.as_millis() {
        return good("the inbox's clock and this machine's agree");
    }
    look(format!("this machine's clock {}", describe_lead(lead_ms)), "check the machine's time synchronisation")
}

fn accounts(summary: &crate::inbox::ledger::Summary) -> Finding {
    match summary.audit {
        _ if summary.unbalanced > 0 => bad("a delivery does not add up", "`longshore audit` names it"),
        Some(audit) if audit.findings > 0 => {
            let found = plural(audit.findings, "thing");
            bad(format!("the latest audit found {found} not adding up"), "`longshore audit` names them")
        }
        Some(audit) => good(format!("the audit of {} found nothing", second(audit.at))),
        None => look("never audited", "`longshore audit` recomputes them, also while the daemon runs"),
    }
}

async fn vendor(config: &Config, is_offline: bool) -> Vec<Step> {
    let mut seen: Vec<&IdentitySettings> = Vec::new();
    let mut steps = Vec::new();
    for feed in &config.feeds {
        let Some(AccessConfig::TenantService { identity, service }) = feed.access() else { continue };
        if !seen.contains(&&**identity) {
            seen.push(identity);
            steps.push(step("certificate", || look_at_certificates(identity, select::now())));
            steps.push(clock(&service.url, identity, is_offline).await);
        }
    }
    if steps.is_empty() {
        steps.push(step("certificate", || good("no feed needs one")));
    }
    steps
}

/// Asks for nothing, and is told the time by the answer, whatever that is.
async fn clock(url: &Url, identity: &IdentitySettings, is_offline: bool) -> Step {
    let began = Instant::now();
    let finding = if is_offline { Finding::Skipped } else { skew(url, identity).await };
    Step { name: "clock".to_owned(), took: began.elapsed(), finding }
}

async fn skew(url: &Url, identity: &IdentitySettings) -> Finding {
    const REMEDY: &str = "`longshore check --connect` walks the whole way; --offline leaves this out";
    let client = match http_client(identity.ca_file.as_deref(), HttpLimits::default()) {
        Ok(client) => client,
        Err(error) => return bad(chain(&error), REMEDY),
    };
    let host = url.host_str().unwrap_or("the vendor").to_owned();
    match client.head(url.clone()).send().await {
        Err(error) => look(format!("{host} does not answer: {}", chain(&error.without_url())), REMEDY),
        Ok(answer) => match Skew::from_headers(answer.headers(), select::now()) {
            None => look(format!("{host} does not say what time it is"), "look at the time synchronisation by hand"),
            Some(skew) if skew.is_large() => {
                let remedy = "set up time synchronisation: tokens and leases carry times";
                bad(format!("this machine's clock {}", skew.describe()), remedy)
            }
            Some(skew) => good(format!("this machine's clock {}", skew.describe())),
        },
    }
}

async fn daemon(listen: Option<SocketAddr>) -> Step {
    let began = Instant::now();
    let finding = match listen {
        None => look("`listen` in [ops] is empty: nobody can ask a daemon how it is", "set it to a loopback address"),
        Some(address) => match ask::ask(address).await {
            Some(told) => {
                let degraded = told.parts.iter().filter_map(|part| match &part.condition {
                    Condition::Degraded { reason } => Some(format!("{}: {reason}", part.name)),
                    _ => None,
                });
                let degraded: Vec<_> = degraded.map(|text| clean(&text)).collect();
                if degraded.is_empty() {
                    good(format!("process {} says on {address} that it is well", told.pid))
                } else {
                    look(degraded.join("; "), "`longshore status` tells since when")
                }
            }
            None => match TcpListener::bind(address) {
                Ok(_) => good(format!("none answers on {address}, which is free")),
                Err(error) => bad(
                    format!("{address} is not to be had, and no daemon of ours answers there: {error}"),
                    "set `listen` in [ops] to another address, or end what has it",
                ),
            },
        },
    };
    Step { name: "health".to_owned(), took: began.elapsed(), finding }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::inbox::DeliveryId;
    use crate::inbox::ledger::StuckLease;
    use crate::notice::NoticeId;

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let stuck = StuckLease {
            notice: NoticeId(42),
            delivery: DeliveryId(7),
            worker: "longshore-4711/2".to_owned(),
            lease_until: UnixMs(0),
        };
        let damage_text = "Tree 4 page 9: btreeInitPage() returns error code 11".to_owned();
        let ill = Examination { schema: 3, damage: vec![damage_text], stuck_leases: vec![stuck] };
        let well = Examination { damage: Vec::new(), stuck_leases: Vec::new(), ..ill.clone() };
        let took = std::time::Duration::ZERO;
        let steps = |examination: &Examination| {
            let findings = [("file", damage(examination)), ("leases", leases(examination))];
            findings.map(|(name, finding)| Step { name: name.to_owned(), took, finding }).into()
        };
        let ill = Way { name: "inbox".to_owned(), steps: steps(&ill) };
        let well = Way { name: "inbox".to_owned(), steps: steps(&well) };
        assert!(!super::super::check::connect::is_open(std::slice::from_ref(&ill)));
        insta::assert_snapshot!("doctor_inbox", ill.text() + &well.text());
    }

    #[test]
    fn it_ends_with_the_worst_that_was_found() {
        let way = |findings: &[fn() -> Finding]| Way {
            name: "inbox".to_owned(),
            steps: findings.iter().map(|finding| step("file", finding)).collect(),
        };
        let (well, warned) = (|| good("whole"), || look("never audited", "audit"));
        let wrong = || bad("damaged", "recover");
        assert_eq!(conclusion(&[way(&[well]), way(&[well])]), "Nothing is wrong.\n");
        let told = "Nothing is wrong, but something deserves a look; see `look` above.\n";
        assert_eq!(conclusion(&[way(&[warned, well]), way(&[well])]), told);
        assert_eq!(conclusion(&[way(&[warned]), way(&[wrong, well])]), "Something is wrong; see FAIL above.\n");
    }
}
