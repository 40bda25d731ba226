//! What this node thinks of the workers it gave tasks to, from what became of them.
//!
//! For each worker `(α, β, t)`: good and bad evidence, and when it was last weighed. Both fade, what
//! is bad three times as slowly as what is good:
//! ```text
//! α ← α·2^(−Δt/30d) + w·s     β ← β·2^(−Δt/90d) + 4·w·(1−s)     score = ⌊1000·α / (α+β+10)⌋
//! ```
//! `s` is 1 for a task that was completed, 0.1 for an attempt that failed (the task may be at
//! fault), 0 for one that was lost. `w` is 0.2, that of a task without a price; a lie counts four
//! times. Nobody else's word counts here, and ours is told to nobody.
//!
//! # Invariants
//! - **S1** α and β together never pass [`EVIDENCE_MAX`]; both shrink by the same factor where they
//!   would. So a score is at most 800, and what a worker does now shows however long it was good, or
//!   bad.
//! - **S2** What was completed lowers no score; what was lost, or a lie, raises none; and who only
//!   fails stays below 28. Neither α nor β grows with time.
//! - **S3** At most [`SCORED_MAX`] workers are kept: those whose tasks ended last, to ten minutes.
//!
//! What is judged in one step is one row of each worker, in the batch that keeps what became of the
//! tasks: never a flush of its own.

mod decay;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::decay::decayed;
use crate::proto::{RowError, Step, Violation};
use crate::types::limits::SCORED_MAX;
use crate::types::{EntityId, Keyspace, Row, Tier, Wall};
use crate::wire::cbor;

const DAY_MS: u64 = 24 * 3600 * 1000;
const GOOD_HALF_LIFE_MS: u64 = 30 * DAY_MS;
const BAD_HALF_LIFE_MS: u64 = 90 * DAY_MS;
/// Evidence fades in steps of so long, so that nothing is lost to rounding however often it is
/// looked at.
const FADE_MS: u64 = 10 * 60 * 1000;
/// Evidence is kept in millionths.
const UNIT: u64 = 1_000_000;
/// What a task without a price weighs.
const WEIGHT: u64 = UNIT / 5;
/// How much more bad evidence weighs.
const BAD_FACTOR: u64 = 4;
/// Who is not known is taken to have so much of neither.
const PRIOR: u64 = 10 * UNIT;
/// See S1.
pub const EVIDENCE_MAX: u64 = 40 * UNIT;
const VERSION: u8 = 1;
const ROW_MAX_BYTES: usize = 256;

/// What became of a task at a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It was completed.
    Completed,
    /// It ran and failed.
    Failed,
    /// The worker was lost with it, or did not answer. However many tasks at once: it counts once.
    Lost,
    /// The worker lied about it.
    Lied,
}

impl Judged {
    /// Good and bad evidence, in millionths.
    fn evidence(self) -> (u64, u64) {
        let bad = BAD_FACTOR * WEIGHT;
        match self {
            Judged::Completed => (WEIGHT, 0),
            Judged::Failed => (WEIGHT / 10, bad - bad / 10),
            Judged::Lost => (0, bad),
            Judged::Lied => (0, 4 * bad),
        }
    }
}

/// What a worker is worth to us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(pub u16);

impl Score {
    /// Its tier.
    pub fn tier(self) -> Tier {
        Tier::of(self.0)
    }
}

/// The stored form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    v: u8,
    /// Good and bad, in millionths.
    a: u64,
    b: u64,
    /// When they were that.
    t: Wall,
}

impl Evidence {
    fn new(now: Wall) -> Evidence {
        Evidence {
            v: VERSION,
            a: 0,
            b: 0,
            t: now,
        }
    }

    /// As it is by now. A clock that was set back fades nothing.
    fn at(self, now: Wall) -> Evidence {
        let passed = now.0.saturating_sub(self.t.0) / FADE_MS * FADE_MS;
        Evidence {
            v: VERSION,
            a: decayed(self.a, passed, GOOD_HALF_LIFE_MS),
            b: decayed(self.b, passed, BAD_HALF_LIFE_MS),
            t: now.min(self.t + passed),
        }
    }

