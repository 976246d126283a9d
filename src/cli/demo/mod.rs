//! `longshore demo`: the whole way of a notice in one process, without an account. The sandbox plays the vendor, the
//! daemon hears and delivers, and in the end what lies in the output is held against what was published.
//!
//! ```text
//! load ──publish──> sandbox ~~ AMQP, HTTPS ~~> daemon ──> files, database
//!   └────── expected records ──────> account <──────┘
//! ```

mod account;
mod load;
mod screen;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::config::{Config, Files};
use crate::daemon::{self, Duty, Parts};
use crate::inbox::ledger::{Ledger, Selector, Summary};
use crate::ops::Context;
use crate::sandbox::{Sandbox, SandboxSettings};

use self::account::Found;
use self::load::{Load, UGLY_BLOB_TYPE};
use self::screen::{Outcome, Screen};
use super::Global;
use super::exit::Exit;

/// What `longshore demo` can be told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many ordinary files are published; a few ugly ones come on top
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    files: u32,
    /// How many records the ordinary files hold together
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    records: u64,
    /// Where everything is put; a new folder below the system's temporary one unless given. Must not exist, or be empty
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// End with one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// How long the demo waits without any progress before it says that it is stuck.
const STUCK_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs the demo.
///
/// # Errors
/// When a part cannot be started, or the demo stands still.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let dir = folder(args.dir.as_deref())?;
    super::runtime(2)?.block_on(async {
        let sandbox = Sandbox::start(SandboxSettings::new(&dir)).await?;
        let config_path = dir.join("longshore.toml");
        std::fs::write(&config_path, config_text(&sandbox)).with_context(|| config_path.display().to_string())?;
        let config = Config::load(&config_path, Files::Checked)?;
        global.log(&config.log)?;
        let ended = play(args, &dir, &sandbox, config).await;
        sandbox.stop().await;
        let outcome = ended?;
        if args.json {
            println!("{}", serde_json::to_string(&outcome).context("the outcome as JSON")?);
        } else {
            print!("{}", outcome.table());
        }
        Ok(if outcome.is_clean() { Exit::Ok } else { Exit::Data }.into())
    })
}

fn folder(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    match asked {
        None => Ok(tempfile::Builder::new().prefix("longshore-demo-").tempdir()?.keep()),
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            let is_empty = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?.next().is_none();
            anyhow::ensure!(is_empty, "{} is not empty; name a new folder", dir.display());
            std::path::absolute(dir).with_context(|| dir.display().to_string())
        }
    }
}

async fn play(args: &Args, dir: &Path, sandbox: &Sandbox, config: Config) -> anyhow::Result<Outcome> {
    let started = tokio::time::Instant::now();
    let stop = CancellationToken::new();
    let context = Context::new(Arc::new(SystemClock));
    let parts = Parts::build(&config, &context, &stop).await?;
    let ledger = Arc::clone(&parts.ledger);
    let daemon = {
        let (context, stop) = (context.clone(), stop.clone());
        tokio::spawn(async move { daemon::run_parts(parts, &config, Duty::Both, context, stop).await })
    };
    let loads = load::mixed(args.files, args.records);
    let mut screen = Screen::new(loads.len() as u64);
    let watched = async {
        publish(&loads, sandbox, &screen).await?;
        wait(&*ledger, loads.len() as u64, &mut screen, &context).await
    };
    let watched = watched.await;
    stop.cancel();
    daemon.await.context("the daemon panicked")??;
    let summary = watched?;
    screen.finish();
    let found = find(&loads, dir)?;
    let notices = ledger.notices(Selector::default()).await?;
    Ok(Outcome::new(&summary, &notices, found, &context.metrics, started.elapsed(), dir))
}

/// Publishes everything; half-way the vendor rotates its keys, and delivers some announcements twice.
async fn publish(loads: &[Load], sandbox: &Sandbox, screen: &Screen) -> anyhow::Result<()> {
    for (number, load) in loads.iter().enumerate() {
        if number == loads.len() / 3 {
            sandbox.broker().duplicate_next(&sandbox.subscription_path(), 3)?;
        }
        if number == loads.len() / 2 {
            screen.say("the vendor rotates its keys: every token in use is refused from now on");
            sandbox.rotate_service_bus_key();
            sandbox.rotate_blob_key();
        }
        sandbox.publish(load.request.clone()).await?;
        screen.published();
    }
    Ok(())
}

