//! AMQP over a WebSocket: the bytes of the stream in binary messages, cut anywhere
//! (<https://docs.oasis-open.org/amqp-bindmap/amqp-wsb/v1.0/amqp-wsb-v1.0.html>).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Where Service Bus serves AMQP over WebSocket.
const PATH: &str = "/$servicebus/websocket";
/// The name that the standard gives, and the one that Microsoft's SDKs still send.
const SUBPROTOCOLS: [&str; 2] = ["amqp", "AMQPWSB10"];
const SUBPROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";

/// Answers the HTTP request that opens a WebSocket.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> io::Result<WebSocketBytes<S>> {
    let inner = tokio_tungstenite::accept_hdr_async(stream, check).await.map_err(io_error)?;
    Ok(WebSocketBytes { inner, unread: Bytes::new() })
}

#[expect(clippy::result_large_err, reason = "the handshake's callback has this signature")]
fn check(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let refuse = |status, text: &str| {
        let mut refusal = ErrorResponse::new(Some(text.to_owned()));
        *refusal.status_mut() = status;
        Err(refusal)
    };
    if request.uri().path().trim_end_matches('/') != PATH {
        return refuse(StatusCode::NOT_FOUND, "AMQP is served at /$servicebus/websocket/");
    }
    let offered = request.headers().get_all(SUBPROTOCOL_HEADER);
    let mut offered = offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let known = offered.find_map(|name| SUBPROTOCOLS.iter().find(|known| name.trim().eq_ignore_ascii_case(known)));
    let Some(known) = known else {
        return refuse(StatusCode::BAD_REQUEST, "the subprotocol must be amqp");
    };
    response.headers_mut().insert(SUBPROTOCOL_HEADER, HeaderValue::from_static(known));
    Ok(response)
}

/// A WebSocket as a stream of bytes.
pub(super) struct WebSocketBytes<S> {
    inner: WebSocketStream<S>,
    unread: Bytes,
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Close(_))) | None | Some(Err(Error::ConnectionClosed)) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a text message carries no AMQP",
                    )));
                }
                // Pings are answered by the library on the next read or flush.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.inner).poll_ready(context)).map_err(io_error)?;
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.inner).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context).map_err(io_error)
    }
}
