//! Memory for secrets that stay as long as the process: locked, so that it is never swapped out;
//! left out of core dumps; between two pages that nothing may touch; cleared when it is given back.
//!
//! Our own long-lived keys lie here. libp2p's copies of the transport key do not: its swarm keeps them
//! on the heap for as long as the node runs, and nothing of ours can lock or clear them.
//!
//! Where the system locks no more memory (`RLIMIT_MEMLOCK`), the rest holds, and [`lock_refused`]
//! tells.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

static LOCK_REFUSED: AtomicBool = AtomicBool::new(false);

/// Whether the system refused to lock some secret's memory since the process began.
pub fn lock_refused() -> bool {
    LOCK_REFUSED.load(Ordering::Relaxed)
}

/// A value in memory of its own, which is read-only until it is dropped.
pub struct Protected<T> {
    place: NonNull<T>,
}

impl<T> Protected<T> {
    /// Moves `value` there. Of what the move leaves on the stack [`scrub_stack`] takes care.
    pub fn new(value: T) -> Protected<T> {
        // SAFETY: `malloc` gives `size_of::<T>()` writable bytes that nobody else has. They end
        // at the end of a page, and a type's size is a multiple of its alignment, which is far
        // below a page's: so they are aligned for `T`.
        let place = unsafe { memsec::malloc::<T>() };
        let place = place.unwrap_or_else(|| handle_alloc_error(Layout::new::<T>()));
        debug_assert!(place.is_aligned());
        // SAFETY: the range is the allocation just made. It is locked already if it could be;
        // locking it again only tells, and `munlock` in `free` undoes both.
        let locked = unsafe { memsec::mlock(place.as_ptr().cast(), size_of::<T>()) };
        if !locked {
            LOCK_REFUSED.store(true, Ordering::Relaxed);
        }
        // SAFETY: as above; nothing valid is overwritten.
        unsafe { place.as_ptr().write(value) };
        Protected { place }
    }
}

impl<T> Deref for Protected<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a valid value, which lives until `drop`; there is no `&mut` to it.
        unsafe { self.place.as_ref() }
    }
}

impl<T> Drop for Protected<T> {
    fn drop(&mut self) {
        // SAFETY: the value is dropped once and not used after; the bytes are the allocation's
        // own, and it is given back once, to the allocator it came from.
        unsafe {
            self.place.as_ptr().drop_in_place();
            memsec::memzero(self.place.as_ptr().cast(), size_of::<T>());
            memsec::free(self.place);
        }
    }
}

// SAFETY: a `Protected<T>` owns its `T` as a `Box<T>` does.
unsafe impl<T: Send> Send for Protected<T> {}
// SAFETY: as above; a shared one gives out `&T` only.
unsafe impl<T: Sync> Sync for Protected<T> {}

impl<T> fmt::Debug for Protected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protected(…)")
    }
}

/// Overwrites what calls that have returned left on the stack below.
#[inline(never)]
pub fn scrub_stack() {
    let mut below = [0xd0_u8; 16 * 1024];
    zeroize::Zeroize::zeroize(&mut below[..]);
    std::hint::black_box(&below);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back_and_is_dropped_once() {
        static DROPPED: AtomicBool = AtomicBool::new(false);
        struct Loud(u64);
        impl Drop for Loud {
            fn drop(&mut self) {
                assert!(!DROPPED.swap(true, Ordering::Relaxed), "dropped twice");
            }
        }
        let kept = Protected::new(Loud(7));
        assert_eq!(kept.0, 7);
        assert!(!DROPPED.load(Ordering::Relaxed));
        drop(kept);
        assert!(DROPPED.load(Ordering::Relaxed));
    }

    #[test]
    fn values_of_odd_sizes_are_aligned() {
        assert_eq!(*Protected::new([1_u8; 33]), [1; 33]);
        assert_eq!(*Protected::new((1_u64, 2_u8)), (1, 2));
        assert_eq!(*Protected::new([3_u128; 300]), [3; 300]);
    }

    #[test]
    fn many_threads_may_read_one() {
        let kept = Protected::new([9_u8; 32]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(*kept, [9; 32]));
            }
        });
    }

    #[test]
    fn the_memory_is_locked_and_left_out_of_dumps_and_shows_nothing() {
        let kept = Protected::new([5_u8; 32]);
        assert_eq!(format!("{kept:?}"), "Protected(…)");
        let at = kept.place.as_ptr() as usize;
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("our own maps");
        let mut here = false;
        let mut flags = None;
        for line in smaps.lines() {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let bounds = range.and_then(|(from, to)| {
                let hex = |text| usize::from_str_radix(text, 16).ok();
                Some((hex(from)?, hex(to)?))
            });
            if let Some((from, to)) = bounds {
                here = (from..to).contains(&at);
            }
            if here && let Some(of_this) = line.strip_prefix("VmFlags:") {
                flags = Some(of_this.to_owned());
            }
        }
        let flags = flags.expect("the mapping of our own memory");
        let has = |flag| flags.split_whitespace().any(|one| one == flag);
        assert!(has("dd"), "left out of dumps: {flags}");
        assert!(has("lo") || lock_refused(), "locked: {flags}");
    }
}
