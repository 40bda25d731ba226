//! How far an entity is trusted, in four steps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a score comes to.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// 0 to 249.
    #[default]
    Newcomer,
    /// 250 to 499.
    Established,
    /// 500 to 749.
    Trusted,
    /// 750 to 1000.
    Elite,
}

impl Tier {
    pub const ALL: [Tier; 4] = [
        Tier::Newcomer,
        Tier::Established,
        Tier::Trusted,
        Tier::Elite,
    ];

    /// The tier of a score.
    pub fn of(score: u16) -> Tier {
        match score {
            0..250 => Tier::Newcomer,
            250..500 => Tier::Established,
            500..750 => Tier::Trusted,
            _ => Tier::Elite,
        }
    }

    /// The tier's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Newcomer => "newcomer",
            Tier::Established => "established",
            Tier::Trusted => "trusted",
            Tier::Elite => "elite",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tier;

    #[test]
    fn tiers_begin_where_the_table_says() {
        let first = [0, 250, 500, 750];
        for (tier, first) in Tier::ALL.into_iter().zip(first) {
            assert_eq!(Tier::of(first), tier);
            if first > 0 {
                assert!(Tier::of(first - 1) < tier);
            }
        }
        assert_eq!(Tier::of(1_000), Tier::Elite);
    }
}