    fn with(self, judged: Judged) -> Evidence {
        let (good, bad) = judged.evidence();
        let (a, b) = (self.a + good, self.b + bad);
        let all = (a + b).max(EVIDENCE_MAX);
        Evidence {
            a: a * EVIDENCE_MAX / all,
            b: b * EVIDENCE_MAX / all,
            ..self
        }
    }

    fn per_mille(self, more: u64) -> u16 {
        let share = 1_000 * (self.a + more) / (self.a + self.b + PRIOR);
        u16::try_from(share).expect("a part of the whole, in thousandths")
    }
}

/// The scores of one node.
#[derive(Debug, Default)]
pub struct Scores {
    known: BTreeMap<EntityId, Evidence>,
    /// By when they were last judged: the first goes first.
    by_use: BTreeSet<(Wall, EntityId)>,
    /// Judged in this step, and whether that was for a loss.
    judged: BTreeMap<EntityId, bool>,
    /// Gone in this step.
    gone: Vec<EntityId>,
}

impl Scores {
    /// Takes a stored row back; rows of other keyspaces are left alone.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn load(&mut self, row: &Row) -> Result<(), RowError> {
        if row.space != Keyspace::Score {
            return Ok(());
        }
        let error = |why: String| RowError { what: "score", why };
        let entity = <[u8; 32]>::try_from(&row.key[..])
            .map_err(|_| error("its key has another length".into()))?;
        let evidence: Evidence =
            cbor::decode(&row.value, ROW_MAX_BYTES).map_err(|why| error(why.to_string()))?;
        if evidence.v != VERSION {
            let why = format!(
                "it has version {}, this program reads up to {VERSION}",
                evidence.v
            );
            return Err(error(why));
        }
        if evidence.a.saturating_add(evidence.b) > EVIDENCE_MAX {
            return Err(error("there is more evidence than can be".into()));
        }
        let entity = EntityId(entity);
        self.by_use.insert((evidence.t, entity));
        self.known.insert(entity, evidence);
        Ok(())
    }

    /// What became of one of our tasks at `worker`.
    pub fn judge(&mut self, worker: EntityId, judged: Judged, now: Wall) {
        let lost = self.judged.entry(worker).or_default();
        if judged == Judged::Lost && std::mem::replace(lost, true) {
            return;
        }
        let before = self.known.get(&worker).copied();
        if let Some(before) = before {
            self.by_use.remove(&(before.t, worker));
        } else if self.known.len() >= SCORED_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.known.remove(&oldest);
            self.judged.remove(&oldest);
            self.gone.push(oldest);
        }
        let before = before.unwrap_or_else(|| Evidence::new(now));
        let after = before.at(now).with(judged);
        self.by_use.insert((after.t, worker));
        self.known.insert(worker, after);
    }

    /// Writes what was judged since the last call. Call it in the step that judged.
    pub fn store(&mut self, step: &mut Step<'_>) {
        for gone in self.gone.drain(..) {
            step.delete(Keyspace::Score, gone.0.to_vec());
        }
        for worker in std::mem::take(&mut self.judged).into_keys() {
            let row = cbor::encode(&self.known[&worker]);
            // Nothing is promised of it.
            let _ = step.put(Keyspace::Score, worker.0.to_vec(), row);
        }
    }

    /// The score of a worker, if one of our tasks has ended there.
    pub fn of(&self, worker: &EntityId, now: Wall) -> Option<Score> {
        let evidence = self.known.get(worker)?.at(now);
        Some(Score(evidence.per_mille(0)))
    }

    /// How far a worker is preferred to others, in thousandths: its score as if it had done a little
    /// more good, so that who is not known yet has a chance, and who fails has less than that.
    pub fn credit(&self, worker: &EntityId, now: Wall) -> u16 {
        let known = self.known.get(worker).copied();
        let evidence = known.unwrap_or_else(|| Evidence::new(now)).at(now);
        evidence.per_mille(UNIT)
    }

    /// Checks S1 and S3.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        let known = self.known.len();
        let indexed = known == self.by_use.len() && known <= SCORED_MAX;
        Violation::unless(indexed, "S3", || {
            format!("{known} scores, {} in order", self.by_use.len())
        })?;
        let over = |of: &&Evidence| of.a + of.b > EVIDENCE_MAX;
        let over = self.known.values().find(over);
        Violation::unless(over.is_none(), "S1", || format!("{over:?}"))
    }
}
