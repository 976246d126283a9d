//! The sandbox: the vendor's side on loopback.
