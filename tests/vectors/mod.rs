//! What `docs/vectors/` holds, computed by this implementation.

mod agree;
mod bodies;
pub mod files;
mod identities;
mod judged;
mod results;
mod sessions;
mod sides;
mod streams;
