//! Arguments that cannot be read: told like every other failure.

use std::ffi::OsString;
use std::process::ExitCode;

use super::exit::{Exit, Failure};

/// Whether the arguments ask for JSON, though they cannot be read.
pub(super) fn wants_json(mut args: impl Iterator<Item = OsString>) -> bool {
    let ours = args.by_ref().take_while(|arg| arg != "--");
    ours.skip(1).any(|arg| arg == "--json")
}

/// Says what is wrong with the arguments, or gives the help that they ask for.
pub(super) fn refuse(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        let failure = explain(&error.render().to_string());
        failure.tell(true);
        return failure.exit.into();
    }
    // What cannot be written to a closed pipe is nobody's loss.
    let _ = error.print();
    match error.use_stderr() {
        true => Exit::Usage.into(),
        false => Exit::Done.into(),
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
