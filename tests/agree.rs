//! Several workers do one task over real nodes: the honest ones are heard, the others named.
#![allow(clippy::unwrap_used)]

#[path = "support/liar.rs"]
mod liar;
mod support;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use junto::types::FencingToken;
use junto::wire::{
    AcceptAnswer, DelegateItem, Heartbeat, HeartbeatAck, MsgType, Offer, Pong, Promised,
    RegistryEntries, ResultItem, ResultParties, RevealAnswer, TaskAccept, TaskDelegate,
    TaskOutcome, TaskResult, TaskReveal, TaskRevealAck, cbor,
};
use serde_json::Value;

use liar::{Liar, Victim};
use support::{Testnet, eventually, junto, run_at};

const NODES: usize = 4;
const LIMIT: Duration = Duration::from_secs(240);

/// Nodes that square a number after this prelude, which knows its node by its folder.
fn squares(prelude: &str) -> Testnet {
    let work = format!("sq=read n; {prelude}; echo $((n * n))");
    Testnet::start(NODES, &["--serve", &work])
}

fn entity(net: &Testnet, node: usize) -> String {
    let status = net.json(node, &["status"]).unwrap();
    status["entity_id"].as_str().unwrap().to_owned()
}

/// Hands over the square of 12 and returns its id.
fn submit(net: &Testnet, agree: &str) -> String {
    let args = ["task", "submit", "sq", "--text", "12", "--deadline", "5m"];
    let args = [&args[..], &["--replicas", "3", "--agree", agree]].concat();
    let output = net.cli(0, &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn show(net: &Testnet, id: &str) -> Option<Value> {
    net.json(0, &["task", "show", id])
}

fn votes(view: &Value) -> &[Value] {
    view["agreement"]["votes"].as_array().unwrap()
}

/// Waits until the task has ended.
fn ended(net: &Testnet, id: &str) -> Value {
    eventually("the task ends", LIMIT, || {
        let view = show(net, id)?;
        let over = ["completed", "failed"].contains(&view["state"].as_str().unwrap());
        over.then_some(view)
    })
}

/// Waits until so many have committed.
fn committed(net: &Testnet, id: &str, count: usize) {
    eventually("workers commit", LIMIT, || {
        let view = show(net, id)?;
        let of = votes(&view)
            .iter()
            .filter(|vote| vote["commitment"].is_string());
        (of.count() >= count).then_some(())
    });
}

fn result(net: &Testnet, id: &str) -> String {
    let output = net.cli(0, &["task", "result", id]);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn verdict_of<'a>(view: &'a Value, worker: &str) -> &'a Value {
    let vote = votes(view).iter().find(|vote| vote["worker"] == worker);
    vote.expect("its vote")
}

#[test]
fn one_cheat_of_three_is_outvoted_and_named() {
    let net = squares("case $PWD in */node3/*) echo 666; exit;; esac");
    let cheat = entity(&net, 3);
    let args = ["task", "submit", "sq", "--text", "12", "--wait"];
    let args = [&args[..], &["--replicas", "3", "--agree", "2"]].concat();
    let output = net.cli(0, &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "144");

    let list = net.json(0, &["task", "list"]).unwrap();
    assert_eq!(
        list.as_array().unwrap().len(),
        1,
        "the parts are not listed"
    );
    let parts = net.json(0, &["task", "list", "--parts"]).unwrap();
    assert_eq!(parts.as_array().unwrap().len(), 4);
    let counts = net.json(0, &["status"]).unwrap();
    assert_eq!(counts["tasks"]["completed"], 1, "nor counted");

    let id = list[0]["id"].as_str().unwrap();
    let view = show(&net, id).unwrap();
    assert_eq!(view["dissent"], serde_json::json!([cheat]));
    let vote = verdict_of(&view, &cheat);
    assert_eq!(vote["verdict"], "differs");
    assert_ne!(vote["hash"], view["agreement"]["hash"]);
    assert_eq!(
        result(&net, vote["part"].as_str().unwrap()),
        "666",
        "evidence"
    );
    let workers: Vec<&Value> = votes(&view).iter().map(|vote| &vote["worker"]).collect();
    for node in 1..NODES {
        assert!(
            workers.contains(&&Value::from(entity(&net, node))),
            "{workers:?}"
        );
    }
    let peers = net.json(0, &["peers"]).unwrap();
    let score = |node: usize| {
        let named = entity(&net, node);
        let peer = peers.as_array().unwrap().iter();
        let mut of = peer.filter(|peer| peer["entity_id"] == named);
        of.next().unwrap()["score"].as_u64().unwrap()
    };
    assert!(score(3) < score(1), "{} and {}", score(3), score(1));
    let table = net.cli(0, &["task", "show", id]);
    let table = String::from_utf8(table.stdout).unwrap();
    let line = table.lines().find(|line| line.contains("differs"));
    assert!(line.is_some_and(|line| line.contains("node3")), "{table}");
    let named = table.lines().find(|line| line.starts_with("dissent"));
    assert!(named.is_some_and(|line| line.contains("node3")), "{table}");
}

#[test]
fn workers_that_differ_are_why_a_task_has_failed_and_who_waits_reads_it() {
    let net = squares("case $PWD in */node3/*) echo 666; exit;; esac");
    let cheat = entity(&net, 3);
    let args = [
        "task",
        "submit",
        "sq",
        "--text",
        "12",
        "--wait",
        "--deadline",
    ];
    let agree = ["30s", "--replicas", "3", "--agree", "3"];
    let output = net.cli(0, &[&args[..], &agree].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let dead = net.json(0, &["task", "dead"]).unwrap();
    let reason = dead[0]["reason"].as_str().unwrap();
    let end = &cheat[cheat.len() - 12..];
    for told in [reason, &said] {
        assert!(told.contains("different results"), "{told}");
        assert!(
            told.contains("2 told ") && told.contains("1 told "),
            "{told}"
        );
        assert!(told.contains(&format!("(…{end})")), "{told}");
    }
    // Each of those it names is taken where a peer is asked for.
    net.json(0, &["alive", &format!("…{end}")]).unwrap();
}

#[test]
fn who_commits_and_dies_is_named_and_the_others_agree() {
    let gates = tempfile::tempdir().unwrap();
    let gate = gates.path().join("gate");
    // The others commit once it is dead.
    let wait = format!("while [ ! -e {} ]; do sleep 0.1; done", gate.display());
    let net = squares(&format!("case $PWD in */node3/*) ;; *) {wait};; esac"));
    let dead = entity(&net, 3);
    let id = submit(&net, "2");
    committed(&net, &id, 1);
    net.kill(3);
    std::fs::write(&gate, "").unwrap();
    let view = ended(&net, &id);
    assert_eq!(view["state"], "completed", "{view}");
    assert_eq!(result(&net, &id), "144");
    assert_eq!(view["dissent"], serde_json::json!([dead]));
    assert_eq!(verdict_of(&view, &dead)["verdict"], "unrevealed");
}

#[test]
fn an_agreement_survives_kills_of_requester_and_workers() {
    let mut net = squares("case $PWD in */node1/*) ;; */node2/*) sleep 4;; *) sleep 12;; esac");
    let id = submit(&net, "3");
    net.kill(0);
    net.restart(0);
    net.await_up(0);
    committed(&net, &id, 1);
    for node in [1, 0, 2] {
        net.kill(node);
        net.restart(node);
        net.await_up(node);
    }
    committed(&net, &id, 2);
    net.kill(0);
    net.kill(1);
    net.restart(0);
    net.restart(1);
    net.await_up(0);
    let view = ended(&net, &id);
    assert_eq!(view["state"], "completed", "{view}");
    assert_eq!(result(&net, &id), "144");
    assert_eq!(view["dissent"], serde_json::json!([]));
    let hashes: Vec<&Value> = votes(&view).iter().map(|vote| &vote["hash"]).collect();
    assert_eq!(hashes, vec![&view["agreement"]["hash"]; 3], "{view}");
}

/// A node that squares numbers honestly, known to the victim.
struct Square {
    process: Child,
    _home: tempfile::TempDir,
}

impl Square {
    fn start(victim: &Victim) -> Square {
        let home = tempfile::tempdir().unwrap();
        let bootstrap = format!("{}/p2p/{}", victim.addr, victim.peer);
        let process = junto()
            .arg("--home")
            .arg(home.path())
            .args(["up", "--no-passphrase", "--no-mdns"])
            .args([
                "--listen",
                "/ip4/127.0.0.1/tcp/0",
                "--bootstrap",
                &bootstrap,
            ])
            .args(["--serve", "sq=read n; echo $((n * n))"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Square {
            process,
            _home: home,
        }
    }
}

impl Drop for Square {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What an honest worker answers; it takes every task.
fn answer(msg_type: MsgType, body: &[u8]) -> Option<(MsgType, Vec<u8>)> {
    Some(match msg_type {
        MsgType::Ping => (MsgType::Pong, cbor::encode(&Pong {})),
        MsgType::Heartbeat => {
            let Heartbeat { seq, .. } = cbor::decode(body, 4096).unwrap();
            let ack = cbor::encode(&HeartbeatAck { seq });
            (MsgType::HeartbeatAck, ack)
        }
        MsgType::RegistrySync => {
            let none = RegistryEntries {
                entries: Vec::new(),
                want: Vec::new(),
                more: false,
            };
            (MsgType::RegistryEntries, cbor::encode(&none))
        }
        MsgType::TaskDelegate => {
            let TaskDelegate { items } = cbor::decode(body, 1 << 20).unwrap();
            let accept = TaskAccept {
                boot: junto::types::BootId(1),
                answers: vec![AcceptAnswer::Accepted; items.len()],
            };
            (MsgType::TaskAccept, cbor::encode(&accept))
        }
        MsgType::TaskReveal => {
            let TaskReveal { items } = cbor::decode(body, 1 << 20).unwrap();
            let answers = vec![RevealAnswer::Noted; items.len()];
            (
                MsgType::TaskRevealAck,
                cbor::encode(&TaskRevealAck { answers }),
            )
        }
        _ => return None,
    })
}

/// Takes one part, commits to one result, and tells another.
async fn commit_and_lie(liar: &mut Liar, requester: junto::types::EntityId) {
    let mut incoming = liar.incoming();
    let salt = [7; 32];
    loop {
        let Some((msg_type, body)) = liar.answer(&mut incoming, answer).await else {
            continue;
        };
        let outcome = |item: &DelegateItem| {
            let agree = item.agree.unwrap();
            let promised = Promised {
                requester,
                worker: liar.identity.entity_id,
                task: item.task_id,
                token: item.token,
                agree,
            };
            let commitment = promised.commitment(&salt, b"144\n");
            TaskOutcome::Committed { commitment, agree }
        };
        let (task_id, token, outcome): (_, FencingToken, _) = match msg_type {
            MsgType::TaskDelegate => {
                let TaskDelegate { items } = cbor::decode(&body, 1 << 20).unwrap();
                (items[0].task_id, items[0].token, outcome(&items[0]))
            }
            MsgType::TaskReveal => {
                let TaskReveal { items } = cbor::decode(&body, 1 << 20).unwrap();
                let result = b"666\n".to_vec();
                let told = TaskOutcome::Revealed { salt, result };
                (items[0].task_id, items[0].token, told)
            }
            _ => continue,
        };
        let items = vec![ResultItem {
            task_id,
            token,
            outcome,
            spent: 0,
        }];
        let parties = ResultParties {
            requester,
            worker: liar.identity.entity_id,
        };
        let result = TaskResult::sign(items, &parties, liar.identity.key(), [9; 32]);
        let said = liar.say(MsgType::TaskResult, &cbor::encode(&result)).await;
        assert_eq!(said, Ok(MsgType::TaskResultAck));
        if msg_type == MsgType::TaskReveal {
            return;
        }
    }
}

fn json_at(home: &Path, args: &[&str]) -> Option<Value> {
    let output = run_at(home, &[&["--json"], args].concat());
    serde_json::from_slice(&output.stdout).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tells_another_result_than_it_committed_to_is_named() {
    let victim = Victim::start();
    let _squares = [Square::start(&victim), Square::start(&victim)];
    let mut liar = Liar::connect(&victim, u64::from(std::process::id())).await;
    let offer = Offer {
        name: "sq".parse().unwrap(),
        slots: 1,
        price: 0,
    };
    let wall = liar.now().wall;
    liar.entry = liar::entry_offering(vec![offer], &liar.identity, wall, &mut liar.rng);
    liar.shake_patiently().await;
    eventually("three workers are known", LIMIT, || {
        let known = json_at(victim.home(), &["registry", "find", "sq"])?;
        (known.as_array()?.len() == 3).then_some(())
    });
    let status = json_at(victim.home(), &["status"]).unwrap();
    let requester = status["entity_id"].as_str().unwrap().parse().unwrap();
    let args = ["task", "submit", "sq", "--text", "12", "--replicas", "3"];
    let id = json_at(victim.home(), &args).unwrap()["id"].clone();
    let id = id.as_str().unwrap();
    let lies = commit_and_lie(&mut liar, requester);
    tokio::time::timeout(LIMIT, lies).await.unwrap();
    let view = eventually("the task ends", LIMIT, || {
        let view = json_at(victim.home(), &["task", "show", id])?;
        (view["state"] == "completed").then_some(view)
    });
    let cheat = liar.identity.entity_id.to_string();
    assert_eq!(view["dissent"], serde_json::json!([cheat]));
    assert_eq!(verdict_of(&view, &cheat)["verdict"], "false_reveal");
    let output = run_at(victim.home(), &["task", "result", id]);
    assert_eq!(output.stdout, b"144\n");
    // Whoever reads this file sees it too, by the cheat's own signatures.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("task.proof");
    let path = file.to_str().unwrap();
    run_at(victim.home(), &["task", "result", id, "--proof", path]);
    let shown = json_at(dir.path(), &["inbox", "verify", path]).unwrap();
    let of_cheat = |of: &&Value| of["from"] == cheat.as_str();
    let outcomes = shown["outcomes"].as_array().unwrap();
    let fits: Vec<&Value> = outcomes
        .iter()
        .filter(of_cheat)
        .map(|of| &of["fits"])
        .collect();
    assert_eq!(fits, [&Value::Null, &Value::Bool(false)], "{shown}");
    assert_eq!(outcomes[0]["part_of"], id, "{shown}");
    let honest = outcomes.iter().filter(|of| of["fits"] == true);
    assert_eq!(honest.count(), 2, "{shown}");
    // And which result it is that enough of them told.
    for (result, told_by, status) in [("144\n", 2, 0), ("666\n", 0, 1)] {
        let told = dir.path().join("told");
        std::fs::write(&told, result).unwrap();
        let told = told.to_str().unwrap();
        let args = ["inbox", "verify", path, "--result", told];
        let output = run_at(dir.path(), &args);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        let counted = format!("{told_by} of 3 workers told this result");
        assert!(said.contains(&counted), "{said}");
        assert_eq!(output.status.code(), Some(status), "{said}");
        let shown = json_at(dir.path(), &args).unwrap();
        assert_eq!(
            (&shown["told_by"], &shown["of"]),
            (&told_by.into(), &3.into())
        );
    }
}
