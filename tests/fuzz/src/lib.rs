//! What the fuzz targets do with their bytes. The same files are compiled into
//! `tests/fuzz_corpus`, so they use only what the crate offers to everybody, and run without a
//! fuzzer, too.

pub mod json;
mod members;
pub mod session;
pub mod stream;
pub mod transfer;
pub mod wire;
