//! `longshore check --connect`: walks every way that the daemon would go, step by step, and consumes nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Access;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::access::{Skew, TokenSource};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, show_size, show_time};
use crate::daemon;
use crate::error::{Class, Classify, chain};
use crate::net::{HttpLimits, http_client};
use crate::ops::Context;
use crate::probe::{Finding, Step};
use crate::sink::Sink;

/// The longest that one way may take. Every step has limits of its own; this one holds should they add up.
const WAY_MAX: Duration = Duration::from_secs(120);
/// How long a blob host may take to answer.
const BLOB_HOST_MAX: Duration = Duration::from_secs(20);

/// One way, and the steps on it.
#[derive(Debug, Serialize)]
pub struct Way {
    /// What it leads to.
    pub name: String,
    /// One after the other.
    pub steps: Vec<Step>,
}

/// Walks every way; each is told as soon as it has been walked.
///
/// # Errors
/// When the parts cannot be made at all.
pub async fn walk(config: &Config, mut told: impl FnMut(&Way) -> anyhow::Result<()>) -> anyhow::Result<Vec<Way>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let context = Context::new(Arc::clone(&clock));
    let stop = CancellationToken::new();
    // Whatever was started for the look ends with it.
    let _stop = stop.clone().drop_guard();
    let tokens = daemon::token_sources(config, &context, &stop)?;
    let mut ways = Vec::new();
    let mut add = |way: Way| {
        told(&way)?;
        ways.push(way);
        anyhow::Ok(())
    };

    add(Way { name: "inbox".to_owned(), steps: vec![inbox(&config.inbox.path)] })?;
    let mut seen: Vec<&Arc<dyn TokenSource>> = Vec::new();
    for feed in daemon::feeds(config, &context, &tokens) {
        let name = feed.name();
        if let Some(source) = tokens.get(name)
            && !seen.iter().any(|other| Arc::ptr_eq(other, source))
        {
            seen.push(source);
            let way = format!("tokens of feed {name}");
            let steps = within(&way, source.probe()).await;
            let has_tokens = steps.iter().all(|step| !matches!(step.finding, Finding::Bad { .. }));
            add(Way { name: way, steps })?;
            let way = format!("blob store of feed {name}");
            let steps = if has_tokens {
                within(&way, blob_hosts(config, source, &*clock)).await
            } else {
                not_tried("blob host reachable")
            };
            add(Way { name: way, steps })?;
        }
        let way = format!("feed {name}");
        let steps = within(&way, feed.probe()).await;
        add(Way { name: way, steps })?;
    }
    let sinks = daemon::sinks(config, &context)?;
    for settings in &config.sinks {
        if let Some(made) = sinks.get(&settings.name) {
            let way = format!("sink {}", settings.name);
            let steps = within(&way, async { vec![sink(&**made).await] }).await;
            add(Way { name: way, steps })?;
        }
    }
    Ok(ways)
}

/// Whether no step failed.
#[must_use]
pub fn is_open(ways: &[Way]) -> bool {
    !ways.iter().flat_map(|way| &way.steps).any(|step| matches!(step.finding, Finding::Bad { .. }))
}

async fn within(way: &str, steps: impl Future<Output = Vec<Step>>) -> Vec<Step> {
    tokio::time::timeout(WAY_MAX, steps).await.unwrap_or_else(|_| {
        vec![Step {
            name: way.to_owned(),
            took: WAY_MAX,
            finding: Finding::Bad {
                error: format!("not done after {}", show_time(WAY_MAX)),
                remedy: "look whether a firewall or proxy holds connections up".to_owned(),
            },
        }]
    })
}

fn not_tried(name: &str) -> Vec<Step> {
    vec![Step { name: name.to_owned(), took: Duration::ZERO, finding: Finding::Skipped }]
}

/// Whether the inbox can be written; makes and changes nothing.
fn inbox(path: &Path) -> Step {
    let began = Instant::now();
    let finding = match look_at_inbox(path) {
        Ok(seen) => Finding::Good { seen },
        Err(error) => Finding::Bad {
            error: format!("{}: {error}", path.display()),
            remedy:
                "the user who runs Longshore must be able to write the file and its folder; `path` in [inbox] names it"
                    .to_owned(),
        },
    };
    Step { name: "inbox writable".to_owned(), took: began.elapsed(), finding }
}

fn look_at_inbox(path: &Path) -> std::io::Result<String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    // SQLite puts its journal beside the file.
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
    let state = if path.try_exists()? {
        rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)?;
        format!("{} there", show_size(std::fs::metadata(path)?.len()))
    } else {
        "will be made".to_owned()
    };
    let disk = rustix::fs::statvfs(folder)?;
    let free_mib = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    Ok(format!("{}, {state}, {free_mib} MiB free", path.display()))
}

