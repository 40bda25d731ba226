//! A node under load: whoever comes with a cookie gets in.

use super::*;
use crate::crypto::Seeds;
use crate::proto::registry::Announcement;
use crate::proto::session::{HandshakeOutcome, parse};
use crate::types::limits::{COOKIE_FROM_HALF_OPEN, HALF_OPEN_PER_PEER_MAX};
use rand::SeedableRng;

/// Leaves handshakes with node `n` half-open until it asks for cookies.
fn load(wires: &mut Wires, n: usize) {
    let now = wires.now();
    let to = wires.hosts[n].identity.peer_id;
    let node = wires.hosts[n].node.as_mut().expect("up");
    let mut rng = Rng::seed_from_u64(99);
    for _ in 0..COOKIE_FROM_HALF_OPEN / HALF_OPEN_PER_PEER_MAX {
        let identity = Identity::from_seeds(&Seeds::generate(&mut rng));
        let mut registry = Registry::new(Announcement {
            identity: identity.clone(),
            name: "stranger".parse().expect("a name"),
            capabilities: Vec::new(),
            labels: Default::default(),
            addresses: Vec::new(),
            seq: 0,
        });
        registry.issue(&mut Step {
            now,
            rng: &mut rng,
            batch: BatchId(1),
            writes: &mut WriteBatch::default(),
        });
        let entry = registry.own().expect("issued").0.bytes.clone();
        let mut sessions = Sessions::new(&identity);
        for _ in 0..HALF_OPEN_PER_PEER_MAX {
            let begun = sessions.initiate(to, None, &entry, now, &mut rng);
            let (id, m1) = begun.expect("none is under way");
            sessions.abandon(&to, id);
            let (envelope, header) = parse(&m1).expect("well formed");
            let outcome = node
                .sessions
                .on_handshake(identity.peer_id, envelope, header, now);
            let HandshakeOutcome::Verify { ticket, .. } = outcome else {
                panic!("{outcome:?}")
            };
            let half = node
                .sessions
                .handshake_verified(ticket, true, &entry, now, &mut rng);
            half.expect("half-open");
        }
    }
}

#[test]
fn a_node_that_is_asked_for_a_cookie_comes_back_with_it_at_once() {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, None, 0)]);
    wires.run(SECOND_MS);
    load(&mut wires, 0);
    let requests = |wires: &Wires| {
        let line = |line: &&String| line.starts_with("1: Request");
        wires.transcript.iter().filter(line).count()
    };
    let before = requests(&wires);
    wires.connect(1, 0);
    wires.run(1);
    assert!(wires.have_session(0, 1) && wires.have_session(1, 0));
    // M1, M1 with the cookie, M3.
    assert!(requests(&wires) - before >= 3);
    let refused = |note: &Note| matches!(note, Note::SessionRefused { .. });
    assert!(!wires.hosts[1].notes.iter().any(refused));
}
