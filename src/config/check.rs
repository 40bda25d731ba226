//! Ranges: what a single value's form cannot tell.

use std::collections::BTreeSet;
use std::path::Path;

use super::duration::show_duration_ms;
use super::error::Fault;
use super::sections::UNATTENDED_MS;
use super::size::show_size;
use super::{
    AgentSection, Config, HealthSection, LimitsSection, ServeSection, TaskSection, TransferSection,
    WakeSection,
};
use crate::proto::node::PeerRef;
use crate::types::Capability;
use crate::types::limits::{
    BREAKER_OPEN_MAX_MS, CAPABILITIES_MAX, FILE_MAX_BYTES, KEPT_MAX_BYTES, KEPT_MAX_TASKS,
    KEPT_MIN_TASKS, LABELS_MAX, PAYLOAD_MAX_BYTES, RESULT_MAX_BYTES, SERVE_QUEUE_MAX,
};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 3_600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

const LISTEN_MAX: usize = 16;
const BOOTSTRAP_MAX: usize = 64;
const COMMAND_MAX_BYTES: usize = 8 * 1024;

/// Less does not even start a shell and its libraries.
const MEMORY_MIN_BYTES: u64 = 16 << 20;
const MEMORY_MAX_BYTES: u64 = 64 << 40;

impl Config {
    /// Whether every value is in its range.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.check_net()?;
        if !self.api.listen.ip().is_loopback() && !self.api.allow_remote {
            let what = format!(
                "{} can be reached from other machines; use 127.0.0.1, or set api.allow_remote = \
                 true if that is what you want",
                self.api.listen
            );
            return Err(Fault::new("api.listen", what));
        }
        if self.serve.len() > CAPABILITIES_MAX {
            let what = format!("at most {CAPABILITIES_MAX} capabilities are allowed");
            return Err(Fault::new("serve", what));
        }
        self.serve
            .iter()
            .try_for_each(|(name, serve)| check_serve(name, serve))?;
        self.check_labels()?;
        check_agent(&self.agent)?;
        check_wake(&self.wake)?;
        check_time("session.life", self.session.life_ms, MINUTE_MS, DAY_MS)?;
        check_transfer(&self.transfer)?;
        check_task(&self.task)?;
        check_health(&self.health)?;
        check_limits(&self.limits)?;
        self.security.check()?;
        if self.store.url != "sled" {
            let what = format!(
                "{:?} is not a store this program knows: use sled",
                self.store.url
            );
            return Err(Fault::new("store.url", what));
        }
        Ok(())
    }

    fn check_labels(&self) -> Result<(), Fault> {
        let labels = &self.node.labels;
        let fault = |what: String| Err(Fault::new("node.labels", what));
        if labels.len() > LABELS_MAX {
            return fault(format!("at most {LABELS_MAX} labels are allowed"));
        }
        let mut seen = BTreeSet::new();
        match labels.iter().find(|label| !seen.insert(*label)) {
            Some(twice) => fault(format!("{twice} stands there twice: leave one out")),
            None => Ok(()),
        }
    }

    fn check_net(&self) -> Result<(), Fault> {
        let listen = self.net.listen.len();
        if listen == 0 || listen > LISTEN_MAX {
            return Err(Fault::new(
                "net.listen",
                format!("use 1 to {LISTEN_MAX} addresses"),
            ));
        }
        if self.net.bootstrap.len() > BOOTSTRAP_MAX {
            let what = format!("at most {BOOTSTRAP_MAX} addresses are allowed");
            return Err(Fault::new("net.bootstrap", what));
        }
        Ok(())
    }
}

