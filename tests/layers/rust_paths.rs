//! Reads Rust as far as paths go: which modules a file's paths lead to.
//!
//! No grammar, only tokens: comments, literals and lifetimes are dropped, and every path that begins
//! with `crate`, `super`, `self` or the crate's own name is followed, through the groups of a `use`.
//! Macro bodies count like any other text.

/// A module path below the crate, such as `["proto", "session"]`.
pub type ModulePath = Vec<String>;

/// What matters of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Sep,
    Mark(char),
}

/// Splits Rust into words and marks; comments, strings, characters and lifetimes are left out.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut at, mut out) = (0, Vec::new());
    while at < chars.len() {
        let rest = &chars[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().take_while(|c| **c != '\n').count(),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['\'', ..] => quote(rest),
            [':', ':', ..] => {
                out.push(Token::Sep);
                2
            }
            [c, ..] if c.is_alphabetic() || *c == '_' => {
                let word: String = rest
                    .iter()
                    .take_while(|c| c.is_alphanumeric() || **c == '_')
                    .collect();
                let behind = &rest[word.chars().count()..];
                match (word.as_str(), raw_string(behind)) {
                    ("r" | "br" | "cr", Some(len)) => word.len() + len,
                    ("b" | "c", _) if behind.first() == Some(&'"') => word.len() + string(behind),
                    ("b", _) if behind.first() == Some(&'\'') => word.len() + quote(behind),
                    // A raw identifier, `r#type`: the mark goes, the word stays.
                    ("r", None) if behind.first() == Some(&'#') => 2,
                    _ => {
                        let len = word.chars().count();
                        out.push(Token::Word(word));
                        len
                    }
                }
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    out.push(Token::Mark(*c));
                }
                1
            }
            [] => 1,
        };
    }
    out
}

/// The length of a comment that begins here; they nest.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The length of a string that begins here.
fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of `#"…"#` behind an `r`, if that is what follows.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let mut at = hashes + 1;
    while at < rest.len() {
        let closes = rest[at] == '"'
            && rest[at + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes;
        at += 1;
        if closes {
            return Some(at + hashes);
        }
    }
    Some(rest.len())
}

/// The length of a character, or of a lifetime's quote.
fn quote(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', _, more @ ..] => {
            3 + more
                .iter()
                .position(|c| *c == '\'')
                .map_or(more.len(), |end| end + 1)
        }
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The whole path below the crate, items included.
    pub target: ModulePath,
    /// It ends in a glob, or brings the module itself into scope.
    pub hides: bool,
}

/// Every path that begins at the crate or climbs towards it, in a file that is `module`.
pub fn paths(source: &str, module: &[String]) -> Vec<Found> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    // Inline modules: how deep the braces were when each began.
    let (mut inline, mut depth): (Vec<(String, usize)>, usize) = (Vec::new(), 0);
    let mut in_use = false;
    for at in 0..tokens.len() {
        match &tokens[at..] {
            [Token::Word(word), Token::Word(name), Token::Mark('{'), ..] if word == "mod" => {
                inline.push((name.clone(), depth));
            }
            [Token::Mark('{'), ..] => depth += 1,
            [Token::Mark('}'), ..] => {
                depth = depth.saturating_sub(1);
                if inline.last().is_some_and(|(_, began)| *began == depth) {
                    inline.pop();
                }
            }
            [Token::Mark(';'), ..] => in_use = false,
            [Token::Word(word), ..] if word == "use" => in_use = true,
            [Token::Word(word), rest @ ..] if begins_path(&tokens, at) => {
                let here: ModulePath = module
                    .iter()
                    .cloned()
                    .chain(inline.iter().map(|(name, _)| name.clone()))
                    .collect();
                if let Some(start) = start_of(word, &here, rest) {
                    follow(start, rest, in_use, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// Whether the word at `at` is a path's first: nothing with `::` stands before it.
fn begins_path(tokens: &[Token], at: usize) -> bool {
    at == 0 || tokens[at - 1] != Token::Sep
}

/// The module that a path's first word names; none where it is no path of ours.
fn start_of(word: &str, here: &[String], rest: &[Token]) -> Option<ModulePath> {
    let goes_on = rest.first() == Some(&Token::Sep);
    let is_aliased = matches!(rest.first(), Some(Token::Word(next)) if next == "as");
    match word {
        "crate" | "junto" if goes_on || is_aliased => Some(Vec::new()),
        "self" if goes_on => Some(here.to_vec()),
        "super" if goes_on || is_aliased => Some(parent(here)),
        _ => None,
    }
}

fn parent(module: &[String]) -> ModulePath {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Follows `::a::b`, `::{a, b::c}` and `::*` from `base`; returns how many tokens that took.
fn follow(base: ModulePath, rest: &[Token], in_use: bool, found: &mut Vec<Found>) -> usize {
    match rest {
        [Token::Sep, Token::Mark('{'), ..] => 2 + group(&base, &rest[2..], found),
        [Token::Sep, Token::Mark('*'), ..] => {
            found.push(Found {
                target: base,
                hides: true,
            });
            2
        }
        [Token::Sep, Token::Word(word), more @ ..] => {
            let next = step(base, word);
            2 + follow(next, more, in_use, found)
        }
        _ => {
            // A turbofish (`::<`) or the path's end. A `use` that ends here brings its last name.
            found.push(Found {
                target: base,
                hides: in_use,
            });
            0
        }
    }
}

fn step(base: ModulePath, word: &str) -> ModulePath {
    match word {
        "super" => parent(&base),
        "self" => base,
        _ => base.into_iter().chain([word.to_owned()]).collect(),
    }
}

/// The inside of `{…}` of a `use`; returns how many tokens, the closing brace included.
fn group(base: &[String], rest: &[Token], found: &mut Vec<Found>) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match &rest[at] {
            Token::Mark('}') => return at + 1,
            Token::Mark('*') => {
                found.push(Found {
                    target: base.to_vec(),
                    hides: true,
                });
                at += 1;
            }
            Token::Mark('{') => at += 1 + group(base, &rest[at + 1..], found),
            Token::Word(word) if word == "as" => at += 2,
            Token::Word(word) => {
                let next = step(base.to_vec(), word);
                at += 1 + follow(next, &rest[at + 1..], true, found);
            }
            Token::Sep | Token::Mark(_) => at += 1,
        }
    }
    at
}
