//! How a worker does its tasks, with nodes that are processes of their own: what a cancel reaches,
//! what a run finds around it, what is posted to a program.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::node::Node;
use support::{eventually, junto};

const SOON: Duration = Duration::from_secs(90);

impl Node {
    /// One with these settings, which knows `first`.
    fn start(name: &str, first: Option<&Node>, settings: &str) -> Node {
        Node::new(name).settings(settings).knows(first).up()
    }

    /// Two seconds, and what this machine takes for a few commands at the moment: one that is slow
    /// or busy is so at all it does.
    fn two_seconds(&self) -> Duration {
        let begin = Instant::now();
        self.text(&["status"]);
        Duration::from_secs(2) + 20 * begin.elapsed()
    }
}

/// An agent that speaks the API of a node.
struct Fetcher<'a>(&'a Node);

impl Fetcher<'_> {
    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.0.post(&format!("/v1/tasks/{path}"), body)
    }

    fn claim(&self, body: &Value) -> Vec<Value> {
        let (status, tasks) = self.post("claim", body);
        assert_eq!(status, 200, "{tasks}");
        tasks.as_array().unwrap().clone()
    }

    /// Waits for one task.
    fn claim_one(&self, lease_ms: u64) -> Value {
        let ask = json!({"capabilities": ["think"], "wait_ms": 30_000, "lease_ms": lease_ms});
        let tasks = self.claim(&ask);
        assert_eq!(tasks.len(), 1);
        tasks[0].clone()
    }

    /// Says something of a claimed task.
    fn say(&self, what: &str, task: &Value, more: Value) -> (u16, Value) {
        let mut body = more;
        body["claim"] = task["claim"].clone();
        self.post(&format!("{}/{what}", task["id"].as_str().unwrap()), &body)
    }
}

/// Bob with these settings, and alice who knows him.
fn pair(settings: &str) -> (Node, Node) {
    pair_of("", settings)
}

fn pair_of(alice: &str, bob: &str) -> (Node, Node) {
    let bob = Node::start("bob", None, bob);
    let alice = Node::start("alice", Some(&bob), alice);
    alice.await_peer("bob");
    (alice, bob)
}

/// Whether the process runs; a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn pid_in(file: &Path) -> u32 {
    eventually("the process has begun", SOON, || {
        let text = std::fs::read_to_string(file).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    })
}

#[test]
fn a_cancel_reaches_the_command_and_its_grandchildren_within_two_seconds() {
    let notes = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = ["shell", "child", "grandchild"]
        .map(|name| notes.path().join(name))
        .to_vec();
    let [shell, child, grandchild] = [0, 1, 2].map(|at| files[at].display());
    let settings = format!(
        "[serve.nap]\ncommand = '''echo $$ > {shell}\n\
         sh -c 'echo $$ > {child}; sh -c \"echo \\$\\$ > {grandchild}; exec sleep 600\" & wait' &\n\
         wait'''"
    );
    let (alice, bob) = pair(&settings);
    let task = alice.text(&["task", "submit", "nap", "--text", "x"]);
    let pids: Vec<u32> = files.iter().map(|file| pid_in(file)).collect();
    assert!(pids.iter().all(|pid| runs(*pid)));
    let before = alice.two_seconds();
    let begin = Instant::now();
    alice.text(&["task", "cancel", task.trim()]);
    eventually("all three are gone", SOON, || {
        let gone = !pids.iter().any(|pid| runs(*pid));
        gone.then_some(())
    });
    let took = begin.elapsed();
    assert!(took < before.max(alice.two_seconds()), "{took:?}");
    // The folder it worked in went, too.
    eventually("no folder is left", SOON, || {
        let work = bob.home.join("work");
        let lives = std::fs::read_dir(work).ok()?.flatten();
        let left: usize = lives
            .map(|life| std::fs::read_dir(life.path()).unwrap().count())
            .sum();
        (left == 0).then_some(())
    });
}

