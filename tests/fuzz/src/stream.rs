//! What the streams of a session carry: openings, records, batches, proofs; and what a channel
//! remembers of its messages.
//!
//! The first byte says which of these the others are, or are a script for.
//!
//! - None panics.
//! - A batch or a proof that reads is written again byte for byte, and a proof that is cut from a
//!   batch holds exactly if the batch does.
//! - An opening is taken once, and only if the other side made it.
//! - Records open in the order in which they were sealed, each once, whatever else arrives between
//!   them; what is bent moves nothing.
//! - A channel's numbers and windows keep their invariants, and a message is handed on once.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bytes::Bytes;
use junto::crypto::{KeyPair, Signature};
use junto::proto::session::{
    ChannelIn, ChannelOut, RECORD_HEADER_BYTES, Sealer, Sessions, StreamSecrets, parse_opening,
    record_layer,
};
use junto::types::{EntityId, Mono, PeerId, Priority, SessionId, StreamKind, Wall};
use junto::wire::{
    Batch, BatchContext, BatchHead, ChannelMessage, ChannelType, MessageProof, ProofParties,
    WireError, decode_batch, encode_batch,
};

use super::session;

const STEPS_MAX: usize = 200;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 5 {
        0 => batch(bytes),
        1 => proof(bytes),
        2 => openings(bytes),
        3 => records(bytes),
        _ => channel(bytes),
    }
}

// ---- batches and proofs -------------------------------------------------------------------------

fn parties() -> (BatchContext, ProofParties, KeyPair) {
    let key = KeyPair::from_seed(&[7; 32]);
    let parties = ProofParties {
        sender: EntityId([1; 32]),
        recipient: EntityId([2; 32]),
        session: SessionId(uuid::Uuid::from_u128(3)),
        transcript: [4; 32],
        key: key.public(),
    };
    let context = BatchContext::new(
        &parties.sender,
        &parties.recipient,
        parties.session,
        &parties.transcript,
    );
    (context, parties, key)
}

/// Where a batch has its signature.
const SIGNATURE: std::ops::Range<usize> = 57..121;

fn batch(bytes: &[u8]) {
    let (context, parties, key) = parties();
    let content = Bytes::copy_from_slice(bytes);
    let Ok(batch) = decode_batch(&content, &context) else {
        return;
    };
    let mut again = Vec::new();
    encode_batch(&batch.head, &batch.messages, &context, &key, &mut again);
    if !batch.messages.is_empty() {
        again[SIGNATURE].copy_from_slice(&batch.signature.0);
    }
    assert_eq!(again, bytes, "a batch is written otherwise");
    let holds = batch.verify(&context, &key.public().prepare().expect("a key"));
    for index in 0..batch.messages.len().min(3) as u32 {
        let proof = MessageProof::cut(&batch, index, &parties).expect("it has this message");
        assert_eq!(
            MessageProof::from_bytes(&proof.to_bytes()).as_ref(),
            Ok(&proof)
        );
        assert_eq!(
            proof.verify().is_ok(),
            holds,
            "the batch and its proof disagree"
        );
    }
    assert!(MessageProof::cut(&batch, batch.messages.len() as u32, &parties).is_none());
}

fn proof(bytes: &[u8]) {
    if let Ok(proof) = MessageProof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes, "a proof is written otherwise");
        // Nobody signs for the fuzzer but the one whose key is known here.
        let _ = proof.verify();
    }
}

// ---- streams of a session -------------------------------------------------------------------------

thread_local! {
    static PAIR: RefCell<Option<[(Sessions, PeerId); 2]>> = const { RefCell::new(None) };
}

/// Both ends of the streams of one session, as at its beginning.
fn secrets() -> [StreamSecrets; 2] {
    PAIR.with_borrow_mut(|pair| {
        let [(a, to_b), (b, to_a)] = pair.get_or_insert_with(session::shaken);
        [
            a.stream_secrets(to_b).expect("a live session"),
            b.stream_secrets(to_a).expect("a live session"),
        ]
    })
}

