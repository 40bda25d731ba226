//! `doctor`: what is wrong at this home, and what to do. Works without a running node and
//! changes nothing.
//!
//! Every check ends in one line: ok, warn (it works, but look), or fail (it will not work). One
//! check's failure never stops the others.

use serde::Serialize;

use super::exit::{Exit, Outcome};
use super::output::{self, Listing};
use crate::config::Home;

mod files;
mod keychain;
mod node;
mod system;

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    detail: String,
    /// What to do; none when all is well.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Check {
        Check {
            name,
            level: Level::Ok,
            detail: detail.into(),
            advice: None,
        }
    }

    fn warn(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Check {
        let advice = Some(advice.into());
        Check {
            name,
            level: Level::Warn,
            detail: detail.into(),
            advice,
        }
    }

    fn fail(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Check {
        let advice = Some(advice.into());
        Check {
            name,
            level: Level::Fail,
            detail: detail.into(),
            advice,
        }
    }
}

/// The document of `doctor --json`.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    home: String,
    checks: &'a [Check],
}

pub(super) async fn run(home: &Home, json: bool) -> Outcome {
    let checks = examine(home).await;
    let ok = checks.iter().all(|check| check.level < Level::Fail);
    if json {
        let home = home.path().display().to_string();
        output::json(&Report {
            ok,
            home,
            checks: &checks,
        })?;
    } else {
        show(home, &checks)?;
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

async fn examine(home: &Home) -> Vec<Check> {
    let mut checks = vec![files::home(home)];
    let (settings, config) = files::settings(home);
    checks.push(settings);
    checks.push(files::key(home));
    checks.extend(keychain::keychain(home, config.as_ref()).await);
    checks.push(files::token(home));
    checks.push(files::store(home));
    checks.extend(node::running(home).await);
    if let Some(config) = &config {
        checks.push(node::meeting(config));
    }
    checks.push(system::disk(home));
    checks.extend(system::open_files());
    checks.push(system::clock(home));
    checks
}

fn show(home: &Home, checks: &[Check]) -> std::io::Result<()> {
    output::line(&format!("home: {}", home.path().display()))?;
    let mut listing = Listing::new(&["CHECK", "", "WHAT WAS FOUND"]);
    for check in checks {
        listing.row(&[check.name, check.level.as_str(), &check.detail]);
    }
    listing.write("")?;
    for check in checks {
        if let Some(advice) = &check.advice {
            output::line(&format!("{}: {advice}", check.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{PassphraseOptions, TerminalPrompt, create_identity};
    use crate::store::{SledStore, Store};
    use crate::types::{Keyspace, WriteBatch};

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::locate(Some(&dir.path().join("h"))).expect("a path");
        (dir, home)
    }

    fn level(checks: &[Check], name: &str) -> Level {
        checks
            .iter()
            .find(|check| check.name == name)
            .expect(name)
            .level
    }

    #[tokio::test]
    async fn an_empty_place_is_a_warning_not_a_failure() {
        let (_dir, home) = home();
        let checks = examine(&home).await;
        assert_eq!(level(&checks, "home"), Level::Warn);
        assert_eq!(level(&checks, "node"), Level::Warn);
        assert!(!home.path().exists(), "the doctor changes nothing");
        assert_eq!(run(&home, true).await, Ok(Exit::Done));
    }

    #[tokio::test]
    async fn a_sound_home_is_ok_and_each_damage_is_found() {
        let (_dir, home) = home();
        home.create().expect("created");
        let options = PassphraseOptions {
            none: true,
            ..PassphraseOptions::default()
        };
        create_identity(&home, &options, &mut TerminalPrompt).expect("made");
        let checks = examine(&home).await;
        for name in ["home", "settings", "key", "token", "store", "clock"] {
            assert_eq!(level(&checks, name), Level::Ok, "{name}: {checks:?}");
        }
        fs::set_permissions(home.key_file(), fs::Permissions::from_mode(0o644)).expect("set");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("set");
        fs::write(home.config_file(), "[net]\nlisen = 1").expect("written");
        let checks = examine(&home).await;
        assert_eq!(level(&checks, "key"), Level::Warn);
        assert_eq!(level(&checks, "home"), Level::Warn);
        assert_eq!(level(&checks, "settings"), Level::Fail);
        fs::write(home.key_file(), "cut").expect("written");
        assert_eq!(level(&examine(&home).await, "key"), Level::Fail);
        assert_eq!(run(&home, false).await, Ok(Exit::Failed));
    }

    #[tokio::test]
    async fn a_store_that_a_start_would_refuse_is_told() {
        let (_dir, home) = home();
        home.create().expect("created");
        let mut store = SledStore::open(&home.store_dir()).expect("new");
        for n in 0..100_u8 {
            let mut batch = WriteBatch::default();
            batch.put(Keyspace::Meta, vec![n], vec![n; 1_000]);
            store.apply(&[batch]).expect("written");
        }
        drop(store);
        assert_eq!(level(&examine(&home).await, "store"), Level::Ok);
        let log = home.store_dir().join("db");
        let mut bytes = fs::read(&log).expect("a log");
        let middle = bytes.len() / 2;
        bytes[..middle].fill(0xa5);
        fs::write(&log, &bytes).expect("damaged");
        let checks = examine(&home).await;
        assert_eq!(level(&checks, "store"), Level::Fail, "{checks:?}");
        assert!(fs::read(&log).expect("a log") == bytes, "it is as it was");
    }

    #[test]
    fn whatever_is_not_well_comes_with_advice() {
        assert_eq!(Check::ok("a", "b").advice, None);
        assert!(Check::warn("a", "b", "c").advice.is_some());
        assert!(Check::fail("a", "b", "c").advice.is_some());
        assert!(Level::Ok < Level::Warn && Level::Warn < Level::Fail);
    }
}
