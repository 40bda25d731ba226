//! What a node does at its start so that its memory stays its own.

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// No core file is ever written of this process, and no other process of its user may attach to
/// it or read its memory or its environment. What it starts is not concerned.
pub(super) fn keep_memory_private() {
    if let Err(error) = prctl::set_dumpable(false) {
        tracing::warn!(%error, "other programs of this user can read this node's memory");
    }
    let soft_zero = getrlimit(Resource::RLIMIT_CORE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_CORE, 0, hard));
    if let Err(error) = soft_zero {
        tracing::warn!(%error, "a crash of this node may write its memory to a core file");
    }
}

/// Tells once if the system did not lock the memory of all secrets.
pub(super) fn tell_unlocked_memory() {
    if crate::crypto::lock_refused() {
        tracing::warn!(
            "the system refuses to lock memory for secret keys, which may be swapped to disk: \
             raise `ulimit -l`"
        );
    }
}
