//! Identities, their registry entries, their rotated keys (sections 4 and 6).

use junto::crypto::{Identity, KeyPair};
use junto::types::{Multiaddr, Wall};
use junto::wire::{EntryBody, PeerBinding, SignedEntry};
use serde_json::json;

use super::files::{hex, hold};
use super::sides::{ADDRESS, ALICE, BOB, ISSUED, all_hold, seeds, side};

#[test]
fn identities_follow_from_their_secrets() {
    let identity = |first| {
        let secrets = seeds(first);
        let identity = Identity::from_seeds(&secrets);
        json!({
            "seeds": {
                "entity": hex(&secrets.entity),
                "next": hex(&secrets.next),
                "transport": hex(&secrets.transport),
            },
            "inception": hex(&identity.inception.to_bytes()),
            "entity_id": hex(&identity.entity_id.0),
            "entity_id_text": identity.entity_id.to_string(),
            "peer_id": identity.peer_id.to_string(),
            "peer_id_bytes": hex(&identity.peer_id.to_bytes()),
            "binding": hex(&identity.binding.0),
            "fingerprint": Identity::fingerprint(&identity.entity_id),
        })
    };
    hold(
        "identity.json",
        &json!({
            "about": "Section 4: two identities from their secrets.",
            "identities": { "alice": identity(ALICE), "bob": identity(BOB) },
        }),
    );
}

#[test]
fn entries_are_issued_byte_for_byte_and_hold() {
    let address: Multiaddr = ADDRESS.parse().unwrap();
    let entry = |first, name: &str| {
        let entry = side(first, name).entry;
        let (body, checks) = SignedEntry::parse(&entry).unwrap();
        assert_eq!(
            checks.len(),
            3,
            "the founder's, the entity's, one peer id's"
        );
        assert!(all_hold(&checks));
        json!({
            "fields": {
                "issued": body.issued.0, "expires": body.expires.0, "seq": body.seq,
                "name": name, "capabilities": [{ "name": "wc", "slots": 4 }],
                "addresses": [{ "hex": hex(&address.to_vec()) }],
            },
            "entry": hex(&entry),
        })
    };
    hold(
        "entry.json",
        &json!({
            "about": "Section 6: the registry entries of the two of identity.json.",
            "entries": { "alice": entry(ALICE, "alice"), "bob": entry(BOB, "bob") },
        }),
    );
}

#[test]
fn a_key_is_rotated_as_it_was() {
    let first = Identity::from_seeds(&seeds(ALICE));
    let keys = [ALICE, ALICE + 1, 0x21, 0x22].map(|seed| KeyPair::from_seed(&[seed; 32]));
    let mut chain = first.chain().clone();
    let mut rotations = Vec::new();
    for key in 0..2 {
        let (old, new, after) = (&keys[key], &keys[key + 1], keys[key + 2].public());
        chain = chain.rotate(old, new, &after).unwrap();
        let carried = chain.rotations()[key].to_bytes();
        rotations.push(json!({ "rotation": hex(&carried), "link": hex(&chain.head().link) }));
    }
    let address: Multiaddr = ADDRESS.parse().unwrap();
    let body = EntryBody {
        entity_id: first.entity_id,
        inception: first.inception.to_bytes(),
        rotations: chain
            .rotations()
            .iter()
            .map(|rotation| rotation.to_bytes().into())
            .collect(),
        key: keys[2].public(),
        seq: 1,
        issued: ISSUED,
        expires: Wall(ISSUED.0 + 1000),
        name: "alice".parse().unwrap(),
        capabilities: Vec::new(),
        labels: Vec::new(),
        addresses: vec![address.clone()],
        peers: vec![PeerBinding {
            peer_id: first.peer_id,
            signature: first.binding,
        }],
        versions: vec!["1.1".into()],
    };
    let entry = SignedEntry::sign(&body, &keys[2]).to_bytes();
    let (_, checks) = SignedEntry::parse(&entry).unwrap();
    assert_eq!(
        checks.len(),
        7,
        "the founder's, two a rotation, two as ever"
    );
    assert!(all_hold(&checks));
    hold(
        "rotation.json",
        &json!({
            "about": "Sections 4 and 6: alice's key is followed by her next one and by that of the first seed here; the second seed's is committed to.",
            "seeds": [hex(&[0x21; 32]), hex(&[0x22; 32])],
            "rotations": rotations,
            "fields": {
                "issued": body.issued.0, "expires": body.expires.0, "seq": 1, "name": "alice",
                "capabilities": [], "addresses": [{ "hex": hex(&address.to_vec()) }],
            },
            "entry": hex(&entry),
        }),
    );
}
