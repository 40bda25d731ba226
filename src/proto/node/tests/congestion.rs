//! A peer that answers slowly: what waits for it leaves by priority.

use super::*;
use crate::proto::node::outbox::window;
use crate::proto::session;
use crate::types::Nonce;
use crate::types::limits::OUTBOUND_PER_PEER_MAX;
use crate::wire::{MsgType, WireError};

/// A node whose peer answers nothing any more, played by hand.
struct Congested {
    node: Node,
    now: Now,
    next: u64,
    under_way: Vec<ExchangeId>,
    sent: Vec<MsgType>,
}

impl Congested {
    fn new() -> (Congested, PeerId) {
        let mut wires = pair();
        let peer = wires.hosts[1].identity.peer_id;
        let now = wires.now();
        let node = wires.hosts[0].node.take().expect("up");
        let congested = Congested {
            node,
            now,
            next: 1,
            under_way: Vec::new(),
            sent: Vec::new(),
        };
        (congested, peer)
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        let outputs = self.node.handle(input, self.now);
        for output in &outputs {
            if let Output::Request { id, bytes, .. } = output {
                let (_, header) = session::parse(bytes).expect("our own");
                self.under_way.push(*id);
                self.sent.push(header.msg_type);
            }
        }
        outputs
    }

    fn command(&mut self, command: Command) -> Vec<Output> {
        self.next += 1;
        let id = CommandId(self.next);
        self.input(Input::Command { id, command })
    }

    /// One request under way is refused; returns what left in its place.
    fn one_ends(&mut self) -> Option<MsgType> {
        let before = self.sent.len();
        let id = self.under_way.remove(0);
        let nonce = Nonce([4; 32]);
        let bytes = self.node.sessions.error(WireError::Busy, self.now, nonce);
        self.input(Input::Response { id, bytes });
        self.sent.get(before).copied()
    }
}

fn wake() -> Command {
    Command::Wake {
        peer: name_of(1),
        reason: String::new(),
        priority: Priority::High,
        request: WakeRequest::Resume,
    }
}

#[test]
fn a_wake_up_overtakes_what_waits_for_a_congested_peer() {
    let (mut node, peer) = Congested::new();
    for _ in 0..OUTBOUND_PER_PEER_MAX {
        node.command(Command::Ping(name_of(1)));
    }
    let pings = node.sent.len();
    assert!(
        pings < OUTBOUND_PER_PEER_MAX,
        "O3: the last places are kept"
    );
    // A registry_sync queues up behind the pings.
    let addr = addr(1);
    node.input(Input::Connected {
        peer,
        addr,
        dialer: true,
    });
    assert_eq!(node.sent.len(), pings, "no room");
    for _ in 0..OUTBOUND_PER_PEER_MAX {
        node.command(wake());
    }
    assert!(node.sent[pings..].iter().all(|t| *t == MsgType::WakeUp));
    let wakes = node.sent.len() - pings;
    assert!(wakes > 0, "O3: at once, though others wait");
    for _ in wakes..OUTBOUND_PER_PEER_MAX {
        assert_eq!(node.one_ends(), Some(MsgType::WakeUp), "O1");
    }
    let mut rest = Vec::new();
    while !node.under_way.is_empty() {
        rest.extend(node.one_ends());
    }
    let syncs = rest.iter().filter(|t| **t == MsgType::RegistrySync).count();
    assert_eq!((rest.first(), syncs), (Some(&MsgType::Ping), 1));
    let last = [MsgType::RegistrySync, MsgType::Heartbeat];
    assert_eq!(
        rest[rest.len() - 2..],
        last,
        "in order, and the low one last"
    );
}

#[test]
fn a_full_outbox_refuses_a_ping_at_once_and_takes_a_wake_up() {
    let (mut node, _) = Congested::new();
    let refused = |outputs: &[Output]| {
        let reply = |output: &&Output| matches!(output, Output::Reply { result: Err(_), .. });
        outputs.iter().filter(reply).count()
    };
    let mut pings = 0;
    while refused(&node.command(Command::Ping(name_of(1)))) == 0 {
        pings += 1;
        assert!(pings < 1_000, "O2");
    }
    for _ in node.sent.len()..window(Priority::High) {
        assert_eq!(refused(&node.command(wake())), 0);
    }
    let outputs = node.command(wake());
    assert_eq!(refused(&outputs), 1, "O2: a ping makes room for it");
}
