//! What agents do with each other, between two nodes that are processes of their own: talk, report,
//! wake, restart, look for each other, and show to others what was said.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::node::Node;
use support::{eventually, run_at};

const SOON: Duration = Duration::from_secs(90);

impl Node {
    fn start(name: &str, first: Option<&Node>, args: &[&str]) -> Node {
        Node::new(name).args(args).knows(first).up()
    }
}

/// Bob with `args`, and alice who knows him.
fn pair(args: &[&str]) -> (Node, Node) {
    let bob = Node::start("bob", None, args);
    let alice = Node::start("alice", Some(&bob), &[]);
    alice.await_peer("bob");
    (alice, bob)
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", errors(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    let items = value.as_array().unwrap().iter();
    items
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_talk_is_answered_by_a_command() {
    let command = r#"read line; [ "$line" != fail ] && printf '%s %s: %s' "$JUNTO_KIND" "$JUNTO_FROM" "$line""#;
    let (alice, bob) = pair(&["--agent", command]);
    let reply = alice.cli(&["talk", "bob", "hello"]);
    assert_eq!(text(&reply), format!("talk {}: hello", alice.entity()));
    let failed = alice.cli(&["talk", "bob", "fail"]);
    assert_eq!(status(&failed), 1);
    assert!(
        errors(&failed).contains("AGENT_FAILED"),
        "{}",
        errors(&failed)
    );
    // By entity id, too, and in JSON.
    let reply = alice.json(&["talk", &bob.entity(), "again"]);
    assert!(reply["text"].as_str().unwrap().ends_with(": again"));
}

#[test]
fn a_talk_is_answered_by_an_echo() {
    let bob = Node::start("bob", None, &[]);
    let settings = bob.home.join("junto.toml");
    drop(bob.cli(&["status"]));
    let mut bob = bob;
    bob.kill();
    std::fs::write(settings, "[agent]\necho = true\n").unwrap();
    bob.start_again();
    let alice = Node::start("alice", Some(&bob), &[]);
    alice.await_peer("bob");
    assert_eq!(
        text(&alice.cli(&["talk", "bob", "who is there"])),
        "who is there"
    );
    assert_eq!(status(&alice.cli(&["report", "bob", "done"])), 0);
}

#[test]
fn a_talk_is_answered_by_an_agent_that_pulls() {
    let (alice, bob) = pair(&[]);
    thread::scope(|scope| {
        let asks = scope.spawn(|| alice.cli(&["talk", "bob", "what is left?"]));
        let messages = bob.json(&["inbox", "list", "--state", "new", "--wait", "30s"]);
        let id = strings(&messages, "id").remove(0);
        assert_eq!(messages[0]["awaits_reply"], true);
        assert_eq!(messages[0]["from"], alice.entity().as_str());
        assert_eq!(text(&bob.cli(&["inbox", "show", &id])), "what is left?");
        assert_eq!(status(&bob.cli(&["inbox", "reply", &id, "nothing"])), 0);
        assert_eq!(text(&asks.join().unwrap()), "nothing");
        assert_eq!(bob.json(&["inbox", "list"]), json!([]));
    });
    // Whoever says nothing lets the other wait in vain.
    let begun = Instant::now();
    let silent = alice.cli(&["talk", "bob", "still there?", "--timeout", "3s"]);
    assert_eq!(status(&silent), 4, "{}", errors(&silent));
    assert!(begun.elapsed() < Duration::from_secs(25));
    assert_eq!(bob.json(&["inbox", "list"])[0]["state"], "new");
}

/// Answers every request with what `answer` makes of its JSON.
fn serve_http(answer: impl Fn(Value) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/agent", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut said, mut chunk) = (Vec::new(), [0; 4_096]);
            while !said.ends_with(b"}") {
                let read = stream.read(&mut chunk).unwrap();
                said.extend_from_slice(&chunk[..read]);
            }
            let body = said.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let reply = answer(serde_json::from_slice(&said[body..]).unwrap());
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n",
                reply.len()
            );
            stream
                .write_all(format!("{head}\r\n{reply}").as_bytes())
                .unwrap();
        }
    });
    url
}

