//! Tasks that agents fetch. Whoever speaks the HTTP API claims a task, says now and then that it is
//! still at it, and hands over what it came to.
//!
//! Invariants
//! 1. A run has at most one claim at a time. A claim is a random number: who does not have it has
//!    no say in the run, and an old one never fits again.
//! 2. A claim that is not extended in time has lapsed, and the run waits for the next one. After
//!    [`LAPSES_MAX`] of them it has failed: an input that kills every agent must not go on for ever.
//! 3. An outcome is acknowledged by the core, once it is durable. Until then the claim stays, and
//!    it can be said again.
//!
//! The desk is in memory. After a restart the core begins every run anew, under new numbers, and
//! the claims of the earlier life fit nothing.
//!
//! Bounds: as many runs as the core has slots; [`WAITING_MAX`] agents that wait for one;
//! [`ENDED_MAX`] claims whose run was taken away are remembered, so that their agents hear of it,
//! and as many whose outcome is kept, so that to say the same again is no error.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::command::{Ended, text_of};
use super::passes::{Pass, Passes, RunAccess};
use super::trace::traceparent;
use crate::crypto::Digest;
use crate::proto::node::{HeldKey, RunSpec};
use crate::types::{Capability, EntityId, FencingToken, PayloadFile, RunId, TaskId};

/// Claims of one run that may lapse.
const LAPSES_MAX: u32 = 3;
const WAITING_MAX: usize = 256;
const ENDED_MAX: usize = 1_024;

/// Where runs wait for agents.
pub struct Desk {
    state: Mutex<State>,
    /// A run came, or came back.
    news: Notify,
    waiting: Semaphore,
}

#[derive(Default)]
struct State {
    runs: BTreeMap<RunId, Open>,
    /// Those without a claim; the numbers ascend, so the oldest is the first.
    waiting: BTreeMap<Capability, BTreeSet<RunId>>,
    claims: BTreeMap<Uuid, RunId>,
    /// Whose run was taken away, and whose outcome is durable: the newest of both.
    gone: VecDeque<Uuid>,
    /// With what was said.
    kept: VecDeque<(Uuid, Digest)>,
}

struct Open {
    spec: RunSpec,
    until: Instant,
    output_max_bytes: usize,
    passes: Option<Arc<Passes>>,
    claim: Option<Claim>,
    lapses: u32,
    /// It was asked back while nobody had it.
    recalled: bool,
    /// Tells who holds the run that its next moment is another.
    changed: Arc<Notify>,
}

struct Claim {
    id: Uuid,
    until: Instant,
    /// Its outcome, which is on its way to the disk.
    ending: Option<Digest>,
    /// Good as long as the claim is.
    #[expect(dead_code, reason = "it is withdrawn with this")]
    pass: Option<Pass>,
}

/// What an agent asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// None: any.
    pub capabilities: Option<BTreeSet<Capability>>,
    pub max: usize,
    pub lease: Duration,
}

/// A task that an agent has now.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub claim: Uuid,
    pub task_id: TaskId,
    pub requester: EntityId,
    pub capability: Capability,
    pub token: FencingToken,
    pub input: Vec<u8>,
    /// The input where it is a payload, which [`Desk::input`] hands out; then `input` is empty.
    pub input_file: Option<PayloadFile>,
    /// What is left of its time, however often the claim is extended.
    pub timeout_ms: u64,
    /// The W3C trace context: the task is the trace, this claim a span of it.
    pub traceparent: String,
    /// With this parts of it may be handed on, if the capability allows that.
    pub api: Option<RunAccess>,
}

/// How a run waits for an agent.
pub(super) struct Terms {
    pub(super) limit: Duration,
    pub(super) output_max_bytes: usize,
    /// Where agents may hand parts of the task on: what gives each claim its pass.
    pub(super) passes: Option<Arc<Passes>>,
}

/// Why an agent has no say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimError {
    /// The claim lapsed, or there never was one.
    Lapsed,
    /// Its outcome is on its way to the disk.
    Ending,
    /// Its outcome is durable already.
    Kept,
    /// Another outcome of it is.
    Otherwise,
    /// The task was taken away: canceled, given to somebody else, or out of time.
    Gone,
    /// So many agents wait already.
    Busy,
    /// The result has more bytes than these.
    TooLarge(usize),
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is durable.
    Kept,
    /// The core no longer knew the run.
    Gone,
    /// It was not taken: the claim goes on, and it may be said again.
    Again,
}

/// What a run waits for.
enum Look {
    Until(Instant),
    /// Its outcome is the core's by now.
    Taken,
    Returned,
    Failed(String),
}