#[test]
fn a_run_whose_requester_is_gone_goes_on_or_stops_as_it_was_told() {
    let notes = tempfile::tempdir().unwrap();
    let dir = notes.path().display();
    let leases = "[task]\nlease = '6s'\nrenew = '1s'\n";
    let serve = format!(
        "{leases}[serve.nap]\nslots = 2\n\
         command = '''read -r name; echo $$ > {dir}/$name; sleep 600'''"
    );
    let (mut alice, bob) = pair_of(leases, &serve);
    for rule in ["continue", "stop"] {
        alice.text(&["task", "submit", "nap", "--text", rule, "--orphan", rule]);
    }
    let [goes_on, stops] = ["continue", "stop"].map(|name| pid_in(&notes.path().join(name)));
    // It lives as long as its lease is renewed.
    std::thread::sleep(Duration::from_secs(8));
    assert!(runs(goes_on) && runs(stops));
    alice.kill();
    eventually("the one has stopped", SOON, || (!runs(stops)).then_some(()));
    assert!(runs(goes_on), "the other computes on");
    drop(bob);
}

#[test]
fn a_command_hands_parts_of_its_task_on_within_what_it_was_given_and_no_further() {
    let program = junto().get_program().to_owned();
    let program = program.to_str().unwrap();
    // What it is told to do is its input; what it is refused is its result.
    let outer = format!(
        "read -r what\n\
         case $what in\n\
         within) {program} task submit part --text 'one two' --reward 4 --wait;;\n\
         reward) {program} task submit part --text x --reward 99;;\n\
         depth) {program} task submit part --text x --depth 1;;\n\
         snoop) {program} status; {program} task list;;\n\
         cancel) {program} task cancel $({program} task submit nobody --text x);;\n\
         esac 2>&1 || true"
    );
    let bob = format!(
        "[serve.outer]\ncommand = \"\"\"{outer}\"\"\"\ndelegate = true\n\
         [serve.plain]\ncommand = 'env'"
    );
    let (alice, bob) = pair(&bob);
    let carol = Node::start("carol", Some(&bob), "[serve.part]\ncommand = 'wc -w'");
    eventually("bob knows who does the parts", SOON, || {
        let there = bob.text(&["registry", "find", "part"]).contains("carol");
        there.then_some(())
    });
    let ask = |what: &str, more: &[&str]| {
        let submit = ["task", "submit", "outer", "--wait", "--text", what];
        alice.text(&[&submit, more].concat())
    };
    let given = ["--depth", "1", "--reward", "10"];
    assert_eq!(ask("within", &given).trim(), "2");
    let tasks: Value = serde_json::from_str(&alice.text(&["--json", "task", "list"])).unwrap();
    let told = json!({"depth": 1, "reward": "10", "spent": "4"});
    assert_eq!(tasks[0]["budget"], told, "what its part has cost");
    for (what, why) in [
        ("reward", "a reward of 99 is more than the 10"),
        ("depth", "a depth of 1 is more than the 0"),
        ("snoop", "and nothing else"),
    ] {
        let said = ask(what, &given);
        assert!(said.contains(why), "{what}: {said}");
    }
    assert!(
        !ask("snoop", &given).contains("bob"),
        "it sees nothing of the node"
    );
    assert!(
        ask("cancel", &given).contains("is given up"),
        "its own part"
    );
    let said = ask("within", &[]);
    assert!(said.contains("its depth is 0"), "{said}");
    let env = alice.text(&["task", "submit", "plain", "--text", "x", "--wait"]);
    assert!(
        !env.contains("JUNTO_API"),
        "only where it is allowed: {env}"
    );
    // What bob handed on for others has ended with their tasks.
    let parts: Value = bob.json(&["task", "list"]);
    let parts = parts.as_array().unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(
        parts[0]["budget"],
        json!({"depth": 0, "reward": "4", "spent": "0"})
    );
    drop(carol);
}

