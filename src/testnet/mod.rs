//! L5: testnets: many real node processes on this machine, in a network of their own.
//!
//! A node of a testnet is `junto --home D/nodeI up` as a child process, told everything by its own
//! `junto.toml`, so what runs here is what runs anywhere; and a person can stop, kill and restart
//! any of them by hand. This side only starts, asks over the HTTP API, shows, and stops.
//!
//! The way of a run: prepare the homes → start the first node, then the others → wait until every
//! registry lists every node → write `testnet.json` → run the command of `--exec`, or stay until a
//! signal → stop them all. Whatever goes wrong on it, nothing that was started stays behind.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::types::Capability;

mod converge;
mod demo;
mod exec;
mod files;
mod fleet;
mod node;
mod process;
mod screen;
mod settings;
mod spawn;
mod watch;

pub use demo::demo;

use exec::Exec;
use files::TestnetFile;
use fleet::Fleet;
use process::Signals;
use screen::Screen;
use settings::NodePlan;

/// Nodes of one testnet: each is a process with its own store and a connection to many others.
pub const NODES_MAX: usize = 256;
/// Where a testnet lives that was given no folder.
const DEFAULT_DIR: &str = "junto-testnet";

/// What to run.
#[derive(Debug, Clone)]
pub struct TestnetOptions {
    /// How many nodes, 1 to [`NODES_MAX`].
    pub nodes: usize,
    /// Where they live; `./junto-testnet` if absent and not `ephemeral`.
    pub dir: Option<PathBuf>,
    /// Live in a temporary folder that is removed at the end.
    pub ephemeral: bool,
    /// Capabilities that every node serves, with the command of each.
    pub serve: Vec<(Capability, String)>,
    /// Every node's wake hook.
    pub on_wake: Option<String>,
    /// Run this once the testnet is ready, then stop with its status.
    pub exec: Option<String>,
    /// Start nodes again that die.
    pub restart: bool,
    /// How long it may take until every registry lists every node.
    pub ready_timeout: Duration,
    /// Let the nodes look for each other by mDNS too.
    pub mdns: bool,
    /// Print `testnet.json` on stdout when ready.
    pub json: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The exit status: 0, the command's own, or 4 when the testnet was not ready in time.
    pub status: u8,
}

/// What went wrong, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TestnetError {
    /// The options make no sense, or not together with what is on the disk.
    #[error("{0}")]
    Usage(String),
    #[error("cannot use {path}: {source}", path = path.display())]
    Folder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the settings in {path} cannot be used ({why}): mend or remove the file", path = path.display())]
    Settings { path: PathBuf, why: String },
    #[error("cannot start {name}: {source}")]
    Start {
        name: String,
        source: std::io::Error,
    },
    #[error("the API of {name} cannot be used: {why}")]
    Api { name: String, why: String },
    /// A node ended before the testnet was ready.
    #[error("{name} {how} before the testnet was ready{}", last_words(tail))]
    Died {
        name: String,
        how: String,
        tail: String,
    },
    #[error("the testnet was not ready within {}: {}", screen::duration(*timeout), lacking.join("; "))]
    NotConverged {
        timeout: Duration,
        lacking: Vec<String>,
    },
    #[error("cannot run the command of --exec: {0}")]
    Exec(std::io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("cannot write to stdout: {0}")]
    Stdout(std::io::Error),
    /// Something in the demo did not happen.
    #[error("the demo did not work out: {0}")]
    Demo(String),
}

fn last_words(tail: &str) -> String {
    if tail.is_empty() {
        "; its log is empty".to_owned()
    } else {
        format!("; its log ends:{tail}")
    }
}

impl TestnetError {
    /// The exit status of the program that ends with this error.
    pub fn exit_status(&self) -> u8 {
        match self {
            TestnetError::Usage(_) => 2,
            TestnetError::NotConverged { .. } => 4,
            _ => 1,
        }
    }
}

/// Runs a testnet until a signal comes or the command of `--exec` has ended.
///
/// Events go to stderr. Call it from a place that lives as long as the program.
///
/// # Errors
/// [`TestnetError`]; by then every process is stopped. A testnet that is not ready in time is no
/// error but an [`Outcome`] with status 4, told on stderr.
pub async fn run(options: TestnetOptions) -> Result<Outcome, TestnetError> {
    let home = Home::choose(&options)?;
    let mut signals = Signals::new()?;
    let screen = Screen::new(options.exec.is_none() && !options.json);
    let mut fleet = Fleet::open(home.path(), &plans(&options), options.restart)?;
    let result = drive(&options, &mut fleet, &mut signals, &screen).await;
    screen.clear();
    screen.say("stopping");
    fleet.stop(&mut signals, &screen).await;
    drop(fleet);
    home.leave(&screen);
    match result {
        Err(error @ TestnetError::NotConverged { .. }) => {
            screen.say(&error.to_string());
            Ok(Outcome {
                status: error.exit_status(),
            })
        }
        other => other,
    }
}

