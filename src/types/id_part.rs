//! A part of an id, as a person copies it from a listing or types its beginning.

use std::fmt;
use std::str::FromStr;

use super::{EntityId, IdError, PeerId, TaskId};

/// With fewer characters somebody could be meant by accident.
const KNOWN_MIN_CHARS: usize = 4;
/// What every entity id begins with, and every peer id of an Ed25519 key.
const FIXED: [&str; 2] = ["ent1", "12D3KooW"];
/// How what is left out is written, the longest first.
const GAPS: [&str; 4] = ["…", "...", "..", "*"];

/// How an id begins, or how it begins and ends: `ent1ab3d`, `…wx3z`, `0198c…9a7f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPart {
    head: String,
    tail: String,
}

impl IdPart {
    /// Reads what can only be a part of an entity id or a peer id, and hardly a name.
    pub fn of_peer(text: &str) -> Option<IdPart> {
        let part: IdPart = text.parse().ok()?;
        let is_id = FIXED.iter().any(|fixed| part.head.starts_with(fixed));
        (is_id || part.head.len() < text.len()).then_some(part)
    }

    /// Whether the id has this part.
    pub fn is_of_entity(&self, id: &EntityId) -> bool {
        // Of most ids this tells without writing them out.
        let may_be = self.head.is_empty() || self.head.starts_with(FIXED[0]);
        may_be && self.is_of(&id.to_string())
    }

    /// Whether the id has this part.
    pub fn is_of_peer(&self, id: &PeerId) -> bool {
        !self.head.starts_with(FIXED[0]) && self.is_of(&id.to_base58())
    }

    /// Whether the id has this part, in small letters or large ones.
    pub fn is_of_task(&self, id: TaskId) -> bool {
        let (head, tail) = (
            self.head.to_ascii_lowercase(),
            self.tail.to_ascii_lowercase(),
        );
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = &*id.0.as_hyphenated().encode_lower(&mut text);
        fits(text, &head, &tail)
    }

    fn is_of(&self, id: &str) -> bool {
        fits(id, &self.head, &self.tail)
    }
}

fn fits(id: &str, head: &str, tail: &str) -> bool {
    id.len() >= head.len() + tail.len() && id.starts_with(head) && id.ends_with(tail)
}

impl FromStr for IdPart {
    type Err = IdError;

    fn from_str(text: &str) -> Result<IdPart, IdError> {
        let cut = GAPS.iter().find_map(|gap| text.split_once(gap));
        let (head, tail) = cut.unwrap_or((text, ""));
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !head.chars().chain(tail.chars()).all(allowed) {
            return Err(IdError(
                "an id has letters, digits and '-', and one '…' for what is left out",
            ));
        }
        let fixed = FIXED.iter().find_map(|fixed| head.strip_prefix(fixed));
        if fixed.unwrap_or(head).len() + tail.len() < KNOWN_MIN_CHARS {
            return Err(IdError("a part of an id has 4 characters or more"));
        }
        let (head, tail) = (head.to_owned(), tail.to_owned());
        Ok(IdPart { head, tail })
    }
}

impl fmt::Display for IdPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…{}", self.head, self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> IdPart {
        text.parse().expect(text)
    }

    #[test]
    fn an_id_is_known_by_its_beginning_its_end_and_both() {
        let entity = EntityId([7; 32]);
        let text = entity.to_string();
        let end = &text[text.len() - 12..];
        for given in [
            text[..8].to_owned(),
            format!("…{end}"),
            format!("...{end}"),
            format!("{}…{end}", &text[..9]),
            text.clone(),
        ] {
            let found = IdPart::of_peer(&given).expect("a part of an id");
            assert!(found.is_of_entity(&entity), "{given}");
            assert!(!found.is_of_entity(&EntityId([8; 32])), "{given}");
        }
        let id: TaskId = "01980000-0000-7000-8000-00000000c0de"
            .parse()
            .expect("an id");
        for given in ["0198", "0198…C0DE", "…c0de", "01980000-0000-7000"] {
            assert!(part(given).is_of_task(id), "{given}");
        }
        for given in ["0199", "…c0df", "0198…c0d0"] {
            assert!(!part(given).is_of_task(id), "{given}");
        }
        // What is known twice is not there twice.
        let twice = format!("{text}…{end}");
        assert!(!part(&twice).is_of_entity(&entity));
    }

    #[test]
    fn a_peer_id_is_known_by_what_is_its_own() {
        let peer: PeerId = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
            .parse()
            .expect("a peer id");
        for given in ["12D3KooWEyop", "…nc6iDEp"] {
            let found = IdPart::of_peer(given).expect("a part of an id");
            assert!(found.is_of_peer(&peer), "{given}");
        }
        assert!(
            !part("12D3KooWeyop").is_of_peer(&peer),
            "large letters count"
        );
    }

    #[test]
    fn names_and_what_everybody_has_are_no_parts_of_ids() {
        for name in [
            "alice", "ent1", "ent1abc", "12D3KooW", "…", "…abc", "", "entry",
        ] {
            assert_eq!(IdPart::of_peer(name), None, "{name}");
        }
        for text in ["7", "abc", "a b c d e", "ab/cd"] {
            assert!(text.parse::<IdPart>().is_err(), "{text}");
        }
    }
}
