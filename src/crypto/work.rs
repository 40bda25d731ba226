//! Slow work as data: what the cores hand out and the shell (or the simulator) runs elsewhere.

use super::sign::SigCheck;

/// Work that costs over 100 µs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Check signatures; the groups are judged one by one, each good only if all of it is.
    Verify { groups: Vec<Vec<SigCheck>> },
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkOutput {
    /// One verdict for each group, in order.
    Verified { good: Vec<bool> },
}

impl Work {
    /// Does the work on the calling thread.
    pub fn run(self) -> WorkOutput {
        match self {
            Work::Verify { groups } => WorkOutput::Verified {
                good: groups
                    .iter()
                    .map(|group| group.iter().all(SigCheck::verify))
                    .collect(),
            },
        }
    }
}