/// Hands a part on as who was given this address and token; then asks for more than that allows.
fn hands_on(api: &Value, token: &Value) -> (u16, u16) {
    let tokio = tokio::runtime::Builder::new_current_thread();
    let tokio = { tokio }.enable_all().build().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (api, token) = (api.as_str().unwrap(), token.as_str().unwrap());
    let part = json!({"capability": "part", "input_text": "one two", "reward": "4"});
    let part = http.post(format!("{api}/v1/tasks")).json(&part);
    let snoop = http.get(format!("{api}/v1/status"));
    tokio.block_on(async {
        let status = async |call: reqwest::RequestBuilder| {
            let answer = call.bearer_auth(token).send().await.unwrap();
            answer.status().as_u16()
        };
        (status(part).await, status(snoop).await)
    })
}

#[test]
fn agents_and_programs_hand_parts_on_as_long_as_they_have_the_task() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (alice, bob) = pair(&format!(
        "[serve.think]\npull = true\ndelegate = true\n\
         [serve.post]\nurl = 'http://{}/'\ndelegate = true",
        listener.local_addr().unwrap()
    ));
    let program = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = Vec::new();
        let mut chunk = [0; 4_096];
        while !said.ends_with(b"begin.") {
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0);
            said.extend_from_slice(&chunk[..read]);
        }
        let said = String::from_utf8(said).unwrap();
        let header = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            json!(line.unwrap_or_else(|| panic!("{name} in {said}")).trim())
        };
        let given = (header("x-junto-api:"), header("x-junto-api-token:"));
        let came_to = hands_on(&given.0, &given.1);
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        stream.write_all(answer.as_bytes()).unwrap();
        (given, came_to)
    });
    let given = ["--depth", "1", "--reward", "9"];
    let ask = |what: &[&str]| alice.text(&[&["task", "submit"], what, &given[..]].concat());
    let agent = Fetcher(&bob);
    ask(&["think", "--text", "begin."]);
    let task = agent.claim_one(60_000);
    let (api, token) = (&task["api"], &task["api_token"]);
    assert_eq!(hands_on(api, token), (201, 403));
    let done = agent.say("complete", &task, json!({"result_text": "ok"}));
    assert_eq!(done.0, 204, "{}", done.1);
    assert_eq!(hands_on(api, token), (401, 401), "its claim is over");
    assert_eq!(ask(&["post", "--text", "begin.", "--wait"]).trim(), "ok");
    let ((api, token), came_to) = program.join().unwrap();
    assert_eq!(came_to, (201, 403));
    assert_eq!(hands_on(&api, &token), (401, 401), "it has answered");
}

#[test]
fn each_run_has_a_folder_of_its_own_and_its_limits() {
    let (alice, bob) = pair(
        "[serve.here]\ncommand = 'pwd; ls -A; touch left'\n\
         [serve.hungry]\ncommand = 'dd if=/dev/zero of=/dev/null bs=256M count=1'\nmemory = '64MiB'\n\
         [serve.long]\ncommand = 'head -c 2000 /dev/zero'\noutput = '1KiB'\n\
         [serve.etc]\ncommand = 'pwd'\ndir = '/etc'\n\
         [task]\nfailures_max = 1",
    );
    let dirs: Vec<String> = (0..2)
        .map(|_| alice.text(&["task", "submit", "here", "--text", "x", "--wait"]))
        .collect();
    assert_ne!(dirs[0], dirs[1]);
    for dir in &dirs {
        assert_eq!(dir.lines().count(), 1, "the folder was not empty: {dir}");
        let work = bob.home.join("work");
        assert!(Path::new(dir.trim()).starts_with(&work), "{dir}");
    }
    let etc = alice.text(&["task", "submit", "etc", "--text", "x", "--wait"]);
    assert_eq!(etc, "/etc\n");
    let failing = |capability: &str| {
        let submit = ["task", "submit", capability, "--text", "x", "--wait"];
        let wait = [&submit[..], &["--deadline", "2m"]].concat();
        let output = alice.cli(&wait);
        assert!(!output.status.success(), "{capability}");
        let id = {
            let list: Value =
                serde_json::from_str(&alice.text(&["--json", "task", "list"])).unwrap();
            let of_it = |task: &&Value| task["capability"] == capability;
            let task = list.as_array().unwrap().iter().find(of_it).unwrap().clone();
            task["id"].as_str().unwrap().to_owned()
        };
        alice.text(&["--json", "task", "show", &id])
    };
    assert!(failing("hungry").contains("exit status 1"));
    assert!(failing("long").contains("the result is larger than 1 KiB"));
    // The node was not harmed by either.
    assert!(bob.cli(&["status"]).status.success());
}

