//! The key's routes: what reaches the keeper and the node, and what is refused before.

use super::super::client::ClientError;
use super::*;
use crate::crypto::{Identity, Keys, Rng, Seeds};
use crate::runtime::{KeyKeeper, KeyKeeperError};
use rand::SeedableRng;

fn keys() -> Keys {
    Keys::found(Seeds::generate(&mut Rng::seed_from_u64(1)))
}

#[derive(Debug)]
struct Keeper;

impl KeyKeeper for Keeper {
    fn rotate(&self, passphrase: Option<&str>) -> Result<Identity, KeyKeeperError> {
        match passphrase {
            Some("right") => Ok(keys().identity()),
            Some("full") => Err(KeyKeeperError::Refused("as often as it can be".into())),
            _ => Err(KeyKeeperError::Passphrase("that does not open it".into())),
        }
    }
}

#[tokio::test]
async fn a_key_is_rotated_by_its_keeper_and_then_in_the_node() {
    let (handle, asked) = played();
    let served = Served::start(handle.with_keeper(Arc::new(Keeper)));
    let client = served.client();
    // What the played node answers is not a fingerprint: a mistake of the node, told as such.
    let answer = client.rotate_key(Some("right")).await;
    assert!(matches!(
        answer,
        Err(ClientError::Problem { status: 500, .. })
    ));
    assert_eq!(
        asked.last(),
        Command::KeyRotated(Box::new(keys().identity()))
    );
    for (passphrase, code, status) in [
        (Some("wrong"), "invalid", 400),
        (None, "invalid", 400),
        (Some("full"), "conflict", 409),
    ] {
        let refused = client.rotate_key(passphrase).await.unwrap_err();
        let ClientError::Problem {
            code: got,
            status: with,
            detail,
        } = refused
        else {
            panic!("{refused:?}")
        };
        assert_eq!((got.as_str(), with), (code, status));
        assert!(!detail.contains("wrong"), "{detail}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_node_without_a_key_file_rotates_nothing() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let refused = served.client().rotate_key(None).await.unwrap_err();
    assert!(matches!(refused, ClientError::Problem { status: 409, .. }));
    assert!(asked.all().is_empty());
    served.stop().await;
}

#[tokio::test]
async fn fingerprints_are_shown_of_oneself_and_of_a_peer() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let client = served.client();
    assert_eq!(client.fingerprint(None).await.unwrap().name, "alice");
    assert_eq!(asked.last(), Command::Fingerprint { peer: None });
    assert_eq!(client.fingerprint(Some("bob")).await.unwrap().name, "bob");
    let peer = Some("bob".parse().unwrap());
    assert_eq!(asked.last(), Command::Fingerprint { peer });
    served.stop().await;
}

#[test]
fn a_passphrase_on_its_way_is_not_shown() {
    let body = crate::api::body::RotateBody {
        passphrase: Some("secret".into()),
    };
    assert_eq!(format!("{body:?}"), "RotateBody(…)");
}
