//! The stream under AMQP: TCP that knows when it was last heard and can be cut off at once, then TLS or a WebSocket.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use fe2o3_amqp_ws::WebSocketStream;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::access::ServiceBusAccess;
use crate::feed::service_bus::fault::Fault;
use crate::feed::service_bus::{ServiceBusSettings, Transport};
use crate::net;

/// Where a connection goes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) web_socket: bool,
}

impl Route {
    /// The way to the place that the token names. Plain connections go to loopback only, and only when the connection
    /// string says `UseDevelopmentEmulator=true`.
    pub(super) fn new(access: &ServiceBusAccess, transport: Transport) -> Result<Self, Fault> {
        let host = access.host.clone();
        let tls = !access.development_emulator;
        if !tls && !net::is_loopback(&host) {
            return Err(Fault::NotAllowed(format!(
                "the connection string asks for a plain connection to {host}, which is not this machine; refused"
            )));
        }
        let web_socket = transport == Transport::WebSocket;
        let usual = match (web_socket, tls) {
            (false, true) => 5671,
            (false, false) => 5672,
            (true, true) => 443,
            (true, false) => 80,
        };
        Ok(Self { host, port: access.port.unwrap_or(usual), tls, web_socket })
    }

    /// The host as it stands in a URL or after `@`: an IPv6 address in brackets.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// For people, such as `acme.servicebus.windows.net:5671`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Any byte stream that can carry AMQP.
pub(super) trait Carrier: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Carrier for T {}

/// Opens TCP; [`Pulse`] tells how it is.
pub(super) async fn open_tcp(route: &Route) -> Result<(LiveStream, Pulse), Fault> {
    let tcp = TcpStream::connect((route.bare_host(), route.port))
        .await
        .map_err(|error| Fault::failed("connecting", &error))?;
    // A settlement is a small frame that must not wait for the next one.
    tcp.set_nodelay(true).map_err(|error| Fault::failed("connecting", &error))?;
    let pulse = Pulse::new();
    Ok((LiveStream { tcp, pulse: pulse.clone(), cut: Box::pin(pulse.cut.clone().cancelled_owned()) }, pulse))
}

/// Puts TLS (checked against the system's roots and `ca_file`) and the WebSocket over `tcp`, as `route` says.
pub(super) async fn dress(
    tcp: LiveStream,
    route: &Route,
    settings: &ServiceBusSettings,
) -> Result<Box<dyn Carrier>, Fault> {
    let secure: Box<dyn Carrier> = if route.tls {
        let ca_file = settings.ca_file.clone();
        // Reads the system's store from disk, each time anew: a root that was added counts without a restart.
        let config = tokio::task::spawn_blocking(move || net::tls_config(ca_file.as_deref()))
            .await
            .expect("reading the root certificates does not panic")
            .map_err(|error| Fault::failed("preparing TLS", &error))?;
        let name = ServerName::try_from(route.bare_host().to_owned())
            .map_err(|error| Fault::failed("preparing TLS", &error))?;
        let stream =
            TlsConnector::from(config).connect(name, tcp).await.map_err(|error| Fault::failed("TLS", &error))?;
        Box::new(stream)
    } else {
        Box::new(tcp)
    };
    if !route.web_socket {
        return Ok(secure);
    }
    let scheme = if route.tls { "wss" } else { "ws" };
    let address = format!("{scheme}://{route}/$servicebus/websocket/");
    let socket = WebSocketStream::connect_with_stream(address, secure)
        .await
        .map_err(|error| Fault::failed("opening the WebSocket", &error))?;
    Ok(Box::new(socket))
}

/// Tells when a stream was last heard, and cuts it off.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    start: Instant,
    heard_ms: Arc<AtomicU64>,
    cut: CancellationToken,
}

impl Pulse {
    fn new() -> Self {
        Self { start: Instant::now(), heard_ms: Arc::default(), cut: CancellationToken::new() }
    }

    /// For how long nothing has been heard.
    pub(super) fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// Ends the stream: whoever reads or writes it gets an error at once. Without this, the library's engine would
    /// wait for the answer of a broker that may never come.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    fn beat(&self) {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// TCP with a [`Pulse`].
pub(super) struct LiveStream {
    tcp: TcpStream,
    pulse: Pulse,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl fmt::Debug for LiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveStream")
    }
}

impl LiveStream {
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut off on our side")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for LiveStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_cut(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.tcp).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.pulse.beat();
        }
        read
    }
}

impl AsyncWrite for LiveStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.poll_cut(cx)?;
        Pin::new(&mut this.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_cut(cx)?;
        Pin::new(&mut this.tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn access(host: &str, port: Option<u16>, development_emulator: bool) -> ServiceBusAccess {
        ServiceBusAccess {
            host: host.to_owned(),
            port,
            development_emulator,
            topic: "t".to_owned(),
            subscription: "s".to_owned(),
            sas: Secret::new("SharedAccessSignature sr=x&sig=y&se=1"),
            audience: "x".to_owned(),
            expires: None,
        }
    }

    #[test]
    fn a_plain_connection_goes_to_loopback_only() {
        let route = |host, port, emulator, transport| {
            Route::new(&access(host, port, emulator), transport).map(|route| (route.port, route.tls))
        };
        assert_eq!(route("a.example", None, false, Transport::Amqp).expect("allowed"), (5671, true));
        assert_eq!(route("a.example", None, false, Transport::WebSocket).expect("allowed"), (443, true));
        assert_eq!(route("127.0.0.1", Some(1234), true, Transport::Amqp).expect("allowed"), (1234, false));
        assert!(matches!(route("a.example", Some(5672), true, Transport::Amqp), Err(Fault::NotAllowed(_))));
        assert!(matches!(route("127.0.0.1.a.example", None, true, Transport::WebSocket), Err(Fault::NotAllowed(_))));
    }
}
