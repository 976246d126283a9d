//! A webhook, besides the feed that a world has.

use std::net::SocketAddr;

use crate::common::net;
use crate::common::vendor::World;

pub struct Hook {
    pub address: SocketAddr,
}

impl Hook {
    pub fn new() -> Self {
        Self { address: net::free_address() }
    }

    /// What the configuration says of it.
    pub fn feed(&self) -> String {
        format!(
            "[[feed]]\nname = \"hook\"\ntype = \"webhook\"\nlisten = \"{}\"\ncertificate_file = \"hook.pem\"\n\
             key_file = \"hook-key.pem\"\nsecret_file = \"secret\"\n",
            self.address
        )
    }

    /// Lays down what it needs; returns the private key of its certificate.
    pub fn hold(&self, world: &World, secret: &str) -> String {
        let made = net::certificate();
        world.write("hook.pem", made.cert.pem());
        let key = made.signing_key.serialize_pem();
        world.hold("hook-key.pem", &key);
        world.hold("secret", &format!("Bearer {secret}\n"));
        key
    }
}
