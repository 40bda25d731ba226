//! What lies in the home folder.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Check;
use crate::api::{ApiToken, TokenError};
use crate::cli::init::Passphrase;
use crate::config::{Config, Flags, Home, read_key_file};
use crate::store::{SledStore, StoreError};

/// The rights of everybody but the owner.
const OTHERS: u32 = 0o077;

pub(super) fn home(home: &Home) -> Check {
    const NAME: &str = "home";
    let path = home.path().display();
    let metadata = match fs::metadata(home.path()) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let detail = format!("no node lives in {path} yet");
            return Check::warn(NAME, detail, "make one with `junto init` or `junto up`");
        }
        Err(error) => return Check::fail(NAME, format!("{path}: {error}"), "name another --home"),
    };
    if !metadata.is_dir() {
        return Check::fail(
            NAME,
            format!("{path} is not a folder"),
            "name another --home",
        );
    }
    // Rights alone do not tell: the disk may be read-only or full.
    if let Err(error) = fs::read_dir(home.path()).and_then(|_| tempfile::tempfile_in(home.path())) {
        let advice = format!("give your user the rights to read and write {path}");
        return Check::fail(NAME, format!("{path} cannot be used: {error}"), advice);
    }
    if metadata.permissions().mode() & OTHERS != 0 {
        let advice = format!("close it to them: chmod 700 {path}");
        return Check::warn(NAME, "other users can look into the home", advice);
    }
    Check::ok(NAME, "readable and writable, for you only")
}

/// The settings, for the checks that follow, if they can be used.
pub(super) fn settings(home: &Home) -> (Check, Option<Config>) {
    const NAME: &str = "settings";
    match Config::load(home, Flags::default()) {
        Ok(config) if home.config_file().exists() => (
            Check::ok(NAME, "junto.toml and the environment are valid"),
            Some(config),
        ),
        Ok(config) => (
            Check::ok(NAME, "no junto.toml: the defaults apply"),
            Some(config),
        ),
        Err(error) => {
            let advice = format!(
                "mend {} or the variable named",
                home.config_file().display()
            );
            (Check::fail(NAME, error.to_string(), advice), None)
        }
    }
}

pub(super) fn key(home: &Home) -> Check {
    const NAME: &str = "key";
    let path = home.key_file();
    match read_key_file(home) {
        Ok(None) => Check::warn(
            NAME,
            "there is no identity yet",
            "make one with `junto init` or `junto up`",
        ),
        Ok(Some(_)) if is_open_to_others(&path).unwrap_or(false) => Check::warn(
            NAME,
            "other users can read the key file",
            format!("close it to them: chmod 600 {}", path.display()),
        ),
        Ok(Some(file)) if file.passphrase => {
            let kept = Passphrase::of(home, &file).words();
            Check::ok(NAME, format!("in {}, {kept}", path.display()))
        }
        Ok(Some(_)) => Check::ok(
            NAME,
            format!(
                "in {}, readable for you only, without a passphrase",
                path.display()
            ),
        ),
        Err(error) => {
            let advice = "restore the file from a backup; a new identity is another entity";
            Check::fail(NAME, error.to_string(), advice)
        }
    }
}

pub(super) fn token(home: &Home) -> Check {
    const NAME: &str = "token";
    let path = home.token_file();
    // Before the token is loaded: loading takes the rights from others.
    if is_open_to_others(&path).unwrap_or(false) {
        let advice = format!(
            "remove {} and restart the node to get a new one",
            path.display()
        );
        return Check::warn(NAME, "other users can read the API token", advice);
    }
    match ApiToken::load(&path) {
        Ok(_) => Check::ok(NAME, "readable for you only"),
        Err(TokenError::Missing(_)) => Check::ok(NAME, "none yet: the first start makes one"),
        Err(error) => Check::fail(NAME, error.to_string(), "remove it and restart the node"),
    }
}

pub(super) fn store(home: &Home) -> Check {
    const NAME: &str = "store";
    let path = home.store_dir();
    match fs::read_dir(&path) {
        Ok(_) if matches!(home.is_locked(), Ok(false)) => opened(NAME, &path),
        Ok(_) => Check::ok(NAME, "there, and a node has it open"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Check::ok(NAME, "none yet: the first start makes one")
        }
        Err(error) => {
            let advice = format!(
                "give your user the rights to read and write {}",
                path.display()
            );
            Check::fail(
                NAME,
                format!("{} cannot be read: {error}", path.display()),
                advice,
            )
        }
    }
}

/// Opens it as a start does, which reads every row and changes nothing of one that is damaged.
fn opened(name: &'static str, path: &Path) -> Check {
    match SledStore::open(path) {
        Ok(_) => Check::ok(name, "whole"),
        Err(StoreError::InUse { .. }) => Check::ok(name, "there, and in use"),
        Err(error) => {
            let advice =
                "a start says the same: mend the disk or make room, or move the folder aside";
            Check::fail(name, error.to_string(), advice)
        }
    }
}

fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & OTHERS != 0)
}
