//! How much of a task may be handed on: each level has less than the one above it.
//!
//! # Invariant
//! - **G1** The children of a held task cost no more together than its budget says, have less depth
//!   than it, and end before it does. A child that comes to nothing gives its part back. Over all
//!   attempts, at whichever workers, the children cost no more than the task's reward: what they
//!   cost is on its requester's disk before they begin.

use super::record::HeldKey;
use crate::wire::Budget;

/// Open children of one task.
pub const CHILDREN_MAX: usize = 10_000;

/// What a held task may still hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Until it must have ended.
    pub left_ms: u64,
    pub depth: u8,
    pub reward: u64,
}

/// What a submitter wants a task to be able to hand on, and to be paid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// As deep as may be, if nothing is said.
    pub depth: Option<u8>,
    pub reward: u64,
}

/// Whose part a task is, and what it may hand on itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delegation {
    pub wish: Wish,
    /// The task that runs here and hands this on.
    pub parent: Option<HeldKey>,
    /// What came of the wish.
    pub granted: Option<Budget>,
    /// What is left until the parent's deadline.
    pub within_ms: Option<u64>,
}

/// Why a task may not be handed on like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    #[error("the task that it is a part of does not run here any more")]
    Over,
    #[error("the task that it is a part of may not be handed on: its depth is 0")]
    Leaf,
    #[error("a depth of {asked} is more than the {most} that the task it is a part of leaves")]
    Depth { asked: u8, most: u8 },
    #[error("a reward of {asked} is more than the {left} that are left of its parent's")]
    Reward { asked: u64, left: u64 },
    #[error("its start is behind the deadline of the task that it is a part of")]
    Late,
}

impl Allowance {
    /// What a child has at the most: one level less, and what it asks of the reward.
    pub fn child(&self, wish: Wish) -> Budget {
        Budget {
            depth: wish.depth.unwrap_or_else(|| self.depth.saturating_sub(1)),
            reward: wish.reward,
        }
    }

    /// Takes a child's part out of what is left.
    ///
    /// # Errors
    /// What is beyond it; nothing is taken then.
    pub fn take(&mut self, child: Budget, wait_ms: u64) -> Result<(), Beyond> {
        let most = self.depth.checked_sub(1).ok_or(Beyond::Leaf)?;
        if child.depth > most {
            let asked = child.depth;
            return Err(Beyond::Depth { asked, most });
        }
        if wait_ms >= self.left_ms {
            return Err(Beyond::Late);
        }
        let (asked, left) = (child.reward, self.reward);
        self.reward = left
            .checked_sub(asked)
            .ok_or(Beyond::Reward { asked, left })?;
        Ok(())
    }
}
