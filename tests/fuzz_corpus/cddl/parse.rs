//! From text to rules.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::{Member, Type};

type Tokens = Peekable<IntoIter<String>>;

/// The rules of one block, in order.
pub fn rules(block: &str) -> Vec<(String, Type)> {
    let mut tokens = tokens(block).into_iter().peekable();
    let mut rules = Vec::new();
    while let Some(name) = tokens.next() {
        expect(&mut tokens, "=");
        rules.push((name, choice(&mut tokens)));
    }
    rules
}

fn tokens(block: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut chars = block.chars().peekable();
    while let Some(first) = chars.next() {
        let mut token = String::from(first);
        match first {
            ';' => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            c if c.is_whitespace() => continue,
            '"' => {
                while let Some(c) = chars.next_if(|c| *c != '"') {
                    token.push(c);
                }
                assert!(chars.next().is_some(), "a text without its end");
            }
            c if is_word(c) => {
                while let Some(c) = chars.next_if(|c| is_word(*c)) {
                    token.push(c);
                }
            }
            _ => {}
        }
        out.push(token);
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn expect(tokens: &mut Tokens, token: &str) {
    let found = tokens.next();
    assert_eq!(found.as_deref(), Some(token));
}

fn is_next(tokens: &mut Tokens, token: &str) -> bool {
    tokens.next_if(|next| next == token).is_some()
}

fn choice(tokens: &mut Tokens) -> Type {
    let mut of = vec![one(tokens)];
    while is_next(tokens, "/") {
        of.push(one(tokens));
    }
    match of.len() {
        1 => of.remove(0),
        _ => Type::Choice(of),
    }
}

fn one(tokens: &mut Tokens) -> Type {
    let token = tokens.next().expect("a type");
    match token.as_str() {
        "{" => map(tokens),
        "[" => list(tokens),
        "(" => {
            let inner = choice(tokens);
            expect(tokens, ")");
            inner
        }
        "bstr" => bytes(tokens),
        "tstr" if is_next(tokens, ".regexp") => Type::Regexp(literal(tokens)),
        "tstr" => Type::AnyText,
        "bool" => Type::Bool,
        "true" => Type::Yes,
        "uint" if is_next(tokens, ".size") => {
            let size = number(tokens);
            Type::Range(0, u64::MAX >> (64 - 8 * size))
        }
        "uint" => Type::Range(0, u64::MAX),
        text if text.starts_with('"') => Type::Text(text[1..].to_owned()),
        range if range.contains("..") => {
            let (low, high) = range.split_once("..").expect("two ends");
            Type::Range(
                low.parse().expect("a number"),
                high.parse().expect("a number"),
            )
        }
        number if number.starts_with(|c: char| c.is_ascii_digit()) => {
            Type::Number(number.parse().expect("a number"))
        }
        name => Type::Name(name.to_owned()),
    }
}

fn literal(tokens: &mut Tokens) -> String {
    let token = tokens.next().expect("a text");
    token
        .strip_prefix('"')
        .expect("a text")
        .replace("\\\\", "\\")
}

fn number(tokens: &mut Tokens) -> u64 {
    let token = tokens.next().expect("a number");
    token.parse().expect("a number")
}

fn bytes(tokens: &mut Tokens) -> Type {
    if is_next(tokens, ".cbor") {
        return Type::Embedded(Box::new(one(tokens)));
    }
    if !is_next(tokens, ".size") {
        return Type::Bytes {
            min: 0,
            max: usize::MAX,
        };
    }
    let (min, max) = match one(tokens) {
        Type::Number(size) => (size, size),
        Type::Range(min, max) => (min, max),
        other => panic!("no size: {other:?}"),
    };
    Type::Bytes {
        min: min as usize,
        max: max as usize,
    }
}

fn map(tokens: &mut Tokens) -> Type {
    let mut members = Vec::new();
    while !is_next(tokens, "}") {
        let optional = is_next(tokens, "?");
        let key = tokens.next().expect("a key");
        expect(tokens, ":");
        let value = choice(tokens);
        members.push(Member {
            key,
            optional,
            value,
        });
        is_next(tokens, ",");
    }
    Type::Map(members)
}

/// `[* type]`, `[+ type]` or `[1*4 type]`.
fn list(tokens: &mut Tokens) -> Type {
    let bound = |tokens: &mut Tokens| {
        let digits = |token: &String| token.chars().all(|c| c.is_ascii_digit());
        tokens
            .next_if(digits)
            .map(|digits| digits.parse().expect("a number"))
    };
    let (min, max) = if is_next(tokens, "+") {
        (1, usize::MAX)
    } else {
        let min = bound(tokens).unwrap_or(0);
        expect(tokens, "*");
        (min, bound(tokens).unwrap_or(usize::MAX))
    };
    let of = Box::new(choice(tokens));
    expect(tokens, "]");
    Type::List { min, max, of }
}
