//! Passphrases that the system's keychain keeps.
//!
//! 1. What was given (a flag, the environment, the settings) goes before the keychain, which goes
//!    before the prompt.
//! 2. A keychain that is of no use never stops what can go on without it.
//! 3. A passphrase is in the keychain before a key file needs it, and one that may be the only
//!    copy is not replaced there.

use rand::Rng as _;
use zeroize::Zeroizing;

use super::passphrase::new_passphrase;
use super::{IdentityError, PassphraseOptions, Prompt};
use crate::config::{Keychain, KeychainError};
use crate::types::EntityId;

const RANDOM_BYTES: usize = 32;

/// The passphrase of a new key file of `entity`; none when it is to have none. With a keychain it
/// is in there now: the one it has, the one that was given, or a random one.
///
/// # Errors
/// [`IdentityError`].
pub(in crate::config) fn new_key_passphrase(
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
    about: &str,
    entity: &EntityId,
) -> Result<Option<Zeroizing<String>>, IdentityError> {
    let Some(keychain) = options.keychain() else {
        return new_passphrase(options, prompt, about);
    };
    let given = options.provided()?;
    match (
        keep_new(keychain, &entity.to_string(), given.as_ref()),
        given,
    ) {
        (Ok(kept), _) => {
            prompt.tell("The passphrase is in the system's keychain.");
            Ok(Some(kept))
        }
        (Err(error), Some(given)) if error != KeychainError::Another => {
            prompt.tell(&format!("warning: {error}; the passphrase is kept nowhere"));
            Ok(Some(given))
        }
        (Err(error), _) => Err(IdentityError::Keychain(error)),
    }
}

fn keep_new(
    keychain: &dyn Keychain,
    entity: &str,
    given: Option<&Zeroizing<String>>,
) -> Result<Zeroizing<String>, KeychainError> {
    match (keychain.read(entity)?, given) {
        (Some(kept), Some(given)) if kept != *given => return Err(KeychainError::Another),
        (Some(kept), _) => return Ok(kept),
        (None, _) => {}
    }
    let passphrase = given.cloned().unwrap_or_else(random);
    keychain.write(entity, &passphrase)?;
    // What nobody else knows must be readable before anything is encrypted with it.
    match keychain.read(entity)? {
        Some(kept) if kept == passphrase => Ok(kept),
        _ => Err(KeychainError::Refused(String::from(
            "what was written cannot be read again",
        ))),
    }
}

fn random() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    rand::rng().fill_bytes(&mut *bytes);
    Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&*bytes))
}

/// What the keychain keeps for a key file; none when there is no keychain to be asked, or when it
/// is of no use and a person can be asked instead, who is told why.
///
/// # Errors
/// [`IdentityError::Keychain`] when nobody is there.
pub(super) fn kept(
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
    entity: &str,
) -> Result<Option<Zeroizing<String>>, IdentityError> {
    let Some(keychain) = options.keychain() else {
        return Ok(None);
    };
    match keychain.read(entity) {
        Ok(Some(kept)) => Ok(Some(kept)),
        Ok(None) => of_no_use(prompt, KeychainError::Empty),
        Err(error) => of_no_use(prompt, error),
    }
}

/// Tells a person why the keychain does not help, who is asked next.
///
/// # Errors
/// [`IdentityError::Keychain`] when nobody is there.
pub(super) fn of_no_use(
    prompt: &mut dyn Prompt,
    error: KeychainError,
) -> Result<Option<Zeroizing<String>>, IdentityError> {
    if !prompt.is_there() {
        return Err(IdentityError::Keychain(error));
    }
    prompt.tell(&format!("warning: {error}"));
    Ok(None)
}

/// Puts the passphrase that opened a key file into the keychain, if there is one to be used.
pub(super) fn keep(
    options: &PassphraseOptions,
    prompt: &mut dyn Prompt,
    entity: &str,
    passphrase: &Zeroizing<String>,
) {
    let Some(keychain) = options.keychain() else {
        return;
    };
    let is_there = |kept: Option<_>| kept.as_ref() == Some(passphrase);
    match keychain.read(entity).map(is_there) {
        Ok(true) => {}
        Ok(false) => match keychain.write(entity, passphrase) {
            Ok(()) => prompt.tell("The passphrase is in the system's keychain from now on."),
            Err(error) => prompt.tell(&format!("warning: {error}; the passphrase is not kept")),
        },
        Err(error) => prompt.tell(&format!("warning: {error}; the passphrase is not kept")),
    }
}

