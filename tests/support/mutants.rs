//! Every field of a message, cut, flipped and extended, one at a time: in maps, in lists, and in
//! byte strings that hold CBOR themselves.

#![allow(dead_code, clippy::unwrap_used, reason = "a test")]

use ciborium::Value;

/// What is done to `bytes`, and what comes of it. All of it is deterministic CBOR again, so what is
/// wrong is the content and not the form.
pub fn mutants(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let tree = read(bytes).expect("an honest message");
    let mut all = Vec::new();
    for (what, value) in variants(&tree) {
        let bent = write(&value);
        if bent != bytes {
            all.push((what, bent));
        }
    }
    all
}

fn read(bytes: &[u8]) -> Option<Value> {
    let value: Value = ciborium::from_reader(bytes).ok()?;
    (write(&value) == bytes).then_some(value)
}

pub fn write(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn variants(value: &Value) -> Vec<(String, Value)> {
    let named = |what: &str, value: Value| (what.to_owned(), value);
    match value {
        Value::Integer(n) => {
            let n = i128::from(*n);
            let at = |n: i128| Value::Integer(n.try_into().unwrap());
            vec![
                named("one more", at(n.saturating_add(1).min(u64::MAX.into()))),
                named("zero", at(0)),
                named("largest", at(u64::MAX.into())),
                named("negative", at(-1)),
            ]
        }
        Value::Bool(b) => vec![named("flipped", Value::Bool(!b))],
        Value::Text(text) => {
            let mut all = vec![named("extended", Value::Text(format!("{text}x")))];
            let mut cut = text.clone();
            if cut.pop().is_some() {
                all.push(named("cut", Value::Text(cut)));
            }
            all
        }
        Value::Bytes(bytes) => of_bytes(bytes),
        Value::Array(items) => of_array(items),
        Value::Map(pairs) => of_map(pairs),
        _ => Vec::new(),
    }
}

fn of_bytes(bytes: &[u8]) -> Vec<(String, Value)> {
    let mut all = vec![("extended".to_owned(), Value::Bytes([bytes, &[0]].concat()))];
    if let Some((last, rest)) = bytes.split_last() {
        all.push(("cut".into(), Value::Bytes(rest.to_vec())));
        let flipped = [rest, &[last ^ 1]].concat();
        all.push(("flipped".into(), Value::Bytes(flipped)));
        all.push(("empty".into(), Value::Bytes(Vec::new())));
    }
    if let Some(inner @ Value::Map(_)) = read(bytes) {
        for (what, value) in variants(&inner) {
            all.push((format!("/{what}"), Value::Bytes(write(&value))));
        }
    }
    all
}

fn of_array(items: &[Value]) -> Vec<(String, Value)> {
    let mut all = vec![("emptied".to_owned(), Value::Array(Vec::new()))];
    if let Some(first) = items.first() {
        let many = vec![first.clone(); 300];
        all.push(("300 of it".into(), Value::Array(many)));
        for (what, value) in variants(first) {
            let mut items = items.to_vec();
            items[0] = value;
            all.push((format!("[0] {what}"), Value::Array(items)));
        }
    }
    all
}

fn of_map(pairs: &[(Value, Value)]) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut more = pairs.to_vec();
    more.push((Value::Text("unknown".into()), Value::Bool(true)));
    more.sort_by_key(|(key, _)| write(key));
    all.push(("with an unknown field".to_owned(), Value::Map(more)));
    for (at, (key, value)) in pairs.iter().enumerate() {
        let key = key.as_text().unwrap();
        let mut without = pairs.to_vec();
        without.remove(at);
        all.push((format!("{key} left out"), Value::Map(without)));
        let mut other = pairs.to_vec();
        other[at].1 = Value::Array(vec![Value::Bool(true)]);
        all.push((format!("{key} of another kind"), Value::Map(other)));
        for (what, value) in variants(value) {
            let mut pairs = pairs.to_vec();
            pairs[at].1 = value;
            all.push((format!("{key} {what}"), Value::Map(pairs)));
        }
    }
    all
}
