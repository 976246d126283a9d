//! The broker as a client of another make sees it: `fe2o3-amqp`.

mod client;
mod faults;
mod messages;
mod tokens;
mod transport;