fn check_serve(name: &Capability, serve: &ServeSection) -> Result<(), Fault> {
    let key = |last: &str| format!("serve.{name}.{last}");
    let (command, http) = (serve.command.as_ref(), serve.http.as_ref());
    if command.is_none() && http.is_none() && !serve.pull {
        let what = "is missing: write a command for /bin/sh, an address as http, or pull = true";
        return Err(Fault::new(key("command"), what));
    }
    if serve.pull && (command.is_some() || http.is_some()) {
        let what = "command or http is set, too: leave one of them out";
        return Err(Fault::new(key("pull"), what));
    }
    check_action(&key("command"), command, &key("http"), http)?;
    check_count(&key("slots"), serve.slots, 1, 256)?;
    check_count(&key("queue"), serve.queue, 0, SERVE_QUEUE_MAX)?;
    check_time(&key("timeout"), serve.timeout_ms, SECOND_MS, 7 * DAY_MS)?;
    check_size(&key("output"), serve.output_max_bytes, 1, PAYLOAD_MAX_BYTES)?;
    let after_ms = serve.unattended_after_ms;
    check_time(&key("unattended_after"), after_ms, 0, DAY_MS)?;
    if after_ms != UNATTENDED_MS && !serve.pull {
        let what = "is for pull only: leave it out here";
        return Err(Fault::new(key("unattended_after"), what));
    }
    let grace_max_ms = 60 * SECOND_MS;
    check_time(&key("stop_grace"), serve.stop_grace_ms, 0, grace_max_ms)?;
    if let Some(memory) = serve.memory_max_bytes {
        let (min, max) = (MEMORY_MIN_BYTES, MEMORY_MAX_BYTES);
        check_size(&key("memory"), memory, min, max)?;
    }
    if let Some(dir) = &serve.dir
        && (!Path::new(dir).is_absolute() || dir.contains('\0'))
    {
        let what = format!("{dir:?} is not the full path of a folder, such as /srv/work");
        return Err(Fault::new(key("dir"), what));
    }
    // Limits of processes say nothing about a program elsewhere.
    for (last, set) in [
        ("dir", serve.dir.is_some()),
        ("memory", serve.memory_max_bytes.is_some()),
        ("stop_grace", serve.stop_grace_ms > 0),
        ("stream", serve.stream),
    ] {
        if set && command.is_none() {
            let what = "is for commands only: leave it out here";
            return Err(Fault::new(key(last), what));
        }
    }
    Ok(())
}

fn check_agent(agent: &AgentSection) -> Result<(), Fault> {
    let (command, url) = (agent.command.as_ref(), agent.url.as_ref());
    check_action("agent.command", command, "agent.url", url)?;
    if agent.echo && (agent.command.is_some() || agent.url.is_some()) {
        let what = "agent.command or agent.url is set, too: leave one of them out";
        return Err(Fault::new("agent.echo", what));
    }
    check_count("agent.slots", agent.slots, 1, 256)?;
    check_time("agent.timeout", agent.timeout_ms, SECOND_MS, HOUR_MS)
}

fn check_wake(wake: &WakeSection) -> Result<(), Fault> {
    let (command, url) = (wake.command.as_ref(), wake.url.as_ref());
    check_action("wake.command", command, "wake.url", url)?;
    let (command, url) = (wake.on_restart.as_ref(), wake.on_restart_url.as_ref());
    check_action("wake.on_restart", command, "wake.on_restart_url", url)?;
    check_allow("wake.allow", wake.allow.as_deref())?;
    check_count("wake.max_per_hour", wake.max_per_hour, 1, 3_600)?;
    check_time("wake.timeout", wake.timeout_ms, SECOND_MS, HOUR_MS)
}

fn check_allow(key: &str, allow: Option<&[String]>) -> Result<(), Fault> {
    for who in allow.into_iter().flatten() {
        // A name proves nothing: anybody can take any name.
        let is_id = !matches!(who.parse(), Err(_) | Ok(PeerRef::Name(_)));
        if !is_id && who != "all" {
            let what = format!("{who:?} is not a peer id or an entity id; \"all\" means everybody");
            return Err(Fault::new(key, what));
        }
    }
    Ok(())
}

fn check_transfer(transfer: &TransferSection) -> Result<(), Fault> {
    check_allow("transfer.allow", transfer.allow.as_deref())?;
    check_size("transfer.max_size", transfer.max_bytes, 0, FILE_MAX_BYTES)
}

fn check_task(task: &TaskSection) -> Result<(), Fault> {
    check_time("task.lease", task.lease_ms, SECOND_MS, HOUR_MS)?;
    check_time("task.renew", task.renew_ms, 100, HOUR_MS)?;
    if task.renew_ms >= task.lease_ms / 2 {
        let what = format!(
            "{} is too long: it must be less than half of task.lease, {}",
            show_duration_ms(task.renew_ms),
            show_duration_ms(task.lease_ms)
        );
        return Err(Fault::new("task.renew", what));
    }
    check_time("task.offer_lapse", task.offer_lapse_ms, SECOND_MS, HOUR_MS)?;
    check_count("task.failures_max", task.failures_max, 1, 64)?;
    check_count("task.losses_max", task.losses_max, 1, 1_000)?;
    check_time("task.backoff", task.backoff_ms, 10, HOUR_MS)?;
    check_time("task.drain", task.drain_ms, 0, DAY_MS)?;
    let (least, most) = (RESULT_MAX_BYTES as u64, PAYLOAD_MAX_BYTES);
    check_size("task.max_payload", task.payload_max_bytes, least, most)?;
    let (space, least) = (task.payload_space_bytes, task.payload_max_bytes);
    check_size("task.payload_space", space, least, FILE_MAX_BYTES)?;
    check_kept(task)?;
    check_time(
        "task.backoff_max",
        task.backoff_max_ms,
        task.backoff_ms,
        DAY_MS,
    )
}

