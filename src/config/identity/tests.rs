use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::passphrase::{PASSPHRASE_MAX_BYTES, read_passphrase};
use super::*;

/// Answers from a list; nobody is there when it is empty from the start.
pub(super) struct Scripted {
    there: bool,
    answers: VecDeque<&'static str>,
}

pub(super) fn person(answers: &[&'static str]) -> Scripted {
    Scripted {
        there: !answers.is_empty(),
        answers: answers.iter().copied().collect(),
    }
}

impl Prompt for Scripted {
    fn is_there(&self) -> bool {
        self.there
    }

    fn ask(&mut self, _: &str) -> io::Result<Zeroizing<String>> {
        let answer = self
            .answers
            .pop_front()
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Zeroizing::new(answer.to_owned()))
    }

    fn tell(&mut self, _: &str) {}
}

pub(super) fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().expect("a folder");
    let home = Home::locate(Some(dir.path())).expect("a path");
    (dir, home)
}

pub(super) fn none() -> PassphraseOptions {
    PassphraseOptions {
        none: true,
        ..PassphraseOptions::default()
    }
}

fn env(passphrase: &str) -> PassphraseOptions {
    let env = Some(Zeroizing::new(passphrase.to_owned()));
    PassphraseOptions {
        env,
        ..PassphraseOptions::default()
    }
}

#[test]
fn an_identity_is_made_once_and_stays() {
    let (_dir, home) = home();
    let first = load_or_create(&home, &none(), &mut person(&[])).expect("made");
    assert!(first.created);
    let mode = fs::metadata(home.key_file())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // No passphrase is needed for a file that says it has none.
    let options = PassphraseOptions::default();
    let again = load_or_create(&home, &options, &mut person(&[])).expect("opened");
    assert!(!again.created);
    assert_eq!(again.identity.peer_id, first.identity.peer_id);
    let clear = read_key_file(&home).expect("readable").expect("there");
    assert_eq!(clear.entity_id, first.identity.entity_id.to_string());
    let refused = create_identity(&home, &none(), &mut person(&[])).expect_err("there");
    assert!(matches!(refused, IdentityError::Io { .. }));
}

#[test]
fn a_wrong_passphrase_is_told_from_the_right_one() {
    let (_dir, home) = home();
    let made = load_or_create(&home, &env("right"), &mut person(&[])).expect("made");
    let opened = load_or_create(&home, &env("right"), &mut person(&[])).expect("opened");
    assert_eq!(opened.identity.entity_id, made.identity.entity_id);
    let error = load_or_create(&home, &env("wrong"), &mut person(&[])).expect_err("wrong");
    assert!(error.to_string().contains("passphrase is wrong"), "{error}");
    assert!(!error.to_string().contains("right"));
    let asked = load_or_create(
        &home,
        &PassphraseOptions::default(),
        &mut person(&["wrong", "right"]),
    );
    assert_eq!(
        asked.expect("second try").identity.peer_id,
        made.identity.peer_id
    );
    let nobody = load_or_create(&home, &none(), &mut person(&[])).expect_err("protected");
    assert!(matches!(nobody, IdentityError::NoPassphrase));
}

#[test]
fn nobody_to_ask_creates_nothing() {
    let (_dir, home) = home();
    let options = PassphraseOptions::default();
    let error = load_or_create(&home, &options, &mut person(&[])).expect_err("nobody");
    assert!(matches!(error, IdentityError::NoPassphrase));
    let error = load_or_create(&home, &options, &mut person(&["a", "b"])).expect_err("differ");
    assert!(matches!(error, IdentityError::Differ));
    assert!(!home.key_file().exists());
}

#[test]
fn a_passphrase_file_loses_its_line_end_and_has_a_limit() {
    let (dir, _) = home();
    let path = dir.path().join("p");
    for text in ["secret", "secret\n", "secret\r\n"] {
        fs::write(&path, text).expect("written");
        assert_eq!(read_passphrase(&path).expect("read").as_str(), "secret");
    }
    fs::write(&path, "\n").expect("written");
    assert!(read_passphrase(&path).is_err());
    fs::write(&path, "x".repeat(PASSPHRASE_MAX_BYTES + 1)).expect("written");
    assert!(read_passphrase(&path).is_err());
    assert!(read_passphrase(&dir.path().join("absent")).is_err());
}

#[test]
fn a_given_file_wins_over_the_environment_and_that_over_the_configuration() {
    let (dir, _) = home();
    let write = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, name).expect("written");
        Some(path)
    };
    let mut options = env("env");
    options.config_file = write("config");
    let provided = |options: &PassphraseOptions| {
        options
            .provided()
            .expect("readable")
            .map(|text| text.to_string())
    };
    assert_eq!(provided(&options).as_deref(), Some("env"));
    options.env_file = write("env_file");
    assert_eq!(provided(&options).as_deref(), Some("env_file"));
    options.file = write("flag");
    assert_eq!(provided(&options).as_deref(), Some("flag"));
    let config = PassphraseOptions {
        config_file: write("c"),
        ..Default::default()
    };
    assert_eq!(provided(&config).as_deref(), Some("c"));
}

#[test]
fn a_damaged_key_file_is_named() {
    let (_dir, home) = home();
    fs::write(home.key_file(), "{").expect("written");
    let error = load_or_create(&home, &none(), &mut person(&[])).expect_err("damaged");
    assert!(error.to_string().contains("identity.key"), "{error}");
    assert!(error.to_string().contains("damaged"), "{error}");
}
