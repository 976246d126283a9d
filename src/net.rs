//! The one way to the network: TLS roots, the HTTP client, and the rule that plain connections go to loopback only.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::{Host, Url};

use crate::error::chain;

/// Why a connection cannot even be prepared.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The CA file of the configuration cannot be used.
    #[error("the CA file {path} cannot be read as PEM certificates: {reason}")]
    CaFile {
        /// The file that the configuration names.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no usable trust store and no CA file is configured.
    #[error("no trusted root certificate was found on this system; install ca-certificates or set `ca_file`")]
    NoRoots,
    /// The environment names a proxy that cannot be one. Its address may hold a password, and so is not told.
    #[error("the proxy that the variable {variable} names cannot be used: write it as http://host:port")]
    Proxy {
        /// The environment variable.
        variable: &'static str,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built: {0}")]
    Client(String),
}

/// TLS that checks a server's certificate against the system's roots and those in `ca_file`.
///
/// There is no switch that turns the check off.
///
/// # Errors
/// When the CA file cannot be read, or when there is no root at all.
pub fn tls_config(ca_file: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, NetError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| NetError::Client(e.to_string()))?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The roots, which all who trust the same ones share: the system's alone are more than a hundred certificates.
fn roots(ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, NetError> {
    // By what the CA file holds, not by its name: it may have been replaced.
    static SHARED: Mutex<Vec<(Vec<u8>, Weak<RootCertStore>)>> = Mutex::new(Vec::new());
    let own = match ca_file {
        Some(path) => std::fs::read(path)
            .map_err(|error| NetError::CaFile { path: path.to_owned(), reason: error.to_string() })?,
        None => Vec::new(),
    };
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.retain(|(_, roots)| roots.strong_count() > 0);
    let found = shared.iter().find(|(of, _)| *of == own).and_then(|(_, roots)| roots.upgrade());
    if let Some(roots) = found {
        return Ok(roots);
    }
    let roots = Arc::new(read_roots(&own, ca_file)?);
    shared.push((own, Arc::downgrade(&roots)));
    Ok(roots)
}

/// The system's roots, and those in `own`, which is what `ca_file` holds.
fn read_roots(own: &[u8], ca_file: Option<&Path>) -> Result<RootCertStore, NetError> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // A system store may hold a root that rustls does not understand; the others still count.
        let _ = roots.add(certificate);
    }
    if let Some(path) = ca_file {
        let fail = |reason: String| NetError::CaFile { path: path.to_owned(), reason };
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(own) {
            let certificate = certificate.map_err(|e| fail(e.to_string()))?;
            roots.add(certificate).map_err(|e| fail(e.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(fail("it holds no certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(NetError::NoRoots);
    }
    Ok(roots)
}

/// Limits of an HTTP client.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// How long a connection may take to open.
    pub connect: Duration,
    /// How long a read may stand still before the request fails.
    pub idle: Duration,
    /// How long a whole request may take; `None` for bodies of any length.
    pub total: Option<Duration>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30), total: Some(Duration::from_secs(60)) }
    }
}

/// An HTTP client that follows no redirect (a token must not travel), undoes no `Content-Encoding` (the payload room
/// decides on the bytes), and checks certificates against [`tls_config`]. It goes through the proxy that `HTTPS_PROXY`
/// (or `ALL_PROXY`) names for https, less what `NO_PROXY` lists; plain http, which is for loopback only, never does,
/// since a proxy would read its tokens, and neither does any other request to loopback.
///
/// # Errors
/// When the roots or the client cannot be made.
pub fn http_client(ca_file: Option<&Path>, limits: HttpLimits) -> Result<reqwest::Client, NetError> {
    client(ca_file, limits, proxy_of_environment()?)
}

/// The first of these variables that is set and not empty.
fn variable(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| {
        let value = std::env::var(name).ok().filter(|value| !value.trim().is_empty())?;
        Some((*name, value))
    })
}

