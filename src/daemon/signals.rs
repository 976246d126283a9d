//! TERM and INT: the first asks for a drain, the second ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was ended before its drain was over: 128 + SIGTERM, as a shell would report it.
const ENDED_AT_ONCE: i32 = 143;

/// Cancels the returned token at the first TERM or INT; the second exits the process.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        let name = either(&mut term, &mut int).await;
        tracing::info!(signal = name, "stopping: deliveries in progress may finish; a second signal ends at once");
        first.cancel();
        let name = either(&mut term, &mut int).await;
        tracing::warn!(signal = name, "ended at once; what was in progress is done again at the next start");
        std::process::exit(ENDED_AT_ONCE);
    });
    Ok(stop)
}

async fn either(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "TERM",
        _ = int.recv() => "INT",
    }
}
