//! How far a map is: a bar on stderr while a person watches, else a line now and then.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::super::super::output;

/// Between two lines, at least.
const LINES_APART: Duration = Duration::from_secs(1);
const BAR_TICK: Duration = Duration::from_millis(200);

/// How many of how many.
pub(super) struct Progress {
    total: usize,
    done: Cell<usize>,
    failed: Cell<usize>,
    bar: Option<ProgressBar>,
    told: Cell<Instant>,
}

impl Progress {
    pub(super) fn new(total: usize) -> Progress {
        let template = "{bar:30} {pos}/{len}  {msg}  {elapsed}";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = output::watched().then(|| {
            let bar = ProgressBar::new(total as u64).with_style(style);
            bar.enable_steady_tick(BAR_TICK);
            bar
        });
        Progress {
            total,
            done: Cell::new(0),
            failed: Cell::new(0),
            bar,
            told: Cell::new(Instant::now()),
        }
    }

    /// Says what the map is called.
    pub(super) fn begin(&self, map: &Uuid) {
        let text = format!(
            "map {map}: {} files; if cut off, add --resume {map}",
            self.total
        );
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// One more has ended.
    pub(super) fn ended(&self, completed: bool) {
        let count = if completed { &self.done } else { &self.failed };
        count.set(count.get() + 1);
        match &self.bar {
            Some(bar) => {
                bar.set_position((self.done.get() + self.failed.get()) as u64);
                bar.set_message(format!("{} failed", self.failed.get()));
            }
            None if self.told.get().elapsed() >= LINES_APART => {
                self.told.set(Instant::now());
                self.line();
            }
            None => {}
        }
    }

    /// Says something beside the bar.
    pub(super) fn note(&self, text: &str) {
        let text = output::clean(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Writes something while the bar is out of the way.
    pub(super) fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    pub(super) fn failures(&self) -> usize {
        self.failed.get()
    }

    /// Before results go to the terminal, and at the end.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.line();
    }

    fn line(&self) {
        let (done, failed, total) = (self.done.get(), self.failed.get(), self.total);
        eprintln!("map: {done} of {total} completed, {failed} failed");
    }
}
