//! What `docs/vectors/` holds, computed by this implementation.

mod bodies;
pub mod files;
mod identities;
mod judged;
mod sessions;
mod sides;
mod streams;
