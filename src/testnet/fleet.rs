//! All nodes of a testnet: brought up, watched until they know each other, and stopped together.
//!
//! Invariants:
//! 1. The first node starts alone; the others start once it can be asked, at most
//!    [`STARTING_MAX`] at a time.
//! 2. A node is started again only if that was asked for, and less and less often.
//! 3. No way out leaves a process behind: [`Fleet::stop`] in order, `Drop` in haste, and the
//!    [`Spawner`] for whatever remains.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::TestnetError;
use super::converge::{self, Progress};
use super::files::{NodeEntry, TestnetFile};
use super::node::{Death, Node, State};
use super::process::Signals;
use super::screen::Screen;
use super::settings::{NodePlan, Settings};
use super::spawn::Spawner;

/// Processes that start at the same time: each makes keys and opens a store.
const STARTING_MAX: usize = 6;
/// How often what cannot be awaited (files, children) is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between two rounds of asking every registry.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long a node may take to stop in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The same when there is no time left to be polite.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
/// A node that dies so often in a row before the testnet is ready is not started again.
const EARLY_DEATHS_MAX: u32 = 5;
/// The first wait before a restart; it doubles with each death in a row.
const RESTART_AFTER: Duration = Duration::from_secs(1);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(30);
/// A node that was up for so long starts with a clean slate.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// The nodes and the thread that started them. The order of the fields is the order of the end.
pub(super) struct Fleet {
    nodes: Vec<Node>,
    dir: PathBuf,
    network: String,
    restart: bool,
    spawner: Spawner,
}

