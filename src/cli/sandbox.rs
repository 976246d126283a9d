//! `longshore sandbox`: the vendor's side on this machine, until it is stopped.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::control::Control;
use crate::sandbox::sample::{Kind, SampleSpec};
use crate::sandbox::{PublishRequest, Sandbox, SandboxSettings};

use super::Global;
use super::exit::Exit;
use super::log::LogSettings;

/// What `longshore sandbox` can be told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where certificates and a ready `longshore.toml` are written
    #[arg(long, value_name = "FOLDER", default_value = "./longshore-sandbox")]
    dir: PathBuf,
    /// The control API's port; 0 takes a free one, as with all ports
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    control_port: u16,
    /// The Entra authority's port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    authority_port: u16,
    /// TenantService's port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    tenant_port: u16,
    /// The Service Bus broker's port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    broker_port: u16,
    /// The blob store's port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    blob_port: u16,
    /// The port of the bucket's store
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    bucket_port: u16,
    /// The port of fulfillmenttools' API, where its events are subscribed to
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    fft_port: u16,
    /// The port that the daemon listens on for the webhook's events
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    webhook_port: u16,
    /// How many times faster the webhook's sender retries: with 10, after 2 seconds instead of 20
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    webhook_speed: f64,
    /// Serve the broker and the blob store over TLS as well
    #[arg(long)]
    tls: bool,
    /// How long the tokens of TenantService are good, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    token_lifetime: u64,
    /// Publish so many files at the start: items, prices, stores, customers and store groups in turn
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    publish: u32,
}

/// Runs the sandbox until TERM or INT.
///
/// # Errors
/// When a port is taken or the folder cannot be written.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    global.log(&LogSettings::default())?;
    super::runtime(2)?.block_on(async {
        // Before anything is announced, so that whoever reads the announcement can stop us.
        let mut terminate = signal(SignalKind::terminate()).context("TERM cannot be waited for")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("INT cannot be waited for")?;
        let sandbox = Arc::new(Sandbox::start(settings(&args)).await.map_err(Exit::Unavailable.because())?);
        let config = sandbox.write_configuration().map_err(Exit::Io.because())?;
        let control =
            Control::start(Arc::clone(&sandbox), args.control_port).await.map_err(Exit::Unavailable.because())?;
        publish(&sandbox, args.publish).await?;
        say(&announcement(&sandbox, control.address(), &config))?;
        crate::ops::systemd::ready();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(control);
        sandbox.stop().await;
        Ok(Exit::Ok.into())
    })
}

fn settings(args: &Args) -> SandboxSettings {
    SandboxSettings {
        authority_port: args.authority_port,
        tenant_port: args.tenant_port,
        broker_port: args.broker_port,
        blob_port: args.blob_port,
        bucket_port: args.bucket_port,
        fft_port: args.fft_port,
        webhook_port: args.webhook_port,
        webhook_speed: args.webhook_speed,
        broker_tls: args.tls,
        blob_tls: args.tls,
        sas_lifetime: Duration::from_secs(args.token_lifetime),
        ..SandboxSettings::new(&args.dir)
    }
}

async fn publish(sandbox: &Sandbox, files: u32) -> anyhow::Result<()> {
    for (number, kind) in (0..files).zip(Kind::ALL.into_iter().cycle()) {
        let spec = SampleSpec { first: u64::from(number) * 1_000, ..SampleSpec::new(kind, 1_000) };
        sandbox.publish(PublishRequest::samples(spec, 1)).await?;
    }
    Ok(())
}

/// Prints `text`. A reader that has gone away (`longshore sandbox | head -1`) has read what it wanted.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Exit::Io.because()(error)).context("standard output cannot be written")
        }
        _ => Ok(()),
    }
}

fn announcement(sandbox: &Sandbox, control: SocketAddr, config: &Path) -> String {
    let broker = sandbox.broker();
    let address = match (broker.plain_address(), broker.tls_address()) {
        (Some(plain), _) => format!("amqp://{plain}"),
        (None, Some(tls)) => format!("amqps://{tls}"),
        (None, None) => "nowhere".to_owned(),
    };
    format!(
        "\
The vendor's side runs on this machine, for this machine only. Ctrl-C ends it.

  Entra authority  {authority}
  TenantService    {tenant}
  Service Bus      {address}  {subscription}
  blob store       {blobs}
  bucket           {bucket}  {bucket_name}
  subscriptions    {fft}  the webhook's events: sent to whom they name, such as {webhook}
  daily zips       {drop}
  control API      http://{control}/

The daemon, against it, and what its webhook is to be sent:
  longshore --config {config} run
  longshore --config {config} subscriptions apply --yes

Publish, and make trouble (http://{control}/ lists it all):
  curl -d '{{\"file\": {{\"sample\": {{\"kind\": \"items\", \"records\": 1000}}}}, \"files\": 3}}' http://{control}/publish
  curl -d '{{\"file\": {{\"ugly\": {{\"way\": \"truncated-gzip\"}}}}}}' http://{control}/publish
  curl -X POST http://{control}/rotate-keys
  curl -d '{{\"fault\": \"status\", \"status\": 503, \"requests\": 3}}' http://{control}/blob-faults
  curl -d '{{\"events\": 1000}}' http://{control}/bucket/publish
  curl -d '{{\"events\": 10, \"times\": 2}}' http://{control}/send
  curl -d '{{\"rows\": 1000, \"broken_rows\": 2}}' http://{control}/drop
  curl http://{control}/state
",
        authority = sandbox.authority(),
        tenant = sandbox.tenant_service(),
        subscription = sandbox.subscription_path(),
        blobs = sandbox.blob_base(),
        bucket = sandbox.bucket_url(),
        bucket_name = sandbox.settings().bucket,
        fft = sandbox.fft().base(),
        webhook = sandbox.webhook_url(),
        drop = sandbox.drop_folder().display(),
        config = config.display(),
    )
}