fn proxy_of_environment() -> Result<Option<reqwest::Proxy>, NetError> {
    let Some((variable_name, address)) = variable(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) else {
        return Ok(None);
    };
    let direct = variable(&["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default();
    proxy(&address, &direct).map(Some).map_err(|_| NetError::Proxy { variable: variable_name })
}

/// The proxy at `address` for https, less the hosts of `direct` (a list as in `NO_PROXY`) and loopback.
fn proxy(address: &str, direct: &str) -> reqwest::Result<reqwest::Proxy> {
    let direct = reqwest::NoProxy::from_string(&format!("localhost,127.0.0.0/8,::1,{direct}"));
    Ok(reqwest::Proxy::https(address)?.no_proxy(direct))
}

fn client(
    ca_file: Option<&Path>,
    limits: HttpLimits,
    proxy: Option<reqwest::Proxy>,
) -> Result<reqwest::Client, NetError> {
    let tls = tls_config(ca_file)?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(limits.connect)
        .read_timeout(limits.idle)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")));
    // What reqwest would take from the environment by itself includes a proxy for plain http.
    builder = builder.no_proxy();
    if let Some(proxy) = proxy {
        builder = builder.proxy(proxy);
    }
    if let Some(total) = limits.total {
        builder = builder.timeout(total);
    }
    builder.build().map_err(|e| NetError::Client(e.to_string()))
}

/// Whether `host` (a name or an address, as it stands in a URL) is this machine's loopback.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether `url` may be called: `https`, or `http` to a loopback address.
#[must_use]
pub fn is_allowed(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(name))) => is_loopback(name),
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

/// The whole body of an answer, if it is no longer than `bytes_max`.
///
/// # Errors
/// One line for people, without the address: the connection broke, or the body is longer.
pub async fn read_bounded(answer: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| chain(&e.without_url()))?;
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("its answer is longer than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_tunnel_to_https_elsewhere_and_for_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let proxy = proxy(&address, "direct.example").expect("an address");
        let client = client(None, HttpLimits::default(), Some(proxy)).expect("a client");
        let asked = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.expect("a line");
            line
        };
        let request = client.get("https://vendor.example/x?sig=secret").send();
        let (asked, answered) = tokio::join!(asked, request);
        assert_eq!(asked, "CONNECT vendor.example:443 HTTP/1.1\r\n", "no address and no token, only the host");
        answered.expect_err("the proxy hung up");

        // A port on which nobody listens by now.
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = held.local_addr().expect("bound").port();
        drop(held);
        for direct in [format!("http://127.0.0.1:{port}/"), format!("https://localhost:{port}/")] {
            let refused = client.get(&direct).send().await.expect_err("nobody listens there");
            assert!(refused.is_connect(), "{refused:?}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(nobody.is_err(), "loopback was asked for through the proxy");
    }

    #[test]
    fn roots_are_shared_until_the_ca_file_holds_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let write = || {
            let key = rcgen::KeyPair::generate().expect("a key");
            let parameters = rcgen::CertificateParams::new(["ca".to_owned()]).expect("a name");
            std::fs::write(&path, parameters.self_signed(&key).expect("a certificate").pem()).expect("written");
        };
        write();
        let first = roots(Some(&path)).expect("roots");
        assert!(Arc::ptr_eq(&first, &roots(Some(&path)).expect("roots")));
        write();
        let second = roots(Some(&path)).expect("roots");
        assert!(!Arc::ptr_eq(&first, &second), "the file was replaced");
        assert_ne!(first.subjects().len(), 0);
    }

    #[test]
    fn plain_http_goes_to_loopback_only() {
        let allowed = |text: &str| is_allowed(&Url::parse(text).expect("test URL"));
        assert!(allowed("https://example.com/x"));
        assert!(allowed("http://127.0.0.1:10000/x"));
        assert!(allowed("http://[::1]/x"));
        assert!(allowed("http://localhost/x"));
        assert!(!allowed("http://example.com/x"));
        assert!(!allowed("http://localhost.example.com/x"));
        assert!(!allowed("ftp://127.0.0.1/x"));
    }
}
