//! Junto.
pub mod crypto;
pub mod proto;
pub mod types;
pub mod wire;
