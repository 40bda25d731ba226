//! What a command says on stderr: lines of progress, and a tail that explains a failure.

use std::collections::VecDeque;

use crate::types::limits::{PROGRESS_NOTE_MAX_BYTES, STDERR_TAIL_BYTES};

/// A line that is longer is no progress line.
const PROGRESS_LINE_MAX_BYTES: usize = 1_024;

/// A line of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) percent: u8,
    /// What stands behind the number, without control characters.
    pub(super) note: Option<String>,
}

impl Progress {
    /// `text` as far as a person may see it.
    pub(super) fn new(percent: u8, text: &str) -> Progress {
        let mut note: String = text.trim().chars().filter(|c| !c.is_control()).collect();
        note.truncate(note.floor_char_boundary(PROGRESS_NOTE_MAX_BYTES));
        let note = Some(note).filter(|note| !note.is_empty());
        Progress { percent, note }
    }
}

/// The last bytes of stderr without the lines of progress.
///
/// Bounds: the tail, one unfinished line of at most [`PROGRESS_LINE_MAX_BYTES`], and what one call
/// of [`StderrTail::push`] brings.
#[derive(Debug, Default)]
pub(super) struct StderrTail {
    kept: VecDeque<u8>,
    /// The line that has begun, as long as it may be one of progress.
    line: Vec<u8>,
    /// Whether the line that has begun is in `kept` already, for its length.
    passing: bool,
}

impl StderrTail {
    /// Takes in what was read. Calls `on_progress` with each line of progress.
    pub(super) fn push(&mut self, bytes: &[u8], mut on_progress: impl FnMut(Progress)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if self.passing {
                self.keep(piece);
                self.passing = !ends;
                continue;
            }
            self.line.extend_from_slice(piece);
            if ends {
                match progress_of(&self.line) {
                    Some(progress) => {
                        self.line.clear();
                        on_progress(progress);
                    }
                    None => self.keep_line(),
                }
            } else if self.line.len() > PROGRESS_LINE_MAX_BYTES {
                self.keep_line();
                self.passing = true;
            }
        }
    }

    /// The tail as a person may see it: without control characters but newline and tab.
    pub(super) fn into_text(mut self) -> String {
        if progress_of(&self.line).is_none() {
            self.keep_line();
        }
        let text = String::from_utf8_lossy(self.kept.make_contiguous());
        let shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        text.chars()
            .filter(shown)
            .collect::<String>()
            .trim()
            .to_owned()
    }

    fn keep_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.keep(&line);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let fits = bytes.len().saturating_sub(STDERR_TAIL_BYTES);
        self.kept.extend(&bytes[fits..]);
        let surplus = self.kept.len().saturating_sub(STDERR_TAIL_BYTES);
        self.kept.drain(..surplus);
    }
}

/// Reads `progress N` with or without a text behind it; N from 0 to 100.
fn progress_of(line: &[u8]) -> Option<Progress> {
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("progress ")?;
    let rest = rest.trim_ascii();
    let (percent, text) = rest
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((rest, ""));
    let percent = percent.parse().ok().filter(|percent| *percent <= 100)?;
    Some(Progress::new(percent, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<u8>, String) {
        let (mut tail, mut progress) = (StderrTail::default(), Vec::new());
        pieces
            .iter()
            .for_each(|piece| tail.push(piece, |said| progress.push(said.percent)));
        (progress, tail.into_text())
    }

    #[test]
    fn progress_lines_are_taken_out_wherever_a_read_ends() {
        let (progress, text) = read(&[
            b"one\nprog",
            b"ress 40 rea",
            b"ding\ntwo\nprogress 100\nprogress 5",
        ]);
        assert_eq!((progress, text.as_str()), (vec![40, 100], "one\ntwo"));
    }

    #[test]
    fn the_text_of_a_line_of_progress_is_told_bounded_and_without_controls() {
        let long = format!("progress 3 {}\n", "\u{e4}".repeat(PROGRESS_NOTE_MAX_BYTES));
        let (mut tail, mut said) = (StderrTail::default(), Vec::new());
        let lines = "progress 40 reading  page\x1b[31m 2\r\nprogress  50\nprogress 60\tof a\tb\n";
        tail.push(lines.as_bytes(), |one| said.push((one.percent, one.note)));
        let note = |text: &str| Some(text.to_owned());
        let expected = [
            (40, note("reading  page[31m 2")),
            (50, None),
            (60, note("of ab")),
        ];
        assert_eq!(said, expected);
        tail.push(long.as_bytes(), |one| {
            let note = one.note.expect("a text");
            assert_eq!(note.len(), PROGRESS_NOTE_MAX_BYTES);
        });
    }

    #[test]
    fn what_only_looks_like_progress_is_kept() {
        let all = "progress 101\nprogress\nprogress x y\n progress 4\nprogress -1";
        let (progress, text) = read(&[all.as_bytes()]);
        assert_eq!((progress, text.as_str()), (vec![], all));
    }

    #[test]
    fn only_the_last_bytes_are_kept() {
        let long = vec![b'a'; 1_000_000];
        let (_, text) = read(&[&long, b"the end\n"]);
        assert_eq!(text.len(), STDERR_TAIL_BYTES - 1);
        assert!(text.ends_with("aathe end"));
        let lines = "0123456789\n".repeat(10_000);
        let (_, text) = read(&[lines.as_bytes()]);
        assert!(text.len() <= STDERR_TAIL_BYTES && text.ends_with("\n0123456789"));
    }

    #[test]
    fn a_long_line_is_not_held_back() {
        let mut tail = StderrTail::default();
        (0..10_000).for_each(|_| tail.push(&[b'x'; 500], |_| {}));
        assert!(tail.line.is_empty() && tail.kept.len() == STDERR_TAIL_BYTES);
        tail.push(b"\nprogress 7\n", |said| assert_eq!(said.percent, 7));
        assert!(tail.into_text().ends_with('x'));
    }

    #[test]
    fn controls_and_broken_text_do_not_reach_a_person() {
        let (_, text) = read(&[b"a\x1b[31mb\x00\tc\xff\r\nd\n"]);
        assert_eq!(text, "a[31mb\tc\u{fffd}\nd");
    }
}
