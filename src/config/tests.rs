//! Layers, names in errors, ranges.

use super::*;
use crate::proto::node::{TaskConfig, WakePolicy};

const PATH: &str = "/h/junto.toml";

fn load(text: &str, env: &[(&str, &str)], flags: Flags) -> Result<Config, ConfigError> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Config::from_sources(Path::new(PATH), Some(text), env, flags)
}

fn file(text: &str) -> Result<Config, ConfigError> {
    load(text, &[], Flags::default())
}

fn refusal(text: &str, env: &[(&str, &str)]) -> String {
    load(text, env, Flags::default())
        .expect_err("refused")
        .to_string()
}

#[test]
fn nothing_said_gives_the_defaults() {
    let config = file("").expect("valid");
    assert_eq!(config, Config::default());
    assert_eq!(config.net.listen.len(), 2);
    assert_eq!(config.node.network.as_str(), "junto");
    assert_eq!(
        config.node_config("a".parse().expect("a name")).task,
        TaskConfig::default()
    );
    assert_eq!(config.wake.to_core(), WakePolicy::default());
}

#[test]
fn flags_win_over_environment_over_file() {
    let text = "[node]\nname = 'file'\nnetwork = 'file'\n[net]\nmdns = false\n";
    let env = [("JUNTO_NODE__NAME", "env"), ("JUNTO_NODE__NETWORK", "env")];
    let mut flags = Flags::default();
    flags.set("--name", &["node", "name"], "flag");
    let config = load(text, &env, flags).expect("valid");
    assert_eq!(
        config.node.name.as_ref().map(NodeName::as_str),
        Some("flag")
    );
    assert_eq!(config.node.network.as_str(), "env");
    assert!(!config.net.mdns);
}

#[test]
fn every_kind_of_value_can_come_from_the_environment() {
    let env = [
        (
            "JUNTO_NET__LISTEN",
            "/ip4/127.0.0.1/tcp/1, /ip4/127.0.0.1/tcp/2",
        ),
        ("JUNTO_NET__BOOTSTRAP", ""),
        ("JUNTO_NET__MDNS", "false"),
        ("JUNTO_TASK__LEASE", "1m"),
        ("JUNTO_SERVE__WC__COMMAND", "wc -w"),
        ("JUNTO_SERVE__WC__SLOTS", "7"),
        ("JUNTO_API__LISTEN", "[::1]:80"),
        ("JUNTO_LOG__FORMAT", "json"),
    ];
    let config = load("[net]\nmdns = true", &env, Flags::default()).expect("valid");
    assert_eq!(config.net.listen.len(), 2);
    assert_eq!(config.task.lease_ms, 60_000);
    let wc = &config.serve[&"wc".parse().expect("a capability")];
    assert_eq!(
        (wc.command.as_deref(), wc.slots, wc.timeout_ms),
        (Some("wc -w"), 7, 3_600_000)
    );
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(!config.net.mdns && config.net.bootstrap.is_empty());
}

#[test]
fn variables_without_a_double_underscore_are_not_configuration() {
    let env = [
        ("JUNTO_HOME", "/x"),
        ("JUNTO_PASSPHRASE", "x"),
        ("JUNTO_PASSPHRASE_FILE", "x"),
        ("JUNTO_TESTNET", "x"),
        ("JUNTO_LOG", "debug"),
        ("PATH", "/bin"),
    ];
    assert_eq!(
        load("", &env, Flags::default()).expect("valid"),
        Config::default()
    );
}