impl Default for Desk {
    fn default() -> Desk {
        Desk {
            state: Mutex::default(),
            news: Notify::new(),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Desk {
    /// Keeps a run for agents until it has ended, its time is up, or `stop`. What an agent came to
    /// goes to the core by another way: the run then counts as killed here.
    pub(super) async fn hold(
        &self,
        run: RunId,
        spec: RunSpec,
        terms: Terms,
        stop: &CancellationToken,
    ) -> Ended {
        let changed = Arc::new(Notify::new());
        let limit = terms.limit;
        self.open(run, spec, terms, Arc::clone(&changed));
        loop {
            let next = match self.look(run, limit) {
                Look::Until(next) => next,
                Look::Taken => return Ended::Killed,
                Look::Returned => return Ended::Returned,
                Look::Failed(reason) => return Ended::Failed(reason),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.state().take_away(run);
                    return Ended::Killed;
                }
                () = changed.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    fn open(&self, run: RunId, spec: RunSpec, terms: Terms, changed: Arc<Notify>) {
        let mut state = self.state();
        state.wait(run, spec.capability.clone());
        let open = Open {
            spec,
            until: Instant::now() + terms.limit,
            output_max_bytes: terms.output_max_bytes,
            passes: terms.passes,
            claim: None,
            lapses: 0,
            recalled: false,
            changed,
        };
        state.runs.insert(run, open);
        drop(state);
        self.news.notify_waiters();
    }

    /// Does what the time demands for one run.
    fn look(&self, run: RunId, limit: Duration) -> Look {
        let now = Instant::now();
        let mut state = self.state();
        let Some(open) = state.runs.get_mut(&run) else {
            return Look::Taken;
        };
        if open.recalled {
            state.forget(run);
            return Look::Returned;
        }
        if open.until <= now
            && open
                .claim
                .as_ref()
                .is_none_or(|claim| claim.ending.is_none())
        {
            let claimed = open.claim.is_some();
            state.take_away(run);
            let what = if claimed {
                "was not done"
            } else {
                "was claimed by no agent"
            };
            return Look::Failed(format!("it {what} within {}", text_of(limit)));
        }
        let next = match &open.claim {
            // The core's answer comes; until then nothing lapses.
            Some(claim) if claim.ending.is_some() => now + Duration::from_secs(1),
            Some(claim) if claim.until > now => claim.until.min(open.until),
            Some(_) => {
                open.lapses += 1;
                if open.lapses >= LAPSES_MAX {
                    state.forget(run);
                    return Look::Failed(format!(
                        "{LAPSES_MAX} agents claimed it, and each was silent for longer than it said"
                    ));
                }
                let (lapsed, until) = (open.claim.take(), open.until);
                let capability = open.spec.capability.clone();
                if let Some(lapsed) = lapsed {
                    state.claims.remove(&lapsed.id);
                }
                state.wait(run, capability);
                drop(state);
                self.news.notify_waiters();
                until
            }
            None => open.until,
        };
        Look::Until(next)
    }

    /// The oldest runs that nobody has, as soon as there are any.
    ///
    /// # Errors
    /// [`ClaimError::Busy`].
    pub async fn claim(&self, ask: &Ask) -> Result<Vec<Claimed>, ClaimError> {
        let claimed = self.claim_now(ask);
        if !claimed.is_empty() {
            return Ok(claimed);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| ClaimError::Busy)?;
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            // Before the look: what comes in between is not missed.
            news.as_mut().enable();
            let claimed = self.claim_now(ask);
            if !claimed.is_empty() {
                return Ok(claimed);
            }
            news.await;
        }
    }

    /// The same, without waiting.
    pub fn claim_now(&self, ask: &Ask) -> Vec<Claimed> {
        let mut state = self.state();
        let fits = |capability: &Capability| match &ask.capabilities {
            None => true,
            Some(asked) => asked.contains(capability),
        };
        let mut oldest: BTreeSet<RunId> = BTreeSet::new();
        for (_, runs) in state.waiting.iter().filter(|(name, _)| fits(name)) {
            oldest.extend(runs.iter().take(ask.max));
        }
        let taken: Vec<RunId> = oldest.into_iter().take(ask.max).collect();
        taken
            .into_iter()
            .filter_map(|run| state.claim(run, ask.lease))
            .collect()
    }

    /// The agent is still at it. Returns the run.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn extend(&self, task: TaskId, claim: Uuid, lease: Duration) -> Result<RunId, ClaimError> {
        let mut state = self.state();
        let (run, open) = state.claimed(task, claim)?;
        let now = Instant::now();
        let held = open.claim.as_mut().ok_or(ClaimError::Lapsed)?;
        if held.ending.is_some() {
            return Err(ClaimError::Ending);
        }
        if held.until <= now {
            return Err(ClaimError::Lapsed);
        }
        held.until = now + lease;
        open.changed.notify_one();
        Ok(run)
    }

    /// The payload that is a claimed task's input, if it is one.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn input(&self, task: TaskId, claim: Uuid) -> Result<Option<PayloadFile>, ClaimError> {
        let mut state = self.state();
        let (_, open) = state.claimed(task, claim)?;
        let held = open.claim.as_ref().ok_or(ClaimError::Lapsed)?;
        match held.until > Instant::now() {
            true => Ok(open.spec.input_file),
            false => Err(ClaimError::Lapsed),
        }
    }

    /// An outcome with this many bytes goes to the core now; say [`Desk::settle`] afterwards.
    ///
    /// # Errors
    /// [`ClaimError`]; the claim stays as it was.
    pub fn begin_end(
        &self,
        task: TaskId,
        claim: Uuid,
        bytes: usize,
        said: Digest,
    ) -> Result<RunId, ClaimError> {
        let mut state = self.state();
        let mut kept = state.kept.iter();
        if kept.any(|(id, before)| *id == claim && *before != said) {
            return Err(ClaimError::Otherwise);
        }
        let (run, open) = state.claimed(task, claim)?;
        if bytes > open.output_max_bytes {
            return Err(ClaimError::TooLarge(open.output_max_bytes));
        }
        let held = open.claim.as_mut().ok_or(ClaimError::Lapsed)?;
        if held.ending.is_some() {
            return Err(ClaimError::Ending);
        }
        if held.until <= Instant::now() {
            return Err(ClaimError::Lapsed);
        }
        held.ending = Some(said);
        open.changed.notify_one();
        Ok(run)
    }

    /// The core wants a run back, which it gets if no agent has it.
    pub(super) fn recall(&self, run: RunId) {
        let mut state = self.state();
        let Some(open) = state.runs.get_mut(&run).filter(|open| open.claim.is_none()) else {
            return;
        };
        open.recalled = true;
        open.changed.notify_one();
        let capability = open.spec.capability.clone();
        // Nobody claims it any more.
        state.unwait(run, &capability);
    }

    /// The core answered.
    pub fn settle(&self, run: RunId, settled: Settled) {
        let mut state = self.state();
        let Some(open) = state.runs.get_mut(&run) else {
            return;
        };
        let said = open.claim.as_mut().and_then(|claim| claim.ending.take());
        let changed = Arc::clone(&open.changed);
        match settled {
            Settled::Kept => {
                if let (Some(claim), Some(said)) = (state.forget(run), said) {
                    remember(&mut state.kept, (claim, said));
                }
            }
            Settled::Gone => state.take_away(run),
            Settled::Again => {}
        }
        changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between two changes of it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, run: RunId, capability: Capability) {
        self.waiting.entry(capability).or_default().insert(run);
    }

    fn claim(&mut self, run: RunId, lease: Duration) -> Option<Claimed> {
        let now = Instant::now();
        let open = self.runs.get_mut(&run)?;
        let id = Uuid::new_v4();
        let until = now + lease;
        let key = HeldKey {
            requester: open.spec.requester,
            task: open.spec.task_id,
        };
        let passes = open.passes.as_ref();
        let pass = passes.and_then(|passes| passes.give(key));
        let api = pass.as_ref().map(Pass::access);
        open.claim = Some(Claim {
            id,
            until,
            ending: None,
            pass,
        });
        open.changed.notify_one();
        self.claims.insert(id, run);
        let left = open.until.saturating_duration_since(now);
        let claimed = Claimed {
            claim: id,
            task_id: open.spec.task_id,
            requester: open.spec.requester,
            capability: open.spec.capability.clone(),
            token: open.spec.token,
            input: open.spec.input.clone(),
            input_file: open.spec.input_file,
            timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            traceparent: traceparent(open.spec.task_id),
            api,
        };
        self.unwait(run, &claimed.capability);
        Some(claimed)
    }

    fn unwait(&mut self, run: RunId, capability: &Capability) {
        if let Some(runs) = self.waiting.get_mut(capability) {
            runs.remove(&run);
            if runs.is_empty() {
                self.waiting.remove(capability);
            }
        }
    }

    fn claimed(&mut self, task: TaskId, claim: Uuid) -> Result<(RunId, &mut Open), ClaimError> {
        if self.gone.contains(&claim) {
            return Err(ClaimError::Gone);
        }
        if self.kept.iter().any(|(id, _)| *id == claim) {
            return Err(ClaimError::Kept);
        }
        let run = *self.claims.get(&claim).ok_or(ClaimError::Lapsed)?;
        let open = self.runs.get_mut(&run).ok_or(ClaimError::Lapsed)?;
        if open.spec.task_id != task {
            return Err(ClaimError::Lapsed);
        }
        Ok((run, open))
    }

    /// Its agent, if it has one, is told that when it next asks.
    fn take_away(&mut self, run: RunId) {
        if let Some(claim) = self.forget(run) {
            remember(&mut self.gone, claim);
        }
    }

    fn forget(&mut self, run: RunId) -> Option<Uuid> {
        let open = self.runs.remove(&run)?;
        self.unwait(run, &open.spec.capability);
        let claim = open.claim?;
        self.claims.remove(&claim.id);
        Some(claim.id)
    }
}

fn remember<T>(ended: &mut VecDeque<T>, one: T) {
    ended.push_back(one);
    if ended.len() > ENDED_MAX {
        ended.pop_front();
    }
}
