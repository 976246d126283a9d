//! `longshore status`: how everything is, on one screen.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::Global;
use super::exit::Exit;
use super::screen::{Align, Table, ago, clean, cut, length, moment, number, plural, size, wrapped};
use super::{reconcile, select};
use crate::clock::UnixMs;
use crate::inbox::ledger::{Audited, DaemonSummary, Done, Ledger, ParkedTotals, REPORT_EVERY, Summary};
use crate::ops::ask::{self, Told};
use crate::ops::health::{Condition, Part};

/// Routes that are shown, so that the screen stays one.
const ROUTES_MAX: usize = 12;

/// Days of each export whose gap is told.
const DAYS_MAX: usize = 7;

/// What is told as JSON.
#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    summary: Summary,
    /// What the exports held that the webhooks had not brought, the latest days; nothing where nothing is reconciled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reconciled: Vec<reconcile::Compared>,
}

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Shows the daemon's parts, the notices by state, and what each route has to do and has done.
///
/// # Errors
/// When the configuration is wrong or the inbox cannot be read.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.config_of_inbox()?;
    let (summary, told) = super::runtime(1)?.block_on(async {
        let told = match config.ops.listen {
            Some(listen) => ask::ask(listen).await,
            None => None,
        };
        let summary = async { Ok::<_, anyhow::Error>(select::open_inbox(global)?.1.summary().await?) };
        (summary.await, told)
    });
    let mut summary = match (summary, told.as_ref()) {
        (Ok(summary), _) => summary,
        // Where the inbox cannot be read, the daemon itself may still say how it is.
        (Err(error), Some(told)) if !args.json => {
            select::print(&screen_of_parts(told, select::now()))?;
            return Err(error);
        }
        (Err(error), _) => return Err(error),
    };
    if let Some(told) = told {
        hear(&mut summary, told);
    }
    let status = Status { summary, reconciled: super::runtime(1)?.block_on(reconcile::compared(global, DAYS_MAX))? };
    select::tell(args.json, &status, || screen(&status.summary) + &reconcile::in_short(&status.reconciled))?;
    let summary = status.summary;
    let is_wrong = summary.unbalanced > 0 || summary.audit.is_some_and(|audit| audit.findings > 0);
    Ok(if is_wrong { Exit::Data.into() } else { ExitCode::SUCCESS })
}

/// What a daemon says of itself counts more than what it wrote into the inbox, which may be what fails.
fn hear(summary: &mut Summary, told: Told) {
    if let Some(daemon) = summary.daemons.iter_mut().find(|daemon| daemon.pid == told.pid) {
        (daemon.parts, daemon.heartbeat, daemon.alive) = (told.parts, summary.at, true);
    }
}

fn screen_of_parts(told: &Told, now: UnixMs) -> String {
    let mut out = format!("longshore, process {}; the inbox cannot be read\n", told.pid);
    tell_parts(&mut out, &told.parts, now);
    out
}

fn screen(summary: &Summary) -> String {
    let now = summary.at;
    let mut out = String::new();
    if summary.daemons.is_empty() {
        out.push_str("no daemon is running\n");
    }
    for daemon in &summary.daemons {
        tell_daemon(&mut out, daemon, now);
    }
    out.push('\n');

    let notices = &summary.notices;
    let counted = [
        (notices.heard, "heard"),
        (notices.open, "open"),
        (notices.finished, "finished"),
        (notices.skipped, "skipped"),
        (notices.quarantined, "quarantined"),
    ];
    let stored = counted.iter().map(|(count, _)| count).sum();
    let counted: Vec<_> = counted.iter().map(|(count, state)| format!("{} {state}", number(*count))).collect();
    fact(&mut out, "notices", &format!("{} stored: {}", number(stored), counted.join(", ")));
    if let Some(oldest) = summary.oldest_waiting {
        fact(&mut out, "oldest waiting", &format!("notice {}, since {}", oldest.notice, moment(oldest.stored, now)));
    }
    if summary.parked.records > 0 {
        fact(&mut out, "parked", &parked(&summary.parked, now));
    }
    if notices.with_withheld_records > 0 {
        let finished = plural(notices.with_withheld_records, "finished notice");
        fact(&mut out, "withheld", &format!("{finished} with parked or quarantined records"));
    }
    if notices.quarantined + notices.with_withheld_records > 0 {
        fact(&mut out, "set aside", "see `longshore quarantine`");
    }
    let mut accounts = match summary.unbalanced {
        0 => "every delivery adds up".to_owned(),
        n => format!(
            "{} not add up",
            if n == 1 { "1 delivery does".to_owned() } else { format!("{} deliveries do", number(n)) }
        ),
    };
    accounts.push_str(&match summary.audit {
        None => "; `longshore audit` looks whether all the rest does".to_owned(),
        Some(Audited { at, findings: 0, .. }) => format!("; the audit {} found nothing", ago(at, now)),
        Some(Audited { at, findings, .. }) => {
            format!("; the audit {} found {} not adding up: `longshore audit`", ago(at, now), plural(findings, "thing"))
        }
    });
    fact(&mut out, "accounts", &accounts);
    let room = format!(
        "{} ({} free), log {}",
        size(summary.database_bytes),
        size(summary.free_bytes),
        size(summary.log_bytes)
    );
    fact(&mut out, "inbox", &format!("{}, {room}", clean(&summary.path)));
    if summary.outlived_keys > 0 {
        fact(&mut out, "known keys", &outlived(summary));
    }
    if !summary.routes.is_empty() {
        out.push('\n');
        out.push_str(&to_do(summary));
        out.push('\n');
        out.push_str(&done(summary));
    }
    out
}