fn kind(byte: u8) -> StreamKind {
    match byte & 1 {
        0 => StreamKind::Channel,
        _ => StreamKind::Bulk,
    }
}

/// Pairs of bytes: what is done, and with which or how.
fn openings(script: &[u8]) {
    let mut ends = secrets();
    let mut made: Vec<(Vec<u8>, usize, StreamKind)> = Vec::new();
    let mut taken = BTreeSet::new();
    for step in script.chunks_exact(2).take(STEPS_MAX) {
        let (what, how) = (step[0], step[1]);
        let at = usize::from(what & 1);
        if what & 2 == 0 || made.is_empty() {
            let (frame, opened) = ends[at].open(kind(how), u64::from(how));
            made.push((frame, at, kind(how)));
            assert!(opened.answered(script).is_err(), "the answer is made up");
            continue;
        }
        let which = usize::from(how) % made.len();
        let (mut frame, by, of) = made[which].clone();
        let bent = what & 4 == 4;
        if bent {
            let place = usize::from(how) % frame.len();
            frame[place] ^= (what >> 3) | 1;
        }
        let Ok(opening) = parse_opening(&frame) else {
            assert!(bent, "an honest opening reads");
            continue;
        };
        let taker = if what & 0x40 == 0 { 1 - by } else { by };
        if let Ok((_, answer, have)) = ends[taker].accept(of, &opening, 5) {
            assert!(!bent && taker != by, "a forged opening was taken");
            assert!(taken.insert(which), "an opening was taken twice");
            assert_eq!(have, opening.have);
            assert!(answer.len() <= 256);
        }
    }
}

fn records(script: &[u8]) {
    let [mut ours, mut theirs] = secrets();
    let (frame, opened) = ours.open(StreamKind::Bulk, 0);
    let opening = parse_opening(&frame).expect("an honest opening");
    let accepted = theirs.accept(StreamKind::Bulk, &opening, 0);
    let (their_keys, answer, _) = accepted.expect("an honest opening");
    let (our_keys, _) = opened.answered(&answer).expect("an honest answer");
    let mut now = Mono::from_micros(1);
    let (mut sealer, _) = record_layer(our_keys, now);
    let (_, mut opener) = record_layer(their_keys, now);
    let (mut sealed, mut next): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
    for step in script.chunks_exact(2).take(STEPS_MAX) {
        let (what, how) = (step[0] % 8, usize::from(step[1]));
        let mut record = match what {
            0 | 1 => {
                let mut buffer = Vec::new();
                Sealer::begin(&mut buffer);
                buffer.extend_from_slice(&(sealed.len() as u64).to_be_bytes());
                sealer.seal(&mut buffer, now);
                sealed.push(buffer[4..].to_vec());
                continue;
            }
            2 => {
                sealer.acknowledged();
                continue;
            }
            3 => {
                now = now + 10_000 * step[1] as u64;
                continue;
            }
            4 => script.to_vec(),
            5 if !sealed.is_empty() => {
                let mut bent = sealed[how % sealed.len()].clone();
                let place = how % bent.len();
                bent[place] ^= step[0] | 1;
                bent
            }
            6 if !sealed.is_empty() => sealed[how % sealed.len()].clone(),
            _ if next < sealed.len() => sealed[next].clone(),
            _ => continue,
        };
        let honest = sealed.iter().position(|one| *one == record);
        match opener.open(&mut record) {
            Ok(offset) => {
                assert_eq!(
                    honest,
                    Some(next),
                    "another record than the next one opened"
                );
                assert_eq!(record[offset..], (next as u64).to_be_bytes());
                assert_eq!(offset, RECORD_HEADER_BYTES - 4);
                next += 1;
            }
            Err(WireError::InvalidState) => {
                assert!(
                    honest.is_some_and(|at| at > next),
                    "given up for a forged record"
                );
                return;
            }
            Err(_) => {
                // One that is two epochs ahead cannot be told from a forged one.
                assert!(honest != Some(next), "the next record is refused");
            }
        }
    }
}

// ---- what a channel remembers ---------------------------------------------------------------------

