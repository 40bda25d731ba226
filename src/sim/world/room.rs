//! Disks get short of room, and nodes are told.

use rand::SeedableRng as _;

use super::World;
use crate::crypto::Rng;
use crate::proto::Violation;
use crate::proto::node::{CommandErrorCode, CommandResult, Input};
use crate::sim::room::{LOOK_EVERY_MS, LOOK_TAKES_MAX_MS, Room};
use crate::sim::stage::{Event, Incarnation};
use crate::types::WriteBatch;

/// The dice for what becomes of disks.
pub(super) fn dice(seed: u64) -> Rng {
    const SALT: u64 = 0x726f_6f6d;
    Rng::seed_from_u64(seed ^ SALT)
}

impl World {
    /// A disk that is short of room stays so for as long as was said first.
    pub(super) fn disk_short(&mut self, host: usize, left: i64, for_us: u64) {
        if self.hosts[host].room.is_none() {
            self.stage.counts.disks_short += 1;
            self.hosts[host].room = Some(Room::short(left, self.stage.now_us + for_us));
            self.stage.after(0, Event::DiskLook { host });
        }
    }

    /// Twice a second, until the node knows that there is room.
    pub(super) fn look_at_disk(&mut self, host: usize) {
        let now_us = self.stage.now_us;
        let Some(seen) = self.hosts[host].room.as_mut().map(|room| room.look(now_us)) else {
            return;
        };
        let to = self.hosts[host].incarnation();
        let input = Box::new(Input::Disk(seen));
        let after_us = self.stage.span_us(0, LOOK_TAKES_MAX_MS);
        self.stage.after(after_us, Event::Input { to, input });
        self.stage
            .after(LOOK_EVERY_MS * 1000, Event::DiskLook { host });
    }

    /// A node that starts looks before anything else.
    pub(super) fn told_of_room(&mut self, at: Incarnation) -> Result<(), Violation> {
        let now_us = self.stage.now_us;
        let room = self.hosts[at.host].room.as_mut();
        match room.map(|room| room.look(now_us)) {
            Some(seen) => self.deliver(at, Input::Disk(seen)),
            None => Ok(()),
        }
    }

    /// A node writes.
    pub(super) fn takes_room(&mut self, host: usize, writes: &WriteBatch) -> Result<(), Violation> {
        let room = self.hosts[host].room.as_mut();
        let left = room.and_then(|room| room.writes(writes.bytes()));
        let taken = self.checker.takes(host, writes, left)?;
        self.outcomes.taken_while_short += if left.is_some() { taken } else { 0 };
        Ok(())
    }

    /// A node answers a command: for want of room it refuses only while there is none.
    pub(super) fn refuses(&mut self, host: usize, result: &CommandResult) -> Result<(), Violation> {
        let Err(refused) = result else { return Ok(()) };
        let full = refused.code == CommandErrorCode::QueueFull;
        self.outcomes.refused_for_limit += u64::from(full);
        if refused.code != CommandErrorCode::Storage {
            return Ok(());
        }
        self.outcomes.refused_for_room += 1;
        Violation::unless(self.hosts[host].room.is_some(), "D2", || {
            format!(
                "node {host}, whose disk has room, said: {}",
                refused.message
            )
        })
    }
}
