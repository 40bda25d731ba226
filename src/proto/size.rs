//! How much of something a core keeps in memory.

/// What is kept, how much of it there is, and how much there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub what: &'static str,
    pub is: u64,
    pub max: u64,
}

impl Size {
    pub fn new(what: &'static str, is: usize, max: usize) -> Size {
        Size {
            what,
            is: is as u64,
            max: max as u64,
        }
    }

    /// Whether there is no more than there may be.
    pub fn fits(&self) -> bool {
        self.is <= self.max
    }
}
