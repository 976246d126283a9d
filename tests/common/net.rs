//! Loopback: addresses, a client, and certificates.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use longshore::net::{HttpLimits, http_client};
use rcgen::{CertifiedKey, KeyPair};

/// Ports below those that systems give to whoever asks for any: none of them is taken for an outgoing connection.
const PORTS: Range<u16> = 20_000..30_000;

/// What is held until the process ends.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// An address for who is told where to listen, and comes back to it when started anew. No other caller of this is given
/// it, in any process, until this one ends: each port is held by a lock on a file of its name. Whoever takes ports
/// without asking here is seen at this moment, and not later.
pub fn free_address() -> SocketAddr {
    let folder = std::env::temp_dir().join(format!("longshore-ports-{}", rustix::process::getuid().as_raw()));
    std::fs::create_dir_all(&folder).expect("a folder");
    for _ in PORTS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS)));
        let name = folder.join(address.port().to_string());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(name).expect("a file for the port");
        if file.try_lock().is_ok() && TcpListener::bind(address).is_ok() {
            HELD.lock().expect("unharmed").push(file);
            return address;
        }
    }
    panic!("none of the ports {PORTS:?} is free");
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