#[test]
fn a_talk_is_answered_by_an_address_and_a_report_is_handed_to_it() {
    let (heard, hears) = std::sync::mpsc::channel();
    let url = serve_http(move |message| {
        heard.send(message.clone()).unwrap();
        format!("you said {}", message["text"].as_str().unwrap())
    });
    let home = tempfile::tempdir().unwrap();
    let mut bob = Node::start("bob", None, &[]);
    bob.kill();
    let settings = format!("[agent]\nurl = \"{url}\"\n");
    std::fs::write(bob.home.join("junto.toml"), settings).unwrap();
    bob.start_again();
    drop(home);
    let alice = Node::start("alice", Some(&bob), &[]);
    alice.await_peer("bob");
    assert_eq!(text(&alice.cli(&["talk", "bob", "hi"])), "you said hi");
    let talk = hears.recv_timeout(SOON).unwrap();
    assert_eq!(
        (&talk["kind"], &talk["priority"]),
        (&json!("talk"), &json!("normal"))
    );
    let told = alice.cli(&[
        "report",
        "bob",
        "half done",
        "--durable",
        "--priority",
        "high",
    ]);
    assert_eq!(status(&told), 0, "{}", errors(&told));
    let report = hears.recv_timeout(SOON).unwrap();
    assert_eq!(
        (&report["kind"], &report["text"]),
        (&json!("report"), &json!("half done"))
    );
    assert_eq!(report["from"], alice.entity().as_str());
    eventually("the report is taken out of the inbox", SOON, || {
        (bob.json(&["inbox", "list"]) == json!([])).then_some(())
    });
}

#[test]
fn a_durable_report_outlives_a_kill_of_its_receiver_until_it_is_acknowledged() {
    let (alice, mut bob) = pair(&[]);
    let told = alice.cli(&["report", "bob", "the first half is done", "--durable"]);
    assert_eq!(status(&told), 0, "{}", errors(&told));
    bob.kill();
    bob.start_again();
    let messages = bob.json(&["inbox", "list"]);
    assert_eq!(strings(&messages, "state"), ["new"]);
    assert_eq!(
        (&messages[0]["kind"], &messages[0]["durable"]),
        (&json!("report"), &json!(true))
    );
    let id = strings(&messages, "id").remove(0);
    assert_eq!(
        text(&bob.cli(&["inbox", "show", &id])),
        "the first half is done"
    );
    assert_eq!(strings(&bob.json(&["inbox", "list"]), "state"), ["read"]);
    assert_eq!(
        status(&bob.cli(&["inbox", "reply", &id, "x"])),
        1,
        "a report awaits none"
    );
    assert_eq!(status(&bob.cli(&["inbox", "ack", &id])), 0);
    assert_eq!(
        status(&bob.cli(&["inbox", "ack", &id])),
        0,
        "to say it again is no error"
    );
    bob.kill();
    bob.start_again();
    assert_eq!(bob.json(&["inbox", "list"]), json!([]));
    assert_eq!(status(&bob.cli(&["inbox", "show", &id])), 1);
}

#[test]
fn a_report_that_the_agent_did_not_take_is_offered_again_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let agent = |command: &str| format!("[agent]\ncommand = '{command}'\n");
    let mut bob = Node::new("bob").settings(&agent("exit 1")).up();
    let alice = Node::start("alice", Some(&bob), &[]);
    alice.await_peer("bob");
    let told = alice.cli(&["report", "bob", "half done", "--durable"]);
    assert_eq!(status(&told), 0, "{}", errors(&told));
    eventually("the agent was offered it", SOON, || {
        let states = strings(&bob.json(&["inbox", "list"]), "state");
        (states == ["read"]).then_some(())
    });
    bob.kill();
    let takes = agent(&format!("cat >> {}", seen.display()));
    std::fs::write(bob.home.join("junto.toml"), takes).unwrap();
    bob.start_again();
    eventually("the agent takes it", SOON, || {
        let taken = std::fs::read_to_string(&seen).is_ok_and(|text| text == "half done");
        taken.then_some(())
    });
    eventually("it is out of the inbox", SOON, || {
        (bob.json(&["inbox", "list"]) == json!([])).then_some(())
    });
}

#[test]
fn a_peer_that_is_gone_is_unreachable_and_an_unknown_one_is_not_found() {
    let (alice, mut bob) = pair(&[]);
    bob.kill();
    for args in [
        &["talk", "bob", "hello", "--timeout", "5s"][..],
        &["report", "bob", "hello", "--timeout", "5s"],
        &["alive", "bob"],
    ] {
        let output = alice.cli(args);
        assert_eq!(status(&output), 4, "{args:?}: {}", errors(&output));
        let unknown = [args[0], "nobody"]
            .into_iter()
            .chain(args.iter().skip(2).copied());
        let unknown: Vec<&str> = unknown.collect();
        assert_eq!(status(&alice.cli(&unknown)), 1, "{unknown:?}");
    }
    let view = alice.cli(&["--json", "alive", "bob"]);
    let view: Value = serde_json::from_slice(&view.stdout).unwrap();
    assert_eq!(
        (&view["alive"], &view["peer"]["name"]),
        (&json!(false), &json!("bob"))
    );
}

