//! Wake-ups: asking a peer's agent to resume its work, and being asked.
//!
//! ```text
//! sender:  sending ──▶ delivered ──▶ hook_started ──▶ resumed | failed
//!             └─(three attempts)──▶ undelivered     already_awake, rate_limited, not_allowed: final
//! ```
//! # Invariants
//! - **K1** A wake-up is acted on once, however often it arrives (its nonce names it).
//! - **K2** At most ten a minute per entity and per peer, half of `max_per_hour` per peer and all of
//!   it together are taken; one hook of a kind runs at a time.
//! - **K3** At most `WAKES_MAX` are remembered on either side.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::proto::Step;
use crate::types::limits::{WAKE_REASON_MAX_BYTES, WAKES_MAX, WAKES_PER_PEER_PER_MINUTE};
use crate::types::{EntityId, HookId, Mono, Nonce, PeerId, Priority, WakeId};
use crate::wire::{WakeRequest, WakeStatus, WakeUp, WireError};

const ATTEMPTS: u32 = 3;
const RETRY_MS: u64 = 5_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What a wake-up says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub reason: String,
    pub priority: Priority,
    pub request: WakeRequest,
}

impl Call {
    /// Asks an agent to take up its work.
    pub fn resume(reason: impl Into<String>) -> Call {
        Call {
            reason: reason.into(),
            priority: Priority::High,
            request: WakeRequest::Resume,
        }
    }
}

/// A wake-up of ours, as its sender sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub to: EntityId,
    pub call: Call,
    /// None until it is delivered.
    pub status: Option<WakeStatus>,
    /// All attempts were in vain.
    pub undelivered: bool,
    /// Why the newest attempt was, if that was said.
    pub refused: Option<WireError>,
    pub since: Mono,
    pub changed: Mono,
    /// Every phase it went through, and when.
    pub history: Vec<(WakeStatus, Mono)>,
    nonce: Nonce,
    tries: u32,
    /// When it is sent next; none while it is under way or delivered.
    next_try: Option<Mono>,
}

/// A wake-up of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub id: WakeId,
    pub peer: PeerId,
    pub from: EntityId,
    pub call: Call,
    pub status: WakeStatus,
    pub at: Mono,
    hook: Option<HookId>,
}

/// What a wake-up asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WakeEffect {
    /// Send our wake-up.
    Send {
        id: WakeId,
        to: EntityId,
        body: WakeUp,
    },
    /// Tell the sender of a later phase.
    Update {
        to: EntityId,
        nonce: Nonce,
        status: WakeStatus,
    },
    /// Run the hook.
    Hook {
        hook: HookId,
        id: WakeId,
        from: EntityId,
        call: Call,
    },
    /// Somebody may await this.
    Changed { id: WakeId },
}

/// How a wake-up may be met here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeRules {
    /// Whether there is a hook for being woken.
    pub hook: bool,
    /// Whether there is one for being restarted; without it nobody may.
    pub restart_hook: bool,
    pub max_per_hour: u32,
    /// The first hook's number: another at each start.
    pub first_hook: u64,
}

/// Every wake-up, sent and received.
pub struct Wakes {
    rules: WakeRules,
    sent: BTreeMap<WakeId, Sent>,
    received: BTreeMap<Nonce, Received>,
    next_hook: u64,
    effects: Vec<WakeEffect>,
}

