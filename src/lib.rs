//! A libp2p-native peer-to-peer node for AI agents.
//!
//! A node is a deterministic core inside a thin shell. The core ([`proto`]) decides: it takes
//! inputs and the time, and returns what should be done. The shell ([`runtime`]) does it. So a
//! whole network of cores runs in one thread under virtual time ([`sim`]), and a bug replays.
//!
//! # The layers
//!
//! Imports go down only; `tests/layers.rs` fails on an edge that this table does not have.
//!
//! | layer | module | what | may import |
//! |---|---|---|---|
//! | L0 | [`types`] | ids, time, limits, write batches | – |
//! | L0 | [`metrics`] | what the shell counts | – |
//! | L1 | [`crypto`] | keys, signatures, key schedule, key file | types |
//! | L1 | [`wire`] | messages, error codes, deterministic CBOR | types, crypto |
//! | L2 | [`proto`] | the cores, and the node that composes them | types, crypto, wire |
//! | L3 | [`store`] | durable rows: sled, memory | types |
//! | L3 | [`net`] | libp2p: transports, discovery, exchanges, gossip | types, crypto, wire |
//! | L4 | [`runtime`] | driver, store thread, commands, the handle | L0 to L3 |
//! | L5 | [`config`], [`telemetry`], [`api`], [`testnet`], [`cli`] | what people and programs touch | down |
//! | side | [`sim`] | a simulated network, disk and clock | L0 to L2 |
//!
//! To run a node inside another program: [`runtime::start`] and the [`runtime::Handle`] it gives.

pub mod api;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod metrics;
pub mod net;
pub mod proto;
pub mod runtime;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod testnet;
pub mod types;
pub mod wire;
