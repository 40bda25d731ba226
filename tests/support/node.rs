//! A node of its own, with settings of its own, that can be killed and brought back. What only one
//! test file asks of it is an `impl Node` there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::Value;

use super::{eventually, junto, run_at};

const SOON: Duration = Duration::from_secs(90);
const LONG: Duration = Duration::from_secs(150);
const SHORT: Duration = Duration::from_millis(50);

/// A free port of a loopback address that no test beside this one has: a node that was killed finds
/// it free when it comes back.
fn anywhere() -> String {
    let [a, b, c] = std::array::from_fn(|_| rand::random_range(1..=254_u8));
    format!("/ip4/127.{a}.{b}.{c}/tcp/0")
}

/// See the module. `Node::new("bob").settings("…").knows(Some(&alice)).up()`.
pub struct Node {
    pub name: String,
    pub home: PathBuf,
    /// Removed with the node, where the home is nobody else's.
    _own: Option<tempfile::TempDir>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    listen: String,
    process: Option<Child>,
}

impl Node {
    /// One whose home goes with it.
    pub fn new(name: &str) -> Node {
        let own = tempfile::tempdir().unwrap();
        let mut node = Node::within(own.path(), name);
        node._own = Some(own);
        node
    }

    /// One whose home is a folder of its name in `dir`.
    pub fn within(dir: &Path, name: &str) -> Node {
        Node::at(&dir.join(name), name)
    }

    pub fn at(home: &Path, name: &str) -> Node {
        fs::create_dir_all(home).unwrap();
        Node {
            name: name.to_owned(),
            home: home.to_owned(),
            _own: None,
            args: Vec::new(),
            env: Vec::new(),
            listen: anywhere(),
            process: None,
        }
    }

    /// With these arguments of `junto up`.
    pub fn args(mut self, args: &[&str]) -> Node {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    pub fn env(mut self, env: &[(&str, &str)]) -> Node {
        let env = env.iter().map(|(key, value)| (*key, *value));
        self.env
            .extend(env.map(|(key, value)| (key.to_owned(), value.to_owned())));
        self
    }

    /// With this `junto.toml`.
    pub fn settings(self, settings: &str) -> Node {
        fs::write(self.home.join("junto.toml"), settings).unwrap();
        self
    }

    /// With this one to begin with, if any.
    pub fn knows(self, first: Option<&Node>) -> Node {
        match first {
            Some(first) => self.args(&["--bootstrap", &first.address()]),
            None => self,
        }
    }

    /// Starts it, and waits until it answers.
    pub fn up(mut self) -> Node {
        self.start_again();
        // From now on it comes back where others look for it.
        let address = self.address();
        self.listen = address.split("/p2p/").next().unwrap().to_owned();
        self
    }

    /// Starts it after it was killed.
    pub fn start_again(&mut self) {
        let _ = fs::remove_file(self.home.join("node.json"));
        let mut command: Command = junto();
        command.arg("--home").arg(&self.home);
        command.args(["up", "--no-mdns", "--name", &self.name]);
        command.args(["--listen", &self.listen, "--api", "127.0.0.1:0"]);
        if !self.args.iter().any(|arg| arg == "--passphrase-file") {
            command.arg("--no-passphrase");
        }
        let env = self.env.iter().map(|(key, value)| (key, value));
        command.args(&self.args).envs(env).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        eventually("the node is up", SOON, || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
            self.try_json(&["status"])
        });
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// kill -9, and back again.
    pub fn crash(&mut self) {
        self.kill();
        self.start_again();
    }

    pub fn pid(&self) -> Pid {
        let process = self.process.as_ref().expect("it runs");
        Pid::from_raw(process.id().cast_signed())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn await_end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.wait().unwrap();
        }
    }

