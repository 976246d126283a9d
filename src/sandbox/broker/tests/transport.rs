use std::net::SocketAddr;
use std::sync::Arc;

use fe2o3_amqp_ws::WebSocketStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{Client, SUBSCRIPTION, id, in_seconds, publish, receive, settings, start, within};
use crate::sandbox::broker::{Broker, BrokerSettings};

async fn receives<S>(broker: &Broker, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin + std::fmt::Debug + 'static,
{
    let mut client = Client::open(stream).await;
    let token = broker.key().token("sb://127.0.0.1/", in_seconds(600));
    client.put_token("sb://127.0.0.1/", &token).await.unwrap();
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    publish(broker, &["a"]);
    let delivery = receive(&mut receiver).await;
    assert_eq!(id(&delivery), "a");
    within(receiver.accept(&delivery)).await.unwrap();
    super::client::settled(broker, |state| state.completed == 1).await;
}

#[tokio::test]
async fn amqp_is_served_over_a_websocket_on_the_same_port() {
    let broker = start().await;
    let address = format!("ws://{}/$servicebus/websocket/", broker.plain_address().unwrap());
    let stream = within(WebSocketStream::connect(address)).await.unwrap();
    receives(&broker, stream).await;
}

#[tokio::test]
async fn a_websocket_elsewhere_is_refused() {
    let broker = start().await;
    let address = format!("ws://{}/other/", broker.plain_address().unwrap());
    let error = within(WebSocketStream::connect(address)).await.unwrap_err();
    assert!(format!("{error:?}").contains("404"), "{error:?}");
}

#[tokio::test]
async fn amqp_is_served_over_tls() {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = BrokerSettings { tls: Some((free, Arc::new(server))), ..settings() };
    let broker = Broker::start(settings).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(broker.tls_address().unwrap()).await.unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let stream = within(connector.connect("localhost".try_into().unwrap(), stream)).await.unwrap();
    receives(&broker, stream).await;
}

#[tokio::test]
async fn a_peer_of_another_protocol_is_told_ours_and_let_go() {
    let broker = start().await;
    let mut stream = TcpStream::connect(broker.plain_address().unwrap()).await.unwrap();
    stream.write_all(b"AMQP\x00\x00\x09\x01").await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"AMQP\x03\x01\x00\x00");
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_connection_with_a_reason() {
    let broker = start().await;
    let mut stream = TcpStream::connect(broker.plain_address().unwrap()).await.unwrap();
    stream.write_all(b"AMQP\x00\x01\x00\x00").await.unwrap();
    stream.write_all(&[0x7f, 0, 0, 0, 2, 0, 0, 0]).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"AMQP\x00\x01\x00\x00"));
}

#[tokio::test]
async fn a_silent_peer_is_given_up_and_one_that_beats_is_kept() {
    // The client beats at half of this, and is given up after twice: a busy machine may hold it up for the rest.
    let idle_timeout = std::time::Duration::from_secs(2);
    let broker = Broker::start(BrokerSettings { idle_timeout, ..settings() }).await.unwrap();
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    let mut silent = TcpStream::connect(broker.plain_address().unwrap()).await.unwrap();
    silent.write_all(b"AMQP\x00\x01\x00\x00").await.unwrap();
    broker.wait_until(super::client::LIMIT, |state| state.connections == 2).await.unwrap();
    broker.wait_until(super::client::LIMIT, |state| state.connections == 1).await.unwrap();
    publish(&broker, &["a"]);
    assert_eq!(id(&receive(&mut receiver).await), "a");
}