/// Whether the hosts of the blob store answer. Nothing secret is sent: any answer will do.
async fn blob_hosts(config: &Config, source: &Arc<dyn TokenSource>, clock: &dyn Clock) -> Vec<Step> {
    const NAME: &str = "blob host reachable";
    let began = Instant::now();
    let bad = |took: Duration, error: String, remedy: &str| Step {
        name: NAME.to_owned(),
        took,
        finding: Finding::Bad { error: crate::secret::redact(&error), remedy: remedy.to_owned() },
    };
    let limits = HttpLimits { connect: config.fetch.connect_timeout, idle: BLOB_HOST_MAX, total: Some(BLOB_HOST_MAX) };
    let client = match http_client(config.fetch.ca_file.as_deref(), limits) {
        Ok(client) => client,
        Err(error) => return vec![bad(began.elapsed(), chain(&error), "correct `ca_file` in [fetch]")],
    };
    let tokens = match source.current().await {
        Ok(tokens) => tokens,
        Err(error) => return vec![bad(began.elapsed(), chain(&error), "see the steps of the tokens")],
    };
    let mut hosts: Vec<Url> = Vec::new();
    for blob in &tokens.blobs {
        let mut host = blob.base.clone();
        host.set_path("/");
        host.set_query(None);
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let mut steps = Vec::new();
    for host in hosts {
        let began = Instant::now();
        let answer = client.head(host.clone()).send().await;
        let took = began.elapsed();
        steps.push(match answer {
            Err(error) => bad(
                took,
                format!("{host}: {}", chain(&error.without_url())),
                "look at name resolution, firewall and certificates (`ca_file` in [fetch]) for this host",
            ),
            Ok(answer) => {
                let seen = format!("{host} answers");
                let finding = match Skew::from_headers(answer.headers(), clock.now()).filter(|skew| skew.is_large()) {
                    Some(skew) => Finding::Warning {
                        seen: format!("{seen}; this machine's clock {}", skew.describe()),
                        remedy: "check its time synchronisation: tokens carry times".to_owned(),
                    },
                    None => Finding::Good { seen },
                };
                Step { name: NAME.to_owned(), took, finding }
            }
        });
    }
    if steps.is_empty() {
        steps.push(Step {
            name: NAME.to_owned(),
            took: began.elapsed(),
            finding: Finding::Warning {
                seen: "no blob store is named".to_owned(),
                remedy: "only notices that carry their body can be delivered; `blob_urls_file` names a store"
                    .to_owned(),
            },
        });
    }
    steps
}

async fn sink(sink: &dyn Sink) -> Step {
    let began = Instant::now();
    let finding = match sink.probe().await {
        Ok(seen) => Finding::Good { seen },
        Err(error) => Finding::Bad { error: error.to_string(), remedy: remedy(error.class()).to_owned() },
    };
    Step { name: format!("{} ready", sink.kind()), took: began.elapsed(), finding }
}

fn remedy(class: Class) -> &'static str {
    match class {
        Class::Unauthorized => "look at the secret in the sink's file, and what it is allowed to do",
        Class::DiskFull => "free some space",
        Class::Transient | Class::Throttled => "look whether the sink runs and can be reached, then try again",
        Class::MissingObject | Class::MissingParent | Class::Poison | Class::Permanent => {
            "correct the sink's settings, or what they name"
        }
    }
}

impl Way {
    /// For people: a heading, then one step a line with its time, and what to do where it is not open.
    #[must_use]
    pub fn text(&self) -> String {
        /// As wide as the longest step's name, so that the ways stand aligned among each other.
        const WIDTH_MIN: usize = 27;
        let width = self.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0).max(WIDTH_MIN);
        let mut out = format!("{}\n", self.name);
        for step in &self.steps {
            let (mark, seen, remedy) = match &step.finding {
                Finding::Good { seen } => ("ok", seen.as_str(), None),
                Finding::Warning { seen, remedy } => ("look", seen.as_str(), Some(remedy)),
                Finding::Bad { error, remedy } => ("FAIL", error.as_str(), Some(remedy)),
                Finding::Skipped => ("-", "not tried", None),
            };
            let took = match &step.finding {
                Finding::Skipped => String::new(),
                _ => format!("{} ms", step.took.as_millis()),
            };
            let _ = writeln!(out, "  {mark:4}  {:width$}  {took:>8}  {seen}", step.name);
            if let Some(remedy) = remedy {
                let _ = writeln!(out, "        {:width$}  {:8}  what to do: {remedy}", "", "");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_aligned_with_their_times_and_what_to_do() {
        let step = |name: &str, ms, finding| Step { name: name.to_owned(), took: Duration::from_millis(ms), finding };
        let way = Way {
            name: "tokens of feed eg".to_owned(),
            steps: vec![
                step("certificate found", 2, Finding::Good { seen: "valid until 2027-01-01".to_owned() }),
                step(
                    "Entra token obtained",
                    1_234,
                    Finding::Warning { seen: "slow".to_owned(), remedy: "wait".to_owned() },
                ),
                step(
                    "TenantService answers",
                    310,
                    Finding::Bad {
                        error: "403: permission not granted yet".to_owned(),
                        remedy: "ask the vendor for it".to_owned(),
                    },
                ),
                step("tokens are valid", 0, Finding::Skipped),
            ],
        };
        assert!(!is_open(std::slice::from_ref(&way)));
        insta::assert_snapshot!(way.text());
    }

    #[test]
    fn the_look_at_the_inbox_makes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("inbox.db");
        assert!(matches!(inbox(&path).finding, Finding::Good { seen } if seen.contains("will be made")));
        assert!(!path.exists());
        assert!(matches!(inbox(&path.join("below")).finding, Finding::Bad { .. }));
    }
}