async fn drive(
    options: &TestnetOptions,
    fleet: &mut Fleet,
    signals: &mut Signals,
    screen: &Screen,
) -> Result<Outcome, TestnetError> {
    screen.say(&format!(
        "{}: starting {} nodes in {}",
        fleet.network(),
        options.nodes,
        fleet.dir().display()
    ));
    let took = tokio::select! {
        biased;
        signal = signals.next() => return Ok(interrupted(options, signal)),
        took = fleet.bring_up(options.ready_timeout, screen) => took?,
    };
    screen.say(&format!(
        "{} nodes converged in {}",
        options.nodes,
        screen::duration(took)
    ));
    let converged_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let file = fleet.file(converged_ms);
    file.write(fleet.dir())?;
    if options.json {
        print_line(&file.to_json())?;
    }
    let Some(command) = &options.exec else {
        return tokio::select! {
            biased;
            signal = signals.next() => Ok(interrupted(options, signal)),
            never = watch::watch(fleet, converged_ms, screen) => match never? {},
        };
    };
    let path = TestnetFile::path(fleet.dir());
    let mut exec =
        Exec::start(fleet.spawner(), command, &path, options.json).map_err(TestnetError::Exec)?;
    let result = tokio::select! {
        biased;
        signal = signals.next() => Ok(interrupted(options, signal)),
        status = exec.wait() =>
            status.map(|status| Outcome { status }).map_err(TestnetError::Exec),
        never = watch::watch(fleet, converged_ms, screen) => match never? {},
    };
    exec.stop().await;
    result
}

/// A signal is the normal end of a testnet, but not of the command that should have run in it.
fn interrupted(options: &TestnetOptions, signal: Signal) -> Outcome {
    let killed = 128 + u8::try_from(signal as i32).unwrap_or(0);
    Outcome {
        status: if options.exec.is_some() { killed } else { 0 },
    }
}

fn print_line(line: &str) -> Result<(), TestnetError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(TestnetError::Stdout)
}

fn plans(options: &TestnetOptions) -> Vec<NodePlan> {
    let plan = |index| NodePlan {
        name: format!("node{index}"),
        serve: options.serve.clone(),
        on_wake: options.on_wake.clone(),
        mdns: options.mdns,
        ..NodePlan::default()
    };
    (0..options.nodes).map(plan).collect()
}

/// The folder of a testnet.
enum Home {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Home {
    fn choose(options: &TestnetOptions) -> Result<Home, TestnetError> {
        if !(1..=NODES_MAX).contains(&options.nodes) {
            return Err(TestnetError::Usage(format!(
                "a testnet has 1 to {NODES_MAX} nodes, not {}: give another --nodes",
                options.nodes
            )));
        }
        match (&options.dir, options.ephemeral) {
            (Some(_), true) => Err(TestnetError::Usage(
                "--dir names a folder to keep and --ephemeral asks for none: give one of them"
                    .into(),
            )),
            (Some(dir), false) => Ok(Home::Kept(dir.clone())),
            (None, false) => Ok(Home::Kept(PathBuf::from(DEFAULT_DIR))),
            (None, true) => Home::temporary(),
        }
    }

    fn temporary() -> Result<Home, TestnetError> {
        let made = tempfile::Builder::new().prefix("junto-testnet-").tempdir();
        let path = std::env::temp_dir();
        made.map(Home::Temporary)
            .map_err(|source| TestnetError::Folder { path, source })
    }

    fn path(&self) -> &Path {
        match self {
            Home::Kept(path) => path,
            Home::Temporary(dir) => dir.path(),
        }
    }

    /// Removes a temporary folder.
    fn leave(self, screen: &Screen) {
        if let Home::Temporary(dir) = self {
            let path = dir.path().to_owned();
            if let Err(error) = dir.close() {
                screen.say(&format!("{} could not be removed: {error}", path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> TestnetOptions {
        TestnetOptions {
            nodes: 3,
            dir: None,
            ephemeral: false,
            serve: Vec::new(),
            on_wake: None,
            exec: None,
            restart: false,
            ready_timeout: Duration::from_secs(60),
            mdns: false,
            json: false,
        }
    }

    #[test]
    fn contradictions_are_wrong_usage() {
        let both = TestnetOptions {
            ephemeral: true,
            dir: Some("/x".into()),
            ..options()
        };
        assert_eq!(Home::choose(&both).err().unwrap().exit_status(), 2);
        for nodes in [0, NODES_MAX + 1] {
            let error = Home::choose(&TestnetOptions { nodes, ..options() })
                .err()
                .unwrap();
            assert_eq!(error.exit_status(), 2);
        }
        assert_eq!(
            Home::choose(&options()).unwrap().path(),
            Path::new(DEFAULT_DIR)
        );
    }

    #[test]
    fn a_signal_is_a_clean_end_unless_a_command_was_cut() {
        assert_eq!(interrupted(&options(), Signal::SIGINT).status, 0);
        let with = TestnetOptions {
            exec: Some("true".to_owned()),
            ..options()
        };
        assert_eq!(interrupted(&with, Signal::SIGTERM).status, 143);
    }
}
