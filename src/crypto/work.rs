//! Slow work as data: what the cores hand out and the shell (or the simulator) runs elsewhere.

use std::time::Duration;

use super::Rng;
use super::jitter::{Jitter, JitterScope, batch_verify_with_jitter};
use super::sign::SigCheck;

/// Work that costs over 100 µs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Check signatures; the groups are judged one by one, each good only if all of it is.
    Verify {
        subject: Subject,
        groups: Vec<Vec<SigCheck>>,
    },
}

/// Whose signatures are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A handshake's: whoever sent it waits for the answer.
    Handshake,
    /// A message's outside of a session.
    Message,
    /// Registry entries'.
    Entries,
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
            Work::Verify { groups, .. } => WorkOutput::Verified {
                good: groups
                    .iter()
                    .map(|group| group.iter().all(SigCheck::verify))
                    .collect(),
            },
        }
    }

    /// Does the work, and what the setting asks for so that its duration tells nothing.
    pub fn run_with_jitter(
        self,
        jitter: Jitter,
        rng: &mut Rng,
        sleep: impl FnOnce(Duration),
    ) -> WorkOutput {
        match self {
            Work::Verify { subject, groups } if subject.is_delayed(jitter.scope) => {
                let checks: Vec<SigCheck> = groups.iter().flatten().cloned().collect();
                let verdicts = batch_verify_with_jitter(&checks, jitter.range, rng, sleep);
                let mut verdicts = verdicts.into_iter();
                let good = groups
                    .iter()
                    .map(|group| {
                        // Every verdict of the group is taken, whatever the first one is.
                        let good = verdicts.by_ref().take(group.len());
                        good.fold(true, |all, one| all & one)
                    })
                    .collect();
                WorkOutput::Verified { good }
            }
            work => work.run(),
        }
    }
}

impl Subject {
    fn is_delayed(self, scope: JitterScope) -> bool {
        match scope {
            JitterScope::Off => false,
            JitterScope::Handshake => self == Subject::Handshake,
            JitterScope::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;
    use crate::crypto::{KeyPair, Rng};

    fn check(good: bool) -> SigCheck {
        let key = KeyPair::from_seed(&[3; 32]);
        let digest = [u8::from(good); 32];
        SigCheck {
            key: key.public(),
            purpose: "work",
            digest,
            signature: key.sign("work", &[1; 32]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The delay changes when a verdict is told, never the verdict.
        #[test]
        fn the_verdicts_are_the_same_with_and_without_jitter(
            wanted in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..4), 0..5)
        ) {
            let groups = wanted
                .iter()
                .map(|group| group.iter().copied().map(check).collect())
                .collect();
            let work = Work::Verify { subject: Subject::Handshake, groups };
            let plain = work.clone().run();
            let jitter = Jitter::default();
            let mut rng = Rng::seed_from_u64(1);
            prop_assert_eq!(work.run_with_jitter(jitter, &mut rng, |_| ()), plain);
        }
    }

    #[test]
    fn the_setting_says_what_is_delayed() {
        let delayed = |scope, subject| {
            let work = Work::Verify {
                subject,
                groups: vec![vec![check(true)]],
            };
            let (slept, mut rng) = (Cell::new(false), Rng::seed_from_u64(1));
            let jitter = Jitter {
                scope,
                ..Jitter::default()
            };
            let output = work.run_with_jitter(jitter, &mut rng, |_| slept.set(true));
            assert_eq!(output, WorkOutput::Verified { good: vec![true] });
            slept.get()
        };
        for subject in [Subject::Handshake, Subject::Message, Subject::Entries] {
            assert!(!delayed(JitterScope::Off, subject));
            let handshake = subject == Subject::Handshake;
            assert_eq!(delayed(JitterScope::Handshake, subject), handshake);
            assert!(delayed(JitterScope::All, subject));
        }
    }
}
