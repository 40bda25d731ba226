//! The `junto.toml` a first run writes: every setting with its default, commented out.

use crate::types::{NetworkName, NodeName};

/// What the first run was told and should be kept.
#[derive(Debug, Clone, Default)]
pub struct FirstRun {
    pub name: Option<NodeName>,
    pub network: Option<NetworkName>,
    /// `--keychain`
    pub keychain: bool,
}

const NAME_LINE: &str = "# name = \"alice\"";
const NETWORK_LINE: &str = "# network = \"junto\"";
const PASSPHRASE_LINE: &str = "# passphrase = \"prompt\"";

const TEMPLATE: &str = r#"# Junto: the settings of this node. What is commented out shows the default.
# Flags of `junto up` win over the environment, which wins over this file. A variable is called
# JUNTO_SECTION__KEY (JUNTO_NET__MDNS=false, JUNTO_SERVE__WC__COMMAND="wc -w": lower case here).
# Times: 500ms, 20s, 10m, 1h, 2d. `junto doctor` checks this file.

[node]
# What people call this node; without it: the machine's name and the end of the peer id.
# name = "alice"
# Nodes of different networks do not talk to each other.
# network = "junto"
# What it says of itself, up to 16 texts such as "gpu=a100": a task may demand them (--need).
# labels = []

[net]
# Port 0 takes a free one at every start; fix it if others should find this node by address.
# listen = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"]
# Where to meet the network first, such as ["/ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…"].
# bootstrap = []
# Find others on the local network.
# mdns = true

[api]
# The local HTTP API; port 0 takes a free one (see node.json).
# listen = "127.0.0.1:0"
# Let other machines reach the API. It is not encrypted: put a TLS proxy before it.
# allow_remote = false

# What this node does for others: one section for each capability.
# [serve.wc]
# command = "wc -w"     # run by /bin/sh -c: input on stdin, result on stdout
# slots = 4             # how many run at once, 1 to 256
# queue = 0             # how many more are accepted and wait for a slot, 0 to 256
# price = 0             # what one task costs: dearer than its reward it does not come here
# timeout = "1h"
# output = "1MiB"       # a larger result is a failure; 1GiB at most
# stop_grace = "0s"     # a command that is to end gets SIGTERM, and is killed after so long
# stream = false        # let requesters read what a command writes before it has ended
# (memory = "512MiB" limits each process of the command; dir = "/srv/wc" is where it runs: without
# that each run gets an empty folder of its own; delegate = true lets who does a task hand on parts of
# it, with `junto task submit` or the API, within what its requester gave. Or http = "http://127.0.0.1:9000/wc": the input is
# posted there, the result is the body of the answer. Or pull = true: agents fetch the tasks with
# POST /v1/tasks/claim; unattended_after = "1m" is how long without one that does until no more are
# taken, 0s: they are taken in any case.)

[agent]
# Who answers what others say to this node's agent; without anything: `junto inbox` keeps it.
# command = "./answer.sh"   # run by /bin/sh -c for each message: on stdin; the reply on stdout
# (Or url = "http://127.0.0.1:9000/message": it is posted there as JSON, the reply is the body.)
# echo = false          # answer with what was said
# How long it may take, and how many talks it gets at once, 1 to 256.
# timeout = "60s"
# slots = 4

[wake]
# What runs when somebody wakes this node's agent.
# command = "notify-send 'wake up'"
# (Or url = "http://127.0.0.1:9000/wake": who wakes it, and why, is posted there as JSON.)
# What restarts the agent when a peer asks for that; without it nobody may.
# on_restart = "systemctl --user restart my-agent"
# (Or on_restart_url, as above.)
# Who may: peer ids or entity ids (anybody can take any name); "all": everybody.
# allow = ["all"]
# max_per_hour = 60
# timeout = "60s"

[session]
# After so long the keys of a session are replaced by fresh ones; 1m to 24h.
# life = "30m"

[transfer]
# Who may send files: peer ids or entity ids; "all": everybody in the network.
# allow = ["all"]
# The largest file that is taken.
# max_size = "64GiB"
# What files, new tasks and messages must leave free on the disk; 0: they go on until it is full.
# keep_free = "256MiB"

[task]
# A worker that is silent for so long loses its task.
# lease = "20s"
# How often a worker says that it is alive; less than half of the lease.
# renew = "5s"
# offer_lapse = "10s"
# Failed attempts, and lost workers, before a task is given up.
# failures_max = 5
# losses_max = 20
# Between attempts; doubles up to the maximum.
# backoff = "500ms"
# backoff_max = "30s"
# Let webhooks go to other machines, too; what is posted is not encrypted.
# remote_webhooks = false
# How long a node that gets SIGTERM or Ctrl-C takes no more work and lets what runs end, before it
# stops; what is not done by then is given back. A second signal stops it at once.
# drain = "0s"
# The largest input or result, 1GiB at most, and how much of the disk those may take together that
# are over 1 MiB.
# max_payload = "1GiB"
# payload_space = "16GiB"
# How long a task that has ended is kept with its result, how many are (256 or more), and what their
# results may take in memory (1MiB or more). The oldest goes first.
# keep = "8d"
# keep_tasks = 100000
# keep_results = "256MiB"
# The same of failed ones and their inputs ("junto task dead"); 0s: until somebody decides.
# keep_failed = "0s"
# keep_failed_tasks = 10000
# keep_failed_inputs = "64MiB"

