//! For this room's tests: certificates made on the spot, and an authority with a TenantService on a loopback port over TLS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::clock::UnixMs;

/// 2023-11-14T22:13:20Z.
pub const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// A self-signed certificate with its key.
pub struct Issued {
    pub der: Vec<u8>,
    pub certificate_pem: String,
    pub key_pem: String,
}

/// RSA keys take long to make: each name has one for the whole test run, as if a certificate were renewed with its key.
fn rsa_key(name: &str) -> Arc<KeyPair> {
    static KEYS: LazyLock<Mutex<HashMap<String, Arc<KeyPair>>>> = LazyLock::new(Mutex::default);
    let mut keys = KEYS.lock().unwrap();
    let new = || Arc::new(KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key"));
    Arc::clone(keys.entry(name.to_owned()).or_insert_with(new))
}

impl Issued {
    /// An RSA certificate that is valid from so many days after `base` until so many.
    pub fn rsa(name: &str, base: UnixMs, from_days: i64, to_days: i64) -> Self {
        Self::new(&rsa_key(name), name, base, from_days, to_days)
    }

    pub fn ec(name: &str, base: UnixMs, from_days: i64, to_days: i64) -> Self {
        Self::new(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"), name, base, from_days, to_days)
    }

    fn new(key: &KeyPair, name: &str, base: UnixMs, from: i64, to: i64) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())];
        let day = |days: i64| {
            let seconds = base.0 / 1_000 + days * 86_400;
            x509_parser::time::ASN1Time::from_timestamp(seconds).expect("a time").to_datetime()
        };
        params.not_before = day(from);
        params.not_after = day(to);
        let certificate = params.self_signed(key).expect("a certificate");
        Self { der: certificate.der().to_vec(), certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// Writes certificate and key into one file.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(name), format!("{}{}", self.certificate_pem, self.key_pem)).expect("written");
    }
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub authorization: Option<String>,
    pub body: String,
}

impl Seen {
    /// A value of the form in the body.
    pub fn form(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.body.as_bytes()).find(|(key, _)| key == name).map(|(_, v)| v.into_owned())
    }

    /// The thumbprint and the algorithm of the assertion in the body.
    pub fn signed_by(&self) -> Option<(String, jsonwebtoken::Algorithm)> {
        let header = jsonwebtoken::decode_header(self.form("client_assertion")?).ok()?;
        Some((header.x5t_s256?, header.alg))
    }
}

/// What is answered.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Entra's answer with a token.
    pub fn token(token: &str, expires_in: u64) -> Self {
        Self::new(
            200,
            format!(
                r#"{{"token_type":"Bearer","expires_in":{expires_in},"ext_expires_in":{expires_in},"access_token":"{token}"}}"#
            ),
        )
    }

    /// Entra's answer to a refused certificate, with the line breaks of the real one.
    pub fn refused(code: u32) -> Self {
        Self::new(
            401,
            format!(
                r#"{{"error":"invalid_client","error_description":"AADSTS{code}: The certificate is not registered.\r\nTrace ID: 1\r\nTimestamp: 2","error_codes":[{code}]}}"#
            ),
        )
    }
}

type Handler = Box<dyn FnMut(&Seen) -> Reply + Send>;

/// A server on a loopback port, over TLS, that answers as it is told.
pub struct Server {
    /// `https://127.0.0.1:port`.
    pub url: Url,
    /// Holds `ca.pem`, which a client must trust.
    pub folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
    handler: Arc<Mutex<Handler>>,
    _stop: DropGuard,
}

impl Server {
    pub async fn start(handler: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let issued = Issued::ec("127.0.0.1", crate::clock::Clock::now(&crate::clock::SystemClock), -1, 2);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), &issued.certificate_pem).expect("written");
        let key =
            <PrivateKeyDer<'static> as rustls::pki_types::pem::PemObject>::from_pem_slice(issued.key_pem.as_bytes());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(issued.der)], key.expect("a key"))
            .expect("TLS");
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = Url::parse(&format!("https://{}", listener.local_addr().expect("an address"))).expect("a URL");
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Box::new(handler)));
        let stop = CancellationToken::new();
        let state = (Arc::clone(&seen), Arc::clone(&handler));
        let app = axum::Router::new().fallback(answer).with_state(state);
        let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(tls)) };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                served = axum::serve(listener, app) => served.expect("served"),
            }
        });
        Self { url, folder, seen, handler, _stop: stop.drop_guard() }
    }

    /// Answers differently from now on.
    pub fn handle(&self, handler: impl FnMut(&Seen) -> Reply + Send + 'static) {
        *self.handler.lock().unwrap() = Box::new(handler);
    }

    /// What arrived so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn ca_file(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn client(&self) -> reqwest::Client {
        crate::net::http_client(Some(&self.ca_file()), crate::net::HttpLimits::default()).expect("a client")
    }
}

type ServerState = (Arc<Mutex<Vec<Seen>>>, Arc<Mutex<Handler>>);

async fn answer(
    axum::extract::State((seen, handler)): axum::extract::State<ServerState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let request = Seen {
        path: uri.path().to_owned(),
        authorization: headers.get("authorization").map(|value| value.to_str().expect("text").to_owned()),
        body: String::from_utf8(body.to_vec()).expect("text"),
    };
    let reply = (handler.lock().unwrap())(&request);
    seen.lock().unwrap().push(request);
    let headers: HeaderMap = reply
        .headers
        .into_iter()
        .map(|(name, value)| (name.parse::<http::HeaderName>().expect("a name"), value.parse().expect("a value")))
        .collect();
    (StatusCode::from_u16(reply.status).expect("a status"), headers, reply.body)
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.expect("a connection");
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
