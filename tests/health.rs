//! Two real nodes: one stands still and comes back, one asks too much; what is shown of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::Value;

use support::node::Node;
use support::{eventually, run_at};

const SOON: Duration = Duration::from_secs(90);

impl Node {
    fn start(dir: &Path, name: &str, first: Option<&Node>, env: &[(&str, &str)]) -> Node {
        let node = Node::within(dir, name).args(&["--serve", "wc=wc -w"]);
        // Ten heartbeats in the time of one, so that the test does not take minutes. A peer that is
        // silent is suspect for three of them, which is longer than a look at it takes.
        let quick = [
            ("JUNTO_HEALTH__HEARTBEAT", "1s"),
            ("JUNTO_LIMITS__BREAKER_FAILURES", "3"),
            ("JUNTO_LIMITS__BREAKER_OPEN", "1s"),
        ];
        node.env(&quick).env(env).knows(first).up()
    }

    /// What it says of the one other node.
    fn peer(&self) -> Value {
        self.json(&["peers"])[0].clone()
    }

    fn await_health(&self, health: &str) -> Value {
        eventually(health, SOON, || {
            Some(self.peer()).filter(|peer| peer["health"] == health)
        })
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.call(Method::GET, path, None)
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(series))?;
        line.trim().parse().ok()
    }
}

fn code_of(problem: &str) -> String {
    let problem: Value = serde_json::from_str(problem).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_node_that_stands_still_is_suspect_then_unreachable_and_healthy_when_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let alice = Node::start(dir.path(), "alice", None, &[]);
    let bob = Node::start(dir.path(), "bob", Some(&alice), &[]);
    let peer = eventually("a round trip is known", SOON, || {
        let peer = alice.peer();
        let known = peer["rtt_us"].as_u64().is_some_and(|rtt| rtt > 0);
        (known && peer["health"] == "healthy").then_some(peer)
    });
    assert_eq!(
        (&peer["name"], &peer["state"]),
        (&"bob".into(), &"connected".into())
    );
    assert_eq!(
        (&peer["version"], &peer["breaker"]),
        (&"1.1".into(), &"closed".into())
    );
    assert_eq!(peer["capabilities"][0], "wc");
    assert_eq!(peer["load"]["slots"], 4);
    assert!(peer["last_seen_ms"].as_u64().unwrap() < 5_000);
    let (status, asked) = alice.get("/v1/peers/bob/status");
    assert_eq!(status, 200, "{asked}");
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert!(asked["rtt_us"].as_u64().unwrap() > 0 && asked["load"]["free"] == 4);

    bob.signal(Signal::SIGSTOP);
    alice.await_health("suspect");
    let peer = alice.await_health("unreachable");
    assert!(peer["loss_percent"].as_u64().unwrap() > 0);
    eventually("the breaker opens", SOON, || {
        (alice.peer()["breaker"] == "open").then_some(())
    });
    let refused = eventually("a call is refused at once", SOON, || {
        let (status, body) = alice.get("/v1/peers/bob/status");
        (status == 503).then_some(body)
    });
    assert_eq!(code_of(&refused), "circuit_open");
    let status = alice.json(&["status"]);
    assert_eq!(status["health"]["unreachable"], 1);
    assert!(status["guard"]["breakers_opened"].as_u64().unwrap() >= 1);
    eventually("it is tried again now and then", SOON, || {
        let peer = alice.peer();
        (peer["breaker"] == "half_open").then_some(())
    });
    assert!(alice.metric("junto_peers{health=\"unreachable\"}") == Some(1.0));

    bob.signal(Signal::SIGCONT);
    alice.await_health("healthy");
    eventually("the breaker closes", SOON, || {
        (alice.peer()["breaker"] == "closed").then_some(())
    });
    assert_eq!(alice.get("/v1/peers/bob/status").0, 200);

    let (_, stats) = alice.get("/stats");
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let beats = stats["messages"]["heartbeat"]["messages_sent"]
        .as_u64()
        .unwrap();
    assert!(beats > 3, "{stats}");
    assert!(stats["peers"][0]["bytes_received"].as_u64().unwrap() > 1_000);
    assert!(stats["unanswered"].as_u64().unwrap() >= 1);
    assert!(stats["pool"]["connections"].as_u64().unwrap() >= 1);
    let sent = "junto_messages_total{type=\"heartbeat\",direction=\"sent\"}";
    assert!(alice.metric(sent).unwrap() >= beats as f64);
    assert!(alice.metric("junto_breakers_opened_total").unwrap() >= 1.0);
    assert!(alice.metric("junto_store_flush_seconds_count").unwrap() >= 1.0);
    assert_eq!(alice.metric("junto_sessions"), Some(1.0));

    let table = run_at(&alice.home, &["peers", "--verbose"]);
    let table = String::from_utf8(table.stdout).unwrap();
    for word in [
        "HEALTH", "healthy", "RTT", " ms", "1.1", "BREAKER", "closed", "wc",
    ] {
        assert!(table.contains(word), "{word} in {table}");
    }
    let status = run_at(&alice.home, &["status"]);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(
        status.contains("1 healthy") && status.contains("breakers open"),
        "{status}"
    );
}

#[test]
fn whoever_asks_too_much_is_told_and_not_banned() {
    let dir = tempfile::tempdir().unwrap();
    // A heartbeat an hour: only the pings count.
    let slow = [("JUNTO_HEALTH__HEARTBEAT", "1h")];
    let strict = [
        ("JUNTO_HEALTH__HEARTBEAT", "1h"),
        ("JUNTO_LIMITS__PROBES_PER_S", "1"),
    ];
    let alice = Node::start(dir.path(), "alice", None, &strict);
    let bob = Node::start(dir.path(), "bob", Some(&alice), &slow);
    eventually("they are in session", SOON, || {
        (bob.peer()["state"] == "connected").then_some(())
    });
    let refused = eventually("a call is refused", SOON, || {
        let (status, body) = bob.get("/v1/peers/alice/status");
        (status != 200).then_some(body)
    });
    assert_eq!(code_of(&refused), "peer_refused");
    assert!(refused.contains("RATE_LIMITED"), "{refused}");
    // It lasts longer each time: at some time long enough to be seen by whoever asks after it.
    eventually("what is refused is held back", SOON, || {
        bob.get("/v1/peers/alice/status");
        (bob.json(&["status"])["guard"]["held_back"] == 1).then_some(())
    });
    assert!(alice.json(&["status"])["guard"]["rate_limited"].as_u64() >= Some(1));
    assert!(alice.metric("junto_rate_limited_total").unwrap() >= 1.0);
    let code = "junto_errors_total{code=\"RATE_LIMITED\",direction=\"sent\"}";
    assert!(alice.metric(code).unwrap() >= 1.0);
    assert_eq!(
        alice.peer()["state"],
        "connected",
        "nobody is banned for it"
    );
    eventually("later it is answered again", SOON, || {
        (bob.get("/v1/peers/alice/status").0 == 200).then_some(())
    });
}
