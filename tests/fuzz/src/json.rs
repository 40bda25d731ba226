//! What is text: a message as JSON, and the proof of a message or a task as text.
//!
//! The first byte says which of these the others are.
//!
//! - None panics.
//! - A JSON message that is read is the same envelope after it was written as JSON again, whatever
//!   way it was first written; what one side signs, the other checks.
//! - A proof that is read is the same after it was written again.

use junto::crypto::KeyPair;
use junto::types::{EntityId, FencingToken, TaskId};
use junto::wire::{
    Envelope, Evidence, JsonMessage, JsonPayload, ResultItem, ResultParties, ResultProof,
    TaskEvidence, TaskOutcome, TaskResult,
};

use super::wire::{self, Reader};

/// The rules of the specification that are read here.
pub const MESSAGES: &[(&str, Reader)] = &[
    ("evidence", wire::agree::<Evidence>),
    ("task-evidence", wire::agree::<TaskEvidence>),
    ("result-proof", wire::agree::<ResultProof>),
];

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 4 {
        0 => drop(wire::json_form(bytes)),
        1 => drop(fields(bytes)),
        2 => drop(wire::evidence(bytes)),
        _ => drop(envelope(bytes)),
    }
}

/// The fields of a message, each on a line of its own; an empty one is left out, or takes what a
/// message would have.
fn fields(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let line = |at: usize| lines.get(at).copied().filter(|line| !line.is_empty());
    let or = |at: usize, usual: &str| line(at).unwrap_or(usual).to_owned();
    let optional = |at: usize| line(at).map(str::to_owned);
    let number = |at: usize| line(at).and_then(|line| line.parse::<u64>().ok());
    let seal = or(10, "none");
    let message = JsonMessage {
        version: or(0, "1.1"),
        msg_type: or(1, "ping"),
        sender_id: or(2, SENDER),
        recipient_id: optional(3),
        session_id: optional(4),
        epoch: number(5).and_then(|epoch| u32::try_from(epoch).ok()),
        sequence_num: number(6),
        re: number(7),
        timestamp: or(8, "2027-01-15T08:00:00.5Z"),
        nonce: or(9, &"05".repeat(32)),
        payload: JsonPayload {
            encrypted: seal == "session",
            data: or(11, "oA=="),
        },
        seal,
        signature: optional(12),
        tag: optional(13),
    };
    let whole = serde_json::to_string(&message).expect("plain data");
    let read: JsonMessage = serde_json::from_str(&whole).expect("what was written");
    assert_eq!(read, message);
    wire::json_form(whole.as_bytes())
}

/// An envelope as it travels on libp2p, made JSON and back.
fn envelope(bytes: &[u8]) -> bool {
    let Ok((envelope, header)) = Envelope::from_bytes(bytes) else {
        return false;
    };
    let json = JsonMessage::from_envelope(&envelope, &header);
    let whole = serde_json::to_string(&json).expect("plain data");
    let read: JsonMessage = serde_json::from_str(&whole).expect("what was written");
    assert_eq!(read, json);
    // What JSON cannot say: hints, and times beyond the year 9999.
    if let Ok(again) = read.to_envelope()
        && again.header == envelope.header
    {
        assert_eq!(again, envelope);
        assert_eq!(again.digest(), envelope.digest());
    }
    true
}

const SENDER: &str = "ent1ewychtkegt73b2hfwkvnfjcnjpho4ydlz6jjfeed7xyzkfho2o6q";
const SESSION: &str = "54e23bc1-eca8-4766-a61c-eaa8c60ddc65";

/// What shows two results of a task, as text.
fn task_proof() -> String {
    let parties = ResultParties {
        requester: EntityId([1; 32]),
        worker: EntityId([2; 32]),
    };
    let item = |n: u8| ResultItem {
        task_id: TaskId(uuid::Uuid::from_bytes([n; 16])),
        token: FencingToken(n.into()),
        outcome: TaskOutcome::Completed { result: vec![n] },
        spent: 0,
    };
    let key = KeyPair::from_seed(&[3; 32]);
    let list = TaskResult::sign(vec![item(1), item(2)], &parties, &key, [4; 32]);
    let items = list.open(&parties).expect("it is signed");
    let proofs = items.into_iter().map(|of| (of.proof, &b"an entry"[..]));
    TaskEvidence::new(proofs).to_text()
}

/// One input of each kind that gets far.
pub fn samples() -> Vec<Vec<u8>> {
    let signature = "07".repeat(64);
    let clear = format!("\n\n\n{SENDER}\n\n\n\n\n\n\n\n\n{signature}\n");
    let older = format!(
        "1.0\nwake_up\n{SENDER}\n{SENDER}\n\n\n\n\n1970-01-01T00:00:00Z\n\n\n\n{signature}"
    );
    let sealed =
        format!("\n\n\n{SENDER}\n{SESSION}\n0\n3\n2\n9999-12-31T23:59:59.999Z\n\nsession\n");
    let confirm = format!(
        "\nhandshake_confirm\n\n{SENDER}\n\n\n\n\n\n\n\n\n{signature}\n{}",
        "09".repeat(32)
    );
    let lines = [clear, older, sealed, confirm];
    for line in &lines {
        assert!(fields(line.as_bytes()), "{line}");
    }
    let evidence = Evidence {
        entry: vec![1; 30],
        message: vec![2; 40],
    };
    let mail = format!(
        "> seen\r\n{}\r\nbye",
        evidence.to_text().replace('\n', "\r\n")
    );
    assert!(wire::evidence(mail.as_bytes()));
    let task = task_proof();
    assert!(wire::evidence(task.as_bytes()));
    let mut samples: Vec<Vec<u8>> = lines
        .iter()
        .map(|line| [&[1][..], line.as_bytes()].concat())
        .collect();
    samples.push([&[2][..], mail.as_bytes()].concat());
    samples.push([&[2][..], task.as_bytes()].concat());
    let mut others = wire::samples().into_iter();
    let error = others.next().expect("an error in clear");
    assert!(envelope(&error));
    samples.push([&[3][..], &error].concat());
    let json = others.nth(6).expect("a message as JSON");
    assert!(wire::json_form(&json));
    samples.push([&[0][..], &json].concat());
    let (error, header) = Envelope::from_bytes(&error).expect("an error in clear");
    let error = JsonMessage::from_envelope(&error, &header);
    let error = serde_json::to_string_pretty(&error).expect("plain data");
    samples.push([&[0][..], error.as_bytes()].concat());
    samples
}