#[test]
fn an_unknown_key_names_itself_the_file_and_what_is_known() {
    let error = refusal("[net]\nlisen = []", &[]);
    for part in ["`net.lisen`", PATH, "`listen`", "`bootstrap`", "`mdns`"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error = refusal("[nett]\nlisten = []", &[]);
    assert!(
        error.contains("`nett`") && error.contains(PATH) && error.contains("`net`"),
        "{error}"
    );
    let error = refusal("[serve.wc]\ncommand = 'wc'\nslot = 1", &[]);
    assert!(
        error.contains("`serve.wc.slot`") && error.contains("`slots`"),
        "{error}"
    );
}

#[test]
fn an_unknown_variable_is_named() {
    let error = refusal("[net]\nmdns = true", &[("JUNTO_NET__LISEN", "x")]);
    assert!(
        error.contains("JUNTO_NET__LISEN") && error.contains("`net.lisen`"),
        "{error}"
    );
    let error = refusal("", &[("JUNTO_NOPE__X", "x")]);
    assert!(
        error.contains("JUNTO_NOPE__X") && error.contains("`nope`"),
        "{error}"
    );
}

#[test]
fn a_bad_value_names_its_key_who_set_it_and_what_is_allowed() {
    let cases = [
        ("[task]\nlease = '20'", "`task.lease`", "500ms"),
        ("[task]\nlease = 20", "`task.lease`", "500ms"),
        (
            "[net]\nlisten = ['/ip4/0.0.0.0/tcp/0', 'x']",
            "`net.listen`",
            "/ip4/192.0.2.7/tcp/4001",
        ),
        ("[net]\nlisten = 3", "`net.listen`", "a list of multiaddrs"),
        (
            "[net]\nmdns = 'perhaps'",
            "`net.mdns`",
            "neither true nor false",
        ),
        ("net = 3", "`net`", "a table of settings"),
        ("[node]\nname = 'a b'", "`node.name`", "without spaces"),
        ("[api]\nlisten = 'localhost'", "`api.listen`", "127.0.0.1:0"),
        (
            "[log]\nlevel = 'loud'",
            "`log.level`",
            "off, error, warn, info, debug, trace",
        ),
        (
            "[identity]\npassphrase = 'x'",
            "`identity.passphrase`",
            "prompt, keychain, none",
        ),
        ("[serve.wc]\nslots = 3", "`serve.wc.command`", "is missing"),
        (
            "[serve.'a b']\ncommand = 'x'",
            "`serve`",
            "'.', '_' and '-'",
        ),
        (
            "[serve.wc]\ncommand = 'wc'\nslots = -1",
            "`serve.wc.slots`",
            "whole number",
        ),
    ];
    for (text, key, allowed) in cases {
        let error = refusal(text, &[]);
        for part in [key, PATH, allowed] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    let error = refusal("[task]\nlease = '30s'", &[("JUNTO_TASK__LEASE", "soon")]);
    assert!(
        error.contains("JUNTO_TASK__LEASE") && !error.contains(PATH),
        "{error}"
    );
}

#[test]
fn a_capability_is_done_in_one_way_and_its_limits_are_checked() {
    let cases = [
        (
            "command = 'wc'\nhttp = 'http://127.0.0.1:1'",
            "http",
            "leave one",
        ),
        ("command = 'wc'\npull = true", "pull", "leave one"),
        (
            "http = 'http://127.0.0.1:1'\npull = true",
            "pull",
            "leave one",
        ),
        ("http = 'https://example.org'", "http", "http://127.0.0.1"),
        ("command = 'wc'\noutput = '2GiB'", "output", "1B to 1GiB"),
        ("command = 'wc'\noutput = '0'", "output", "1B to 1GiB"),
        ("command = 'wc'\nmemory = '1MiB'", "memory", "16MiB to"),
        ("command = 'wc'\ndir = 'here'", "dir", "full path"),
        ("pull = true\nstream = true", "stream", "for commands only"),
        (
            "pull = true\nmemory = '1GiB'",
            "memory",
            "for commands only",
        ),
        (
            "url = 'http://127.0.0.1:1'\ndir = '/tmp'",
            "dir",
            "for commands only",
        ),
    ];
    for (text, key, said) in cases {
        let error = refusal(&format!("[serve.x]\n{text}"), &[]);
        let key = format!("`serve.x.{key}`");
        for part in [&key, said] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
    let text = "[serve.a]\ncommand = 'wc'\ndir = '/srv'\nmemory = '1GiB'\noutput = '1KiB'\n\
                [serve.b]\nhttp = 'http://127.0.0.1:1/b'\n[serve.c]\npull = true\n\
                [serve.d]\nurl = 'http://127.0.0.1:1/d'";
    let config = file(text).expect("valid");
    let done: Vec<String> = config
        .serve
        .values()
        .map(|serve| format!("{:?}", serve.to_runtime().expect("one way")))
        .collect();
    assert!(done[0].contains("1073741824") && done[0].contains("output_max_bytes: 1024"));
    assert!(done[0].contains("/srv") && done[1].contains("Url(\"http://127.0.0.1:1/b\")"));
    assert!(done[2].contains("Pull"), "{}", done[2]);
    // Its name before, which settings may still have.
    assert!(done[3].contains("Url(\"http://127.0.0.1:1/d\")"));
}

#[test]
fn ranges_are_checked_and_blamed_on_who_set_them() {
    let cases = [
        ("[task]\nlease = '10ms'", "`task.lease`", "1s to 1h"),
        ("[task]\nrenew = '10s'", "`task.renew`", "less than half"),
        (
            "[task]\nbackoff_max = '1ms'",
            "`task.backoff_max`",
            "500ms to 1d",
        ),
        ("[task]\nkeep = '10s'", "`task.keep`", "use 1m to 365d"),
        (
            "[task]\nkeep_tasks = 3",
            "`task.keep_tasks`",
            "use 256 to 1000000",
        ),
        (
            "[task]\nkeep_results = '1KiB'",
            "`task.keep_results`",
            "use 1MiB to 16GiB",
        ),
        (
            "[task]\nkeep_failed = '400d'",
            "`task.keep_failed`",
            "use 0ms to 365d",
        ),
        (
            "[task]\nkeep_failed_tasks = 1000001",
            "`task.keep_failed_tasks`",
            "use 0 to 1000000",
        ),
        (
            "[task]\nkeep_failed_inputs = '17GiB'",
            "`task.keep_failed_inputs`",
            "use 0 to 16GiB",
        ),
        (
            "[serve.wc]\ncommand = 'wc'\nunattended_after = '5m'",
            "`serve.wc.unattended_after`",
            "for pull only",
        ),
        (
            "[serve.wc]\npull = true\nunattended_after = '2d'",
            "`serve.wc.unattended_after`",
            "use 0ms to 1d",
        ),
        (
            "[serve.wc]\ncommand = 'wc'\nqueue = 257",
            "`serve.wc.queue`",
            "use 0 to 256",
        ),
        (
            "[serve.wc]\ncommand = 'wc'\nslots = 257",
            "`serve.wc.slots`",
            "1 to 256",
        ),
        (
            "[serve.'a.b']\ncommand = ' '",
            "`serve.a.b.command`",
            "1 to 8192 bytes",
        ),
        ("[net]\nlisten = []", "`net.listen`", "1 to 16"),
        (
            "[api]\nlisten = '0.0.0.0:1'",
            "`api.listen`",
            "api.allow_remote",
        ),
        ("[wake]\nallow = ['a b']", "`wake.allow`", "peer id"),
        (
            "[wake]\nmax_per_hour = 0",
            "`wake.max_per_hour`",
            "1 to 3600",
        ),
        ("[store]\nurl = 'redis://x'", "`store.url`", "use sled"),
    ];
    for (text, key, allowed) in cases {
        let error = refusal(text, &[]);
        for part in [key, PATH, allowed] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
    file("[api]\nlisten = '0.0.0.0:1'\nallow_remote = true").expect("asked for");
}

#[test]
fn what_is_set_twice_is_told_with_both_places() {
    let told = |text: &str| refusal(text, &[]);
    assert_eq!(
        told("[net]\nlisten = []\n[task]\n\n[net]\n"),
        "/h/junto.toml, line 5: the section [net] stands at line 1 already: put its settings there"
    );
    assert_eq!(
        told("[task]\nlease = '1s'\nlease = '2s'\n"),
        "/h/junto.toml, line 3: lease is set at line 2 already: keep one of the two"
    );
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let error = refusal("[net]\nmdns = tru\n", &[]);
    assert!(error.starts_with("/h/junto.toml, line 2: "), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn flags_add_capabilities_even_with_dots_to_those_of_the_file() {
    let mut flags = Flags::default();
    flags.set("--serve", &["serve", "a.b-c", "command"], "cat");
    flags.set("--serve", &["serve", "wc", "command"], "wc -l");
    let text = "[serve.wc]\ncommand = 'wc -w'\nslots = 9\n[serve.x]\ncommand = 'x'";
    let config = load(text, &[], flags).expect("valid");
    assert_eq!(config.serve.len(), 3);
    let wc = &config.serve[&"wc".parse().expect("a capability")];
    assert_eq!((wc.command.as_deref(), wc.slots), (Some("wc -l"), 9));
}

#[test]
fn all_among_the_allowed_means_everybody() {
    let config = file("[wake]\ncommand = 'x'\nallow = 'all'").expect("valid");
    let policy = config.wake.to_core();
    assert!(policy.hook && policy.allow.is_none());
    let id = "12D3KooWAxrxCRUDmGHHM5WBQGtysuWvXTC3nTeYokQGZvfYCPX8";
    let config = file(&format!("[wake]\nallow = ['{id}']")).expect("valid");
    assert_eq!(config.wake.to_core().allow, Some(vec![id.to_owned()]));
    assert!(
        file("[wake]\nallow = ['bob']").is_err(),
        "a name proves nothing"
    );
}

#[test]
fn a_relative_passphrase_file_is_relative_to_whoever_wrote_it() {
    let text = "[identity]\npassphrase_file = 'p'";
    let from_file = file(text).expect("valid").identity.passphrase_file;
    assert_eq!(from_file.as_deref(), Some("/h/p"));
    let env = [("JUNTO_IDENTITY__PASSPHRASE_FILE", "q")];
    let from_env = load(text, &env, Flags::default())
        .expect("valid")
        .identity
        .passphrase_file;
    assert_eq!(from_env.as_deref(), Some("q"));
}

#[test]
fn an_unreadable_file_is_a_clear_sentence() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("junto.toml");
    std::fs::create_dir(&path).expect("a folder in its place");
    let home = Home::locate(Some(dir.path())).expect("a path");
    let error = Config::load(&home, Flags::default())
        .expect_err("refused")
        .to_string();
    assert!(error.contains("junto.toml cannot be read"), "{error}");
}

#[test]
fn the_default_file_is_written_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("junto.toml");
    assert!(Config::write_new(&path, &FirstRun::default()).expect("written"));
    std::fs::write(&path, "[net]\nmdns = false\n").expect("edited");
    assert!(!Config::write_new(&path, &FirstRun::default()).expect("kept"));
    assert!(
        std::fs::read_to_string(&path)
            .expect("there")
            .contains("mdns = false")
    );
}

#[test]
fn the_default_name_is_the_host_and_the_end_of_the_peer_id() {
    let peer: PeerId = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
        .parse()
        .expect("an id");
    assert_eq!(
        default_name("box.example.org\n", &peer).as_str(),
        "box-iDEp"
    );
    assert_eq!(default_name("", &peer).as_str(), "node-iDEp");
    assert_eq!(default_name(&"ü x".repeat(99), &peer).as_str().len(), 45);
}
