//! The running node, if there is one, and whom it can meet.

use std::time::Duration;

use super::super::client::connect;
use super::super::output::show_uptime;
use super::Check;
use crate::config::{Config, Home};
use crate::proto::node::StatusView;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a node runs, its API answers, its storage works, and it has company.
pub(super) async fn running(home: &Home) -> Vec<Check> {
    const NAME: &str = "node";
    match (home.running(), home.is_locked()) {
        (Ok(Some(node)), _) => {
            let pid = node
                .pid
                .map_or_else(String::new, |pid| format!(" (pid {pid})"));
            let mut checks = vec![Check::ok(NAME, format!("{} is running{pid}", node.name))];
            checks.extend(answers(home).await);
            checks
        }
        (Ok(None), Ok(true)) => {
            let advice = "wait a moment; if it stays like this, restart the node and read its log";
            vec![Check::warn(NAME, "a node is starting or stopping", advice)]
        }
        (Ok(None), _) => {
            vec![Check::warn(
                NAME,
                "no node is running at this home",
                "start one with `junto up`",
            )]
        }
        (Err(error), _) => {
            vec![Check::fail(
                NAME,
                error.to_string(),
                "check the rights of the home",
            )]
        }
    }
}

async fn answers(home: &Home) -> Vec<Check> {
    const NAME: &str = "api";
    let silent = |detail: String| {
        let advice = "if it stays silent, restart the node and read its log";
        vec![Check::fail(NAME, detail, advice)]
    };
    let client = match connect(home) {
        Ok(client) => client,
        Err(failure) => return silent(failure.message().to_owned()),
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, client.status()).await {
        Ok(Ok(status)) => {
            let up = format!("answers, up for {}", show_uptime(status.uptime_ms));
            let mut checks = vec![Check::ok(NAME, up), storage(&status), company(&status)];
            checks.extend(draining(&status));
            checks
        }
        Ok(Err(error)) => silent(error.to_string()),
        Err(_) => silent(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

fn storage(status: &StatusView) -> Check {
    if status.storage == "ok" {
        return Check::ok("storage", "takes writes");
    }
    let advice = "make room or mend the disk: the node goes on by itself then";
    Check::fail("storage", status.storage.clone(), advice)
}

fn draining(status: &StatusView) -> Option<Check> {
    let advice = "`junto drain --undo` has it take work again, a restart as well";
    let warning = Check::warn("work", "draining: it takes no tasks of others", advice);
    status.draining.then_some(warning)
}

fn company(status: &StatusView) -> Check {
    let detail = format!(
        "{} connected, {} in session",
        status.connected, status.sessions
    );
    if status.sessions > 0 {
        return Check::ok("peers", detail);
    }
    let advice = if status.connected == 0 {
        "check --bootstrap and --network, and that a firewall lets the listen ports through"
    } else {
        "connected without a session: the peers' clocks may differ by more than two minutes, or \
         their versions may not fit"
    };
    Check::warn("peers", detail, advice)
}

/// Whether the settings give the node any way to meet others.
pub(super) fn meeting(config: &Config) -> Check {
    const NAME: &str = "bootstrap";
    let count = config.net.bootstrap.len();
    let mdns = if config.net.mdns { "on" } else { "off" };
    let detail = format!("{count} addresses, mDNS {mdns}");
    if count == 0 && !config.net.mdns {
        let advice = "others must know this node's address; or set net.bootstrap or net.mdns";
        return Check::warn(NAME, detail, advice);
    }
    Check::ok(NAME, detail)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn status(connected: usize, sessions: usize, storage: &str) -> StatusView {
        StatusView {
            name: String::new(),
            peer_id: String::new(),
            entity_id: String::new(),
            fingerprint: String::new(),
            network: String::new(),
            version: String::new(),
            listen: Vec::new(),
            capabilities: Vec::new(),
            unattended: Vec::new(),
            uptime_ms: 0,
            connected,
            sessions,
            registry: 1,
            tasks: Default::default(),
            held: 0,
            draining: false,
            storage: storage.to_owned(),
            guard: Default::default(),
            health: Default::default(),
            pool: Default::default(),
        }
    }

    #[test]
    fn a_disk_that_refuses_is_a_failure_and_loneliness_a_warning() {
        assert_eq!(storage(&status(0, 0, "ok")).level, Level::Ok);
        assert_eq!(storage(&status(0, 0, "disk full")).level, Level::Fail);
        assert_eq!(company(&status(2, 1, "ok")).level, Level::Ok);
        assert_eq!(company(&status(0, 0, "ok")).level, Level::Warn);
        let apart = company(&status(1, 0, "ok")).advice.expect("advice");
        assert!(apart.contains("clocks"), "{apart}");
    }

    #[test]
    fn a_node_without_any_way_to_meet_others_is_told_so() {
        let mut config = Config::default();
        assert_eq!(meeting(&config).level, Level::Ok);
        config.net.mdns = false;
        assert_eq!(meeting(&config).level, Level::Warn);
    }

    #[tokio::test]
    async fn a_node_that_is_not_ready_is_told_from_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::locate(Some(dir.path())).expect("a path");
        assert!(running(&home).await[0].detail.contains("no node"));
        let _lock = home.lock().expect("free");
        assert!(running(&home).await[0].detail.contains("starting"));
    }
}