[health]
# How often each peer in session is sent a sign of life.
# heartbeat = "10s"
# Intervals without one from it until a peer counts as suspect, and as unreachable.
# suspect_after = 2
# unreachable_after = 5
# Send a wake-up to a peer that becomes suspect.
# wake_on_suspect = false

[limits]
# Requests that one peer may send in a second; ten times as many at once.
# handshakes_per_s = 5
# probes_per_s = 50
# registry_per_s = 20
# wakes_per_s = 5
# tasks_per_s = 1000
# others_per_s = 100
# After so many failures in a row a peer is asked nothing for a while, which doubles.
# breaker_failures = 5
# breaker_open = "5s"

[identity]
# "prompt": the key is protected by a passphrase; "keychain": the system's keychain keeps it (this
# needs a build with the feature `keychain`); "none": a new key is not protected.
# passphrase = "prompt"
# passphrase_file = "/run/secrets/junto-passphrase"

[protocol]
# Who may speak version 1.0, signed but not encrypted: entity ids, or inception documents in
# base64 where the registry does not know them. Everything they say can be read on the way.
# allow_v1_0 = []

[security]
# A random delay hides how long a signature was checked: "off", "handshake", or "all", which
# answers every message a little later.
# jitter = "handshake"
# jitter_min_us = 100
# jitter_max_us = 500

[store]
# url = "sled"

[log]
# level = "info"        # off, error, warn, info, debug or trace
# format = "text"       # text or json
"#;

/// The file's text.
pub(super) fn render(first: &FirstRun) -> String {
    let mut text = TEMPLATE.to_owned();
    if let Some(name) = &first.name {
        let value = toml::Value::String(name.to_string());
        text = text.replacen(NAME_LINE, &format!("name = {value}"), 1);
    }
    if let Some(network) = &first.network {
        let value = toml::Value::String(network.to_string());
        text = text.replacen(NETWORK_LINE, &format!("network = {value}"), 1);
    }
    if first.keychain {
        text = text.replacen(PASSPHRASE_LINE, "passphrase = \"keychain\"", 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Flags, PassphraseMode};

    fn read(text: &str) -> Config {
        let path = Path::new("/h/junto.toml");
        Config::from_sources(path, Some(text), [], Flags::default()).expect("a valid file")
    }

    #[test]
    fn the_written_file_is_the_defaults() {
        assert_eq!(read(&render(&FirstRun::default())), Config::default());
    }

    #[test]
    fn every_commented_setting_is_valid_and_is_the_default() {
        let setting = |line: &str| {
            let body = line.strip_prefix("# ").unwrap_or_default();
            let key = body.split([' ', ']']).next().unwrap_or_default();
            let named = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            (named && body[key.len()..].starts_with(" = ")) || body.starts_with("[serve")
        };
        let uncomment = |line: &str| {
            if setting(line) {
                line[2..].to_owned()
            } else {
                line.to_owned()
            }
        };
        let text: Vec<String> = render(&FirstRun::default())
            .lines()
            .map(uncomment)
            .collect();
        let mut all = read(&text.join("\n"));
        let defaults = Config::default();
        assert_eq!(all.serve.len(), 1);
        assert!(
            all.serve
                .values()
                .all(|serve| serve.slots == 4 && serve.timeout_ms == 3_600_000)
        );
        assert_eq!(all.wake.allow.take(), Some(vec![String::from("all")]));
        assert_eq!(all.transfer.allow.take(), Some(vec![String::from("all")]));
        assert!(all.wake.command.take().is_some() && all.node.name.take().is_some());
        assert!(all.wake.on_restart.take().is_some());
        assert!(all.agent.command.take().is_some());
        assert!(all.identity.passphrase_file.take().is_some());
        all.serve.clear();
        assert_eq!(all, defaults);
    }

    #[test]
    fn what_the_first_run_was_told_is_kept() {
        let first = FirstRun {
            name: "bo\"b".parse().ok(),
            network: "lab".parse().ok(),
            keychain: true,
        };
        let config = read(&render(&first));
        assert_eq!(config.identity.passphrase, PassphraseMode::Keychain);
        assert_eq!(config.node.name, first.name);
        assert_eq!(Some(config.node.network), first.network);
    }
}
