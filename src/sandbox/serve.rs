//! Serving HTTP on loopback, plain or over TLS, until the sandbox stops.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::SandboxError;

/// More handshakes than this at the same time wait; a test that opens thousands of connections stays within memory.
const HANDSHAKES_MAX: usize = 256;
/// A client that opens a connection and says nothing gives up its place after this time.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Locks `mutex`. A panic elsewhere does not spoil the sandbox's state: every change to it is a single assignment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds a loopback port; `0` takes a free one.
pub(super) async fn bind(what: &'static str, port: u16) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let fail = |source| SandboxError::Listen { what, port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

/// Takes a loopback port for a server of the daemon's, which is started later; `0` takes a free one. While the socket
/// lives, nobody is given that port who asks for any: on Linux, whoever names it and sets `SO_REUSEADDR`, as servers do,
/// may listen there all the same. Elsewhere there is no such hold, and no socket.
pub(super) fn reserve(what: &'static str, port: u16) -> Result<(Option<TcpSocket>, SocketAddr), SandboxError> {
    let fail = |source| SandboxError::Listen { what, port, source };
    let socket = TcpSocket::new_v4().map_err(fail)?;
    socket.set_reuseaddr(true).map_err(fail)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(fail)?;
    let address = socket.local_addr().map_err(fail)?;
    Ok((cfg!(target_os = "linux").then_some(socket), address))
}

/// Serves `app` on `listener` until `stop`, and then until its open connections are done.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    app: Router,
    stop: CancellationToken,
) {
    let stopped = stop.clone().cancelled_owned();
    let ended = match tls {
        None => axum::serve(listener, app).with_graceful_shutdown(stopped).await,
        Some(config) => match TlsListener::start(listener, config, stop) {
            Ok(listener) => axum::serve(listener, app).with_graceful_shutdown(stopped).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = ended {
        tracing::error!(%error, "the sandbox stopped listening");
    }
}

/// Accepts connections and makes TLS of them aside, so that one slow handshake holds up nobody.
struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    fn start(
        mut listener: TcpListener,
        config: Arc<rustls::ServerConfig>,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(config);
        let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let (done, ready) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let accepted = async {
                    let place = Arc::clone(&places).acquire_owned().await;
                    // The trait's accept logs and tries again by itself when the process is out of file handles.
                    (Listener::accept(&mut listener).await, place)
                };
                let ((stream, peer), place) = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = accepted => accepted,
                };
                let acceptor = acceptor.clone();
                let done = done.clone();
                tokio::spawn(async move {
                    let _place = place;
                    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                        // A closed channel means that the sandbox stops: the connection goes with it.
                        Ok(Ok(stream)) => drop(done.send((stream, peer)).await),
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                    }
                });
            }
        });
        Ok(Self { ready, address })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task ends only when the sandbox stops, and then the server is told so as well.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
