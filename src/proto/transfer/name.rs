//! A name that a peer chose, made fit for our disk.

use crate::types::limits::FILE_NAME_MAX_BYTES;

/// What a file is called that has no usable name.
const NAMELESS: &str = "file";
/// Of a name that is cut, an ending up to so long is kept.
const ENDING_MAX_BYTES: usize = 16;
/// Names that mean a device on other systems, where a folder may be shared.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// One path component, not hidden, without control or otherwise awkward characters, at most
/// [`FILE_NAME_MAX_BYTES`] long. Only what follows the last separator counts.
pub fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let harmless = |c: char| {
        let awkward = c.is_control()
            || matches!(c, ':' | '*' | '?' | '"' | '<' | '>' | '|')
            || is_invisible(c);
        if awkward { '_' } else { c }
    };
    let text: String = last.chars().map(harmless).collect();
    let text = text.trim_start_matches(['.', ' ', '-', '~']);
    let text = text.trim_end_matches(['.', ' ']);
    if text.is_empty() {
        return NAMELESS.into();
    }
    let text = shorten(text);
    if is_reserved(&text) {
        return shorten(&format!("_{text}"));
    }
    text
}

/// What turns the direction of writing, or shows nothing: `cod.exe` must not look like `exe.doc`.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_lowercase();
    let bare = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    RESERVED.contains(&bare) && stem.len() <= bare.len() + 1
}

/// Cuts the middle out, so that the ending stays, or what remains of the end.
fn shorten(name: &str) -> String {
    let max = FILE_NAME_MAX_BYTES;
    if name.len() <= max {
        return name.to_owned();
    }
    let ending = name
        .rfind('.')
        .map(|at| &name[at..])
        .filter(|ending| ending.len() <= ENDING_MAX_BYTES)
        .unwrap_or_default();
    let head = &name[..name.floor_char_boundary(max - ending.len())];
    let cut = format!("{head}{ending}");
    cut.trim_end_matches(['.', ' ']).to_owned()
}

/// The `n`th choice of a name: `report.pdf`, `report (2).pdf`, `report (3).pdf`, …
pub fn numbered_name(name: &str, n: u32) -> String {
    if n <= 1 {
        return name.to_owned();
    }
    match name.rfind('.').filter(|at| *at > 0) {
        Some(at) => format!("{} ({n}){}", &name[..at], &name[at..]),
        None => format!("{name} ({n})"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_nasty_name_is_one_harmless_component() {
        for (name, safe) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("..", "file"),
            ("", "file"),
            ("/", "file"),
            ("a/..", "file"),
            ("C:\\windows\\system32\\x.dll", "x.dll"),
            (".bashrc", "bashrc"),
            ("-rf", "rf"),
            ("a\0b\nc\u{1b}[2J", "a_b_c_[2J"),
            ("nul", "_nul"),
            ("COM1.txt", "_COM1.txt"),
            ("common.txt", "common.txt"),
            ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
            ("ends. . ", "ends"),
            ("Grüße 你好.txt", "Grüße 你好.txt"),
        ] {
            assert_eq!(safe_name(name), safe, "{name:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let name = safe_name(&format!("{}.tar.gz", "ä".repeat(300)));
        assert!(
            name.len() <= FILE_NAME_MAX_BYTES && name.ends_with("ä.gz"),
            "{name}"
        );
    }

    #[test]
    fn a_long_name_is_safe_where_it_is_cut_too() {
        let reserved = safe_name(&format!("con.{}", "a".repeat(300)));
        assert_eq!(reserved, format!("_con.{}", "a".repeat(195)));
        assert_eq!(safe_name(&reserved), reserved);
        let hidden = format!("con{}x", " ".repeat(300));
        assert_eq!(safe_name(&hidden), "_con");
        let dotted = format!("{}.{}", "a".repeat(199), "b".repeat(50));
        assert_eq!(safe_name(&dotted), "a".repeat(199));
    }

    #[test]
    fn further_choices_keep_the_ending() {
        assert_eq!(numbered_name("a.b.txt", 1), "a.b.txt");
        assert_eq!(numbered_name("a.b.txt", 2), "a.b (2).txt");
        assert_eq!(numbered_name("plain", 3), "plain (3)");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_safe_and_stays_so(name in ".{0,400}") {
            let safe = safe_name(&name);
            prop_assert!(!safe.is_empty() && safe.len() <= FILE_NAME_MAX_BYTES);
            prop_assert!(!safe.contains(['/', '\\', '\0']) && !safe.starts_with('.'));
            prop_assert!(!safe.chars().any(char::is_control));
            prop_assert_eq!(safe_name(&safe), safe.clone());
        }
    }
}
