//! `docs/tasks.md` promises nothing that no test stands behind.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A sentence of the promise, and the tests that it names.
#[derive(Debug, PartialEq)]
struct Promise {
    text: String,
    tests: Vec<String>,
}

/// The section under "## The promise", without its headings, as one line of single spaces.
fn section(page: &str) -> String {
    let begin = page.find("\n## The promise\n").expect("the section");
    let rest = &page[begin + 4..];
    let end = rest.find("\n## ").unwrap_or(rest.len());
    let lines = rest[..end].lines().skip(1);
    let lines = lines.filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.strip_prefix("- ").unwrap_or(line));
    lines
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Sentences, each with the tests named behind it; what is wrong with the page otherwise.
fn promises(page: &str) -> Result<Vec<Promise>, String> {
    let mut promises = Vec::new();
    let text = section(page);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (sentence, behind) = rest
            .split_once(" (test: ")
            .ok_or_else(|| format!("no test stands behind: {rest}"))?;
        let (names, next) = behind
            .split_once(')')
            .ok_or_else(|| format!("this list of tests does not end: {behind}"))?;
        // A second sentence before the list would have none of its own.
        let one = sentence.ends_with('.') && !sentence.contains(". ");
        if !one {
            return Err(format!("not one sentence with its test: {sentence}"));
        }
        promises.push(Promise {
            text: sentence.to_owned(),
            tests: names.split(", ").map(str::to_owned).collect(),
        });
        rest = next.trim_start();
    }
    Ok(promises)
}

/// The names of the functions in `source` that are tests.
fn tests_in(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let named = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let name = line.strip_prefix("fn ")?.split(['(', '<']).next()?;
        Some(name.to_owned())
    };
    let is_test = |at: usize| {
        let above = lines[..at].iter().rev();
        let mut attributes =
            above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        attributes.any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
    };
    let fns = lines.iter().enumerate();
    fns.filter_map(|(at, line)| named(line).filter(|_| is_test(at)))
        .collect()
}

fn collect(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_in(&fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_sentence_of_the_promise_has_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/tasks.md")).unwrap();
    let promises = promises(&page).unwrap();
    assert!(promises.len() > 20, "the page lost its promises");
    let mut known = BTreeSet::new();
    collect(&root.join("src"), &mut known);
    collect(&root.join("tests"), &mut known);
    for Promise { text, tests } in promises {
        for test in tests {
            assert!(known.contains(&test), "there is no test {test} for: {text}");
        }
    }
}

#[test]
fn a_sentence_without_a_test_is_seen() {
    let page =
        |body: &str| format!("# Page\n\n## The promise\n\n{body}\n\n## Else\n\nNo test here.\n");
    let good = page("### Kept\n\n- It is\n  kept. (test: one,\n  two)\n- It ends. (test: three)");
    let read = promises(&good).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].text, "It is kept.");
    assert_eq!(read[0].tests, ["one", "two"]);
    for bad in [
        "- It is kept.",
        "- It is kept. (test: one)\n- It ends.",
        "- It is kept. It ends. (test: one)",
        "- It is kept (test: one)",
    ] {
        assert!(promises(&page(bad)).is_err(), "{bad}");
    }
}

#[test]
fn only_tests_count_as_tests() {
    let source = "#[test]\nfn one() {}\n\n#[tokio::test]\nasync fn two() {}\n\nfn helper() {}\n\n    \
        #[test]\n    #[cfg(unix)]\n    fn three() {}\n";
    assert_eq!(tests_in(source), ["one", "two", "three"]);
}
