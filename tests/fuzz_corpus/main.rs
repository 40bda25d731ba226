//! Bytes that somebody else chose: what the fuzz targets look for, without a fuzzer.
//!
//! - `agreement`: the specification, this implementation and an independent CBOR library agree on
//!   every message.
//! - `corpus`: every file of `tests/fuzz/corpus`, and many that are bent from them, through the
//!   targets.
#![allow(clippy::unwrap_used)]

mod agreement;
mod cddl;
mod corpus;
#[path = "../fuzz/src/lib.rs"]
mod fuzz;