/// What is still known of notices that were pruned early.
pub(super) fn outlived(summary: &Summary) -> String {
    format!(
        "{} of pruned notices are still known, to tell what comes again (about {})",
        number(summary.outlived_keys),
        size(summary.outlived_keys_bytes)
    )
}

fn parked(parked: &ParkedTotals, now: UnixMs) -> String {
    let mut text = format!("{} ({}) for a missing parent", plural(parked.records, "record"), size(parked.bytes));
    if let Some(oldest) = parked.oldest {
        text.push_str(&format!(", the oldest since {}", moment(oldest, now)));
    }
    if let Some(next) = parked.next_deadline {
        text.push_str(&format!(", the first until {}", moment(next, now)));
    }
    text + "; see `longshore parked`"
}

fn fact(out: &mut String, name: &str, text: &str) {
    out.push_str(&wrapped(&format!("{name:<16}"), text));
}

fn tell_daemon(out: &mut String, daemon: &DaemonSummary, now: UnixMs) {
    let name = format!("longshore {} {}, process {}", clean(&daemon.mode), clean(&daemon.version), daemon.pid);
    let head = if daemon.alive {
        let age = now.since(daemon.heartbeat);
        // It may miss one report; behind an older one, the inbox or the daemon has a trouble that is not told yet.
        let as_of =
            if age > 2 * REPORT_EVERY { format!("; as it reported {} ago", length(age)) } else { String::new() };
        if is_gone(daemon, age) {
            let when = moment(daemon.heartbeat, now);
            let text = format!(
                "{name}: no such process here; it was killed, or runs in another container; last heard of {when}"
            );
            out.push_str(&wrapped("", &text));
            return;
        }
        format!("{name}, up {}{as_of}", length(now.since(daemon.started)))
    } else {
        format!("{name}: not running, last heard of {}", moment(daemon.heartbeat, now))
    };
    out.push_str(&wrapped("", &head));
    if !daemon.alive {
        return;
    }
    tell_parts(out, &daemon.parts, now);
}

/// Whether a daemon of this machine that has not just said how it is has no process any more. One that was killed could
/// not take its report down.
fn is_gone(daemon: &DaemonSummary, age: Duration) -> bool {
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_of_here = daemon.instance.rsplit_once('/').is_some_and(|(host, _)| host == here);
    let is_there = |process: &str| Path::new("/proc").join(process).exists();
    !age.is_zero() && is_of_here && is_there("self") && !is_there(&daemon.pid.to_string())
}

fn tell_parts(out: &mut String, parts: &[Part], now: UnixMs) {
    let name_width = parts.iter().map(|part| part.name.chars().count()).max().unwrap_or(0).clamp(8, 24);
    for part in parts {
        out.push_str(&tell_part(part, name_width, now));
    }
}

