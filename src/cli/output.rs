//! What goes to stdout: a table or lines for a person, one JSON document for a program.
//!
//! A reader that closes the pipe early (`junto task list | head`) is no error. Text that peers
//! wrote is shown without control characters, so that nobody repaints somebody else's terminal.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

/// Writes one JSON document.
pub(super) fn json(document: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    bytes(text.as_bytes())
}

/// Writes text and a line end.
pub(super) fn line(text: &str) -> io::Result<()> {
    bytes(format!("{}\n", clean(text)).as_bytes())
}

/// Writes bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Writes a line of what has no end. Returns whether somebody still reads.
pub(super) fn is_read(line: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        done => done.map(|()| true),
    }
}

/// Writes what a peer sent: as it is to a program, without control characters to a terminal.
pub(super) fn payload(body: &[u8]) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return bytes(body);
    }
    line(&String::from_utf8_lossy(body))
}

/// Replaces what a terminal could obey; line ends and tabs stay.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .map(|c| {
            if harmless(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// Whether stdout may be coloured.
pub(super) fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether a person watches stderr.
pub(super) fn watched() -> bool {
    io::stderr().is_terminal()
}

/// The columns whose words may be coloured.
const STATES: [&str; 4] = ["STATE", "HEALTH", "BREAKER", ""];

/// A listing: framed on a terminal, plain columns elsewhere.
pub(super) struct Listing {
    table: Table,
    /// Which columns hold states.
    states: Vec<bool>,
    coloured: bool,
}

impl Listing {
    pub(super) fn new(headers: &[&str]) -> Listing {
        let mut table = Table::new();
        if io::stdout().is_terminal() {
            table.load_style(presets::UTF8_FULL_CONDENSED);
            // Long cells are folded where the terminal is narrow; a program gets each on one line.
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.load_style(presets::NOTHING);
        }
        table.set_header(headers.iter().copied());
        let is_state = |header: &&str| STATES.contains(header);
        Listing {
            table,
            states: headers.iter().map(is_state).collect(),
            coloured: coloured(),
        }
    }

    /// Adds a row; a cell that is a state gets its colour.
    pub(super) fn row(&mut self, cells: &[&str]) {
        let cell = |(text, is_state): (&&str, &bool)| {
            let cell = Cell::new(clean(text).replace(['\n', '\t'], " "));
            match colour_of(text) {
                Some(colour) if self.coloured && *is_state => cell.fg(colour),
                _ => cell,
            }
        };
        let cells: Vec<Cell> = cells.iter().zip(&self.states).map(cell).collect();
        self.table.add_row(cells);
    }

    /// Writes it, or `nothing` on stderr when there is no row.
    pub(super) fn write(self, nothing: &str) -> io::Result<()> {
        if self.table.is_empty() {
            eprintln!("{nothing}");
            return Ok(());
        }
        bytes(format!("{}\n", self.table.trim_fmt()).as_bytes())
    }
}

fn colour_of(state: &str) -> Option<Color> {
    match state {
        "ok" | "connected" | "healthy" | "completed" | "self" => Some(Color::Green),
        "warn" | "connecting" | "suspect" | "working" | "submitted" => Some(Color::Yellow),
        "fail" | "failed" | "unreachable" | "banned" | "canceled" => Some(Color::Red),
        _ => None,
    }
}

/// Bytes as a person reads them.
pub(super) fn show_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

/// A span of time to the second, such as `2h 03m 04s`.
pub(super) fn show_uptime(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {seconds:02}s"),
        (0, _, _) => format!("{hours}h {minutes:02}m {seconds:02}s"),
        _ => format!("{days}d {hours:02}h {minutes:02}m"),
    }
}

/// A long id's end: what tells one from another in a narrow table, and what commands take.
pub(super) fn short(id: &str) -> String {
    const SHOWN: usize = 12;
    let length = id.chars().count();
    if length <= SHOWN + 1 {
        return id.to_owned();
    }
    let end: String = id.chars().skip(length - SHOWN).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_cannot_write_to_the_terminal() {
        assert_eq!(
            clean("a\u{1b}[2Jb\r\n\tc\u{9b}"),
            "a\u{fffd}[2Jb\u{fffd}\n\tc\u{fffd}"
        );
    }

    #[test]
    fn a_listing_for_a_program_is_plain_columns() {
        let mut listing = Listing::new(&["NAME", "STATE"]);
        listing.row(&["alice", "connected"]);
        listing.row(&["b\nb", "failed"]);
        listing.table.load_style(presets::NOTHING);
        listing.table.force_no_tty();
        let text = listing.table.trim_fmt();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines,
            [
                ["NAME", "STATE"].as_slice(),
                &["alice", "connected"],
                &["b", "b", "failed"]
            ]
        );
    }

    #[test]
    fn sizes_and_spans_are_short() {
        assert_eq!(show_bytes(1_023), "1023 B");
        assert_eq!(show_bytes(1_536), "1.5 KiB");
        assert_eq!(show_bytes(5 << 30), "5.0 GiB");
        assert_eq!(show_uptime(59_999), "59s");
        assert_eq!(show_uptime(3_723_000), "1h 02m 03s");
        assert_eq!(show_uptime(90_000_000), "1d 01h 00m");
        assert_eq!(short("12D3KooWEyoppNCUx8Yx66oV9fJnriXw"), "…66oV9fJnriXw");
        assert_eq!(short("wc"), "wc");
    }
}
