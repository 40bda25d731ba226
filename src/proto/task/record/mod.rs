//! The stored forms. Each row is deterministic CBOR and carries its version; payloads stand in
//! rows of their own, so that a change of state rewrites little.
//!
//! A version is read by every program of that version or a later one. What a version adds is
//! optional, so that one structure reads the older ones, too; version 2 is written. What would not
//! be read by the programs of a version that was released begins the next one.

mod agreement;
mod considered;
mod held;
mod spent;
mod task;

pub use agreement::{Agreement, AgreementRecord, PartRecord, PromiseRecord, Verdict, VoteRecord};
pub use considered::{Considered, Why};
pub use held::{HeldKey, HeldRecord, HeldState, held_key};
pub use spent::SpentRecord;
pub(super) use task::Fresh;
pub use task::{AttemptRecord, TaskRecord};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::RowError;
use crate::wire::cbor;

const VERSION: u8 = 2;
const ROW_MAX_BYTES: usize = 1024 * 1024;

/// Reads a row without a version.
pub(super) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, RowError> {
    cbor::decode(bytes, ROW_MAX_BYTES * 2).map_err(|error| RowError {
        what,
        why: error.to_string(),
    })
}

/// What every row has, whatever else a newer program wrote into it.
#[derive(Deserialize)]
struct Version {
    v: u8,
}

/// Reads a row. The store's sum over all rows says that it is as it was written, so all are read in
/// one pass; of what does not read so the version comes first: a newer one is called that, and not
/// a field that is unknown.
fn read_version<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    version: impl Fn(&T) -> u8,
) -> Result<T, RowError> {
    let known = |v| (1..=VERSION).contains(&v);
    if let Some(row) = cbor::decode_own(bytes).filter(|row| known(version(row))) {
        return Ok(row);
    }
    let Version { v } = read(what, bytes)?;
    if known(v) {
        return read(what, bytes);
    }
    Err(RowError {
        what,
        why: format!("it has version {v}, this program reads up to {VERSION}"),
    })
}