impl Wakes {
    /// None yet.
    pub fn new(rules: WakeRules) -> Wakes {
        Wakes {
            next_hook: rules.first_hook,
            rules,
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// Begins to wake `to`.
    pub fn send(&mut self, id: WakeId, to: EntityId, call: Call, step: &mut Step<'_>) {
        if self.sent.len() >= WAKES_MAX
            && let Some(oldest) = self
                .sent
                .iter()
                .min_by_key(|(_, w)| w.since)
                .map(|(id, _)| *id)
        {
            self.sent.remove(&oldest);
        }
        let now = step.now.mono;
        let sent = Sent {
            to,
            call,
            status: None,
            undelivered: false,
            refused: None,
            since: now,
            changed: now,
            history: Vec::new(),
            nonce: step.nonce(),
            tries: 0,
            next_try: Some(now),
        };
        self.sent.insert(id, sent);
    }

    /// Our wake-up got no answer, or was refused with `code`.
    pub fn send_failed(&mut self, id: WakeId, code: Option<WireError>, now: Mono) {
        let Some(sent) = self.sent.get_mut(&id) else {
            return;
        };
        if sent.status.is_some() || sent.undelivered {
            return;
        }
        sent.refused = code;
        if sent.tries >= ATTEMPTS {
            sent.undelivered = true;
            sent.changed = now;
            self.effects.push(WakeEffect::Changed { id });
        } else {
            sent.next_try = Some(now + (RETRY_MS << (sent.tries - 1)));
        }
    }

    /// The other side told of a phase: in answer to our wake-up, or later.
    pub fn told(&mut self, from: EntityId, nonce: Nonce, status: WakeStatus, now: Mono) {
        let found = self
            .sent
            .iter_mut()
            .find(|(_, sent)| sent.nonce == nonce && sent.to == from);
        let Some((id, sent)) = found else { return };
        // Phases only go forward, whatever order the messages come in.
        let forward = sent
            .status
            .is_none_or(|have| !have.is_final() && have < status);
        if forward {
            sent.status = Some(status);
            sent.undelivered = false;
            sent.refused = None;
            sent.next_try = None;
            sent.changed = now;
            // News of the hook implies the delivery, whose own answer may come behind it.
            let acted_on = matches!(
                status,
                WakeStatus::HookStarted | WakeStatus::Resumed | WakeStatus::Failed
            );
            if acted_on && sent.history.is_empty() {
                sent.history.push((WakeStatus::Delivered, now));
            }
            sent.history.push((status, now));
            self.effects.push(WakeEffect::Changed { id: *id });
        }
    }

    /// Whether the newest wake-up of `to` came to nothing, so that somebody has to look there.
    pub fn needs_manual_check(&self, to: &EntityId) -> bool {
        let ours = self.sent.iter().filter(|(_, sent)| sent.to == *to);
        let newest = ours.max_by_key(|(id, sent)| (sent.since, **id));
        newest.is_some_and(|(_, sent)| sent.undelivered || sent.status == Some(WakeStatus::Failed))
    }

    /// Somebody wants to wake us. `allowed` is the policy's word on who it is.
    pub fn receive(
        &mut self,
        id: WakeId,
        peer: PeerId,
        from: EntityId,
        wake: WakeUp,
        allowed: bool,
        now: Mono,
    ) -> WakeStatus {
        if let Some(known) = self.received.get(&wake.nonce) {
            return if known.from == from {
                known.status
            } else {
                WakeStatus::NotAllowed
            };
        }
        let request = wake.request.unwrap_or_default();
        let may_restart = request == WakeRequest::Resume || self.rules.restart_hook;
        if !allowed || !may_restart || wake.reason.len() > WAKE_REASON_MAX_BYTES {
            return WakeStatus::NotAllowed;
        }
        if self.is_too_often(&peer, &from, now) {
            return WakeStatus::RateLimited;
        }
        // An agent that hangs may well hang in its wake hook: only a restart stops a restart.
        let in_the_way = |w: &Received| {
            let restarts = w.call.request == WakeRequest::Restart;
            w.hook.is_some() && (request == WakeRequest::Resume || restarts)
        };
        let running = self.received.values().any(in_the_way);
        let has_hook = match request {
            WakeRequest::Resume => self.rules.hook,
            WakeRequest::Restart => self.rules.restart_hook,
        };
        let hook = (has_hook && !running).then(|| {
            self.next_hook += 1;
            HookId(self.next_hook)
        });
        let status = if running {
            WakeStatus::AlreadyAwake
        } else {
            WakeStatus::Delivered
        };
        let call = Call {
            reason: wake.reason,
            priority: wake.priority.unwrap_or(Priority::High),
            request,
        };
        self.remember(
            wake.nonce,
            Received {
                id,
                peer,
                from,
                call: call.clone(),
                status,
                at: now,
                hook,
            },
        );
        if let Some(hook) = hook {
            self.effects.push(WakeEffect::Hook {
                hook,
                id,
                from,
                call,
            });
            self.advance(wake.nonce, WakeStatus::HookStarted);
        }
        status
    }

    /// K2. A peer may speak for many entities: what it says counts by the peer, too, and the hour
    /// is not its alone.
    fn is_too_often(&self, peer: &PeerId, from: &EntityId, now: Mono) -> bool {
        let (mut by_entity, mut by_peer, mut by_peer_hour, mut all) = (0, 0, 0, 0);
        for wake in self.received.values() {
            let age_ms = now.since(wake.at);
            let (in_minute, in_hour) = (age_ms < MINUTE_MS, age_ms < HOUR_MS);
            by_entity += usize::from(in_minute && wake.from == *from);
            by_peer += usize::from(in_minute && wake.peer == *peer);
            by_peer_hour += usize::from(in_hour && wake.peer == *peer);
            all += usize::from(in_hour);
        }
        let max = self.rules.max_per_hour as usize;
        by_entity.max(by_peer) >= WAKES_PER_PEER_PER_MINUTE
            || by_peer_hour >= max.div_ceil(2)
            || all >= max
    }

    fn remember(&mut self, nonce: Nonce, received: Received) {
        if self.received.len() >= WAKES_MAX {
            let idle = self.received.iter().filter(|(_, w)| w.hook.is_none());
            if let Some(oldest) = idle.min_by_key(|(_, w)| w.at).map(|(nonce, _)| *nonce) {
                self.received.remove(&oldest);
            }
        }
        self.received.insert(nonce, received);
    }

    fn advance(&mut self, nonce: Nonce, status: WakeStatus) {
        if let Some(received) = self.received.get_mut(&nonce)
            && !received.status.is_final()
        {
            received.status = status;
            self.effects.push(WakeEffect::Update {
                to: received.from,
                nonce,
                status,
            });
        }
    }

    /// The hook ended.
    pub fn hook_ended(&mut self, hook: HookId, ok: bool) {
        let found = self.received.iter_mut().find(|(_, w)| w.hook == Some(hook));
        let Some((nonce, received)) = found else {
            return;
        };
        received.hook = None;
        let nonce = *nonce;
        self.advance(
            nonce,
            if ok {
                WakeStatus::Resumed
            } else {
                WakeStatus::Failed
            },
        );
    }

    /// The local agent says that it resumed. Returns whether there was such a wake-up.
    pub fn resumed(&mut self, id: Option<WakeId>) -> bool {
        let nonce = match id {
            Some(id) => self
                .received
                .iter()
                .find(|(_, w)| w.id == id)
                .map(|(nonce, _)| *nonce),
            None => {
                let open = self.received.iter().filter(|(_, w)| !w.status.is_final());
                open.max_by_key(|(_, w)| (w.at, w.id))
                    .map(|(nonce, _)| *nonce)
            }
        };
        if let Some(nonce) = nonce {
            self.advance(nonce, WakeStatus::Resumed);
        }
        nonce.is_some()
    }

    /// Sends what is due.
    pub fn tick(&mut self, now: Mono) {
        for (id, sent) in &mut self.sent {
            if sent.next_try.is_some_and(|at| at <= now) {
                sent.next_try = None;
                sent.tries += 1;
                let body = WakeUp {
                    nonce: sent.nonce,
                    reason: sent.call.reason.clone(),
                    priority: Some(sent.call.priority).filter(|it| *it != Priority::High),
                    request: Some(sent.call.request).filter(|it| *it != WakeRequest::Resume),
                };
                self.effects.push(WakeEffect::Send {
                    id: *id,
                    to: sent.to,
                    body,
                });
            }
        }
        self.received
            .retain(|_, w| w.hook.is_some() || now.since(w.at) < HOUR_MS);
    }

    /// When [`Wakes::tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.sent.values().filter_map(|sent| sent.next_try).min()
    }

    /// Takes what is asked for since the last call.
    pub fn effects(&mut self) -> Vec<WakeEffect> {
        std::mem::take(&mut self.effects)
    }

    /// A wake-up of ours.
    pub fn sent(&self, id: &WakeId) -> Option<&Sent> {
        self.sent.get(id)
    }

    /// Wake-ups of others, the newest first.
    pub fn received(&self) -> Vec<&Received> {
        let mut all: Vec<&Received> = self.received.values().collect();
        all.sort_by_key(|w| std::cmp::Reverse((w.at, w.id)));
        all
    }
}
