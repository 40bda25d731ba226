//! The sections of `junto.toml` and their defaults.
//!
//! Fields that hold a time end in `_ms`; their keys do not, because a person writes the unit.

mod serve;

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

pub(super) use serve::UNATTENDED_MS;
pub use serve::{AgentSection, ServeSection};

use super::value;
use crate::proto::guard::GuardRules;
use crate::proto::health::HealthRules;
use crate::proto::node::{TaskConfig, TransferPolicy, WakePolicy};
use crate::proto::session::SessionConfig;
use crate::proto::task::Keep;
use crate::runtime::HookAction;
use crate::types::{Label, Multiaddr, NetworkName, NodeName};
use crate::wire::MsgClass;

/// `[node]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct NodeSection {
    #[serde(deserialize_with = "value::some_name")]
    pub name: Option<NodeName>,
    #[serde(deserialize_with = "value::network")]
    pub network: NetworkName,
    #[serde(deserialize_with = "value::labels")]
    pub labels: Vec<Label>,
}

impl Default for NodeSection {
    fn default() -> NodeSection {
        NodeSection {
            name: None,
            network: "junto".parse().expect("a valid network name"),
            labels: Vec::new(),
        }
    }
}

/// `[net]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct NetSection {
    #[serde(deserialize_with = "value::addresses")]
    pub listen: Vec<Multiaddr>,
    #[serde(deserialize_with = "value::addresses")]
    pub bootstrap: Vec<Multiaddr>,
    #[serde(deserialize_with = "value::flag")]
    pub mdns: bool,
}

impl Default for NetSection {
    fn default() -> NetSection {
        let listen = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"]
            .map(|addr| addr.parse().expect("a valid multiaddr"))
            .to_vec();
        NetSection {
            listen,
            bootstrap: Vec::new(),
            mdns: true,
        }
    }
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct ApiSection {
    #[serde(deserialize_with = "value::socket")]
    pub listen: SocketAddr,
    /// Whether `listen` may be an address that other machines reach.
    #[serde(deserialize_with = "value::flag")]
    pub allow_remote: bool,
}

impl Default for ApiSection {
    fn default() -> ApiSection {
        ApiSection {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            allow_remote: false,
        }
    }
}

/// `[wake]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct WakeSection {
    #[serde(deserialize_with = "value::some_text")]
    pub command: Option<String>,
    /// In place of `command`.
    #[serde(deserialize_with = "value::some_text")]
    pub url: Option<String>,
    #[serde(deserialize_with = "value::some_text")]
    pub on_restart: Option<String>,
    /// In place of `on_restart`.
    #[serde(deserialize_with = "value::some_text")]
    pub on_restart_url: Option<String>,
    /// Peer ids or entity ids; absent or `all`: everybody.
    #[serde(deserialize_with = "value::some_texts")]
    pub allow: Option<Vec<String>>,
    #[serde(deserialize_with = "value::count")]
    pub max_per_hour: u32,
    #[serde(rename = "timeout", deserialize_with = "value::duration_ms")]
    pub timeout_ms: u64,
}

impl Default for WakeSection {
    fn default() -> WakeSection {
        let policy = WakePolicy::default();
        WakeSection {
            command: None,
            url: None,
            on_restart: None,
            on_restart_url: None,
            allow: policy.allow,
            max_per_hour: policy.max_per_hour,
            timeout_ms: policy.timeout_ms,
        }
    }
}

/// `[session]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct SessionSection {
    #[serde(rename = "life", deserialize_with = "value::duration_ms")]
    pub life_ms: u64,
}

impl Default for SessionSection {
    fn default() -> SessionSection {
        SessionSection {
            life_ms: SessionConfig::default().life_ms,
        }
    }
}

/// `[transfer]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct TransferSection {
    /// Peer ids or entity ids; absent or `all`: everybody.
    #[serde(deserialize_with = "value::some_texts")]
    pub allow: Option<Vec<String>>,
    #[serde(rename = "max_size", deserialize_with = "value::size")]
    pub max_bytes: u64,
    /// What files and new tasks must leave free on the disk; nothing: the disk's own word counts.
    #[serde(rename = "keep_free", deserialize_with = "value::size")]
    pub keep_free_bytes: u64,
}

impl Default for TransferSection {
    fn default() -> TransferSection {
        let policy = TransferPolicy::default();
        TransferSection {
            allow: policy.allow,
            max_bytes: policy.max_bytes,
            keep_free_bytes: 256 << 20,
        }
    }
}

