//! What the disk has room for, as the shell sees it from time to time, and what was written since.
//!
//! A look at the disk may be older than what was flushed a moment ago, or come before what we wrote
//! last has reached it. So what was written between the last two looks counts as well.

use super::Node;
use super::command::{CommandError, CommandErrorCode};
use super::defects::Defect;
use super::io::{DiskRoom, Note};
use crate::proto::task::Full;

const MIB: u64 = 1 << 20;
/// There is room again once so much more is free than one task needs.
const AGAIN_BYTES: usize = 4 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// None: nobody looks.
    seen: Option<DiskRoom>,
    /// Written since the last look, and between that and the one before.
    since: u64,
    before: u64,
    /// Whether the log says that there is too little.
    short: bool,
}

impl Room {
    fn seen(&mut self, disk: DiskRoom) {
        self.seen = Some(disk);
        self.before = std::mem::take(&mut self.since);
    }

    /// How much may still be written.
    fn left(&self) -> u64 {
        let Some(disk) = self.seen else {
            return u64::MAX;
        };
        let free = disk.free_bytes.saturating_sub(disk.keep_bytes);
        free.saturating_sub(self.since.saturating_add(self.before))
    }

    /// What is said of it where there is too little.
    fn words(&self) -> String {
        let disk = self.seen.unwrap_or_default();
        format!(
            "the disk has {} MiB free, of which {} MiB are to stay so (`transfer.keep_free`, or \
             what a start takes to copy the store's log), and tasks that run may need the rest",
            disk.free_bytes / MIB,
            disk.keep_bytes.div_ceil(MIB)
        )
    }
}

impl Node {
    /// The shell has looked at the disk.
    pub(super) fn disk_seen(&mut self, disk: DiskRoom) {
        if self.room.short && self.has(Defect::ShortForGood) {
            return;
        }
        self.room.seen(disk);
        self.tell_room();
        // Not each time that a run ends and the next one begins.
        let some = if self.room.short { AGAIN_BYTES } else { 0 };
        let short = !self.worker.disk_takes(some);
        if short != self.room.short {
            self.room.short = short;
            let why = self.room.words();
            self.note(match short {
                true => Note::DiskShort { why },
                false => Note::DiskRoomAgain,
            });
        }
    }

    /// So much is written with this step.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.room.since = self.room.since.saturating_add(bytes);
        self.tell_room();
    }

    fn tell_room(&mut self) {
        let left = self.room.left();
        self.worker.disk_has(left);
        self.requester.disk_has(left);
        // The results of what is held here come before what anybody has to say.
        let results = self.worker.disk_owes();
        self.inbox.disk_has(left.saturating_sub(results));
    }

    /// `ok`, or why nothing new is taken.
    pub(super) fn storage_view(&self) -> String {
        match self.room.short {
            true => format!(
                "{}: no new task is taken, and no message that does not fit; free space",
                self.room.words()
            ),
            false => "ok".into(),
        }
    }

    /// Why a task is not queued.
    pub(super) fn full(&self, full: Full) -> CommandError {
        let bounds = self.config.task.bounds;
        let what = match full {
            Full::Disk => {
                let text = format!("{}: free space, then try again", self.room.words());
                return CommandError::new(CommandErrorCode::Storage, text);
            }
            Full::Tasks => format!("{} tasks", bounds.queue_tasks),
            Full::Bytes => format!("{} MiB of inputs", bounds.queue_bytes / 1024 / 1024),
        };
        CommandError::new(
            CommandErrorCode::QueueFull,
            format!(
                "the task queue is full ({what}): wait until some of it is done, or cancel tasks"
            ),
        )
    }
}
