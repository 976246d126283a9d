//! A network that lies: a proxy between the daemon and one of the vendor's servers.
//!
//! What it does is set for all connections at once and holds for the bytes that come from then on. A connection that
//! was swallowed or cut stays so: when the weather is good again, only new connections get through.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// What is done to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Good,
    /// A new connection is reset before it carries a byte; the others go on.
    Refusing,
    /// Every connection is reset, and every new one.
    Resetting,
    /// Nothing passes and nobody is told: the other side looks alive, and is not.
    HalfOpen,
    /// So many bytes a second in each direction of each connection.
    Slow(u32),
    /// A new connection is reset once so many bytes came from the server.
    CutAfter(u32),
}

/// A place to connect to, and the way on from there.
pub struct Proxy {
    address: SocketAddr,
    server: Arc<OnceLock<SocketAddr>>,
    weather: watch::Sender<Weather>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy on a free port; it leads nowhere before [`Proxy::lead_to`].
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Arc::new(OnceLock::new());
        let weather = watch::Sender::new(Weather::Good);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&server), weather.clone()));
        Self { address, server, weather, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Where the daemon connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.set(server).expect("it is told once");
    }

    /// Changes the weather for every connection.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn accept(listener: TcpListener, server: Arc<OnceLock<SocketAddr>>, weather: watch::Sender<Weather>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let now = *weather.borrow();
        let server = server.get().copied();
        if matches!(now, Weather::Refusing | Weather::Resetting) {
            reset(client);
            continue;
        }
        let Some(server) = server else { continue };
        let weather = weather.subscribe();
        tokio::spawn(async move {
            // A server that is gone is told to the client as it would be without us.
            match TcpStream::connect(server).await {
                Ok(server) => carry(client, server, weather, now).await,
                Err(_) => reset(client),
            }
        });
    }
}

/// Ends a connection the hard way: the other side reads an error, not an end.
fn reset(stream: TcpStream) {
    // Fails only where the connection is gone already.
    let _ = stream.set_zero_linger();
}

async fn carry(client: TcpStream, server: TcpStream, weather: watch::Receiver<Weather>, at_first: Weather) {
    let cut_after = match at_first {
        Weather::CutAfter(bytes) => Some(u64::from(bytes)),
        _ => None,
    };
    let broken = CancellationToken::new();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = Direction { from: from_client, to: to_server, weather: weather.clone(), cut_after: None };
    let back = Direction { from: from_server, to: to_client, weather, cut_after };
    let (there, back) = tokio::join!(there.pump(&broken), back.pump(&broken));
    if broken.is_cancelled() {
        for (from, to) in [(there.from, back.to), (back.from, there.to)] {
            if let Ok(stream) = from.reunite(to) {
                reset(stream);
            }
        }
    }
}

/// One direction of a connection.
struct Direction {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    weather: watch::Receiver<Weather>,
    cut_after: Option<u64>,
}

impl Direction {
    /// Carries bytes until either side ends or `broken` says that the connection is to be reset.
    async fn pump(mut self, broken: &CancellationToken) -> Self {
        let mut buffer = vec![0; 16 * 1024];
        let mut is_swallowing = false;
        loop {
            let now = *self.weather.borrow_and_update();
            match now {
                Weather::Resetting => broken.cancel(),
                Weather::HalfOpen => is_swallowing = true,
                _ => {}
            }
            let most = match now {
                // Small pieces look like a slow line, and not like one that stands still.
                Weather::Slow(bytes_per_second) => (bytes_per_second as usize / 20).clamp(1, buffer.len()),
                _ => buffer.len(),
            };
            let read = tokio::select! {
                () = broken.cancelled() => return self,
                // The sender goes with the proxy, and then the connection goes as well.
                changed = self.weather.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return self,
                },
                read = self.from.read(&mut buffer[..most]) => read,
            };
            let Ok(count @ 1..) = read else { break };
            if is_swallowing {
                continue;
            }
            let count = match &mut self.cut_after {
                Some(left) => {
                    let kept = count.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= kept as u64;
                    kept
                }
                None => count,
            };
            if let Weather::Slow(bytes_per_second) = now {
                let due = Duration::from_secs_f64(count as f64 / f64::from(bytes_per_second.max(1)));
                tokio::select! {
                    () = broken.cancelled() => return self,
                    () = tokio::time::sleep(due) => {}
                }
            }
            if self.to.write_all(&buffer[..count]).await.is_err() {
                break;
            }
            if self.cut_after == Some(0) {
                broken.cancel();
            }
        }
        if is_swallowing {
            // Whoever gave up is not told on: for the other side nothing has happened. Its time limits end it, or a reset.
            let reset = self.weather.wait_for(|now| *now == Weather::Resetting).await.is_ok();
            if reset {
                broken.cancel();
            }
            return self;
        }
        // The end is handed on; an error here means that the other side went first.
        let _ = self.to.shutdown().await;
        self
    }
}
