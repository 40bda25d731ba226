//! How the demo speaks: short lines on stdout (stderr with `--json`), colour and a progress bar
//! only where a person looks at a terminal.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Escape codes; empty where colour is not wanted.
#[derive(Debug, Clone, Copy)]
struct Palette {
    bold: &'static str,
    good: &'static str,
    bad: &'static str,
    plain: &'static str,
}

const COLOURS: Palette = Palette {
    bold: "\x1b[1m",
    good: "\x1b[32m",
    bad: "\x1b[31m",
    plain: "\x1b[0m",
};
const NO_COLOURS: Palette = Palette {
    bold: "",
    good: "",
    bad: "",
    plain: "",
};

/// The teller.
pub(super) struct Tale {
    to_stderr: bool,
    palette: Palette,
    bar: ProgressBar,
}

impl Tale {
    /// With `json`, stdout is left to the document at the end.
    pub(super) fn new(json: bool) -> Tale {
        let terminal = if json {
            std::io::stderr().is_terminal()
        } else {
            std::io::stdout().is_terminal()
        };
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let palette = if terminal && wanted {
            COLOURS
        } else {
            NO_COLOURS
        };
        Tale {
            to_stderr: json,
            palette,
            bar: ProgressBar::hidden(),
        }
    }

    /// A heading.
    pub(super) fn act(&self, text: &str) {
        self.print(&format!(
            "\n{}{text}{}",
            self.palette.bold, self.palette.plain
        ));
    }

    /// An ordinary line.
    pub(super) fn line(&self, text: &str) {
        self.print(&indented(text));
    }

    /// Something that went as hoped.
    pub(super) fn good(&self, text: &str) {
        self.print(&format!(
            "{}{}{}",
            self.palette.good,
            indented(text),
            self.palette.plain
        ));
    }

    /// A blow.
    pub(super) fn bad(&self, text: &str) {
        self.print(&format!(
            "{}{}{}",
            self.palette.bad,
            indented(text),
            self.palette.plain
        ));
    }

    /// Shows a bar for `total` steps, on a terminal.
    pub(super) fn open_bar(&self, total: usize) {
        self.bar.set_style(
            ProgressStyle::with_template("  [{bar:36}] {pos}/{len} pages  {msg}")
                .expect("the template is a constant that parses")
                .progress_chars("=> "),
        );
        self.bar.set_length(total as u64);
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }

    /// Moves the bar.
    pub(super) fn step(&self, done: usize, message: String) {
        self.bar.set_position(done as u64);
        self.bar.set_message(message);
    }

    /// Takes the bar away.
    pub(super) fn close_bar(&self) {
        self.bar.finish_and_clear();
    }

    fn print(&self, text: &str) {
        self.bar.suspend(|| {
            // A reader who has left is no reason to stop before the end.
            let _ = if self.to_stderr {
                writeln!(std::io::stderr().lock(), "{text}")
            } else {
                writeln!(std::io::stdout().lock(), "{text}")
            };
        });
    }
}

impl Drop for Tale {
    fn drop(&mut self) {
        self.close_bar();
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