    /// What it says of itself in its home.
    pub fn file(&self) -> Value {
        let text = fs::read(self.home.join("node.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    pub fn address(&self) -> String {
        self.file()["listen"][0].as_str().unwrap().to_owned()
    }

    /// Where its API is: `HOST:PORT`.
    pub fn api(&self) -> String {
        let file = self.file();
        let api = file["api"].as_str().unwrap();
        api.trim_start_matches("http://").to_owned()
    }

    pub fn token(&self) -> String {
        let text = fs::read_to_string(self.home.join("api.token")).unwrap();
        text.trim().to_owned()
    }

    pub fn entity(&self) -> String {
        self.file()["entity_id"].as_str().unwrap().to_owned()
    }

    /// Runs a command against it.
    pub fn cli(&self, args: &[&str]) -> Output {
        run_at(&self.home, args)
    }

    /// What a command that must succeed prints.
    pub fn text(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {args:?}: {errors}", self.name);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with `--json`.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[&["--json"], args].concat())).unwrap()
    }

    /// The same, or none if the command fails.
    pub fn try_json(&self, args: &[&str]) -> Option<Value> {
        let output = self.cli(&[&["--json"], args].concat());
        let good = output.status.success();
        good.then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// A call of its HTTP interface: the status and the body.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut call = client
            .request(method, format!("http://{}{path}", self.api()))
            .bearer_auth(self.token())
            .timeout(SOON);
        if let Some(body) = body {
            call = call.json(body);
        }
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let response = call.send().await.unwrap();
            let status = response.status().as_u16();
            (status, response.text().await.unwrap())
        })
    }

    /// The status, and the body if there is one.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.call(Method::POST, path, Some(body));
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Waits until it has a session with `name`.
    pub fn await_peer(&self, name: &str) {
        eventually("the peers know each other", SOON, || {
            self.cli(&["alive", name]).status.success().then_some(())
        });
    }

    /// The most memory it has had since it was last started, in MiB.
    pub fn peak_mib(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() / 1024
    }

    /// How many large inputs and results it keeps.
    pub fn payloads(&self) -> usize {
        fs::read_dir(self.home.join("payloads")).map_or(0, Iterator::count)
    }

    /// Hands over a file, and returns the task's id.
    pub fn submit(&self, capability: &str, file: &Path) -> String {
        let file = file.to_str().unwrap();
        let task = self.json(&["task", "submit", capability, "--input", file]);
        task["id"].as_str().unwrap().to_owned()
    }

    /// Waits until `look` finds something while this node stands still, and leaves it so. In
    /// between it goes on for a moment only: what lasts longer is not missed, however quick the
    /// machine is and however slow the look.
    pub fn await_while_still<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let mut moment = SHORT;
        eventually(what, LONG, || {
            self.signal(Signal::SIGCONT);
            std::thread::sleep(moment);
            self.signal(Signal::SIGSTOP);
            let begin = Instant::now();
            let found = look();
            // Where looks are slow, so is all else.
            moment = begin.elapsed().clamp(SHORT, 4 * SHORT);
            found
        })
    }

    /// Waits until the task's input or result is on its way to or from `other`, which stands still
    /// then.
    pub fn await_moving(&self, other: &Node, task: &str, what: &str) {
        other.await_while_still(&format!("the {what} is on its way"), || {
            let view = self.try_json(&["task", "show", task])?;
            assert_ne!(view["state"], "completed", "it was too quick to be stopped");
            let moves = view["moving"]["what"] == what;
            let done = view["moving"]["done_bytes"].as_u64().unwrap_or(0);
            (moves && done > 0).then_some(())
        });
    }

    pub fn await_completed(&self, task: &str) {
        eventually("the task is completed", LONG, || {
            let view = self.try_json(&["task", "show", task])?;
            let state = view["state"].as_str().unwrap().to_owned();
            assert_ne!(state, "failed", "{view}");
            (state == "completed").then_some(())
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that was stopped does not die before it goes on.
        if self.process.is_some() {
            let _ = kill(self.pid(), Signal::SIGCONT);
        }
        self.kill();
    }
}