/// `[task]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct TaskSection {
    #[serde(rename = "lease", deserialize_with = "value::duration_ms")]
    pub lease_ms: u64,
    #[serde(rename = "renew", deserialize_with = "value::duration_ms")]
    pub renew_ms: u64,
    #[serde(rename = "offer_lapse", deserialize_with = "value::duration_ms")]
    pub offer_lapse_ms: u64,
    #[serde(deserialize_with = "value::count")]
    pub failures_max: u32,
    #[serde(deserialize_with = "value::count")]
    pub losses_max: u32,
    #[serde(rename = "backoff", deserialize_with = "value::duration_ms")]
    pub backoff_ms: u64,
    #[serde(rename = "backoff_max", deserialize_with = "value::duration_ms")]
    pub backoff_max_ms: u64,
    /// Whether webhooks may go to other machines.
    #[serde(deserialize_with = "value::flag")]
    pub remote_webhooks: bool,
    /// The largest input or result, and what all that are files may take together.
    #[serde(rename = "max_payload", deserialize_with = "value::size")]
    pub payload_max_bytes: u64,
    #[serde(rename = "payload_space", deserialize_with = "value::size")]
    pub payload_space_bytes: u64,
    /// How long a node that is told to stop lets what runs for others go on; 0: not at all.
    #[serde(rename = "drain", deserialize_with = "value::duration_ms")]
    pub drain_ms: u64,
    /// How long an ended task is kept with its result, how many are, and what their results take.
    #[serde(rename = "keep", deserialize_with = "value::duration_ms")]
    pub keep_ms: u64,
    #[serde(deserialize_with = "value::count")]
    pub keep_tasks: u32,
    #[serde(rename = "keep_results", deserialize_with = "value::size")]
    pub keep_results_bytes: u64,
    /// The same of failed ones and their inputs; 0: until somebody decides.
    #[serde(rename = "keep_failed", deserialize_with = "value::duration_ms")]
    pub keep_failed_ms: u64,
    #[serde(deserialize_with = "value::count")]
    pub keep_failed_tasks: u32,
    #[serde(rename = "keep_failed_inputs", deserialize_with = "value::size")]
    pub keep_failed_inputs_bytes: u64,
}

impl Default for TaskSection {
    fn default() -> TaskSection {
        let task = TaskConfig::default();
        TaskSection {
            lease_ms: task.lease_ms,
            renew_ms: task.renew_ms,
            offer_lapse_ms: task.offer_lapse_ms,
            failures_max: task.failures_max,
            losses_max: task.losses_max,
            backoff_ms: task.backoff_ms,
            backoff_max_ms: task.backoff_max_ms,
            remote_webhooks: task.remote_webhooks,
            payload_max_bytes: task.payload_max_bytes,
            payload_space_bytes: task.payload_space_bytes,
            drain_ms: 0,
            keep_ms: task.keep.ended_ms,
            keep_tasks: task.keep.tasks,
            keep_results_bytes: task.keep.result_bytes,
            keep_failed_ms: task.keep.failed_ms,
            keep_failed_tasks: task.keep.failed_tasks,
            keep_failed_inputs_bytes: task.keep.failed_bytes,
        }
    }
}

/// `[health]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct HealthSection {
    #[serde(rename = "heartbeat", deserialize_with = "value::duration_ms")]
    pub heartbeat_ms: u64,
    #[serde(deserialize_with = "value::count")]
    pub suspect_after: u32,
    #[serde(deserialize_with = "value::count")]
    pub unreachable_after: u32,
    #[serde(deserialize_with = "value::flag")]
    pub wake_on_suspect: bool,
}

impl Default for HealthSection {
    fn default() -> HealthSection {
        let rules = HealthRules::default();
        HealthSection {
            heartbeat_ms: rules.heartbeat_ms,
            suspect_after: rules.suspect_after,
            unreachable_after: rules.unreachable_after,
            wake_on_suspect: rules.wake_on_suspect,
        }
    }
}

