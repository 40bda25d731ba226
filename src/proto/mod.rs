//! L2: the cores. Each owns one concern, decides without I/O, and imports no sibling; `node`
//! composes them and is the only place that passes something from one to the next.
//!
//! A core is stepped with an input and the time, and returns what should be done. The same inputs
//! give the same outputs, so a whole network of cores runs in one thread under a seed (`sim`).

pub mod clear;
pub mod guard;
pub mod health;
pub mod inbox;
pub mod node;
pub mod payload;
pub mod peers;
pub mod registry;
mod row;
pub mod score;
pub mod session;
mod size;
mod step;
pub mod task;
pub mod transfer;
pub mod wake;
pub mod webhook;

pub use row::RowError;
pub use size::Size;
pub use step::Step;

/// An invariant that does not hold: its number as in the core's header, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

impl Violation {
    /// Fails with this violation unless `holds`.
    ///
    /// # Errors
    /// The violation.
    pub fn unless(
        holds: bool,
        invariant: &'static str,
        detail: impl FnOnce() -> String,
    ) -> Result<(), Violation> {
        if holds {
            Ok(())
        } else {
            Err(Violation {
                invariant,
                detail: detail(),
            })
        }
    }
}
