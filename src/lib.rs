//! Junto.
pub mod api;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod net;
pub mod proto;
pub mod runtime;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod testnet;
pub mod types;
pub mod wire;
