//! The layers hold: a module imports what lies below it and nothing else.
//!
//! Every file of `src` is read, every path that begins with `crate`, `super`, `self` or the crate's
//! own name is followed to the module it leads to, and each edge must stand in [`TABLE`], which is
//! also the table of `docs/architecture.md`. Comments and literals do not count; tests in the
//! source do.
//!
//! What a reader of text cannot see is refused where it would matter: a glob over, or an alias for,
//! a module that holds several rows of the table hides where its names come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

#[path = "layers/rust_paths.rs"]
mod rust_paths;

use rust_paths::{ModulePath, paths};

/// Module, and what it may import beside itself. A row `a::b` is a part of `a` with a rule of its
/// own; what of `a` has no row is `a`.
const TABLE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("metrics", &[]),
    ("crypto", &["types"]),
    ("wire", &["types", "crypto"]),
    ("proto", &["types", "crypto", "wire"]),
    ("proto::session", &["types", "crypto", "wire", "proto"]),
    ("proto::registry", &["types", "crypto", "wire", "proto"]),
    ("proto::peers", &["types", "crypto", "wire", "proto"]),
    ("proto::guard", &["types", "crypto", "wire", "proto"]),
    ("proto::health", &["types", "crypto", "wire", "proto"]),
    ("proto::task", &["types", "crypto", "wire", "proto"]),
    ("proto::transfer", &["types", "crypto", "wire", "proto"]),
    ("proto::payload", &["types", "crypto", "wire", "proto"]),
    ("proto::wake", &["types", "crypto", "wire", "proto"]),
    ("proto::score", &["types", "crypto", "wire", "proto"]),
    ("proto::webhook", &["types", "crypto", "wire", "proto"]),
    ("proto::inbox", &["types", "crypto", "wire", "proto"]),
    ("proto::clear", &["types", "crypto", "wire", "proto"]),
    (
        "proto::node",
        &["types", "crypto", "wire", "proto", "proto::*"],
    ),
    ("store", &["types"]),
    ("net", &["types", "crypto", "wire"]),
    ("sim", &["types", "crypto", "wire", "proto", "proto::*"]),
    (
        "runtime",
        &[
            "types", "crypto", "wire", "proto", "proto::*", "store", "net", "metrics",
        ],
    ),
    ("telemetry", &[]),
    (
        "config",
        &["types", "crypto", "wire", "proto", "proto::*", "runtime"],
    ),
    (
        "api",
        &[
            "types", "crypto", "wire", "proto", "proto::*", "runtime", "metrics",
        ],
    ),
    (
        "testnet",
        &[
            "types", "crypto", "wire", "proto", "proto::*", "config", "api",
        ],
    ),
    ("cli", &["*"]),
    ("lib", &[]),
    ("main", &["cli"]),
];

/// Where tests (a file `tests.rs`, or one in a folder `tests`) may look to the side: within these.
const TESTS_MAY_CROSS: &[&str] = &["proto"];

// ---- the rule -----------------------------------------------------------------------------

/// One way from a file into a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// The row a module path belongs to: its longest prefix in the table, or its first segment.
fn row_of(path: &[String]) -> String {
    let joined = |len: usize| path[..len].join("::");
    (1..=path.len())
        .rev()
        .map(joined)
        .find(|name| TABLE.iter().any(|(row, _)| row == name))
        .unwrap_or_else(|| path.first().cloned().unwrap_or_else(|| String::from("lib")))
}

/// Whether the path is that row's module itself, not something in it.
fn is_row(path: &[String], row: &str) -> bool {
    path.join("::") == row || (path.is_empty() && row == "lib")
}

/// Whether the module holds rows that `from` may not import.
fn hides_something(from: &str, module: &str) -> bool {
    let inside = |row: &str| module == "lib" || row.starts_with(&format!("{module}::"));
    from != module && TABLE.iter().any(|(row, _)| inside(row) && !may(from, row))
}

fn may(from: &str, to: &str) -> bool {
    let Some((_, allowed)) = TABLE.iter().find(|(row, _)| *row == from) else {
        return false;
    };
    from == to
        || allowed.iter().any(|rule| match rule.strip_suffix('*') {
            Some("") => to != "sim" && to != "main" && to != "lib",
            Some(prefix) => to.starts_with(prefix),
            None => *rule == to,
        })
}

fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// What is wrong with one file; `file` is its path below `src`, with slashes.
fn judge(file: &str, source: &str) -> Vec<String> {
    let module = module_of(file);
    let from = row_of(&module);
    if !TABLE.iter().any(|(row, _)| *row == from) {
        return vec![format!("{file}: the table has no row for `{from}`")];
    }
    let mut wrong = BTreeSet::new();
    for path in paths(source, &module) {
        let to = row_of(&path.target);
        let crosses = is_test_file(file)
            && TESTS_MAY_CROSS
                .iter()
                .any(|top| module.first().is_some_and(|m| m == top))
            && path.target.first() == module.first();
        if path.hides && is_row(&path.target, &to) && hides_something(&from, &to) {
            wrong.insert(format!(
                "{file}: a glob or an alias over `{to}` hides where names come from"
            ));
        }
        if to != "lib" && !crosses && !may(&from, &to) {
            wrong.insert(format!(
                "{file}: {}",
                Edge {
                    from: from.clone(),
                    to
                }
            ));
        }
    }
    wrong.into_iter().collect()
}

/// The module a file is, by its place.
fn module_of(file: &str) -> ModulePath {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    match stem {
        "lib" => Vec::new(),
        _ => stem.split('/').map(str::to_owned).collect(),
    }
}

// ---- the tree -------------------------------------------------------------------------------

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
}

/// Every source file: its path below `src`, and its text.
fn sources() -> BTreeMap<String, String> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let named = |path: PathBuf| {
        let name = path
            .strip_prefix(&src)
            .expect("it is below")
            .to_string_lossy()
            .replace('\\', "/");
        (
            name,
            std::fs::read_to_string(&path).expect("source is UTF-8"),
        )
    };
    files.into_iter().map(named).collect()
}

#[test]
fn every_import_points_down() {
    let sources = sources();
    assert!(
        sources.len() > 50,
        "only {} files were found",
        sources.len()
    );
    let wrong: Vec<String> = sources
        .iter()
        .flat_map(|(file, source)| judge(file, source))
        .collect();
    assert!(
        wrong.is_empty(),
        "edges that the table does not have:\n  {}",
        wrong.join("\n  ")
    );
}

#[test]
fn the_reader_sees_the_edges_that_there_are() {
    // A reader that finds nothing would pass the test above.
    let sources = sources();
    let targets = |file: &str| -> BTreeSet<String> {
        let found = paths(&sources[file], &module_of(file));
        found.iter().map(|found| row_of(&found.target)).collect()
    };
    assert!(targets("main.rs").contains("cli"));
    assert!(
        targets("wire/entry.rs").is_superset(&BTreeSet::from(["crypto".into(), "types".into()]))
    );
    assert!(targets("proto/node/mod.rs").contains("proto::session"));
    assert!(targets("runtime/driver.rs").contains("net"));
}

#[test]
fn every_row_of_the_table_is_a_module() {
    let modules: BTreeSet<String> = sources()
        .keys()
        .map(|file| row_of(&module_of(file)))
        .collect();
    for (row, _) in TABLE {
        assert!(
            modules.contains(*row),
            "the table names `{row}`, which is not there"
        );
    }
}

/// The rows of `docs/architecture.md`: `| L2 | `proto` | `types`, `crypto` | … |`.
fn documented(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with("| L") || line.starts_with("| side"))
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let name = names(cells.get(2)?).into_iter().next()?;
            Some((name, names(cells.get(3)?)))
        })
        .collect()
}

#[test]
fn the_documents_table_is_this_one() {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).expect("it is there");
    let ours: BTreeMap<String, BTreeSet<String>> = TABLE
        .iter()
        .filter(|(row, _)| !matches!(*row, "lib" | "main"))
        .map(|(row, allowed)| {
            (
                row.to_string(),
                allowed.iter().map(|name| name.to_string()).collect(),
            )
        })
        .collect();
    assert_eq!(documented(&text), ours);
}

// ---- the reader itself ----------------------------------------------------------------------

fn wrong_edges(file: &str, source: &str) -> Vec<String> {
    judge(file, source)
        .into_iter()
        .map(|line| {
            line.split_once(": ")
                .map_or(line.clone(), |(_, what)| what.to_owned())
        })
        .collect()
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    for source in [
        "use crate::net::Net;",
        "use crate::{types::Mono, net::Net};",
        "use crate::{types::{Mono, Wall}, net::{Net, NetEvent}};",
        "use crate :: net ;",
        "pub(crate) use crate::net::Net as Door;",
        "fn f() -> crate::net::Net { todo!() }",
        "fn f() { crate::net::start::<u8>() }",
        "use super::net::Net;",
        "mod inner { use super::super::net::Net; }",
        "mod inner { fn f() { let x = 1; } use super::super::net::Net; }",
        "fn f<'a>(x: &'a str) -> char { '\"' }\nuse crate::net::Net;",
        "const A: &str = r#\"\"#;\nuse crate::net::Net;",
        "/* /* */ */ use crate::net::Net;",
        "#[cfg(test)] mod tests { use crate::net::Net; }",
        "macro_rules! m { () => { $crate::net::Net } }",
        "use junto::net::Net;",
    ] {
        assert_eq!(
            wrong_edges("store.rs", source),
            ["store -> net"],
            "{source}"
        );
    }
}