/// Waits until every notice has come to its end, and nothing is parked any more.
async fn wait(ledger: &dyn Ledger, published: u64, screen: &mut Screen, context: &Context) -> anyhow::Result<Summary> {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    let mut last_change = tokio::time::Instant::now();
    let mut last = None;
    loop {
        tick.tick().await;
        let summary = ledger.summary().await?;
        // Woken records travel in notices of their own, which come on top of those that were published.
        let counts = summary.notices;
        let ended = counts.finished + counts.skipped + counts.quarantined;
        screen.show(&summary, context.metrics.records_woken.get());
        if ended >= published && counts.heard + counts.open == 0 && summary.parked.records == 0 {
            return Ok(summary);
        }
        let seen = (summary.notices, summary.last_day, summary.parked.records);
        if last != Some(seen) {
            last = Some(seen);
            last_change = tokio::time::Instant::now();
        }
        anyhow::ensure!(
            last_change.elapsed() < STUCK_AFTER,
            "nothing has moved for {} s: {ended} of {published} notices have ended, {} records are parked; \
             `--log-level info` shows why",
            STUCK_AFTER.as_secs(),
            summary.parked.records
        );
    }
}

/// Holds what lies in the output against what was published.
fn find(loads: &[Load], dir: &Path) -> anyhow::Result<Found> {
    let expected = |goes_there: fn(&Load) -> bool| -> Vec<&str> {
        let loads = loads.iter().filter(|load| goes_there(load));
        loads.flat_map(|load| load.expected.iter().map(String::as_str)).collect()
    };
    let in_files = account::names_in_folder(&dir.join("output"))?;
    let mut in_shop = Vec::new();
    for table in ["items", "prices", "store-groups"] {
        in_shop.extend(account::names_in_table(&dir.join("shop.db"), table)?);
    }
    let files = account::compare(&expected(|load| load.to_files), in_files);
    let shop = account::compare(&expected(|load| load.to_shop), in_shop);
    Ok(Found { lost: files.lost + shop.lost, duplicated: files.duplicated + shop.duplicated })
}

/// The demo's configuration: what a user would write, with bounds that suit a minute.
fn config_text(sandbox: &Sandbox) -> String {
    format!(
        r#"# The configuration of the demo.
{access}
# What records are about. Here store groups come as XML, items as JSON.
[[entity]]
name = "store-group"
blob_types = ["StoreService.StoreGroups"]
key = "StoreGroup/code"

[[entity]]
name = "item"
blob_types = ["Gateway.ItemChanges"]
key = {{ sku = "/identifier/sku", gtin = "/identifier/mainGTIN" }}

# A price waits for its item and its store group.
[[route]]
name = "prices"
blob_types = ["Gateway.PriceChanges"]
sinks = ["shop"]
parents = [
  {{ entity = "item", key = {{ sku = "/itemIdentifier/sku", gtin = "/itemIdentifier/mainGTIN" }} }},
  {{ entity = "store-group", key = "/storeGroup/code" }},
]

# A bundle waits for the items that it is made of, which may stand in the same file.
[[route]]
name = "items"
blob_types = ["Gateway.ItemChanges"]
sinks = ["shop"]
parents = [
  {{ entity = "item", key = {{ sku = "/bundleContentItemReferences/0/item/sku" }} }},
  {{ entity = "item", key = {{ sku = "/bundleContentItemReferences/1/item/sku" }} }},
]

# A store waits for its profile and its price zone, and a price zone for its profile.
[[route]]
name = "open-stores"
blob_types = ["StoreService.Stores"]
only = [{{ pointer = "/isOpen", equals = [true] }}]
sinks = ["files"]
parents = [
  {{ entity = "store-group", key = "/profile/code" }},
  {{ entity = "store-group", key = "/priceZone" }},
]

[[route]]
name = "store-groups"
blob_types = ["StoreService.StoreGroups"]
sinks = ["shop", "files"]
parents = [{{ entity = "store-group", key = "StoreGroup/profile/code" }}]

[[route]]
name = "ugly"
blob_types = ["{UGLY_BLOB_TYPE}"]
sinks = ["files"]

[[route]]
name = "everything-else"
blob_types = ["*"]
sinks = ["files"]

[[sink]]
name = "files"
type = "directory"
path = "output"

[[sink]]
name = "shop"
type = "sqlite"
path = "shop.db"
table = "{{route}}"
key = {{ prices = ["/priceGuid"], items = ["/identifier/sku"], store-groups = ["StoreGroup/code"] }}

[inbox]
path = "inbox.db"

[work]
# A blob that is not there is given up after two seconds, so that the demo need not wait an hour for it.
missing_object_for = "2s"
retry_min = "200ms"
# The ugly ones wait for nobody.
ordering = "none"

[ops]
listen = ""

[log]
# The table says what went wrong; `--log-level info` shows the daemon's log as it goes.
level = "off"
"#,
        access = sandbox.configuration_of_access(),
    )
}