impl Fleet {
    /// Prepares the homes of the planned nodes in `dir`, or finds them there from an earlier run.
    pub(super) fn open(
        dir: &Path,
        plans: &[NodePlan],
        restart: bool,
    ) -> Result<Fleet, TestnetError> {
        let fault = |source| TestnetError::Folder {
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(fault)?;
        let dir = dir.canonicalize().map_err(fault)?;
        if dir.to_str().is_none() {
            return Err(TestnetError::Usage(format!(
                "the folder {} has a name that is not UTF-8: choose another with --dir",
                dir.display()
            )));
        }
        let network = match found_network(&dir, plans)? {
            Some(network) => network,
            None => format!("testnet-{:06x}", rand::random::<u32>() & 0x00ff_ffff),
        };
        // Whoever waits for this file waits for *this* run to be ready.
        match std::fs::remove_file(TestnetFile::path(&dir)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
            _ => {}
        }
        let spawner = Spawner::new().map_err(fault)?;
        let nodes = plans
            .iter()
            .map(|plan| Node::prepare(&dir, plan, &network))
            .collect::<Result<_, _>>()?;
        Ok(Fleet {
            nodes,
            dir,
            network,
            restart,
            spawner,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn network(&self) -> &str {
        &self.network
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    pub(super) fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Starts every node and waits until each registry lists all of them. Returns how long that
    /// took from the start of the first process.
    pub(super) async fn bring_up(
        &mut self,
        timeout: Duration,
        screen: &Screen,
    ) -> Result<Duration, TestnetError> {
        let begun = Instant::now();
        let deadline = begun + timeout;
        let late = |lacking| TestnetError::NotConverged { timeout, lacking };
        self.start_all(deadline, screen)
            .await
            .map_err(|error| error.unwrap_or_else(late))?;
        let mut progress = Progress::default();
        loop {
            self.tend_early(screen)?;
            let lacking = progress.round(&self.nodes).await;
            if lacking.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(late(lacking));
            }
            sleep(ASK_EVERY).await;
        }
        let took = begun.elapsed();
        // The first node was told of nobody. When it comes back alone it should find the others.
        if let Some(second) = self.nodes.get(1).and_then(Node::running) {
            self.nodes[0].bootstrap_from(&second.dial_addresses())?;
        }
        Ok(took)
    }

    /// Starts the nodes, the first before the others (invariant 1). A run past the deadline is
    /// told as the list of nodes that are not up.
    async fn start_all(&mut self, deadline: Instant, screen: &Screen) -> Result<(), Late> {
        let mut next = 0;
        loop {
            let starting = self.count(State::Starting);
            let entry = self.nodes[0]
                .running()
                .filter(|_| self.nodes[0].state() == State::Up);
            let entry = entry.map(super::files::NodeFile::dial_addresses);
            let room = if entry.is_some() { STARTING_MAX } else { 1 };
            for _ in starting..room.min(starting + self.nodes.len() - next) {
                match &entry {
                    Some(addresses) => self.nodes[next].bootstrap_from(addresses)?,
                    None if next > 0 => break,
                    None => self.nodes[0].bootstrap_from(&[])?,
                }
                self.nodes[next].start(&self.spawner)?;
                next += 1;
            }
            self.tend_early(screen)?;
            if self.count(State::Up) == self.nodes.len() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Late::NotUp(converge::not_up(&self.nodes)));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn count(&self, state: State) -> usize {
        self.nodes
            .iter()
            .filter(|node| node.state() == state)
            .count()
    }

    /// Looks after the nodes while the testnet is not ready: then a death is final, unless nodes
    /// are to be started again and this one has not used that up.
    fn tend_early(&mut self, screen: &Screen) -> Result<(), TestnetError> {
        for death in self.tend(screen)? {
            let node = self.nodes.iter().find(|node| node.name() == death.name);
            if !self.restart || node.is_some_and(|node| node.deaths >= EARLY_DEATHS_MAX) {
                return Err(TestnetError::Died {
                    name: death.name,
                    how: death.how,
                    tail: death.tail,
                });
            }
            screen.say_death(&death);
        }
        Ok(())
    }

    /// Takes note of nodes that became ready or died, and starts dead ones that are due.
    pub(super) fn tend(&mut self, screen: &Screen) -> Result<Vec<Death>, TestnetError> {
        let mut deaths = Vec::new();
        for node in &mut self.nodes {
            if node.settle()? {
                screen.say_started(node);
            }
            let uptime = node.uptime();
            if let Some(death) = node.bury() {
                node.deaths = if uptime >= STEADY_AFTER {
                    1
                } else {
                    node.deaths.saturating_add(1)
                };
                let wait = RESTART_AFTER * 2u32.saturating_pow(node.deaths.min(6) - 1);
                let due = Instant::now() + wait.min(RESTART_AFTER_MAX);
                node.restart_at = self.restart.then_some(due);
                deaths.push(death);
            }
            if node.restart_at.is_some_and(|due| Instant::now() >= due) {
                node.start(&self.spawner)?;
            }
        }
        Ok(deaths)
    }

    /// `testnet.json` of the nodes as they are now.
    pub(super) fn file(&self, converged_ms: u64) -> TestnetFile {
        let entry = |node: &Node| Some(NodeEntry::new(node.name(), node.home(), node.running()?));
        TestnetFile {
            network: self.network.clone(),
            converged_ms,
            nodes: self.nodes.iter().filter_map(entry).collect(),
        }
    }

    /// Asks every node to stop and waits; those that take too long, and all of them when another
    /// signal comes, are killed.
    pub(super) async fn stop(&mut self, signals: &mut Signals, screen: &Screen) {
        self.signal_all(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !self.all_gone() && Instant::now() < deadline {
            tokio::select! {
                _ = signals.next() => break,
                () = sleep(LOOK_EVERY) => {}
            }
        }
        if self.all_gone() {
            return;
        }
        for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
            screen.say(&format!(
                "{} does not stop by itself and is killed",
                node.name()
            ));
        }
        self.signal_all(Signal::SIGKILL);
        let deadline = Instant::now() + DROP_TIMEOUT;
        while !self.all_gone() && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
    }

    fn signal_all(&self, signal: Signal) {
        for node in &self.nodes {
            node.signal(signal);
        }
    }

    fn all_gone(&mut self) -> bool {
        // No short cut: each call also reaps.
        self.nodes
            .iter_mut()
            .filter_map(|node| (!node.is_gone()).then_some(()))
            .count()
            == 0
    }
}

impl Drop for Fleet {
    /// Only what [`Fleet::stop`] did not reach is left here: an error's way out, or a panic's.
    fn drop(&mut self) {
        self.signal_all(Signal::SIGTERM);
        let deadline = Instant::now() + DROP_TIMEOUT;
        while !self.all_gone() && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Why not every node came up.
enum Late {
    Failed(TestnetError),
    /// Time ran out, with this to say of each node that is not up.
    NotUp(Vec<String>),
}

impl Late {
    fn unwrap_or_else(self, late: impl FnOnce(Vec<String>) -> TestnetError) -> TestnetError {
        match self {
            Late::Failed(error) => error,
            Late::NotUp(lacking) => late(lacking),
        }
    }
}

impl From<TestnetError> for Late {
    fn from(error: TestnetError) -> Late {
        Late::Failed(error)
    }
}

/// The network of the testnet that lies in `dir`; none if there is none yet.
fn found_network(dir: &Path, plans: &[NodePlan]) -> Result<Option<String>, TestnetError> {
    let fault = |source| TestnetError::Folder {
        path: dir.to_owned(),
        source,
    };
    let mut found = 0;
    for entry in std::fs::read_dir(dir).map_err(fault)? {
        found += usize::from(Settings::exist(&entry.map_err(fault)?.path()));
    }
    if found == 0 {
        return Ok(None);
    }
    let planned = plans
        .iter()
        .filter(|plan| Settings::exist(&dir.join(&plan.name)))
        .count();
    if found != plans.len() || planned != plans.len() {
        return Err(TestnetError::Usage(format!(
            "the folder {} holds a testnet of {found} nodes, not of {}: say --nodes {found} to run \
             it again, name another folder with --dir, or remove this one",
            dir.display(),
            plans.len()
        )));
    }
    let first = Settings::read(&dir.join(&plans[0].name))?;
    Ok(first.network().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(count: usize) -> Vec<NodePlan> {
        let plan = |n| NodePlan {
            name: format!("node{n}"),
            ..NodePlan::default()
        };
        (0..count).map(plan).collect()
    }

    #[test]
    fn a_folder_is_taken_up_again_with_its_network() {
        let dir = tempfile::tempdir().unwrap();
        let first = Fleet::open(dir.path(), &plans(3), false)
            .unwrap()
            .network()
            .to_owned();
        std::fs::write(TestnetFile::path(dir.path()), "{}").unwrap();
        let again = Fleet::open(dir.path(), &plans(3), false).unwrap();
        assert_eq!(again.network(), first);
        assert!(first.starts_with("testnet-") && first.len() == "testnet-".len() + 6);
        assert!(!TestnetFile::path(dir.path()).exists(), "stale readiness");
    }

    #[test]
    fn another_number_of_nodes_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Fleet::open(dir.path(), &plans(3), false).unwrap());
        for count in [2, 4] {
            let error = Fleet::open(dir.path(), &plans(count), false).err().unwrap();
            assert!(error.to_string().contains("--nodes 3"), "{error}");
            assert_eq!(error.exit_status(), 2);
        }
    }
}
