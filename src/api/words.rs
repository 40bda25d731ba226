//! What was wrong with a document or a query, in words for who wrote it: a parser's own tell of the
//! types that it was reading into.

/// What to say of what stands at `path`, where the parser said `said`.
pub(super) fn plain(path: &str, said: &str) -> String {
    let (said, place) = without_place(said);
    let what = sentence(said);
    let path = Some(path).filter(|path| !matches!(*path, "" | "."));
    let named = path.map_or(what.clone(), |path| format!("{path}: {what}"));
    place.map_or(named.clone(), |place| format!("{named} ({place})"))
}

/// The same of a parser that names the part itself: `limit: invalid digit found in string`.
pub(super) fn plain_query(said: &str) -> String {
    let named = said.split_once(": ").filter(|(part, _)| {
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        part.chars().all(of_a_name)
    });
    match named {
        Some((part, said)) => plain(part, said),
        None => plain("", said),
    }
}

/// Splits ` at line 1 column 18` off.
fn without_place(said: &str) -> (&str, Option<String>) {
    let split = said.rsplit_once(" at line ").and_then(|(said, place)| {
        let (line, column) = place.split_once(" column ")?;
        Some((said, format!("line {line}, column {column}")))
    });
    match split {
        Some((said, place)) => (said, Some(place)),
        None => (said, None),
    }
}

fn sentence(said: &str) -> String {
    let parted = |begin: &str| {
        let rest = said.strip_prefix(begin)?;
        rest.split_once(", expected ")
    };
    if let Some((field, known)) = parted("unknown field ") {
        return format!("there is no field {field}: use {}", one_of(known));
    }
    if let Some(field) = said.strip_prefix("unknown field ") {
        let field = field.split(',').next().unwrap_or(field);
        return format!("there is no field {field}: leave it out");
    }
    if let Some(field) = said.strip_prefix("missing field ") {
        return format!("the field {field} is missing: add it");
    }
    if let Some(field) = said.strip_prefix("duplicate field ") {
        return format!("the field {field} stands there twice: send it once");
    }
    if let Some((value, known)) = parted("unknown variant ") {
        return format!("{value} is not one of the values: use {}", one_of(known));
    }
    for begin in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((value, wanted)) = parted(begin) {
            return format!("{value} does not fit here: send {}", kind(wanted));
        }
    }
    if said.starts_with("UUID parsing failed") {
        return "it is not a UUID: send one such as 0199f3c2-8a51-7e33-b2b5-5d2f2a1f8f10".into();
    }
    match said {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "it is not a whole number: send one of 0 or more".into()
        }
        "number too large to fit in target type" => "the number is too large".into(),
        "provided string was not `true` or `false`" => "send true or false".into(),
        _ if said.starts_with("EOF while parsing") => {
            "the JSON ends too early: send all of it".into()
        }
        "recursion limit exceeded" => "it is nested too deeply: send less within each other".into(),
        _ => format!("this is not JSON: {said}"),
    }
}

fn one_of(known: &str) -> String {
    known.strip_prefix("one of ").unwrap_or(known).to_owned()
}

/// What the parser calls a type of its own.
fn kind(wanted: &str) -> &str {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "an object",
        _ if wanted.starts_with("struct ") || wanted.starts_with("internally tagged ") => {
            "an object"
        }
        wanted => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parsers_words_become_what_was_wrong_where_and_what_to_send() {
        for (path, said, told) in [
            (
                "prority",
                "unknown field `prority`, expected one of `capability`, `priority` at line 1 column 9",
                "prority: there is no field `prority`: use `capability`, `priority` (line 1, column 9)",
            ),
            (
                ".",
                "missing field `capability` at line 1 column 2",
                "the field `capability` is missing: add it (line 1, column 2)",
            ),
            (
                "tasks[1].capability",
                "invalid type: integer `5`, expected a string at line 1 column 17",
                "tasks[1].capability: integer `5` does not fit here: send a text (line 1, column 17)",
            ),
            (
                "deadline_ms",
                "invalid value: integer `-1`, expected u64 at line 1 column 40",
                "deadline_ms: integer `-1` does not fit here: send a whole number of 0 or more (line \
                 1, column 40)",
            ),
            (
                "priority",
                "unknown variant `urgent`, expected one of `low`, `normal`, `high`, `critical`",
                "priority: `urgent` is not one of the values: use `low`, `normal`, `high`, `critical`",
            ),
            (
                "id",
                "UUID parsing failed: invalid length: found 1 at line 1 column 30",
                "id: it is not a UUID: send one such as 0199f3c2-8a51-7e33-b2b5-5d2f2a1f8f10 (line 1, \
                 column 30)",
            ),
            (
                ".",
                "EOF while parsing an object at line 1 column 1",
                "the JSON ends too early: send all of it (line 1, column 1)",
            ),
            (
                ".",
                "expected value at line 1 column 1",
                "this is not JSON: expected value (line 1, column 1)",
            ),
            (
                ".",
                "invalid type: sequence, expected struct SubmitBody at line 1 column 0",
                "sequence does not fit here: send an object (line 1, column 0)",
            ),
            (
                ".",
                "unknown field `x`, there are no fields",
                "there is no field `x`: leave it out",
            ),
        ] {
            assert_eq!(plain(path, said), told);
        }
    }

    #[test]
    fn a_query_names_its_part_itself() {
        assert_eq!(
            plain_query("wait_ms: invalid digit found in string"),
            "wait_ms: it is not a whole number: send one of 0 or more"
        );
        assert_eq!(
            plain_query("unknown field `wait`, expected `wait_ms`"),
            "there is no field `wait`: use `wait_ms`"
        );
        assert_eq!(
            plain_query("dead: provided string was not `true` or `false`"),
            "dead: send true or false"
        );
    }
}