impl HealthSection {
    pub(super) fn to_core(&self) -> HealthRules {
        HealthRules {
            heartbeat_ms: self.heartbeat_ms,
            suspect_after: self.suspect_after,
            unreachable_after: self.unreachable_after,
            wake_on_suspect: self.wake_on_suspect,
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct LimitsSection {
    #[serde(deserialize_with = "value::count")]
    pub handshakes_per_s: u32,
    #[serde(deserialize_with = "value::count")]
    pub probes_per_s: u32,
    #[serde(deserialize_with = "value::count")]
    pub registry_per_s: u32,
    #[serde(deserialize_with = "value::count")]
    pub wakes_per_s: u32,
    #[serde(deserialize_with = "value::count")]
    pub tasks_per_s: u32,
    #[serde(deserialize_with = "value::count")]
    pub others_per_s: u32,
    #[serde(deserialize_with = "value::count")]
    pub breaker_failures: u32,
    #[serde(rename = "breaker_open", deserialize_with = "value::duration_ms")]
    pub breaker_open_ms: u64,
}

impl Default for LimitsSection {
    fn default() -> LimitsSection {
        let rules = GuardRules::default();
        let rate = |class| rules.rates.get(&class).copied().unwrap_or(1);
        LimitsSection {
            handshakes_per_s: rate(MsgClass::Handshake),
            probes_per_s: rate(MsgClass::Probe),
            registry_per_s: rate(MsgClass::Registry),
            wakes_per_s: rate(MsgClass::Wake),
            tasks_per_s: rate(MsgClass::Task),
            others_per_s: rate(MsgClass::Other),
            breaker_failures: rules.breaker_failures,
            breaker_open_ms: rules.breaker_open_ms,
        }
    }
}

impl LimitsSection {
    /// Each rate with the name of its key.
    pub(super) fn rates(&self) -> [(&'static str, MsgClass, u32); 6] {
        [
            (
                "handshakes_per_s",
                MsgClass::Handshake,
                self.handshakes_per_s,
            ),
            ("probes_per_s", MsgClass::Probe, self.probes_per_s),
            ("registry_per_s", MsgClass::Registry, self.registry_per_s),
            ("wakes_per_s", MsgClass::Wake, self.wakes_per_s),
            ("tasks_per_s", MsgClass::Task, self.tasks_per_s),
            ("others_per_s", MsgClass::Other, self.others_per_s),
        ]
    }

    pub(super) fn to_core(&self) -> GuardRules {
        GuardRules {
            rates: self.rates().map(|(_, class, rate)| (class, rate)).into(),
            breaker_failures: self.breaker_failures,
            breaker_open_ms: self.breaker_open_ms,
        }
    }
}

/// How a passphrase is come by when nothing else names one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PassphraseMode {
    #[default]
    Prompt,
    /// The system's keychain keeps it.
    Keychain,
    /// The key file is not protected.
    None,
}

/// `[identity]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct IdentitySection {
    #[serde(deserialize_with = "value::passphrase_mode")]
    pub passphrase: PassphraseMode,
    /// Relative to the home when written in `junto.toml`.
    #[serde(deserialize_with = "value::some_text")]
    pub passphrase_file: Option<String>,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct StoreSection {
    #[serde(deserialize_with = "value::text")]
    pub url: String,
}

impl Default for StoreSection {
    fn default() -> StoreSection {
        StoreSection {
            url: String::from("sled"),
        }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(super) const ALL: [LogLevel; 6] = [
        LogLevel::Off,
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];

    /// The level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// `[log]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct LogSection {
    #[serde(deserialize_with = "value::level")]
    pub level: LogLevel,
    #[serde(deserialize_with = "value::format")]
    pub format: LogFormat,
}

impl SessionSection {
    pub(super) fn to_core(&self) -> SessionConfig {
        SessionConfig {
            life_ms: self.life_ms,
            ..SessionConfig::default()
        }
    }
}

impl TaskSection {
    pub(super) fn to_core(&self) -> TaskConfig {
        TaskConfig {
            lease_ms: self.lease_ms,
            renew_ms: self.renew_ms,
            offer_lapse_ms: self.offer_lapse_ms,
            failures_max: self.failures_max,
            losses_max: self.losses_max,
            backoff_ms: self.backoff_ms,
            backoff_max_ms: self.backoff_max_ms,
            remote_webhooks: self.remote_webhooks,
            payload_max_bytes: self.payload_max_bytes,
            payload_space_bytes: self.payload_space_bytes,
            keep: Keep {
                ended_ms: self.keep_ms,
                tasks: self.keep_tasks,
                result_bytes: self.keep_results_bytes,
                failed_ms: self.keep_failed_ms,
                failed_tasks: self.keep_failed_tasks,
                failed_bytes: self.keep_failed_inputs_bytes,
            },
            ..TaskConfig::default()
        }
    }
}

/// The hook that a command or an address in its place makes.
fn hook(command: Option<&String>, url: Option<&String>) -> Option<HookAction> {
    let command = command.cloned().map(HookAction::Command);
    command.or_else(|| url.cloned().map(HookAction::Url))
}

/// What is allowed, where a list that names `all` means everybody.
fn unless_all(allow: &Option<Vec<String>>) -> Option<Vec<String>> {
    let everybody = |allow: &Vec<String>| allow.iter().any(|who| who == "all");
    allow.clone().filter(|allow| !everybody(allow))
}

impl TransferSection {
    pub(super) fn to_core(&self) -> TransferPolicy {
        TransferPolicy {
            allow: unless_all(&self.allow),
            max_bytes: self.max_bytes,
            ..TransferPolicy::default()
        }
    }
}

impl WakeSection {
    pub(super) fn on_wake(&self) -> Option<HookAction> {
        hook(self.command.as_ref(), self.url.as_ref())
    }

    pub(super) fn on_restart(&self) -> Option<HookAction> {
        hook(self.on_restart.as_ref(), self.on_restart_url.as_ref())
    }

    pub(super) fn to_core(&self) -> WakePolicy {
        WakePolicy {
            hook: self.on_wake().is_some(),
            restart_hook: self.on_restart().is_some(),
            allow: unless_all(&self.allow),
            max_per_hour: self.max_per_hour,
            timeout_ms: self.timeout_ms,
        }
    }
}