#[test]
fn a_capability_may_be_a_program_that_is_posted_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!(
        "[serve.shout]\nurl = 'http://{}/shout'",
        listener.local_addr().unwrap()
    );
    let (called, calls) = std::sync::mpsc::channel();
    let program = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = Vec::new();
        let mut chunk = [0; 4_096];
        while !said.ends_with(b"quietly") {
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0);
            said.extend_from_slice(&chunk[..read]);
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nQUIETLY";
        stream.write_all(answer.as_bytes()).unwrap();
        // Its second task is canceled: the connection ends under it.
        let (mut stream, _) = listener.accept().unwrap();
        called.send(()).unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        String::from_utf8(all).unwrap()
    });
    let (alice, _bob) = pair(&settings);
    let said = alice.text(&["task", "submit", "shout", "--text", "quietly", "--wait"]);
    assert_eq!(said.trim_end(), "QUIETLY");
    let task = alice.text(&["task", "submit", "shout", "--text", "never"]);
    calls.recv_timeout(SOON).unwrap();
    let before = alice.two_seconds();
    let begin = Instant::now();
    alice.text(&["task", "cancel", task.trim()]);
    let heard = program.join().unwrap();
    let took = begin.elapsed();
    let limit = before.max(alice.two_seconds());
    assert!(took < limit, "heard of it after {took:?}");
    assert!(
        heard.is_empty() || heard.contains("x-junto-task-id"),
        "{heard}"
    );
}

#[test]
fn agents_fetch_tasks_and_a_claim_that_lapsed_has_no_say() {
    let (alice, bob) = pair("[serve.think]\npull = true\nslots = 8\n[serve.wc]\ncommand = 'wc -w'");
    let agent = Fetcher(&bob);
    assert!(agent.claim(&json!({})).is_empty(), "nothing is there yet");
    let id = alice.text(&["task", "submit", "think", "--text", "what is it"]);
    let first = agent.claim_one(5_000);
    assert_eq!(first["id"], id.trim());
    assert_eq!(first["input_text"], "what is it");
    let span = |task: &Value| {
        let context = task["traceparent"].as_str().unwrap().to_owned();
        let trace = id.trim().replace('-', "");
        let span = context.strip_prefix(&format!("00-{trace}-")).unwrap();
        span.strip_suffix("-01").unwrap().to_owned()
    };
    assert_eq!(span(&first).len(), 16);
    assert_eq!(
        (&first["capability"], &first["lease_ms"]),
        (&json!("think"), &json!(5_000))
    );
    assert!(agent.claim(&json!({})).is_empty(), "somebody has it");
    // It is silent for too long, and the next one gets it.
    let second = agent.claim_one(60_000);
    assert_eq!(second["id"], first["id"]);
    assert_ne!(second["claim"], first["claim"]);
    assert_ne!(span(&second), span(&first), "each claim is a span");
    for (what, more) in [
        ("extend", json!({})),
        ("complete", json!({"result_text": "wrong"})),
        ("fail", json!({"reason": "wrong"})),
    ] {
        let (status, problem) = agent.say(what, &first, more);
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("conflict")),
            "{what}"
        );
    }
    assert_eq!(
        agent.say("extend", &second, json!({"lease_ms": 50_000})).0,
        204
    );
    let result = json!({"result_text": "right"});
    assert_eq!(agent.say("complete", &second, result.clone()).0, 204);
    assert_eq!(agent.say("complete", &second, result).0, 204, "said again");
    let other = json!({"result_text": "other"});
    assert_eq!(agent.say("complete", &second, other).0, 409, "too late");
    assert_eq!(agent.say("extend", &second, json!({})).0, 409);
    let shown: Value = eventually("alice has the result", SOON, || {
        let shown = alice.json(&["task", "show", id.trim()]);
        (shown["state"] == "completed").then_some(shown)
    });
    assert_eq!(alice.text(&["task", "result", id.trim()]), "right");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_cancel_reaches_the_agent_and_a_kept_result_survives_a_kill() {
    let (alice, mut bob) = pair("[serve.think]\npull = true\n[task]\nlease = '5s'\nrenew = '1s'");
    let agent = Fetcher(&bob);
    let canceled = alice.text(&["task", "submit", "think", "--text", "a"]);
    let task = agent.claim_one(60_000);
    alice.text(&["task", "cancel", canceled.trim()]);
    let begin = Instant::now();
    eventually("the agent hears of it", SOON, || {
        match agent.say("extend", &task, json!({})) {
            (204, _) => None,
            (410, problem) if problem["code"] == "gone" => Some(()),
            other => panic!("{other:?}"),
        }
    });
    let took = begin.elapsed();
    assert!(took < alice.two_seconds(), "{took:?}");
    assert_eq!(agent.say("complete", &task, json!({})).0, 410);
    let kept = alice.text(&["task", "submit", "think", "--text", "b"]);
    let task = agent.claim_one(60_000);
    let result = json!({"result": "AAEC"});
    assert_eq!(agent.say("complete", &task, result).0, 204);
    bob.crash();
    eventually("alice has the result", Duration::from_secs(150), || {
        let output = alice.cli(&["task", "result", kept.trim()]);
        (output.status.success() && output.stdout == [0, 1, 2]).then_some(())
    });
}