#[test]
fn a_chain_of_supers_is_followed_out_of_the_module() {
    let source = "use super::super::net::Net;";
    assert_eq!(wrong_edges("store/sled.rs", source), ["store -> net"]);
    assert_eq!(
        wrong_edges("store/tests/damage.rs", source),
        Vec::<String>::new(),
        "store::net"
    );
    let source = "use super::super::super::net::Net;";
    assert_eq!(
        wrong_edges("store/tests/damage.rs", source),
        ["store -> net"]
    );
    assert!(wrong_edges("store/sled.rs", "use super::StoreError;").is_empty());
}

#[test]
fn a_core_does_not_know_its_siblings() {
    let edge = ["proto::task -> proto::session"];
    for source in [
        "use crate::proto::session::Sessions;",
        "use crate::proto::{Step, session::Sessions};",
        "use crate::{proto::{Step, session}};",
        "use super::super::session::Sessions;",
    ] {
        assert_eq!(wrong_edges("proto/task/queue.rs", source), edge, "{source}");
    }
    assert_eq!(
        wrong_edges("proto/wake/mod.rs", "use crate::proto::node::Node;"),
        ["proto::wake -> proto::node"]
    );
    assert!(wrong_edges("proto/task/queue.rs", "use crate::proto::Step;").is_empty());
    assert!(wrong_edges("proto/node/work.rs", "use crate::proto::session::Sessions;").is_empty());
    assert_eq!(
        wrong_edges("proto/step.rs", "use super::session::Sessions;"),
        ["proto -> proto::session"]
    );
}

#[test]
fn tests_of_a_core_may_look_at_a_sibling_but_not_above() {
    let source = "use crate::proto::registry::Registry;";
    assert!(wrong_edges("proto/session/tests.rs", source).is_empty());
    assert!(wrong_edges("proto/session/tests/replay.rs", source).is_empty());
    assert_eq!(
        wrong_edges("proto/session/tests.rs", "use crate::net::Net;"),
        ["proto::session -> net"]
    );
    assert_eq!(
        wrong_edges("store/tests.rs", "use crate::net::Net;"),
        ["store -> net"]
    );
}

#[test]
fn what_hides_an_edge_is_refused() {
    for source in [
        "use crate::proto;",
        "use super::super::*;",
        "use crate::proto::*;",
    ] {
        let wrong = wrong_edges("proto/task/queue.rs", source);
        assert!(
            wrong.iter().any(|what| what.contains("hides")),
            "{source}: {wrong:?}"
        );
    }
    for source in [
        "use crate::*;",
        "use crate as us;",
        "use crate::{self as us};",
    ] {
        let wrong = wrong_edges("store/sled.rs", source);
        assert!(
            wrong.iter().any(|what| what.contains("hides")),
            "{source}: {wrong:?}"
        );
    }
    assert!(wrong_edges("proto/task/queue.rs", "use super::*;").is_empty());
}

#[test]
fn what_is_no_import_is_no_edge() {
    for source in [
        "// use crate::net::Net;",
        "//! [`Net`](crate::net::Net)",
        "/* use crate::net::Net; */",
        "const A: &str = \"crate::net::Net\";",
        "const A: &str = r#\"use crate::net::Net;\"#;",
        "const A: &[u8] = b\"crate::net::Net\";",
        "pub(crate) fn net() {}",
        "pub(in crate::store) fn f() {}",
        "use std::net::TcpListener;",
        "use other::net::Net;",
        "use crate::types::net;",
        "const A: char = '\\''; // crate::net",
    ] {
        assert!(wrong_edges("store/sled.rs", source).is_empty(), "{source}");
    }
}

#[test]
fn a_module_without_a_row_is_found() {
    assert_eq!(
        wrong_edges("extra/mod.rs", ""),
        ["the table has no row for `extra`"]
    );
}

#[test]
fn the_documents_table_is_read() {
    let text = "| Layer | Module | May import |\n|---|---|---|\n| L0 | `types` | – | x |\n\
                | L1 | `wire` | `types`, `crypto` | the envelope |\ntext | L9 | `x` |\n";
    let rows = documented(text);
    assert_eq!(rows.len(), 2);
    assert!(rows["types"].is_empty());
    assert_eq!(
        rows["wire"],
        BTreeSet::from(["crypto".into(), "types".into()])
    );
}