fn tell_part(part: &Part, name_width: usize, now: UnixMs) -> String {
    let (condition, note) = match &part.condition {
        Condition::Good { note } => ("good", note.as_str()),
        Condition::Starting => ("starting", ""),
        Condition::Degraded { reason } => ("degraded", reason.as_str()),
    };
    let name = cut(&clean(&part.name), name_width);
    let since = length(now.since(part.since));
    let head = format!("  {name:<name_width$}  {condition:<8} {since:>7}  ");
    // Without a note the head's own trailing space would stay.
    wrapped(&head, &clean(note)).lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn to_do(summary: &Summary) -> String {
    let columns = [
        ("to do", Align::Flexible),
        ("ready", Align::Right),
        ("in work", Align::Right),
        ("retry", Align::Right),
        ("quarantined", Align::Right),
    ];
    let mut table = Table::new(0, &columns);
    for route in summary.routes.iter().take(ROUTES_MAX) {
        table.row([
            clean(route.route.as_str()),
            number(route.ready),
            number(route.claimed),
            number(route.waiting),
            number(route.quarantined),
        ]);
    }
    table.lines(|row| {
        let error = summary.routes[row].error.as_deref()?;
        Some(format!("{}\n", cut(&format!("    retry: {}", clean(error)), super::screen::COLUMNS)))
    })
}

fn done(summary: &Summary) -> String {
    let columns = [
        ("last 24 hours", Align::Flexible),
        ("files", Align::Right),
        ("read", Align::Right),
        ("delivered", Align::Right),
        ("filtered", Align::Right),
        ("parked", Align::Right),
        ("quarantined", Align::Right),
        ("payload", Align::Right),
    ];
    let mut table = Table::new(0, &columns);
    let mut add = |name: String, done: &Done| {
        let counts = done.counts;
        table.row([
            name,
            number(done.deliveries),
            number(counts.read),
            number(counts.delivered),
            number(counts.filtered),
            number(counts.parked),
            number(counts.quarantined),
            size(done.bytes),
        ]);
    };
    for route in summary.routes.iter().take(ROUTES_MAX) {
        add(clean(route.route.as_str()), &route.last_day);
    }
    if summary.routes.len() > 1 {
        let left_out = summary.routes.len().saturating_sub(ROUTES_MAX);
        let name = if left_out > 0 { format!("all (and {left_out} more)") } else { "all".to_owned() };
        add(name, &summary.last_day);
    }
    table.lines(|_| None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{busy_summary, empty_summary};

    #[test]
    fn a_busy_inbox_on_one_screen() {
        let screen = screen(&busy_summary());
        assert!(screen.lines().all(|line| line.chars().count() <= super::super::screen::COLUMNS));
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn an_empty_inbox() {
        insta::assert_snapshot!(screen(&empty_summary()));
    }

    #[test]
    fn a_daemon_that_died() {
        let mut summary = busy_summary();
        summary.daemons.truncate(1);
        summary.daemons[0].alive = false;
        summary.unbalanced = 1;
        summary.routes.clear();
        insta::assert_snapshot!(screen(&summary));
    }

    #[test]
    fn a_daemon_without_a_process_is_not_told_as_running_on() {
        let mut summary = busy_summary();
        summary.daemons.truncate(1);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let said = |summary: &Summary| screen(summary).split_whitespace().collect::<Vec<_>>().join(" ");
        summary.daemons[0].instance = format!("{host}/{}", std::process::id());
        summary.daemons[0].pid = std::process::id();
        assert!(said(&summary).contains(", up "));
        summary.daemons[0].pid = u32::MAX;
        assert!(said(&summary).contains("no such process here; it was killed"), "{}", said(&summary));
        summary.daemons[0].instance = "another/1".to_owned();
        assert!(said(&summary).contains(", up "));
    }

    #[test]
    fn an_old_report_is_told_with_its_age_and_what_the_daemon_says_itself_counts_more() {
        let mut summary = busy_summary();
        summary.daemons.truncate(1);
        summary.daemons[0].heartbeat = summary.at.minus(std::time::Duration::from_secs(45));
        assert!(screen(&summary).contains("as it reported 45 s ago"));
        let condition = Condition::Degraded { reason: "no room left for the inbox".to_owned() };
        let parts = vec![Part { name: "inbox".to_owned(), condition, since: summary.at }];
        let told = Told { pid: summary.daemons[0].pid, parts };
        assert!(screen_of_parts(&told, summary.at).contains("no room left"));
        hear(&mut summary, told);
        let screen = screen(&summary);
        assert!(screen.contains("no room left") && !screen.contains("as it reported"), "{screen}");
    }

    #[test]
    fn the_status_as_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&busy_summary()).unwrap());
    }
}
