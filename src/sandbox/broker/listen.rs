//! The listeners: TCP, TLS, and on either a WebSocket for clients that begin with an HTTP request.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::shared::Shared;
use super::{BrokerError, connection, web_socket};

/// A client must get through TLS and the first bytes within this time.
const GREETING_MAX: Duration = Duration::from_secs(30);
/// After a failed accept the listener rests for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Opens the listeners of the settings; returns where they are, the one without TLS first.
pub(super) async fn start(shared: &Arc<Shared>) -> Result<(Option<SocketAddr>, Option<SocketAddr>), BrokerError> {
    let plain = match shared.settings.plain {
        Some(address) => Some(listen(shared, address, None).await?),
        None => None,
    };
    let tls = match &shared.settings.tls {
        Some((address, config)) => {
            let acceptor = TlsAcceptor::from(Arc::clone(config));
            Some(listen(shared, *address, Some(acceptor)).await?)
        }
        None => None,
    };
    Ok((plain, tls))
}

async fn listen(
    shared: &Arc<Shared>,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
) -> Result<SocketAddr, BrokerError> {
    let failed = |source| BrokerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    shared.tasks.spawn(accept(Arc::clone(shared), listener, tls));
    Ok(bound)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                shared.tasks.spawn(greet(Arc::clone(&shared), stream, tls.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "the sandbox's broker could not accept a connection");
                // Out of file descriptors, most likely: others need time to close some.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Finds out what the client speaks, and serves it.
async fn greet(shared: Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    // Small frames must not wait for an acknowledgement; a socket that refuses this is only slower.
    stream.set_nodelay(true).unwrap_or_default();
    let result = match tls {
        None => serve(&shared, stream).await,
        Some(acceptor) => match within(&shared, acceptor.accept(stream)).await {
            Ok(stream) => serve(&shared, stream).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a client of the sandbox's broker did not get through the greeting");
    }
}

async fn within<T>(shared: &Shared, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::select! {
        result = tokio::time::timeout(GREETING_MAX, work) => result?,
        () = shared.stopping.cancelled() => Err(std::io::ErrorKind::Interrupted.into()),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(shared: &Arc<Shared>, mut stream: S) -> std::io::Result<()> {
    let mut first = [0; 4];
    within(shared, stream.read_exact(&mut first)).await?;
    let stream = Rewound { first, read: 0, stream };
    if &first == b"GET " {
        let stream = within(shared, web_socket::accept(stream)).await?;
        connection::serve(Arc::clone(shared), stream).await;
    } else {
        connection::serve(Arc::clone(shared), stream).await;
    }
    Ok(())
}

/// A stream whose first bytes were looked at and are read again.
struct Rewound<S> {
    first: [u8; 4],
    read: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let left = &self.first[self.read..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