/// Ends a node as a person does.
fn stop(node: &mut Node) {
    node.signal(Signal::SIGTERM);
    node.await_end();
}

#[test]
fn nodes_that_are_drained_and_restarted_one_after_the_other_run_no_task_twice() {
    let notes = tempfile::tempdir().unwrap();
    let runs = notes.path().join("runs");
    let settings = format!(
        "[serve.nap]\ncommand = 'echo $JUNTO_TASK_ID >> {}; sleep 0.5'\nslots = 2",
        runs.display()
    );
    let (alice, bob) = pair(&settings);
    let carol = Node::start("carol", Some(&alice), &settings);
    alice.await_peer("carol");
    let count = 30;
    let submit = ["task", "submit", "nap", "--text", "x"];
    let tasks: Vec<String> = (0..count).map(|_| alice.text(&submit)).collect();
    let mut nodes = [("bob", bob), ("carol", carol)];
    for (name, node) in &mut nodes {
        let said = node.text(&["drain"]);
        assert!(said.starts_with("Nothing runs here"), "{said}");
        let view: Value = node.json(&["drain"]);
        assert_eq!(
            (&view["draining"], &view["running"]),
            (&json!(true), &json!(0))
        );
        stop(node);
        node.start_again();
        alice.await_peer(name);
    }
    for task in &tasks {
        eventually("every task completes", Duration::from_secs(240), || {
            let shown = alice.json(&["task", "show", task.trim()]);
            (shown["state"] == "completed").then_some(())
        });
    }
    let ran = std::fs::read_to_string(&runs).unwrap();
    let ran: Vec<&str> = ran.lines().collect();
    let once: std::collections::BTreeSet<&str> = ran.iter().copied().collect();
    assert_eq!((ran.len(), once.len()), (count, count));
}

#[test]
fn a_node_that_is_told_to_stop_lets_what_runs_end_if_it_is_set_so() {
    let notes = tempfile::tempdir().unwrap();
    let runs = notes.path().join("runs");
    let settings = format!(
        "[serve.nap]\ncommand = 'echo $JUNTO_TASK_ID >> {}; sleep 2; echo done'\n\
         [task]\ndrain = '2m'",
        runs.display()
    );
    let (alice, mut bob) = pair(&settings);
    let task = alice.text(&["task", "submit", "nap", "--text", "x"]);
    eventually("it runs", SOON, || runs.exists().then_some(()));
    let begin = Instant::now();
    stop(&mut bob);
    assert!(
        begin.elapsed() < Duration::from_secs(90),
        "it waited for more"
    );
    // The result was handed over before the node ended: nobody needs it back.
    assert_eq!(alice.text(&["task", "result", task.trim()]), "done\n");
    assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 1);
}
