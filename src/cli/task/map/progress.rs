//! How far a map is: a bar on stderr while a person watches, else a line now and then.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::super::super::exit::{Exit, Failure};
use super::super::super::output;
use crate::proto::node::{TaskState, TaskView};

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
    /// Some task of it has come to a worker.
    begun: Cell<bool>,
    /// What keeps every task from one, as it was said.
    waits: RefCell<Option<String>>,
    /// Of the failed ones: for want of a worker.
    unmet: Cell<usize>,
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
            begun: Cell::new(false),
            waits: RefCell::new(None),
            unmet: Cell::new(0),
        }
    }

    /// A task as it is at the `looks`th look. As long as no task of the map has come to a worker it
    /// is said why; at the first look one may be about to.
    pub(super) fn seen(&self, view: &TaskView, looks: usize) {
        self.begun
            .set(self.begun.get() || !view.attempts.is_empty());
        if let Some(text) = self.news(view.reason.as_deref(), looks) {
            self.note(&format!("map: no task has begun: {text}"));
        }
    }

    fn news(&self, reason: Option<&str>, looks: usize) -> Option<String> {
        let reason = reason.filter(|_| looks > 1 && !self.begun.get())?;
        let mut waits = self.waits.borrow_mut();
        if waits.as_deref() == Some(reason) {
            return None;
        }
        waits.replace(reason.to_owned());
        Some(reason.to_owned())
    }

    /// A map that came to nothing: for want of a worker, where every failure is one.
    pub(super) fn failure(&self, text: String) -> Failure {
        let unmet = self.failed.get() > 0 && self.unmet.get() == self.failed.get();
        match unmet {
            true => Failure::new(Exit::Unreachable, text),
            false => Failure::failed(text),
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
    pub(super) fn ended(&self, task: &TaskView) {
        let completed = task.state == TaskState::Completed;
        let count = if completed { &self.done } else { &self.failed };
        count.set(count.get() + 1);
        self.unmet
            .set(self.unmet.get() + usize::from(task.no_worker));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_nothing_begins_is_said_once_and_not_at_the_first_look() {
        let progress = Progress::new(2);
        let none = Some("no known peer offers wc");
        assert_eq!(progress.news(none, 1), None);
        assert_eq!(progress.news(none, 2).as_deref(), none);
        assert_eq!(progress.news(none, 3), None, "once");
        assert!(progress.news(Some("another"), 2).is_some());
        progress.begun.set(true);
        assert_eq!(progress.news(none, 4), None, "others have begun");
    }

    #[test]
    fn a_map_without_a_worker_is_told_from_one_that_failed() {
        let progress = Progress::new(2);
        assert_eq!(progress.failure(String::new()).exit, Exit::Failed);
        progress.failed.set(2);
        progress.unmet.set(1);
        assert_eq!(progress.failure(String::new()).exit, Exit::Failed);
        progress.unmet.set(2);
        assert_eq!(progress.failure(String::new()).exit, Exit::Unreachable);
    }
}
