//! What `docs/vectors/` holds, computed by this implementation.

mod agree;
mod bodies;
pub mod files;
mod identities;
mod judged;
mod parts;
mod results;
mod sessions;
mod sides;
mod streams;
