//! `[protocol]` and `[security]`: which protocol versions are listened to, and what a node does
//! against those who watch it closely.

use serde::Deserialize;

use super::error::Fault;
use super::value;
use crate::crypto::{JITTER_MAX_US, Jitter, JitterRange, JitterScope};
use crate::proto::clear::Allowed;

/// `[protocol]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct ProtocolSection {
    /// Who may speak version 1.0.
    #[serde(deserialize_with = "value::allowed")]
    pub allow_v1_0: Vec<Allowed>,
}

/// `[security]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct SecuritySection {
    /// Which verifications are followed by a random delay.
    #[serde(deserialize_with = "value::jitter")]
    pub jitter: JitterScope,
    #[serde(deserialize_with = "value::count")]
    pub jitter_min_us: u32,
    #[serde(deserialize_with = "value::count")]
    pub jitter_max_us: u32,
}

impl Default for SecuritySection {
    fn default() -> SecuritySection {
        SecuritySection {
            jitter: JitterScope::default(),
            jitter_min_us: 100,
            jitter_max_us: 500,
        }
    }
}

impl SecuritySection {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if JitterRange::new(self.jitter_min_us, self.jitter_max_us).is_some() {
            return Ok(());
        }
        let what = format!(
            "{} is out of range: use security.jitter_min_us ({}) to {JITTER_MAX_US}",
            self.jitter_max_us, self.jitter_min_us
        );
        Err(Fault::new("security.jitter_max_us", what))
    }

    pub(super) fn to_runtime(&self) -> Jitter {
        let range = JitterRange::new(self.jitter_min_us, self.jitter_max_us);
        Jitter {
            scope: self.jitter,
            range: range.unwrap_or_default(),
        }
    }
}
