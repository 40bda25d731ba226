//! Arguments that cannot be read: told like every other failure.

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use super::exit::{Exit, Failure};

/// Whether the arguments ask for JSON, though they cannot be read.
pub(super) fn wants_json(mut args: impl Iterator<Item = OsString>) -> bool {
    let ours = args.by_ref().take_while(|arg| arg != "--");
    ours.skip(1).any(|arg| arg == "--json")
}

/// Says what is wrong with the arguments, or gives the help that they ask for.
pub(super) fn refuse(error: &clap::Error, json: bool) -> ExitCode {
    let ours = of_value(error);
    if ours.is_some() || (json && error.use_stderr()) {
        let failure = ours.unwrap_or_else(|| explain(&error.render().to_string()));
        failure.tell(json);
        return failure.exit.into();
    }
    // What cannot be written to a closed pipe is nobody's loss.
    let _ = error.print();
    match error.use_stderr() {
        true => Exit::Usage.into(),
        false => Exit::Done.into(),
    }
}

/// A value that a library's parser refused, in our words.
fn of_value(error: &clap::Error) -> Option<Failure> {
    let text = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.as_str()),
        _ => None,
    };
    let (arg, value) = (
        text(ContextKind::InvalidArg)?,
        text(ContextKind::InvalidValue)?,
    );
    let why = plain(&error.source()?.to_string())?;
    Some(Failure::usage(format!("{arg} cannot be {value:?}: {why}")))
}

/// What the parsers of numbers and ids say; none where the words are ours.
fn plain(said: &str) -> Option<String> {
    if let Some((_, range)) = said.split_once(" is not in ") {
        let (least, most) = range.split_once("..")?;
        return Some(match most.strip_prefix('=') {
            Some(most) => format!("use {least} to {most}"),
            None if most.is_empty() => format!("use {least} or more"),
            None => format!("use {least} or more, and less than {most}"),
        });
    }
    match said {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            Some("use a whole number".into())
        }
        "number too large to fit in target type" => Some("the number is too large".into()),
        _ if said.starts_with("invalid character: found") || said.starts_with("invalid length") => {
            Some("use a UUID such as 0199f3c2-8a51-7e33-b2b5-5d2f2a1f8f10".into())
        }
        _ => None,
    }
}

/// The first paragraph says what is wrong; of the others a tip says what to do.
fn explain(text: &str) -> Failure {
    let mut paragraphs = text.split("\n\n").map(|lines| {
        let words: Vec<&str> = lines.split_whitespace().collect();
        words.join(" ")
    });
    let what = paragraphs.next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let tip = paragraphs.find_map(|of| of.strip_prefix("tip: ").map(str::to_owned));
    let hint = tip.unwrap_or_else(|| String::from("--help tells how it is called"));
    Failure::usage(what).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_before_the_end_of_the_options() {
        let asked = |line: &str| {
            let args = line.split(' ').map(OsString::from);
            wants_json(args)
        };
        assert!(asked("junto --json task") && asked("junto task show 7 --json"));
        assert!(!asked("junto task") && !asked("junto talk bob -- --json"));
        assert!(!asked("--json up"), "the program's name");
    }

    #[test]
    fn numbers_and_ids_are_refused_in_words_of_ours() {
        let said = |line: &[&str]| {
            let error = super::super::tests::parse(line).expect_err("refused");
            of_value(&error).map(|failure| failure.to_string())
        };
        for (line, told) in [
            (
                &["ping", "bob", "--count", "x"][..],
                "error: --count <COUNT> cannot be \"x\": use a whole number",
            ),
            (
                &["ping", "bob", "--count", "11"],
                "error: --count <COUNT> cannot be \"11\": use 1 to 10",
            ),
            (
                &["task", "list", "--limit", "0"],
                "error: --limit <N> cannot be \"0\": use 1 to 4294967295",
            ),
            (
                &["task", "map", "wc", "f", "--resume", "7"],
                "error: --resume <MAP> cannot be \"7\": use a UUID such as \
                 0199f3c2-8a51-7e33-b2b5-5d2f2a1f8f10",
            ),
        ] {
            assert_eq!(said(line).as_deref(), Some(told));
        }
        // What says it in our words already stays as it is.
        assert_eq!(said(&["wake", "bob", "--timeout", "soon"]), None);
        assert_eq!(said(&["tsk"]), None);
    }

    #[test]
    fn what_is_wrong_and_what_to_do_are_one_sentence_each() {
        let text = "error: the following required arguments were not provided:\n  <ID>...\n\n\
                    Usage: junto task drop <ID>...\n\nFor more information, try '--help'.\n";
        let failure = explain(text);
        assert_eq!(
            failure.message(),
            "the following required arguments were not provided: <ID>..."
        );
        assert!(failure.to_string().contains("--help"));
        let tipped = explain(
            "error: unrecognized subcommand 'tsk'\n\n  tip: a similar subcommand \
                              exists: 'task'\n",
        );
        assert_eq!(
            tipped.to_string(),
            "error: unrecognized subcommand 'tsk'\n hint: a similar subcommand exists: 'task'"
        );
    }
}
