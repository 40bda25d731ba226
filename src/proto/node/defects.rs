//! What the tests of the simulator plant to see their checkers catch it. Nothing of it is in a program.

use super::Node;

#[derive(Debug, Clone, Copy)]
pub(super) enum Defect {
    /// A run begins with any payload that is there.
    AnyInput,
    /// A run begins with what another requester has sent.
    OthersInput,
    /// A result counts though its file is not here.
    KeptWithoutFile,
    /// What tasks name is swept.
    SweepNamed,
    NeverSweep,
    /// Room that comes back is not seen.
    ShortForGood,
}

impl Node {
    #[cfg(test)]
    pub(super) fn has(&self, defect: Defect) -> bool {
        use crate::proto::task::Planted;
        let planted = match defect {
            Defect::OthersInput => Planted::OthersInput,
            Defect::AnyInput => Planted::AnyInput,
            Defect::KeptWithoutFile => Planted::KeptWithoutFile,
            Defect::SweepNamed => Planted::SweepNamed,
            Defect::NeverSweep => Planted::NeverSweep,
            Defect::ShortForGood => Planted::ShortForGood,
        };
        self.worker.planted == Some(planted)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a planted defect of the tests")]
    pub(super) fn has(&self, _: Defect) -> bool {
        false
    }
}
