//! A TCP proxy that breaks connections, or holds them, after a number of bytes from the server; it goes between us and
//! an FTP server as well, whose files and listings come on connections of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::common::wait::in_time;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Manner {
    Pass,
    HoldAfter(usize),
    /// One connection is cut off there; the next pass.
    BreakOnceAfter(usize),
    /// What the server says once this file is gone is held.
    HoldOnceGone(PathBuf),
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    manner: watch::Sender<Manner>,
    /// How many connections were held or broken.
    struck: watch::Sender<u32>,
    /// Whether the server says on which other port a file or listing comes.
    is_ftp: bool,
}

impl Proxy {
    pub fn start(to: u16) -> Self {
        Self::before(to, false)
    }

    /// A proxy before an FTP server without TLS.
    pub fn of_ftp(to: u16) -> Self {
        Self::before(to, true)
    }

    fn before(to: u16, is_ftp: bool) -> Self {
        let shared =
            Arc::new(Shared { manner: watch::Sender::new(Manner::Pass), struck: watch::Sender::new(0), is_ftp });
        Self { port: listen(to, Arc::clone(&shared), true), shared }
    }

    pub fn hold_after(&self, bytes: usize) {
        self.set(Manner::HoldAfter(bytes));
    }

    pub fn break_once_after(&self, bytes: usize) {
        self.set(Manner::BreakOnceAfter(bytes));
    }

    /// Holds the answer to whatever takes this file away.
    pub fn hold_once_gone(&self, file: &Path) {
        self.set(Manner::HoldOnceGone(file.to_owned()));
    }

    pub fn let_go(&self) {
        self.shared.manner.send_replace(Manner::Pass);
    }

    fn set(&self, manner: Manner) {
        self.shared.struck.send_replace(0);
        self.shared.manner.send_replace(manner);
    }

    /// Waits until a connection is held or was broken.
    pub async fn held(&self) {
        let mut struck = self.shared.struck.subscribe();
        let waiting = struck.wait_for(|struck| *struck > 0);
        drop(in_time("a connection is held", waiting).await.expect("the proxy lives"));
    }
}

/// Carries connections to the port `to`; returns where it listens. One that is not `forever` carries just one.
fn listen(to: u16, shared: Arc<Shared>, forever: bool) -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("it can be waited for");
    let listener = TcpListener::from_std(listener).expect("a listener");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A server that is gone is one that nobody reaches.
            if let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await {
                tokio::spawn(carry(client, server, Arc::clone(&shared), forever));
            }
            if !forever {
                break;
            }
        }
    });
    port
}

async fn carry(client: TcpStream, server: TcpStream, shared: Arc<Shared>, is_control: bool) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
    });
    let mut carried = 0;
    let mut piece = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from_server.read(&mut piece).await {
        let before = carried;
        carried += count;
        let mut said = piece[..count].to_vec();
        if shared.is_ftp && is_control {
            said = by_way_of_us(said, &shared);
        }
        let now = shared.manner.borrow().clone();
        let is_held = match &now {
            Manner::HoldAfter(bytes) => carried > *bytes,
            Manner::HoldOnceGone(file) => !file.exists(),
            Manner::BreakOnceAfter(bytes) if carried > *bytes => {
                shared.manner.send_replace(Manner::Pass);
                let _ = to_client.write_all(&said[..(bytes - before).min(said.len())]).await;
                shared.struck.send_modify(|struck| *struck += 1);
                break;
            }
            _ => false,
        };
        if is_held {
            shared.struck.send_modify(|struck| *struck += 1);
            let mut changes = shared.manner.subscribe();
            let _ = changes.wait_for(|manner| *manner == Manner::Pass).await;
        }
        if to_client.write_all(&said).await.is_err() {
            break;
        }
    }
    up.abort();
}

/// An answer of an FTP server, and if it names the port of a file or listing, one of ours that leads there.
fn by_way_of_us(said: Vec<u8>, shared: &Arc<Shared>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&said);
    let Some((head, rest)) = text.split_once("(|||") else { return said };
    let Some((port, tail)) = rest.split_once('|') else { return said };
    let Ok(port) = port.parse() else { return said };
    let ours = listen(port, Arc::clone(shared), false);
    format!("{head}(|||{ours}|{tail}").into_bytes()
}
