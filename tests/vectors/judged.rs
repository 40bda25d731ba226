//! What is taken and what is refused: encodings and signatures (section 2).

use junto::crypto::{KeyPair, PublicKey, SigCheck, Signature};
use junto::wire::cbor;
use serde_json::{Value, json};

use super::files::{hex, hold, shown};
use super::sides::{ALICE, BOB};

#[test]
fn cbor_is_judged_as_the_vectors_say() {
    let accepted = [
        "00",
        "17",
        "1818",
        "1bffffffffffffffff",
        "40",
        "4100",
        "60",
        "6161",
        "80",
        "820102",
        "a0",
        "a16161f5",
        "a2616101616202",
        "a261620162616102",
    ];
    let refused = [
        ("1800", "a longer integer than needed"),
        ("1900ff", "a longer integer than needed"),
        ("5800", "a longer length than needed"),
        ("5f4100ff", "an indefinite length"),
        ("9f01ff", "an indefinite length"),
        ("bf616101ff", "an indefinite length"),
        ("f6", "null"),
        ("f7", "undefined"),
        ("e0", "a simple value"),
        ("f93c00", "a float"),
        ("fb3ff0000000000000", "a float"),
        ("c000", "a tag"),
        ("a10001", "a key that is not text"),
        ("a2616201616101", "keys not in order"),
        ("a262616101616202", "a longer key before a shorter one"),
        ("a2616101616102", "a key twice"),
        ("0000", "bytes behind the end"),
        ("", "nothing"),
        ("4200", "cut"),
        ("8201", "cut"),
        ("61ff", "text that is not UTF-8"),
        ("5affffffff00", "a length that nobody sent"),
        ("9b7fffffffffffffff", "a count that nobody sent"),
        ("818181818181818181818181818181818100", "17 levels"),
        ("8181818181818181818181818181818180", "17 levels"),
        ("1c", "a reserved length"),
    ];
    let bytes = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let read = |text: &str| cbor::decode::<ciborium::Value>(&bytes(text), 4096);
    let accepted: Vec<Value> = accepted
        .iter()
        .map(|text| json!({ "cbor": text, "value": shown(&read(text).unwrap()) }))
        .collect();
    let case = |(text, why): &(&str, &str)| {
        assert!(read(text).is_err(), "{text}: {why}");
        json!({ "cbor": hex(&bytes(text)), "why": why })
    };
    let refused: Vec<Value> = refused.iter().map(case).collect();
    hold(
        "cbor.json",
        &json!({
            "about": "Section 2: the deterministic encoding, and what must be refused.",
            "accepted": accepted,
            "refused": refused,
        }),
    );
}

#[test]
fn signatures_are_judged_as_the_vectors_say() {
    let key = KeyPair::from_seed(&[ALICE; 32]);
    let digest = [5; 32];
    let good = key.sign("error", &digest);
    let other = KeyPair::from_seed(&[BOB; 32]).public();
    let neutral = PublicKey(std::array::from_fn(|at| u8::from(at == 0)));
    let of_nobody = Signature(std::array::from_fn(|at| u8::from(at == 0)));
    // S and the group's order together: the same number to a lax reader.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order = data_encoding::HEXLOWER.decode(order.as_bytes()).unwrap();
    let mut beyond = good;
    let mut carry = 0;
    for (byte, more) in beyond.0[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(more);
        *byte = carry as u8;
        carry >>= 8;
    }
    let cases = [
        ("a good signature", key.public(), "error", good, true),
        ("under another purpose", key.public(), "m1", good, false),
        ("under another key", other, "error", good, false),
        ("S out of range", key.public(), "error", beyond, false),
        ("a key of small order", neutral, "error", of_nobody, false),
        ("R of small order", key.public(), "error", of_nobody, false),
    ];
    let case = |(what, key, purpose, signature, holds): (&str, _, _, Signature, bool)| {
        let check = SigCheck {
            key,
            purpose,
            digest,
            signature,
        };
        assert_eq!(check.verify(), holds, "{what}");
        json!({
            "what": what, "key": hex(&key.0), "purpose": purpose, "digest": hex(&digest),
            "signature": hex(&signature.0), "holds": holds,
        })
    };
    hold(
        "signature.json",
        &json!({
            "about": "Section 2: what holds under the strict check, and what does not.",
            "cases": cases.map(case),
        }),
    );
}
