//! A TCP proxy that breaks connections, or holds them, after a number of bytes from the server.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::world::LIMIT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Pass,
    HoldAfter(usize),
    /// One connection is cut off there; the next pass.
    BreakOnceAfter(usize),
}

pub struct Proxy {
    pub port: u16,
    manner: Arc<watch::Sender<Manner>>,
    /// How many connections were held or broken.
    struck: Arc<watch::Sender<u32>>,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let manner = Arc::new(watch::Sender::new(Manner::Pass));
        let struck = Arc::new(watch::Sender::new(0));
        let (manners, strikes) = (Arc::clone(&manner), Arc::clone(&struck));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to)).await.expect("the server");
                tokio::spawn(carry(client, server, Arc::clone(&manners), Arc::clone(&strikes)));
            }
        });
        Self { port, manner, struck }
    }

    pub fn hold_after(&self, bytes: usize) {
        self.manner.send_replace(Manner::HoldAfter(bytes));
    }

    pub fn break_once_after(&self, bytes: usize) {
        self.manner.send_replace(Manner::BreakOnceAfter(bytes));
    }

    pub fn let_go(&self) {
        self.manner.send_replace(Manner::Pass);
    }

    /// Waits until a connection is held or was broken.
    pub async fn held(&self) {
        let mut struck = self.struck.subscribe();
        let waiting = struck.wait_for(|struck| *struck > 0);
        drop(tokio::time::timeout(LIMIT, waiting).await.expect("in time").expect("the proxy lives"));
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    manner: Arc<watch::Sender<Manner>>,
    struck: Arc<watch::Sender<u32>>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    let mut carried = 0;
    let mut piece = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from_server.read(&mut piece).await {
        carried += count;
        let now = *manner.borrow();
        match now {
            Manner::HoldAfter(bytes) if carried > bytes => {
                struck.send_modify(|struck| *struck += 1);
                let mut changes = manner.subscribe();
                let _ = changes.wait_for(|manner| *manner == Manner::Pass).await;
            }
            Manner::BreakOnceAfter(bytes) if carried > bytes => {
                manner.send_replace(Manner::Pass);
                struck.send_modify(|struck| *struck += 1);
                break;
            }
            _ => {}
        }
        if to_client.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
    up.abort();
}