#[test]
fn an_agent_is_woken_and_restarted_by_its_owners_hooks() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let note = format!(
        "printf '%s %s %s %s\\n' \"$JUNTO_WAKE_REQUEST\" \"$JUNTO_WAKE_PRIORITY\" \"$JUNTO_WAKE_FROM\" \"$JUNTO_WAKE_REASON\" >> {}",
        log.display()
    );
    let (alice, mut bob) = pair(&["--on-wake", &note]);
    let woken = alice.json(&["wake", "bob", "--reason", "work", "--priority", "critical"]);
    assert_eq!(woken["phase"], "resumed");
    // Without a hook for it nobody restarts the agent.
    let refused = alice.cli(&["restart", "bob"]);
    assert_eq!(status(&refused), 1);
    assert!(
        errors(&refused).contains("does not let"),
        "{}",
        errors(&refused)
    );
    bob.kill();
    let settings = format!("[wake]\non_restart = '''{note}'''\n");
    std::fs::write(bob.home.join("junto.toml"), settings).unwrap();
    bob.start_again();
    alice.await_peer("bob");
    let restarted = alice.json(&["restart", "bob", "--reason", "it hangs"]);
    assert_eq!(restarted["phase"], "resumed");
    let entity = alice.entity();
    let expected = format!("resume critical {entity} work\nrestart high {entity} it hangs\n");
    assert_eq!(std::fs::read_to_string(log).unwrap(), expected);
    let received = bob.json(&["status"]);
    assert_eq!(received["name"], "bob");
}

#[test]
fn a_peer_that_is_there_is_alive() {
    let (alice, bob) = pair(&[]);
    let view = alice.json(&["alive", "bob"]);
    assert_eq!(view["alive"], true);
    assert!(view["rtt_us"].as_u64().unwrap() > 0);
    assert_eq!(view["peer"]["entity_id"], bob.entity().as_str());
    assert_eq!(view["peer"]["state"], "connected");
}

#[test]
fn a_message_is_shown_to_somebody_who_knows_neither_side() {
    let (alice, mut bob) = pair(&[]);
    let told = alice.cli(&["report", "bob", "I owe you 5", "--durable"]);
    assert_eq!(status(&told), 0, "{}", errors(&told));
    let id = strings(&bob.json(&["inbox", "list"]), "id").remove(0);
    // The sender is gone, and its registry entry with it.
    let (from, to) = (alice.entity(), bob.entity());
    drop(alice);
    bob.kill();
    bob.start_again();
    let stranger = tempfile::tempdir().unwrap();
    let file = stranger.path().join("debt.proof");
    let path = file.to_str().unwrap();
    let written = bob.cli(&["inbox", "proof", &id, "--out", path]);
    assert_eq!(status(&written), 0, "{}", errors(&written));
    let verify = |path: &str, more: &[&str]| {
        let args = [&["--json", "inbox", "verify", path], more].concat();
        run_at(stranger.path(), &args)
    };
    let shown = verify(path, &["--from", &from, "--to", &to]);
    let shown: Value = serde_json::from_str(&text(&shown)).unwrap();
    assert_eq!(
        (&shown["text"], &shown["id"]),
        (&json!("I owe you 5"), &json!(id))
    );
    assert_eq!(
        (&shown["from"], &shown["kind"]),
        (&json!(from), &json!("report"))
    );
    let other = verify(path, &["--from", &to]);
    assert_eq!(status(&other), 1);
    assert!(errors(&other).contains("genuine"), "{}", errors(&other));
    // Any letter of it altered: it shows nothing.
    let proof = std::fs::read_to_string(&file).unwrap();
    let letters: Vec<usize> = (40..proof.len() - 40).step_by(97).collect();
    for at in letters {
        let letter = proof.as_bytes()[at];
        if letter == b'\n' {
            continue;
        }
        let mut altered = proof.clone().into_bytes();
        altered[at] = if letter == b'A' { b'B' } else { b'A' };
        let bent = stranger.path().join("bent.proof");
        std::fs::write(&bent, altered).unwrap();
        let output = verify(bent.to_str().unwrap(), &[]);
        assert_eq!(status(&output), 1, "letter {at}: {}", text(&output));
    }
}
