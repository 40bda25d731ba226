//! A peer that lies, over real sockets, against the real program. After each attack the victim
//! serves an honest peer, has panicked nowhere, and holds no more memory than it should
//! ([`Victim::is_unharmed`]).
//!
//! A liar is banned at 100 points, so each identity tells a few lies and another goes on. What
//! needs millions of messages, or clocks that are moved by hand, is tested at the session core
//! (`src/proto/session/tests`).

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "attacks/bent.rs"]
mod bent;
#[path = "attacks/floods.rs"]
mod floods;
#[path = "attacks/handshakes.rs"]
mod handshakes;
#[path = "support/liar.rs"]
mod liar;
#[path = "support/mutants.rs"]
mod mutants;
mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use liar::{Liar, Victim};

/// A seed for each identity of this process.
fn seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (u64::from(std::process::id()) << 32) | NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn liar(victim: &Victim) -> Liar {
    Liar::connect(victim, seed()).await
}

/// A liar with a session.
async fn insider(victim: &Victim) -> Liar {
    let mut liar = liar(victim).await;
    liar.shake_patiently().await;
    liar
}