/// What is kept is in memory, and a result is fetched after the task has ended: room for one that is
/// no file, and for the tasks of one request.
fn check_kept(task: &TaskSection) -> Result<(), Fault> {
    let year_ms = 365 * DAY_MS;
    check_time("task.keep", task.keep_ms, MINUTE_MS, year_ms)?;
    let tasks = task.keep_tasks;
    check_count("task.keep_tasks", tasks, KEPT_MIN_TASKS, KEPT_MAX_TASKS)?;
    let (bytes, least) = (task.keep_results_bytes, RESULT_MAX_BYTES as u64);
    check_size("task.keep_results", bytes, least, KEPT_MAX_BYTES)?;
    check_time("task.keep_failed", task.keep_failed_ms, 0, year_ms)?;
    let failed = task.keep_failed_tasks;
    check_count("task.keep_failed_tasks", failed, 0, KEPT_MAX_TASKS)?;
    let bytes = task.keep_failed_inputs_bytes;
    check_size("task.keep_failed_inputs", bytes, 0, KEPT_MAX_BYTES)
}

fn check_health(health: &HealthSection) -> Result<(), Fault> {
    check_time("health.heartbeat", health.heartbeat_ms, 100, HOUR_MS)?;
    let (suspect, unreachable) = (health.suspect_after, health.unreachable_after);
    check_count("health.suspect_after", suspect, 1, 100)?;
    check_count("health.unreachable_after", unreachable, suspect + 1, 1_000)
}

fn check_limits(limits: &LimitsSection) -> Result<(), Fault> {
    for (name, _, rate) in limits.rates() {
        check_count(&format!("limits.{name}"), rate, 1, 100_000)?;
    }
    let failures = limits.breaker_failures;
    check_count("limits.breaker_failures", failures, 1, 1_000)?;
    let open_ms = limits.breaker_open_ms;
    check_time("limits.breaker_open", open_ms, 100, BREAKER_OPEN_MAX_MS)
}

fn check_command(key: &str, command: &str) -> Result<(), Fault> {
    let sound =
        !command.trim().is_empty() && command.len() <= COMMAND_MAX_BYTES && !command.contains('\0');
    if sound {
        return Ok(());
    }
    Err(Fault::new(
        key,
        format!("write a command of 1 to {COMMAND_MAX_BYTES} bytes for /bin/sh"),
    ))
}

/// A command, or an address in its place, each under its key.
fn check_action(
    key: &str,
    command: Option<&String>,
    url_key: &str,
    url: Option<&String>,
) -> Result<(), Fault> {
    if let Some(command) = command {
        check_command(key, command)?;
        if url.is_some() {
            let what = format!("{key} is set, too: leave one of them out");
            return Err(Fault::new(url_key, what));
        }
    }
    let Some(url) = url else { return Ok(()) };
    let parsed = reqwest::Url::parse(url);
    if parsed.is_ok_and(|url| url.scheme() == "http" && url.has_host()) {
        return Ok(());
    }
    let what = format!("{url:?} is not an address such as http://127.0.0.1:9000/junto");
    Err(Fault::new(url_key, what))
}

fn check_count(key: &str, value: u32, min: u32, max: u32) -> Result<(), Fault> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Fault::new(
        key,
        format!("{value} is out of range: use {min} to {max}"),
    ))
}

fn check_size(key: &str, value: u64, min: u64, max: u64) -> Result<(), Fault> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let min = if min == 0 {
        String::from("0")
    } else {
        show_size(min)
    };
    let (value, max) = (show_size(value), show_size(max));
    Err(Fault::new(
        key,
        format!("{value} is out of range: use {min} to {max}"),
    ))
}

fn check_time(key: &str, value_ms: u64, min_ms: u64, max_ms: u64) -> Result<(), Fault> {
    if (min_ms..=max_ms).contains(&value_ms) {
        return Ok(());
    }
    let show = show_duration_ms;
    let (value, min, max) = (show(value_ms), show(min_ms), show(max_ms));
    Err(Fault::new(
        key,
        format!("{value} is out of range: use {min} to {max}"),
    ))
}