fn message(number: u64, how: u8) -> ChannelMessage {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let kind = match how & 3 {
        0 => ChannelType::Talk,
        1 => ChannelType::Ping,
        _ => ChannelType::Report,
    };
    ChannelMessage {
        kind,
        priority: Priority::Normal,
        durable: how & 4 == 4,
        again: false,
        confirm: how & 8 == 8,
        id,
        re: [0; 16],
        body: Bytes::from(vec![how; usize::from(how)]),
    }
}

fn channel(script: &[u8]) {
    let (mut out, mut into) = (ChannelOut::default(), ChannelIn::default());
    let mut waiting: Vec<ChannelMessage> = Vec::new();
    let mut batches: Vec<Batch> = Vec::new();
    let mut handed_on = BTreeSet::new();
    let mut count = 0;
    for step in script.chunks_exact(2).take(STEPS_MAX) {
        let (what, how) = (step[0] % 7, step[1]);
        match what {
            0 => {
                count += 1;
                waiting.push(message(count, how));
            }
            1 => {
                let first = out.number(&waiting);
                batches.push(Batch {
                    head: BatchHead {
                        have: 0,
                        sent: Wall(0),
                        first,
                        seed: [0; 32],
                    },
                    messages: std::mem::take(&mut waiting),
                    leaves: Vec::new(),
                    signature: Signature([0; 64]),
                });
            }
            2 | 3 if !batches.is_empty() => {
                let at = usize::from(how) % batches.len();
                let batch = if what == 2 {
                    batches.remove(0)
                } else {
                    batches.remove(at)
                };
                if let Ok(fresh) = into.take(&batch) {
                    assert_eq!(fresh.len(), batch.messages.len());
                    for (message, fresh) in batch.messages.iter().zip(fresh) {
                        if fresh && message.kind != ChannelType::Ping {
                            assert!(handed_on.insert(message.id), "handed on twice");
                        }
                    }
                }
            }
            4 => drop(out.acknowledged(into.have())),
            5 => drop(out.acknowledged(u64::from(how))),
            _ => {
                // The stream broke: all comes again, in the same session or in the next.
                waiting.splice(0..0, out.again());
                batches.clear();
                if how & 1 == 1 {
                    out.restart();
                    into.restart();
                }
            }
        }
        out.check().expect("an invariant");
        let room = out.room();
        assert!(room.bytes <= room.urgent_bytes || room.urgent_bytes == 0);
    }
}

/// One input of each kind that gets far.
pub fn samples() -> Vec<Vec<u8>> {
    let (context, parties, key) = parties();
    let head = BatchHead {
        have: 9,
        sent: Wall(1_700_000_000_000),
        first: 5,
        seed: [8; 32],
    };
    let messages: Vec<_> = [0, 6, 15].map(|how| message(u64::from(how), how)).to_vec();
    let mut bytes = Vec::new();
    encode_batch(&head, &messages, &context, &key, &mut bytes);
    let read = decode_batch(&Bytes::from(bytes.clone()), &context).expect("our own");
    let shown = MessageProof::cut(&read, 1, &parties).expect("it is there");
    let records: Vec<u8> = [0, 0, 0, 1, 7, 0, 2, 0, 3, 255, 0, 0, 7, 0, 7, 0, 6, 0, 5, 3].to_vec();
    let script: Vec<u8> = (0..60_u8).flat_map(|n| [n, n.wrapping_mul(37)]).collect();
    vec![
        [&[0][..], &bytes].concat(),
        [&[1][..], &shown.to_bytes()].concat(),
        [&[2][..], &[0, 0, 2, 0, 6, 1, 1, 1, 0x42, 0]].concat(),
        [&[2][..], &script].concat(),
        [&[3][..], &records].concat(),
        [&[3][..], &script].concat(),
        [
            &[4][..],
            &[0, 3, 0, 4, 1, 0, 2, 0, 4, 0, 0, 9, 1, 0, 6, 1, 1, 0, 2, 0],
        ]
        .concat(),
        [&[4][..], &script].concat(),
    ]
}