/// Forgets the passphrase of a key file that did not come about.
pub(super) fn forget(options: &PassphraseOptions, entity: &EntityId) {
    if let Some(keychain) = options.keychain() {
        // Nothing needs it; an item that stays is a nuisance only.
        let _ = keychain.remove(&entity.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::fs;
    use std::rc::Rc;

    use super::super::tests::{home, person};
    use super::super::{create_identity, load_or_create, read_key_file, rotate_stopped};
    use super::*;

    /// In memory; none of its requests is answered while `broken` says why not.
    #[derive(Clone, Default)]
    struct Fake {
        items: Rc<RefCell<BTreeMap<String, String>>>,
        broken: Rc<RefCell<Option<KeychainError>>>,
    }

    impl Fake {
        fn ask(&self) -> Result<(), KeychainError> {
            self.broken.borrow().clone().map_or(Ok(()), Err)
        }

        fn breaks(&self, error: Option<KeychainError>) {
            *self.broken.borrow_mut() = error;
        }

        fn passphrases(&self) -> Vec<String> {
            self.items.borrow().values().cloned().collect()
        }

        fn options(&self, given: Option<&str>) -> PassphraseOptions {
            PassphraseOptions {
                env: given.map(|given| Zeroizing::new(given.to_owned())),
                keychain: Some(Box::new(self.clone())),
                ..PassphraseOptions::default()
            }
        }
    }

    impl Keychain for Fake {
        fn read(&self, entity: &str) -> Result<Option<Zeroizing<String>>, KeychainError> {
            self.ask()?;
            Ok(self.items.borrow().get(entity).cloned().map(Zeroizing::new))
        }

        fn write(&self, entity: &str, passphrase: &str) -> Result<(), KeychainError> {
            self.ask()?;
            let mut items = self.items.borrow_mut();
            items.insert(entity.to_owned(), passphrase.to_owned());
            Ok(())
        }

        fn remove(&self, entity: &str) -> Result<(), KeychainError> {
            self.ask()?;
            self.items.borrow_mut().remove(entity);
            Ok(())
        }
    }

    fn absent() -> KeychainError {
        KeychainError::Absent(String::from("no bus"))
    }

    fn given(passphrase: &str) -> PassphraseOptions {
        PassphraseOptions {
            env: Some(Zeroizing::new(passphrase.to_owned())),
            ..PassphraseOptions::default()
        }
    }

    #[test]
    fn a_new_key_gets_a_random_passphrase_that_opens_it_with_nobody_there() {
        let (_dir, home) = home();
        let fake = Fake::default();
        let options = fake.options(None);
        let made = load_or_create(&home, &options, &mut person(&[])).expect("made");
        let file = read_key_file(&home).expect("readable").expect("there");
        assert!(file.passphrase);
        let kept = fake.items.borrow().clone();
        let passphrase = &kept[&made.identity.entity_id.to_string()];
        assert_eq!((kept.len(), passphrase.len()), (1, 52));
        let again = load_or_create(&home, &options, &mut person(&[])).expect("opened");
        assert_eq!(again.identity.entity_id, made.identity.entity_id);
        let rotated = rotate_stopped(&home, &options, &mut person(&[])).expect("rotated");
        assert!(rotated.follows(&made.identity));
        assert_eq!(fake.passphrases(), std::slice::from_ref(passphrase));
        // It is no other than what `--passphrase-file` would give.
        load_or_create(&home, &given(passphrase), &mut person(&[])).expect("opened");
    }

    #[test]
    fn what_is_given_goes_first_and_is_kept_where_there_is_a_keychain() {
        let (_dir, home) = home();
        let fake = Fake::default();
        fake.breaks(Some(absent()));
        let made = load_or_create(&home, &fake.options(Some("p")), &mut person(&[]));
        made.expect("the file is enough");
        let opened = load_or_create(&home, &fake.options(Some("p")), &mut person(&[]));
        opened.expect("without a keychain, too");
        fake.breaks(None);
        load_or_create(&home, &fake.options(Some("p")), &mut person(&[])).expect("opened");
        assert_eq!(fake.passphrases(), ["p"]);
        load_or_create(&home, &fake.options(None), &mut person(&[])).expect("opened");
        let wrong = load_or_create(&home, &fake.options(Some("wrong")), &mut person(&[]));
        assert!(matches!(wrong, Err(IdentityError::KeyFile { .. })));
        assert_eq!(
            fake.passphrases(),
            ["p"],
            "only what opened the key is kept"
        );
    }

    #[test]
    fn where_no_keychain_runs_and_nothing_is_given_nothing_is_made() {
        for error in [absent(), KeychainError::NotBuilt, KeychainError::Silent(1)] {
            let (_dir, home) = home();
            let fake = Fake::default();
            fake.breaks(Some(error.clone()));
            let refused = load_or_create(&home, &fake.options(None), &mut person(&["p", "p"]));
            let refused = refused.expect_err("no keychain");
            assert_eq!(refused.to_string(), error.to_string());
            assert!(!home.key_file().exists());
        }
    }

    #[test]
    fn a_person_helps_where_the_keychain_does_not_and_it_learns() {
        let (_dir, home) = home();
        load_or_create(&home, &given("p"), &mut person(&[])).expect("made");
        let fake = Fake::default();
        let nobody = load_or_create(&home, &fake.options(None), &mut person(&[]));
        let nobody = nobody.expect_err("it keeps nothing yet").to_string();
        assert_eq!(nobody, KeychainError::Empty.to_string());
        fake.breaks(Some(absent()));
        load_or_create(&home, &fake.options(None), &mut person(&["p"])).expect("asked");
        fake.breaks(None);
        load_or_create(&home, &fake.options(None), &mut person(&["p"])).expect("asked");
        assert_eq!(fake.passphrases(), ["p"]);
        load_or_create(&home, &fake.options(None), &mut person(&[])).expect("kept");
    }

    #[test]
    fn a_passphrase_that_does_not_open_the_key_is_told_and_replaced_by_one_that_does() {
        let (_dir, home) = home();
        let made = load_or_create(&home, &given("p"), &mut person(&[])).expect("made");
        let fake = Fake::default();
        let entity = made.identity.entity_id.to_string();
        fake.write(&entity, "other").expect("written");
        let nobody = load_or_create(&home, &fake.options(None), &mut person(&[]));
        let nobody = nobody.expect_err("wrong").to_string();
        assert_eq!(nobody, KeychainError::Wrong.to_string());
        assert!(!nobody.contains("other"));
        load_or_create(&home, &fake.options(None), &mut person(&["p"])).expect("asked");
        assert_eq!(fake.passphrases(), ["p"]);
    }

    #[test]
    fn a_new_key_file_of_an_entity_never_costs_the_passphrase_of_its_other_one() {
        let entity = EntityId([7; 32]);
        let fake = Fake::default();
        fake.write(&entity.to_string(), "first").expect("written");
        let new = |given| new_key_passphrase(&fake.options(given), &mut person(&[]), "", &entity);
        let same = new(None).expect("kept").expect("one");
        assert_eq!(same.as_str(), "first");
        let other = new(Some("second")).expect_err("refused");
        assert_eq!(other.to_string(), KeychainError::Another.to_string());
        assert_eq!(fake.passphrases(), ["first"]);
    }

    #[test]
    fn a_key_file_that_cannot_be_written_leaves_nothing_in_the_keychain() {
        let (_dir, home) = home();
        fs::write(home.key_file(), "taken").expect("written");
        let fake = Fake::default();
        let refused = create_identity(&home, &fake.options(None), &mut person(&[]));
        assert!(matches!(refused, Err(IdentityError::Io { .. })));
        assert!(fake.passphrases().is_empty());
    }

    #[test]
    fn no_passphrase_means_no_keychain() {
        let (_dir, home) = home();
        let fake = Fake::default();
        let options = PassphraseOptions {
            none: true,
            ..fake.options(None)
        };
        load_or_create(&home, &options, &mut person(&[])).expect("made");
        assert!(fake.passphrases().is_empty());
        let file = read_key_file(&home).expect("readable").expect("there");
        assert!(!file.passphrase);
    }
}
