//! What is no message at all, and too much of what might be one.

use std::time::Duration;

use junto::proto::session::parse;
use junto::wire::{MsgType, TaskCancel, WireError, cbor};

use super::liar::{Answer, Victim};
use super::support::eventually;
use super::{insider, liar, seed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_and_other_forms_are_refused_and_who_goes_on_is_banned() {
    let mut victim = Victim::start();
    let deep = |byte: u8, levels: usize| vec![byte; levels];
    let m1 = liar(&victim).await.m1().1;
    let indefinite = [&[0xbf], &m1[1..], &[0xff]].concat();
    let trailing = [&m1[..], &[0]].concat();
    let longer_head = [&[0xb8, m1[0] & 0x1f], &m1[1..]].concat();
    let cut = m1[..m1.len() / 2].to_vec();
    let claims_much = vec![0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for form in [
        deep(0x81, 10_000),
        deep(0xa1, 10_000),
        deep(0xd8, 10_000),
        deep(0x5f, 10_000),
        indefinite,
        trailing,
        longer_head,
        cut,
        claims_much,
        Vec::new(),
        vec![0xff; 2 << 20],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut liar = liar(&victim).await;
        let code = liar.ask(&form).await.code();
        assert_eq!(
            code,
            Some(WireError::Malformed),
            "{:02x?}",
            &form[..form.len().min(8)]
        );
    }
    // Lengths that are not kept, or are too much: nothing is allocated for them.
    for prefix in [
        [0xff; 4],
        [0, 0x20, 0, 1],
        [0x7f, 0xff, 0xff, 0xff],
        [0, 0x20, 0, 0],
    ] {
        let mut liar = liar(&victim).await;
        let answer = liar.raw(&[&prefix[..], b"short"].concat()).await;
        assert!(matches!(answer, Answer::Nothing), "{answer:?}");
        assert!(victim.rss_mib() < 256);
    }
    // And streams that are no exchanges.
    for protocol in ["/junto/junto/channel/1", "/junto/junto/bulk/1"] {
        let mut liar = insider(&victim).await;
        for noise in [&[][..], &[0xff; 4], &[0; 65_536], &[0xff; 65_536]] {
            let _ = liar.raw_on(protocol, noise).await;
        }
    }
    let mut liar = liar(&victim).await;
    let peer = liar.identity.peer_id;
    for _ in 0..7 {
        liar.ask(b"noise").await;
    }
    eventually("the liar is banned", Duration::from_secs(60), || {
        (victim.state_of(&peer)? == "banned").then_some(())
    });
    victim.is_unharmed(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_corrupt_frames_of_a_stranger_do_not_keep_a_good_one_back() {
    const FRAMES: usize = 10_000;
    let mut victim = Victim::start();
    let mut honest = insider(&victim).await;
    // Of the class of which a peer may send most in a second.
    let nothing = cbor::encode(&TaskCancel { items: Vec::new() });
    let (sealed, _) = honest.seal(MsgType::TaskCancel, &nothing);
    // Strangers say it before its sender does, bent and as it is: it is no session of theirs.
    let mut strangers = Vec::new();
    for n in 0..8 {
        let mut stranger = liar(&victim).await;
        let (sealed, _) = parse(&sealed).unwrap();
        strangers.push(tokio::spawn(async move {
            for i in 0..FRAMES / 8 {
                let mut bent = sealed.clone();
                let at = (i + n) % bent.data.len();
                bent.data[at] ^= u8::from(i % 8 != 0);
                let code = stranger.ask(&bent.to_bytes()).await.code();
                assert_eq!(code, Some(WireError::SessionNotFound));
            }
        }));
    }
    for stranger in strangers {
        stranger.await.unwrap();
    }
    assert!(matches!(honest.ask(&sealed).await, Answer::Message(..)));
    let replayed = honest.ask(&sealed).await.code();
    assert_eq!(replayed, Some(WireError::ReplayDetected));
    assert_eq!(honest.ping().await, Ok(MsgType::Pong));
    victim.is_unharmed(seed()).await;
}

/// As many PeerIds as the victim takes connections of, each with handshakes that it never ends; an
/// honest peer gets in within two seconds all the while. (20,000 of them at once are tested at the
/// session core, in virtual time.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_peer_gets_in_while_hundreds_leave_their_handshakes_half_open() {
    const PEERS: usize = 280;
    const EACH: usize = 5;
    let mut victim = Victim::start();
    let mut liars = Vec::new();
    for _ in 0..PEERS {
        liars.push(liar(&victim).await);
    }
    let flood: Vec<_> = liars
        .into_iter()
        .map(|mut liar| {
            tokio::spawn(async move {
                let mut begun = 0;
                for _ in 0..EACH {
                    begun += usize::from(liar.half_shake().await.is_ok());
                }
                (liar, begun)
            })
        })
        .collect();
    for _ in 0..3 {
        victim.is_unharmed(seed()).await;
    }
    let (mut begun, mut cookies) = (0, 0);
    let mut kept = Vec::new();
    for task in flood {
        let (liar, of_it) = task.await.unwrap();
        cookies += liar.cookies;
        kept.push(liar);
        begun += of_it;
    }
    assert!(begun > 1_024, "more than the table holds: {begun}");
    assert!(cookies > 0, "it was under load");
    victim.is_unharmed(seed()).await;
}
