//! Loopback: addresses, a client, and certificates.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use longshore::net::{HttpLimits, http_client};
use rcgen::{CertifiedKey, KeyPair};

/// An address that was free a moment ago, for who is told where to listen, and comes back to it when started anew. The
/// system hands out others first.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}

/// Ends once somebody listens on `address`.
pub async fn listening(address: SocketAddr) {
    let mut looks = super::wait::looks();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        looks.tick().await;
    }
}

/// A client as the program has them.
pub fn client() -> reqwest::Client {
    http_client(None, HttpLimits::default()).expect("a client")
}

/// A client that trusts the certificate in `ca_file`.
pub fn client_of(ca_file: &Path) -> reqwest::Client {
    http_client(Some(ca_file), HttpLimits::default()).expect("a client")
}

/// A self-signed certificate of `localhost` and 127.0.0.1.
pub fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost", "127.0.0.1"].map(str::to_owned)).expect("a certificate")
}

/// A server that shows this certificate.
pub fn server_of(made: &CertifiedKey<KeyPair>) -> Arc<rustls::ServerConfig> {
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a key that fits");
    Arc::new(config)
}
