//! `longshore audit`: whether every account adds up, recomputed from what is stored.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Global;
use super::exit::Exit;
use super::screen::{Align, Table, clean, number, plural, wrapped};
use super::select;
use crate::inbox::InboxError;
use crate::inbox::ledger::{Audit, Audited, AuditedAccount, Finding, Ledger};

/// Notices in one step: a snapshot that is held for some milliseconds.
const NOTICES_A_STEP: usize = 1_000;

/// Findings that are told; the others are counted. A damaged file may have one for each of its rows.
const FINDINGS_MAX: usize = 1_000;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Works while the daemon runs, in bounded memory. `longshore status` and the metrics show the latest \
    result. What does not add up ends in exit code 65."
)]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// The whole audit.
#[derive(Clone, Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    audited: Audited,
    accounts: Vec<AuditedAccount>,
    /// The first of what does not add up.
    told: Vec<Finding>,
}

/// Recomputes whether everything adds up: `read = delivered + filtered + parked + quarantined` for each delivery, the
/// records that were set aside against that, and each notice against its deliveries.
///
/// # Errors
/// When the configuration is wrong or the inbox cannot be read.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (_, inbox) = select::open_inbox(global)?;
    let report = super::runtime(1)?.block_on(async {
        let counts = inbox.summary().await?.notices;
        let stored = counts.heard + counts.open + counts.finished + counts.skipped + counts.quarantined;
        let report = audit(&inbox, stored).await?;
        inbox.remember(report.audited).await?;
        Ok::<_, InboxError>(report)
    })?;
    select::tell(args.json, &report, || screen(&report))?;
    Ok(if report.audited.findings > 0 { Exit::Data.into() } else { ExitCode::SUCCESS })
}

async fn audit(inbox: &impl Audit, stored: u64) -> Result<Report, InboxError> {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::with_draw_target(Some(stored), ProgressDrawTarget::stderr())
    } else {
        ProgressBar::hidden()
    };
    let style = ProgressStyle::with_template("{wide_bar}  {human_pos} of {human_len}  {eta}");
    bar.set_style(style.expect("the template is valid"));
    let mut accounts: BTreeMap<(String, String), AuditedAccount> = BTreeMap::new();
    let mut told = Vec::new();
    let (mut notices, mut deliveries, mut findings) = (0, 0, 0);
    let mut after = None;
    loop {
        let step = inbox.audit(after, NOTICES_A_STEP).await?;
        if step.last.is_none() {
            bar.finish_and_clear();
            let audited = Audited { at: select::now(), notices, deliveries, findings };
            return Ok(Report { audited, accounts: accounts.into_values().collect(), told });
        }
        after = step.last;
        notices += step.notices;
        deliveries += step.deliveries;
        findings += step.findings.len() as u64;
        let room = FINDINGS_MAX - told.len();
        told.extend(step.findings.into_iter().take(room));
        for more in step.accounts {
            let key = (more.target.route.to_string(), more.target.sink.to_string());
            let account = accounts.entry(key).or_insert_with(|| AuditedAccount::new(more.target.clone()));
            account.add(more.deliveries, more.counts, more.discarded);
        }
        bar.set_position(notices);
    }
}

fn screen(report: &Report) -> String {
    let Report { audited, accounts, told } = report;
    let mut text = String::new();
    if !accounts.is_empty() {
        let columns = [
            ("route", Align::Flexible),
            ("sink", Align::Flexible),
            ("files", Align::Right),
            ("read", Align::Right),
            ("delivered", Align::Right),
            ("filtered", Align::Right),
            ("parked", Align::Right),
            ("quarantined", Align::Right),
            ("discarded", Align::Right),
        ];
        let mut table = Table::new(0, &columns);
        for account in accounts {
            let counts = account.counts;
            table.row([
                clean(account.target.route.as_str()),
                clean(account.target.sink.as_str()),
                number(account.deliveries),
                number(counts.read),
                number(counts.delivered),
                number(counts.filtered),
                number(counts.parked),
                number(counts.quarantined),
                number(account.discarded),
            ]);
        }
        text.push_str(&table.lines(|_| None));
        text.push_str("read = delivered + filtered + parked + quarantined, of which some may be discarded\n\n");
    }
    for finding in told {
        let delivery = finding.delivery.map_or(String::new(), |delivery| format!(", delivery {}", delivery.0));
        let head = format!("notice {}{delivery}: ", finding.notice);
        text.push_str(&wrapped(&head, &clean(&finding.what)));
    }
    let left_out = audited.findings - told.len() as u64;
    if left_out > 0 {
        text.push_str(&format!("and {} more\n", number(left_out)));
    }
    let seen = format!("{} and {} seen", plural(audited.notices, "notice"), deliveries(audited.deliveries));
    text.push_str(&match audited.findings {
        0 => format!("{seen}: everything adds up\n"),
        n => wrapped(
            "",
            &format!(
                "{seen}: {} not add up. Keep a copy of the inbox; `longshore show ID` tells the story, `longshore doctor` \
                 looks for damage, and `longshore replay ID` delivers a notice anew",
                if n == 1 { "1 thing does".to_owned() } else { format!("{} things do", number(n)) }
            ),
        ),
    });
    text
}

fn deliveries(count: u64) -> String {
    format!("{} {}", number(count), if count == 1 { "delivery" } else { "deliveries" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::NOW;
    use crate::inbox::{DeliveryId, Target};
    use crate::notice::{NoticeId, RouteName, SinkName};
    use crate::record::Counts;

    fn report(findings: u64) -> Report {
        let account = |route: &str, discarded| AuditedAccount {
            target: Target { route: RouteName::new(route), sink: SinkName::new("warehouse") },
            deliveries: 1_200,
            counts: Counts { read: 10_011, delivered: 9_000, filtered: 1_000, parked: 0, quarantined: 11 },
            discarded,
        };
        let finding = |delivery: Option<i64>, what: &str| Finding {
            notice: NoticeId(42),
            delivery: delivery.map(DeliveryId),
            what: what.to_owned(),
        };
        let told = vec![
            finding(Some(51), "10 records read are not 9 delivered + 0 filtered + 0 parked + 0 quarantined"),
            finding(None, "it is finished, and its deliveries make it quarantined"),
        ];
        Report {
            audited: Audited { at: NOW, notices: 2_345, deliveries: 2_400, findings },
            accounts: vec![account("items", 2), account("prices", 0)],
            told: told.into_iter().take(findings as usize).collect(),
        }
    }

    #[test]
    fn an_audit_says_what_adds_up_and_what_does_not() {
        insta::assert_snapshot!("audit_clean", screen(&report(0)));
        let screen = screen(&report(12));
        assert!(screen.lines().all(|line| line.chars().count() <= super::super::screen::COLUMNS));
        insta::assert_snapshot!("audit_findings", screen);
        insta::assert_snapshot!("audit_json", serde_json::to_string_pretty(&report(1)).unwrap());
    }
}
