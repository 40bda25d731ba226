//! What a person sees of a testnet: a table that is redrawn in place on a terminal, and one plain
//! line per event, above the table or, elsewhere, by themselves.
//!
//! All of it goes to stderr: stdout belongs to `--json` and to the command of `--exec`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::node::{Death, Node};
use crate::proto::node::StatusView;

/// Rows of the table; a larger testnet shows those in trouble first.
const ROWS_MAX: usize = 24;

/// One node in the table.
#[derive(Debug, Clone)]
pub(super) struct TableRow {
    pub name: String,
    /// `up`, `starting`, `silent`, `dead`.
    pub state: &'static str,
    /// What the node last said of itself; absent while it does not answer.
    pub status: Option<StatusView>,
    pub api: String,
}

/// Where events and the table go.
pub(super) struct Screen {
    table: Option<ProgressBar>,
    quiet: bool,
}

impl Screen {
    /// A screen with a table if `live` and stderr is a terminal.
    pub(super) fn new(live: bool) -> Screen {
        if !live || !std::io::stderr().is_terminal() {
            return Screen {
                table: None,
                quiet: false,
            };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{msg}").expect("the template is a constant that parses"),
        );
        Screen {
            table: Some(bar),
            quiet: false,
        }
    }

    /// A screen that shows nothing, for whoever tells the story in other words.
    pub(super) fn quiet() -> Screen {
        Screen {
            table: None,
            quiet: true,
        }
    }

    /// One event.
    pub(super) fn say(&self, line: &str) {
        match &self.table {
            Some(bar) => bar.println(line),
            None if self.quiet => {}
            None => {
                // Nobody reads stderr any more: that is no reason to stop.
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
        }
    }

    pub(super) fn say_started(&self, node: &Node) {
        let pid = node
            .pid()
            .map_or_else(String::new, |pid| format!(", pid {pid}"));
        let api = node.running().map_or("", |running| running.api.as_str());
        self.say(&format!("{} started (API {api}{pid})", node.name()));
    }

    pub(super) fn say_death(&self, death: &Death) {
        self.say(&format!("{} {}{}", death.name, death.how, death.tail));
    }

    /// Draws the table anew.
    pub(super) fn show(&self, heading: &str, rows: &[TableRow]) {
        if let Some(bar) = &self.table {
            bar.set_message(format!("\n{heading}\n{}", render(rows)));
        }
    }

    /// Whether there is a table to draw.
    pub(super) fn is_live(&self) -> bool {
        self.table.is_some()
    }

    /// Takes the table away, so that last words stand alone.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.table {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The table as text, at most [`ROWS_MAX`] rows.
pub(super) fn render(rows: &[TableRow]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    table.set_header([
        "node", "state", "peers", "sessions", "registry", "tasks", "api",
    ]);
    for column in 2..=4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in pick(rows) {
        table.add_row(cells(row, rows.len()));
    }
    let mut text = table.trim_fmt();
    if rows.len() > ROWS_MAX {
        text.push_str(&format!(
            "\n ... and {} more, all up",
            rows.len() - ROWS_MAX
        ));
        if rows.iter().filter(|row| row.state != "up").count() > ROWS_MAX {
            text.truncate(text.len() - ", all up".len());
        }
    }
    text
}

/// The rows to show, in their order; nodes in trouble go before healthy ones when room is short.
fn pick(rows: &[TableRow]) -> Vec<&TableRow> {
    let troubled = rows
        .iter()
        .filter(|row| row.state != "up")
        .count()
        .min(ROWS_MAX);
    let mut healthy_left = ROWS_MAX - troubled;
    let mut troubled_left = troubled;
    rows.iter()
        .filter(|row| {
            let left = if row.state == "up" {
                &mut healthy_left
            } else {
                &mut troubled_left
            };
            let fits = *left > 0;
            *left = left.saturating_sub(1);
            fits
        })
        .collect()
}

fn cells(row: &TableRow, nodes: usize) -> [String; 7] {
    let count = |field: fn(&StatusView) -> usize| {
        row.status
            .as_ref()
            .map_or_else(|| "-".to_owned(), |status| field(status).to_string())
    };
    [
        row.name.clone(),
        row.state.to_owned(),
        count(|status| status.connected),
        count(|status| status.sessions),
        row.status.as_ref().map_or_else(
            || "-".to_owned(),
            |status| format!("{}/{nodes}", status.registry),
        ),
        row.status.as_ref().map_or_else(|| "-".to_owned(), tasks),
        row.api.clone(),
    ]
}

/// `3 open, 1 held, 9 done`: handed out and unfinished, held for others, finished.
fn tasks(status: &StatusView) -> String {
    let open = status.tasks.submitted + status.tasks.working;
    let done = status.tasks.completed + status.tasks.failed + status.tasks.canceled;
    let parts = [(open, "open"), (status.held, "held"), (done, "done")];
    let said: Vec<String> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    if said.is_empty() {
        "-".to_owned()
    } else {
        said.join(", ")
    }
}

/// `812 ms` or `1.3 s`.
pub(super) fn duration(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::node::TaskCounts;

    fn status() -> StatusView {
        StatusView {
            name: "node0".to_owned(),
            peer_id: "12D3KooWa".to_owned(),
            entity_id: "ent1a".to_owned(),
            fingerprint: String::new(),
            network: "testnet-abcdef".to_owned(),
            version: "0.1.0".to_owned(),
            listen: Vec::new(),
            capabilities: Vec::new(),
            unattended: Vec::new(),
            uptime_ms: 1,
            connected: 4,
            sessions: 3,
            registry: 5,
            tasks: TaskCounts {
                submitted: 1,
                working: 2,
                completed: 9,
                ..TaskCounts::default()
            },
            held: 0,
            draining: false,
            storage: "ok".to_owned(),
            guard: Default::default(),
            health: Default::default(),
            pool: Default::default(),
        }
    }

    fn row(name: &str, state: &'static str) -> TableRow {
        let status = (state == "up").then(status);
        TableRow {
            name: name.to_owned(),
            state,
            status,
            api: "127.0.0.1:4003".to_owned(),
        }
    }

    #[test]
    fn the_table_lines_up_and_says_all() {
        let text = render(&[row("node0", "up"), row("node1", "dead")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[0].contains("node") && lines[0].contains("registry"),
            "{text}"
        );
        assert!(
            lines[1].contains("5/2") && lines[1].contains("3 open, 9 done"),
            "{text}"
        );
        assert!(
            lines[2].contains("dead") && lines[2].contains('-'),
            "{text}"
        );
        assert_eq!(lines[0].find("api"), lines[1].find("127.0.0.1"), "{text}");
        assert!(text.is_ascii());
    }

    #[test]
    fn a_large_testnet_shows_trouble_first() {
        let mut rows: Vec<TableRow> = (0..40).map(|n| row(&format!("node{n}"), "up")).collect();
        rows[38].state = "dead";
        let text = render(&rows);
        assert!(
            text.contains("node38") && !text.contains("node39"),
            "{text}"
        );
        assert!(text.ends_with("... and 16 more, all up"), "{text}");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(duration(Duration::from_millis(812)), "812 ms");
        assert_eq!(duration(Duration::from_millis(1340)), "1.3 s");
    }
}
