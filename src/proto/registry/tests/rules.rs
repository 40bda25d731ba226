//! The rules an entry must keep before anybody takes it.

use super::*;

/// What happens to an honest entry that was changed before its entity signed it.
fn judged(bend: impl FnOnce(&mut EntryBody)) -> Arrival {
    let by = identity(1);
    let mut bent = body(&by, 1, "bent");
    bend(&mut bent);
    registry(0).arrived(&sign(&bent, &by), at(START))
}

fn holds(arrival: Arrival) -> bool {
    let Arrival::Check(checks) = arrival else {
        panic!("{arrival:?}")
    };
    checks.iter().all(SigCheck::verify)
}

#[test]
fn an_honest_entry_passes_and_a_bent_signature_does_not() {
    assert!(holds(judged(|_| ())));
    let mut signed = SignedEntry::sign(&body(&identity(1), 1, "a"), identity(1).key());
    signed.signature.0[0] ^= 1;
    assert!(!holds(registry(0).arrived(&signed.to_bytes(), at(START))));
    let by_another = sign(&body(&identity(1), 1, "a"), &identity(2));
    assert!(!holds(registry(0).arrived(&by_another, at(START))));
}

#[test]
fn a_peer_id_that_does_not_bind_itself_to_the_entity_does_not_pass() {
    let other = identity(2);
    let stolen = PeerBinding {
        peer_id: other.peer_id,
        signature: other.binding,
    };
    assert!(!holds(judged(|body| body.peers = vec![stolen.clone()])));
    assert!(
        !holds(judged(|body| body.peers.push(stolen))),
        "nor beside an honest one"
    );
}

#[test]
fn an_inception_of_somebody_else_is_refused() {
    let rule = |rule| Arrival::Bad(EntryError::Rule(rule));
    let other = identity(2);
    let foreign = other.inception.to_bytes();
    assert_eq!(
        judged(|body| body.inception = foreign),
        rule("the entity id is not its inception's")
    );
    let cut = judged(|body| body.inception.truncate(135));
    assert_eq!(cut, rule("the inception document is of another form"));
    let key = judged(|body| body.key = other.key().public());
    assert_eq!(key, rule("the key is not the entity's"));
    // An inception whose own signature is bent names the same entity, and does not pass.
    assert!(!holds(judged(|body| body.inception[135] ^= 1)));
}

#[test]
fn an_entry_over_a_bound_is_refused() {
    let rule = |rule| Arrival::Bad(EntryError::Rule(rule));
    let day = judged(|body| body.expires = START + ENTRY_MAX_LIFE_MS);
    assert!(matches!(day, Arrival::Check(_)));
    let longer = judged(|body| body.expires = START + ENTRY_MAX_LIFE_MS + 1);
    assert_eq!(longer, rule("it lives longer than 24 hours"));
    assert_eq!(
        judged(|body| body.expires = START),
        rule("it expires before it is issued")
    );
    assert_eq!(
        judged(|body| body.peers.clear()),
        rule("1 to 4 peer ids are allowed")
    );
    let five = judged(|body| body.peers = vec![body.peers[0].clone(); 5]);
    assert_eq!(five, rule("1 to 4 peer ids are allowed"));
    let addr: Multiaddr = "/ip4/1.2.3.4/tcp/1".parse().expect("an address");
    let far_too_many = judged(|body| body.addresses = vec![addr; ADDRESSES_MAX + 1]);
    assert_eq!(far_too_many, rule("too many addresses"));
    let offer = Offer {
        name: wc(),
        slots: 1,
        price: 0,
    };
    assert_eq!(
        judged(|body| body.capabilities = vec![offer; 33]),
        rule("too many capabilities")
    );
    let label = |n: usize| format!("n={n:02}").parse().expect("a label");
    let labels = |n: usize| (0..n).map(label).collect::<Vec<Label>>();
    let most = judged(|body| body.labels = labels(16));
    assert!(matches!(most, Arrival::Check(_)));
    assert_eq!(
        judged(|body| body.labels = labels(17)),
        rule("too many labels")
    );
    for disordered in [vec![label(2), label(1)], vec![label(1), label(1)]] {
        let disordered = judged(|body| body.labels = disordered.clone());
        assert_eq!(disordered, rule("its labels do not ascend"));
    }
    let long = judged(|body| body.versions = vec!["v".repeat(100); 90]);
    assert!(
        matches!(long, Arrival::Bad(EntryError::Form(_))),
        "over 8 KiB"
    );
}
