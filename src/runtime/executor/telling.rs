//! What a run says while it goes on: so much of it, and no more, in a span of time. What is over that
//! is left out, for nobody may be held up by who watches.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ExecDone;
use super::stderr::Progress;
use crate::proto::node::RunSaid;
use crate::types::RunId;
use crate::wire::OutputPart;

const SPAN: Duration = Duration::from_millis(200);
/// In a span: bytes of output, and words in all.
const SPAN_BYTES: usize = 8 * 1024;
const SPAN_WORDS: u32 = 16;

/// Tells the driver, if it has time.
pub(super) struct Teller {
    run: RunId,
    done: mpsc::Sender<ExecDone>,
    begun: Instant,
    bytes: usize,
    words: u32,
    offset: u64,
    progress: Option<Progress>,
}

impl Teller {
    pub(super) fn new(run: RunId, done: mpsc::Sender<ExecDone>) -> Teller {
        Teller {
            run,
            done,
            begun: Instant::now(),
            bytes: 0,
            words: 0,
            offset: 0,
            progress: None,
        }
    }

    pub(super) fn progress(&mut self, said: Progress) {
        if self.progress.as_ref() == Some(&said) {
            return;
        }
        self.progress = Some(said.clone());
        self.say(RunSaid {
            percent: Some(said.percent),
            note: said.note,
            output: None,
        });
    }

    pub(super) fn output(&mut self, piece: &[u8]) {
        let offset = self.offset;
        self.offset += piece.len() as u64;
        self.turn();
        let room = SPAN_BYTES.saturating_sub(self.bytes).min(piece.len());
        if room > 0 {
            self.bytes += room;
            let data = piece[..room].to_vec();
            self.say(RunSaid {
                percent: None,
                note: None,
                output: Some(OutputPart { offset, data }),
            });
        }
    }

    fn turn(&mut self) {
        if self.begun.elapsed() >= SPAN {
            (self.begun, self.bytes, self.words) = (Instant::now(), 0, 0);
        }
    }

    fn say(&mut self, said: RunSaid) {
        self.turn();
        // Half of the queue is for what must not be lost.
        if self.words >= SPAN_WORDS || self.done.capacity() * 2 < self.done.max_capacity() {
            return;
        }
        self.words += 1;
        let run = self.run;
        let _ = self.done.try_send(ExecDone::Said { run, said });
    }
}

/// How a piece of this process says how far its task is. What it says is left out, silently, where
/// nobody asked for it (`stream`) or more comes than may travel.
#[derive(Clone, Default)]
pub struct Say {
    /// None: nobody asked.
    teller: Option<Arc<Mutex<Teller>>>,
    /// Whether output may be told, too.
    output: bool,
}

impl Say {
    pub(super) fn new(teller: Option<Teller>, output: bool) -> Say {
        let teller = teller.map(|teller| Arc::new(Mutex::new(teller)));
        Say { teller, output }
    }

    /// So much of it is done, and what goes on; more than 100 counts as 100.
    pub fn progress(&self, percent: u8, note: &str) {
        let said = Progress::new(percent.min(100), note);
        self.with(|teller| teller.progress(said));
    }

    /// The next piece of what the result will be, where the capability streams.
    pub fn output(&self, piece: &[u8]) {
        if self.output {
            self.with(|teller| teller.output(piece));
        }
    }

    fn with(&self, tell: impl FnOnce(&mut Teller)) {
        if let Some(teller) = &self.teller {
            // Nothing panics while it is held.
            tell(&mut teller.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl fmt::Debug for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Say")
            .field("asked", &self.teller.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_over_the_measure_is_a_gap_and_the_queue_is_never_filled() {
        let (done, mut told) = mpsc::channel(8);
        let mut teller = Teller::new(RunId(1), done);
        teller.output(&vec![1; SPAN_BYTES - 1]);
        teller.output(b"two");
        teller.output(b"three");
        teller.begun = Instant::now().checked_sub(SPAN).expect("long enough ago");
        teller.output(b"four");
        for percent in [10, 10, 20, 30, 40] {
            let note = Some(format!("at {percent}"));
            teller.progress(Progress { percent, note });
        }
        let mut said = Vec::new();
        while let Ok(ExecDone::Said { said: one, .. }) = told.try_recv() {
            said.push(one);
        }
        let parts = said.iter().filter_map(|one| one.output.as_ref());
        let parts: Vec<_> = parts.map(|part| (part.offset, part.data.len())).collect();
        let first = SPAN_BYTES as u64 - 1;
        assert_eq!(parts, [(0, SPAN_BYTES - 1), (first, 1), (first + 8, 4)]);
        assert!(said.len() <= 5, "half of the queue is left: {}", said.len());
        assert_eq!(said[3].percent, Some(10));
        assert_eq!(said[3].note.as_deref(), Some("at 10"));
    }
}
