//! Connections: accepted up to a bound, dressed in TLS, each with its limits of time and size.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::WebhookLimits;
use super::certificate::Certificate;
use super::door::Door;

/// A handshake takes two round trips.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The headers of a request together; the vendor lets its users set some.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// What is read ahead of a connection.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// A connection ends after this time, between two requests: one whose peer does not read its answers holds a place for no
/// longer, and load balancers find new instances.
const LIFE_MAX: Duration = Duration::from_secs(3_600);
/// What is in hand at a stop, or at the end of a connection's life, is answered within this time, or not at all.
const END_MAX: Duration = Duration::from_secs(10);
/// After a failure to accept, as when the process is out of file handles.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Accepts and serves.
pub(super) struct Connections {
    limits: WebhookLimits,
    certificate: Option<Arc<Certificate>>,
    door: Arc<Door>,
    places: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(limits: WebhookLimits, certificate: Option<Arc<Certificate>>, door: Arc<Door>) -> Self {
        Self { limits, certificate, door, places: Arc::new(Semaphore::new(limits.connections_max)) }
    }

    /// Serves until `stop`, and then until what is in hand is answered.
    pub(super) async fn serve(&self, listener: TcpListener, stop: &CancellationToken) {
        let mut open = JoinSet::new();
        loop {
            let accepted = async {
                let place = Arc::clone(&self.places).acquire_owned().await;
                (listener.accept().await, place)
            };
            tokio::select! {
                () = stop.cancelled() => break,
                // Keeps the set as small as the number of open connections.
                Some(_) = open.join_next() => {}
                accepted = accepted => match accepted {
                    (Ok((stream, peer)), Ok(place)) => {
                        drop(open.spawn(self.connection(stream, peer, place, stop.clone())));
                    }
                    (Err(error), _) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                    (_, Err(_)) => unreachable!("nobody closes the semaphore"),
                },
            }
        }
        // Who comes now is refused at once, and comes again.
        drop(listener);
        let ended = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(END_MAX + Duration::from_secs(1), ended).await.is_err() {
            tracing::warn!(left = open.len(), "connections that did not end were cut");
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let door = Arc::clone(&self.door);
        let config = self.certificate.as_ref().map(|certificate| certificate.config());
        let idle = self.limits.idle_timeout;
        async move {
            let _place = place;
            // An answer is one small packet; waiting for more to send would only delay it.
            let _ = stream.set_nodelay(true);
            match config {
                None => serve(stream, peer.ip(), door, idle, stop).await,
                // Nothing can be shown yet: the sender comes again.
                Some(None) => {}
                Some(Some(config)) => {
                    let handshake = TlsAcceptor::from(config).accept(stream);
                    match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
                        Ok(Ok(stream)) => serve(stream, peer.ip(), door, idle, stop).await,
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                    }
                }
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: IpAddr,
    door: Arc<Door>,
    idle: Duration,
    stop: CancellationToken,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(door.answer(request, peer).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = tokio::time::sleep(LIFE_MAX) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(END_MAX, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "the connection ended");
    }
}
