//! The plain views that commands are answered with.
//!
//! They are the JSON of the HTTP API and of `--json`; their names are fixed.

mod agree;
mod event;
mod message;
mod node;
mod peer;
mod task;
mod transfer;

pub use agree::*;
pub use event::*;
pub use message::*;
pub use node::*;
pub use peer::*;
pub use task::*;
pub use transfer::*;
