//! What all cores share about their stored rows.

/// A stored row of ours does not read: the store was damaged or written by another program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored {what} does not read: {why}")]
pub struct RowError {
    pub what: &'static str,
    pub why: String,
}
