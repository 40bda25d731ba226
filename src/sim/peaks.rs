//! How much nodes kept in memory at most.

use std::collections::BTreeMap;
use std::fmt;

use crate::proto::Size;

/// How much of what there is looked at: every so many steps.
pub(super) const LOOK_EVERY: u64 = 4;

/// The most that there was of everything, beside what there may be: by how near it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peaks(BTreeMap<&'static str, Size>);

impl Peaks {
    pub(super) fn saw(&mut self, size: Size) {
        let known = self.0.entry(size.what).or_insert(size);
        // Who may have nothing is no nearer to it than anybody.
        if size.is * known.max.max(1) > known.is * size.max.max(1) {
            *known = size;
        }
    }

    pub(super) fn add(&mut self, other: &Peaks) {
        for size in other.0.values() {
            self.saw(*size);
        }
    }

    /// Whose limits were not come to by half.
    pub fn far_off(&self) -> Vec<&'static str> {
        let far = self
            .0
            .values()
            .filter(|size| 2 * size.is < size.max || size.is == 0);
        far.map(|size| size.what).collect()
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Size { what, is, max } in self.0.values() {
            writeln!(f, "  {is:>9}  {what}, of {max}")?;
        }
        Ok(())
    }
}
